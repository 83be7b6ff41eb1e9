"""Plans of HTTP calls: which fields of the answer are masked, and what becomes of what cannot be read."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from weirgate_bus.memory import MemoryBus, MemoryLog
from weirgate_chassis.config import ConfigFeed
from weirgate_chassis.ids import new_id
from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.events import (
    CatalogObserved,
    ConfigPublished,
    Event,
    OperationIntercepted,
    OperationPlanned,
    decode,
)
from weirgate_contracts.http import HttpCall
from weirgate_contracts.identity import Identity
from weirgate_contracts.masking import BodyPlan, FieldPlan, MaskingRule, Plan, Transform
from weirgate_contracts.operation import Statement
from weirgate_masking.call import CallState, plan_call
from weirgate_masking.service import PlanningDesk
from weirgate_sql.model import Catalog

NOW = "2026-01-01T00:00:00.000000Z"
REDACT = Transform(kind="redact")
PARTIAL = Transform(kind="partial", keep_last=4)
CUSTOMER, ORDERS = "/v1/customers/{id}", "/v1/orders"
CRM: dict[str, Any] = {
    "name": "crm", "protocol": "http", "upstream": "https://crm", "routes": [CUSTOMER, ORDERS],
}  # fmt: skip
RULES = (
    MaskingRule(label="payment.card", transform=Transform(kind="null"), groups=("interns",)),
    MaskingRule(label="pii.*", transform=REDACT),
    MaskingRule(label="payment.card", transform=PARTIAL),
)
FIELDS = {
    f"{CUSTOMER} /email": "pii.email",
    f"{CUSTOMER} /card": "payment.card",
    f"{ORDERS} /items/*/card": "payment.card",
    "* /**/ssn": "pii.ssn",
}


def call(
    route: str | None = CUSTOMER,
    *,
    path: str | None = None,
    groups: tuple[str, ...] = (),
    protocol: Literal["postgres", "http"] = "http",
    **more: Any,
) -> OperationIntercepted:
    path = path or {CUSTOMER: "/v1/customers/7", ORDERS: "/v1/orders"}.get(route or "", "/elsewhere")
    given: dict[str, Any] = {"call": HttpCall(method="GET", path=path, route=route)} | more
    return OperationIntercepted(
        ingress="i1",
        session="s1",
        operation=1,
        protocol=protocol,
        resource="crm",
        identity=Identity(agent="a", groups=groups, issuer="t", token_id="t", expires_at=0),
        digest="d",
        **given,
    )


def planned(
    operation: OperationIntercepted,
    fields: Mapping[str, str] = FIELDS,
    rules: tuple[MaskingRule, ...] = RULES,
    **resource: Any,
) -> Plan:
    document = ResourceDocument.model_validate(CRM | resource)
    return plan_call(operation, CallState(resource=document, fields=fields, rules=rules))


def patterns(operation: OperationIntercepted, **more: Any) -> list[str]:
    body = planned(operation, **more).body
    assert body is not None
    return [field.pattern for field in body.fields]


def test_the_labels_of_the_route_and_of_every_route_apply() -> None:
    found = planned(call())
    assert found.statements == ()
    assert found.body == BodyPlan(
        unread="refuse",
        fields=(
            FieldPlan(pattern="/**/ssn", labels=("pii.ssn",), transform=REDACT),
            FieldPlan(pattern="/card", labels=("payment.card",), transform=PARTIAL),
            FieldPlan(pattern="/email", labels=("pii.email",), transform=REDACT),
        ),
    )
    assert patterns(call(ORDERS)) == ["/**/ssn", "/items/*/card"]


def test_a_path_that_matches_no_route_gets_every_label() -> None:
    assert patterns(call(None)) == ["/**/ssn", "/card", "/email", "/items/*/card"]


def test_a_label_of_a_route_the_resource_no_longer_has_applies_to_every_call() -> None:
    fields = FIELDS | {"/v0/customers/{id} /mail": "pii.email"}
    assert patterns(call(), fields=fields) == ["/**/ssn", "/card", "/email", "/mail"]
    assert "/email" in patterns(call(ORDERS), routes=[ORDERS])


def test_a_call_that_was_given_another_route_than_is_seen_here_gets_every_label() -> None:
    everything = ["/**/ssn", "/card", "/email", "/items/*/card"]
    me = "/v1/customers/me"
    assert patterns(call(path=me)) == ["/**/ssn", "/card", "/email"]
    fields = FIELDS | {f"{me} /mail": "pii.email"}
    assert patterns(call(path=me), fields=fields, routes=[me, CUSTOMER, ORDERS]) == [*everything, "/mail"]
    assert patterns(call("/v0/gone", path="/v0/gone")) == everything
    assert patterns(call(ORDERS, path="/v1/customers/7")) == everything


def test_a_route_without_labels_is_masked_by_detectors_alone() -> None:
    found = planned(call(), fields={f"{ORDERS} /card": "payment.card"})
    assert found.body == BodyPlan(fields=(), unread="refuse")
    assert {one.label for one in found.detectors} == {
        "pii.email", "pii.phone", "pii.ssn", "pii.ip", "payment.card",
    }  # fmt: skip


def test_a_pattern_with_several_labels_gets_the_strictest_transform() -> None:
    body = planned(call(), fields={f"{CUSTOMER} /note": "payment.card", "* /note": "pii.email"}).body
    assert body is not None
    assert body.fields == (
        FieldPlan(pattern="/note", labels=("payment.card", "pii.email"), transform=REDACT),
    )


def test_a_label_no_rule_matches_is_redacted_and_the_first_rule_of_the_groups_counts() -> None:
    body = planned(call(), fields={"* /pay": "hr.salary"}).body
    assert body is not None
    assert body.fields[0].transform == REDACT
    body = planned(call(groups=("interns",)), fields={"* /card": "payment.card"}).body
    assert body is not None
    assert body.fields[0].transform == Transform(kind="null")


@pytest.mark.parametrize(
    ("fields", "said", "unread"),
    [
        (FIELDS, None, "refuse"),
        ({}, None, "pass"),
        (FIELDS, "pass", "pass"),
        ({}, "refuse", "refuse"),
        ({f"{ORDERS} /x": "pii.email"}, None, "refuse"),
    ],
)
def test_what_cannot_be_read_is_refused_where_there_are_labels_unless_the_resource_says(
    fields: dict[str, str], said: str | None, unread: str
) -> None:
    body = planned(call(), fields=fields, unread=said).body
    assert body is not None
    assert body.unread == unread


def test_without_labels_and_rules_the_plan_is_empty_and_still_one_of_a_body() -> None:
    assert planned(call(), fields={}, rules=()) == Plan(statements=(), body=BodyPlan(unread="pass"))


def test_a_resource_nobody_registered_or_of_another_protocol_has_no_plan() -> None:
    assert plan_call(call(), CallState(resource=None, fields=FIELDS)).impossible
    shop = ResourceDocument(name="crm", protocol="postgres", upstream="postgresql://a@h/d")
    found = plan_call(call(), CallState(resource=shop, fields=FIELDS))
    assert found.impossible
    assert found.body is None


def test_an_operation_that_is_no_well_formed_call_has_no_plan() -> None:
    assert planned(call(call=None)).impossible
    assert planned(call(protocol="postgres")).impossible
    assert planned(call(statements=(Statement(text="select 1", phase="run"),))).impossible


# ---------------------------------------------------------------- the service


class World:
    """A log with a planning desk on it."""

    def __init__(self) -> None:
        self.bus = MemoryBus(MemoryLog())
        self.desk = PlanningDesk(ConfigFeed(self.bus), 4)

    async def start(self) -> None:
        self.desk.feed.on_change(self.desk.forget)
        await self.desk.feed.start()

    async def publish(self, event: Event) -> int:
        stamped = event.stamped(id=new_id(), at=NOW)
        stored = await self.bus.publish(stamped.subject, stamped.encoded(), id=stamped.id)
        await asyncio.sleep(0.02)
        return stored.sequence

    async def configure(self, config: Any, name: str, body: dict[str, Any]) -> int:
        return await self.publish(ConfigPublished(config=config, name=name, body=body, by="test"))

    def ask(self, operation: OperationIntercepted) -> OperationPlanned:
        body = operation.stamped(id=new_id(), at=NOW, trace="0" * 32).encoded()
        answer = self.desk.answer(body)
        assert answer is not None
        event = decode(answer.body)
        assert isinstance(event, OperationPlanned)
        assert answer.body == event.encoded()
        return event


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World()
    await made.start()
    yield made
    await made.desk.feed.stop()


async def test_a_call_is_answered_without_a_catalog(world: World) -> None:
    await world.configure("labels", "crm", {"resource": "crm", "fields": {"* /email": "pii.email"}})
    revision = await world.configure("resource", "crm", CRM)
    answer = world.ask(call())
    assert answer.plan.impossible is None
    assert answer.plan.body is not None
    assert [field.pattern for field in answer.plan.body.fields] == ["/email"]
    assert (answer.masking_revision, answer.catalog_revision) == (revision, "")


async def test_a_catalog_of_the_same_name_is_not_taken_for_its_own(world: World) -> None:
    await world.configure("resource", "crm", CRM)
    seen = Catalog(database="d", login="l", search_path=(), relations={})
    await world.publish(CatalogObserved(resource="crm", revision=seen.revision, catalog=seen.to_dict()))
    assert world.ask(call()).catalog_revision == ""


async def test_an_unregistered_resource_is_refused_until_it_is_registered(world: World) -> None:
    assert world.ask(call()).plan.impossible
    await world.configure("resource", "crm", CRM)
    assert world.ask(call()).plan.impossible is None


async def test_sql_on_a_resource_of_http_has_no_plan(world: World) -> None:
    await world.configure("resource", "crm", CRM)
    asked = call(protocol="postgres", call=None, statements=(Statement(text="select 1", phase="run"),))
    assert world.ask(asked).plan.impossible


async def test_routes_and_groups_have_plans_of_their_own_and_paths_have_not(world: World) -> None:
    await world.configure("resource", "crm", CRM)
    await world.configure("masking", "default", {"rules": [r.model_dump(mode="json") for r in RULES]})
    await world.configure("labels", "crm", {"resource": "crm", "fields": FIELDS})

    def asked(*given: Any, **more: Any) -> BodyPlan | None:
        return world.ask(call(*given, **more)).plan.body

    first = asked()
    assert asked(path="/v1/customers/8") == first
    assert asked(ORDERS) != first
    assert asked(None) != first
    assert asked(groups=("interns",)) != first
    assert asked() == first
    assert world.ask(call(call=None)).plan.impossible


async def test_a_new_label_or_resource_changes_the_plan_of_the_same_call(world: World) -> None:
    await world.configure("resource", "crm", CRM)
    before = world.ask(call()).plan.body
    assert before is not None
    assert (before.fields, before.unread) == ((), "pass")
    await world.configure("labels", "crm", {"resource": "crm", "fields": {"* /email": "pii.email"}})
    after = world.ask(call()).plan.body
    assert after is not None
    assert after.unread == "refuse"
    await world.configure("resource", "crm", CRM | {"unread": "pass"})
    last = world.ask(call()).plan.body
    assert last is not None
    assert last.unread == "pass"


def test_requests_are_planned_only_where_the_resource_masks_them_and_refused_where_they_cannot_be_read() -> (
    None
):
    assert planned(call()).request is None
    document = ResourceDocument.model_validate(CRM | {"mask_requests": True})
    fields = {f"{CUSTOMER} /name": "pii.name", f"{ORDERS} /card": "payment.card", "* /**/ssn": "pii.ssn"}
    state = CallState(resource=document, fields={}, request_fields=fields, rules=RULES)
    found = plan_call(call(), state)
    assert found.body == BodyPlan(fields=(), unread="pass")
    assert found.request == BodyPlan(
        unread="refuse",
        fields=(
            FieldPlan(pattern="/**/ssn", labels=("pii.ssn",), transform=REDACT),
            FieldPlan(pattern="/name", labels=("pii.name",), transform=REDACT),
        ),
    )
    passing = ResourceDocument.model_validate(CRM | {"mask_requests": True, "unread": "pass"})
    request = plan_call(call(), CallState(resource=passing, fields=FIELDS, rules=RULES)).request
    assert request == BodyPlan(fields=(), unread="pass")


def test_the_routes_of_a_pack_are_known_to_the_planner() -> None:
    chat = "/v1/chat/completions"
    fields = {f"{chat} /a": "pii.email", "/v1/embeddings /b": "pii.email"}
    asked = call(chat, path=chat)
    assert patterns(asked, fields=fields, routes=[], api="openai") == ["/a"]
    assert patterns(asked, fields=fields, routes=[]) == ["/a", "/b"]
