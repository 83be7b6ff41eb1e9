"""The official MCP client through a real ingress to a server of the official SDK; the judges are scripted."""

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator
from typing import Any

import httpx
import pytest
from mcp import ClientSession, McpError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.context import RequestContext
from mcp.types import (
    CallToolResult,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestParams,
    ElicitResult,
    Implementation,
    TextContent,
    TextResourceContents,
)
from pydantic import AnyUrl

from weirgate_contracts.events import (
    OperationFailed,
    OperationIntercepted,
    OperationRefused,
    SessionOpened,
)
from weirgate_testkit.ingress import RunningIngress, running_ingress
from weirgate_testkit.nats import running_nats
from weirgate_testkit.port import free_port

pytestmark = pytest.mark.timeout(120)


@contextlib.contextmanager
def running_server(port: int, *options: str) -> Generator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "weirgate_testkit.mcp_server", str(port), *options])
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


class Stage:
    def __init__(self, ingress: RunningIngress, http_port: int, mortal_port: int) -> None:
        self.ingress = ingress
        self.origin = f"http://127.0.0.1:{http_port}"
        self.mortal_port = mortal_port

    def of(self, kind: Any, **fields: object) -> list[Any]:
        return [
            one
            for one in self.ingress.events()
            if isinstance(one, kind) and all(getattr(one, name) == value for name, value in fields.items())
        ]

    def headers(self, agent: str = "reader", **claims: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.ingress.token(agent, **claims)}"}

    @contextlib.asynccontextmanager
    async def client(
        self, resource: str = "tools", *, name: str = "client", permit: bool = False, agent: str = "reader"
    ) -> AsyncGenerator[ClientSession]:
        async def model(
            context: RequestContext[ClientSession, Any], params: CreateMessageRequestParams
        ) -> CreateMessageResult:
            return CreateMessageResult(
                role="assistant", content=TextContent(type="text", text="hi"), model="m"
            )

        async def person(
            context: RequestContext[ClientSession, Any], params: ElicitRequestParams
        ) -> ElicitResult:
            return ElicitResult(action="decline")

        async with (
            httpx.AsyncClient(headers=self.headers(agent), timeout=20) as http,
            streamable_http_client(f"{self.origin}/{resource}", http_client=http) as (reads, writes, _),
            ClientSession(
                reads, writes, sampling_callback=model, elicitation_callback=person,
                client_info=Implementation(name="permitted" if permit else name, version="1"),
            ) as session,
        ):  # fmt: skip
            await session.initialize()
            yield session


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage, None, None]:
    directory = tmp_path_factory.mktemp("mcp")
    ports = {name: free_port() for name in ("http", "tools", "plain", "mortal")}
    resources = {
        name: {"name": name, "protocol": "mcp", "upstream": f"http://127.0.0.1:{ports[name]}/mcp"}
        for name in ("tools", "plain", "mortal")
    }
    with (
        running_nats(directory / "nats") as nats,
        running_server(ports["tools"]),
        running_server(ports["plain"], "json"),
        running_ingress(
            directory / "in",
            nats,
            resources,
            settings={"WEIRGATE_HTTP_LISTEN": f"127.0.0.1:{ports['http']}"},
        ) as ingress,
    ):
        yield Stage(ingress, ports["http"], ports["mortal"])


def text_of(found: CallToolResult) -> str:
    assert isinstance(found.content[0], TextContent)
    return found.content[0].text


@pytest.mark.parametrize("resource", ["tools", "plain"])
async def test_a_client_works_as_it_does_without_us(stage: Stage, resource: str) -> None:
    async with stage.client(resource) as session:
        listed = await session.list_tools()
        names = [tool.name for tool in listed.tools]
        assert "add" in names
        assert "hidden" not in names
        added = await session.call_tool("add", {"a": 2, "b": 3})
        assert not added.isError
        assert added.structuredContent == {"result": 5}
        assert [str(one.uri) for one in (await session.list_resources()).resources] == ["note://one"]
        assert (await session.list_resource_templates()).resourceTemplates == []
        assert [one.name for one in (await session.list_prompts()).prompts] == ["greeting"]
        prompt = await session.get_prompt("greeting", {"name": "Jo"})
        assert prompt.messages[0].content == TextContent(type="text", text="Hello Jo")
        await session.send_ping()
    calls = [one.call.mcp for one in stage.of(OperationIntercepted, protocol="mcp", resource=resource)]
    used = [one for one in calls if one.method == "tools/call"]
    assert (used[0].kind, used[0].name) == ("tool", "add")
    offered = next(one for one in calls if one.offered is not None)
    assert {item.name for item in offered.offered} >= {"add", "hidden"}
    # The client used another connection for the call than for the list, perhaps; the definition is known all the same.
    assert used[0].definition == next(item.sha256 for item in offered.offered if item.name == "add")
    assert {one.method for one in calls} >= {"initialize", "notifications/initialized", "ping"}
    assert all(one.protocol == "mcp" for one in stage.of(SessionOpened, resource=resource))


