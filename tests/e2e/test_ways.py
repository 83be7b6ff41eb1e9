"""The ways in besides /<resource>/…: by Host, and as a proxy, with nothing changed in a client but its environment."""

import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from weirgate_testkit.gateway import RunningGateway, eventually


def address(
    gateway: RunningGateway, agent: str = "analyst", scheme: str = "http", token: str | None = None
) -> str:
    where = gateway.endpoints["http"]
    return f"{scheme}://{agent}:{token or gateway.token(agent)}@{where['host']}:{where['port']}"


def environment(gateway: RunningGateway, agent: str = "analyst") -> dict[str, str]:
    """What an operator gives an agent's process."""
    ca = gateway.endpoints["forward_ca"]
    clean = {name: text for name, text in os.environ.items() if not name.lower().endswith("_proxy")}
    return clean | {
        "HTTP_PROXY": address(gateway, agent), "http_proxy": address(gateway, agent),
        "HTTPS_PROXY": address(gateway, agent), "https_proxy": address(gateway, agent),
        "SSL_CERT_FILE": ca, "REQUESTS_CA_BUNDLE": ca, "CURL_CA_BUNDLE": ca,
    }  # fmt: skip


def curl(
    gateway: RunningGateway, *arguments: str, env: Mapping[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        ["curl", "-sS", "-w", "\n%{http_code} %{http_connect}", *arguments],
        capture_output=True, text=True, timeout=30, env=environment(gateway) if env is None else dict(env),
    )  # fmt: skip
    body, _, codes = done.stdout.rpartition("\n")
    answered, connect = (int(code) for code in codes.split())
    return answered or connect, json.loads(body) if body.startswith("{") else {"said": body + done.stderr}


def opened(
    gateway: RunningGateway, *fields: str, line: str = "CONNECT crm.internal:443"
) -> tuple[socket.socket, bytes]:
    """Send a CONNECT by hand; return the socket and what was answered."""
    where = gateway.endpoints["http"]
    peer = socket.create_connection((where["host"], where["port"]), timeout=30)
    given = fields or (f"Proxy-Authorization: Bearer {gateway.token('analyst')}",)
    peer.sendall("\r\n".join((f"{line} HTTP/1.1", "Host: crm.internal", *given, "", "")).encode())
    return peer, peer.recv(65536)


def secured(gateway: RunningGateway, peer: socket.socket, name: str = "crm.internal") -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=gateway.endpoints["forward_ca"])
    context.check_hostname = name == "crm.internal"
    return context.wrap_socket(peer, server_hostname=name)


def sessions(gateway: RunningGateway, mark: str) -> list[dict[str, Any]]:
    return [one for one in gateway.events() if mark in json.dumps(one)]


# ---------------------------------------------------------------- by Host


