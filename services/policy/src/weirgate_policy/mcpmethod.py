"""The methods of MCP: which action each is, and what it is asked on.

Source: Model Context Protocol, revision 2025-11-25, "Schema reference".
"""

from collections.abc import Mapping
from typing import NamedTuple

from weirgate_contracts.mcp import END, LISTS, SERVER_REQUESTS, STREAM, ItemKind


class Use(NamedTuple):
    """What a method does with the one thing it names."""

    action: str
    entity: str
    """Type of the entity it is asked on."""
    kind: ItemKind


USES: Mapping[str, Use] = {
    "tools/call": Use("mcp.call", "Tool", "tool"),
    "resources/read": Use("mcp.read", "McpResource", "resource"),
    "resources/subscribe": Use("mcp.read", "McpResource", "resource"),
    "resources/unsubscribe": Use("mcp.read", "McpResource", "resource"),
    "prompts/get": Use("mcp.prompt", "Prompt", "prompt"),
}
OFFERS: Mapping[ItemKind, tuple[str, Use]] = {
    "tool": ("tools/call", USES["tools/call"]),
    "resource": ("resources/read", USES["resources/read"]),
    "template": ("resources/read", USES["resources/read"]),
    "prompt": ("prompts/get", USES["prompts/get"]),
}
"""Kind of thing a server offers, to how an agent would use it."""
ARGUED = frozenset(("tools/call", "prompts/get"))
"""Methods whose arguments rules can read."""
SESSION = frozenset((
    "", "initialize", "ping", "logging/setLevel", "completion/complete", *LISTS, STREAM, END,
    "notifications/initialized", "notifications/cancelled", "notifications/progress",
    "notifications/roots/list_changed",
))  # fmt: skip
"""What keeps a session. The empty method is an answer: to a request that ``permits`` let through."""
REQUESTS: Mapping[str, str] = {
    "mcp.sampling": SERVER_REQUESTS[0],
    "mcp.elicitation": SERVER_REQUESTS[1],
    "mcp.roots": SERVER_REQUESTS[2],
}
"""Action to the request of the server it permits."""


def action_of(method: str) -> str:
    """Return the action a method is."""
    if method in USES:
        return USES[method].action
    return "mcp.session" if method in SESSION else "mcp.other"
