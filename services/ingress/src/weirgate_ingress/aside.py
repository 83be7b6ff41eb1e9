"""Tells an upstream one thing on a connection of its own, bounded in time and number.

What is told was judged, taped and bounded by the gate; here nothing may hold a session up or keep an upstream's
sockets: no more than ``AT_ONCE`` of one session are under way, what comes on top waits, each ends after
``DEADLINE_S``, and what goes wrong is logged and goes no further.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Final

from weirgate_chassis import log
from weirgate_ingress.gates.core import Aside
from weirgate_ingress.origins import Origin
from weirgate_ingress.upstreams import DialError, Upstream

AT_ONCE: Final = 2
DEADLINE_S: Final = 10.0
"""From its turn to the first byte of an answer; a server that waits for it longer has its own time-outs."""


class Asides:
    """The asides of one session."""

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)

    async def say(self, aside: Aside, dial: Callable[[], Awaitable[Upstream | Origin]]) -> None:
        """Dial, say it, and wait until the upstream has taken it in."""
        async with self._places:
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await _say(aside, await dial())
            except (DialError, OSError, TimeoutError) as error:
                log.warning("an upstream could not be told that it is refused", reason=type(error).__name__)


async def _say(aside: Aside, origin: Upstream | Origin) -> None:
    if not isinstance(origin, Origin):
        origin.transport.abort()
        return
    answer = _Answer()
    try:
        origin.attach(answer)
        digest = hashlib.sha256(aside.body).hexdigest()
        if not origin.send_head(aside.head, digest):
            await origin.prepare()
            if not origin.send_head(aside.head, digest):
                return
        origin.transport.write(aside.body)
        await answer.begun.wait()
    finally:
        origin.link.detach()


class _Answer:
    """Hears that there is an answer, and nothing of what it says."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    def upstream_sent(self, data: bytes) -> None:
        self.begun.set()

    def upstream_lost(self) -> None:
        self.begun.set()

    def upstream_full(self) -> None:
        """It is small, and nothing follows it."""

    def upstream_drained(self) -> None:
        """Nothing waits for that."""
