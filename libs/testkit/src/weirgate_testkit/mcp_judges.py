"""What the scripted judges say about MCP.

The tool ``forbidden`` is denied. Of lists everything is shown but what is called ``hidden``. Where the arguments hold
``"permit": true`` the server may ask what it likes meanwhile; ``initialize`` is permitted that, too, where the client's
name is ``permitted``. E-mail addresses are masked.
"""

from typing import Any

from weirgate_contracts.events import OperationAllowed, OperationDenied, OperationIntercepted
from weirgate_contracts.masking import BodyPlan, DetectorPlan, Plan, Transform
from weirgate_contracts.mcp import SERVER_REQUESTS, McpCall

PLAN = Plan(
    statements=(),
    body=BodyPlan(),
    detectors=(DetectorPlan(label="pii.email", transform=Transform(kind="redact")),),
)


def mcp_verdict(
    asked: OperationIntercepted, call: McpCall, common: dict[str, Any]
) -> OperationAllowed | OperationDenied:
    """Return the verdict on a message, or on a list."""
    if call.name == "forbidden" and call.method == "tools/call":
        refusal = {
            "code": "denied",
            "reason": "No rule permits it.",
            "rules": ["tools/0"],
            "hint": "Use add.",
        }
        return OperationDenied.model_validate(common | {"refusal": refusal})
    visible = None
    if call.offered is not None:
        visible = tuple(item.name for item in call.offered if item.name != "hidden")
    body = asked.call.body if asked.call is not None else None
    text = (body.text or "") if body is not None else ""
    permitted = '"permit":true' in text.replace(" ", "") or '"name":"permitted"' in text.replace(" ", "")
    more = {"visible": visible, "permits": SERVER_REQUESTS if permitted else ()}
    return OperationAllowed.model_validate(common | more)
