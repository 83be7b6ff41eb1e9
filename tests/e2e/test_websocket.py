"""WebSocket agents through the gateway: real clients, a real server behind it, in clear and over TLS."""

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from weirgate_embedded.certificate import make_certificates
from weirgate_testkit.gateway import RunningGateway, eventually
from weirgate_testkit.port import free_port

RULES = """
@id("open") permit (
    principal in Group::"talkers",
    action in [Action::"connect", Action::"http.upgrade"],
    resource
);
@id("say") permit (principal in Group::"talkers", action == Action::"http.message", resource)
unless { context.bodyType == "application/json" && context.body.hasTag("/do") };
@id("pay") @hold("dba") permit (
    principal in Group::"talkers", action == Action::"http.message", resource
)
when {
    context.bodyType == "application/json" && context.body.hasTag("/do") &&
    context.body.getTag("/do") == "pay"
};
@id("listen") permit (
    principal in Group::"listeners",
    action in [Action::"connect", Action::"http.upgrade"],
    resource
);
"""
CHAT = Subprotocol("chat.v2")
ANN = {"name": "Ann", "email": "ann@example.com", "notes": "mail me at ann@example.org"}


@dataclass
class Chat:
    """The upstream: what reached it, and when."""

    gateway: RunningGateway
    seen: list[tuple[float, str, str | bytes]] = field(default_factory=list[tuple[float, str, str | bytes]])
    closes: list[int] = field(default_factory=list[int])
    headers: dict[str, str] = field(default_factory=dict[str, str])

    def serve_one(self, peer: ServerConnection) -> None:
        assert peer.request is not None
        self.headers = dict(peer.request.headers.raw_items())
        try:
            for said in peer:
                self.seen.append((time.time(), peer.request.path, said))
                match said:
                    case "ann":
                        peer.send(json.dumps(ANN))
                    case "text":
                        peer.send(ANN["notes"])
                    case "binary":
                        peer.send(b"\x00ann@example.com")
                    case "parts":
                        peer.send(iter(["mail ann@exa", "mple.com", " now"]))
                    case "bye":
                        peer.close(4001, "so long, ann@example.com")
                    case _:
                        peer.send(said)
        except ConnectionClosed:
            pass
        self.closes.append(peer.close_code or 0)

    def texts(self, mark: str = "") -> list[str | bytes]:
        """What reached it with a mark in it."""
        return [said for _, _, said in self.seen if not mark or (isinstance(said, str) and mark in said)]

    def open(self, *groups: str, resource: str = "chat", **more: Any) -> ClientConnection:
        """Connect as an agent of these groups."""
        token = self.gateway.mint("talker", *groups)
        more.setdefault("subprotocols", [CHAT])
        url = self.gateway.http_url(resource).replace("http", "ws", 1) + "/ws?room=1"
        return connect(url, additional_headers={"Authorization": f"Bearer {token}"}, proxy=None, **more)


@pytest.fixture(scope="module")
def chat(gateway: RunningGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chat]:
    """A WebSocket server in clear (``chat``) and over TLS (``chats``), with rules for it."""
    directory: Path = tmp_path_factory.mktemp("chat")
    make_certificates(directory)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(directory / "server.pem", directory / "server.key")
    one = Chat(gateway)
    ports = free_port(), free_port()
    servers: list[Server] = []
    for port, context in zip(ports, (None, tls), strict=True):
        server = serve(one.serve_one, "127.0.0.1", port, ssl=context, subprotocols=[CHAT], max_size=None)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
    (directory / "chat.cedar").write_text(RULES)
    resource = "kind: resource\nname: {}\nprotocol: http\nupstream: {}\nroutes: [/ws]\n{}---\n"
    (directory / "chat.yaml").write_text(
        resource.format("chat", f"http://127.0.0.1:{ports[0]}/base", "")
        + resource.format("chats", f"https://127.0.0.1:{ports[1]}/base", f"ca: {directory}/ca.pem\n")
        + "kind: policy\nname: chat\nfile: chat.cedar\n"
        + '---\nkind: labels\nresource: chat\nfields: {"/ws /**/email": pii.email}\n'
    )
    applied = gateway.weirgate("apply", "-f", str(directory), check=False)
    assert applied.returncode == 0, applied.stderr
    eventually(lambda: _opens(one))
    yield one
    for server in servers:
        server.shutdown()


def _opens(chat: Chat) -> bool:
    try:
        with chat.open("talkers"):
            return True
    except InvalidStatus as error:
        if error.response.status_code not in (403, 404):
            raise
        return False


def test_a_message_goes_through_and_back_in_clear_and_over_tls(gateway: RunningGateway, chat: Chat) -> None:
    for resource in ("chat", "chats"):
        with chat.open("talkers", resource=resource, subprotocols=["x", "chat.v2"]) as agent:
            assert agent.subprotocol == "chat.v2"
            for said in ("hello", "ünï😀", "x" * 70_000):
                agent.send(said)
                assert agent.recv(timeout=10) == said
            if resource == "chats":  # nothing is labelled there, so what cannot be read passes
                agent.send(b"\x00\xff")
                assert agent.recv(timeout=10) == b"\x00\xff"
        assert agent.close_code == 1000
    assert chat.seen[-1][1] == "/base/ws?room=1"
    assert not any("talker" in value or "Bearer" in value for value in chat.headers.values())


