"""``/v1/sessions``: ending one."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from weirgate_console.api.approvals import Reason
from weirgate_console.api.door import REFUSALS, Admin, TheParts
from weirgate_console.problem import ErrorBody
from weirgate_console.sessions import kill

router = APIRouter(prefix="/v1/sessions", tags=["sessions"], responses=REFUSALS)

Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,63}$")]


class Killed(BaseModel):
    """What came of it."""

    ingress: str
    session: str
    closed: bool = Field(description="The log holds its end; false: ingress was told and has not said so yet")


@router.post(
    "/{ingress}/{session}/kill",
    summary="End a session",
    responses={404: {"model": ErrorBody}, 409: {"model": ErrorBody, "description": "It is closed already"}},
)
async def kill_session(
    parts: TheParts, person: Admin, ingress: Name, session: Name, body: Reason | None = None
) -> Killed:
    """End a session. That it was killed, and by whom, is in the log before ingress is told."""
    reason = body.reason if body else None
    closed = await kill(parts.bus, ingress, session, by=person.name, reason=reason)
    return Killed(ingress=ingress, session=session, closed=closed)
