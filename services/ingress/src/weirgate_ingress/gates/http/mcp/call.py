"""From a message of an agent to the judged thing.

Source: Model Context Protocol 2025-11-25, schema: ``CallToolRequest``, ``GetPromptRequest``, ``ReadResourceRequest``,
``SubscribeRequest``, ``CompleteRequest``, ``ClientCapabilities``.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final, cast

from weirgate_contracts.mcp import ItemKind, McpCall
from weirgate_ingress.gates.http.mcp.message import INVALID_PARAMS, Malformed, Message, write_message

REVISIONS: Final = ("2025-03-26", "2025-06-18", "2025-11-25")
"""Revisions of the specification that are served, oldest first."""
NAME_LIMIT: Final = 2048
STREAM: Final = McpCall(method="notifications/stream", request=False)
"""GET: the agent listens to what the server says of its own accord."""
END: Final = McpCall(method="session/end", request=False)
"""DELETE: the agent ends its session with the server."""

_NAMED: Final[Mapping[str, tuple[ItemKind, str]]] = {
    "tools/call": ("tool", "name"),
    "prompts/get": ("prompt", "name"),
    "resources/read": ("resource", "uri"),
    "resources/subscribe": ("resource", "uri"),
    "resources/unsubscribe": ("resource", "uri"),
}
_REFERENCES: Final[Mapping[str, tuple[ItemKind, str]]] = {
    "ref/prompt": ("prompt", "name"),
    "ref/resource": ("template", "uri"),
}
LISTS: Final[Mapping[str, tuple[ItemKind, str, str]]] = {
    "tools/list": ("tool", "tools", "name"),
    "resources/list": ("resource", "resources", "uri"),
    "resources/templates/list": ("template", "resourceTemplates", "uriTemplate"),
    "prompts/list": ("prompt", "prompts", "name"),
}
"""Method: what it lists, the member of the result that holds the items, the member of an item that names it."""
_CAPABILITIES: Final = {
    "sampling": "sampling/createMessage",
    "elicitation": "elicitation/create",
    "roots": "roots/list",
}


def read_call(message: Message) -> McpCall:
    """Return what a message asks for.

    Raises:
        Malformed: it uses one thing and does not say which.
    """
    if message.kind not in ("request", "notification"):
        return McpCall(method="", request=False)
    kind, name = _named(message)
    return McpCall(method=message.method, request=message.kind == "request", kind=kind, name=name)


def _named(message: Message) -> tuple[ItemKind | None, str | None]:
    params = message.params
    if message.method == "completion/complete":
        reference: Any = params.get("ref")
        of = _REFERENCES.get(str(reference.get("type"))) if isinstance(reference, dict) else None
        if of is None:
            raise Malformed(
                INVALID_PARAMS, "'params.ref' refers to neither prompt nor resource", id=message.id
            )
        kind, member = of
        return kind, _text(cast("dict[str, Any]", reference), member, message)
    if message.method in _NAMED:
        kind, member = _NAMED[message.method]
        return kind, _text(params, member, message)
    return None, None


def _text(params: Mapping[str, Any], member: str, message: Message) -> str:
    value = params.get(member)
    if not isinstance(value, str) or not value or len(value) > NAME_LIMIT:
        raise Malformed(
            INVALID_PARAMS, f"'{member}' is no text of 1 to {NAME_LIMIT} characters", id=message.id
        )
    return value


def body_to_send(message: Message, permits: Collection[str]) -> bytes:
    """Return the message as the server is sent it.

    Of ``initialize`` the capabilities are taken off that let a server ask things of the agent which the verdict does
    not permit: a server that is told of no sampling does not try. An unknown revision is replaced by the newest that
    is served, so that both sides agree on one the gateway understands.
    """
    if message.method != "initialize":
        return message.raw
    params = dict(message.params)
    for name, value in message.params.items():
        # Go's decoder takes 'Capabilities' for 'capabilities'.
        if name.casefold() == "capabilities" and isinstance(value, dict):
            params[name] = _capabilities(cast("dict[str, Any]", value), permits)
    if params.get("protocolVersion") not in REVISIONS:
        params["protocolVersion"] = REVISIONS[-1]
    return write_message({**message.members, "params": params})


def _capabilities(given: Mapping[str, Any], permits: Collection[str]) -> dict[str, Any]:
    gone = {name for name, method in _CAPABILITIES.items() if method not in permits}
    if gone:
        # Tasks carry the same requests under another name (revision 2025-11-25).
        gone.add("tasks")
    return {name: value for name, value in given.items() if name.casefold() not in gone}
