"""The body of a request, masked before it is sent on: by the plan's ``request``, and for every label.

What an agent may see in clear is the agent's right; here it is the upstream that must not see it, so the verdict's
``unmask`` does not count. Judged, held and bound by the digest is what the agent sent; what is sent on is a fixed
function of that and the plan, and it is what the recording holds. A body that was read whole is masked before anything
of the request is sent, so whatever is wrong with it is a refusal; one that streams goes in chunks, and where it cannot
be masked to its end the upstream sees it break off, without the last chunk: no request (RFC 9112 section 8).
"""

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.masking import Plan
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.http.header import DIGESTS
from weirgate_ingress.gates.http.operation import Operation
from weirgate_ingress.gates.http.terms import Bodies, Body, PlanMismatch, Unreadable
from weirgate_wire.error import PeerError
from weirgate_wire.http.head import RequestHead
from weirgate_wire.http.media import read_media_type

_EVERYTHING: frozenset[str] = frozenset()
"""Labels that may go to the upstream in clear: none."""


class RequestBroken(Exception):
    """The body of a request cannot be masked to its end."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


def prepare(operation: Operation, bodies: Bodies, resource: ResourceDocument) -> Refusal | None:
    """Mask the body of an allowed request, or make ready to while it streams; say why it must not be sent on.

    Where the plan masks no requests, or nothing is in the body, nothing is changed.
    """
    plan = operation.plan
    if operation.offer is not None and resource.mask_requests:
        return _unmasked_messages(resource)
    if plan is None or operation.call.body is None:
        return None
    if plan.request is None:
        # Masking does not know yet, or is of a release that never will.
        return _unplanned(resource) if resource.mask_requests else None
    if operation.whole == b"" or (operation.whole is None and operation.body.done):
        return None
    try:
        mask = _mask(operation.sent, plan, bodies)
        if mask is None:
            return None
        if operation.whole is not None:
            operation.whole = mask.feed(operation.whole) + mask.finish()
        else:
            # How long it will be nobody knows before its end.
            operation.chunked = True
    except Unreadable as error:
        return _unreadable(error.reason) if plan.request.unread == "refuse" else None
    except (PlanMismatch, PeerError) as error:
        return _mismatch(str(error))
    operation.request_mask = mask
    # A digest of what the agent sent would be wrong of what is sent on, and would tell of what was masked.
    kept = tuple((name, value) for name, value in operation.sent.headers if name not in DIGESTS)
    operation.sent = operation.sent.with_headers(kept)
    return None


def masked(operation: Operation, pieces: list[bytes]) -> list[bytes]:
    """Return what of a streamed body may be sent on.

    Raises:
        RequestBroken: it is not what its type says.
    """
    mask = operation.request_mask
    if mask is None:
        return pieces
    try:
        out = [mask.feed(piece) for piece in pieces]
        if operation.body.done:
            out.append(mask.finish())
    except PlanMismatch as error:
        raise RequestBroken(_mismatch(error.reason)) from error
    return [piece for piece in out if piece]


def _mask(sent: RequestHead, plan: Plan, bodies: Bodies) -> Body | None:
    # The masks know plans for answers: of this one the body is that of the request.
    as_answer = Plan(statements=(), body=plan.request, detectors=plan.detectors)
    if not bodies.masks(as_answer, _EVERYTHING):
        return None
    kinds = sent.all("content-type")
    if len(kinds) > 1:
        raise PeerError("it has two media types")
    type, parameters = read_media_type(kinds[0]) if kinds else ("", {})
    if any(one.strip().lower() not in ("", "identity") for one in sent.all("content-encoding")):
        # A mebibyte may unpack to a thousand, and the agent decides how often.
        raise Unreadable("it has a content coding")
    return bodies.body(as_answer, _EVERYTHING, type=type, parameters=parameters, codings=())


def _unmasked_messages(resource: ResourceDocument) -> Refusal:
    return Refusal(
        code=RefusalCode.UNSUPPORTED,
        reason=f"Requests to {resource.name} are masked, and messages over a WebSocket cannot be on their way up.",
        hint="Use plain HTTP requests.",
    )


def _unplanned(resource: ResourceDocument) -> Refusal:
    return Refusal(
        code=RefusalCode.PLAN_MISMATCH,
        reason=f"Requests to {resource.name} are masked, and the mask plan does not say how.",
        hint="Send it again.",
    )


def _mismatch(reason: str) -> Refusal:
    return Refusal(
        code=RefusalCode.UNPARSABLE,
        reason=f"The request's body cannot be masked, so it is not sent on: {reason}"[:2000],
        hint="Send it well-formed, as its Content-Type says.",
    )


def _unreadable(reason: str) -> Refusal:
    return Refusal(
        code=RefusalCode.UNSUPPORTED,
        reason=f"The request's body is of a kind masking cannot look into: {reason}"[:2000],
        hint="Send JSON, a form or text, in UTF-8, not coded; or have the resource pass such types ('unread: pass').",
    )
