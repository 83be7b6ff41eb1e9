"""One message of the Model Context Protocol as a judged thing.

Source: Model Context Protocol, revisions 2025-03-26, 2025-06-18 and 2025-11-25.
"""

from typing import Literal

from pydantic import Field

from weirgate_contracts.value import Value, is_absent

ItemKind = Literal["tool", "resource", "template", "prompt"]
"""What a server offers: ``tools/list``, ``resources/list``, ``resources/templates/list``, ``prompts/list``."""

STREAM, END = "notifications/stream", "session/end"
"""Methods that stand for what is no message: GET, which opens the server's stream of events, and DELETE."""
LISTS = ("tools/list", "resources/list", "resources/templates/list", "prompts/list")
"""Methods that are answered with definitions of what a server offers, and with nothing else."""
SERVER_REQUESTS = ("sampling/createMessage", "elicitation/create", "roots/list")
"""What a server may ask of its client; each is let through only where the verdict names it."""


class McpItem(Value):
    """One thing a server offers to its clients."""

    kind: ItemKind
    name: str = Field(max_length=2048)
    """Of a tool or prompt its name, of a resource its URI, of a template its URI template."""
    sha256: str
    """Of its whole definition (name, description, schema, annotations …) as canonical JSON, hexadecimal."""


class McpCall(Value):
    """A JSON-RPC message an agent sends, or the list a server offers it."""

    method: str = Field(max_length=256)
    """``tools/call``, ``tools/list`` …; empty: it is the agent's answer to a request of the server."""
    request: bool = True
    """Whether it has an id, and so wants an answer; ``False``: a notification or an answer."""
    kind: ItemKind | None = Field(default=None, exclude_if=is_absent)
    """What ``name`` names, for the methods that use one thing."""
    name: str | None = Field(default=None, max_length=2048, exclude_if=is_absent)
    """The tool that is called, the resource that is read or subscribed, the prompt that is got."""
    definition: str | None = Field(default=None, exclude_if=is_absent)
    """Digest (``McpItem.sha256``) under which the server last offered a tool to this agent, shown or hidden, where that
    is known."""
    offered: tuple[McpItem, ...] | None = Field(default=None, exclude_if=is_absent)
    """Set exactly where the question is about a list as the server has answered it, before the agent is shown any of
    it: ``OperationAllowed.visible`` says what of it may be shown."""


def message_text(method: str, name: str | None) -> str:
    """Return a message on one line, as people read it: ``tools/call refund``.

    Args:
        method: Of JSON-RPC; empty: an answer to the server.
        name: What it uses, where it uses one thing.
    """
    said = method or "answer to the server"
    return f"{said} {name}" if name is not None else said
