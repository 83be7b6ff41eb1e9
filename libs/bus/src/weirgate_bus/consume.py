"""Reading streams: durable following, one-off reading, single messages.

Following is a pull consumer with ``ack_policy: all`` under a fixed name. Who may lag is not sent each message
as it is stored, which would wake the server and the follower for every single one: it waits for one message,
then for as long as it may lag, then fetches all there are.

Deliveries are kept in stream order by starting anew (CONSUMER.RESET, back to the last accepted message)
whenever something was interrupted: after a restart of the service, a reconnect, a batch that was not accepted
in time, or a gap in the consumer's own numbering.

The server writes down what was accepted a moment after it has said so: killed in between, it delivers some
accepted messages again. A follower that lives on skips those; one that starts anew is given them again, so
whoever follows must not mind (they know the sequence).

Reading is an ephemeral push consumer that only the caller's inbox hears, with flow control, so that a slow
reader slows the server. It is complete when as many messages have come as were pending when it began.
"""

import asyncio
import base64
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from weirgate_bus import wire
from weirgate_bus.commit import refused
from weirgate_bus.connection import Connection
from weirgate_bus.port import Batch, BusError, BusUnavailable, Delivery

_SECOND = 1_000_000_000
_HEARTBEAT_S = 1
_STALLED_S = 4.0
_PULL_S = 30
_NO_MESSAGE = 10037


