"""The shell around the desk: facts from the log in, proposals to the log out.

* The log is the only memory. A clerk that starts reads every request, every operation held within the
  longest window, and of each open request what has happened since; then it goes on from there, in the order
  of the log. So nothing is lost between two lives of it, and any number of clerks may work side by side.
* One fact is settled at a time: the next is looked at once the log holds everything that follows from the
  last.
* A proposal the log refuses (``BusConflict``: another clerk was first) makes the clerk read that request
  again and ask the desk anew. So does a publish of which nobody knows whether it was stored.
* What the stream republishes is a hint to look, never a fact: a hint that is lost costs at most ``POLL_S``.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from weirgate_approval.desk import (
    Decided,
    Deferred,
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
from weirgate_bus.port import Bus, BusConflict, BusFull, BusUnavailable, Delivery, Expect
from weirgate_bus.seek import first_since, last_sequence
from weirgate_chassis import log
from weirgate_contracts.events import (
    ApprovalEvent,
    DecisionMade,
    OperationAbandoned,
    OperationDeferred,
    OperationHeld,
    SessionClosed,
    Undecodable,
    decode,
)
from weirgate_contracts.subjects import AUDIT_STREAM, STORED_PREFIX

APPROVALS = "audit.approval.>"
HELD = "audit.operation.held.>"
FOLLOWED = (
    HELD,
    "audit.operation.abandoned.>",
    "audit.operation.deferred.>",
    "audit.session.closed.>",
    "audit.admin.decided.>",
    APPROVALS,
)
POLL_S = 2.0
"""Longest between two looks at the log."""
WINDOW_LIMIT_S = 8 * 24 * 3600
"""An operation held longer ago than this cannot wait any more: no rule may ask for a window past 7 days."""
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
        self._hinted = asyncio.Event()
        self._position = 0
        self._ready: Callable[[], Awaitable[None]] = _at_once

    def review(self, reviewers: Mapping[str, frozenset[str]]) -> None:
        """Take who speaks for what, from now on."""
        self.desk.feed(Reviewing(reviewers=reviewers), self._now_us())

    async def start(self, ready: Callable[[], Awaitable[None]]) -> None:
        """Catch up with the log.

        Args:
            ready: awaited before a decision is judged.

        Raises:
            BusError: the log cannot be read.
        """
        self._ready = ready
        for subject in FOLLOWED:
            await self._bus.subscribe(STORED_PREFIX + subject, self._hint)
        self._position = await last_sequence(self._bus)
        oldest_us = self._now_us() - WINDOW_LIMIT_S * 1_000_000
        since = await first_since(self._bus, self._position, rfc3339(oldest_us))
        async for delivery in self._bus.read(AUDIT_STREAM, subjects=(APPROVALS,)):
            self.desk.feed(_read_approval(delivery), self._now_us())
        async for delivery in self._read((HELD,), since):
            await self._take(delivery)
        for request in self.desk.open_requests:
            ingress, session = self.desk.session_of(request)
            happened = (
                f"audit.operation.abandoned.{ingress}.{session}",
                f"audit.operation.deferred.{ingress}.{session}",
                f"audit.session.closed.{ingress}.{session}",
                f"audit.admin.decided.{request}",
            )
            async for delivery in self._read(happened, since):
                await self._take(delivery)
        await self.tick()

    async def follow(self) -> None:
        """Settle every fact of the log from here on, for ever."""
        while True:
            self._hinted.clear()
            try:
                async for delivery in self._read(FOLLOWED, self._position + 1):
                    await self._take(delivery)
                    self._position = delivery.sequence
            except BusUnavailable as error:
                log.warning("the log cannot be read yet", reason=log.describe(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._hinted.wait()

    async def tick(self) -> None:
        """Expire what is overdue."""
        await self._settle(Tick())

    def _hint(self, delivery: Delivery) -> None:
        """Look at the log at once, but for the end of a session that asks for nothing: that can wait."""
        parts = delivery.subject.removeprefix(STORED_PREFIX).split(".")
        ending = parts[1:3] in (["operation", "abandoned"], ["session", "closed"])
        if delivery.sequence > self._position and (not ending or self.desk.asks_for(parts[3], parts[4])):
            self._hinted.set()

    def _read(self, subjects: Sequence[str], start: int) -> AsyncIterator[Delivery]:
        return self._bus.read(AUDIT_STREAM, subjects=subjects, start=start)

    async def _take(self, delivery: Delivery) -> None:
        given = read_fact(delivery)
        if isinstance(given, Decided):
            await self._ready()
        if given is not None:
            await self._settle(given)

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


async def _at_once() -> None:
    return


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
            case OperationDeferred(ingress=ingress, session=session, operation=operation, request=request):
                return Deferred(ingress=ingress, session=session, operation=operation, request=request)
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
