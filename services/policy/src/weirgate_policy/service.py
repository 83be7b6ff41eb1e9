"""The policy service: hears every intercepted operation, answers each with one verdict.

An operation is judged where it is heard, at once. It waits only for two things: a catalog that is being read
because a statement may have changed it, and an approval that must be read back from the log. What waits is
bounded in number and time. Whatever goes wrong with one operation becomes a refusal of that operation.
"""

import asyncio
import time

from weirgate_bus.port import BusError, Delivery, Stored, Subscription
from weirgate_chassis import log
from weirgate_chassis.clock import now
from weirgate_chassis.config import ConfigFeed
from weirgate_chassis.ids import new_id
from weirgate_chassis.service import Host, Service
from weirgate_contracts.events import Grant, OperationAllowed, OperationIntercepted, Undecodable, decode
from weirgate_contracts.subjects import INTERCEPTED
from weirgate_policy import wording
from weirgate_policy.catalog import read_catalog
from weirgate_policy.ddl import Changing
from weirgate_policy.grant import GrantRefused, read_grant, take
from weirgate_policy.judge import Granted, Judgement, Reader, deny, judge
from weirgate_policy.settings import PolicySettings
from weirgate_policy.state import States
from weirgate_policy.watch import Reading, Watches
from weirgate_sql.touch import touch

WAITING_LIMIT = 1024
"""Operations that may wait at once; one more is refused."""
ENDS = (
    "audit.operation.finished.*.*",
    "audit.operation.failed.*.*",
    "audit.operation.abandoned.*.*",
    "audit.session.closed.*.*",
)
_MAY_CHANGE = b'"catalog_may_change":true'


