"""The deferred requests of every ingress, as the log tells them: who was told to come back, and what people said.

::

    operation.deferred ─▶ open ─┬─ approval.granted ─▶ granted ─┬─ grant.used ─────▶ used
                                │                               └─ its time over ─▶ expired
                                ├─ approval.refused, expired, withdrawn ─▶ refused, expired, withdrawn
                                └─ its window over, and nobody says so ──▶ expired

What is known here decides nothing by itself. It only says with which grant, or joining which request, an operation
is asked about again: policy reads the grant back from the log, and the log refuses its second use (ADR 0012). So what
is missed here (a replica that is behind, an entry pushed out by the limit) costs people a second question, never an
effect.

Kept like ``weirgate_chassis.config.ConfigFeed``: it hears what the stream republishes and reads what the stream holds;
after a reconnect it reads again, as core messages may have been missed.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from weirgate_bus.port import Bus, BusError, Delivery, Subscription
from weirgate_bus.seek import first_since, last_sequence
from weirgate_chassis import log
from weirgate_chassis.clock import now_us, rfc3339
from weirgate_contracts.events import (
    ApprovalEvent,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRefused,
    ApprovalWithdrawn,
    Event,
    Grant,
    GrantUsed,
    OperationDeferred,
    OperationHeld,
    OperationIntercepted,
    Undecodable,
    decode,
)
from weirgate_contracts.identity import Identity
from weirgate_contracts.subjects import AUDIT_STREAM, STORED_PREFIX
from weirgate_ingress.gates.core import Found, RequestState

DEFERRED: Final = "audit.operation.deferred.>"
OUTCOMES: Final = ("audit.approval.>", "audit.grant.used.*", "audit.operation.held.>")
SINCE_S: Final = 16 * 24 * 3600
"""How far back a start reads: a window of at most 7 days, a grant usable for 7 more, and a margin."""
LIMIT: Final = 10_000
"""Requests known at once, some KiB each; the oldest goes, and whoever retries it asks anew."""
TELL_S: Final = 24 * 3600
"""How long after its end a request is still told of to who retries it; then the retry asks anew at once."""
MARGIN_S: Final = 5.0
"""Approval's own expiry is to come first; ours is for when it is away."""
UNSTORED_S: Final = 30.0
"""How long a deferral of our own is believed that the log has not confirmed: the last words of a session are offered
to a log that is away for as long."""
_LOOK_AGAIN_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0)
_JOINS: Final = b'"joins":'
Spawn = Callable[[Coroutine[Any, Any, None], str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a deferred request at one moment."""

    request: str
    state: RequestState
    detail: str = ""
    grant: Grant | None = None
    """Where it is granted."""


@dataclass(slots=True)
class _Entry:
    told: OperationDeferred
    sequence: int
    """Of the deferral; 0: not yet heard from the log."""
    until_us: int
    """End of its window, of the grant where it is granted, or when its end stops being told."""
    state: RequestState = "open"
    detail: str = ""
    grant: Grant | None = None
    ended_at: int = 0
    """Sequence of what ended it."""
    is_looked_up: bool = False
    """What people may have said before it was deferred was asked for."""
    is_told: bool = False
    """An agent that came back was told how it ended."""

    @property
    def key(self) -> tuple[str, str]:
        return (self.told.resource, self.told.digest)


class Deferrals:
    """Every deferred request an agent may come back for.

    Args:
        bus: the connected bus.
        spawn: runs a coroutine in the service's task group.
        clock: microseconds since 1970.
        limit: most requests known at once.
    """

    def __init__(
        self, bus: Bus, *, spawn: Spawn, clock: Callable[[], int] = now_us, limit: int = LIMIT
    ) -> None:
        self._bus = bus
        self._spawn = spawn
        self._clock = clock
        self._limit = limit
        self._entries: dict[str, _Entry] = {}
        self._keys: dict[tuple[str, str], list[str]] = {}
        self._hearing: list[Subscription] = []
        self._position = 0
        """Everything up to here was read."""
        self._again = False
        self._reading = False

    async def start(self) -> None:
        """Hear, then read what the log holds of the longest window.

        Raises:
            BusError: the log cannot be read.
        """
        self._bus.on_reconnect(self._reconnected)
        for subject in (DEFERRED, *OUTCOMES):
            self._hearing.append(await self._bus.subscribe(STORED_PREFIX + subject, self._heard))
        last = await last_sequence(self._bus)
        since = await first_since(self._bus, last, rfc3339(self._clock() - SINCE_S * 1_000_000))
        self._position = since - 1
        await self._read(last)

    async def stop(self) -> None:
        """Hear no more."""
        for each in self._hearing:
            await each.stop()

    @property
    def count(self) -> int:
        """Requests known."""
        return len(self._entries)

    # ------------------------------------------------------------ what is known

    def find(self, operation: OperationIntercepted) -> Known | None:
        """Return what this operation is the retry of; ``None``: nothing that is known.

        Of several the newest counts, but for one that was granted since: they were asked for at once.

        A request whose grant was used is none: who sends the same again after that wants it done again.
        """
        newest: tuple[Known, _Entry] | None = None
        for request in reversed(self._keys.get((operation.resource, operation.digest), ())):
            entry = self._entries[request]
            known = self._known(entry)
            if (
                known is None
                or known.state == "used"
                or entry.is_told
                or not entry.told.identity.is_same_party(operation.identity)
            ):
                continue
            if newest is None:
                newest = (known, entry)
            elif known.grant is not None and 0 < newest[1].sequence < known.grant.sequence:
                return known  # both were asked before this was granted; one asked later knows more than the grant
        return newest[0] if newest is not None else None

    def state_of(self, request: str, identity: Identity, resource: str) -> Found:
        """Tell the state of a request to the party whose it is; everybody else learns nothing."""
        entry = self._entries.get(request)
        if (
            entry is None
            or entry.told.resource != resource
            or not entry.told.identity.is_same_party(identity)
            or (known := self._known(entry)) is None
        ):
            return Found(request=request)
        until = rfc3339(entry.until_us) if known.state in ("open", "granted") else ""
        return Found(request=request, state=known.state, detail=known.detail, until=until)

    def _known(self, entry: _Entry) -> Known | None:
        now = self._clock()
        if not entry.sequence and now > _microseconds(entry.told.at) + int(UNSTORED_S * 1e6):
            return None
        state, over = entry.state, now > entry.until_us
        if over and state in ("open", "granted"):
            if now > entry.until_us + TELL_S * 1_000_000:
                return None
            what = (
                "Nobody decided within the window."
                if state == "open"
                else "The approval was not used in time."
            )
            return Known(request=entry.told.request, state="expired", detail=what)
        if over:
            return None
        return Known(request=entry.told.request, state=state, detail=entry.detail, grant=entry.grant)

    # ------------------------------------------------------------ what the log holds

    def deferred(self, event: OperationDeferred, sequence: int = 0) -> None:
        """Take a deferral; one of our own before it comes back from the log (0), as the agent may be quicker.

        One that does not come back from it was not stored: it is soon forgotten, for no grant would hold for it.
        """
        known = self._entries.get(event.request)
        if known is not None:
            known.sequence = known.sequence or sequence
            return
        until_us = _microseconds(event.at) + int((event.window_s + MARGIN_S) * 1e6)
        entry = self._entries[event.request] = _Entry(told=event, sequence=sequence, until_us=until_us)
        self._keys.setdefault(entry.key, []).append(event.request)
        while len(self._entries) > self._limit:
            self._drop(next(iter(self._entries)))

    def _drop(self, request: str) -> None:
        entry = self._entries.pop(request)
        same = self._keys[entry.key]
        same.remove(request)
        if not same:
            del self._keys[entry.key]

    def _heard(self, delivery: Delivery) -> None:
        subject = delivery.subject.removeprefix(STORED_PREFIX)
        entry = self._entries.get(self._take(subject, delivery) or "")
        if entry is not None and not entry.is_looked_up:
            # People may have been quicker than the deferral: what they said stands before it in the log.
            entry.is_looked_up = True
            self._spawn(self._look_up(entry.told.request), "deferred: look up")

    def _take(self, subject: str, delivery: Delivery) -> str | None:
        """Take one event; return the request it defers, if it does."""
        kind = subject.split(".")[1:3]
        if kind == ["operation", "held"] and _JOINS not in delivery.body:
            return None
        last = subject.rpartition(".")[2]
        if kind[0] in ("approval", "grant") and last not in self._entries:
            return None
        try:
            event = decode(delivery.body)
            if event.subject != subject:
                raise Undecodable("the event belongs to another subject")
            return self._apply(event, delivery.sequence)
        except (Undecodable, ValueError) as error:
            log.error("an event cannot be read", subject=subject, sequence=delivery.sequence, why=str(error))
            if last in self._entries:
                self._drop(last)  # nothing is known of it: whoever retries asks anew
            return None

    def _apply(self, event: Event, sequence: int) -> str | None:
        if isinstance(event, OperationDeferred):
            self.deferred(event, sequence)
            return event.request
        if isinstance(event, OperationHeld):
            entry = self._entries.get(event.joins or "")
            if entry is not None and entry.ended_at and sequence > entry.ended_at:
                entry.is_told = True
        elif isinstance(event, GrantUsed):
            self._end(self._entries[event.request], "used", "", event.at, sequence)
        elif isinstance(event, ApprovalEvent):
            entry = self._entries[event.request]
            if event.digest == entry.told.digest and entry.state == "open":
                self._decided(entry, event, sequence)
        return None

    def _decided(self, entry: _Entry, event: ApprovalEvent, sequence: int) -> None:
        match event:
            case ApprovalGranted():
                entry.grant = Grant(request=event.request, granted=event.id, sequence=sequence)
                entry.state = "granted"
                entry.until_us = _microseconds(event.expires_at)
            case ApprovalRefused():
                why = f": {event.reason}" if event.reason else "."
                self._end(entry, "refused", f"{event.by} refused it{why}"[:2000], event.at, sequence)
            case ApprovalExpired():
                self._end(entry, "expired", "Nobody decided within the window.", event.at, sequence)
            case ApprovalWithdrawn():
                self._end(entry, "withdrawn", "The request was withdrawn.", event.at, sequence)
            case _:
                pass  # asked, or one of several people agrees: not decided yet

    def _end(self, entry: _Entry, state: RequestState, detail: str, at: str, sequence: int) -> None:
        if entry.state == "used":
            return
        entry.state, entry.detail, entry.ended_at, entry.grant = state, detail, sequence, None
        entry.until_us = _microseconds(at) + TELL_S * 1_000_000

    async def _read(self, last: int | None = None) -> None:
        """Read on: deferrals first, since what people said may stand before them."""
        start = self._position + 1
        last = await last_sequence(self._bus) if last is None else last
        for subjects in ((DEFERRED,), OUTCOMES):
            async for delivery in self._bus.read(AUDIT_STREAM, subjects=subjects, start=start):
                self._take(delivery.subject, delivery)
        self._position = last

    async def _look_up(self, request: str) -> None:
        for pause_s in _LOOK_AGAIN_S:
            try:
                subjects = (f"audit.approval.*.*.*.{request}", f"audit.grant.used.{request}")
                async for delivery in self._bus.read(AUDIT_STREAM, subjects=subjects):
                    self._take(delivery.subject, delivery)
            except BusError as error:
                log.warning("a request cannot be read yet", request=request, reason=log.describe(error))
                await asyncio.sleep(pause_s)
            else:
                return

    def _reconnected(self) -> None:
        self._again = True
        if not self._reading:
            self._reading = True
            self._spawn(self._read_again(), "deferred: read again")

    async def _read_again(self) -> None:
        try:
            while self._again:
                self._again = False
                try:
                    await self._read()
                except BusError as error:
                    log.warning("deferred requests not read again yet", reason=log.describe(error))
                    self._again = True
                    await asyncio.sleep(_LOOK_AGAIN_S[1])
        finally:
            self._reading = False


def _microseconds(at: str) -> int:
    """Read RFC 3339.

    Raises:
        ValueError: not a time, or without a zone.
    """
    read = datetime.fromisoformat(at)
    if read.tzinfo is None:
        raise ValueError(f"a time without a zone: {at!r}")
    return int(read.timestamp() * 1e6)
