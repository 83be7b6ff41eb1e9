"""MCP through the gateway with the official SDK and LangChain's adapters: nothing changed but address and token."""

import contextlib
import json
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio.to_thread
import httpx
import pytest
from langchain.agents import create_agent
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_openai import ChatOpenAI
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import McpError
from mcp.types import (
    CallToolResult,
    CreateMessageResult,
    ElicitResult,
    TextContent,
    TextResourceContents,
)
from pydantic import AnyUrl, SecretStr

from weirgate_testkit.gateway import RunningGateway, eventually

EMAIL = "jonas.ekberg5@example.com"
CARD = "4000000000000051"
asks: list[str] = []
"""What the server asked of its client."""


async def sample(context: Any, params: Any) -> CreateMessageResult:
    asks.append("sampling")
    said = TextContent(type="text", text="short")
    return CreateMessageResult(role="assistant", content=said, model="none")


async def elicit(context: Any, params: Any) -> ElicitResult:
    asks.append("elicitation")
    return ElicitResult(action="accept", content={"sure": True})


@pytest.fixture
def mark() -> str:
    asks.clear()
    return f"mark{time.time_ns()}"


@contextlib.asynccontextmanager
async def connected(
    gateway: RunningGateway, agent: str = "analyst", *, token: str | None = None
) -> AsyncGenerator[ClientSession]:
    headers = {"Authorization": f"Bearer {token or gateway.token(agent)}"}
    async with (
        httpx.AsyncClient(headers=headers, timeout=30) as http,
        streamable_http_client(gateway.http_url("helpdesk"), http_client=http) as (read, write, _),
        ClientSession(read, write, sampling_callback=sample, elicitation_callback=elicit) as session,
    ):
        await session.initialize()
        yield session


def text_of(result: CallToolResult) -> str:
    return "".join(part.text for part in result.content if isinstance(part, TextContent))


def reached(gateway: RunningGateway, mark: str) -> list[dict[str, Any]]:
    return [line for line in gateway.upstream_lines("helpdesk") if mark in line["text"]]


async def test_lists_hold_what_the_agent_may_use(gateway: RunningGateway) -> None:
    async with connected(gateway) as session:
        assert {tool.name for tool in (await session.list_tools()).tools} == {
            "lookup_customer", "list_cities", "note", "summarise", "close_account", "refund",
        }  # fmt: skip
        assert [one.name for one in (await session.list_prompts()).prompts] == ["apology"]
        assert [str(one.uri) for one in (await session.list_resources()).resources] == ["crm://cities"]
        templates = await session.list_resource_templates()
        assert [one.uriTemplate for one in templates.resourceTemplates] == ["crm://customers/{id}"]
    async with connected(gateway, "reader") as session:
        assert {tool.name for tool in (await session.list_tools()).tools} == {
            "lookup_customer",
            "list_cities",
        }


async def test_a_result_comes_masked_in_both_of_its_forms(gateway: RunningGateway) -> None:
    async with connected(gateway) as session:
        result = await session.call_tool("lookup_customer", {"id": 5})
    assert not result.isError
    assert result.structuredContent is not None
    assert result.structuredContent["name"] == "Jonas Ekberg"
    assert result.structuredContent["card"].endswith("0051")
    told = json.loads(text_of(result))
    assert told["name"] == "Jonas Ekberg"
    for form in (result.structuredContent, told):
        assert form["email"] != EMAIL
        assert form["card"] != CARD
        assert "@" in form["email"]


async def test_a_resource_that_is_read_comes_masked(gateway: RunningGateway) -> None:
    async with connected(gateway) as session:
        (content,) = (await session.read_resource(AnyUrl("crm://customers/5"))).contents
        assert isinstance(content, TextResourceContents)
        assert json.loads(content.text)["name"] == "Jonas Ekberg"
        assert EMAIL not in content.text
        assert CARD not in content.text
        prompt = await session.get_prompt("apology", {"name": "Kira"})
        assert "Kira" in str(prompt.messages)


