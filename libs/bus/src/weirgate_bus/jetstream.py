"""The bus on NATS JetStream, as one NKey user."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import NoReturn

from weirgate_bus import consume, topology, wire
from weirgate_bus.commit import Publisher
from weirgate_bus.connection import Connection, Route
from weirgate_bus.nkey import read_seed
from weirgate_bus.port import (
    Batch,
    BusDenied,
    BusError,
    BusUnavailable,
    Delivery,
    Expect,
    Stored,
    Subscription,
)
from weirgate_contracts.subjects import AUDIT_STREAM, RECORDING_STREAM, STORED_PREFIX

_CLOSE_S = 2.0


class BusMisconfigured(BusError):
    """The log is not what it must be: acknowledged messages could be lost, changed or removed."""


class _Hearing:
    """A core subscription."""

    def __init__(self, connection: Connection, route: Route) -> None:
        self._connection = connection
        self._route = route

    async def stop(self) -> None:
        self._connection.unroute(self._route)


class JetStreamBus:
    """The bus on NATS JetStream. Make it with :meth:`connect`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._publisher = Publisher(
            connection, (("audit.", AUDIT_STREAM), ("recording.", RECORDING_STREAM)), self._last
        )

    @classmethod
    async def connect(
        cls, url: str, nkey_seed_file: Path | str, name: str, *, deadline_s: float = 10.0
    ) -> "JetStreamBus":
        """Connect, trying until the deadline.

        Args:
            url: servers, separated by commas.
            nkey_seed_file: file with the seed; its name without suffix is the user, as ``weirgate up`` and
                ``deploy/nats`` write it.
            name: what the server's own log calls this connection.

        Raises:
            BusUnavailable: nobody answers.
            BusDenied: the seed cannot be read, or the server does not know the key.
        """
        path = Path(nkey_seed_file)
        user = path.name.partition(".")[0]
        seed = read_seed(path)
        connection = await Connection.open(url, seed, name, inbox=topology.inbox(user), deadline_s=deadline_s)
        return cls(connection)

    @property
    def connected(self) -> bool:
        """Whether there is a connection right now."""
        return self._connection.connected

    @property
    def waiting_bytes(self) -> int:
        """Bytes published and not acknowledged yet."""
        return self._publisher.waiting_bytes

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """See the port."""
        self._connection.on_connect(callback)

    async def watch(self) -> NoReturn:
        """See the port."""
        await self._connection.watch()

    def publish(
        self, subject: str, body: bytes, *, id: str, expect: Expect | None = None, deadline_s: float = 2.0
    ) -> asyncio.Future[Stored]:
        """See the port."""
        return self._publisher.publish(subject, body, id=id, expect=expect, deadline_s=deadline_s)

    def tell(self, subject: str, body: bytes) -> None:
        """See the port."""
        self._connection.send(wire.plain(subject, "", body))

    async def subscribe(
        self, subject: str, handle: Callable[[Delivery], None], *, queue: str | None = None
    ) -> Subscription:
        """See the port. Returns once the server has confirmed it.

        Raises:
            BusDenied: this user may not hear that.
            BusUnavailable: not connected, or no confirmation in time.
        """
        stored = subject.startswith(STORED_PREFIX)

        def take(heard: str, reply: str, head: bytes, body: bytes) -> None:
            if stored:
                handle(
                    Delivery(
                        subject=heard,
                        body=body,
                        sequence=int(wire.header(head, b"Nats-Sequence")),
                        stored_at=wire.header(head, b"Nats-Time-Stamp"),
                        headers=wire.Headers(head),
                    )
                )
            else:
                handle(Delivery(subject=heard, body=body, headers=wire.Headers(head)))

        route = self._connection.route(subject, take, queue=queue)
        try:
            await self._connection.settled()
            if route.denied:
                raise BusDenied(f"this user may not subscribe to {subject}")
        except BusError:
            self._connection.unroute(route)
            raise
        return _Hearing(self._connection, route)

    def follow(
        self, stream: str, *, durable: str, subjects: Sequence[str], batch: int = 256, linger_s: float = 0.0
    ) -> AsyncIterator[Batch]:
        """See the port."""
        return consume.Follower(
            self._connection, stream, durable, subjects, batch=batch, linger_s=linger_s
        ).batches()

    def read(
        self, stream: str, *, subjects: Sequence[str], start: int = 1, last_per_subject: bool = False
    ) -> AsyncIterator[Delivery]:
        """See the port. Raises BusError where it cannot be read to its end."""
        return consume.read(
            self._connection, stream, subjects=subjects, start=start, last_per_subject=last_per_subject
        )

    async def get(self, stream: str, sequence: int) -> Delivery:
        """See the port."""
        return await consume.get(self._connection, stream, {"seq": sequence})

    async def close(self) -> None:
        """See the port."""
        if self._connection.connected:
            await self._publisher.drain(_CLOSE_S)
        else:
            await self._publisher.drain(0)
        await self._connection.close()

    async def self_check(self) -> None:
        """Read back how the servers and the streams are set, every setting that a promise stands on.

        Raises:
            BusMisconfigured: something is not what was asked for; everything that is wrong is named.
            BusUnavailable: it cannot be read.
        """
        wrong = await self._server_problems()
        for name in (AUDIT_STREAM, RECORDING_STREAM):
            try:
                info = await consume.call(self._connection, f"$JS.API.STREAM.INFO.{name}")
            except BusDenied:
                if name == AUDIT_STREAM:
                    raise
                continue  # a user that never touches recordings may not ask about them
            found = info["config"]
            wanted = topology.stream_config(name, topology.Limits())
            # How large, and on how many servers, is the operator's choice; that there is a limit is not.
            for free in ("max_bytes", "num_replicas"):
                wanted.pop(free)
            wrong += [f"stream {name}: {problem}" for problem in topology.differences(wanted, found)]
            if int(found.get("max_bytes", -1)) <= 0:
                wrong.append(f"stream {name}: max_bytes is not set")
        if wrong:
            raise BusMisconfigured("; ".join(wrong))

    async def _server_problems(self) -> list[str]:
        answers = await self._connection.gather(topology.CHECK_SUBJECT, b"", wait_s=0.25, deadline_s=3.0)
        if not answers:
            raise BusUnavailable("no server tells how it is configured")
        wrong: list[str] = []
        for answer in answers:
            told = answer.object()
            server = str(told.get("server", {}).get("name", "?"))
            config = (told.get("data") or {}).get("config") or {}
            if config.get("sync_always") is not True:
                wrong.append(
                    f"server {server}: sync_interval is not 'always', an acknowledged message may be lost"
                )
        return wrong

    async def _last(self, stream: str, subject: str) -> tuple[str, int]:
        found = await consume.get(self._connection, stream, {"last_by_subj": subject})
        return found.headers.get("Nats-Msg-Id", ""), found.sequence
