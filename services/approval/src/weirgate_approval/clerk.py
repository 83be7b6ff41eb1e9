"""The shell around the desk: facts from the log in, proposals to the log out.

* One fact is settled at a time, in the order of the log, and a batch is accepted only when all of it is
  settled: what a crash interrupts comes again, and the desk, rebuilt from the log, finds it done or does it.
* A proposal the log refuses (``BusConflict``: another approval process was first) makes the clerk read that
  request again and ask the desk anew. So does a publish of which nobody knows whether it was stored.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from weirgate_approval.desk import (
    Decided,
    Desk,
    Held,
    Input,
    Left,
    Proposal,
    Reviewing,
    Stored,
    Tick,
    Unreadable,
    rfc3339,
)
from weirgate_bus.port import Batch, Bus, BusConflict, BusFull, BusUnavailable, Delivery, Expect
from weirgate_chassis import log
from weirgate_contracts.events import (
    ApprovalEvent,
    DecisionMade,
    OperationAbandoned,
    OperationHeld,
    SessionClosed,
    Undecodable,
    decode,
)
from weirgate_contracts.subjects import AUDIT_STREAM

APPROVALS = "audit.approval.>"
FOLLOWED = (
    "audit.operation.held.>",
    "audit.operation.abandoned.>",
    "audit.session.closed.>",
    "audit.admin.decided.>",
    APPROVALS,
)
_RETRY_S = (0.05, 0.1, 0.2, 0.5, 1.0)


class Clerk:
    """Keeps one desk in step with the log.

    Args:
        bus: the connected bus.
        now_us: the clock.
        new_id: makes event ids.
        told: called with every event this clerk has stored, to count it.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        now_us: Callable[[], int],
        new_id: Callable[[], str],
        told: Callable[[ApprovalEvent], None] = lambda _: None,
    ) -> None:
        self.desk = Desk()
        self._bus = bus
        self._now_us = now_us
        self._new_id = new_id
        self._told = told
        self._turn = asyncio.Lock()

    def review(self, reviewers: Mapping[str, frozenset[str]]) -> None:
        """Take who speaks for what, from now on."""
        self.desk.feed(Reviewing(reviewers=reviewers), self._now_us())

    async def rebuild(self) -> None:
        """Read every request the log holds, then expire those whose window is over.

        Raises:
            BusError: the log cannot be read.
        """
        async for delivery in self._bus.read(AUDIT_STREAM, subjects=(APPROVALS,)):
            self.desk.feed(_read_approval(delivery), self._now_us())
        await self.tick()

    async def tick(self) -> None:
        """Expire what is overdue."""
        await self._settle(Tick())

    async def follow(self, durable: str, ready: Callable[[], Awaitable[None]] | None = None) -> None:
        """Settle every fact of the log, for ever. ``ready`` is awaited before a decision is judged."""
        async for batch in self._bus.follow(AUDIT_STREAM, durable=durable, subjects=FOLLOWED):
            await self._take(batch, ready)

    async def _take(self, batch: Batch, ready: Callable[[], Awaitable[None]] | None) -> None:
        for delivery in batch.deliveries:
            given = read_fact(delivery)
            if given is None:
                continue
            if isinstance(given, Decided) and ready is not None:
                await ready()
            await self._settle(given)
        try:
            await batch.accept()
        except BusUnavailable as error:
            log.warning("a batch was not accepted and comes again", reason=log.describe(error))

    async def _settle(self, given: Input) -> None:
        """Feed one fact until the log holds everything that follows from it."""
        async with self._turn:
            attempt = 0
            while not await self._try(given):
                await asyncio.sleep(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
                attempt += 1

    async def _try(self, given: Input) -> bool:
        now_us = self._now_us()
        done = True
        for proposal in self.desk.feed(given, now_us):
            if not await self._publish(proposal, now_us):
                done = False
        return done

    async def _publish(self, proposal: Proposal, now_us: int) -> bool:
        event = proposal.event.stamped(id=self._new_id(), at=rfc3339(now_us), trace=proposal.event.trace)
        expect = Expect(subject=proposal.family, sequence=proposal.sequence)
        try:
            stored = await self._bus.publish(event.subject, event.encoded(), id=event.id, expect=expect)
        except BusConflict:
            await self._reload(event.request, proposal.family)
            return False
        except (BusUnavailable, BusFull) as error:
            log.warning("not stored yet", request=event.request, kind=event.kind, reason=log.describe(error))
            await self._reload(event.request, proposal.family)
            return False
        self.desk.feed(Stored(event=event, sequence=stored.sequence), now_us)
        log.info("request", request=event.request, kind=event.kind, sequence=stored.sequence)
        self._told(event)
        return True

    async def _reload(self, request: str, family: str) -> None:
        """Learn anew from the log what became of one request."""
        try:
            told = [each async for each in self._bus.read(AUDIT_STREAM, subjects=(family,))]
        except BusUnavailable as error:
            log.warning("a request cannot be read yet", request=request, reason=log.describe(error))
            return
        self.desk.forget(request)
        for delivery in told:
            self.desk.feed(_read_approval(delivery), self._now_us())


def read_fact(delivery: Delivery) -> Input | None:
    """Read one message of the log as a fact for the desk.

    What cannot be read opens and grants nothing: an unreadable end of a session withdraws what it asked for,
    an unreadable event of a request ends it here, an unreadable hold or decision counts as not made.
    """
    if delivery.subject.startswith("audit.approval."):
        return _read_approval(delivery)
    try:
        event = decode(delivery.body)
        if event.subject != delivery.subject:
            raise Undecodable("the event belongs to another subject")
        match event:
            case OperationHeld():
                return Held(event=event)
            case DecisionMade():
                return Decided(event=event)
            case OperationAbandoned(ingress=ingress, session=session, operation=operation, reason=reason):
                return Left(
                    ingress=ingress, session=session, operation=operation, reason=f"the agent: {reason}"
                )
            case SessionClosed(ingress=ingress, session=session, reason=reason):
                return Left(
                    ingress=ingress, session=session, operation=None, reason=f"session closed: {reason}"
                )
            case _:
                raise Undecodable("not an event that was asked for")
    except Undecodable as error:
        log.error(
            "an event cannot be read", subject=delivery.subject, sequence=delivery.sequence, why=str(error)
        )
    parts = delivery.subject.split(".")
    if parts[1:3] in (["operation", "abandoned"], ["session", "closed"]) and len(parts) == 5:
        return Left(
            ingress=parts[3], session=parts[4], operation=None, reason="the session's end cannot be read"
        )
    return None


def _complain(delivery: Delivery, why: str) -> None:
    log.error("an event cannot be read", subject=delivery.subject, sequence=delivery.sequence, why=why)


def _read_approval(delivery: Delivery) -> Stored | Unreadable:
    try:
        event = decode(delivery.body)
        if isinstance(event, ApprovalEvent) and event.subject == delivery.subject:
            return Stored(event=event, sequence=delivery.sequence)
        why = "the event belongs to another subject"
    except Undecodable as error:
        why = str(error)
    _complain(delivery, why)
    return Unreadable(request=delivery.subject.rpartition(".")[2])