async def test_a_call_no_rule_permits_is_told_to_the_model(gateway: RunningGateway, mark: str) -> None:
    async with connected(gateway) as session:
        result = await session.call_tool("refund", {"customer": 5, "amount": 1001, "mark": mark})
        assert result.isError
        assert "denied" in text_of(result)
        # The session goes on.
        assert not (await session.call_tool("note", {"customer": 5, "text": mark})).isError
    (line,) = reached(gateway, mark)
    assert '"note"' in line["text"]
    assert line["credential"] is True


async def test_arguments_decide(gateway: RunningGateway) -> None:
    async with connected(gateway) as session:
        result = await session.call_tool("refund", {"customer": 5, "amount": 10})
    assert text_of(result) == "10 paid back to customer 5"


async def test_a_held_call_waits_for_a_person(gateway: RunningGateway, mark: str) -> None:
    ended: list[CallToolResult] = []
    async with connected(gateway) as session, anyio.create_task_group() as group:

        async def call() -> None:
            ended.append(await session.call_tool("refund", {"customer": 5, "amount": 500, "mark": mark}))

        group.start_soon(call)
        request = await anyio.to_thread.run_sync(lambda: gateway.held(mark))
        assert not reached(gateway, mark)
        assert "500" in request["text"]
        await anyio.to_thread.run_sync(lambda: gateway.weirgate("approvals", "grant", request["id"]))
    assert text_of(ended[0]) == "500 paid back to customer 5"
    assert len(reached(gateway, mark)) == 1


async def test_what_the_server_asks_of_its_client_is_refused_unless_permitted(
    gateway: RunningGateway, mark: str
) -> None:
    async with connected(gateway) as session:
        assert (await session.call_tool("summarise", {"text": mark})).isError
        assert (await session.call_tool("close_account", {"customer": 7})).isError
        assert asks == []
    attended = gateway.mint("attended", "analysts", "attended")
    async with connected(gateway, token=attended) as session:
        closed = await session.call_tool("close_account", {"customer": 7})
        assert text_of(closed) == "account 7 closed"
        assert asks == ["elicitation"]
        assert (await session.call_tool("summarise", {"text": mark})).isError
        assert asks == ["elicitation"]


async def test_a_session_is_bound_to_its_identity(gateway: RunningGateway) -> None:
    url, ids = gateway.http_url("helpdesk"), list[str]()
    asked: dict[str, Any] = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }  # fmt: skip
    accept = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
    async with httpx.AsyncClient(timeout=15, headers=accept) as client:
        for agent in ("analyst", "reader"):
            bearer = {"Authorization": f"Bearer {gateway.token(agent)}"}
            ids.append((await client.post(url, json=asked, headers=bearer)).headers["mcp-session-id"])
        bearer = {"Authorization": f"Bearer {gateway.token('analyst')}"}
        listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        statuses = [
            (await client.post(url, json=listing, headers=bearer | {"Mcp-Session-Id": id})).status_code
            for id in (*ids, "made-up")
        ]
    assert statuses == [200, 404, 404]


async def test_a_tool_that_changed_since_it_was_approved_is_held(
    gateway: RunningGateway, mark: str, tmp_path: Path
) -> None:
    async with connected(gateway) as session:
        await session.list_tools()
    pinned = gateway.weirgate("tools", "pin", "helpdesk").stdout
    document = tmp_path / "tools.yaml"
    document.write_text(pinned)
    applied = gateway.weirgate("apply", "-f", str(document), check=False)
    assert applied.returncode == 0, applied.stdout + applied.stderr
    marker = Path(gateway.endpoints["upstreams"]["helpdesk"]["log"] + ".changed")

    async def names() -> set[str]:
        async with connected(gateway) as session:
            return {tool.name for tool in (await session.list_tools()).tools}

    assert "lookup_customer" in await names()
    try:
        marker.touch()
        assert "lookup_customer" not in await names()
        ended: list[CallToolResult] = []
        async with connected(gateway) as session, anyio.create_task_group() as group:
            await session.list_tools()

            async def call() -> None:
                ended.append(await session.call_tool("lookup_customer", {"id": 5, "mark": mark}))

            group.start_soon(call)
            request = await anyio.to_thread.run_sync(lambda: gateway.held(mark))
            assert "changed" in json.dumps(request)
            assert not reached(gateway, mark)
            await anyio.to_thread.run_sync(
                lambda: gateway.weirgate("approvals", "refuse", request["id"], "--reason", "no")
            )
        assert ended[0].isError
    finally:
        marker.unlink(missing_ok=True)
    assert "lookup_customer" in await names()


