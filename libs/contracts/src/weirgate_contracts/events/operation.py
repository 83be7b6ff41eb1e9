"""The life of one operation."""

# pyright: reportIncompatibleVariableOverride=false
# (``kind`` is narrowed in each event; events are frozen, so that is sound)

from typing import Literal

from pydantic import Field

from weirgate_contracts.events.base import SessionEvent
from weirgate_contracts.http import HttpCall, HttpResponse
from weirgate_contracts.identity import Identity
from weirgate_contracts.masking import Plan
from weirgate_contracts.operation import Definition, Limits, SessionContext, Statement, Touched
from weirgate_contracts.refusal import Refusal
from weirgate_contracts.value import EventId, LabelName, ResourceName, Value, is_absent


class Grant(Value):
    """The approval an operation is asked again with."""

    request: EventId
    """Id of the request, which is the id of the event that was held."""
    granted: EventId
    """Id of the ``approval.granted`` event."""
    sequence: int
    """Its sequence in the log, for policy to read it back."""


class OperationIntercepted(SessionEvent):
    """Ingress has read one whole operation and sent none of it on."""

    SUBJECT = "audit.operation.intercepted.{ingress}.{session}"

    kind: Literal["operation.intercepted"] = "operation.intercepted"
    operation: int
    """Counts the operations of a session from 1. Asked again after a grant, it keeps its number."""
    protocol: Literal["postgres", "http", "mcp", "ssh"]
    resource: ResourceName
    identity: Identity
    statements: tuple[Statement, ...] = ()
    """Of PostgreSQL; empty elsewhere."""
    context: SessionContext = SessionContext(database="")
    """Of PostgreSQL."""
    call: HttpCall | None = Field(default=None, exclude_if=is_absent)
    """Of HTTP."""
    digest: str
    """SHA-256 of what would be sent on, hexadecimal: what a verdict, a plan and an approval are bound to."""
    grant: Grant | None = None
    joins: EventId | None = Field(default=None, exclude_if=is_absent)
    """The deferred request this is the retry of: while it is open nobody is asked a second time."""


class Verdict(SessionEvent):
    """What every verdict says, whichever it is. It answers one ``intercepted`` event."""

    operation: int
    intercepted: EventId
    digest: str
    policy_revision: int
    """Log sequence of the newest configuration event the verdict was judged under."""
    catalog_revision: str
    rules: tuple[str, ...] = ()
    """Ids of the rules that decided."""
    touched: tuple[Touched, ...] = ()


class OperationAllowed(Verdict):
    """The operation may be sent on, with these obligations."""

    SUBJECT = "audit.operation.allowed.{ingress}.{session}"

    kind: Literal["operation.allowed"] = "operation.allowed"
    unmask: tuple[LabelName, ...] = ()
    """Labels this agent may see in clear."""
    limits: Limits = Limits()
    defines: tuple[Definition, ...] = ()
    search_path_may_change: bool = False
    """Ingress asks the upstream for its search_path before the next operation."""
    catalog_may_change: bool = False
    request: EventId | None = None
    """The approval request this was granted under."""
    visible: tuple[str, ...] | None = Field(default=None, exclude_if=is_absent)
    """Of MCP: what of a list (``McpCall.offered``) the agent may be shown, by name; set exactly for such a question."""
    permits: tuple[str, ...] | None = Field(default=None, exclude_if=is_absent)
    """Of MCP: which requests (``SERVER_REQUESTS``) the server may make while it answers."""
    messages: Literal["judge", "record"] | None = Field(default=None, exclude_if=is_absent)
    """Of an upgrade: whether each message of the agent is an operation of its own, or passes once it is recorded.
    ``None``: it is no upgrade (of one it counts as ``judge``)."""


class OperationDenied(Verdict):
    """The operation may not be sent on."""

    SUBJECT = "audit.operation.denied.{ingress}.{session}"

    kind: Literal["operation.denied"] = "operation.denied"
    refusal: Refusal


class OperationHeld(Verdict):
    """A person decides."""

    SUBJECT = "audit.operation.held.{ingress}.{session}"

    kind: Literal["operation.held"] = "operation.held"
    resource: ResourceName
    identity: Identity
    groups: tuple[str, ...]
    """Each of these groups must agree."""
    quorum: int = 1
    """Different people who must agree, in each group."""
    window_s: int
    """Seconds the request stays open, and seconds a grant stays usable."""
    reason: str
    text: str
    """What would be done, for the people who decide; at most 16 KiB."""
    joins: EventId | None = Field(default=None, exclude_if=is_absent)
    """As its intercepted event says: it waits for that request, and opens none of its own."""


class OperationPlanned(SessionEvent):
    """What of the answer must be masked. It answers one ``intercepted`` event."""

    SUBJECT = "audit.operation.planned.{ingress}.{session}"

    kind: Literal["operation.planned"] = "operation.planned"
    operation: int
    intercepted: EventId
    digest: str
    masking_revision: int
    """Log sequence of the newest configuration event the plan was made under."""
    catalog_revision: str
    plan: Plan


class OperationFinished(SessionEvent):
    """The upstream has answered in full and the agent has been sent all of it."""

    SUBJECT = "audit.operation.finished.{ingress}.{session}"

    kind: Literal["operation.finished"] = "operation.finished"
    operation: int
    outcome: Literal["ok", "error"]
    """``error``: the upstream itself refused or failed it."""
    sqlstate: str | None = None
    tags: tuple[str, ...] = ()
    """Command tags as the upstream gave them."""
    response: HttpResponse | None = Field(default=None, exclude_if=is_absent)
    """Of HTTP: what was answered."""
    rows: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    cells_masked: int = 0
    duration_us: int = 0
    """From interception to the last byte sent."""
    sha256: str = ""
    """Digest of every byte the agent was sent for it."""


class OperationFailed(SessionEvent):
    """It was sent on and did not end well on our side: its effect upstream may be unknown."""

    SUBJECT = "audit.operation.failed.{ingress}.{session}"

    kind: Literal["operation.failed"] = "operation.failed"
    operation: int
    refusal: Refusal
    rows: int = 0
    bytes_out: int = 0
    duration_us: int = 0


class OperationAbandoned(SessionEvent):
    """The agent cancelled it or left before it was sent on, or while it ran."""

    SUBJECT = "audit.operation.abandoned.{ingress}.{session}"

    kind: Literal["operation.abandoned"] = "operation.abandoned"
    operation: int
    reason: Literal["cancelled", "disconnected", "killed", "shutdown"]
    sent: bool
    """Whether any of it had reached the upstream."""
    duration_us: int = 0


class OperationDeferred(SessionEvent):
    """The agent was told to come back: the operation is over, its request stays open until its window ends.

    It says whose request it is and for what, so that whoever retries can be recognised from the log alone.
    """

    SUBJECT = "audit.operation.deferred.{ingress}.{session}"

    kind: Literal["operation.deferred"] = "operation.deferred"
    operation: int
    request: EventId
    """The request that is waited for. Of a retry that came too early: the one it joins."""
    resource: ResourceName
    identity: Identity
    digest: str
    window_s: int
    """Seconds the request stays open at most, from this event."""
    duration_us: int = 0


class OperationRefused(SessionEvent):
    """Ingress refused it: without asking, or although it was allowed (no plan, no upstream, a hold that ended)."""

    SUBJECT = "audit.operation.refused.{ingress}.{session}"

    kind: Literal["operation.refused"] = "operation.refused"
    operation: int
    refusal: Refusal
    duration_us: int = 0
