"""A bus in memory, for tests: deterministic, one process, several users sharing one ``MemoryLog``.

It passes the same contract suite as JetStream. What it does *not* have is a disk, so a test that needs a
fault asks the log for it: ``stall()``, ``go_away()``, ``limit_bytes``.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn

from weirgate_bus.port import (
    Batch,
    BusConflict,
    BusDenied,
    BusError,
    BusFull,
    BusTooLarge,
    BusUnavailable,
    Delivery,
    Expect,
    Stored,
    Subscription,
)
from weirgate_bus.subject import matches, publishable
from weirgate_contracts.subjects import (
    AUDIT_STREAM,
    AUDIT_SUBJECTS,
    RECORDING_STREAM,
    RECORDING_SUBJECTS,
    STORED_PREFIX,
    WRITES,
)

PAYLOAD_LIMIT_BYTES = 8 * 1024 * 1024
"""The same as the server's ``max_payload``."""


@dataclass(slots=True)
class _Waiting:
    subject: str
    body: bytes
    id: str
    expect: Expect | None
    future: asyncio.Future[Stored]
    origin: "MemoryBus"


@dataclass(slots=True, eq=False)
class _Hearing:
    """One core subscription."""

    log: "MemoryLog"
    bus: "MemoryBus"
    pattern: str
    queue: str | None
    handle: Callable[[Delivery], None]

    async def stop(self) -> None:
        if self in self.log.hearing:
            self.log.hearing.remove(self)


@dataclass(slots=True)
class _Stream:
    name: str
    pattern: str
    republish: str | None
    messages: list[Delivery] = field(default_factory=list[Delivery])
    ids: dict[str, int] = field(default_factory=dict[str, int])
    last: dict[str, int] = field(default_factory=dict[str, int])
    size_bytes: int = 0


