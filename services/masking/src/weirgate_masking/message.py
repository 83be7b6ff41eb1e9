"""The planner of MCP: an intercepted message in, a mask plan for what answers it out. Pure.

A label stands on a tool and a pattern over what the tool answers: ``lookup_customer /email``, or ``* /**/email``
for everything the server answers. What answers is JSON-RPC, so a pattern is put where data stands in it:

=======================================  ==============================================================
Place in the answer                      Patterns there
=======================================  ==============================================================
``/result/structuredContent``            as written
``/result/content/*/text`` and other     as written, where the text is itself JSON
texts of content
``/error/data``                          as written
``/result``, ``/error``, ``/params``     those that begin with ``**``, at any depth
base64: images, sound, blobs             masked whole, as carrying every label that applies, unless the
                                         resource says ``unread: pass``
=======================================  ==============================================================

Each place also counts one step down: an answer may be a batch of answers (revision 2025-03-26).

=======================================================  ==============================================
Question                                                 Labels
=======================================================  ==============================================
``tools/call`` of a tool                                 those of that tool and those of ``*``
a list, ``initialize``                                   none, detectors only: definitions and no data, and
                                                         a masked schema would be no schema
anything else (reading a resource, the server's stream,  every label of the resource: what the stream
a method nobody knows)                                   says may be the answer of any tool
a resource that is not registered, or is not of MCP      impossible
=======================================================  ==============================================

Source: Model Context Protocol, revision 2025-11-25, "Tools", "Resources", "Prompts".
"""

from collections.abc import Mapping

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.events import OperationIntercepted
from weirgate_contracts.masking import BodyPlan, EmbeddedPlan, FieldPlan, Plan
from weirgate_contracts.mcp import LISTS, McpCall
from weirgate_mask.strictness import REDACT
from weirgate_masking.call import CallState
from weirgate_masking.rules import Rules

ANY = "*"
_DEFINITIONS = frozenset((*LISTS, "initialize"))
_DATA = ("/result/structuredContent", "/error/data")
_TEXTS = (
    "/result/content/*/text",
    "/result/content/*/resource/text",
    "/result/contents/*/text",
    "/result/messages/*/content/text",
    "/result/messages/*/content/resource/text",
    "/params/data",
)
"""Texts of a tool's answer, of a resource that is read, of a prompt, of a notification that logs."""
_BASE64 = (
    "/result/content/*/data",
    "/result/content/*/resource/blob",
    "/result/contents/*/blob",
    "/result/messages/*/content/data",
    "/result/messages/*/content/resource/blob",
)
_DEEP = "/**/"
_WHOLE = ("/result", "/error", "/params")
"""All of a message but what says which it is: a masked ``id`` would answer nobody."""


def scope_of(call: McpCall) -> str | None:
    """Return whose labels apply to what answers a message: a tool's, ``*``: all, ``None``: nobody's."""
    if call.offered is not None or call.method in _DEFINITIONS:
        return None
    if call.method == "tools/call" and call.kind == "tool" and call.name:
        return call.name
    return ANY


def plan_message(operation: OperationIntercepted, state: CallState) -> Plan:
    """Plan what of the answer to a message must be masked, whatever the verdict unmasks."""
    resource, call = state.resource, operation.call
    if resource is None:
        return Plan(statements=(), impossible="the resource is not registered")
    if resource.protocol != "mcp" or operation.protocol != "mcp":
        return Plan(statements=(), impossible="the resource is not one of MCP")
    if call is None or call.mcp is None or operation.statements:
        return Plan(statements=(), impossible="the operation is no message of MCP")
    rules = Rules(state.rules, operation.identity.groups)
    labelled = _labelled(state.fields, scope_of(call.mcp))
    inside = tuple(
        FieldPlan(pattern=pattern, labels=labels, transform=rules.strictest(labels))
        for pattern, labels in labelled.items()
    )
    fields = (*_placed(inside), *_blobs(inside, resource, rules))
    embedded = EmbeddedPlan(patterns=_twice(*_TEXTS), fields=inside)
    unread = resource.unread or ("refuse" if state.fields else "pass")
    return Plan(
        statements=(),
        body=BodyPlan(fields=fields, unread=unread, embedded=embedded),
        detectors=rules.detectors,
    )


def _labelled(fields: Mapping[str, str], scope: str | None) -> dict[str, tuple[str, ...]]:
    """Return each pattern that applies with all its labels, sorted."""
    found: dict[str, set[str]] = {}
    for field, label in fields.items():
        of, _, pattern = field.partition(" ")
        if scope is not None and (scope == ANY or of in (ANY, scope)):
            found.setdefault(pattern, set()).add(label)
    return {pattern: tuple(sorted(labels)) for pattern, labels in sorted(found.items())}


def _placed(inside: tuple[FieldPlan, ...]) -> list[FieldPlan]:
    """Put patterns where data stands in an answer."""
    found: list[FieldPlan] = []
    for field in inside:
        places = _WHOLE if field.pattern.startswith(_DEEP) else _DATA
        found += [field.model_copy(update={"pattern": at + field.pattern}) for at in _twice(*places)]
    return found


def _blobs(inside: tuple[FieldPlan, ...], resource: ResourceDocument, rules: Rules) -> list[FieldPlan]:
    """Mask what nobody can look into, as carrying every label that might be in it."""
    labels = {label for field in inside for label in field.labels}
    if resource.unread == "refuse":
        labels |= {one.label for one in rules.detectors}
    if resource.unread == "pass" or not labels:
        return []
    return [
        FieldPlan(pattern=pattern, labels=tuple(sorted(labels)), transform=REDACT)
        for pattern in _twice(*_BASE64)
    ]


def _twice(*places: str) -> tuple[str, ...]:
    return (*places, *(f"/*{place}" for place in places))
