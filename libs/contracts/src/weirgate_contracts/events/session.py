"""A session opens, is refused, closes."""

# pyright: reportIncompatibleVariableOverride=false
# (``kind`` is narrowed in each event; events are frozen, so that is sound)

from typing import Literal

from weirgate_contracts.events.base import SessionEvent
from weirgate_contracts.identity import Identity
from weirgate_contracts.refusal import Refusal
from weirgate_contracts.value import ResourceName


class SessionOpened(SessionEvent):
    """An agent has proved who it is and may reach the resource. Nothing has been dialled yet."""

    SUBJECT = "audit.session.opened.{ingress}.{session}"

    kind: Literal["session.opened"] = "session.opened"
    protocol: Literal["postgres", "http", "mcp", "ssh"]
    resource: ResourceName
    identity: Identity
    peer: str
    """Address and port of the agent's socket."""
    tls: str | None
    """TLS version on the agent's side; ``None``: clear, on loopback."""
    application: str | None = None
    """What the agent calls itself; a claim, not a fact."""


class SessionRefused(SessionEvent):
    """Somebody came and was not let in. What they claimed is recorded, no credential is."""

    SUBJECT = "audit.session.refused.{ingress}.{session}"

    kind: Literal["session.refused"] = "session.refused"
    protocol: Literal["postgres", "http", "mcp", "ssh"]
    peer: str
    claimed_agent: str | None = None
    claimed_resource: str | None = None
    refusal: Refusal


class SessionClosed(SessionEvent):
    """The session is over."""

    SUBJECT = "audit.session.closed.{ingress}.{session}"

    kind: Literal["session.closed"] = "session.closed"
    reason: Literal["agent", "upstream", "refused", "killed", "shutdown", "expired", "error"]
    refusal: Refusal | None = None
    operations: int = 0
    bytes_in: int = 0
    """Bytes from the agent."""
    bytes_out: int = 0
    """Bytes to the agent."""
