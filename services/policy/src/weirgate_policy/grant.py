"""An approval an operation comes back with: read from the log, bound to one operation, good for one use.

The events of approval are the only proof. The agent's side can name any sequence it likes: what stands there
must be a grant for this very session, operation and digest, and no allowed verdict may stand on it already.
"""

from datetime import datetime

from weirgate_bus.port import Bus, Delivery
from weirgate_contracts.events import (
    ApprovalGranted,
    ApprovalRequested,
    Grant,
    OperationAllowed,
    OperationIntercepted,
    Undecodable,
    decode,
)
from weirgate_contracts.subjects import AUDIT_STREAM
from weirgate_policy.judge import Granted


class GrantRefused(Exception):
    """The approval does not hold; the text is fit for an agent."""


async def read_grant(bus: Bus, operation: OperationIntercepted, grant: Grant) -> Granted:
    """Read an approval back and check that it is one for this operation.

    Whether the window is over is told from the operation's own time, so that the verdict can be computed
    again.

    Raises:
        GrantRefused: it is not.
        BusError: the log cannot be read.
    """
    try:
        delivery = await bus.get(AUDIT_STREAM, grant.sequence)
    except KeyError as error:
        raise GrantRefused("the log holds no such approval") from error
    granted = _decoded(delivery)
    if not isinstance(granted, ApprovalGranted):
        raise GrantRefused("the log holds no such approval")
    if (granted.id, granted.request) != (grant.granted, grant.request):
        raise GrantRefused("it is another approval")
    if not _same_operation(granted, operation):
        raise GrantRefused("it was given for another operation")
    if _time(operation.at) > _time(granted.expires_at):
        raise GrantRefused("its time is over")
    requested = await _requested(bus, granted)
    if not _same_operation(requested, operation) or requested.resource != operation.resource:
        raise GrantRefused("it was asked for another operation")
    if requested.identity != operation.identity:
        raise GrantRefused("it was asked for somebody else")
    return Granted(request=grant.request, groups=frozenset(requested.groups), quorum=requested.quorum)


async def uses(bus: Bus, operation: OperationIntercepted, grant: Grant) -> tuple[bool, int]:
    """Say whether an allowed verdict stands on a grant already, and the sequence of the session's last one.

    A verdict that is then published expecting that last sequence is the only one that can be: that is what
    makes an approval good once, however many instances of policy judge.

    Raises:
        BusError: the log cannot be read.
        GrantRefused: an allowed verdict in the log cannot be read.
    """
    subject = OperationAllowed.SUBJECT.format(ingress=operation.ingress, session=operation.session)
    last = 0
    async for delivery in bus.read(AUDIT_STREAM, subjects=[subject], last_per_subject=True):
        last = max(last, delivery.sequence)
    if last <= grant.sequence:
        return False, last
    async for delivery in bus.read(AUDIT_STREAM, subjects=[subject], start=grant.sequence + 1):
        last = max(last, delivery.sequence)
        event = _decoded(delivery)
        if not isinstance(event, OperationAllowed):
            raise GrantRefused("the log cannot be read")
        if event.request == grant.request:
            return True, last
    return False, last


async def _requested(bus: Bus, granted: ApprovalGranted) -> ApprovalRequested:
    subject = ApprovalRequested.SUBJECT.format(
        ingress=granted.ingress, session=granted.session, request=granted.request
    )
    found: ApprovalRequested | None = None
    async for delivery in bus.read(AUDIT_STREAM, subjects=[subject], last_per_subject=True):
        event = _decoded(delivery)
        if isinstance(event, ApprovalRequested):
            found = event
    if found is None:
        raise GrantRefused("nobody asked for it")
    return found


def _decoded(delivery: Delivery) -> object:
    try:
        event = decode(delivery.body)
    except Undecodable as error:
        raise GrantRefused("the log cannot be read") from error
    if event.subject != delivery.subject:
        raise GrantRefused("the log cannot be read")  # written by somebody who may not write it
    return event


def _same_operation(event: ApprovalGranted | ApprovalRequested, operation: OperationIntercepted) -> bool:
    return (event.ingress, event.session, event.operation, event.digest) == (
        operation.ingress,
        operation.session,
        operation.operation,
        operation.digest,
    )


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise GrantRefused("its time cannot be read") from error
    if found.tzinfo is None:
        raise GrantRefused("its time cannot be read")
    return found
