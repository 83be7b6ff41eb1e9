"""MCP through a whole gateway: rules in Cedar decide what an agent sees and calls."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar

import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent

from weirgate_policy.vocabulary import SCHEMA_TEXT
from weirgate_testkit.gateway import RunningGateway, eventually
from weirgate_testkit.port import free_port

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif('"mcp.call"' not in SCHEMA_TEXT, reason="rules have no words for MCP here"),
]

RULES = """
@id("session")
permit (principal, action in [Action::"connect", Action::"mcp.session"], resource)
when { resource.protocol == "mcp" && principal in Group::"analysts" };

@id("tools")
permit (principal in Group::"analysts", action == Action::"mcp.call", resource)
unless { resource.name == "forbidden" || resource.name == "hidden" };
"""

T = TypeVar("T")


@pytest.fixture(scope="module")
def tools(gateway: RunningGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory, port = tmp_path_factory.mktemp("mcp"), free_port()
    (directory / "mcptest.cedar").write_text(RULES)
    (directory / "mcptest.yaml").write_text(
        f"kind: resource\nname: mcptest\nprotocol: mcp\nupstream: http://127.0.0.1:{port}/mcp\n"
        "---\nkind: policy\nname: mcptest\nfile: mcptest.cedar\n"
    )
    server = subprocess.Popen([sys.executable, "-m", "weirgate_testkit.mcp_server", str(port)])
    try:
        eventually(lambda: _listens(port), 30)
        gateway.weirgate("apply", "-f", str(directory / "mcptest.yaml"))
        time.sleep(1)
        yield gateway.http_url("mcptest")
    finally:
        server.kill()
        server.wait()
        with contextlib.suppress(subprocess.CalledProcessError):
            gateway.weirgate("config", "withdraw", "policy", "mcptest")
            gateway.weirgate("config", "withdraw", "resource", "mcptest")


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.asynccontextmanager
async def connected(url: str, token: str) -> AsyncGenerator[ClientSession]:
    async with (
        httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30) as http,
        streamable_http_client(url, http_client=http) as (reads, writes, _),
        ClientSession(reads, writes) as session,
    ):
        await session.initialize()
        yield session


def in_loop(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def text_of(found: CallToolResult) -> str:
    assert isinstance(found.content[0], TextContent)
    return found.content[0].text


def test_an_agent_sees_and_calls_what_a_rule_permits(gateway: RunningGateway, tools: str) -> None:
    async def work() -> None:
        async with connected(tools, gateway.token("analyst")) as session:
            names = {tool.name for tool in (await session.list_tools()).tools}
            assert "add" in names
            assert not names & {"forbidden", "hidden"}
            assert not (await session.call_tool("add", {"a": 1, "b": 2})).isError
            blocked = await session.call_tool("forbidden", {})
            assert blocked.isError
            assert "[denied, operation" in text_of(blocked)
            asked = await session.call_tool("ask_model", {})
            assert text_of(asked).startswith("refused: ")
            masked = await session.call_tool("contact", {})
            assert "jane.doe@example.com" not in masked.model_dump_json()

    in_loop(work())
    calls = [
        one["call"]["mcp"] for one in gateway.events() if one.get("protocol") == "mcp" and one.get("call")
    ]
    assert {"tools/list", "tools/call", "initialize"} <= {one["method"] for one in calls}


def test_no_token_reaches_the_server_or_an_event(gateway: RunningGateway, tools: str) -> None:
    async def work() -> str:
        async with connected(tools, gateway.token("analyst")) as session:
            return text_of(await session.call_tool("seen", {}))

    assert "authorization" not in in_loop(work())
    assert gateway.token("analyst") not in str(gateway.events())
