"""What a service may ask of the bus. Two implementations, one contract suite: memory (tests) and
JetStream."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol


class BusError(Exception):
    """The bus did not do it.

    * ``BusUnavailable``: no answer in time, or not connected; whether it was stored is unknown, the same id
      may be published again.
    * ``BusFull``: the stream refuses because it is full.
    * ``BusConflict``: the expected last sequence is not the last.
    * ``BusTooLarge``: longer than the server takes.
    * ``BusDenied``: this user may not do that.
    """


class BusUnavailable(BusError): ...


class BusFull(BusError): ...


class BusConflict(BusError): ...


class BusTooLarge(BusError): ...


class BusDenied(BusError): ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A message is on disk."""

    stream: str
    sequence: int
    duplicate: bool = False
    """The same id was stored before; ``sequence`` is that one's where the server tells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """Publish only if the last message on ``subject`` (wildcards allowed) has this sequence; 0: there is
    none."""

    subject: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message that came in."""

    subject: str
    body: bytes
    sequence: int = 0
    """Stream sequence; 0 for a core message that no stream numbered. Set for ``stored.>`` and everything
    followed."""
    stored_at: str = ""
    """When the stream stored it, RFC 3339, where known."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class Subscription(Protocol):
    """A core subscription."""

    async def stop(self) -> None:
        """Take no more messages; what was already delivered has been given to the handler."""
        ...


class Batch(Protocol):
    """Messages of a durable consumer, in stream order, to be accepted together."""

    deliveries: Sequence[Delivery]

    async def accept(self) -> None:
        """Tell the stream that all of them are done with; what is not accepted comes again."""
        ...


class Bus(Protocol):
    """The event bus, as one service user sees it."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection right now."""
        ...

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Call back after every reconnect: core messages may have been missed, so whoever relies on them
        reads again.

        Subscriptions are in force again when it is called. It must not block; what it raises stops the
        service.
        """
        ...

    async def watch(self) -> NoReturn:
        """Wait until the bus can no longer be relied on, and raise why.

        That is: a handler raised, a message for a subscription was dropped, or the server took back a
        permission. The service life-cycle waits on this, so that nothing of it goes unnoticed.
        """
        ...

    def publish(
        self, subject: str, body: bytes, *, id: str, expect: Expect | None = None, deadline_s: float = 2.0
    ) -> asyncio.Future[Stored]:
        """Publish to a stream; the future is done when the message is on disk there.

        Not a coroutine: the message is queued in call order before this returns. One waiting message goes at
        once, several go as one atomic batch (messages with ``expect`` always go alone). ``id`` makes a retry
        idempotent. Retries within the deadline while the connection is away; the number of waiting bytes is
        bounded.

        The future raises BusUnavailable, BusFull, BusConflict, BusTooLarge or BusDenied.
        """
        ...

    def tell(self, subject: str, body: bytes) -> None:
        """Send a core message that no stream stores (``control.>``), and forget it."""
        ...

    async def subscribe(
        self, subject: str, handle: Callable[[Delivery], None], *, queue: str | None = None
    ) -> Subscription:
        """Hear core messages of others; what this bus itself publishes comes back only once it is stored, where
        that is subscribed to. ``handle`` is called in order, must not block; what it raises stops the
        service."""
        ...

    def follow(
        self, stream: str, *, durable: str, subjects: Sequence[str], batch: int = 256, linger_s: float = 0.0
    ) -> AsyncIterator[Batch]:
        """Follow a stream by a durable consumer from its beginning, without losing a message across restarts.

        The iterator waits for messages for ever and survives reconnects. A batch not accepted is delivered
        again. After a crash of the bus the last accepted ones may be, too: go by their sequence.

        Args:
            stream: which.
            durable: name of the consumer; one follows under it at a time.
            subjects: patterns of what is wanted.
            batch: messages of a batch, at most.
            linger_s: how long a message may wait for others, so that a batch is worth its while.
        """
        ...

    def read(
        self, stream: str, *, subjects: Sequence[str], start: int = 1, last_per_subject: bool = False
    ) -> AsyncIterator[Delivery]:
        """Read what the stream holds now, in order, then end. With ``last_per_subject`` the newest per
        subject."""
        ...

    async def get(self, stream: str, sequence: int) -> Delivery:
        """Read one stored message.

        Raises:
            KeyError: there is none with that sequence.
        """
        ...

    async def close(self) -> None:
        """Send what is queued (within 2 s) and disconnect."""
        ...
