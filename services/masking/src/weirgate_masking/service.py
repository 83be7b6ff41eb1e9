"""The masking service: hears intercepted operations, answers each with a plan, and keeps no state of a
session.

Whatever goes wrong while a plan is made, the answer is a plan that says it is impossible: ingress then
refuses at once instead of waiting for its deadline. Only bytes that name no operation are left unanswered.
"""

import asyncio
import json
import re
from collections import OrderedDict
from functools import partial
from typing import Any, NamedTuple

from pydantic import ValidationError

from weirgate_bus.port import Delivery, Stored, Subscription
from weirgate_chassis import clock, log
from weirgate_chassis.config import ConfigFeed
from weirgate_chassis.ids import new_id
from weirgate_chassis.service import Host, Service
from weirgate_contracts.events import OperationIntercepted, OperationPlanned
from weirgate_contracts.masking import Plan
from weirgate_contracts.subjects import INTERCEPTED
from weirgate_masking.call import CallState, certain_route, is_call, plan_call
from weirgate_masking.message import ANY, plan_message, scope_of
from weirgate_masking.planner import PlanningState, plan, state_of
from weirgate_masking.settings import MaskingSettings
from weirgate_sql.lineage import outputs
from weirgate_sql.model import Catalog
from weirgate_sql.touch import touch

_REFERS = re.compile(
    r"execute|fetch|move|close|deallocate|current|cursor|declare|prepare|discard", re.IGNORECASE
)
"""A text without any of these words can refer to no prepared statement and no cursor."""
_quoted = partial(json.dumps, ensure_ascii=False)
_FAILED = "the plan could not be made"


class MaskingService(Service[MaskingSettings]):
    """Answers ``operation.intercepted`` with ``operation.planned``."""

    name = "masking"

    def __init__(self, settings: MaskingSettings, host: Host) -> None:
        super().__init__(settings, host)
        self.desk = PlanningDesk(ConfigFeed(host.bus), settings.plan_cache_entries)
        self._hearing: Subscription | None = None

    async def start(self) -> None:
        """Read the configuration, then hear operations."""
        self.desk.feed.on_change(self.desk.forget)
        await self.desk.feed.start()
        self.host.health.check("config", self.desk.feed.problem)
        self._hearing = await self.host.bus.subscribe(INTERCEPTED, self.hear, queue="masking")

    async def stop(self) -> None:
        """Hear no more; what is queued is still sent when the bus closes."""
        if self._hearing is not None:
            await self._hearing.stop()
        await self.desk.feed.stop()

    def hear(self, delivery: Delivery) -> None:
        """Answer one operation."""
        answer = self.desk.answer(delivery.body)
        if answer is not None:
            published = self.host.bus.publish(answer.subject, answer.body, id=answer.id)
            published.add_done_callback(_published)


def _published(done: "asyncio.Future[Stored]") -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        # Ingress hears nothing and refuses at its deadline.
        log.error("plan not stored", reason=log.describe(error))


class Answer(NamedTuple):
    """An ``operation.planned`` event, ready to be published."""

    id: str
    subject: str
    body: bytes


def _answer(
    operation: OperationIntercepted, plan: str, masking_revision: int, catalog_revision: str
) -> Answer:
    # Written around a plan that is JSON already: building and encoding the model takes three times as long as
    # all the rest of an answer from memory. A test holds it to be what the model would have written.
    id = new_id()
    head = (
        f'{{"kind":"operation.planned","v":1,"id":"{id}","at":"{clock.now()}","trace":{_quoted(operation.trace)},'
        f'"ingress":"{operation.ingress}","session":"{operation.session}","operation":{operation.operation},'
        f'"intercepted":"{operation.id}","digest":{_quoted(operation.digest)},'
        f'"masking_revision":{masking_revision},"catalog_revision":{_quoted(catalog_revision)},"plan":{plan}}}'
    )
    subject = f"audit.operation.planned.{operation.ingress}.{operation.session}"
    return Answer(id, subject, head.encode())


