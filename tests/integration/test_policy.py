"""The policy service as it runs: a process of its own, real NATS, a real PostgreSQL behind it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.request import urlopen

import asyncpg
import pytest

from weirgate_bus.jetstream import JetStreamBus
from weirgate_bus.port import Delivery
from weirgate_chassis.clock import now
from weirgate_chassis.ids import new_id
from weirgate_cli.apply import Documents, load
from weirgate_contracts.events import (
    ConfigPublished,
    OperationAllowed,
    OperationDenied,
    OperationFinished,
    OperationHeld,
    OperationIntercepted,
    decode,
)
from weirgate_contracts.identity import Identity
from weirgate_contracts.operation import SessionContext, Statement
from weirgate_contracts.refusal import RefusalCode
from weirgate_contracts.subjects import STORED_PREFIX
from weirgate_embedded.postgres import Postgres
from weirgate_testkit.nats import NatsServer, running_nats
from weirgate_testkit.port import free_port
from weirgate_testkit.postgres import running_postgres

PACK = Path(__file__).parents[2] / "deploy" / "packs" / "starter"
Verdict = OperationAllowed | OperationDenied | OperationHeld


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A shop of two tables."""
    with running_postgres(tmp_path_factory.mktemp("policy-upstream")) as server:
        server.psql(
            "create role shop_app login; create role shop_catalog login password 'cat'; create database shop;\n"
            "\\connect shop\n"
            "create table customers (id int primary key, name text, email text);\n"
            "create table orders (id int primary key, total numeric)"
        )
        yield server


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """The log."""
    with running_nats(tmp_path_factory.mktemp("policy-nats")) as server:
        yield server


class Gateway:
    """What ingress and console would say, and what comes back."""

    def __init__(self, ingress: JetStreamBus, console: JetStreamBus) -> None:
        self.ingress = ingress
        self.console = console
        self.verdicts: dict[str, asyncio.Future[Verdict]] = {}

    def heard(self, delivery: Delivery) -> None:
        """A verdict is durable."""
        event = decode(delivery.body)
        waiting = self.verdicts.get(event.intercepted) if isinstance(event, Verdict) else None
        if isinstance(event, Verdict) and waiting is not None and not waiting.done():
            waiting.set_result(event)

    async def configure(self, upstream: Postgres, secret: Path) -> None:
        """Register the shop, and publish the starter pack."""
        address = f"127.0.0.1:{upstream.port}/shop?sslmode=disable"
        resource = {
            "name": "shop",
            "protocol": "postgres",
            "upstream": f"postgresql://shop_app@{address}",
            "catalog": f"postgresql://shop_catalog@{address}",
            "catalog_credential": f"file:{secret}",
        }
        found = load(PACK)
        assert isinstance(found, Documents)
        events = [
            ConfigPublished(config=one.kind, name=one.name, body=one.body, by="t") for one in found.documents
        ]
        events.append(ConfigPublished(config="resource", name="shop", body=resource, by="t"))
        for event in events:
            stamped = event.stamped(id=new_id(), at=now())
            await self.console.publish(stamped.subject, stamped.encoded(), id=stamped.id)

    async def ask(self, text: str, *, group: str = "readers", number: int = 1) -> Verdict:
        """Publish an operation and wait for its verdict."""
        operation = OperationIntercepted(
            ingress="i1",
            session="s1",
            operation=number,
            protocol="postgres",
            resource="shop",
            identity=Identity(agent="a", groups=(group,), issuer="t", token_id="t", expires_at=0),
            statements=(Statement(text=text, phase="run", simple=True),),
            context=SessionContext(database="shop"),
            digest="d",
        ).stamped(id=new_id(), at=now())
        self.verdicts[operation.id] = asyncio.get_running_loop().create_future()
        await self.ingress.publish(operation.subject, operation.encoded(), id=operation.id)
        async with asyncio.timeout(10):
            return await self.verdicts[operation.id]

    async def finished(self, number: int) -> None:
        """An operation has ended."""
        event = OperationFinished(ingress="i1", session="s1", operation=number, outcome="ok")
        event = event.stamped(id=new_id(), at=now())
        await self.ingress.publish(event.subject, event.encoded(), id=event.id)


@pytest.fixture(scope="module")
async def gateway(
    nats: NatsServer, upstream: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """The service, configured and ready."""
    directory = tmp_path_factory.mktemp("policy")
    secret = directory / "secret"
    secret.write_text("cat")
    ingress = await JetStreamBus.connect(nats.url, nats.seed("ingress"), "ingress")
    console = await JetStreamBus.connect(nats.url, nats.seed("console"), "console")
    made = Gateway(ingress, console)
    await ingress.subscribe(STORED_PREFIX + "audit.operation.*.i1.*", made.heard)
    health = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WEIRGATE_")} | {
        "WEIRGATE_NATS_URL": nats.url,
        "WEIRGATE_NATS_NKEY_FILE": str(nats.seed("policy")),
        "WEIRGATE_HEALTH_LISTEN": f"127.0.0.1:{health}",
    }
    with (directory / "policy.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "weirgate_policy"], env=environment, stderr=log)
    try:
        await made.configure(upstream, secret)
        async with asyncio.timeout(40):
            while not await asyncio.to_thread(ready, health):
                assert process.poll() is None, (directory / "policy.log").read_text()
                await asyncio.sleep(0.1)
        yield made
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 15) == 0, (directory / "policy.log").read_text()
    finally:
        process.kill()
        await ingress.close()
        await console.close()


def ready(port: int) -> bool:
    """Whether the service says so."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


async def test_verdicts_come_from_the_pack_and_the_real_catalog(gateway: Gateway) -> None:
    allowed = await gateway.ask("select * from customers")
    assert isinstance(allowed, OperationAllowed), allowed
    assert "public.customers.email" in allowed.touched[0].reads
    assert allowed.unmask == ()
    denied = await gateway.ask("select name from customers where email = 'x'")
    assert isinstance(denied, OperationDenied)
    assert denied.refusal.code is RefusalCode.MASKED_PREDICATE
    held = await gateway.ask("delete from orders where id = 1", group="writers")
    assert isinstance(held, OperationHeld)
    assert held.groups == ("dba",)
    for text in ("drop table orders", "copy orders to program 'x'", "select * from pg_authid"):
        assert isinstance(await gateway.ask(text), OperationDenied)


async def test_a_table_made_through_the_gateway_is_known_to_the_next_statement(
    gateway: Gateway, upstream: Postgres
) -> None:
    assert isinstance(await gateway.ask("select id from fresh"), OperationDenied)
    create = await gateway.ask("create table fresh (id int)", group="unrestricted", number=2)
    assert isinstance(create, OperationAllowed)
    assert create.catalog_may_change
    connection = await asyncpg.connect(upstream.dsn("shop"))
    await connection.execute("create table fresh (id int)")
    await connection.close()
    await gateway.finished(2)
    after = await gateway.ask("select id from fresh", number=3)
    assert isinstance(after, OperationAllowed), after
    assert after.catalog_revision != create.catalog_revision
