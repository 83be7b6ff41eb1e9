"""Approval as processes of their own, on a real NATS: it decides once, and loses nothing when killed."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest

from weirgate_bus.jetstream import JetStreamBus
from weirgate_chassis.clock import now
from weirgate_chassis.ids import new_id
from weirgate_contracts.events import ConfigPublished, DecisionMade, Event, OperationHeld, SessionClosed
from weirgate_contracts.identity import Identity
from weirgate_contracts.subjects import AUDIT_STREAM
from weirgate_testkit.nats import NatsServer, running_nats

AGENT = Identity(agent="bot", user="alice", issuer="i", token_id="t", expires_at=2_000_000_000)


@pytest.fixture
def nats(tmp_path: Path) -> Generator[NatsServer]:
    with running_nats(tmp_path / "nats") as server:
        yield server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """One approval service."""

    def __init__(self, nats: NatsServer, name: str) -> None:
        self.port = free_port()
        settings = {
            "WEIRGATE_NATS_URL": nats.url,
            "WEIRGATE_NATS_NKEY_FILE": str(nats.seed("approval")),
            "WEIRGATE_HEALTH_LISTEN": f"127.0.0.1:{self.port}",
            "WEIRGATE_NAME": name,
        }
        clean = {key: value for key, value in os.environ.items() if not key.startswith("WEIRGATE_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "weirgate_approval"], env=clean | settings, stderr=subprocess.DEVNULL
        )

    async def ready(self) -> None:
        async with asyncio.timeout(20), httpx.AsyncClient() as agent:
            while True:
                assert self.process.poll() is None, "it ended"
                try:
                    if (await agent.get(f"http://127.0.0.1:{self.port}/readyz")).status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.05)

    def kill9(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def approval(nats: NatsServer, name: str) -> Generator[Process]:
    process = Process(nats, name)
    try:
        yield process
    finally:
        process.process.terminate()
        assert process.process.wait(15) in (0, -9)


class Others:
    """The services around approval, as far as it can tell."""

    def __init__(self, buses: dict[str, JetStreamBus]) -> None:
        self.buses = buses

    async def record(self, user: str, event: Event) -> None:
        event = event.stamped(id=new_id(), at=now())
        await self.buses[user].publish(event.subject, event.encoded(), id=event.id)

    async def held(self, request: str, session: str = "s1", quorum: int = 1) -> None:
        await self.record(
            "policy",
            OperationHeld(
                ingress="in1", session=session, operation=1, intercepted=request, digest="d",
                policy_revision=1, catalog_revision="c", resource="shop", identity=AGENT, groups=("dba",),
                quorum=quorum, window_s=600, reason="why", text="delete from t",
            ),
        )  # fmt: skip

    async def decided(self, request: str, by: str, decision: str = "grant") -> None:
        made = {"request": request, "decision": decision, "by": by, "groups": ("dba",)}
        await self.record("console", DecisionMade.model_validate(made))

    async def told(self, request: str) -> list[str]:
        subjects = (f"audit.approval.*.*.*.{request}",)
        reading = self.buses["console"].read(AUDIT_STREAM, subjects=subjects)
        return [delivery.subject.split(".")[2] async for delivery in reading]

    async def until(self, request: str, *kinds: str) -> None:
        async with asyncio.timeout(20):
            while await self.told(request) != list(kinds):
                await asyncio.sleep(0.02)


@asynccontextmanager
async def others_on(nats: NatsServer) -> AsyncGenerator[Others]:
    users = ("policy", "console", "ingress")
    buses = {user: await JetStreamBus.connect(nats.url, nats.seed(user), f"test-{user}") for user in users}
    others = Others(buses)
    body = {"name": "dba", "groups": ["dba"]}
    await others.record("console", ConfigPublished(config="reviewers", name="dba", body=body, by="test"))
    try:
        yield others
    finally:
        for bus in buses.values():
            await bus.close()


async def test_two_services_on_one_log_decide_each_request_once(nats: NatsServer) -> None:
    async with others_on(nats) as others:
        with approval(nats, "one") as one, approval(nats, "two") as two:
            await asyncio.gather(one.ready(), two.ready())
            requests = [new_id() for _ in range(30)]
            for number, request in enumerate(requests):
                await others.held(request, f"s{number}")
            for request in requests:
                await others.until(request, "requested")
            for request in requests:
                await asyncio.gather(
                    others.decided(request, "bob"), others.decided(request, "carol", "refuse")
                )
            await asyncio.sleep(1)
            outcomes = [await others.told(request) for request in requests]
    assert all(one in (["requested", "granted"], ["requested", "refused"]) for one in outcomes)


async def test_killed_between_hold_and_decision_it_loses_nothing(nats: NatsServer) -> None:
    async with others_on(nats) as others:
        opened, unheard, half = new_id(), new_id(), new_id()
        with approval(nats, "one") as first:
            await first.ready()
            await others.held(opened)
            await others.held(half, "s2", quorum=2)
            await others.until(opened, "requested")
            await others.until(half, "requested")
            await others.decided(half, "bob")
            await others.until(half, "requested", "endorsed")
            first.kill9()
            await others.held(unheard, "s3")
            await others.decided(opened, "bob")
            await others.decided(half, "carol")
        with approval(nats, "one") as second:
            await second.ready()
            await others.until(opened, "requested", "granted")
            await others.until(half, "requested", "endorsed", "granted")
            await others.until(unheard, "requested")
            await others.decided(unheard, "bob")
            await others.until(unheard, "requested", "granted")


async def test_one_of_two_killed_the_other_goes_on(nats: NatsServer) -> None:
    async with others_on(nats) as others:
        with approval(nats, "one") as one, approval(nats, "two") as two:
            await asyncio.gather(one.ready(), two.ready())
            request = new_id()
            await others.held(request)
            await others.until(request, "requested")
            one.kill9()
            await others.decided(request, "bob")
            await others.until(request, "requested", "granted")


async def test_nats_killed_and_back_the_request_is_still_decided(nats: NatsServer) -> None:
    async with others_on(nats) as others:
        with approval(nats, "one") as one:
            await one.ready()
            request = new_id()
            await others.held(request)
            await others.until(request, "requested")
            nats.restart()
            async with asyncio.timeout(20):
                while not all(bus.connected for bus in others.buses.values()):
                    await asyncio.sleep(0.05)
            await others.record("ingress", SessionClosed(ingress="in1", session="s1", reason="agent"))
            await others.until(request, "requested", "withdrawn")