class MemoryLog:
    """What the server would hold: two streams, durable consumers, and who listens.

    Args:
        limit_bytes: ``max_bytes`` of each stream; ``None``: no limit.
    """

    def __init__(self, *, limit_bytes: int | None = None) -> None:
        self.limit_bytes = limit_bytes
        self.streams = {
            AUDIT_STREAM: _Stream(AUDIT_STREAM, AUDIT_SUBJECTS, STORED_PREFIX),
            RECORDING_STREAM: _Stream(RECORDING_STREAM, RECORDING_SUBJECTS, None),
        }
        self.hearing: list[_Hearing] = []
        self.floors: dict[tuple[str, str], int] = {}
        self.away = False
        self._stalled = False
        self._waiting: deque[_Waiting] = deque()
        self._outbox: deque[tuple[Delivery, MemoryBus]] = deque()
        self._scheduled = False
        self._turn: dict[tuple[str, str], int] = {}
        self._grown: set[asyncio.Event] = set()
        self._buses: list[MemoryBus] = []

    # ------------------------------------------------------------ faults a test can ask for

    def stall(self) -> None:
        """The disk stops: publishes are heard by core subscriptions, but nothing is stored or
        acknowledged."""
        self._stalled = True

    def resume(self) -> None:
        """The disk goes on: what waited is stored in order."""
        self._stalled = False
        self._schedule()

    def go_away(self) -> None:
        """Every user loses its connection."""
        self.away = True

    def come_back(self) -> None:
        """Every user is connected again; what waited is published."""
        self.away = False
        for bus in self._buses:
            bus.reconnected()
        self._schedule()

    # ------------------------------------------------------------ the server's side

    def messages(self, stream: str = AUDIT_STREAM) -> Sequence[Delivery]:
        """Return everything a stream holds, in order: for a test to look at."""
        return self.streams[stream].messages

    def join(self, bus: "MemoryBus") -> None:
        """A user connects."""
        self._buses.append(bus)

    def submit(self, waiting: _Waiting) -> None:
        """Queue one message, in call order."""
        self._waiting.append(waiting)
        self._schedule()

    def tell(self, subject: str, body: bytes, origin: "MemoryBus") -> None:
        """Queue one core message."""
        self._outbox.append((Delivery(subject=subject, body=body), origin))
        self._schedule()

    def stream_of(self, subject: str) -> _Stream | None:
        """Return the stream that stores a subject."""
        return next((each for each in self.streams.values() if matches(each.pattern, subject)), None)

    async def grown(self) -> None:
        """Wait until something more is stored."""
        event = asyncio.Event()
        self._grown.add(event)
        try:
            await event.wait()
        finally:
            self._grown.discard(event)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._step)

    def _step(self) -> None:
        self._scheduled = False
        if self.away:
            return
        while self._outbox:
            self._deliver(*self._outbox.popleft())
        while self._waiting and not self._stalled:
            waiting = self._waiting.popleft()
            if waiting.future.done():
                continue
            self._deliver(Delivery(subject=waiting.subject, body=waiting.body), waiting.origin)
            try:
                stored = self._store(waiting)
            except BusError as error:
                waiting.future.set_exception(error)
            else:
                waiting.future.set_result(stored)

    def _store(self, waiting: _Waiting) -> Stored:
        stream = self.stream_of(waiting.subject)
        if stream is None:
            raise BusUnavailable(f"no stream stores {waiting.subject}")
        known = stream.ids.get(waiting.id)
        if known is not None:
            return Stored(stream=stream.name, sequence=known, duplicate=True)
        if waiting.expect is not None:
            last = max(
                (at for name, at in stream.last.items() if matches(waiting.expect.subject, name)), default=0
            )
            if last != waiting.expect.sequence:
                raise BusConflict(f"last sequence on {waiting.expect.subject} is {last}")
        size = len(waiting.subject) + len(waiting.body)
        if self.limit_bytes is not None and stream.size_bytes + size > self.limit_bytes:
            raise BusFull(f"{stream.name} is full")
        sequence = len(stream.messages) + 1
        stored = Delivery(
            subject=waiting.subject,
            body=waiting.body,
            sequence=sequence,
            stored_at=datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            headers={"Nats-Msg-Id": waiting.id},
        )
        stream.messages.append(stored)
        stream.ids[waiting.id] = sequence
        stream.last[waiting.subject] = sequence
        stream.size_bytes += size
        if stream.republish is not None:
            self._deliver(
                Delivery(subject=stream.republish + waiting.subject, body=waiting.body, sequence=sequence),
                None,
            )
        for event in self._grown:
            event.set()
        return Stored(stream=stream.name, sequence=sequence)

    def _deliver(self, delivery: Delivery, origin: "MemoryBus | None") -> None:
        groups: dict[str, list[_Hearing]] = {}
        for each in list(self.hearing):
            if each.bus is origin or not matches(each.pattern, delivery.subject):
                continue
            if each.queue is None:
                each.bus.hand(each.handle, delivery)
            else:
                groups.setdefault(each.queue, []).append(each)
        for queue, members in groups.items():
            turn = self._turn.get((queue, delivery.subject), 0)
            self._turn[(queue, delivery.subject)] = turn + 1
            member = members[turn % len(members)]
            member.bus.hand(member.handle, delivery)


class _MemoryBatch:
    """Messages of a durable consumer."""

    def __init__(self, log: MemoryLog, key: tuple[str, str], deliveries: Sequence[Delivery]) -> None:
        self.deliveries: Sequence[Delivery] = deliveries
        self.accepted = False
        self._log = log
        self._key = key

    async def accept(self) -> None:
        if self._log.away:
            raise BusUnavailable("not connected")
        self.accepted = True
        floor = self._log.floors.get(self._key, 0)
        self._log.floors[self._key] = max(floor, self.deliveries[-1].sequence)


