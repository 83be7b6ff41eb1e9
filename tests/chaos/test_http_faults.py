"""HTTP under fire: durable before effect with every part killed, and the fault table."""

import asyncio
import contextlib
import json
import re
import socket
import time
from typing import Any

import httpx
import psutil
import pytest

from weirgate_testkit.gateway import RunningGateway, eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

VICTIMS = ("policy", "masking", "approval", "recorder", "console", "ingress", "nats", "read_model")
CLIENTS = 6
BEFORE_S, AFTER_S = 2.0, 5.0


def headers(gateway: RunningGateway, agent: str = "admin-bot", token: str | None = None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token or gateway.token(agent)}"}


def get(gateway: RunningGateway, path: str, **more: Any) -> httpx.Response:
    return httpx.get(gateway.http_url() + path, headers=headers(gateway, **more), timeout=15)


def works(gateway: RunningGateway) -> bool:
    try:
        return get(gateway, "/v1/customers/1").status_code == 200
    except httpx.HTTPError:
        return False


def reached(gateway: RunningGateway, mark: str) -> list[str]:
    return re.findall(rf"{mark}(?:-\d+)*", json.dumps(gateway.crm_log()))


# ---------------------------------------------------------------- durable before effect


async def load(gateway: RunningGateway, client: int, until: float, mark: str) -> int:
    done = number = 0
    while time.monotonic() < until:
        async with httpx.AsyncClient(
            base_url=gateway.http_url(), headers=headers(gateway), timeout=10
        ) as agent:
            while time.monotonic() < until:
                number += 1
                try:
                    answer = await agent.get(
                        f"/v1/customers/{number % 500 + 1}?mark={mark}-{client}-{number}"
                    )
                except httpx.HTTPError:
                    await asyncio.sleep(0.1)
                    break
                done += answer.status_code == 200
    return done


