"""Keeping the catalogs of all databases fresh, and knowing when one may not be judged with.

Of one resource::

    unknown ──read──▶ known ──asked to read again──▶ pending ──read──▶ known
                        │                               │
                        └──not read for the limit──▶ stale ◀──┘        (both: refused)

Invariants: a catalog is judged with only after its ``CatalogObserved`` is durable, so masking can have it and
the log can reproduce the verdict; while a read was asked for because a statement may have changed the
catalog, nobody is judged with the old one; a read that began before the asking does not answer it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from weirgate_bus.port import Bus, BusError
from weirgate_chassis import log
from weirgate_chassis.clock import now
from weirgate_chassis.ids import new_id
from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.events import CatalogObserved
from weirgate_policy.catalog import CatalogUnreadable, read_catalog
from weirgate_sql.model import Catalog

Reading = Callable[[ResourceDocument], Awaitable[Catalog]]
_RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
PUBLISH_DEADLINE_S = 5.0


@dataclass(slots=True, eq=False)
class Watch:
    """One resource."""

    document: ResourceDocument
    catalog: Catalog | None = None
    observed: CatalogObserved | None = None
    """The newest in the log, as heard."""
    confirmed_at: float = float("-inf")
    """When the catalog was last found to be as it is, on the monotonic clock."""
    wanted: int = 1
    """How often a read was asked for; the first read is asked for from the beginning."""
    answered: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Condition = field(default_factory=asyncio.Condition)
    task: asyncio.Task[None] | None = None

    @property
    def pending(self) -> bool:
        """Whether a read that was asked for is not done."""
        return self.answered < self.wanted


class Watches:
    """The catalogs of all resources.

    Args:
        bus: Where ``CatalogObserved`` is published.
        refresh_s: Seconds between two reads.
        limit_s: Seconds without a good read after which a catalog is stale.
        changed: Called with the resource's name when another catalog counts.
        read: Reads one catalog (a test gives another).
    """

    def __init__(
        self,
        bus: Bus,
        *,
        refresh_s: float,
        limit_s: float,
        changed: Callable[[str], None],
        read: Reading = read_catalog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._refresh_s = refresh_s
        self._limit_s = limit_s
        self._changed = changed
        self._read = read
        self._clock = clock
        self._watches: dict[str, Watch] = {}
        self._renewed = asyncio.Event()

    def catalog(self, resource: str) -> Catalog | None:
        """Return the catalog to judge with; ``None``: not known, or too old to be believed."""
        watch = self._watches.get(resource)
        if watch is None or self._clock() - watch.confirmed_at > self._limit_s:
            return None
        return watch.catalog

    def pending(self, resource: str) -> bool:
        """Say whether a read was asked for and is not done: then nothing of the resource is judged yet."""
        watch = self._watches.get(resource)
        return watch is not None and watch.pending

    async def settle(self, resource: str, deadline_s: float) -> bool:
        """Wait until every read asked for so far is done; False where that takes too long."""
        watch = self._watches.get(resource)
        if watch is None:
            return False
        until = watch.wanted
        try:
            async with asyncio.timeout(deadline_s), watch.settled:
                await watch.settled.wait_for(lambda: watch.answered >= until)
        except TimeoutError:
            return False
        return True

    def refresh(self, resource: str | None) -> None:
        """Ask for a read now: something may have changed the catalog. ``None``: of every resource."""
        for name, watch in self._watches.items():
            if resource in (None, name):
                watch.wanted += 1
                watch.wake.set()

    def follow(
        self, resources: Mapping[str, ResourceDocument], observed: Mapping[str, CatalogObserved]
    ) -> None:
        """Take over what configuration and log say now. Only databases have catalogs."""
        resources = {name: one for name, one in resources.items() if one.protocol == "postgres"}
        for name in list(self._watches):
            if resources.get(name) != self._watches[name].document:
                self._end(self._watches.pop(name))
        for name, document in resources.items():
            if name not in self._watches:
                self._watches[name] = Watch(document=document, observed=observed.get(name))
                self._renewed.set()
            watch = self._watches[name]
            newest = observed.get(name)
            if newest is not None and newest is not watch.observed:
                watch.observed = newest
                self._heard(name, watch, newest)

    async def run(self) -> None:
        """Read, for ever; cancel to end."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._renewed.clear()
                for name, watch in self._watches.items():
                    if watch.task is None:
                        watch.task = tasks.create_task(self._keep(name, watch), name=f"catalog {name}")
                await self._renewed.wait()

    def _end(self, watch: Watch) -> None:
        if watch.task is not None:
            watch.task.cancel()

    def _heard(self, name: str, watch: Watch, newest: CatalogObserved) -> None:
        """Another instance has seen another catalog: it counts as read now."""
        if watch.catalog is not None and newest.revision == watch.catalog.revision:
            return
        try:
            catalog = Catalog.from_dict(newest.catalog)
        except (KeyError, ValueError, TypeError) as error:
            log.error("catalog in the log cannot be read", resource=name, reason=log.describe(error))
            return
        if catalog.revision != newest.revision:
            log.error("catalog in the log is not what its revision says", resource=name)
            return
        self._take(name, watch, catalog)

    def _take(self, name: str, watch: Watch, catalog: Catalog) -> None:
        watch.confirmed_at = self._clock()
        if watch.catalog is None or watch.catalog.revision != catalog.revision:
            watch.catalog = catalog
            self._changed(name)

    async def _keep(self, name: str, watch: Watch) -> None:
        failures = 0
        while True:
            target = watch.wanted
            watch.wake.clear()
            try:
                catalog = await self._read(watch.document)
                await self._publish(name, watch, catalog)
            except Exception as error:  # noqa: BLE001  (outermost loop: one odd upstream must not stop the others)
                if not isinstance(error, CatalogUnreadable | BusError):
                    log.error("reading a catalog failed", resource=name, reason=log.describe(error))
                wait_s = _RETRY_S[min(failures, len(_RETRY_S) - 1)]
                failures += 1
                log.warning("catalog not read", resource=name, reason=log.describe(error), again_s=wait_s)
                await asyncio.sleep(wait_s)
                continue
            failures = 0
            self._take(name, watch, catalog)
            async with watch.settled:
                watch.answered = target
                watch.settled.notify_all()
            if not watch.pending:
                await self._until_due(watch)

    async def _until_due(self, watch: Watch) -> None:
        try:
            async with asyncio.timeout(self._refresh_s):
                await watch.wake.wait()
        except TimeoutError:
            return

    async def _publish(self, name: str, watch: Watch, catalog: Catalog) -> None:
        if watch.observed is not None and watch.observed.revision == catalog.revision:
            return
        event = CatalogObserved(resource=name, revision=catalog.revision, catalog=catalog.to_dict()).stamped(
            id=new_id(), at=now()
        )
        await self._bus.publish(event.subject, event.encoded(), id=event.id, deadline_s=PUBLISH_DEADLINE_S)
        watch.observed = event
        log.info(
            "catalog observed", resource=name, revision=catalog.revision, relations=len(catalog.relations)
        )
