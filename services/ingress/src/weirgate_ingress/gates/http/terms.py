"""What an HTTP gate is made with: its place, its limits, and the masks it applies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from weirgate_contracts.masking import Plan
from weirgate_ingress.gates.http.mcp.terms import McpTerms
from weirgate_ingress.gates.http.place import Nowhere, Places


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpTerms:
    """What is known before the first byte, and the limits that protect us."""

    ingress: str
    """Name of this ingress, a subject token."""
    session: str
    """Id of the session, a subject token."""
    peer: str
    """Address and port of the agent's socket."""
    cleartext_allowed: bool = False
    """A token may come in clear: the setting says so *and* the agent's socket is on loopback."""
    ahead_limit_bytes: int = 256 * 1024
    """What is read ahead of the agent while an operation is judged or answered."""
    mcp: McpTerms | None = None
    """What MCP needs besides; ``None``: resources of MCP are not served."""
    authorization_servers: tuple[str, ...] = ()
    """Issuers of tokens that are addresses, for who asks where to get one (RFC 9728)."""
    seed: bytes = field(default=b"", repr=False)
    """32 random bytes of this session, for the keys of WebSocket handshakes and frames. Empty: none is served, since
    an upstream could foresee them."""
    places: Places = field(default_factory=Nowhere)
    """Which resources authorities lead to, as registered at the time of asking."""
    token_header: str | None = None
    """A field, in lower case, whose value may be the token, for clients that know no other place for theirs."""
    tunnels: bool = False
    """CONNECT is served: there is a certificate authority for it."""


class PlanMismatch(Exception):
    """What came back is not what the mask plan covers. The reason is fit for an agent: names, never values."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unreadable(Exception):
    """Masking cannot read a body of this type or coding; it is passed or refused as the plan says."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Body(Protocol):
    """Masks one body, decoded and encoded again around it."""

    @property
    def cells_masked(self) -> int:
        """Values changed so far."""
        ...

    def feed(self, piece: bytes) -> bytes:
        """Take a piece, return what can be let go.

        Raises:
            PlanMismatch: the body is not what its type says.
        """
        ...

    def finish(self) -> bytes:
        """Return what was held back.

        Raises:
            PlanMismatch: as above.
        """
        ...


class Bodies(Protocol):
    """Applies plans to bodies."""

    def body(
        self,
        plan: Plan,
        unmask: frozenset[str],
        *,
        type: str,
        parameters: Mapping[str, str],
        codings: tuple[str, ...],
    ) -> Body | None:
        """Return what masks a body; ``None``: nothing to mask, pass untouched.

        Raises:
            Unreadable: of such a body nothing can be seen.
            PlanMismatch: the plan does not cover it.
        """
        ...

    def masks(self, plan: Plan, unmask: frozenset[str]) -> bool:
        """Whether the plan leaves anything to mask in any body."""
        ...