class PolicyService(Service[PolicySettings]):
    """Judges every operation."""

    name = "policy"

    def __init__(
        self, settings: PolicySettings, host: Host, *, read: Reader = touch, reading: Reading = read_catalog
    ) -> None:
        super().__init__(settings, host)
        self._bus = host.bus
        self._feed = ConfigFeed(host.bus)
        self._states = States(self._feed, read)
        self._watches = Watches(
            host.bus,
            refresh_s=settings.catalog_refresh_s,
            limit_s=settings.catalog_limit_s,
            changed=self._states.forget,
            read=reading,
        )
        self._changing = Changing()
        self._waiting: set[asyncio.Task[None]] = set()
        self._hearing: list[Subscription] = []
        self._verdicts = host.metrics.counter("weirgate_verdicts_total", "Verdicts given", ("verdict",))
        self._faults = host.metrics.counter("weirgate_judge_faults_total", "Operations the judge failed on")
        self._seconds = host.metrics.histogram("weirgate_judge_seconds", "Time to judge one operation")
        host.metrics.gauge("weirgate_judge_waiting", "Operations that wait", lambda: len(self._waiting))

    async def start(self) -> None:
        """Read the configuration, then hear operations."""
        self._feed.on_change(self._configured)
        await self._feed.start()
        self.host.health.check("policies", self._states.problem)
        self._bus.on_reconnect(lambda: self._watches.refresh(None))
        self.host.spawn(self._watches.run(), "catalogs")
        for subject in ENDS:
            self._hearing.append(await self._bus.subscribe(subject, self._ended))
        self._hearing.append(
            await self._bus.subscribe("audit.operation.allowed.*.*", self._allowed_somewhere)
        )
        self._hearing.append(await self._bus.subscribe(INTERCEPTED, self._heard, queue=self.name))

    async def stop(self) -> None:
        """Hear nothing more, and answer what waits."""
        for each in self._hearing:
            await each.stop()
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=self.settings.catalog_wait_s)
        await self._feed.stop()

    # ------------------------------------------------------------ what is heard

    def _configured(self) -> None:
        self._states.configured()
        self._watches.follow(self._feed.resources, self._feed.catalogs)

    def _heard(self, delivery: Delivery) -> None:
        try:
            operation = decode(delivery.body)
        except Undecodable as error:
            # There is no digest to bind a verdict to: ingress refuses when its deadline is over.
            log.error("operation cannot be decoded", reason=str(error))
            self._faults.add()
            return
        if not isinstance(operation, OperationIntercepted) or operation.subject != delivery.subject:
            log.error("operation came on another subject", subject=delivery.subject)
            self._faults.add()
            return
        again, resource = self._changing.intercepted(
            (operation.ingress, operation.session), idle=operation.context.transaction == "I"
        )
        if again:
            self._watches.refresh(resource)
        if operation.grant is None and not self._watches.pending(operation.resource):
            self._publish(operation, self._judge(operation))
        elif len(self._waiting) >= WAITING_LIMIT:
            log.warning("too many operations wait", waiting=len(self._waiting))
            self._publish(operation, deny(operation, None, wording.overloaded()))
        else:
            task = self.host.spawn(self._judge_later(operation), "judge")
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    def _allowed_somewhere(self, delivery: Delivery) -> None:
        # Every verdict of every instance comes by here: a look at the bytes, since one in thousands matters.
        if _MAY_CHANGE in delivery.body:
            _, _, _, ingress, session = delivery.subject.split(".")
            self._changing.allowed((ingress, session), None)

    def _ended(self, delivery: Delivery) -> None:
        _, _, what, ingress, session = delivery.subject.split(".")
        again, resource = self._changing.ended((ingress, session))
        if again:
            self._watches.refresh(resource)
        if what == "closed":
            self._changing.closed((ingress, session))

    # ------------------------------------------------------------ what is answered

    def _judge(self, operation: OperationIntercepted, granted: Granted | None = None) -> Judgement:
        began = time.perf_counter()
        try:
            return judge(operation, self._states.of(operation.resource, self._watches), granted=granted)
        except Exception as error:  # noqa: BLE001  (a fault in judging one operation is a refusal of that operation)
            self._faults.add()
            log.error("judging failed", fault=log.describe(error), operation=operation.id)
            return deny(operation, None, wording.judge_failed())
        finally:
            self._seconds.observe(time.perf_counter() - began)

    async def _judge_later(self, operation: OperationIntercepted) -> None:
        try:
            settled = await self._watches.settle(operation.resource, self.settings.catalog_wait_s)
            if not settled and self._watches.pending(operation.resource):
                self._publish(operation, deny(operation, None, wording.catalog_missing(operation.resource)))
            elif operation.grant is None:
                self._publish(operation, self._judge(operation))
            else:
                await self._judge_granted(operation, operation.grant)
        except GrantRefused as error:
            self._publish(operation, deny(operation, None, wording.grant_refused(str(error))))
        except Exception as error:  # noqa: BLE001  (as above: never silence, never a loop of crashes)
            self._faults.add()
            log.error("judging failed", fault=log.describe(error), operation=operation.id)
            self._publish(operation, deny(operation, None, wording.judge_failed()))

    async def _judge_granted(self, operation: OperationIntercepted, grant: Grant) -> None:
        granted = await read_grant(self._bus, operation, grant)
        verdict = self._judge(operation, granted)
        if isinstance(verdict, OperationAllowed):
            await take(self._bus, operation, grant)
        self._publish(operation, verdict)

    def _publish(self, operation: OperationIntercepted, verdict: Judgement) -> None:
        self._given(operation, verdict)
        event = verdict.stamped(id=new_id(), at=now(), trace=operation.trace)
        self._bus.publish(event.subject, event.encoded(), id=event.id).add_done_callback(self._sent)

    def _given(self, operation: OperationIntercepted, verdict: Judgement) -> None:
        self._verdicts.add(verdict.kind.rpartition(".")[2])
        if isinstance(verdict, OperationAllowed) and verdict.catalog_may_change:
            self._changing.allowed((operation.ingress, operation.session), operation.resource)

    def _sent(self, sent: asyncio.Future[Stored]) -> None:
        if not sent.cancelled() and (error := sent.exception()) is not None:
            # Ingress refuses when its deadline is over: a verdict that is not in the log does not count.
            log.error("verdict not stored", reason=log.describe(error), lost=isinstance(error, BusError))
