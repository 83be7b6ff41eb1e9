"""The policy service on a bus in memory: one verdict for each operation, whatever goes wrong."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from weirgate_bus.memory import MemoryBus, MemoryLog
from weirgate_chassis.health import Health
from weirgate_chassis.ids import new_id
from weirgate_chassis.metric import Metrics
from weirgate_chassis.service import Host
from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.events import (
    ApprovalGranted,
    ApprovalRequested,
    CatalogObserved,
    ConfigPublished,
    Event,
    Grant,
    GrantUsed,
    OperationAllowed,
    OperationDeferred,
    OperationDenied,
    OperationFinished,
    OperationHeld,
    OperationIntercepted,
    decode,
)
from weirgate_contracts.http import HttpCall
from weirgate_contracts.identity import Identity
from weirgate_contracts.operation import SessionContext, Statement
from weirgate_contracts.refusal import RefusalCode
from weirgate_contracts.route import match_route
from weirgate_policy.catalog import CatalogUnreadable
from weirgate_policy.service import PolicyService
from weirgate_policy.settings import PolicySettings
from weirgate_sql.model import Catalog, Column, Relation

NOW = "2026-01-01T00:00:00.000000Z"
LATER = "2026-01-01T00:10:00.000000Z"
PAST = "2025-12-31T00:00:00.000000Z"
RULES = """
@id("basics") permit(principal, action in Action::"basic", resource);
@id("read") permit(principal, action in Action::"read", resource in Resource::"shop");
@id("ddl") permit(principal, action in Action::"ddl", resource in Resource::"shop");
@id("write") @hold("dba") permit(principal, action in Action::"write", resource in Resource::"shop");
"""


def catalog(*tables: str) -> Catalog:
    """A database with some tables of one column."""
    column = (Column(name="id", number=1, type="integer"),)
    return Catalog(
        database="shop",
        login="app",
        search_path=("public",),
        relations={
            f"public.{name}": Relation(schema="public", name=name, oid=oid, kind="r", columns=column)
            for oid, name in enumerate(tables, start=1)
        },
        server_version=180000,
    )


@dataclass
class World:
    """The service, the log, and an upstream whose catalog can be changed, slow, or away."""

    log: MemoryLog
    bus: MemoryBus
    upstream: Catalog | None = field(default_factory=lambda: catalog("orders"))
    reads: int = 0
    slow: asyncio.Event | None = None
    health: Health = field(default_factory=Health)

    async def read(self, _: ResourceDocument) -> Catalog:
        """Stand in for the upstream's catalog."""
        self.reads += 1
        found = self.upstream
        if self.slow is not None:
            await self.slow.wait()
            found = self.upstream
        if found is None:
            raise CatalogUnreadable("away")
        return found

    async def publish(self, event: Event) -> int:
        """Publish an event of somebody else; returns its sequence."""
        stamped = event if event.id else event.stamped(id=new_id(), at=NOW)
        return (await self.bus.publish(stamped.subject, stamped.encoded(), id=stamped.id)).sequence

    async def configure(self, kind: str, name: str, body: dict[str, object] | None) -> None:
        """Publish a document."""
        await self.publish(ConfigPublished(config=kind, name=name, body=body, by="test"))  # type: ignore[arg-type]

    async def ask(
        self, operation: OperationIntercepted
    ) -> OperationAllowed | OperationDenied | OperationHeld:
        """Publish an operation and return its verdict."""
        await self.publish(operation)
        return await self.verdict(operation)

    async def verdict(
        self, operation: OperationIntercepted
    ) -> OperationAllowed | OperationDenied | OperationHeld:
        """Wait for the verdict on an operation."""
        async with asyncio.timeout(5):
            while True:
                for each in self.log.messages():
                    if b"operation." not in each.body:
                        continue
                    event = decode(each.body)
                    if (
                        isinstance(event, OperationAllowed | OperationDenied | OperationHeld)
                        and event.intercepted == operation.id
                    ):
                        return event
                await asyncio.sleep(0.005)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(5):
            while not true():
                await asyncio.sleep(0.005)


