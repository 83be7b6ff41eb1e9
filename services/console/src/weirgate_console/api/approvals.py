"""``/v1/approvals``: what waits for people, and their decisions."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from weirgate_console.api.door import REFUSALS, AnyPerson, Parts, TheParts
from weirgate_console.login import Person
from weirgate_console.problem import ErrorBody
from weirgate_console.requests import Request, State
from weirgate_contracts.events import (
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRefused,
    ApprovalWithdrawn,
)
from weirgate_contracts.operation import Touched
from weirgate_contracts.review import seats_filled
from weirgate_contracts.value import Value

router = APIRouter(prefix="/v1/approvals", tags=["approvals"], responses=REFUSALS)

RequestId = Annotated[
    str, Path(pattern=r"^[0-9A-HJKMNP-TV-Z]{26}$", description="Id of the request, 26 characters")
]
STATES: tuple[State, ...] = ("open", "granted", "refused", "expired", "withdrawn", "unreadable")


class Endorsement(BaseModel):
    """Somebody agreed."""

    by: str
    groups: tuple[str, ...]
    reason: str | None
    at: str


class Seats(BaseModel):
    """How far one of the asked groups is."""

    group: str
    needed: int
    agreed: int


class Approval(BaseModel):
    """One request."""

    id: str
    state: State
    resource: str
    agent: str
    user: str | None
    run: str | None
    groups: tuple[str, ...] = Field(description="Each of them must agree")
    quorum: int = Field(description="Different people who must agree, in each group")
    seats: tuple[Seats, ...]
    reason: str = Field(description="Why the rule asks")
    text: str = Field(description="What would be done")
    touched: tuple[Touched, ...]
    requested_at: str
    expires_at: str
    endorsements: tuple[Endorsement, ...]
    decided_by: tuple[str, ...] = ()
    decided_reason: str | None = None
    ended_at: str | None = None
    usable_until: str | None = Field(default=None, description="Until when a grant may be used, once")
    ingress: str
    session: str
    operation: int
    digest: str = Field(description="SHA-256 of what would be sent on: what the decision is bound to")


class Approvals(BaseModel):
    """Requests, newest first."""

    approvals: tuple[Approval, ...]


class Reason(Value):
    """Why somebody decides as they do."""

    reason: str | None = Field(default=None, max_length=2000)


class Decided(BaseModel):
    """What came of a decision."""

    outcome: Literal["granted", "endorsed", "refused", "recorded"] = Field(
        description="``endorsed``: others must agree too; ``recorded``: in the log, not answered yet"
    )
    approval: Approval


_DECISIONS = {
    **REFUSALS,
    202: {"model": Decided, "description": "In the log; what comes of it is not known yet"},
    404: {"model": ErrorBody, "description": "There is no such request"},
    409: {"model": ErrorBody, "description": "It was already decided, or is over; nothing changed"},
}


@router.get("", summary="List requests, newest first")
async def list_approvals(
    parts: TheParts,
    _: AnyPerson,
    state: Annotated[list[State] | None, Query(description="Only these; absent: all")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Approvals:
    """List the open and the recent requests."""
    found = parts.requests.list(states=state or STATES, limit=limit)
    return Approvals(approvals=tuple(_shown(one) for one in found))


@router.get("/{id}", summary="Show one request", responses={404: {"model": ErrorBody}})
async def show_approval(parts: TheParts, _: AnyPerson, id: RequestId) -> Approval:
    """Show one request, however old."""
    return _shown(await parts.decisions.find(id))


@router.post("/{id}/grant", summary="Agree", responses=_DECISIONS)
async def grant(
    parts: TheParts, person: AnyPerson, response: Response, id: RequestId, body: Reason | None = None
) -> Decided:
    """Agree to a request. The answer says whether that was enough."""
    return await _decide(parts, person, response, id, True, body)


@router.post("/{id}/refuse", summary="Refuse", responses=_DECISIONS)
async def refuse(
    parts: TheParts, person: AnyPerson, response: Response, id: RequestId, body: Reason | None = None
) -> Decided:
    """Refuse a request. One eligible person is enough, and it is over."""
    return await _decide(parts, person, response, id, False, body)


async def _decide(
    parts: Parts, person: Person, response: Response, id: str, grant: bool, body: Reason | None
) -> Decided:
    request, outcome = await parts.decisions.decide(id, person, grant, body.reason if body else None)
    if outcome == "recorded":
        response.status_code = 202
    return Decided.model_validate({"outcome": outcome, "approval": _shown(request)})


def _shown(request: Request) -> Approval:
    asked = request.asked
    sides = [one.groups for one in request.endorsements]
    filled = seats_filled(asked=asked.groups, quorum=asked.quorum, endorsed=sides)
    needed = max(asked.quorum, 1)
    if request.state == "granted":
        # Whoever agreed last stands in the grant itself, not in an endorsement.
        filled = dict.fromkeys(filled, needed)
    by: tuple[str, ...] = ()
    reason = usable_until = ended_at = None
    match request.ending:
        case ApprovalGranted(by=by, reason=reason, expires_at=usable_until, at=ended_at):
            pass
        case ApprovalRefused(by=one, reason=reason, at=ended_at):
            by = (one,)
        case ApprovalWithdrawn(reason=reason, at=ended_at):
            pass
        case ApprovalExpired(at=ended_at):
            pass
        case _:
            pass
    return Approval(
        id=asked.request,
        state=request.state,
        resource=asked.resource,
        agent=asked.identity.agent,
        user=asked.identity.user,
        run=asked.identity.run,
        groups=asked.groups,
        quorum=asked.quorum,
        seats=tuple(Seats(group=group, needed=needed, agreed=count) for group, count in filled.items()),
        reason=asked.reason,
        text=asked.text,
        touched=asked.touched,
        requested_at=asked.at,
        expires_at=asked.expires_at,
        endorsements=tuple(
            Endorsement(by=one.by, groups=one.groups, reason=one.reason, at=one.at)
            for one in request.endorsements
        ),
        decided_by=by,
        decided_reason=reason,
        ended_at=ended_at,
        usable_until=usable_until,
        ingress=asked.ingress,
        session=asked.session,
        operation=asked.operation,
        digest=asked.digest,
    )
