"""What the MCP side of the gate is given: a memory of definitions, and a way to seal the servers' session ids."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.identity import Identity
from weirgate_contracts.mcp import McpItem


class Definitions(Protocol):
    """Remembers under which definition a server last offered a tool to whom."""

    def offered(self, identity: Identity, resource: str, items: Iterable[McpItem]) -> None:
        """A server has offered these to an agent, whether it is shown them or not."""
        ...

    def find(self, identity: Identity, resource: str, tool: str) -> str | None:
        """Return the digest a tool was last offered under; ``None``: it is not known."""
        ...


class SessionIds(Protocol):
    """Seals a server's session ids for one identity and one resource. Deterministic, and never raises."""

    def seal(self, id: str, identity: Identity, resource: ResourceDocument) -> str:
        """Return what the agent is told for a server's id."""
        ...

    def open(self, sealed: str, identity: Identity, resource: ResourceDocument) -> str | None:
        """Return the server's id; ``None``: it was not issued to this identity for this resource."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class McpTerms:
    """What MCP needs besides."""

    ids: SessionIds
    definitions: Definitions
