"""``/v1/config``: what the gateway is told to do."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from weirgate_console.api.door import REFUSALS, Admin, AnyPerson, TheParts
from weirgate_console.check import Found, Sent
from weirgate_console.problem import ErrorBody
from weirgate_console.publish import Change, Outcome
from weirgate_contracts.events.config import ConfigKind
from weirgate_contracts.value import Value

router = APIRouter(prefix="/v1/config", tags=["config"], responses=REFUSALS)


class Apply(Value):
    """Documents to publish together."""

    documents: tuple[Sent, ...] = Field(min_length=1, max_length=1000)
    dry_run: bool = False
    """Check everything, publish nothing."""


class BadConfig(ErrorBody):
    """Nothing was published; everything that is wrong."""

    problems: tuple[Found, ...]


class Published(BaseModel):
    """One document as it stands."""

    kind: str
    name: str
    revision: int
    by: str
    at: str
    body: dict[str, Any]


class Config(BaseModel):
    """The configuration as it stands."""

    revision: int = Field(description="Log sequence of the newest configuration event")
    documents: tuple[Published, ...]


@router.post(
    "", summary="Publish documents", responses={422: {"model": BadConfig, "description": "Nothing published"}}
)
async def apply(parts: TheParts, person: Admin, body: Apply) -> Outcome:
    """Check all documents together and publish those that changed; nothing when any is wrong."""
    return await parts.publisher.publish(body.documents, by=person.name, dry_run=body.dry_run)


@router.get("", summary="Show what stands")
async def show(parts: TheParts, _: AnyPerson) -> Config:
    """Show every document that stands. None of them holds a secret: credentials are references."""
    standing = (await parts.publisher.standing()).values()
    return Config(
        revision=max((one.revision for one in standing), default=0),
        documents=tuple(
            Published(
                kind=one.kind, name=one.name, revision=one.revision, by=one.by, at=one.at, body=one.body
            )
            for one in sorted(standing, key=lambda one: (one.kind, one.name))
            if one.body is not None
        ),
    )


@router.delete(
    "/{kind}/{name}",
    summary="Withdraw a document",
    responses={404: {"model": ErrorBody}, 409: {"model": ErrorBody, "description": "Something needs it"}},
)
async def withdraw(
    parts: TheParts,
    person: Admin,
    kind: ConfigKind,
    name: Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,63}$")],
) -> Change:
    """Withdraw one document. The log keeps that it stood."""
    return await parts.publisher.withdraw(kind, name, by=person.name)