class MemoryBus:
    """One user of a ``MemoryLog``.

    Args:
        log: what all users share.
        user: a name of ``weirgate_contracts.subjects.WRITES``, to have its permissions enforced; ``None``:
        may all.
    """

    def __init__(self, log: MemoryLog | None = None, user: str | None = None) -> None:
        self.log = log if log is not None else MemoryLog()
        self._writes = None if user is None else WRITES.get(user, ())
        self._closed = False
        self._failure: asyncio.Future[NoReturn] | None = None
        self._reason: BaseException | None = None
        self._callbacks: list[Callable[[], None]] = []
        self.log.join(self)

    @property
    def connected(self) -> bool:
        return not self._closed and not self.log.away

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    async def watch(self) -> NoReturn:
        if self._reason is not None:
            raise self._reason
        self._failure = asyncio.get_running_loop().create_future()
        await self._failure
        raise AssertionError("unreachable")

    def publish(
        self, subject: str, body: bytes, *, id: str, expect: Expect | None = None, deadline_s: float = 2.0
    ) -> asyncio.Future[Stored]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Stored] = loop.create_future()
        if not publishable(subject) or not id:
            future.set_exception(BusDenied(f"not a subject to publish on, or no id: {subject!r}"))
        elif self._writes is not None and not any(matches(pattern, subject) for pattern in self._writes):
            future.set_exception(BusDenied(f"this user may not publish on {subject}"))
        elif len(body) > PAYLOAD_LIMIT_BYTES:
            future.set_exception(BusTooLarge(f"{len(body)} bytes"))
        elif self._closed:
            future.set_exception(BusUnavailable("closed"))
        else:
            timer = loop.call_later(deadline_s, _expire, future)
            future.add_done_callback(lambda _: timer.cancel())
            self.log.submit(_Waiting(subject, bytes(body), id, expect, future, self))
        return future

    def tell(self, subject: str, body: bytes) -> None:
        if self._writes is not None and not any(matches(pattern, subject) for pattern in self._writes):
            raise BusDenied(f"this user may not publish on {subject}")
        if self.connected:
            self.log.tell(subject, bytes(body), self)

    async def subscribe(
        self, subject: str, handle: Callable[[Delivery], None], *, queue: str | None = None
    ) -> Subscription:
        hearing = _Hearing(self.log, self, subject, queue, handle)
        self.log.hearing.append(hearing)
        return hearing

    async def follow(
        self, stream: str, *, durable: str, subjects: Sequence[str], batch: int = 256, linger_s: float = 0.0
    ) -> AsyncIterator[Batch]:
        key = (stream, durable)
        while True:
            if self._closed:
                return
            floor = self.log.floors.get(key, 0)
            fresh = [
                each
                for each in self.log.streams[stream].messages[floor:]
                if any(matches(pattern, each.subject) for pattern in subjects)
            ][:batch]
            if fresh and not self.log.away:
                yield _MemoryBatch(self.log, key, fresh)
                await asyncio.sleep(0)
            else:
                await self.log.grown()
                await asyncio.sleep(linger_s)

    async def read(
        self, stream: str, *, subjects: Sequence[str], start: int = 1, last_per_subject: bool = False
    ) -> AsyncIterator[Delivery]:
        if not self.connected:
            raise BusUnavailable("not connected")
        held = self.log.streams[stream]
        for each in list(held.messages[max(0, start - 1) :]):
            if any(matches(pattern, each.subject) for pattern in subjects) and (
                not last_per_subject or held.last[each.subject] == each.sequence
            ):
                yield each

    async def get(self, stream: str, sequence: int) -> Delivery:
        if not self.connected:
            raise BusUnavailable("not connected")
        messages = self.log.streams[stream].messages
        if not 1 <= sequence <= len(messages):
            raise KeyError(sequence)
        return messages[sequence - 1]

    async def close(self) -> None:
        await asyncio.sleep(0)
        self._closed = True
        for each in [each for each in self.log.hearing if each.bus is self]:
            await each.stop()

    # ------------------------------------------------------------ called by the log

    def hand(self, handle: Callable[[Delivery], None], delivery: Delivery) -> None:
        """Give a delivery to a handler of this user; what it raises ends ``watch``."""
        try:
            handle(delivery)
        except Exception as error:  # noqa: BLE001  (raised again by watch, which stops the service)
            self._fail(error)

    def reconnected(self) -> None:
        """The connection is back."""
        for callback in self._callbacks:
            try:
                callback()
            except Exception as error:  # noqa: BLE001  (raised again by watch, which stops the service)
                self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._reason is None:
            self._reason = error
            if self._failure is not None and not self._failure.done():
                self._failure.set_exception(error)


def _expire(future: asyncio.Future[Stored]) -> None:
    if not future.done():
        future.set_exception(BusUnavailable("not stored in time; whether it was is unknown"))
