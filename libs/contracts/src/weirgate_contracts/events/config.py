"""Configuration, catalogs and people's acts, as events."""

# pyright: reportIncompatibleVariableOverride=false
# (``kind`` is narrowed in each event; events are frozen, so that is sound)

from typing import Any, Literal

from weirgate_contracts.events.base import Event
from weirgate_contracts.value import EventId, ResourceName, Token

ConfigKind = Literal["policy", "labels", "masking", "resource", "reviewers", "tools"]


class ConfigPublished(Event):
    """One document of configuration. The newest per subject is the configuration; its sequence is the revision."""

    SUBJECT = "audit.config.{config}.published.{name}"

    kind: Literal["config.published"] = "config.published"
    config: ConfigKind
    name: Token
    body: dict[str, Any] | None
    """The document, checked against :mod:`weirgate_contracts.config`; ``None``: withdrawn."""
    by: str


class CatalogObserved(Event):
    """What policy read of a resource's catalog, whole: so that a verdict can be computed again from the log."""

    SUBJECT = "audit.catalog.observed.{resource}"

    kind: Literal["catalog.observed"] = "catalog.observed"
    resource: ResourceName
    revision: str
    """First 16 hexadecimal digits of the SHA-256 of ``catalog``."""
    catalog: dict[str, Any]


class DecisionMade(Event):
    """A person said yes or no to a request, at the console. Approval decides what follows."""

    SUBJECT = "audit.admin.decided.{request}"

    kind: Literal["admin.decided"] = "admin.decided"
    request: EventId
    decision: Literal["grant", "refuse"]
    by: str
    groups: tuple[str, ...]
    """Groups the person proved, sorted."""
    reason: str | None = None


class SessionKilled(Event):
    """A person ended a session."""

    SUBJECT = "audit.admin.killed.{session}"

    kind: Literal["admin.killed"] = "admin.killed"
    ingress: Token
    session: Token
    by: str
    reason: str | None = None


class TokenMinted(Event):
    """The development issuer has made a token; the token itself is nowhere."""

    SUBJECT = "audit.admin.minted.{token_id}"

    kind: Literal["admin.minted"] = "admin.minted"
    token_id: str
    agent: str
    """Empty for a person's own token."""
    user: str | None
    groups: tuple[str, ...]
    resources: tuple[str, ...] | None
    expires_at: int
    by: str
    audience: str | None = None
    """Whom the token is for: ingress, or the console (a person's own)."""


class RecordingViewed(Event):
    """Somebody read a recording."""

    SUBJECT = "audit.admin.viewed.{session}"

    kind: Literal["admin.viewed"] = "admin.viewed"
    session: Token
    by: str


class LogCheckpointed(Event):
    """The recorder has chained the log up to a sequence."""

    SUBJECT = "audit.log.checkpoint"

    kind: Literal["log.checkpoint"] = "log.checkpoint"
    sequence: int
    chain: str
    """SHA-256 chain over every message up to ``sequence``, hexadecimal."""


class LogDegraded(Event):
    """The recorder has fallen behind or cannot store."""

    SUBJECT = "audit.log.degraded"

    kind: Literal["log.degraded"] = "log.degraded"
    reason: str
    sequence: int
