"""Publishing to the streams: group commit, retries, and what an acknowledgement means.

One *lane* per stream keeps call order. What waits in a lane leaves it in *flights*:

* a few waiting messages fly as single messages, at once, several underway at a time;
* many fly as one atomic batch, one batch underway at a time;
* a message with a condition (``expect``), and one that must be tried again, never flies in a batch.

How many are many is measured while it runs (``_Costs``): a single message costs the server one fsync; a
batch costs one
too, but before that the server stages it in files of its own, which costs about as much as ten fsyncs where
the staging directory is on disk and three where it is in memory (measured on nats-server 2.15.1; see
``weirgate_bus.staging``).

Why a batch is never repeated (all measured on nats-server 2.15.1): a batch that holds one id the stream
knows already
is refused as a whole (error 10201), a batch with a message the user may not publish is refused (10176) or,
if that
was the last one, never answered. A single message with a known id is acknowledged as a duplicate, with the
first
one's sequence. So whatever is unknown about a batch is settled message by message.

A condition is checked before the id is, so a repeated conditional message that *was* stored is answered
"wrong last
sequence" (10071): then the last message on its subject is read, and if it carries our id, that is the answer.

Order: messages of one lane are stored in call order as long as none has to be tried again.
"""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from weirgate_bus import wire
from weirgate_bus.connection import Answer, Connection
from weirgate_bus.port import (
    BusConflict,
    BusDenied,
    BusError,
    BusFull,
    BusTooLarge,
    BusUnavailable,
    Expect,
    Stored,
)
from weirgate_bus.subject import publishable

BATCH_LIMIT = 128
"""Messages of one batch; past about 100 the fsync is no longer what costs."""
BATCH_LIMIT_BYTES = 4 * 1024 * 1024
"""A batch waits in the server's memory until it is committed."""
WAITING_LIMIT_BYTES = 64 * 1024 * 1024
"""Bytes that may wait for their acknowledgement; past it, publishing fails at once."""
_STUCK_S = 1.0
"""A flight not answered for so long, on a connection that lives, is settled message by message."""
_PAUSE_S = 0.05
_ALONE_WINDOW = 64
"""Messages underway one by one while something is settled."""
_SWEEP_S = 0.05
_HEADER_BYTES = 256

_FULL = (10023, 10047)
_STORE_FAILED, _WRONG_LAST, _WRONG_LAST_CONSTANT, _TOO_LARGE = 10077, 10071, 10164, (10054, 10097)


@dataclass(slots=True, eq=False)
class _Entry:
    subject: str
    body: bytes
    id: str
    expect: Expect | None
    deadline: float
    future: asyncio.Future[Stored]
    alone: bool
    dropped: bool = False


@dataclass(slots=True, eq=False)
class _Flight:
    entries: list[_Entry]
    started: float
    reply: str = ""


class _Costs:
    """What the server usually takes for a single message and for a batch: medians that follow slowly.

    Medians, because a disk that is busy now and then answers a hundred times later than usual. The time
    that counts is from the later of "sent" and "the one before was answered": the server takes one after
    the other. Start values are those of a disk that syncs in a quarter of a millisecond.
    """

    _STEP = 0.03
    _PER_MESSAGE_S = 0.00004
    _FEWEST, _MOST = 4, 24
    _SAME_READ_S = 0.0001

    def __init__(self) -> None:
        self.single_s = 0.0003
        self.batch_s = 0.003
        self._from = 0.0
        self._read_at = 0.0
        self._answers = 0

    @property
    def many(self) -> int:
        """From how many waiting messages on a batch is the quicker way."""
        return min(self._MOST, max(self._FEWEST, round(self.batch_s / self.single_s)))

    def note(self, count: int, started: float, now: float) -> None:
        """Learn from an answer.

        Several answers come in one read from the socket. They share the time since the read before, so a read counts
        once the next one shows that it is over.
        """
        if count > 1:
            alone = now - max(started, self._read_at) - count * self._PER_MESSAGE_S
            self.batch_s *= 1 + self._STEP if alone > self.batch_s else 1 - self._STEP
        elif now - self._read_at < self._SAME_READ_S and self._answers:
            self._answers += 1
            return
        if self._answers:
            each = (self._read_at - self._from) / self._answers
            self.single_s *= 1 + self._STEP if each > self.single_s else 1 - self._STEP
        self._from = max(started, self._read_at)
        self._read_at = now
        self._answers = 1 if count == 1 else 0