def test_a_resource_is_reached_by_its_host(gateway: RunningGateway) -> None:
    where = gateway.endpoints["http"]
    url = f"http://{where['host']}:{where['port']}/v1/customers/5"
    bearer = {"Authorization": f"Bearer {gateway.token('analyst')}"}
    for host in ("crm.internal", f"crm.internal:{where['port']}"):
        answer = httpx.get(url, headers=bearer | {"Host": host}, trust_env=False)
        assert (answer.status_code, answer.json()["id"]) == (200, 5)
        assert "@example.com" not in answer.text
    answer = httpx.get(url, headers=bearer | {"Host": "nobody.internal"}, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (404, "resource_unknown")


# ---------------------------------------------------------------- as a proxy


@pytest.mark.parametrize("url", ["http://crm.internal/v1/customers/5", "https://crm.internal/v1/customers/5"])
def test_curl_with_nothing_but_its_environment(gateway: RunningGateway, url: str) -> None:
    status, body = curl(gateway, url)
    assert (status, body["id"]) == (200, 5)
    assert "@example.com" not in json.dumps(body)


def test_curl_through_a_proxy_it_reaches_by_tls(gateway: RunningGateway) -> None:
    where = gateway.endpoints
    for url in ("http://crm.internal/v1/customers/6", "https://crm.internal/v1/customers/6"):
        status, body = curl(
            gateway, "-x", address(gateway, scheme="https"), "--proxy-cacert", where["ca"], "--cacert",
            where["forward_ca"], url, env={},
        )  # fmt: skip
        assert (status, body.get("id")) == (200, 6), body


def test_the_upstreams_own_address_leads_through_the_gateway(gateway: RunningGateway) -> None:
    status, body = curl(gateway, gateway.endpoints["upstreams"]["crm"]["url"] + "/v1/customers/7")
    assert (status, body["id"]) == (200, 7)
    assert "@example.com" not in json.dumps(body)


HTTPX = "import httpx; one = httpx.get({url!r}, headers={headers!r}); print(one.status_code, one.text)"
REQUESTS = (
    "import requests; one = requests.get({url!r}, headers={headers!r}); print(one.status_code, one.text)"
)
AIOHTTP = """
import aiohttp, asyncio
async def work():
    async with aiohttp.ClientSession(trust_env=True) as session, session.get({url!r}, headers={headers!r}) as one:
        print(one.status, await one.text())
asyncio.run(work())
"""
URLLIB = """
import urllib.request
with urllib.request.urlopen(urllib.request.Request({url!r}, headers={headers!r})) as one:
    print(one.status, one.read().decode())
"""
OPENAI = """
import openai
client = openai.OpenAI(base_url={url!r}.rpartition("/customers")[0], api_key="the-upstreams-own")
one = client.get("/customers/8", cast_to=object)
import json; print(200, json.dumps(one))
"""


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("program", [HTTPX, REQUESTS, AIOHTTP, URLLIB, OPENAI])
def test_python_clients_with_nothing_but_their_environment(
    gateway: RunningGateway, program: str, scheme: str
) -> None:
    # What the client has for the upstream itself is taken off, and takes nobody in.
    text = program.format(
        url=f"{scheme}://crm.internal/v1/customers/8", headers={"Authorization": "Bearer the-upstreams-own"}
    )
    done = subprocess.run(
        [sys.executable, "-c", text], env=environment(gateway), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    status, _, body = done.stdout.partition(" ")
    assert (status, json.loads(body)["id"]) == ("200", 8)
    assert "@example.com" not in body
    assert all(line["credential"] for line in gateway.crm_log())


def test_what_is_denied_through_a_proxy_never_reaches_the_upstream(gateway: RunningGateway) -> None:
    before = len(gateway.crm_log())
    for scheme in ("http", "https"):
        status, body = curl(
            gateway, "-d", '{"amount": 5}', "-H", "Content-Type: application/json", f"{scheme}://crm.internal/v1/payments",
            env=environment(gateway, "reader"),
        )  # fmt: skip
        assert (status, body["code"]) == (403, "denied")
    assert len(gateway.crm_log()) == before


@pytest.mark.parametrize(
    "url", ["http://nobody.internal/", "https://nobody.internal/", "http://crm.internal:81/"]
)
def test_what_is_not_registered_is_refused_with_the_next_step(gateway: RunningGateway, url: str) -> None:
    status, body = curl(gateway, url)
    assert status == 403
    if url.startswith("http:"):
        assert body["code"] == "resource_unknown"
        assert "hosts:" in body["hint"]
    # Who has no token is asked for one, and learns no more.
    where = gateway.endpoints["http"]
    status, body = curl(gateway, "-x", f"http://{where['host']}:{where['port']}", url, env={})
    assert status == 407


@pytest.mark.parametrize("token", ["nonsense", None])
def test_without_a_good_token_nothing_is_answered_but_407(gateway: RunningGateway, token: str | None) -> None:
    where = gateway.endpoints["http"]
    proxy = address(gateway, token=token) if token else f"http://{where['host']}:{where['port']}"
    for url in ("http://crm.internal/v1/customers/1", "https://crm.internal/v1/customers/1"):
        # The upstream's own credential is no token of ours.
        status, _ = curl(
            gateway, "-x", proxy, "-H", f"Authorization: Bearer {gateway.token('analyst')}", url, env={}
        )
        assert status == 407


# ---------------------------------------------------------------- CONNECT


def test_a_tunnel_is_one_session_and_each_request_in_it_an_operation(gateway: RunningGateway) -> None:
    mark = f"tunnel{time.time_ns()}"
    with httpx.Client(
        proxy=address(gateway),
        verify=ssl.create_default_context(cafile=gateway.endpoints["forward_ca"]),
        trust_env=False,
    ) as client:
        for number in (1, 2, 3):
            answer = client.get(f"https://crm.internal/v1/customers/{number}?mark={mark}")
            assert answer.json()["id"] == number
    asked = [one for one in sessions(gateway, mark) if one["kind"] == "operation.intercepted"]
    assert [one["operation"] for one in asked] == [1, 2, 3]
    (session,) = {one["session"] for one in asked}

    def told() -> list[str]:
        found = [one["kind"] for one in gateway.events() if one.get("session") == session]
        return found if "session.closed" in found else []

    kinds = eventually(told)
    assert kinds[0] == "session.opened"
    assert kinds.count("session.opened") == 1
    reached = [line["target"] for line in gateway.crm_log() if mark in line["target"]]
    assert len(reached) == 3


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("CONNECT crm.internal", 400),
        ("CONNECT agent@crm.internal:443", 400),
        ("CONNECT crm.internal.:443", 400),
        ("CONNECT crm.internal:0", 400),
        ("CONNECT [::1]:443", 400),
        # Well formed, and nobody's: Host may leave the port out.
        ("CONNECT crm.internal:8443", 403),
        ("CONNECT crm.internal:80", 403),
    ],
)
def test_a_connect_to_nobody_or_that_can_be_read_in_two_ways_opens_nothing(
    gateway: RunningGateway, line: str, status: int
) -> None:
    peer, answer = opened(gateway, line=line)
    with peer:
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert peer.recv(1) == b""


