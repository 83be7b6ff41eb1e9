"""Following a stream into the read model, for as long as the service lives.

::

    standby ── lock of the stream ──▶ catching up ── end of the stream ──▶ following
       ▲                                   │                                  │
       └────── read model away: degraded, retried for ever, not ready ────────┘

Invariants:

* A batch is accepted only after it is stored. What was not accepted comes again, and what comes again is
  left out by the store: each message has its effect once.
* A batch that cannot be stored is kept and tried again, with growing pauses. Nothing is skipped to get on.
* Where a batch does not begin right after the position (the read model was restored from a copy, or
  rebuilt), what lies between is read from the stream itself. What is not there either is a hole: said
  loudly, and gone on from.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from weirgate_bus.port import Bus, BusError, Delivery
from weirgate_chassis import log
from weirgate_recorder.alarm import Alarm
from weirgate_recorder.store import Behind, StoreUnavailable

_PAUSE_FIRST_S: Final = 0.1
_PAUSE_LONGEST_S: Final = 5.0
_STANDBY_PAUSE_S: Final = 1.0
_LOST_LOG_S: Final = 1.0
_QUIET_S: Final = 1.0
"""When nothing comes for so long, the stream itself is asked whether anything is missing."""


class Sink(Protocol):
    """Where the messages of one stream go. It connects again by itself when its connection was closed."""

    async def open(self) -> bool:
        """Connect; return whether this recorder is the one that writes the stream.

        Raises:
            StoreUnavailable: the read model is away.
        """
        ...

    async def position(self) -> int:
        """Return how far the stream is stored.

        Raises:
            StoreUnavailable: the read model is away.
        """
        ...

    async def write(self, deliveries: Sequence[Delivery], *, from_stream: bool) -> None:
        """Store messages.

        Raises:
            Behind: they do not begin right after the position.
            StoreUnavailable: nothing is stored.
        """
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Which stream is followed, and how."""

    stream: str
    subjects: tuple[str, ...]
    durable: str
    batch: int = 1000
    """Messages stored in one transaction, at most."""
    linger_s: float = 0.1
    """How long a message may wait for others, so that a batch is worth a transaction. It is how far the read
    model lags behind the log; nothing that must be durable waits for it."""


class Follower:
    """Moves one stream into one sink."""

    def __init__(self, *, bus: Bus, sink: Sink, route: Route, alarm: Alarm) -> None:
        self._bus = bus
        self._sink = sink
        self._route = route
        self._alarm = alarm
        self._trouble = f"{route.stream}: read model away"
        self._opened = False
        self._leading = False
        self._caught_up = False
        self._sequence = 0

    def problem(self) -> str | None:
        """Say why this is not ready; standing by for a recorder that leads is."""
        if self._trouble in self._alarm.standing:
            return f"away, {self._route.stream} waits at {self._sequence}"
        if not self._opened:
            return "not connected yet"
        if self._leading and not self._caught_up:
            return f"catching up with {self._route.stream}, at {self._sequence}"
        return None

    @property
    def leading(self) -> bool:
        """This recorder is the one that writes the stream."""
        return self._leading

    @property
    def caught_up(self) -> bool:
        """The end of the stream was reached once since this recorder leads."""
        return self._caught_up

    async def run(self) -> None:
        """Follow the stream, for ever."""
        try:
            await self._lead()
            await self._insist(self._locate)
            while True:
                with contextlib.suppress(BusError):
                    await self._follow()
                await asyncio.sleep(_LOST_LOG_S)
        finally:
            await self._sink.close()

    async def _lead(self) -> None:
        await self._insist(self._open)
        if not self._leading:
            log.info("standing by", stream=self._route.stream)
        while not self._leading:
            await asyncio.sleep(_STANDBY_PAUSE_S)
            await self._insist(self._open)

    async def _open(self) -> None:
        self._leading = await self._sink.open()
        self._opened = True

    async def _follow(self) -> None:
        route = self._route
        batches = self._bus.follow(
            route.stream,
            durable=route.durable,
            subjects=route.subjects,
            batch=route.batch,
            linger_s=route.linger_s,
        )
        coming = asyncio.ensure_future(anext(batches))
        try:
            # The consumer may be further than the read model (restored, rebuilt, emptied) and the log quiet:
            # then nothing would come that shows it.
            await asyncio.wait({coming}, timeout=_QUIET_S)
            if not coming.done():
                await self._insist(self._catch_up)
                self._reached_end()
            while True:
                batch = await coming
                await self._insist(partial(self._store, batch.deliveries))
                with contextlib.suppress(BusError):  # comes again, and is left out
                    await batch.accept()
                if len(batch.deliveries) < route.batch:
                    self._reached_end()
                coming = asyncio.ensure_future(anext(batches))
        finally:
            coming.cancel()

    def _reached_end(self) -> None:
        if not self._caught_up:
            self._caught_up = True
            log.info("following", stream=self._route.stream, sequence=self._sequence)

    async def _store(self, deliveries: Sequence[Delivery]) -> None:
        try:
            await self._sink.write(deliveries, from_stream=False)
        except Behind as behind:
            log.warning(
                "reading what lies between from the stream",
                stream=self._route.stream,
                sequence=behind.position,
            )
            await self._read_from(behind.position + 1)
            await self._sink.write(deliveries, from_stream=True)
        self._sequence = max(self._sequence, *(each.sequence for each in deliveries))

    async def _locate(self) -> None:
        self._sequence = await self._sink.position()

    async def _catch_up(self) -> None:
        await self._locate()
        await self._read_from(self._sequence + 1)

    async def _read_from(self, start: int) -> None:
        gathered: list[Delivery] = []
        async for each in self._bus.read(self._route.stream, subjects=self._route.subjects, start=start):
            gathered.append(each)
            if len(gathered) >= self._route.batch:
                await self._sink.write(gathered, from_stream=True)
                self._sequence = gathered[-1].sequence
                gathered = []
        if gathered:
            await self._sink.write(gathered, from_stream=True)
            self._sequence = gathered[-1].sequence

    async def _insist(self, act: Callable[[], Awaitable[None]]) -> None:
        """Do it, however long the read model is away."""
        pause_s = _PAUSE_FIRST_S
        while True:
            try:
                await act()
            except StoreUnavailable as error:
                await self._troubled(error)
            except (BusError, Behind) as error:
                log.warning("cannot read the stream", stream=self._route.stream, error=type(error).__name__)
            else:
                if self._alarm.over(self._trouble):
                    log.info("the read model is back", stream=self._route.stream, sequence=self._sequence)
                return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_LONGEST_S)

    async def _troubled(self, error: StoreUnavailable) -> None:
        news = self._alarm.sound(
            self._trouble,
            f"the read model does not take what the stream {self._route.stream} holds",
            self._sequence,
        )
        if news:
            log.error(
                "the read model is away",
                stream=self._route.stream,
                sequence=self._sequence,
                error=str(error),
            )
        await self._sink.close()
