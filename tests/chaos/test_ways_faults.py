"""The proxy under fire: no tunnel without a log, none that outlives its ingress, and all of them back afterwards."""

import json
import socket
import ssl
import time

import httpx
import pytest

from weirgate_testkit.gateway import RunningGateway, eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


def address(gateway: RunningGateway) -> str:
    where = gateway.endpoints["http"]
    return f"http://admin-bot:{gateway.token('admin-bot')}@{where['host']}:{where['port']}"


def client(gateway: RunningGateway) -> httpx.Client:
    trust = ssl.create_default_context(cafile=gateway.endpoints["forward_ca"])
    return httpx.Client(proxy=address(gateway), verify=trust, trust_env=False, timeout=15)


def works(gateway: RunningGateway) -> bool:
    try:
        with client(gateway) as agent:
            return agent.get("https://crm.internal/v1/customers/1").status_code == 200
    except httpx.HTTPError:
        return False


def test_no_tunnel_is_opened_that_the_log_does_not_know(gateway: RunningGateway) -> None:
    assert eventually(lambda: works(gateway), 30)
    where, token = gateway.endpoints["http"], gateway.token("admin-bot")
    with gateway.frozen("nats"):
        with socket.create_connection((where["host"], where["port"]), timeout=30) as peer:
            peer.sendall(
                b"CONNECT crm.internal:443 HTTP/1.1\r\nHost: crm.internal\r\nProxy-Authorization: Bearer "
                + token.encode()
                + b"\r\n\r\n"
            )
            got = b""
            while piece := peer.recv(65536):
                got += piece
    assert b" 200 " not in got
    assert eventually(lambda: works(gateway), 60)


@pytest.mark.parametrize("victim", ["ingress", "nats"])
def test_what_a_tunnel_let_through_has_its_events_whatever_is_killed(
    gateway: RunningGateway, victim: str
) -> None:
    assert eventually(lambda: works(gateway), 60)
    mark = f"ways{victim}{time.time_ns()}"
    until, number = time.monotonic() + 5, 0
    killed = False
    while time.monotonic() < until:
        with client(gateway) as agent:
            try:
                for _ in range(20):
                    number += 1
                    agent.get(f"https://crm.internal/v1/customers/{number % 500 + 1}?mark={mark}-{number}")
            except httpx.HTTPError:
                time.sleep(0.1)
        if not killed:
            killed = True
            gateway.kill(victim)
    gateway.wait_ready()
    assert eventually(lambda: works(gateway), 60)
    seen = [line["target"].rpartition("=")[2] for line in gateway.crm_log() if mark in line["target"]]
    assert seen
    asked: dict[str, tuple[str, int]] = {}
    allowed: set[tuple[str, int]] = set()
    for event in gateway.events():
        where = (event.get("session", ""), event.get("operation", 0))
        if event["kind"] == "operation.allowed":
            allowed.add(where)
        elif event["kind"] == "operation.intercepted" and mark in json.dumps(event):
            asked[dict(event["call"]["query"])["mark"]] = where
    for one in seen:
        assert asked[one] in allowed
