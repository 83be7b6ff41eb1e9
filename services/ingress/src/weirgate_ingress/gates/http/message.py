"""One message over a WebSocket as a judged thing, and one of the upstream's masked.

A message is judged as a call of the route, path and query its tunnel was opened with: method ``MESSAGE``, the message
its body. What it is digested with is the digest of the opening, so that an approval of a message is one for this
tunnel's route and headers too.

Source: RFC 6455 section 5.6.
"""

import hashlib

from weirgate_contracts.http import BODY_TEXT_LIMIT_BYTES, MESSAGE_METHOD, HttpBody, HttpCall
from weirgate_contracts.masking import Plan
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.core import Allowed
from weirgate_ingress.gates.http.terms import Bodies

_JSON, _TEXT, _BINARY = "application/json", "text/plain", "application/octet-stream"
_SPACE = b" \t\r\n"
_OF_A_BODY = ("content-type", "content-encoding")


def type_of(data: bytes, *, text: bool) -> str:
    """Return the media type a message counts as: JSON where it begins like an object or an array of it."""
    if not text:
        return _BINARY
    return _JSON if data.lstrip(_SPACE)[:1] in (b"{", b"[") else _TEXT


def message_call(opening: HttpCall, data: bytes, *, text: bool) -> HttpCall:
    """Return the call a message of the agent is judged as."""
    body = HttpBody(
        type=type_of(data, text=text),
        whole=True,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        text=data.decode() if text and len(data) <= BODY_TEXT_LIMIT_BYTES else None,
    )
    # What the opening said of its body, which it has not, is not said of the message.
    headers = tuple(one for one in opening.headers if one.name not in _OF_A_BODY)
    return opening.model_copy(update={"method": MESSAGE_METHOD, "body": body, "headers": headers})


def message_digest(opening: str, data: bytes, *, text: bool) -> str:
    """Return what a verdict, a plan and an approval of a message are bound to."""
    kind = b"text" if text else b"binary"
    found = hashlib.sha256(b"weirgate websocket 1\0" + opening.encode() + b"\0" + kind + b"\0")
    found.update(hashlib.sha256(data).digest())
    return found.hexdigest()


def unfit(answer: Allowed, digest: str) -> Refusal | None:
    """Say why an allowed message is all the same not sent on."""
    if answer.verdict.digest != digest or answer.plan.digest != digest:
        return Refusal(
            code=RefusalCode.PLAN_MISMATCH,
            reason="The verdict or the mask plan is about another operation.",
            hint="Send the message again.",
        )
    if answer.plan.plan.impossible is not None or answer.plan.plan.body is None:
        reason = answer.plan.plan.impossible or "it is not a plan for HTTP"
        return Refusal(
            code=RefusalCode.PLAN_IMPOSSIBLE,
            reason=f"No mask plan can be made for this message: {reason}"[:2000],
        )
    return None


def masked_message(
    bodies: Bodies, plan: Plan, unmask: frozenset[str], data: bytes, *, type: str
) -> tuple[bytes, int]:
    """Mask a whole text message; return it and the values changed in it.

    Raises:
        Unreadable: masking cannot look into it.
        PlanMismatch: it is not what it begins like, or the plan does not cover it.
    """
    mask = bodies.body(plan, unmask, type=type, parameters={}, codings=())
    if mask is None:
        return data, 0
    return mask.feed(data) + mask.finish(), mask.cells_masked