class _Lane:
    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.queue: deque[_Entry] = deque()
        self.singles: dict[str, _Flight] = {}
        self.batch: _Flight | None = None
        self.costs = _Costs()
        self.not_before = 0.0

    def flights(self) -> list[_Flight]:
        """Everything underway, in the order it was sent."""
        found = list(self.singles.values())
        if self.batch is not None:
            found.append(self.batch)
            found.sort(key=lambda flight: flight.started)
        return found


@lru_cache(maxsize=16384)
def _stream_of(subject: str, lanes: tuple[tuple[str, str], ...]) -> str | None:
    if not publishable(subject):
        return None
    return next((stream for prefix, stream in lanes if subject.startswith(prefix)), None)


class Publisher:
    """Publishes to streams over one connection.

    Args:
        connection: where to.
        streams: prefix of subjects to name of the stream that stores them.
        last: reads the id of the last message on a subject of a stream, and its sequence.
    """

    def __init__(
        self,
        connection: Connection,
        streams: Sequence[tuple[str, str]],
        last: Callable[[str, str], Awaitable[tuple[str, int]]],
    ) -> None:
        self._connection = connection
        self._streams = tuple(streams)
        self._last = last
        self._loop = asyncio.get_running_loop()
        self._lanes = {stream: _Lane(stream) for _, stream in streams}
        self._waiting_bytes = 0
        self._batches = 0
        self._scheduled = False
        self._sweeping: asyncio.TimerHandle | None = None
        self._settling: set[asyncio.Task[None]] = set()
        self._closed = False
        connection.on_lost(self._lost)
        connection.on_connect(self._pump)
        connection.on_denied(self._denied)

    @property
    def waiting_bytes(self) -> int:
        """Bytes not acknowledged yet."""
        return self._waiting_bytes

    def publish(
        self, subject: str, body: bytes, *, id: str, expect: Expect | None, deadline_s: float
    ) -> asyncio.Future[Stored]:
        """Queue one message; see the port."""
        future: asyncio.Future[Stored] = self._loop.create_future()
        stream = _stream_of(subject, self._streams)
        size = len(body) + _HEADER_BYTES
        if stream is None or not id or not id.isprintable() or " " in id:
            future.set_exception(BusDenied(f"no stream stores {subject!r}, or no id"))
        elif size > self._connection.payload_limit_bytes:
            future.set_exception(BusTooLarge(f"{len(body)} bytes"))
        elif self._closed:
            future.set_exception(BusUnavailable("closed"))
        elif self._waiting_bytes + size > WAITING_LIMIT_BYTES:
            future.set_exception(BusUnavailable("too much is waiting to be stored"))
        else:
            entry = _Entry(
                subject, body, id, expect, self._loop.time() + deadline_s, future, expect is not None
            )
            self._waiting_bytes += size
            self._lanes[stream].queue.append(entry)
            if not self._scheduled:
                self._scheduled = True
                self._loop.call_soon(self._pump)
        return future

    async def drain(self, deadline_s: float) -> None:
        """Wait until nothing is waiting any more, or the deadline; then take nothing new."""
        limit = self._loop.time() + deadline_s
        while self._busy() and self._loop.time() < limit:  # noqa: ASYNC110  (once, at the end)
            await asyncio.sleep(0.005)
        self._closed = True
        for lane in self._lanes.values():
            for entry in [*self._abort(lane), *lane.queue]:
                self._settle(entry, BusUnavailable("closed before it was acknowledged"))
            lane.queue.clear()
        if self._sweeping is not None:
            self._sweeping.cancel()

    def _busy(self) -> bool:
        return any(lane.queue or lane.singles or lane.batch for lane in self._lanes.values())

    # ------------------------------------------------------------ sending

    def _pump(self) -> None:
        self._scheduled = False
        if self._sweeping is None and not self._closed:
            self._sweeping = self._loop.call_later(_SWEEP_S, self._sweep)
        if not self._connection.connected:
            return
        now = self._loop.time()
        for lane in self._lanes.values():
            if lane.queue and lane.not_before <= now:
                self._launch(lane, now)

    def _launch(self, lane: _Lane, now: float) -> None:
        queue = lane.queue
        while queue and lane.batch is None:
            head = queue[0]
            if head.future.done():  # expired, or the caller has cancelled it
                self._drop(queue.popleft())
            elif head.alone:
                if len(lane.singles) >= _ALONE_WINDOW:
                    return
                self._send_single(lane, queue.popleft(), now)
            elif len(queue) >= lane.costs.many:
                self._send_batch(lane, now)
            elif len(lane.singles) < lane.costs.many:
                self._send_single(lane, queue.popleft(), now)
            else:
                return

    def _send_single(self, lane: _Lane, entry: _Entry, now: float) -> None:
        flight = _Flight([entry], now)

        def answered(answer: Answer) -> None:
            self._connection.forget_answer(flight.reply)
            if lane.singles.pop(flight.reply, None) is not None:
                lane.costs.note(1, flight.started, self._loop.time())
                self._single_answered(lane, entry, answer)
                self._schedule(lane)

        flight.reply = self._connection.expect_answer(answered)
        lane.singles[flight.reply] = flight
        head = b"Nats-Msg-Id:%b\r\n" % entry.id.encode()
        if entry.expect is not None:
            head += (
                f"Nats-Expected-Last-Subject-Sequence:{entry.expect.sequence}\r\n"
                f"Nats-Expected-Last-Subject-Sequence-Subject:{entry.expect.subject}\r\n"
            ).encode()
        self._connection.send(wire.publication(entry.subject, flight.reply, head, entry.body))

    def _send_batch(self, lane: _Lane, now: float) -> None:
        entries: list[_Entry] = []
        size = 0
        while (
            lane.queue and len(entries) < BATCH_LIMIT and size < BATCH_LIMIT_BYTES and not lane.queue[0].alone
        ):
            entry = lane.queue.popleft()
            if entry.future.done():
                self._drop(entry)
                continue
            entries.append(entry)
            size += len(entry.body)
        if len(entries) == 1:
            self._send_single(lane, entries[0], now)
        if len(entries) <= 1:
            return
        flight = _Flight(entries, now)

        def answered(answer: Answer) -> None:
            self._connection.forget_answer(flight.reply)
            if lane.batch is flight:
                lane.batch = None
                lane.costs.note(len(entries), flight.started, self._loop.time())
                self._batch_answered(lane, entries, answer)
                self._schedule(lane)

        flight.reply = self._connection.expect_answer(answered)
        lane.batch = flight
        self._batches += 1
        name = f"{self._connection.inbox[-14:]}-{self._batches:x}".encode()
        last = len(entries)
        parts: list[bytes] = []
        for number, entry in enumerate(entries, 1):
            commit = b"Nats-Batch-Commit:1\r\n" if number == last else b""
            head = b"Nats-Msg-Id:%b\r\nNats-Batch-Id:%b\r\nNats-Batch-Sequence:%d\r\n%b" % (
                entry.id.encode(), name, number, commit,
            )  # fmt: skip
            parts.append(wire.publication(entry.subject, flight.reply if commit else "", head, entry.body))
        self._connection.send(b"".join(parts))

    def _schedule(self, lane: _Lane) -> None:
        if lane.queue and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._pump)

    # ------------------------------------------------------------ answers

    def _batch_answered(self, lane: _Lane, entries: list[_Entry], answer: Answer) -> None:
        count = len(entries)
        try:
            ack = _read(answer)
            last = int(ack["seq"])
            if ack.get("count") != count:
                raise BusUnavailable("a batch of another size was stored")
        except (BusError, KeyError):
            self._again(lane, entries)
            return
        for number, entry in enumerate(entries, 1):
            self._settle(entry, Stored(stream=lane.stream, sequence=last - count + number))

    def _single_answered(self, lane: _Lane, entry: _Entry, answer: Answer) -> None:
        try:
            ack = _read(answer)
            stored = Stored(
                stream=lane.stream, sequence=int(ack["seq"]), duplicate=bool(ack.get("duplicate", False))
            )
        except BusConflict as conflict:
            task = self._loop.create_task(self._was_it_ours(lane, entry, conflict))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)
        except (BusUnavailable, KeyError):
            lane.not_before = self._loop.time() + _PAUSE_S
            self._again(lane, [entry])
        except BusError as error:
            self._settle(entry, error)
        else:
            self._settle(entry, stored)

    async def _was_it_ours(self, lane: _Lane, entry: _Entry, conflict: BusConflict) -> None:
        try:
            id, sequence = await self._last(lane.stream, entry.subject)
        except KeyError:
            self._settle(entry, conflict)
        except BusError:
            self._settle(entry, BusUnavailable("whether the conflict is with our own message is unknown"))
        else:
            if id == entry.id:
                self._settle(entry, Stored(stream=lane.stream, sequence=sequence, duplicate=True))
            else:
                self._settle(entry, conflict)

    def _again(self, lane: _Lane, entries: Sequence[_Entry]) -> None:
        """Put entries back at the front, in order, to fly alone."""
        for entry in reversed(entries):
            if entry.future.done():
                self._drop(entry)
            else:
                entry.alone = True
                lane.queue.appendleft(entry)

    def _settle(self, entry: _Entry, result: Stored | BusError) -> None:
        if not entry.future.done():
            if isinstance(result, Stored):
                entry.future.set_result(result)
            else:
                entry.future.set_exception(result)
        self._drop(entry)

    def _drop(self, entry: _Entry) -> None:
        """Its bytes wait no longer; counted once, however often it is dropped."""
        if not entry.dropped:
            entry.dropped = True
            self._waiting_bytes -= len(entry.body) + _HEADER_BYTES

    # ------------------------------------------------------------ when it goes wrong

    def _abort(self, lane: _Lane) -> list[_Entry]:
        """Forget everything underway; returns what was, in order."""
        flights = lane.flights()
        lane.singles.clear()
        lane.batch = None
        for flight in flights:
            self._connection.forget_answer(flight.reply)
        return [entry for flight in flights for entry in flight.entries]

    def _lost(self) -> None:
        for lane in self._lanes.values():
            self._again(lane, self._abort(lane))

    def _denied(self, subject: str) -> None:
        for lane in self._lanes.values():
            if not any(entry.subject == subject for each in lane.flights() for entry in each.entries):
                continue
            entries = self._abort(lane)
            for entry in entries:
                if entry.subject == subject:
                    self._settle(entry, BusDenied(f"this user may not publish on {subject}"))
            self._again(lane, entries)
            self._pump()

    def _sweep(self) -> None:
        self._sweeping = None
        now = self._loop.time()
        for lane in self._lanes.values():
            flights = lane.flights()
            for entry in [*(entry for each in flights for entry in each.entries), *lane.queue]:
                if entry.deadline <= now:
                    self._settle(entry, BusUnavailable("not acknowledged in time; it may be stored or not"))
            if flights and now - flights[0].started > _STUCK_S:
                self._again(lane, self._abort(lane))
            while lane.queue and lane.queue[0].future.done():
                self._drop(lane.queue.popleft())
        if self._busy() and not self._closed:
            self._sweeping = self._loop.call_later(_SWEEP_S, self._sweep)
            self._pump()


def _read(answer: Answer) -> dict[str, Any]:
    """Read an acknowledgement.

    Raises:
        BusError: it is a refusal.
    """
    if answer.head and answer.status == 503:
        raise BusUnavailable("no stream answers")
    try:
        ack: dict[str, Any] = json.loads(answer.body)
        error: dict[str, Any] | None = ack.get("error")
    except (ValueError, AttributeError) as wrong:
        raise BusUnavailable("an acknowledgement that is none") from wrong
    if error is None:
        return ack
    raise refused(error)


def refused(error: dict[str, Any]) -> BusError:
    """Translate an error of the JetStream API.

    Source: nats-server, ``server/errors.json``.
    """
    code = int(error.get("err_code", 0))
    text = str(error.get("description", ""))
    if code in (_WRONG_LAST, _WRONG_LAST_CONSTANT):
        return BusConflict(text)
    if code in _FULL or (
        code == _STORE_FAILED and any(word in text for word in ("maximum", "no space", "insufficient"))
    ):
        return BusFull(text)
    if code in _TOO_LARGE:
        return BusTooLarge(text)
    return BusUnavailable(f"{text} ({code})")