async def test_a_blocked_call_is_told_to_the_model_and_the_session_goes_on(stage: Stage) -> None:
    async with stage.client() as session:
        found = await session.call_tool("forbidden", {})
        assert found.isError
        assert "No rule permits it. Use add. [denied, operation" in text_of(found)
        assert not (await session.call_tool("add", {"a": 1, "b": 1})).isError


@pytest.mark.parametrize("resource", ["tools", "plain"])
async def test_answers_are_masked(stage: Stage, resource: str) -> None:
    async with stage.client(resource) as session:
        found = await session.call_tool("contact", {})
        assert "write to " in text_of(found)
        assert "jane.doe" not in found.model_dump_json()
        read = await session.read_resource(AnyUrl("note://one"))
        assert isinstance(read.contents[0], TextResourceContents)
        assert "jane.doe" not in read.contents[0].text


@pytest.mark.parametrize("tool", ["ask_model", "ask_person"])
async def test_what_a_server_asks_of_an_agent_is_for_a_rule_to_permit(stage: Stage, tool: str) -> None:
    # The client says that it can, the gateway takes that off; a server that asks all the same is refused at once.
    async with stage.client() as session:
        begun = time.monotonic()
        assert text_of(await session.call_tool(tool, {})).startswith("refused: ")
        assert time.monotonic() - begun < 8
        assert not (await session.call_tool("add", {"a": 1, "b": 1})).isError
    async with stage.client(permit=True) as session:
        found = text_of(await session.call_tool(tool, {"permit": True}))
        assert found in ("said: hi", "asked: decline")
        if tool == "ask_model":
            # What comes on the stream the agent listens to is permitted by the verdict on that.
            own = await session.call_tool(tool, {"permit": True, "on_its_own": True})
            assert text_of(own).startswith("refused: ")


async def test_no_token_is_passed_on_and_no_session_id_is_shown(stage: Stage) -> None:
    async with stage.client() as session:
        seen = json.loads(text_of(await session.call_tool("seen", {})))
    assert "authorization" not in seen
    own = seen["mcp-session-id"]
    assert own not in str([one.model_dump_json() for one in stage.ingress.events()])
    answer = httpx.post(
        f"{stage.origin}/tools",
        headers=stage.headers() | {"accept": "application/json, text/event-stream", "mcp-session-id": own},
        json={"jsonrpc": "2.0", "id": 1, "method": "ping"},
    )
    assert answer.status_code == 404


async def test_another_agents_session_is_not_to_be_had(stage: Stage) -> None:
    accept = {"accept": "application/json, text/event-stream"}
    params = {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"},
    }  # fmt: skip
    begin = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    url = f"{stage.origin}/tools"
    sealed = httpx.post(url, headers=stage.headers() | accept, json=begin).headers["mcp-session-id"]
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    for agent, status in (("eve", 404), ("reader", 200)):
        headers = stage.headers(agent) | accept | {"mcp-session-id": sealed}
        assert httpx.post(url, headers=headers, json=ping).status_code == status
    assert any("no such session" in one.refusal.reason for one in stage.of(OperationRefused))


async def test_a_server_that_dies_in_its_answer_is_told_at_once(stage: Stage) -> None:
    with running_server(stage.mortal_port) as server:
        async with stage.client("mortal") as session:
            found = await session.call_tool("die", {})
            assert found.isError
            assert "upstream_lost" in text_of(found)
            server.wait(10)
            gone = await session.call_tool("add", {"a": 1, "b": 1})
            assert gone.isError
            assert "upstream_unavailable" in text_of(gone)
            with pytest.raises(McpError) as refused:
                await session.list_tools()
            assert refused.value.error.code == -32003
    assert any(one.refusal.code == "upstream_lost" for one in stage.of(OperationFailed))


async def test_a_client_without_a_token_finds_the_metadata(stage: Stage) -> None:
    answer = httpx.post(f"{stage.origin}/tools", json={})
    assert answer.status_code == 401
    challenge = answer.headers["www-authenticate"]
    url = challenge.partition('resource_metadata="')[2].rstrip('"')
    found = httpx.get(url).json()
    assert found["resource"] == f"{stage.origin}/tools"
    assert found["authorization_servers"] == ["https://issuer.test"]


async def test_a_token_for_another_resource_is_refused(stage: Stage) -> None:
    accept = {"accept": "application/json, text/event-stream"}
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    bound = stage.headers(aud="weirgate/plain") | accept
    assert httpx.post(f"{stage.origin}/tools", headers=bound, json=ping).status_code == 404
    assert httpx.post(f"{stage.origin}/plain", headers=bound, json=ping).status_code != 404


async def test_what_is_no_message_reaches_nobody(stage: Stage) -> None:
    before = len(stage.of(OperationIntercepted))
    headers = stage.headers() | {"accept": "application/json", "content-type": "application/json"}
    for body in (b"[]", b"{", b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"x"}', b"[" * 50_000):
        answer = httpx.post(f"{stage.origin}/tools", headers=headers, content=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] in (-32600, -32700)
    assert len(stage.of(OperationIntercepted)) == before
