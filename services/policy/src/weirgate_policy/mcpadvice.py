"""What is said of a rule on messages of MCP that parses: that it names what no server has. Pure."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Literal

from weirgate_policy.advice import nearest

OFFERED = ("Tool", "McpResource", "Prompt")
"""Types of what a server of MCP offers."""
Wrong = tuple[str, str | None, Literal["error", "warning"]]


def unoffered(kind: str, name: str, tools: Mapping[str, AbstractSet[str] | None]) -> Wrong | None:
    """Say that an entity cannot be one of its resource, and what would be right.

    Args:
        kind: Of the entity.
        name: Its id.
        tools: By resource of MCP the tools people approved; ``None``: none is pinned. Any other resource is of
            another protocol.
    """
    resource, _, rest = name.partition("/")
    if resource not in tools:
        if kind not in OFFERED:
            return None
        return (
            f"{resource} is no resource of MCP, so the rule can never fire",
            "name a Route or a Table",
            "error",
        )
    if kind not in (*OFFERED, "Resource"):
        return (
            f"{resource} is a resource of MCP and has no {kind}, so the rule can never fire",
            f'write Tool::"{resource}/…"',
            "error",
        )
    approved = tools[resource]
    if kind == "Tool" and rest and approved is not None and rest not in approved:
        return f"{rest!r} is not among the approved tools of {resource}", nearest(rest, approved), "warning"
    return None
