"""WebSocket under fire: parts that are away or killed, and a message never reaches the upstream without its verdict."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from weirgate_testkit.gateway import RunningGateway, eventually
from weirgate_testkit.port import free_port

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@dataclass
class Echo:
    """The upstream."""

    gateway: RunningGateway
    seen: list[str] = field(default_factory=list[str])

    def serve_one(self, peer: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            for said in peer:
                self.seen.append(str(said))
                peer.send(said)

    def open(self) -> ClientConnection:
        url = self.gateway.http_url("echo").replace("http", "ws", 1) + "/ws"
        token = self.gateway.token("admin-bot")
        return connect(
            url, additional_headers={"Authorization": f"Bearer {token}"}, proxy=None, close_timeout=3
        )

    def works(self) -> bool:
        try:
            with self.open() as agent:
                agent.send("works")
                return agent.recv(timeout=5) == "works"
        except (InvalidHandshake, ConnectionClosed, OSError, TimeoutError, EOFError):
            return False


@pytest.fixture(scope="module")
def echo(gateway: RunningGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Echo]:
    """A server that says everything again."""
    one, port = Echo(gateway), free_port()
    server = serve(one.serve_one, "127.0.0.1", port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    file: Path = tmp_path_factory.mktemp("echo") / "echo.yaml"
    file.write_text(
        f"kind: resource\nname: echo\nprotocol: http\nupstream: http://127.0.0.1:{port}\nroutes: [/ws]\n"
    )
    gateway.weirgate("apply", "-f", str(file))
    eventually(one.works)
    yield one
    server.shutdown()


@pytest.mark.parametrize(("name", "code"), [("policy", "verdict_timeout"), ("masking", "plan_timeout")])
def test_a_judge_that_is_away_closes_within_the_deadline(
    gateway: RunningGateway, echo: Echo, name: str, code: str
) -> None:
    mark = f"away{time.time_ns()}"
    with echo.open() as agent:
        with gateway.frozen(name):
            agent.send(mark)
            with pytest.raises(ConnectionClosed) as closed:
                agent.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1013
    assert closed.value.rcvd.reason.startswith(code)
    assert mark not in echo.seen
    eventually(echo.works, 30)


def test_nats_away_ends_the_tunnel_and_nothing_unrecorded_goes_on(
    gateway: RunningGateway, echo: Echo
) -> None:
    mark = f"nats{time.time_ns()}"
    with echo.open() as agent:
        with gateway.frozen("nats"):
            agent.send(mark)
            with pytest.raises((ConnectionClosed, TimeoutError)):
                agent.recv(timeout=15)
        assert mark not in echo.seen
    eventually(echo.works, 30)


@pytest.mark.parametrize("victim", ["policy", "nats", "ingress"])
def test_every_message_the_upstream_saw_was_allowed_before(
    gateway: RunningGateway, echo: Echo, victim: str
) -> None:
    mark = f"killed{victim}{time.time_ns()}"
    until = time.monotonic() + 6
    killer = threading.Timer(2, gateway.kill, [victim])
    killer.start()
    number = 0
    while time.monotonic() < until:
        try:
            with echo.open() as agent:
                while time.monotonic() < until:
                    number += 1
                    agent.send(f"{mark} {number}")
                    agent.recv(timeout=5)
        except (InvalidHandshake, ConnectionClosed, OSError, TimeoutError, EOFError):
            time.sleep(0.2)
    killer.join()
    gateway.wait_ready()
    asked: dict[str, list[str]] = {}
    allowed: set[str] = set()
    for event in gateway.events():
        if event["kind"] == "operation.intercepted" and (event.get("call") or {}).get("upgrade"):
            body = event["call"]["body"] or {}
            asked.setdefault(body.get("text") or "", []).append(event["id"])
        elif event["kind"] == "operation.allowed":
            allowed.add(event["intercepted"])
    seen = [said for said in echo.seen if mark in said]
    assert len(seen) > 20
    assert [said for said in seen if not any(one in allowed for one in asked.get(said, []))] == []
    assert gateway.weirgate("log", "verify", check=False).returncode == 0
