"""What the recorder says about itself into the log: degraded, once each time."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from weirgate_bus.port import Bus, BusError
from weirgate_contracts.events import Event, LogDegraded

_OWED_LIMIT: Final = 100
_PAUSE_S: Final = 1.0
_DEADLINE_S: Final = 5.0

Stamp = Callable[[Event], Event]
"""Gives an event its id and time."""


class Alarm:
    """Publishes :class:`LogDegraded`, each trouble once until it is over, for as long as it takes to be
    stored.

    Args:
        bus: As the recorder.
        stamp: Gives an event its id and time.
    """

    def __init__(self, bus: Bus, stamp: Stamp) -> None:
        self._bus = bus
        self._stamp = stamp
        self._standing: set[str] = set()
        self._owed: deque[Event] = deque(maxlen=_OWED_LIMIT)
        self._woken = asyncio.Event()

    @property
    def standing(self) -> frozenset[str]:
        """Troubles that are not over."""
        return frozenset(self._standing)

    def sound(self, trouble: str, reason: str, sequence: int) -> bool:
        """Say that something is wrong.

        Args:
            trouble: Name of it; nothing more is said while it stands.
            reason: One sentence that holds no payload.
            sequence: How far the log is stored.

        Returns:
            Whether this is news.
        """
        if trouble in self._standing:
            return False
        self._standing.add(trouble)
        self.report(reason, sequence)
        return True

    def report(self, reason: str, sequence: int) -> None:
        """Say that something was wrong at one place: it does not stand, so nothing will be over."""
        self._owed.append(self._stamp(LogDegraded(reason=reason, sequence=sequence)))
        self._woken.set()

    def over(self, trouble: str) -> bool:
        """Say that it is over; return whether it stood."""
        if trouble not in self._standing:
            return False
        self._standing.discard(trouble)
        return True

    async def run(self) -> None:
        """Publish what is owed, for ever. The same event is tried again under the same id."""
        while True:
            if not self._owed:
                self._woken.clear()
                await self._woken.wait()
            event = self._owed[0]
            try:
                await self._bus.publish(event.subject, event.encoded(), id=event.id, deadline_s=_DEADLINE_S)
            except BusError:
                await asyncio.sleep(_PAUSE_S)
            else:
                if self._owed and self._owed[0] is event:
                    self._owed.popleft()
