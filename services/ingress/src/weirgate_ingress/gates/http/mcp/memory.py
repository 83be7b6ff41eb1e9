"""Which definitions agents were offered last, in memory: bounded, and lost with the process.

What is forgotten (a restart, another replica, more agents than fit) is not known, which an event says by saying
nothing; a rule that insists on a known definition refuses until the agent lists again.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from weirgate_contracts.identity import Identity
from weirgate_contracts.mcp import McpItem

AGENTS_LIMIT: Final = 1024
"""Agents at one resource each."""
TOOLS_LIMIT: Final = 1000
"""Of one agent at one resource: a page (``listing.ITEMS_LIMIT``). Real servers have tens; were every place full, it
would be some 250 MB."""

_Key = tuple[str, str, str | None, str]


class DefinitionMemory:
    """Remembers under which definition a tool was last offered to whom. One per process."""

    __slots__ = ("_agents_limit", "_known", "_tools_limit")

    def __init__(self, *, agents_limit: int = AGENTS_LIMIT, tools_limit: int = TOOLS_LIMIT) -> None:
        self._agents_limit = agents_limit
        self._tools_limit = tools_limit
        self._known: OrderedDict[_Key, OrderedDict[str, str]] = OrderedDict()

    def offered(self, identity: Identity, resource: str, items: Iterable[McpItem]) -> None:
        """A server has offered these to an agent; those that are no tools are not kept."""
        tools = [(item.name, item.sha256) for item in items if item.kind == "tool"]
        if not tools:
            return
        key = _key(identity, resource)
        known = self._known.setdefault(key, OrderedDict())
        self._known.move_to_end(key)
        for name, digest in tools:
            known[name] = digest
            known.move_to_end(name)
        while len(known) > self._tools_limit:
            known.popitem(last=False)
        while len(self._known) > self._agents_limit:
            self._known.popitem(last=False)

    def find(self, identity: Identity, resource: str, tool: str) -> str | None:
        """Return the digest a tool was last offered under; ``None``: it is not known."""
        key = _key(identity, resource)
        known = self._known.get(key)
        if known is None:
            return None
        self._known.move_to_end(key)
        return known.get(tool)


def _key(identity: Identity, resource: str) -> _Key:
    return identity.issuer, identity.agent, identity.user, resource
