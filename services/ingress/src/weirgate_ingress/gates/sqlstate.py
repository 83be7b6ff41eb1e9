"""What a PostgreSQL agent is told: one SQLSTATE per refusal code, and the fields of the message.

Source: PostgreSQL manual, "PostgreSQL Error Codes".
"""

from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_wire.postgres.error import ErrorFields

SQLSTATES: dict[RefusalCode, str] = {
    RefusalCode.DENIED: "42501",
    RefusalCode.LATERAL: "42501",
    RefusalCode.MASKED_PREDICATE: "42501",
    RefusalCode.HELD_REFUSED: "42501",
    RefusalCode.HELD_EXPIRED: "57014",
    RefusalCode.HELD_WITHDRAWN: "57014",
    RefusalCode.UNPARSABLE: "42601",
    RefusalCode.OPAQUE: "42501",
    RefusalCode.UNSUPPORTED: "0A000",
    RefusalCode.CODING_UNKNOWN: "0A000",
    RefusalCode.TOO_LARGE: "54000",
    RefusalCode.PROTOCOL: "08P01",
    RefusalCode.VERDICT_TIMEOUT: "57014",
    RefusalCode.PLAN_TIMEOUT: "57014",
    RefusalCode.PLAN_MISMATCH: "42501",
    RefusalCode.PLAN_IMPOSSIBLE: "42501",
    RefusalCode.CATALOG_CHANGED: "40001",
    RefusalCode.LIMIT_EXCEEDED: "54000",
    RefusalCode.CREDENTIAL_ECHOED: "08P01",
    RefusalCode.LOG_UNAVAILABLE: "58030",
    RefusalCode.LOG_FULL: "53100",
    RefusalCode.UPSTREAM_UNAVAILABLE: "08001",
    RefusalCode.UPSTREAM_LOST: "08006",
    RefusalCode.TOKEN_INVALID: "28P01",
    RefusalCode.TOKEN_EXPIRED: "28000",
    RefusalCode.RESOURCE_UNKNOWN: "3D000",
    RefusalCode.TLS_REQUIRED: "28000",
    RefusalCode.MISDIRECTED: "08P01",
    RefusalCode.LOGIN_TIMEOUT: "08006",
    RefusalCode.TOO_MANY: "53300",
    RefusalCode.KILLED: "57P01",
    RefusalCode.SHUTDOWN: "57P01",
}
"""Exhaustive (a test holds it to the enum). 57014 is a statement timeout; 40001 may be sent again."""

CANCELLED_STATE = "57014"
STATEMENT_UNKNOWN_STATE = "26000"
PORTAL_UNKNOWN_STATE = "34000"
NOTICE_STATE = "01000"


def refusal_fields(refusal: Refusal, *, fatal: bool = False, sqlstate: str | None = None) -> ErrorFields:
    """Return the fields of the ErrorResponse that tells a refusal.

    Args:
        refusal: what is refused.
        fatal: the session ends with it.
        sqlstate: instead of the code's own, where PostgreSQL has one that drivers act on.
    """
    severity = "FATAL" if fatal else "ERROR"
    detail = f"weirgate: {refusal.code.value}"
    if refusal.rules:
        detail += f"; rules: {', '.join(refusal.rules)}"
    fields = {
        "S": severity,
        "V": severity,
        "C": sqlstate or SQLSTATES[refusal.code],
        "M": refusal.reason,
        "D": detail,
    }
    if refusal.hint:
        fields["H"] = refusal.hint
    return fields


def cancelled_fields() -> ErrorFields:
    """Return the fields of the ErrorResponse to an operation the agent cancelled before it was sent on."""
    return {
        "S": "ERROR",
        "V": "ERROR",
        "C": CANCELLED_STATE,
        "M": "canceling statement due to user request",
        "D": "weirgate: cancelled before any of it was sent on",
    }


def notice_fields(notice: str, detail: str, hint: str) -> ErrorFields:
    """Return the fields of the NoticeResponse that tells an agent its operation is held."""
    fields = {"S": "NOTICE", "V": "NOTICE", "C": NOTICE_STATE, "M": notice}
    if detail:
        fields["D"] = detail
    if hint:
        fields["H"] = hint
    return fields
