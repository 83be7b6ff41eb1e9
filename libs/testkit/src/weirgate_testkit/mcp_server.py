"""An MCP server to put behind a gateway: the official SDK, Streamable HTTP, at ``/mcp``.

Run as ``python -m weirgate_testkit.mcp_server PORT [json]``: with ``json`` it answers in JSON, else in event streams.
"""

import json
import os
import sys
from typing import Any

from mcp.server.fastmcp import Context, FastMCP
from mcp.types import SamplingMessage, TextContent
from pydantic import BaseModel


class _Consent(BaseModel):
    agree: bool


def make_server(port: int, *, json_response: bool) -> FastMCP:
    """Return the server.

    Args:
        port: on loopback.
        json_response: answer in JSON, not in event streams.
    """
    server = FastMCP("tools", host="127.0.0.1", port=port, json_response=json_response, log_level="CRITICAL")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    def forbidden() -> str:
        """What no rule permits."""
        return "done all the same"

    @server.tool()
    def hidden() -> str:
        """What an agent is not shown."""
        return "hidden"

    @server.tool()
    def contact() -> str:
        """Say how to reach somebody."""
        return "write to jane.doe@example.com"

    @server.tool()
    def seen(context: Context[Any, Any, Any]) -> str:
        """Say which fields the request had."""
        request = context.request_context.request
        return json.dumps(dict(request.headers)) if request is not None else "{}"

    @server.tool()
    async def ask_model(context: Context[Any, Any, Any], on_its_own: bool = False) -> str:
        """Ask the agent's model, within the answer or on the server's own stream."""
        related = None if on_its_own else context.request_id
        text = SamplingMessage(role="user", content=TextContent(type="text", text="hello"))
        try:
            said = await context.session.create_message([text], max_tokens=5, related_request_id=related)
        except Exception as error:  # noqa: BLE001  (whatever the SDK makes of a refusal)
            return f"refused: {error}"
        return f"said: {said.content.text if isinstance(said.content, TextContent) else ''}"

    @server.tool()
    async def ask_person(context: Context[Any, Any, Any]) -> str:
        """Ask the agent's person."""
        try:
            found = await context.elicit("May I?", _Consent)
        except Exception as error:  # noqa: BLE001  (as above)
            return f"refused: {error}"
        return f"asked: {found.action}"

    @server.tool()
    async def die(context: Context[Any, Any, Any]) -> str:
        """End the server in the middle of an answer."""
        await context.info("about to die")
        os._exit(3)

    @server.resource("note://one")
    def note() -> str:
        """A note."""
        return "note for jane.doe@example.com"

    @server.prompt()
    def greeting(name: str) -> str:
        """Greet somebody."""
        return f"Hello {name}"

    return server


if __name__ == "__main__":
    make_server(int(sys.argv[1]), json_response="json" in sys.argv[2:]).run(transport="streamable-http")
