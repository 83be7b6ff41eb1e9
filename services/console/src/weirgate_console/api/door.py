"""Who may call what: dependencies of the endpoints."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from weirgate_bus.port import Bus
from weirgate_console.decide import Decisions
from weirgate_console.login import Doorkeeper, Person
from weirgate_console.problem import Answer, ErrorBody
from weirgate_console.publish import Publisher
from weirgate_console.requests import Requests
from weirgate_console.tokens import Mint


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the endpoints work with."""

    bus: Bus
    doorkeeper: Doorkeeper
    requests: Requests
    decisions: Decisions
    publisher: Publisher
    mint: Mint | None


REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorBody, "description": "Nobody is signed in"},
    403: {"model": ErrorBody, "description": "Signed in, and not allowed to"},
    503: {"model": ErrorBody, "description": "The event log does not answer"},
}

# Only for the OpenAPI document: the check itself is ours, so that every refusal has the same form.
_bearer = HTTPBearer(auto_error=False, description="The local admin token, or a person's token")


def parts_of(request: Request) -> Parts:
    """Return the parts of the application that answers."""
    found: Parts = request.app.state.parts
    return found


async def signed_in(
    request: Request, parts: Annotated[Parts, Depends(parts_of)], _: Annotated[object, Depends(_bearer)]
) -> Person:
    """Return who calls; 401 when nobody."""
    return await parts.doorkeeper.recognise(request.headers.get("authorization"))


async def admin(person: Annotated[Person, Depends(signed_in)]) -> Person:
    """Return who calls; 403 when it is no administrator."""
    if not person.is_admin:
        raise Answer(
            403,
            "not_admin",
            f"{person.name} is no administrator.",
            "Somebody in the group weirgate-admins may do this.",
        )
    return person


AnyPerson = Annotated[Person, Depends(signed_in)]
Admin = Annotated[Person, Depends(admin)]
TheParts = Annotated[Parts, Depends(parts_of)]
