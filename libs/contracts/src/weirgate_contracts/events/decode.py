"""Bytes to events."""

from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from weirgate_contracts.events.approval import (
    ApprovalEndorsed,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRefused,
    ApprovalRequested,
    ApprovalWithdrawn,
    GrantUsed,
)
from weirgate_contracts.events.base import Event
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
from weirgate_contracts.events.operation import (
    OperationAbandoned,
    OperationAllowed,
    OperationDeferred,
    OperationDenied,
    OperationFailed,
    OperationFinished,
    OperationHeld,
    OperationIntercepted,
    OperationPlanned,
    OperationRefused,
)
from weirgate_contracts.events.session import SessionClosed, SessionOpened, SessionRefused

type_of_events = (
    ApprovalEndorsed
    | ApprovalExpired
    | ApprovalGranted
    | ApprovalRefused
    | ApprovalRequested
    | ApprovalWithdrawn
    | CatalogObserved
    | ConfigPublished
    | DecisionMade
    | GrantUsed
    | LogCheckpointed
    | LogDegraded
    | OperationAbandoned
    | OperationAllowed
    | OperationDeferred
    | OperationDenied
    | OperationFailed
    | OperationFinished
    | OperationHeld
    | OperationIntercepted
    | OperationPlanned
    | OperationRefused
    | RecordingViewed
    | SessionClosed
    | SessionKilled
    | SessionOpened
    | SessionRefused
    | TokenMinted
)
AnyEvent = Annotated[type_of_events, Field(discriminator="kind")]

EVENTS: tuple[type[Event], ...] = type_of_events.__args__  # pyright: ignore[reportAttributeAccessIssue]
"""Every event class there is."""

_ADAPTER: TypeAdapter[type_of_events] = TypeAdapter(AnyEvent)


class Undecodable(ValueError):
    """The bytes are no event this release knows. Whoever reads it must not act as if it were absent."""


def decode(body: bytes) -> type_of_events:
    """Read one event.

    Raises:
        Undecodable: no known kind, a field missing, unknown or out of its limits.
    """
    try:
        return _ADAPTER.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Undecodable(f"{where}: {first['msg']}") from error
