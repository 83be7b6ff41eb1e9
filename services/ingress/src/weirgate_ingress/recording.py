"""The recording of one session: frames in order, merged into few messages, acknowledged in order.

Frames that wait while ``IN_FLIGHT`` messages are under way go into one message together: so a single small
frame is published at once, and a stream of rows in messages of 512 KiB. A *mark* is the number of frames
added so far; ``durable`` is the greatest mark up to which everything is on disk.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from weirgate_bus.port import Bus, BusError, BusUnavailable, Stored
from weirgate_chassis.clock import now_us
from weirgate_chassis.seal import Sealer
from weirgate_contracts.recording import MESSAGE_HEAD, frame_head, recording_subject

MESSAGE_LIMIT_BYTES: Final = 512 * 1024
IN_FLIGHT: Final = 2


class _Message:
    __slots__ = ("done", "mark")

    def __init__(self, mark: int) -> None:
        self.mark = mark
        self.done = False


class Recording:
    """Publishes what went in and out of a session.

    Args:
        bus: where to.
        sealer: encrypts each message for its subject.
        ingress: name of this ingress.
        session: id of the session.
        progressed: called when ``durable`` has grown.
        failed: called once, when the log did not take a message; nothing is published after it.
    """

    __slots__ = (
        "_bus",
        "_count",
        "_deadline_s",
        "_failed",
        "_in_flight",
        "_lost",
        "_mark",
        "_pending",
        "_progressed",
        "_sealer",
        "_session",
        "_subject",
        "durable",
    )

    def __init__(
        self,
        bus: Bus,
        sealer: Sealer,
        *,
        ingress: str,
        session: str,
        deadline_s: float,
        progressed: Callable[[], None],
        failed: Callable[[BusError], None],
    ) -> None:
        self._bus = bus
        self._sealer = sealer
        self._subject = recording_subject(ingress, session)
        self._deadline_s = deadline_s
        self._progressed = progressed
        self._failed = failed
        # Head and body of each frame that waits: built without an object per frame, this is the hot path.
        self._pending: deque[tuple[bytes, bytes]] = deque()
        self._session = session
        self._count = 0
        self._in_flight: deque[_Message] = deque()
        self._mark = 0
        self._lost = False
        self.durable = 0
        """Frames up to this mark are on disk."""

    @property
    def settled(self) -> bool:
        """Whether everything added is on disk (or given up)."""
        return self._lost or self.durable == self._mark

    def add(self, direction: str, operation: int, body: bytes) -> int:
        """Add bytes; returns the mark to wait for. ``flush`` publishes them."""
        at_us, mark = now_us(), direction.encode()
        size = len(body)
        if size <= MESSAGE_LIMIT_BYTES:
            self._pending.append((frame_head(mark, operation, at_us, size), body))
            self._mark += 1
            return self._mark
        for at in range(0, size, MESSAGE_LIMIT_BYTES):
            piece = body[at : at + MESSAGE_LIMIT_BYTES]
            self._pending.append((frame_head(mark, operation, at_us, len(piece)), piece))
            self._mark += 1
        return self._mark

    def flush(self) -> None:
        """Publish what waits, as far as messages may be under way."""
        while self._pending and len(self._in_flight) < IN_FLIGHT and not self._lost:
            self._publish_one()

    def give_up(self) -> None:
        """Publish nothing more."""
        self._lost = True
        self._pending.clear()

    def _publish_one(self) -> None:
        pending = self._pending
        head, body = pending.popleft()
        size = len(body)
        parts = [MESSAGE_HEAD, head, body]
        while pending and size + len(pending[0][1]) <= MESSAGE_LIMIT_BYTES:
            head, body = pending.popleft()
            size += len(body)
            parts.append(head)
            parts.append(body)
        message = _Message(self._mark - len(pending))
        self._in_flight.append(message)
        sealed = self._sealer.seal(b"".join(parts), self._subject)
        self._count += 1
        # A counter within the session tells a retry from a new message as well as a ULID would.
        stored = self._bus.publish(
            self._subject, sealed, id=f"{self._session}-{self._count}", deadline_s=self._deadline_s
        )
        stored.add_done_callback(partial(self._stored, message))

    def _stored(self, message: _Message, stored: asyncio.Future[Stored]) -> None:
        if stored.cancelled():
            error: BaseException | None = BusUnavailable("cancelled")
        else:
            error = stored.exception()
        if self._lost:
            return
        if error is not None:
            self.give_up()
            self._failed(error if isinstance(error, BusError) else BusUnavailable(type(error).__name__))
            return
        message.done = True
        in_flight = self._in_flight
        grown = False
        while in_flight and in_flight[0].done:
            self.durable = in_flight.popleft().mark
            grown = True
        if grown:
            self.flush()
            self._progressed()