def rfc3339(ns: int) -> str:
    """Write nanoseconds since 1970 as RFC 3339 UTC with microseconds."""
    second, fraction = divmod(ns // 1000, 1_000_000)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:06d}Z"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a delivered message stands, from its reply subject."""

    stream_sequence: int
    consumer_sequence: int
    stored_at_ns: int
    pending: int


def _place(reply: str) -> _Place:
    """Read ``$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>``.

    The newer form has two more tokens in front (domain, account) and may have one more at the end.

    Raises:
        BusUnavailable: it is none.
    """
    tokens = reply.split(".")
    at = 4 if len(tokens) == 9 else 6
    try:
        return _Place(int(tokens[at + 1]), int(tokens[at + 2]), int(tokens[at + 3]), int(tokens[at + 4]))
    except (ValueError, IndexError):
        raise BusUnavailable("a delivery without its place in the stream") from None


def _delivery(subject: str, place: _Place, head: bytes, body: bytes) -> Delivery:
    return Delivery(
        subject=subject,
        body=body,
        sequence=place.stream_sequence,
        stored_at=rfc3339(place.stored_at_ns),
        headers=wire.Headers(head),
    )


async def call(connection: Connection, subject: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Call the JetStream API.

    Raises:
        KeyError: there is no such message.
        BusError: it refused, or did not answer.
    """
    written = b"" if body is None else json.dumps(body).encode()
    answer = (await connection.request(subject, written)).object()
    error = answer.get("error")
    if error is not None:
        if error.get("err_code") == _NO_MESSAGE:
            raise KeyError(error.get("description"))
        raise refused(error)
    return answer


async def get(connection: Connection, stream: str, which: Mapping[str, Any]) -> Delivery:
    """Read one message.

    Raises:
        KeyError: there is none.
        BusError: it cannot be read.
    """
    found = (await call(connection, f"$JS.API.STREAM.MSG.GET.{stream}", which))["message"]
    stored = datetime.fromisoformat(str(found["time"]))
    return Delivery(
        subject=found["subject"],
        body=base64.b64decode(found.get("data") or ""),
        sequence=int(found["seq"]),
        stored_at=stored.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        headers=wire.Headers(base64.b64decode(found.get("hdrs") or "")),
    )


# ---------------------------------------------------------------- reading


class _Reading:
    """What an ephemeral consumer has delivered and nobody has taken yet."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.queue: deque[tuple[_Place, Delivery] | str] = deque()
        self.arrived = asyncio.Event()
        self.problem: BusError | None = None
        self.heard_at = asyncio.get_running_loop().time()
        self._expected = 1

    def take(self, subject: str, reply: str, head: bytes, body: bytes) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        status, _ = wire.status_of(head) if head else (0, "")
        if status == 100:
            stalled = reply or wire.header(head, b"Nats-Consumer-Stalled")
            if stalled:
                self.queue.append(stalled)  # flow control: answered once what came before it is taken
                self.arrived.set()
            return
        if status:
            self.problem = BusUnavailable(f"reading was ended by the server ({status})")
        else:
            place = _place(reply)
            if place.consumer_sequence != self._expected:
                self.problem = BusUnavailable("a message was lost while reading")
            self._expected = place.consumer_sequence + 1
            self.queue.append((place, _delivery(subject, place, head, body)))
        self.arrived.set()

    def lost(self) -> None:
        self.problem = BusUnavailable("the connection was lost while reading")
        self.arrived.set()


async def read(
    connection: Connection, stream: str, *, subjects: Sequence[str], start: int, last_per_subject: bool
) -> AsyncIterator[Delivery]:
    """Read what a stream holds; see the port.

    Raises:
        BusError: it cannot be read to its end.
    """
    reading = _Reading(connection)
    target = connection.unique()
    route = connection.route(target, reading.take, exact=False)
    connection.on_lost(reading.lost)
    policy: dict[str, Any] = {"deliver_policy": "all"}
    if last_per_subject:
        policy = {"deliver_policy": "last_per_subject"}
    elif start > 1:
        policy = {"deliver_policy": "by_start_sequence", "opt_start_seq": start}
    config = policy | {
        "deliver_subject": target,
        "filter_subjects": list(subjects),
        "ack_policy": "none",
        "replay_policy": "instant",
        "flow_control": True,
        "idle_heartbeat": _HEARTBEAT_S * _SECOND,
        "inactive_threshold": 5 * _SECOND,
        "mem_storage": True,
        "num_replicas": 1,
    }
    try:
        made = await call(
            connection, f"$JS.API.CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": config}
        )
        wanted = int(made["num_pending"]) + int(made["delivered"]["consumer_seq"])
        given = 0
        while given < wanted:
            if not reading.queue:
                if reading.problem is not None:
                    raise reading.problem
                await _arrival(reading)
                continue
            item = reading.queue.popleft()
            if isinstance(item, str):
                connection.send(wire.plain(item, "", b""))
                continue
            place, delivery = item
            if reading.problem is not None and place.consumer_sequence != given + 1:
                raise reading.problem
            given += 1
            if not last_per_subject or delivery.sequence >= start:
                yield delivery
            if place.pending == 0:
                return
    finally:
        connection.unroute(route)
        connection.forget_lost(reading.lost)


async def _arrival(reading: _Reading) -> None:
    reading.arrived.clear()
    if reading.queue or reading.problem is not None:
        return
    try:
        async with asyncio.timeout(_STALLED_S):
            await reading.arrived.wait()
    except TimeoutError:
        raise BusUnavailable("the stream does not answer") from None


# ---------------------------------------------------------------- following


class _Interrupted(Exception):
    """Deliveries stopped being a gapless continuation: begin anew after the last accepted message."""


class _Followed:
    """Messages of a durable consumer, to be accepted together."""

    def __init__(self, connection: Connection, deliveries: Sequence[Delivery], last_reply: str) -> None:
        self.deliveries: Sequence[Delivery] = deliveries
        self.accepted = False
        self._connection = connection
        self._last_reply = last_reply

    async def accept(self) -> None:
        # The acknowledgement itself is acknowledged: once this returns, nothing of it is delivered again.
        await self._connection.request(self._last_reply, b"+ACK")
        self.accepted = True


class Follower:
    """One durable consumer, followed for ever."""

    def __init__(
        self,
        connection: Connection,
        stream: str,
        durable: str,
        subjects: Sequence[str],
        *,
        batch: int,
        linger_s: float,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._durable = durable
        self._subjects = list(subjects)
        self._batch = batch
        self._linger_s = linger_s
        self._queue: deque[tuple[_Place, Delivery, str]] = deque()
        self._arrived = asyncio.Event()
        self._interrupted = False
        self._full = False
        self._outstanding = 0
        self._expected: int | None = None
        self._heard_at = 0.0
        self._accepted = 0

    async def batches(self) -> AsyncIterator[Batch]:
        """Yield batches for ever."""
        self._connection.on_lost(self._interrupt)
        try:
            while True:
                try:
                    async for each in self._run():
                        yield each
                except (BusUnavailable, _Interrupted):
                    # Away, or begun anew: wait a little, so that a server in trouble is not run over.
                    await asyncio.sleep(0.1)
                    await self._connection.until_connected()
        finally:
            self._connection.forget_lost(self._interrupt)

    def _interrupt(self) -> None:
        self._interrupted = True
        self._arrived.set()

    async def _run(self) -> AsyncIterator[Batch]:
        target = self._connection.unique()
        self._queue.clear()
        self._interrupted = self._full = False
        self._outstanding = 0
        self._expected = None
        await self._begin()
        route = self._connection.route(target, self._take, exact=False)
        try:
            while True:
                if self._interrupted:
                    raise _Interrupted
                if self._linger_s:
                    await self._gather(target)
                else:
                    if self._outstanding <= self._batch // 2:
                        self._pull(target, self._batch)
                    if not self._queue:
                        await self._arrival()
                if not self._queue:
                    continue
                taken = [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]
                batch = _Followed(self._connection, [each[1] for each in taken], taken[-1][2])
                yield batch
                if not batch.accepted:
                    raise _Interrupted
                self._accepted = batch.deliveries[-1].sequence
        finally:
            self._connection.unroute(route)

    async def _begin(self) -> None:
        config: dict[str, Any] = {
            "durable_name": self._durable,
            "deliver_policy": "all",
            "ack_policy": "all",
            "ack_wait": 600 * _SECOND,
            "max_deliver": -1,
            "max_ack_pending": max(1024, 4 * self._batch),
            "filter_subjects": self._subjects,
            "replay_policy": "instant",
        }
        api, name = "$JS.API.CONSUMER", f"{self._stream}.{self._durable}"
        await call(self._connection, f"{api}.CREATE.{name}", {"stream_name": self._stream, "config": config})
        await call(self._connection, f"{api}.RESET.{name}")

    async def _gather(self, target: str) -> None:
        """Wait for a message, linger, and fetch what else there is; after a full batch there is no lingering."""
        if not self._full:
            self._pull(target, 1)
            await self._fetched()
            await asyncio.sleep(self._linger_s)
        if left := self._batch - len(self._queue):
            self._pull(target, left, wait=False)
            await self._fetched()
        self._full = len(self._queue) >= self._batch

    async def _fetched(self) -> None:
        while self._outstanding and not self._interrupted:
            await self._arrival()

    def _pull(self, target: str, count: int, *, wait: bool = True) -> None:
        ask: dict[str, Any] = {"batch": count}
        if wait:
            ask |= {"expires": _PULL_S * _SECOND, "idle_heartbeat": _HEARTBEAT_S * _SECOND}
        else:
            ask["no_wait"] = True
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._durable}"
        self._outstanding += count
        self._heard_at = asyncio.get_running_loop().time()
        self._connection.send(wire.plain(subject, target, json.dumps(ask).encode()))

    def _take(self, subject: str, reply: str, head: bytes, body: bytes) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        status, _ = wire.status_of(head) if head else (0, "")
        if status == 100:
            return
        if status == 408:  # the pull has expired; what it did not bring is no longer outstanding
            left = wire.header(head, b"Nats-Pending-Messages")
            self._outstanding -= int(left) if left.isdigit() else self._outstanding
        elif status == 404:  # there is no more of what was asked for without waiting
            self._outstanding = 0
        elif status:
            self._interrupted = True
        else:
            place = _place(reply)
            if self._expected is not None and place.consumer_sequence != self._expected:
                self._interrupted = True  # somebody else follows under this name, or one was lost
            self._expected = place.consumer_sequence + 1
            self._outstanding -= 1
            if place.stream_sequence > self._accepted:
                self._queue.append((place, _delivery(subject, place, head, body), reply))
        self._arrived.set()

    async def _arrival(self) -> None:
        self._arrived.clear()
        try:
            async with asyncio.timeout(_STALLED_S):
                await self._arrived.wait()
        except TimeoutError:
            if asyncio.get_running_loop().time() - self._heard_at > _STALLED_S - 0.5:
                raise _Interrupted from None