def test_inside_a_tunnel_is_tls_for_its_host_or_nothing(gateway: RunningGateway) -> None:
    before = len(gateway.crm_log())
    for said in (
        b"GET /v1/customers/1 HTTP/1.1\r\nHost: crm.internal\r\n\r\n",
        b"\x16\x03\x01\x00\x02xx",
        b"\x00" * 100_000,
    ):
        peer, answer = opened(gateway)
        assert answer == b"HTTP/1.1 200 Connection established\r\n\r\n"
        with peer:
            assert not spoken(peer, said)
    peer, _ = opened(gateway)
    with peer, pytest.raises((ssl.SSLError, ConnectionError)):
        secured(gateway, peer, "other.internal").sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert len(gateway.crm_log()) == before

    tried = [one["session"] for one in gateway.events(last=60) if one["kind"] == "session.opened"][-4:]

    def ended() -> list[dict[str, Any]]:
        found = [one for one in gateway.events(last=200) if one.get("session") in tried]
        closed = [one for one in found if one["kind"] == "session.closed"]
        return closed if len(closed) == len(tried) else []

    for one in eventually(ended):
        assert (one["reason"], one["refusal"]["code"]) == ("error", "protocol")


def spoken(peer: socket.socket, said: bytes) -> bytes:
    """Say something and return what is answered that is no alert of TLS."""
    got = b""
    try:
        peer.sendall(said)
        while piece := peer.recv(65536):
            got += piece
    except ConnectionError:
        pass
    return b"" if got[:1] == b"\x15" else got


def test_a_request_inside_a_tunnel_for_another_host_is_misdirected(gateway: RunningGateway) -> None:
    peer, _ = opened(gateway)
    with secured(gateway, peer) as inner:
        assert inner.selected_alpn_protocol() is None
        inner.sendall(b"GET /v1/customers/1 HTTP/1.1\r\nHost: other.internal\r\n\r\n")
        assert inner.recv(65536).startswith(b"HTTP/1.1 421 ")


def test_bytes_behind_a_connect_before_its_answer_end_it(gateway: RunningGateway) -> None:
    token = gateway.token("analyst")
    where = gateway.endpoints["http"]
    whole = f"CONNECT crm.internal:443 HTTP/1.1\r\nHost: crm.internal\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
    with socket.create_connection((where["host"], where["port"]), timeout=20) as peer:
        peer.sendall(whole.encode() + b"GET /crm/v1/customers/1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert peer.recv(65536).startswith(b"HTTP/1.1 400 ")
        assert peer.recv(1) == b""


def test_a_tunnel_that_says_nothing_can_be_ended_at_once(gateway: RunningGateway) -> None:
    agent = f"silent-{time.time_ns()}"
    token = gateway.mint(agent, "analysts")
    peer, answer = opened(gateway, f"Proxy-Authorization: Bearer {token}")
    assert answer.startswith(b"HTTP/1.1 200 ")
    with peer:
        found = eventually(
            lambda: [one for one in gateway.events(last=60) if f'"agent": "{agent}"' in json.dumps(one)]
        )
        session = next(one["session"] for one in found if one["kind"] == "session.opened")
        # Not by the command: it takes its time, and the handshake has a deadline.
        url = f"{gateway.endpoints['console']['url']}/v1/sessions/one/{session}/kill"
        admin = (gateway.directory / "secrets/admin.token").read_text().strip()
        killed = httpx.post(url, headers={"Authorization": f"Bearer {admin}"}, json={}, timeout=20)
        assert killed.status_code < 300, killed.text
        assert peer.recv(1) == b""
    closed = eventually(
        lambda: [
            one
            for one in gateway.events(last=60)
            if one.get("session") == session and one["kind"] == "session.closed"
        ]
    )
    assert closed[0]["reason"] == "killed"


def test_no_token_and_no_certificate_key_is_in_events(gateway: RunningGateway) -> None:
    curl(
        gateway,
        "-H",
        "Authorization: Bearer the-upstreams-own",
        "https://crm.internal/v1/customers/9?note=hidden",
    )
    text = json.dumps(gateway.events())
    assert "note" in text
    for secret in (gateway.token("analyst"), "the-upstreams-own", "PRIVATE KEY"):
        assert secret not in text
