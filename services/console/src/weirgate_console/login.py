"""Who is calling: the local administrator, or a person with a token of a configured issuer."""

import hashlib
import hmac
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry, deserialize_compact, extract_compact

from weirgate_console.keys import Issuer, IssuerKeys, KeysUnavailable
from weirgate_console.problem import Answer

AUDIENCE = "weirgate-console"
"""A person's token is for this audience. One for ingress (an agent's) opens nothing here."""
ADMINS = "weirgate-admins"
"""Group whose people may publish configuration, mint tokens and end sessions."""
LOCAL_ADMIN = "local-admin"
ALGORITHMS = ("RS256", "ES256", "EdDSA", "Ed25519")
TOKEN_LIMIT_BYTES = 16 * 1024
ADMIN_TOKEN_MIN = 32
LEEWAY_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who has proved who they are."""

    name: str
    groups: frozenset[str]
    everyone: bool = False
    """The local administrator: in every group there is."""

    @property
    def is_admin(self) -> bool:
        """Whether this person may publish, mint and kill."""
        return self.everyone or ADMINS in self.groups

    def proved(self, named: frozenset[str]) -> tuple[str, ...]:
        """Return the groups this person proves, sorted; ``named`` are those any configuration names."""
        return tuple(sorted(named | {ADMINS} if self.everyone else self.groups))


def read_admin_token(file: Path) -> str:
    """Read the local administrator's token.

    Raises:
        ValueError: too short to be a secret.
        OSError: it cannot be read.
    """
    token = file.read_text("ascii").strip()
    if len(token) < ADMIN_TOKEN_MIN:
        raise ValueError(f"{file}: an admin token has at least {ADMIN_TOKEN_MIN} characters")
    return token


class Doorkeeper:
    """Checks the ``Authorization`` header.

    Args:
        issuers: whose tokens count.
        admin_token: the local administrator's; ``None``: there is none.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        issuers: Sequence[Issuer],
        admin_token: str | None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuers = {one.issuer: IssuerKeys(one) for one in issuers}
        self._admin = None if admin_token is None else hashlib.sha256(admin_token.encode()).digest()
        self._clock = clock
        self._registry = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)

    async def recognise(self, header: str | None) -> Person:
        """Say who calls.

        Raises:
            Answer: 401, with why. The token is in no text.
        """
        scheme, _, token = (header or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise _unknown("there is no bearer token")
        if len(token) > TOKEN_LIMIT_BYTES or not token.isascii():
            raise _unknown("that is no token")
        digest = hashlib.sha256(token.encode()).digest()
        if self._admin is not None and hmac.compare_digest(digest, self._admin):
            return Person(name=LOCAL_ADMIN, groups=frozenset(), everyone=True)
        return _person(await self._claims(token), self._clock())

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            parsed = extract_compact(token.encode(), registry=self._registry)
            header = parsed.headers()
            claims: Any = json.loads(parsed.payload)
        except (JoseError, ValueError, RecursionError) as error:
            raise _unknown("that is no token") from error
        if not isinstance(claims, dict):
            raise _unknown("that is no token")
        keys = self._issuers.get(str(claims.get("iss")))
        if keys is None:
            raise _unknown("the issuer of the token is not configured here")
        # The algorithm is ours to choose: 'none' and the symmetric ones are not in the list (RFC 8725, 3.1).
        if header.get("alg") not in ALGORITHMS or not isinstance(header.get("kid"), str):
            raise _unknown("the token is not signed with RS256, ES256 or EdDSA under a named key")
        try:
            key = await keys.find(header["kid"])
        except KeysUnavailable as error:
            raise _unknown("the keys of the token's issuer cannot be read right now") from error
        if key is None:
            raise _unknown("the token is signed with a key its issuer does not publish")
        try:
            deserialize_compact(token, key, algorithms=list(ALGORITHMS), registry=self._registry)
        except (JoseError, ValueError) as error:
            raise _unknown("the signature of the token does not verify") from error
        return {str(name): value for name, value in claims.items()}


def _person(claims: dict[str, Any], now: float) -> Person:
    audience = claims.get("aud")
    if AUDIENCE not in (audience if isinstance(audience, list) else [audience]):
        raise _unknown("the token is for another audience, not for the console")
    if "act" in claims:
        raise _unknown("the token is an agent's; people sign in with their own")
    expires_at = _time(claims, "exp")
    if expires_at is None or expires_at <= now:
        raise _unknown("the token has expired" if expires_at else "the token does not expire")
    for name in ("nbf", "iat"):
        begins_at = _time(claims, name)
        if begins_at is not None and begins_at > now + LEEWAY_S:
            raise _unknown("the token is not valid yet")
    name, groups = claims.get("sub"), claims.get("groups", [])
    if not isinstance(name, str) or not 0 < len(name.strip()) <= 256 or name.casefold() == LOCAL_ADMIN:
        raise _unknown("the token names nobody")
    if not isinstance(groups, list) or not all(isinstance(one, str) and one for one in groups):
        raise _unknown("the token's 'groups' is no list of texts")
    return Person(name=name, groups=frozenset(groups))


def _time(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _unknown(f"the token's {name!r} is no time")
    return float(value)


def _unknown(why: str) -> Answer:
    return Answer(
        401,
        "not_signed_in",
        f"Nobody is signed in: {why}.",
        "Send 'Authorization: Bearer TOKEN'; 'weirgate token mint --person NAME' makes one.",
    )
