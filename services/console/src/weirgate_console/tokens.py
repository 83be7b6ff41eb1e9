"""The development issuer: tokens for agents and for people, each recorded before it is handed out.

For real use configure your own OIDC issuer; this one knows nobody and believes whoever may mint.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from joserfc import jwt
from joserfc.jwk import ECKey
from pydantic import Field, StringConstraints, model_validator

from weirgate_bus.port import Bus, BusError
from weirgate_chassis.clock import now
from weirgate_chassis.ids import new_id
from weirgate_console.keys import Issuer
from weirgate_console.login import AUDIENCE, LOCAL_ADMIN
from weirgate_console.problem import Answer, log_away
from weirgate_contracts.events import TokenMinted
from weirgate_contracts.value import ResourceName, Value

Name = Annotated[str, StringConstraints(pattern=r"^[^\s\x00-\x1f\x7f]{1,128}$")]
"""A name without space or control characters, 1 to 128 long."""
TTL_DEFAULT_S = 15 * 60


class TokenWanted(Value):
    """What a token should say. Either an agent's or a person's own."""

    agent: Name | None = None
    person: Name | None = None
    groups: tuple[Name, ...] = Field(default=(), max_length=64)
    """The agent's own groups, or the person's. An agent never inherits those of the person it works for."""
    user: Name | None = None
    """The person the agent works for."""
    run: Name | None = None
    tool: Name | None = None
    resources: tuple[ResourceName, ...] | None = Field(default=None, max_length=64)
    ttl_s: int = Field(default=TTL_DEFAULT_S, ge=1)

    @model_validator(mode="after")
    def _check(self) -> "TokenWanted":
        if (self.agent is None) == (self.person is None):
            raise ValueError("name either an agent or a person")
        if self.person is not None and (self.user or self.run or self.tool or self.resources is not None):
            raise ValueError("a person's token has groups and nothing else")
        for name in (self.agent, self.person, self.user):
            if name is not None and name.casefold() == LOCAL_ADMIN:
                raise ValueError(f"{LOCAL_ADMIN} is the administrator's own name")
        return self


class Minted(Value):
    """A token. It is kept nowhere."""

    token: str
    token_id: str
    expires_at: int
    """Seconds since 1970."""


def new_issuer_key() -> dict[str, Any]:
    """Make the private key of a development issuer, as a JWK."""
    key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, private=True, auto_kid=True)
    return dict(key.as_dict(private=True))


def public_jwks(private: dict[str, Any]) -> dict[str, Any]:
    """Return the public key set of a private JWK."""
    key = ECKey.import_key(private)
    public = dict(key.as_dict(private=False))
    public.setdefault("kid", key.thumbprint())
    return {"keys": [{**public, "use": "sig", "alg": "ES256"}]}


def own_issuer(issuers: Sequence[Issuer], jwks_file: Path | None) -> Issuer:
    """Find the entry of ``issuers.json`` that is the development issuer's: the one with its key file.

    Raises:
        ValueError: there is none, so no one would believe its tokens.
    """
    if jwks_file is not None:
        for one in issuers:
            if one.jwks_file is not None and one.jwks_file.resolve() == jwks_file.resolve():
                return one
    raise ValueError(f"no issuer in issuers.json has the jwks_file {jwks_file}")


class Mint:
    """Makes tokens.

    Args:
        bus: where each is recorded first.
        private: private JWK, P-256.
        issuer: the entry of ``issuers.json`` that carries its public half.
        ttl_limit_s: longest life.
    """

    def __init__(
        self,
        bus: Bus,
        private: dict[str, Any],
        issuer: Issuer,
        *,
        ttl_limit_s: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bus = bus
        self._key = ECKey.import_key(private)
        if not self._key.is_private or self._key.curve_name != "P-256":
            raise ValueError("the issuer's key is no private P-256 key")
        self.issuer = issuer
        self.jwks = public_jwks(private)
        self._ttl_limit_s = ttl_limit_s
        self._clock = clock

    async def mint(self, wanted: TokenWanted, by: str) -> Minted:
        """Record and make a token.

        Raises:
            Answer: it should live too long, or the log does not take the record.
        """
        if wanted.ttl_s > self._ttl_limit_s:
            raise Answer(
                422,
                "ttl_too_long",
                f"A token lives at most {self._ttl_limit_s} s here.",
                "Ask for a shorter life, and mint again when it is over.",
            )
        made_at = int(self._clock())
        token_id = new_id()
        claims = self._claims(wanted, token_id, made_at)
        event = TokenMinted(
            token_id=token_id,
            agent=wanted.agent or "",
            user=wanted.person or wanted.user,
            groups=tuple(sorted(set(wanted.groups))),
            resources=wanted.resources,
            expires_at=claims["exp"],
            by=by,
            audience=claims["aud"],
        ).stamped(id=new_id(), at=now())
        try:
            await self._bus.publish(event.subject, event.encoded(), id=event.id)
        except BusError as error:
            raise log_away() from error
        header = {"alg": "ES256", "kid": self.jwks["keys"][0]["kid"], "typ": "JWT"}
        token = jwt.encode(header, claims, self._key, algorithms=["ES256"])
        return Minted(token=token, token_id=token_id, expires_at=claims["exp"])

    def _claims(self, wanted: TokenWanted, token_id: str, made_at: int) -> dict[str, Any]:
        groups = sorted(set(wanted.groups))
        claims: dict[str, Any] = {
            "iss": self.issuer.issuer,
            "aud": AUDIENCE if wanted.person else self.issuer.audience,
            "iat": made_at,
            "exp": made_at + wanted.ttl_s,
            "jti": token_id,
            "sub": wanted.person or wanted.user or wanted.agent,
        }
        if wanted.user:
            claims["act"] = {"sub": wanted.agent, "groups": groups}
        else:
            claims["groups"] = groups
        for name in ("run", "tool"):
            if getattr(wanted, name):
                claims[name] = getattr(wanted, name)
        if wanted.resources is not None:
            claims["resources"] = list(wanted.resources)
        return claims


def read_issuer_key(file: Path) -> dict[str, Any]:
    """Read the private JWK.

    Raises:
        ValueError: not one.
        OSError: it cannot be read.
    """
    parsed: Any = json.loads(file.read_bytes())
    if not isinstance(parsed, dict) or parsed.get("kty") != "EC" or "d" not in parsed:
        raise ValueError(f"{file}: not a private P-256 key")
    return {str(name): value for name, value in parsed.items()}
