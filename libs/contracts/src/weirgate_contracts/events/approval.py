"""The life of one approval request. Its id is the id of the intercepted event that was held.

Subjects end in the request, so that "one decision a request" is a condition the log itself checks: each event
is published expecting the sequence of the request's last one.
"""

# pyright: reportIncompatibleVariableOverride=false
# (``kind`` is narrowed in each event; events are frozen, so that is sound)

from typing import Literal

from weirgate_contracts.events.base import SessionEvent
from weirgate_contracts.identity import Identity
from weirgate_contracts.operation import Touched
from weirgate_contracts.value import EventId, ResourceName


class ApprovalEvent(SessionEvent):
    """An event of one request."""

    request: EventId
    operation: int
    digest: str


class ApprovalRequested(ApprovalEvent):
    """People are asked."""

    SUBJECT = "audit.approval.requested.{ingress}.{session}.{request}"

    kind: Literal["approval.requested"] = "approval.requested"
    resource: ResourceName
    identity: Identity
    groups: tuple[str, ...]
    quorum: int
    expires_at: str
    window_s: int = 0
    """Seconds a grant stays usable, as the rule asked."""
    reason: str
    text: str
    touched: tuple[Touched, ...] = ()


class ApprovalEndorsed(ApprovalEvent):
    """One person agrees; more must."""

    SUBJECT = "audit.approval.endorsed.{ingress}.{session}.{request}"

    kind: Literal["approval.endorsed"] = "approval.endorsed"
    by: str
    groups: tuple[str, ...]
    """Those of the requested groups the person speaks for."""
    reason: str | None = None


class ApprovalGranted(ApprovalEvent):
    """Enough people agree: the operation may be asked again, once, until ``expires_at``."""

    SUBJECT = "audit.approval.granted.{ingress}.{session}.{request}"

    kind: Literal["approval.granted"] = "approval.granted"
    by: tuple[str, ...]
    reason: str | None = None
    expires_at: str


class ApprovalRefused(ApprovalEvent):
    """One person refuses: it is over."""

    SUBJECT = "audit.approval.refused.{ingress}.{session}.{request}"

    kind: Literal["approval.refused"] = "approval.refused"
    by: str
    reason: str | None = None


class ApprovalExpired(ApprovalEvent):
    """Nobody decided within the window."""

    SUBJECT = "audit.approval.expired.{ingress}.{session}.{request}"

    kind: Literal["approval.expired"] = "approval.expired"


class ApprovalWithdrawn(ApprovalEvent):
    """The agent cancelled or left while it was open."""

    SUBJECT = "audit.approval.withdrawn.{ingress}.{session}.{request}"

    kind: Literal["approval.withdrawn"] = "approval.withdrawn"
    reason: str


class GrantUsed(SessionEvent):
    """Policy has taken a grant for one operation: no other is ever allowed under it, in whatever session.

    Published expecting that there is none on its subject, so it is the log that refuses a second use. ``ingress``,
    ``session`` and ``operation`` are those of the operation it was taken for: not the request's own where that was
    deferred and the agent came back.
    """

    SUBJECT = "audit.grant.used.{request}"

    kind: Literal["grant.used"] = "grant.used"
    request: EventId
    operation: int
    intercepted: EventId
    """The intercepted event it was taken for."""
    digest: str
