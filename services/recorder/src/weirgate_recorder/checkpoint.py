"""When the recorder says in the log how far it has chained it. The rule is pure, the loop around it is a
shell."""

import asyncio
from collections.abc import Callable
from typing import Final

from weirgate_bus.port import Bus, BusError
from weirgate_chassis import log
from weirgate_contracts.events import LogCheckpointed
from weirgate_recorder.alarm import Stamp
from weirgate_recorder.store import Position

_LOOK_S: Final = 0.25
_DEADLINE_S: Final = 5.0


class Rule:
    """Whether a checkpoint is due.

    After ``messages`` messages, or once ``seconds`` have gone by, whichever is first; and only where
    something else than checkpoints is new, or a quiet log would grow by itself for ever.
    """

    def __init__(self, *, messages: int, seconds: float, now_s: float) -> None:
        self._messages = messages
        self._seconds = seconds
        self._covered = 0
        self._at_s = now_s

    def due(self, position: Position, now_s: float) -> bool:
        """Say whether a checkpoint of this position is due."""
        covered = max(self._covered, position.checkpointed)
        if position.fresh <= covered:
            self._at_s = now_s  # quiet: the seconds count from the first new message
            return False
        return position.sequence - covered >= self._messages or now_s - self._at_s >= self._seconds

    def made(self, position: Position, now_s: float) -> None:
        """A checkpoint of this position is in the log."""
        self._covered = max(self._covered, position.sequence)
        self._at_s = now_s


class Checkpoints:
    """Publishes checkpoints, for ever."""

    def __init__(self, *, bus: Bus, rule: Rule, stamp: Stamp, reached: Callable[[], Position | None]) -> None:
        self._bus = bus
        self._rule = rule
        self._stamp = stamp
        self._reached = reached

    async def run(self) -> None:
        """Look several times a second whether one is due, and publish it."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_S)
            position = self._reached()
            if position is None or not self._rule.due(position, loop.time()):
                continue
            event = self._stamp(LogCheckpointed(sequence=position.sequence, chain=position.link.hex()))
            try:
                await self._bus.publish(event.subject, event.encoded(), id=event.id, deadline_s=_DEADLINE_S)
            except BusError as error:
                log.warning("no checkpoint", error=type(error).__name__, sequence=position.sequence)
            else:
                self._rule.made(position, loop.time())
