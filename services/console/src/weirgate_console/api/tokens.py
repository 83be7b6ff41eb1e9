"""``/v1/tokens`` and the well-known documents of the development issuer."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from weirgate_console.api.door import REFUSALS, Admin, Parts, TheParts
from weirgate_console.problem import Answer, ErrorBody
from weirgate_console.tokens import Mint, Minted, TokenWanted

router = APIRouter(tags=["tokens"])


class Discovery(BaseModel):
    """The part of OpenID Connect discovery that a verifier of tokens needs."""

    issuer: str
    jwks_uri: str
    id_token_signing_alg_values_supported: tuple[str, ...] = ("ES256",)
    response_types_supported: tuple[str, ...] = ()
    subject_types_supported: tuple[str, ...] = ("public",)


@router.post("/v1/tokens", summary="Mint a token", status_code=201, responses=REFUSALS)
async def mint(parts: TheParts, person: Admin, body: TokenWanted, response: Response) -> Minted:
    """Mint a token. That it was minted is in the log before the token is returned; the token is nowhere."""
    response.headers["Cache-Control"] = "no-store"
    return await _mint(parts).mint(body, person.name)


@router.get("/.well-known/jwks.json", summary="Public keys", responses={404: {"model": ErrorBody}})
async def jwks(parts: TheParts) -> dict[str, Any]:
    """Return the public keys of the development issuer."""
    return _mint(parts).jwks


@router.get("/.well-known/openid-configuration", summary="Discovery", responses={404: {"model": ErrorBody}})
async def discovery(parts: TheParts, request: Request) -> Discovery:
    """Say who the issuer is and where its keys are."""
    issuer = _mint(parts).issuer.issuer
    # The embedded issuer's name is no address; then the address it was asked at is its own.
    base = issuer if issuer.startswith(("https://", "http://")) else str(request.base_url)
    return Discovery(issuer=issuer, jwks_uri=f"{base.rstrip('/')}/.well-known/jwks.json")


def _mint(parts: Parts) -> Mint:
    if parts.mint is None:
        raise Answer(
            404,
            "no_issuer",
            "There is no development issuer here.",
            "Get tokens from the OIDC issuer that is configured.",
        )
    return parts.mint
