"""The two sinks: events of the AUDIT stream, extents of the RECORDING stream."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from weirgate_bus.port import Delivery
from weirgate_chassis import log
from weirgate_contracts.recording import decode_frames
from weirgate_recorder.alarm import Alarm
from weirgate_recorder.store import Extent, Position, Store, StoreUnavailable

Connect = Callable[[], Awaitable[Store]]

_MISMATCHES_LIMIT: Final = 1000
"""Mismatches reported by one process; a log that was swapped whole would raise one for each message."""


class Opener(Protocol):
    """Opens what ingress sealed."""

    def open(self, body: bytes, subject: str) -> bytes:
        """Return the plain body; raises ValueError where it is not what was sealed for this subject."""
        ...


class _Connected:
    """Keeps one connection, and the lock of the stream with it."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._store: Store | None = None

    async def open(self) -> bool:
        """Connect where there is no connection; return whether the lock of the stream is ours."""
        if self._store is not None and not self._store.closed:
            return True
        await self.close()
        store = await self._connect()
        try:
            leading = await store.lead()
        except StoreUnavailable:
            await store.close()
            raise
        if leading:
            self._store = store
        else:
            await store.close()
        return leading

    async def store(self) -> Store:
        """Return the connection, made anew where it was lost."""
        if not await self.open() or self._store is None:
            raise StoreUnavailable("another recorder, or our own lost connection, holds the stream")
        return self._store

    async def close(self) -> None:
        """Disconnect."""
        store, self._store = self._store, None
        if store is not None:
            await store.close()


class EventSink(_Connected):
    """Stores events, and says what is wrong with the log."""

    def __init__(self, connect: Connect, alarm: Alarm) -> None:
        super().__init__(connect)
        self._alarm = alarm
        self._mismatched: set[int] = set()
        self.reached = Position()
        """How far the log is stored, for the checkpoints."""
        self.stored = 0
        """Events stored by this process."""

    async def position(self) -> int:
        """Return how far the log is stored."""
        self.reached = await (await self.store()).position()
        return self.reached.sequence

    async def write(self, deliveries: Sequence[Delivery], *, from_stream: bool) -> None:
        """Store messages of the log."""
        written = await (await self.store()).write_events(deliveries, from_stream=from_stream)
        self.reached = written.position
        self.stored += written.stored
        at = written.position.sequence
        for first, last in written.holes:
            log.error("messages are missing from the log", first=first, last=last)
            self._alarm.report(f"messages {first} to {last} are missing from the log", at)
        for sequence in written.mismatches:
            if sequence not in self._mismatched and len(self._mismatched) < _MISMATCHES_LIMIT:
                self._mismatched.add(sequence)
                log.error("the log is not what was stored of it; run weirgate log verify", sequence=sequence)
                self._alarm.report(f"the log at {sequence} is not what was stored of it", at)
        if written.unreadable:
            count, first = len(written.unreadable), written.unreadable[0]
            log.error("stored what no event of this release is", count=count, first=first)
            self._alarm.report(f"{count} messages from {first} on are no events of this release", at)


class RecordingSink(_Connected):
    """Stores where recordings lie, and tries whether they can be opened: found out now, not on the day of
    need."""

    def __init__(self, connect: Connect, alarm: Alarm, opener: Opener) -> None:
        super().__init__(connect)
        self._alarm = alarm
        self._opener = opener
        self.stored = 0
        """Messages indexed by this process."""

    async def position(self) -> int:
        """Return how far recordings are indexed."""
        return (await (await self.store()).position()).sequence

    async def write(self, deliveries: Sequence[Delivery], *, from_stream: bool) -> None:
        """Index messages of recordings."""
        store = await self.store()
        found = (extent(each, self._opener) for each in deliveries)
        extents = [each for each in found if each is not None]
        reached = max(each.sequence for each in deliveries)
        position = await store.write_extents(extents, reached=reached, from_stream=from_stream)
        self.stored += len(extents)
        if any(each.frames is None for each in extents) and self._alarm.sound(
            "recording", "a recording cannot be opened with the recording key", position.sequence
        ):
            log.error("a recording cannot be opened with the recording key", sequence=position.sequence)


def extent(delivery: Delivery, opener: Opener) -> Extent | None:
    """Return what is kept of one message of a recording; ``None`` where the subject is none of a
    recording."""
    tokens = delivery.subject.split(".")
    if len(tokens) != 3:
        return None
    frames: int | None = 0
    first_us = last_us = 0
    first_at = last_at = None
    try:
        for frame in decode_frames(opener.open(delivery.body, delivery.subject)):
            first_us = first_us or frame.at_us
            last_us = frame.at_us
            frames += 1
        first_at, last_at = _moment(first_us), _moment(last_us)
    except (ValueError, OverflowError, OSError):
        frames = None
    return Extent(
        sequence=delivery.sequence,
        ingress=tokens[1],
        session=tokens[2],
        size_bytes=len(delivery.body),
        frames=frames,
        first_at=first_at,
        last_at=last_at,
    )


def _moment(at_us: int) -> datetime | None:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC) if at_us else None