def test_an_asyncio_agent_over_tls(gateway: RunningGateway, chat: Chat) -> None:
    where = gateway.endpoints
    url = f"wss://127.0.0.1:{where['http']['port']}/chats/ws"
    headers = {"Authorization": f"Bearer {gateway.mint('talker', 'talkers')}"}
    context = ssl.create_default_context(cafile=where["ca"])

    async def talk() -> list[object]:
        async with connect_async(
            url, additional_headers=headers, ssl=context, proxy=None, subprotocols=[CHAT]
        ) as agent:
            for number in range(50):
                await agent.send(f"asyncio {number}")
            await (await agent.ping())
            return [await agent.recv() for _ in range(50)]

    assert asyncio.run(talk()) == [f"asyncio {number}" for number in range(50)]
    assert chat.texts("asyncio") == [f"asyncio {number}" for number in range(50)]


def test_messages_of_the_upstream_are_masked(chat: Chat) -> None:
    with chat.open("talkers") as agent:
        said: list[str] = []
        for ask in ("ann", "text", "parts"):
            agent.send(ask)
            said.append(str(agent.recv(timeout=10)))
        assert "@example" not in " ".join(said)
        assert json.loads(said[0])["name"] == "Ann"
        assert said[1].startswith("mail me at ")
        assert said[2].endswith(" now")
        agent.send("binary")
        with pytest.raises(ConnectionClosed) as closed:
            agent.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1003


def test_a_close_of_the_upstream_is_carried_through(chat: Chat) -> None:
    with chat.open("talkers") as agent:
        agent.send("bye")
        with pytest.raises(ConnectionClosed) as closed:
            agent.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4001
    assert closed.value.rcvd.reason.startswith("so long, ")
    assert "@example" not in closed.value.rcvd.reason


def test_a_rule_blocks_a_message_and_the_close_says_why(chat: Chat) -> None:
    mark = f"drop{time.time_ns()}"
    with chat.open("talkers") as agent:
        agent.send(json.dumps({"do": mark}))
        agent.send(f"behind {mark}")
        with pytest.raises(ConnectionClosed) as closed:
            agent.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert closed.value.rcvd.reason.startswith("denied: operation 2: MESSAGE /ws on chat")
    assert not chat.texts(mark)
    eventually(lambda: chat.closes and chat.closes[-1] == 1001)


def test_a_held_message_waits_and_pings_are_answered_meanwhile(gateway: RunningGateway, chat: Chat) -> None:
    mark = f"m{time.time_ns()}"
    with chat.open("talkers") as agent:
        agent.send(json.dumps({"do": "pay", "mark": mark}))
        request = gateway.held(mark)
        assert agent.ping().wait(5)
        assert not chat.texts(mark)
        gateway.weirgate("approvals", "grant", request["id"])
        assert mark in str(agent.recv(timeout=20))
    assert len(chat.texts(mark)) == 1


def test_where_no_rule_reads_messages_long_ones_stream_through(chat: Chat) -> None:
    with chat.open("listeners", resource="chats", max_size=None) as agent:
        large = bytes(range(256)) * 40_000
        agent.send(large)
        assert agent.recv(timeout=30) == large
        agent.send(iter(["in ", "three ", "parts"]))
        assert agent.recv(timeout=10) == "in three parts"


def test_a_killed_tunnel_ends_and_says_so(gateway: RunningGateway, chat: Chat) -> None:
    mark = f"m{time.time_ns()}"
    with chat.open("talkers") as agent:
        agent.send(mark)
        agent.recv(timeout=10)
        session = _asked(gateway, mark)["session"]
        gateway.weirgate("sessions", "kill", f"one/{session}")
        with pytest.raises(ConnectionClosed) as closed:
            agent.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason[:7]) == (1008, "killed:")


def test_who_may_not_upgrade_is_told_in_a_problem(chat: Chat) -> None:
    with pytest.raises(InvalidStatus) as refused:
        chat.open("readers")
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body)["code"] == "denied"


def test_everything_is_recorded_and_nothing_reached_the_upstream_before_its_verdict(
    gateway: RunningGateway, chat: Chat
) -> None:
    mark = f"m{time.time_ns()}"
    with chat.open("talkers") as agent:
        for number in range(5):
            agent.send(f"{mark} {number}")
            agent.recv(timeout=10)
        agent.send("ann")
        agent.recv(timeout=10)
    session = _asked(gateway, mark)["session"]

    def mine() -> list[dict[str, Any]]:
        found = [one for one in gateway.events(last=400) if one.get("session") == session]
        return found if found[-1]["kind"] == "session.closed" else []

    events = eventually(mine)
    allowed = {one["operation"]: one["at"] for one in events if one["kind"] == "operation.allowed"}
    asked = {
        one["call"]["body"]["text"]: one["operation"]
        for one in events
        if one["kind"] == "operation.intercepted" and one["call"]["method"] == "MESSAGE"
    }
    reached = {said: at for at, _, said in chat.seen if isinstance(said, str) and mark in said}
    assert len(reached) == 5
    for said, at in reached.items():
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1e6):06d}Z"
        assert allowed[asked[said]] < when
    (opened,) = [one for one in events if one["kind"] == "operation.finished" and one["operation"] == 1]
    assert opened["response"]["status"] == 101
    assert opened["cells_masked"] == 2
    assert opened["bytes_in"] > 0
    shown = eventually(lambda: gateway.weirgate("sessions", "replay", session, check=False).stdout, 10)
    assert f"│ {mark} 4" in shown
    assert "close 1000" in shown
    assert "@example" not in shown
    assert "MESSAGE /ws" in gateway.weirgate("sessions", "show", session).stdout


def _asked(gateway: RunningGateway, mark: str) -> dict[str, Any]:
    found = [
        one
        for one in gateway.events(last=400)
        if one["kind"] == "operation.intercepted" and mark in json.dumps(one)
    ]
    return found[-1]
