"""The approval service: holds operations for people, and decides once.

Any number of instances may run: each follows the whole log, and that a request is opened once and decided
once is the log's own doing (``weirgate_approval.desk``).
"""

import asyncio

from weirgate_approval.clerk import Clerk
from weirgate_chassis import log
from weirgate_chassis.clock import now_us
from weirgate_chassis.config import ConfigFeed
from weirgate_chassis.ids import new_id
from weirgate_chassis.service import Host, Service
from weirgate_chassis.settings import ServiceSettings

CLOCK_S = 1.0
"""Longest between two looks at the clock."""
CONFIG_DEADLINE_S = 5.0
"""Longest a decision waits for a configuration that can be read; then it changes nothing."""


class ApprovalService(Service[ServiceSettings]):
    """Opens a request for each held operation, and ends it."""

    name = "approval"

    def __init__(self, settings: ServiceSettings, host: Host) -> None:
        super().__init__(settings, host)
        self._feed = ConfigFeed(host.bus, catalogs=False)
        self._clerk = Clerk(host.bus, now_us=now_us, new_id=new_id)

    async def start(self) -> None:
        """Read configuration and requests, expire what is overdue, then follow the log."""
        self._feed.on_change(self._review)
        await self._feed.start()
        self.host.health.check("config", self._feed.problem)
        await self._clerk.start(self._until_configured)
        log.info("requests read", open=len(self._clerk.desk.open_requests))
        self.host.spawn(self._clerk.follow(), "follow")
        self.host.spawn(self._watch_the_clock(), "clock")

    async def stop(self) -> None:
        """Hear no more configuration."""
        await self._feed.stop()

    def _review(self) -> None:
        # While the configuration cannot be trusted nobody speaks for anything.
        reviewers = self._feed.reviewers if self._feed.healthy else {}
        self._clerk.review({name: frozenset(one.groups) for name, one in reviewers.items()})

    async def _until_configured(self) -> None:
        """Wait, within the deadline, until the configuration can be trusted."""
        deadline = asyncio.get_running_loop().time() + CONFIG_DEADLINE_S
        while (problem := self._feed.problem()) is not None:
            if asyncio.get_running_loop().time() > deadline:
                log.error("decisions change nothing while the configuration cannot be read", problem=problem)
                break
            await asyncio.sleep(0.05)
        self._review()

    async def _watch_the_clock(self) -> None:
        while True:
            expiry_us = self._clerk.desk.next_expiry_us
            wait_s = CLOCK_S if expiry_us is None else min(CLOCK_S, max(0.01, (expiry_us - now_us()) / 1e6))
            await asyncio.sleep(wait_s)
            await self._clerk.tick()
