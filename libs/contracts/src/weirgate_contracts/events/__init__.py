"""Every event, and how to read one back."""

from weirgate_contracts.events.approval import (
    ApprovalEndorsed,
    ApprovalEvent,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRefused,
    ApprovalRequested,
    ApprovalWithdrawn,
)
from weirgate_contracts.events.base import Event, SessionEvent
from weirgate_contracts.events.config import (
    CatalogObserved,
    ConfigPublished,
    DecisionMade,
    LogCheckpointed,
    LogDegraded,
    RecordingViewed,
    SessionKilled,
    TokenMinted,
)
from weirgate_contracts.events.decode import EVENTS, AnyEvent, Undecodable, decode
from weirgate_contracts.events.operation import (
    Grant,
    OperationAbandoned,
    OperationAllowed,
    OperationDenied,
    OperationFailed,
    OperationFinished,
    OperationHeld,
    OperationIntercepted,
    OperationPlanned,
    OperationRefused,
    Verdict,
)
from weirgate_contracts.events.session import SessionClosed, SessionOpened, SessionRefused

__all__ = [
    "EVENTS", "AnyEvent", "ApprovalEndorsed", "ApprovalEvent", "ApprovalExpired", "ApprovalGranted",
    "ApprovalRefused", "ApprovalRequested", "ApprovalWithdrawn", "CatalogObserved", "ConfigPublished",
    "DecisionMade", "Event", "Grant", "LogCheckpointed", "LogDegraded", "OperationAbandoned",
    "OperationAllowed", "OperationDenied", "OperationFailed", "OperationFinished", "OperationHeld",
    "OperationIntercepted", "OperationPlanned", "OperationRefused", "RecordingViewed", "SessionClosed",
    "SessionEvent", "SessionKilled", "SessionOpened", "SessionRefused", "TokenMinted", "Undecodable",
    "Verdict", "decode",
]
