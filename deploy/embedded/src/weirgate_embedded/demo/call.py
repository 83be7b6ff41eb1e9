"""A tool of the demo's MCP server, called as an agent would: by the official SDK, through the gateway."""

import json
from typing import Any

import anyio
import httpx
from mcp import ClientSession, McpError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextContent

TIMEOUT_S = 60.0


class CallFailed(Exception):
    """The server, or the gateway before it, did not take it."""


def call_tool(url: str, token: str, tool: str | None, arguments: dict[str, Any]) -> tuple[bool, str]:
    """Call a tool, or list them.

    Args:
        url: of the server.
        token: of the agent.
        tool: its name; absent: they are listed.
        arguments: of the call.

    Returns:
        Whether it went well, and what was answered, as text.

    Raises:
        CallFailed: there is no such server for this agent.
    """
    try:
        return anyio.run(_call, url, token, tool, arguments)
    except* (httpx.HTTPError, McpError, OSError) as failed:
        raise CallFailed(str(_first(failed))) from failed


async def _call(url: str, token: str, tool: str | None, arguments: dict[str, Any]) -> tuple[bool, str]:
    async with (
        httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_S) as http,
        streamable_http_client(url, http_client=http) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        if tool is None:
            listed = (await session.list_tools()).tools
            return True, "\n".join(f"{one.name}: {one.description}" for one in listed)
        result = await session.call_tool(tool, arguments)
        if result.structuredContent is not None:
            return not result.isError, json.dumps(result.structuredContent, indent=2, ensure_ascii=False)
        return not result.isError, "\n".join(
            part.text for part in result.content if isinstance(part, TextContent)
        )


def _first(failed: BaseExceptionGroup[Any]) -> BaseException:
    one: BaseException = failed
    while isinstance(one, BaseExceptionGroup):
        one = one.exceptions[0]
    return one