def operation(
    text: str,
    *,
    session: str = "s1",
    number: int = 1,
    grant: Grant | None = None,
    transaction: str = "I",
    agent: str = "reader",
    digest: str = "d",
) -> OperationIntercepted:
    """An operation, stamped."""
    return OperationIntercepted(
        ingress="i1",
        session=session,
        operation=number,
        protocol="postgres",
        resource="shop",
        identity=Identity(agent=agent, groups=(), issuer="t", token_id="t", expires_at=0),
        statements=(Statement(text=text, phase="run", simple=True),),
        context=SessionContext(database="shop", transaction=transaction),  # type: ignore[arg-type]
        digest=digest,
        grant=grant,
    ).stamped(id=new_id(), at=NOW)


Start = Callable[..., Awaitable[World]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start services on one log."""
    logs: list[MemoryLog] = []
    tasks: list[asyncio.Task[None]] = []
    (tmp_path / "key").write_text("x")

    async def begin(
        *, rules: str = RULES, instances: int = 1, upstream: Catalog | None = None, **more: object
    ) -> World:
        log = MemoryLog()
        logs.append(log)
        world = World(log=log, bus=MemoryBus(log))
        if upstream is not None:
            world.upstream = upstream
        for name, value in more.items():
            setattr(world, name, value)
        await world.configure(
            "resource",
            "shop",
            {"name": "shop", "protocol": "postgres", "upstream": "postgresql://app@h/shop"},
        )
        await world.configure("policy", "p", {"name": "p", "cedar": rules})
        settings = PolicySettings.model_validate(
            {"nats_nkey_file": tmp_path / "key", "catalog_refresh_s": 60, "catalog_wait_s": 0.5}
        )
        for _ in range(instances):
            ready = asyncio.Event()
            tasks.append(asyncio.create_task(run(world, settings, ready)))
            await ready.wait()
        return world

    async def run(world: World, settings: PolicySettings, ready: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            host = Host(MemoryBus(world.log, "policy"), world.health, Metrics(), group)
            service = PolicyService(settings, host, reading=world.read)
            await service.start()
            ready.set()
            await host.bus.watch()

    yield begin
    for task in tasks:
        assert not task.done(), task
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# ---------------------------------------------------------------- verdicts


async def test_an_operation_gets_one_verdict_bound_to_it(start: Start) -> None:
    world = await start()
    asked = operation("select id from orders")
    verdict = await world.ask(asked)
    assert isinstance(verdict, OperationAllowed)
    assert (verdict.digest, verdict.operation, verdict.session) == ("d", 1, "s1")
    assert verdict.policy_revision == 2
    assert world.upstream is not None
    assert verdict.catalog_revision == world.upstream.revision
    assert verdict.rules == ("p/basics", "p/read")


async def test_the_catalog_a_verdict_is_judged_with_is_in_the_log_before_it(start: Start) -> None:
    world = await start()
    await world.ask(operation("select id from orders"))
    kinds = [decode(each.body).kind for each in world.log.messages()]
    assert kinds.index("catalog.observed") < kinds.index("operation.allowed")


async def test_a_new_policy_counts_from_then_on(start: Start) -> None:
    world = await start()
    assert isinstance(await world.ask(operation("select id from orders")), OperationAllowed)
    await world.configure("policy", "p", {"name": "p", "cedar": "forbid(principal, action, resource);"})
    verdict = await world.ask(operation("select id from orders"))
    assert isinstance(verdict, OperationDenied)
    assert verdict.rules == ("p/1",)


async def test_a_policy_that_does_not_hold_denies_everything_and_says_so_in_health(start: Start) -> None:
    world = await start(rules="permit(principal, action, resource")
    assert isinstance(await world.ask(operation("select 1")), OperationDenied)
    assert any("p:1:" in problem for problem in world.health.problems())
    await world.configure("policy", "p", {"name": "p", "cedar": RULES})
    assert isinstance(await world.ask(operation("select 1")), OperationAllowed)


async def test_an_unknown_resource_is_refused(start: Start) -> None:
    world = await start()
    verdict = await world.ask(operation("select 1").model_copy(update={"resource": "other"}))
    assert isinstance(verdict, OperationDenied)
    assert verdict.refusal.code is RefusalCode.RESOURCE_UNKNOWN


async def test_a_fault_of_the_judge_is_a_refusal_and_the_service_goes_on(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await start()
    with monkeypatch.context() as patch:
        patch.setattr("weirgate_policy.judge.pairs_of", None)
        verdict = await world.ask(operation("select id from orders"))
        assert isinstance(verdict, OperationDenied)
        assert verdict.refusal.code is RefusalCode.UNSUPPORTED
    assert isinstance(await world.ask(operation("select id from orders", number=2)), OperationAllowed)


async def test_noise_on_the_subject_neither_stops_the_service_nor_gets_a_verdict(start: Start) -> None:
    world = await start()
    await world.bus.publish("audit.operation.intercepted.i1.s1", b"{", id="x")
    other = operation("select 1")
    await world.bus.publish("audit.operation.intercepted.i1.s9", other.encoded(), id=other.id)
    assert isinstance(await world.ask(operation("select 1")), OperationAllowed)
    assert not any("allowed" in each.subject and "s9" in each.subject for each in world.log.messages())


# ---------------------------------------------------------------- catalogs


async def test_without_a_catalog_the_verdict_waits_and_is_then_a_refusal(start: Start) -> None:
    world = await start(upstream=None, slow=asyncio.Event())
    verdict = await world.ask(operation("select id from orders"))
    assert isinstance(verdict, OperationDenied)
    assert verdict.refusal.code is RefusalCode.UPSTREAM_UNAVAILABLE


async def test_a_verdict_waits_for_the_first_catalog(start: Start) -> None:
    world = await start(slow=asyncio.Event())
    asked = operation("select id from orders")
    await world.publish(asked)
    await asyncio.sleep(0.02)
    assert world.slow is not None
    world.slow.set()
    assert isinstance(await world.verdict(asked), OperationAllowed)


async def test_after_ddl_nobody_is_judged_with_the_old_catalog(start: Start) -> None:
    world = await start()
    create = operation("create table fresh (id int)")
    verdict = await world.ask(create)
    assert isinstance(verdict, OperationAllowed)
    assert verdict.catalog_may_change
    world.slow = asyncio.Event()
    world.upstream = catalog("orders", "fresh")
    await world.publish(OperationFinished(ingress="i1", session="s1", operation=1, outcome="ok"))
    asked = operation("select id from fresh", session="s2")
    await world.publish(asked)
    await asyncio.sleep(0.02)
    world.slow.set()
    world.slow = None
    after = await world.verdict(asked)
    assert isinstance(after, OperationAllowed)
    assert after.catalog_revision == world.upstream.revision


async def test_ddl_in_a_transaction_is_looked_for_again_when_the_transaction_ends(start: Start) -> None:
    world = await start()
    await world.ask(operation("create table fresh (id int)", transaction="T"))
    await world.publish(OperationFinished(ingress="i1", session="s1", operation=1, outcome="ok"))
    await world.ask(operation("commit", transaction="T", number=2))
    world.upstream = catalog("orders", "fresh")
    await world.publish(OperationFinished(ingress="i1", session="s1", operation=2, outcome="ok"))
    assert isinstance(await world.ask(operation("select id from fresh", number=3)), OperationAllowed)


async def test_a_statement_that_changes_nothing_causes_no_read(start: Start) -> None:
    world = await start()
    await world.ask(operation("select id from orders"))
    reads = world.reads
    await world.publish(OperationFinished(ingress="i1", session="s1", operation=1, outcome="ok"))
    await world.ask(operation("select id from orders", number=2))
    assert world.reads == reads


async def test_a_catalog_that_does_not_change_is_published_once(start: Start) -> None:
    world = await start(instances=2)
    for number in range(1, 4):
        await world.ask(operation("create table x (id int)", number=number))
        await world.publish(OperationFinished(ingress="i1", session="s1", operation=number, outcome="ok"))
    await world.ask(operation("select 1", number=4))
    observed = [one for each in world.log.messages() if isinstance(one := decode(each.body), CatalogObserved)]
    assert len(observed) <= 2  # two instances may both have read first


async def test_an_instance_that_did_not_judge_the_ddl_reads_again_too(start: Start) -> None:
    world = await start(instances=2)
    await world.ask(operation("select 1"))
    await world.ask(operation("create table fresh (id int)", number=2))
    world.upstream = catalog("orders", "fresh")
    await world.publish(OperationFinished(ingress="i1", session="s1", operation=2, outcome="ok"))
    for number in range(3, 7):
        assert isinstance(await world.ask(operation("select id from fresh", number=number)), OperationAllowed)


# ---------------------------------------------------------------- grants


async def held(world: World, number: int = 1) -> tuple[OperationIntercepted, OperationHeld]:
    """An operation that is held."""
    asked = operation("delete from orders", number=number)
    verdict = await world.ask(asked)
    assert isinstance(verdict, OperationHeld)
    return asked, verdict


async def granted(
    world: World,
    asked: OperationIntercepted,
    verdict: OperationHeld,
    *,
    expires_at: str = LATER,
    **more: object,
) -> Grant:
    """People agree."""
    envelope = {
        "ingress": "i1",
        "session": "s1",
        "operation": asked.operation,
        "request": asked.id,
        "digest": asked.digest,
    }
    await world.publish(
        ApprovalRequested.model_validate(
            envelope
            | {
                "resource": "shop", "identity": asked.identity,
                "groups": verdict.groups, "quorum": verdict.quorum,
                "expires_at": expires_at, "reason": verdict.reason, "text": verdict.text,
            }
        )
    )  # fmt: skip
    event = ApprovalGranted.model_validate(envelope | {"by": ("ann",), "expires_at": expires_at} | more)
    event = event.stamped(id=new_id(), at=NOW)
    return Grant(request=asked.id, granted=event.id, sequence=await world.publish(event))


async def test_an_approval_lets_the_same_operation_pass_once(start: Start) -> None:
    world = await start(instances=2)
    asked, verdict = await held(world)
    grant = await granted(world, asked, verdict)
    first = await world.ask(operation("delete from orders", grant=grant))
    assert isinstance(first, OperationAllowed)
    assert first.request == asked.id
    for _ in range(3):
        again = await world.ask(operation("delete from orders", grant=grant))
        assert isinstance(again, OperationDenied)
        assert "used already" in again.refusal.reason


async def test_an_approval_asked_with_twice_at_once_passes_once(start: Start) -> None:
    world = await start(instances=2)
    asked, verdict = await held(world)
    grant = await granted(world, asked, verdict)
    several = [operation("delete from orders", grant=grant) for _ in range(6)]
    verdicts = await asyncio.gather(*(world.ask(one) for one in several))
    assert sum(isinstance(one, OperationAllowed) for one in verdicts) == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"digest": "other"}, "another operation"),
        ({"session": "s2"}, "another operation"),
        ({"number": 2}, "another operation"),
        ({"agent": "somebody"}, "somebody else"),
    ],
)
async def test_an_approval_is_good_for_nothing_else(
    start: Start, change: dict[str, object], why: str
) -> None:
    world = await start()
    asked, verdict = await held(world)
    grant = await granted(world, asked, verdict)
    other = await world.ask(operation("delete from orders", grant=grant, **change))  # type: ignore[arg-type]
    assert isinstance(other, OperationDenied)
    assert other.refusal.code is RefusalCode.HELD_REFUSED
    assert why in other.refusal.reason


async def test_an_approval_whose_time_is_over_is_refused(start: Start) -> None:
    world = await start()
    asked, verdict = await held(world)
    grant = await granted(world, asked, verdict, expires_at=PAST)
    other = await world.ask(operation("delete from orders", grant=grant))
    assert isinstance(other, OperationDenied)
    assert "time is over" in other.refusal.reason


async def test_a_sequence_that_holds_no_approval_is_refused(start: Start) -> None:
    world = await start()
    asked, verdict = await held(world)
    grant = await granted(world, asked, verdict)
    for bad in (
        grant.model_copy(update={"sequence": 1}),
        grant.model_copy(update={"sequence": 10_000}),
        grant.model_copy(update={"granted": new_id()}),
        grant.model_copy(update={"request": new_id()}),
    ):
        assert isinstance(await world.ask(operation("delete from orders", grant=bad)), OperationDenied)
    assert isinstance(await world.ask(operation("delete from orders", grant=grant)), OperationAllowed)


async def test_an_approval_of_fewer_than_the_rules_ask_for_now_is_held_again(start: Start) -> None:
    world = await start()
    asked, verdict = await held(world)
    grant = await granted(world, asked, verdict)
    await world.configure(
        "policy", "p", {"name": "p", "cedar": RULES.replace('@hold("dba")', '@hold("dba, legal")')}
    )
    assert isinstance(await world.ask(operation("delete from orders", grant=grant)), OperationHeld)


async def deferred(world: World, asked: OperationIntercepted, **change: object) -> None:
    """Ingress tells the agent to come back."""
    await world.publish(
        OperationDeferred.model_validate(
            {
                "ingress": "i1", "session": "s1", "operation": asked.operation, "request": asked.id,
                "resource": asked.resource, "identity": asked.identity, "digest": asked.digest, "window_s": 900,
            } | change
        )
    )  # fmt: skip


async def test_a_deferred_operation_passes_once_in_whatever_session_and_with_a_newer_token(
    start: Start,
) -> None:
    world = await start(instances=2)
    asked, verdict = await held(world)
    await deferred(world, asked)
    grant = await granted(world, asked, verdict)
    again = [operation("delete from orders", session=f"s{n}", number=n, grant=grant) for n in range(2, 8)]
    renewed = asked.identity.model_copy(update={"token_id": "t2", "expires_at": 4_100_000_000})
    again = [one.model_copy(update={"identity": renewed}) for one in again]
    verdicts = await asyncio.gather(*(world.ask(one) for one in again))
    allowed = [one for one in verdicts if isinstance(one, OperationAllowed)]
    assert len(allowed) == 1
    assert allowed[0].request == asked.id
    used = [event for each in world.log.messages() if isinstance(event := decode(each.body), GrantUsed)]
    assert [(one.request, one.intercepted) for one in used] == [(asked.id, allowed[0].intercepted)]
    for one in verdicts:
        assert one is allowed[0] or (
            isinstance(one, OperationDenied) and "used already" in one.refusal.reason
        )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"digest": "other"}, "another operation"),
        ({"agent": "somebody"}, "somebody else"),
        ({"resource": "other"}, "another operation"),
        ({"groups": ("more",)}, "somebody else"),
        ({"user": "eve"}, "somebody else"),
        ({"run": "r2"}, "somebody else"),
        ({"issuer": "https://other"}, "somebody else"),
    ],
)
async def test_a_deferred_approval_is_good_for_nothing_else(
    start: Start, change: dict[str, object], why: str
) -> None:
    world = await start()
    asked, verdict = await held(world)
    await deferred(world, asked)
    grant = await granted(world, asked, verdict)
    again = operation("delete from orders", session="s2", grant=grant)
    for name, value in change.items():
        if name in ("digest", "resource"):
            again = again.model_copy(update={name: value})
        else:
            again = again.model_copy(update={"identity": again.identity.model_copy(update={name: value})})
    other = await world.ask(again)
    assert isinstance(other, OperationDenied)
    assert why in other.refusal.reason
    assert isinstance(
        await world.ask(operation("delete from orders", session="s3", grant=grant)), OperationAllowed
    )


async def test_the_deferral_of_another_operation_opens_no_other_session(start: Start) -> None:
    world = await start()
    asked, verdict = await held(world)
    await deferred(world, asked, operation=9)
    await deferred(world, asked, request=new_id())
    grant = await granted(world, asked, verdict)
    other = await world.ask(operation("delete from orders", session="s2", grant=grant))
    assert isinstance(other, OperationDenied)
    assert "another operation" in other.refusal.reason


async def test_policy_killed_between_taking_a_grant_and_its_verdict_uses_it_up(start: Start) -> None:
    world = await start()
    asked, verdict = await held(world)
    await deferred(world, asked)
    grant = await granted(world, asked, verdict)
    lost = operation("delete from orders", session="s2", grant=grant)
    await world.publish(
        GrantUsed(ingress="i1", session="s2", request=asked.id, operation=1, intercepted=lost.id, digest="d")
    )
    other = await world.ask(operation("delete from orders", session="s3", grant=grant))
    assert isinstance(other, OperationDenied)
    assert "used already" in other.refusal.reason


async def test_a_retry_that_is_held_says_what_it_joins(start: Start) -> None:
    world = await start()
    asked, _ = await held(world)
    verdict = await world.ask(
        operation("delete from orders", session="s2").model_copy(update={"joins": asked.id})
    )
    assert isinstance(verdict, OperationHeld)
    assert verdict.joins == asked.id


# ---------------------------------------------------------------- HTTP

CRM: dict[str, object] = {
    "name": "crm",
    "protocol": "http",
    "upstream": "http://h",
    "routes": ["/v1/customers/{id}"],
}
CALLS = """
@id("basics") permit(principal, action in Action::"basic", resource);
@id("look") permit(principal, action in Action::"http.read", resource == Route::"crm/v1/customers/{id}");
@id("pay") @hold("dba") permit(principal, action in Action::"http.write", resource in Resource::"crm");
@id("mail") permit(principal, action == Action::"unmask", resource == Label::"crm.mail");
"""


def call(
    line: str, *, number: int = 1, digest: str = "d", grant: Grant | None = None
) -> OperationIntercepted:
    """An intercepted call, stamped."""
    method, path = line.split(" ")
    found = match_route(("/v1/customers/{id}",), path) or (None, {})
    made = HttpCall(method=method, path=path, route=found[0], arguments=found[1])
    return (
        operation("", number=number, grant=grant, digest=digest)
        .model_copy(
            update={
                "protocol": "http", "resource": "crm", "statements": (), "call": made,
                "context": SessionContext(database=""),
            }
        )
        .stamped(id=new_id(), at=NOW)
    )  # fmt: skip


async def test_a_call_is_judged_at_once_and_its_resource_is_never_asked_for_a_catalog(start: Start) -> None:
    world = await start(rules=CALLS, upstream=None, slow=asyncio.Event())  # databases are slow to answer
    await world.configure("resource", "crm", CRM)
    await world.configure("labels", "crm", {"resource": "crm", "fields": {"* /**/email": "crm.mail"}})
    verdict = await world.ask(call("GET /v1/customers/7"))
    assert isinstance(verdict, OperationAllowed)
    assert verdict.catalog_revision == ""
    assert verdict.unmask == ("crm.mail",)
    assert verdict.policy_revision == 4
    reads = world.reads
    assert isinstance(await world.ask(call("GET /v1/orders", number=2)), OperationDenied)
    assert world.reads == reads <= 1
    assert not any(
        b'"catalog.observed"' in each.body and b'"crm"' in each.body for each in world.log.messages()
    )


async def test_new_routes_count_from_then_on(start: Start) -> None:
    world = await start(rules=CALLS)
    await world.configure("resource", "crm", CRM)
    assert isinstance(await world.ask(call("GET /v1/customers/7")), OperationAllowed)
    await world.configure("resource", "crm", CRM | {"routes": []})
    verdict = await world.ask(call("GET /v1/customers/7", number=2))
    assert isinstance(verdict, OperationDenied)
    assert verdict.refusal.code is RefusalCode.CATALOG_CHANGED
    await world.configure("resource", "crm", None)
    verdict = await world.ask(call("GET /v1/customers/7", number=3))
    assert isinstance(verdict, OperationDenied)
    assert verdict.refusal.code is RefusalCode.RESOURCE_UNKNOWN


async def test_a_resource_that_becomes_http_is_no_longer_asked_for_a_catalog(start: Start) -> None:
    world = await start(rules=CALLS, slow=asyncio.Event())
    await world.configure("resource", "shop", CRM | {"name": "shop"})
    asked = call("PUT /v1/customers/7").model_copy(update={"resource": "shop"})
    verdict = await world.ask(asked)
    assert isinstance(verdict, OperationDenied)
    assert "no rule permits it" in verdict.refusal.reason


async def test_a_held_call_goes_through_once_after_approval(start: Start) -> None:
    world = await start(rules=CALLS)
    await world.configure("resource", "crm", CRM)
    asked = call("DELETE /v1/customers/7", digest="same")
    held = await world.ask(asked)
    assert isinstance(held, OperationHeld)
    assert held.text == "DELETE /v1/customers/7"
    requested = ApprovalRequested(
        ingress="i1", session="s1", request=new_id(), operation=1, digest="same", resource="crm",
        identity=asked.identity, groups=("dba",), quorum=1, expires_at=LATER, reason="r", text="t",
    )  # fmt: skip
    await world.publish(requested)
    granted = ApprovalGranted(
        ingress="i1", session="s1", request=requested.request, operation=1, digest="same", by=("ann",),
        expires_at=LATER,
    ).stamped(id=new_id(), at=NOW)  # fmt: skip
    sequence = await world.publish(granted)
    grant = Grant(request=requested.request, granted=granted.id, sequence=sequence)
    verdict = await world.ask(call("DELETE /v1/customers/7", digest="same", grant=grant))
    assert isinstance(verdict, OperationAllowed), verdict
    assert verdict.request == requested.request
    again = await world.ask(call("DELETE /v1/customers/7", digest="same", grant=grant))
    assert isinstance(again, OperationDenied)
    assert again.refusal.code is RefusalCode.HELD_REFUSED