class PlanningDesk:
    """Makes the answers, and remembers plans."""

    def __init__(self, feed: ConfigFeed, entries: int) -> None:
        self.feed = feed
        self._limit = entries
        self._plans: OrderedDict[tuple[object, ...], str] = OrderedDict()
        self._states: dict[str, PlanningState] = {}
        self._catalogs: dict[str, tuple[str, Catalog]] = {}

    def forget(self) -> None:
        """Forget what was made under another configuration or catalog."""
        self._plans.clear()
        self._states.clear()

    def answer(self, body: bytes) -> Answer | None:
        """Return the answer to an intercepted event; ``None`` where the bytes name no operation."""
        try:
            operation = OperationIntercepted.model_validate_json(body)
        except ValidationError:
            return _unreadable(body)
        try:
            problem = self.feed.problem()
            found = _impossible(problem) if problem else self._plan(operation)
        except Exception as error:  # noqa: BLE001  (the outermost: whatever it is, the operation is refused)
            log.error("plan failed", reason=log.describe(error))
            found = _impossible(_FAILED)
        # No catalog stands behind a call, not even where an older one of that name is still in the log.
        catalog = None if is_call(operation) else self.feed.catalogs.get(operation.resource)
        return _answer(operation, found, self.feed.revision, catalog.revision if catalog else "")

    def _plan(self, operation: OperationIntercepted) -> str:
        if is_call(operation):
            return self._plan_call(operation)
        context = operation.context
        refers = any(_REFERS.search(one.text) for one in operation.statements)
        key = (
            operation.resource,
            operation.identity.groups,
            context.database,
            context.search_path,
            tuple(sorted(context.prepared.items())) if refers else (),
            tuple(sorted(context.cursors.items())) if refers else (),
            tuple((one.text, one.phase) for one in operation.statements),
        )
        known = self._plans.get(key)
        if known is not None:
            self._plans.move_to_end(key)
            return known
        return self._keep(key, plan(operation, self._state(operation.resource)))

    def _plan_call(self, operation: OperationIntercepted) -> str:
        state = CallState(
            resource=self.feed.resources.get(operation.resource),
            fields=self.feed.fields.get(operation.resource, {}),
            request_fields=self.feed.request_fields.get(operation.resource, {}),
            rules=self.feed.masking,
        )
        if operation.protocol == "mcp":
            return self._plan_message(operation, state)
        if operation.call is None or operation.statements or operation.protocol != "http":
            return plan_call(operation, state).model_dump_json()
        # Of a well-formed call nothing but its route and the groups of its agent is in the plan.
        route = certain_route(operation, state.resource)
        key = ("call", operation.resource, operation.identity.groups, route)
        known = self._plans.get(key)
        if known is not None:
            self._plans.move_to_end(key)
            return known
        return self._keep(key, plan_call(operation, state))

    def _plan_message(self, operation: OperationIntercepted, state: CallState) -> str:
        call = operation.call
        if call is None or call.mcp is None or operation.statements:
            return plan_message(operation, state).model_dump_json()
        # A tool that no label names cannot be told from another: names that agents make up fill no memory.
        scope = scope_of(call.mcp)
        if scope not in (None, ANY) and all(field.partition(" ")[0] != scope for field in state.fields):
            scope = ""
        key = ("message", operation.resource, operation.identity.groups, scope)
        known = self._plans.get(key)
        if known is not None:
            self._plans.move_to_end(key)
            return known
        return self._keep(key, plan_message(operation, state))

    def _keep(self, key: tuple[object, ...], made: Plan) -> str:
        written = self._plans[key] = made.model_dump_json()
        if len(self._plans) > self._limit:
            self._plans.popitem(last=False)
        return written

    def _state(self, resource: str) -> PlanningState:
        known = self._states.get(resource)
        if known is None:
            registered = self.feed.resources.get(resource)
            if registered is not None and registered.protocol != "postgres":
                return PlanningState(
                    lineage=outputs, touch=touch, problem="the resource is not one of PostgreSQL"
                )
            known = self._states[resource] = state_of(
                columns=self.feed.labels.get(resource, {}),
                rules=self.feed.masking,
                catalog=self._catalog(resource),
                lineage=outputs,
                touch=touch,
            )
        return known

    def _catalog(self, resource: str) -> Catalog | None:
        observed = self.feed.catalogs.get(resource)
        if observed is None:
            return None
        known = self._catalogs.get(resource)
        if known is None or known[0] != observed.revision:
            catalog = Catalog.from_dict(observed.catalog)
            if catalog.revision != observed.revision:
                raise ValueError("a catalog is not what its revision says")
            known = self._catalogs[resource] = (observed.revision, catalog)
        return known[1]


def _impossible(reason: str) -> str:
    return Plan(statements=(), impossible=reason).model_dump_json()


def _unreadable(body: bytes) -> Answer | None:
    """Refuse an event this release cannot read, if it names its operation."""
    try:
        event: Any = json.loads(body)
        answer = OperationPlanned(
            ingress=event["ingress"],
            session=event["session"],
            operation=event["operation"],
            intercepted=event["id"],
            digest=event["digest"],
            masking_revision=0,
            catalog_revision="",
            plan=Plan(statements=(), impossible="the operation is of a kind this release cannot read"),
        )
    except (ValueError, KeyError, TypeError) as error:
        log.error("event cannot be read", reason=type(error).__name__)
        return None
    stamped = answer.stamped(id=new_id(), at=clock.now())
    return Answer(stamped.id, stamped.subject, stamped.encoded())