@pytest.mark.parametrize("victim", VICTIMS)
async def test_every_request_the_upstream_saw_has_its_events(gateway: RunningGateway, victim: str) -> None:
    mark = f"durable{victim}{time.time_ns()}"
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
        if event["kind"] == "operation.intercepted" and event.get("call"):
            for name, value in event["call"]["query"]:
                if name == "mark":
                    intercepted.setdefault(value, []).append(event["id"])
        elif event["kind"] == "operation.allowed":
            allowed.add(event["intercepted"])
    assert [
        name for name in set(seen) if not any(each in allowed for each in intercepted.get(name, []))
    ] == []
    verified = await asyncio.to_thread(gateway.weirgate, "log", "verify", check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr


# ---------------------------------------------------------------- the fault table


@pytest.mark.parametrize(("name", "code"), [("policy", "verdict_timeout"), ("masking", "plan_timeout")])
def test_a_judge_that_is_away_is_a_refusal_within_the_deadline(
    gateway: RunningGateway, name: str, code: str
) -> None:
    mark = f"away{time.time_ns()}"
    with gateway.frozen(name):
        answer = get(gateway, f"/v1/customers/1?mark={mark}")
    assert (answer.status_code, answer.json()["code"]) == (503, code)
    assert not reached(gateway, mark)
    eventually(lambda: works(gateway), 30)


def test_nats_away_is_a_refusal_and_the_gateway_recovers(gateway: RunningGateway) -> None:
    mark = f"nats{time.time_ns()}"
    with gateway.frozen("nats"), contextlib.suppress(httpx.HTTPError):
        # Where not even the refusal could be recorded the connection just ends.
        assert get(gateway, f"/v1/customers/1?mark={mark}").status_code == 503
    assert not reached(gateway, mark)
    eventually(lambda: works(gateway), 30)


def test_recorder_away_changes_nothing_for_the_agent_and_it_catches_up(gateway: RunningGateway) -> None:
    mark = f"recorder{time.time_ns()}"
    with gateway.frozen("recorder"):
        assert get(gateway, f"/v1/customers/1?mark={mark}").status_code == 200
    session = next(event["session"] for event in gateway.events(last=300) if mark in json.dumps(event))
    eventually(lambda: mark in gateway.weirgate("sessions", "show", session, check=False).stdout)


def test_an_upstream_that_is_away_is_a_bad_gateway_until_it_is_back(gateway: RunningGateway) -> None:
    with httpx.Client(base_url=gateway.http_url(), headers=headers(gateway), timeout=15) as agent:
        assert agent.get("/v1/customers/1").status_code == 200
        gateway.kill("crm")
        answer = agent.get("/v1/customers/1")
        assert (answer.status_code, answer.json()["code"][:8]) == (502, "upstream")
        eventually(lambda: agent.get("/v1/customers/1").status_code == 200)


def test_an_upstream_that_dies_in_the_middle_of_an_answer_is_no_end(gateway: RunningGateway) -> None:
    with (
        pytest.raises(httpx.HTTPError),
        httpx.stream("GET", gateway.http_url() + "/v1/events?count=500", headers=headers(gateway)) as answer,
    ):
        for number, _ in enumerate(answer.iter_raw()):
            if number == 3:
                gateway.kill("crm")
    eventually(
        lambda: any(
            event["kind"] == "operation.failed" and event["refusal"]["code"] == "upstream_lost"
            for event in gateway.events(last=100)
        )
    )
    eventually(lambda: works(gateway), 30)


def test_an_agent_that_leaves_in_the_middle_leaves_an_abandoned_operation(gateway: RunningGateway) -> None:
    mark = f"left{time.time_ns()}"
    with httpx.stream(
        "GET", gateway.http_url() + f"/v1/events?count=500&mark={mark}", headers=headers(gateway)
    ) as answer:
        next(answer.iter_raw())

    def abandoned() -> bool:
        events = gateway.events(last=200)
        session = next((one["session"] for one in events if mark in json.dumps(one)), None)
        return any(one["kind"] == "operation.abandoned" and one["session"] == session for one in events)

    eventually(abandoned)


def test_a_token_that_expires_ends_its_session(gateway: RunningGateway) -> None:
    token = gateway.mint("admin-bot", "unrestricted", ttl="3s")
    with httpx.Client(
        base_url=gateway.http_url(), headers=headers(gateway, token=token), timeout=15
    ) as agent:
        assert agent.get("/v1/customers/1").status_code == 200
        time.sleep(4)
        answer = agent.get("/v1/customers/1")
        assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")


def test_a_slow_reader_slows_the_upstream_and_loses_no_byte(gateway: RunningGateway) -> None:
    ingress = psutil.Process(gateway.pid("ingress"))
    before = ingress.memory_info().rss
    where = gateway.endpoints["http"]
    with socket.create_connection((where["host"], where["port"]), timeout=60) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        token = gateway.token("admin-bot")
        peer.sendall(
            f"GET /crm/v1/report.txt?mib=64 HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        time.sleep(3)
        assert ingress.memory_info().rss - before < 48 * 2**20
        got = b""
        size = 0
        while data := peer.recv(1 << 20):
            size += len(data)
            got = (got + data)[:4096]
    head, _, _ = got.partition(b"\r\n\r\n")
    assert b" 200 " in head
    assert size - len(head) - 4 == 64 * 2**20


def test_a_large_masked_answer_passes_in_flat_memory(gateway: RunningGateway) -> None:
    ingress = psutil.Process(gateway.pid("ingress"))
    before = ingress.memory_info().rss
    peak = size = 0
    tail = b""
    with httpx.stream(
        "GET",
        gateway.http_url() + "/v1/report.txt?mib=48",
        headers=headers(gateway, "reader"),
        timeout=60,
    ) as answer:
        for piece in answer.iter_bytes(1 << 20):
            peak = max(peak, ingress.memory_info().rss)
            size += len(piece)
            assert b"@example.com" not in tail + piece
            tail = piece[-64:]
    assert size > 40 * 2**20
    assert peak - before < 64 * 2**20
