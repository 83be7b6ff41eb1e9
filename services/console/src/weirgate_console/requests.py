"""The approval requests as the log tells them, in memory: nothing that decides depends on the read model.

Kept like ``weirgate_chassis.config.ConfigFeed``: it hears what the stream republishes, reads what the stream
holds, and sorts both by sequence; after a reconnect it reads again, as core messages may have been missed.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from weirgate_bus.port import Bus, BusError, Delivery, Subscription
from weirgate_chassis import log
from weirgate_contracts.events import (
    ApprovalEndorsed,
    ApprovalEvent,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRefused,
    ApprovalRequested,
    ApprovalWithdrawn,
    Undecodable,
    decode,
)
from weirgate_contracts.subjects import AUDIT_STREAM, STORED_PREFIX

APPROVALS = "audit.approval.>"
ENDED_LIMIT = 10_000
"""Ended requests kept; older ones are read from the log when somebody asks for one."""

State = Literal["open", "granted", "refused", "expired", "withdrawn", "unreadable"]


@dataclass(slots=True)
class Request:
    """One request, as far as the log has told it."""

    asked: ApprovalRequested
    sequence: int
    state: State = "open"
    endorsements: list[ApprovalEndorsed] = field(default_factory=list[ApprovalEndorsed])
    ending: ApprovalEvent | None = None


class Requests:
    """Every open request and the recent ones."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._known: dict[str, Request] = {}
        self._ended: dict[str, None] = {}
        self._changed = asyncio.Event()
        self._fresh = False
        self._rereading: asyncio.Task[None] | None = None
        self._again = False
        self._hearing: Subscription | None = None

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Subscribe, then read.

        Raises:
            BusError: the stream cannot be read.
        """
        self._bus.on_reconnect(self._reconnected)
        self._hearing = await self._bus.subscribe(STORED_PREFIX + APPROVALS, self._heard)
        await self._read()
        self._fresh = True

    async def stop(self) -> None:
        """Hear no more."""
        if self._hearing is not None:
            await self._hearing.stop()
        if self._rereading is not None:
            self._rereading.cancel()

    def problem(self) -> str | None:
        """Say why what is known here may be behind; ``None``: it is not. Fits ``Health.check``."""
        if not self._bus.connected:
            return "not connected: an event may be missed"
        return None if self._fresh else "not read yet"

    # ------------------------------------------------------------ what is known

    async def find(self, request: str) -> Request | None:
        """Return one request, from the log when it is not at hand.

        Raises:
            BusError: the stream cannot be read.
        """
        if request not in self._known:
            async for delivery in self._bus.read(AUDIT_STREAM, subjects=(f"audit.approval.*.*.*.{request}",)):
                self._take(delivery.subject, delivery)
        return self._known.get(request)

    def list(self, *, states: Iterable[str], limit: int) -> list[Request]:
        """Return requests in any of these states, newest first."""
        wanted = set(states)
        found = [one for one in self._known.values() if one.state in wanted]
        return sorted(found, key=lambda one: one.asked.id, reverse=True)[:limit]

    async def after(self, request: str, sequence: int, deadline_s: float) -> Request | None:
        """Wait until something newer is known of a request; ``None``: nothing came within the deadline."""
        try:
            async with asyncio.timeout(deadline_s):
                while True:
                    changed = self._changed
                    found = self._known.get(request)
                    if found is not None and found.sequence > sequence:
                        return found
                    await changed.wait()
        except TimeoutError:
            return None

    # ------------------------------------------------------------ the log

    def _heard(self, delivery: Delivery) -> None:
        self._take(delivery.subject.removeprefix(STORED_PREFIX), delivery)

    async def _read(self) -> None:
        async for delivery in self._bus.read(AUDIT_STREAM, subjects=(APPROVALS,)):
            self._take(delivery.subject, delivery)

    def _reconnected(self) -> None:
        self._fresh = False
        self._again = True
        if self._rereading is None or self._rereading.done():
            self._rereading = asyncio.get_running_loop().create_task(
                self._reread(), name="approvals read again"
            )

    async def _reread(self) -> None:
        while self._again:
            self._again = False
            try:
                await self._read()
            except BusError as error:
                log.warning("approvals not read again yet", reason=log.describe(error))
                self._again = True
                await asyncio.sleep(0.2)
        self._fresh = True

    def _take(self, subject: str, delivery: Delivery) -> None:
        id = subject.rpartition(".")[2]
        known = self._known.get(id)
        if known is not None and delivery.sequence <= known.sequence:
            return
        try:
            event = decode(delivery.body)
        except Undecodable as error:
            log.error("an event cannot be read", subject=subject, sequence=delivery.sequence, why=str(error))
            if known is not None:
                self._move(id, known, delivery.sequence, "unreadable", None)
            return
        match event:
            case ApprovalRequested() if known is None:
                self._known[id] = Request(asked=event, sequence=delivery.sequence)
            case ApprovalEndorsed() if known is not None:
                known.endorsements.append(event)
                known.sequence = delivery.sequence
            case ApprovalGranted() if known is not None:
                self._move(id, known, delivery.sequence, "granted", event)
            case ApprovalRefused() if known is not None:
                self._move(id, known, delivery.sequence, "refused", event)
            case ApprovalExpired() if known is not None:
                self._move(id, known, delivery.sequence, "expired", event)
            case ApprovalWithdrawn() if known is not None:
                self._move(id, known, delivery.sequence, "withdrawn", event)
            case _:
                return
        self._tell()

    def _move(
        self, id: str, known: Request, sequence: int, state: State, ending: ApprovalEvent | None
    ) -> None:
        known.state = state
        known.ending = ending
        known.sequence = sequence
        self._ended[id] = None
        while len(self._ended) > ENDED_LIMIT:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            self._known.pop(oldest, None)
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
