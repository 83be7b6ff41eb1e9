"""An approval an operation comes back with: read from the log, bound to one operation, good for one use.

The events of approval are the only proof. The agent's side can name any sequence it likes: what stands there
must be a grant for this very session, operation and digest. Where the log says that the operation was deferred (the
agent was told to come back), it may be another session and operation: of the same party, on the same resource, with
the same digest. Either way it is taken once: ``take`` is refused by the log the second time (ADR 0012).
"""

from datetime import datetime

from weirgate_bus.port import Bus, BusConflict, Delivery, Expect
from weirgate_chassis.clock import now
from weirgate_chassis.ids import new_id
from weirgate_contracts.events import (
    ApprovalGranted,
    ApprovalRequested,
    Grant,
    GrantUsed,
    OperationDeferred,
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
    comes_back = not _same_operation(granted, operation)
    if granted.digest != operation.digest or (comes_back and not await _was_deferred(bus, granted)):
        raise GrantRefused("it was given for another operation")
    if _time(operation.at) > _time(granted.expires_at):
        raise GrantRefused("its time is over")
    requested = await _requested(bus, granted)
    if requested.resource != operation.resource or (requested.operation, requested.digest) != (
        granted.operation,
        granted.digest,
    ):
        raise GrantRefused("it was asked for another operation")
    same = (
        requested.identity.is_same_party(operation.identity)
        if comes_back
        else requested.identity == operation.identity
    )
    if not same:
        raise GrantRefused("it was asked for somebody else")
    return Granted(request=grant.request, groups=frozenset(requested.groups), quorum=requested.quorum)


async def take(bus: Bus, operation: OperationIntercepted, grant: Grant) -> None:
    """Take a grant for one operation, on disk: whoever comes second is refused by the log itself.

    It is taken before the verdict is given. If policy is killed in between, the grant is gone and nothing was done
    under it: the agent asks anew.

    Raises:
        GrantRefused: it was taken already, for whatever session and by whatever instance of policy.
        BusError: the log does not take it; whether it did is unknown, and no verdict may be given.
    """
    event = GrantUsed(
        ingress=operation.ingress,
        session=operation.session,
        request=grant.request,
        operation=operation.operation,
        intercepted=operation.id,
        digest=operation.digest,
    ).stamped(id=new_id(), at=now(), trace=operation.trace)
    try:
        await bus.publish(
            event.subject, event.encoded(), id=event.id, expect=Expect(subject=event.subject, sequence=0)
        )
    except BusConflict as error:
        raise GrantRefused("it was used already") from error


async def _was_deferred(bus: Bus, granted: ApprovalGranted) -> bool:
    """Say whether the agent was told to come back for what was granted."""
    subject = OperationDeferred.SUBJECT.format(ingress=granted.ingress, session=granted.session)
    async for delivery in bus.read(AUDIT_STREAM, subjects=[subject]):
        event = _decoded(delivery)
        if isinstance(event, OperationDeferred) and (event.request, event.operation, event.digest) == (
            granted.request,
            granted.operation,
            granted.digest,
        ):
            return True
    return False


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
