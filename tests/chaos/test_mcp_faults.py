"""MCP under fire: durable before effect with every part killed, and the fault table."""

import asyncio
import contextlib
import json
import re
import time
from typing import Any

import httpx
import pytest

from weirgate_testkit.gateway import RunningGateway, eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

VICTIMS = ("policy", "masking", "approval", "recorder", "console", "ingress", "nats", "read_model")
CLIENTS = 4
BEFORE_S, AFTER_S = 2.0, 5.0
REVISION = "2025-11-25"


class Agent:
    """An MCP client of few words."""

    def __init__(self, gateway: RunningGateway, agent: str = "analyst") -> None:
        self._url = gateway.http_url("helpdesk")
        self._headers = {
            "Authorization": f"Bearer {gateway.token(agent)}",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": REVISION,
        }
        self._client = httpx.AsyncClient(timeout=15, headers=self._headers)

    async def __aenter__(self) -> "Agent":
        client = {"name": "chaos", "version": "1"}
        begun = await self.send("initialize", protocolVersion=REVISION, capabilities={}, clientInfo=client)
        if "mcp-session-id" not in begun.headers:
            await self._client.aclose()
            raise httpx.TransportError(f"no session: {begun.text[:300]}")
        self._client.headers["Mcp-Session-Id"] = begun.headers["mcp-session-id"]
        await self._client.post(self._url, json={"jsonrpc": "2.0", "method": "notifications/initialized"})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def send(self, method: str, **params: Any) -> httpx.Response:
        """Send one request."""
        return await self._client.post(
            self._url, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        )

    async def note(self, text: str) -> httpx.Response:
        """Call a tool that leaves a trace in the server's log."""
        return await self.send("tools/call", name="note", arguments={"customer": 1, "text": text})


def reached(gateway: RunningGateway, mark: str) -> list[str]:
    return re.findall(rf"{mark}(?:-\d+)*", json.dumps(gateway.upstream_lines("helpdesk")))


async def works(gateway: RunningGateway) -> bool:
    try:
        async with Agent(gateway) as agent:
            return (await agent.note("well")).status_code == 200
    except httpx.HTTPError:
        return False


async def comes_back(gateway: RunningGateway) -> None:
    deadline = time.monotonic() + 30
    while not await works(gateway):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.3)


# ---------------------------------------------------------------- durable before effect


async def load(gateway: RunningGateway, client: int, until: float, mark: str) -> int:
    done = number = 0
    while time.monotonic() < until:
        with contextlib.suppress(httpx.HTTPError):
            async with Agent(gateway) as agent:
                while time.monotonic() < until:
                    number += 1
                    answer = await agent.note(f"{mark}-{client}-{number}")
                    done += answer.status_code == 200 and "noted for" in answer.text
                    if answer.status_code == 404:
                        break
        await asyncio.sleep(0.1)
    return done


@pytest.mark.parametrize("victim", VICTIMS)
async def test_every_call_the_server_saw_has_its_events(gateway: RunningGateway, victim: str) -> None:
    mark = f"durable{victim.replace('_', '')}{time.time_ns()}"
    until = time.monotonic() + BEFORE_S + AFTER_S
    clients = [asyncio.create_task(load(gateway, n, until, mark)) for n in range(CLIENTS)]
    await asyncio.sleep(BEFORE_S)
    await asyncio.to_thread(gateway.kill, victim)
    assert sum(await asyncio.gather(*clients)) > 20
    await asyncio.to_thread(gateway.wait_ready)
    seen = reached(gateway, mark)
    assert seen
    intercepted: dict[str, list[str]] = {}
    allowed: set[str] = set()
    for event in await asyncio.to_thread(gateway.events):
        if event["kind"] == "operation.intercepted" and event["protocol"] == "mcp":
            for name in re.findall(rf"{mark}-\d+-\d+", json.dumps(event["call"])):
                intercepted.setdefault(name, []).append(event["id"])
        elif event["kind"] == "operation.allowed":
            allowed.add(event["intercepted"])
    assert [
        name for name in set(seen) if not any(each in allowed for each in intercepted.get(name, []))
    ] == []
    verified = await asyncio.to_thread(gateway.weirgate, "log", "verify", check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr


# ---------------------------------------------------------------- the fault table


@pytest.mark.parametrize(("name", "code"), [("policy", "verdict_timeout"), ("masking", "plan_timeout")])
async def test_a_judge_that_is_away_is_a_refusal_within_the_deadline(
    gateway: RunningGateway, name: str, code: str
) -> None:
    mark = f"away{time.time_ns()}"
    async with Agent(gateway) as agent:
        with gateway.frozen(name):
            answer = await agent.note(mark)
    assert code in answer.text
    assert not reached(gateway, mark)
    await comes_back(gateway)


async def test_nats_away_is_a_refusal_and_the_gateway_recovers(gateway: RunningGateway) -> None:
    mark = f"nats{time.time_ns()}"
    async with Agent(gateway) as agent:
        with gateway.frozen("nats"), contextlib.suppress(httpx.HTTPError):
            # Where not even the refusal could be recorded the connection just ends.
            assert "log_unavailable" in (await agent.note(mark)).text
    assert not reached(gateway, mark)
    await comes_back(gateway)


async def test_recorder_away_changes_nothing_for_the_agent_and_it_catches_up(gateway: RunningGateway) -> None:
    mark = f"recorder{time.time_ns()}"
    async with Agent(gateway) as agent:
        with gateway.frozen("recorder"):
            assert "noted for" in (await agent.note(mark)).text
    events = await asyncio.to_thread(gateway.events, last=300)
    session = next(event["session"] for event in events if mark in json.dumps(event))
    await asyncio.to_thread(
        eventually, lambda: "tools/call" in gateway.weirgate("sessions", "show", session, check=False).stdout
    )


async def test_a_server_that_is_away_is_said_and_it_comes_back(gateway: RunningGateway) -> None:
    async with Agent(gateway) as agent:
        assert "noted for" in (await agent.note("before")).text
        await asyncio.to_thread(gateway.kill, "helpdesk")
        assert "upstream" in (await agent.note("away")).text
    await comes_back(gateway)


async def test_a_token_that_ends_ends_the_stream_of_the_server(gateway: RunningGateway) -> None:
    async with Agent(gateway) as agent:
        assert (await agent.note("x")).status_code == 200
    token = await asyncio.to_thread(gateway.mint, "brief", "analysts", ttl="3s")
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    began = time.monotonic()
    async with httpx.AsyncClient(timeout=30, headers=headers) as client:
        url = gateway.http_url("helpdesk")
        params = {
            "protocolVersion": REVISION,
            "capabilities": {},
            "clientInfo": {"name": "c", "version": "1"},
        }
        begun = await client.post(
            url, json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
        )
        session = {"Mcp-Session-Id": begun.headers["mcp-session-id"], "MCP-Protocol-Version": REVISION}
        with contextlib.suppress(httpx.HTTPError):
            async with client.stream("GET", url, headers=session) as stream:
                async for _ in stream.aiter_raw():
                    pass
    assert time.monotonic() - began < 10