async def test_a_token_that_is_none_is_told_where_to_get_one(gateway: RunningGateway) -> None:
    async with httpx.AsyncClient(timeout=15) as client:
        answer = await client.post(
            gateway.http_url("helpdesk"), json={"jsonrpc": "2.0", "id": 1, "method": "ping"}
        )
        assert answer.status_code == 401
        metadata = answer.headers["www-authenticate"].partition('resource_metadata="')[2].rstrip('"')
        told = (await client.get(metadata)).json()
    assert told["resource"].endswith("/helpdesk")
    assert told["bearer_methods_supported"] == ["header"]
    with pytest.raises((McpError, httpx.HTTPStatusError, BaseExceptionGroup)):
        async with connected(gateway, token="none"):
            pass


async def test_langchain_agents_use_tools_and_model_by_one_identity(
    gateway: RunningGateway, mark: str
) -> None:
    token = gateway.token("analyst")
    servers = MultiServerMCPClient(
        {
            "helpdesk": {
                "transport": "streamable_http",
                "url": gateway.http_url("helpdesk"),
                "headers": {"Authorization": f"Bearer {token}"},
            }
        }
    )
    tools = await servers.get_tools()
    assert "lookup_customer" in {tool.name for tool in tools}
    model = ChatOpenAI(
        model="demo-small",
        base_url=f"{gateway.http_url('models')}/v1",
        api_key=SecretStr(token),
        max_retries=0,
    )
    agent = create_agent(model, tools)
    ended = await agent.ainvoke({"messages": [{"role": "user", "content": 'call lookup_customer {"id": 5}'}]})
    said = str(ended["messages"][-1].content)
    assert said.startswith("The tool said: ")
    assert "Jonas Ekberg" in said
    assert EMAIL not in said
    assert not [line for line in gateway.upstream_lines("models") if EMAIL in line.get("text", "")]


async def test_every_message_the_server_saw_has_its_events(gateway: RunningGateway, mark: str) -> None:
    async with connected(gateway) as session:
        for number in range(5):
            assert not (
                await session.call_tool("note", {"customer": number, "text": f"{mark}-{number}"})
            ).isError
    assert len(reached(gateway, mark)) == 5

    def both() -> bool:
        events = gateway.events(last=500)
        mine = [
            one
            for one in events
            if one["kind"] == "operation.intercepted" and mark in json.dumps(one.get("call"))
        ]
        allowed = {one["intercepted"] for one in events if one["kind"] == "operation.allowed"}
        assert all(one["protocol"] == "mcp" and one["call"]["mcp"]["name"] == "note" for one in mine)
        return len(mine) == 5 and all(one["id"] in allowed for one in mine)

    assert eventually(both)
    shown = gateway.weirgate("sessions", "list", "--json").stdout
    assert "helpdesk" in shown


def test_the_command_of_the_demo_calls_tools_as_an_agent(gateway: RunningGateway) -> None:
    listed = gateway.weirgate("demo", "call", "reader").stdout
    assert {line.partition(":")[0] for line in listed.splitlines()} == {"lookup_customer", "list_cities"}
    found = json.loads(gateway.weirgate("demo", "call", "reader", "lookup_customer", '{"id": 5}').stdout)
    assert found["name"] == "Jonas Ekberg"
    assert found["email"] != EMAIL
    refused = gateway.weirgate("demo", "call", "reader", "refund", '{"amount": 1}', check=False)
    assert refused.returncode == 1
    assert "denied" in refused.stdout
    assert gateway.weirgate("demo", "call", "reader", "refund", "[]", check=False).returncode == 2
