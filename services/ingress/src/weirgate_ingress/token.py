"""Who is it, and may they reach the resource: a token becomes an ``Admission``, the only key that dials.

Claims, and what each means here (a claim of the wrong shape refuses the token; none is guessed):

============  ====================================================================================
``iss``       exactly one of the configured issuers; its keys, and no others, verify the signature
``aud``       holds the issuer's audience (``weirgate``), or that and the name of a resource: see ``audience``
``exp``       required; ``nbf``, ``iat`` where present are not in the future
``jti``       required: it stands in every event, so a token can be told apart without being kept
``sub``       the agent; with ``act``: the person
``act.sub``   the agent of a delegated token (RFC 8693)
``groups``    list of strings: groups of the agent. In a delegated token they are the person's, and an agent
              never inherits them: there the agent's are ``act.groups``
``run``, ``tool``, ``resources``   as in ``Identity``; ``resources: []`` reaches nothing
============  ====================================================================================

Source: RFC 7519, RFC 8725 (algorithms are ours to choose, not the token's), RFC 8693.
"""

import asyncio
import base64
import binascii
import hashlib
import json
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry, deserialize_compact
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.identity import Identity
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.audience import bound_resources
from weirgate_ingress.keys import IssuerKeys, KeysUnavailable

ALGORITHMS: Final = ("RS256", "ES256", "EdDSA", "Ed25519")
LEEWAY_S: Final = 5
TOKEN_LIMIT_BYTES: Final = 16 * 1024
CACHE_LIMIT: Final = 10_000
_WHERE: Final = {
    "postgres": "Use the name of a registered resource as the database name.",
    "http": "Begin the path with the name of a registered resource: /<resource>/…",
}
_SPOKEN: Final = {"postgres": ("postgres",), "http": ("http", "mcp")}
"""Protocols of resources that are reached where this is spoken: MCP comes by HTTP."""
_RENEW = "Get a new token and connect again."


class IssuerDocument(BaseModel):
    """One entry of ``issuers.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str
    audience: str = "weirgate"
    jwks_file: Path | None = None
    jwks_url: str | None = None


class TokenRefused(Exception):
    """The token does not admit; ``refusal`` is what the agent is told."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class _Issuer:
    name: str
    audience: str
    keys: IssuerKeys


@dataclass(frozen=True, slots=True)
class _Verified:
    identity: Identity
    issuer: _Issuer
    version: int


_MAKER: Final = object()


@final
class Admission:
    """Proof of login: this identity may reach this resource. ``Door.admit`` makes it; dialling needs it."""

    __slots__ = ("identity", "resource")

    def __init__(self, maker: object, *, identity: Identity, resource: ResourceDocument) -> None:
        if maker is not _MAKER:
            raise TypeError("an Admission is made by Door.admit")
        self.identity: Final = identity
        self.resource: Final = resource


def read_issuers(file: Path) -> list[IssuerDocument]:
    """Read ``issuers.json``; relative key files are next to it.

    Raises:
        ValueError: it is not a list of issuers, or names none.
        OSError: it cannot be read.
    """
    issuers = TypeAdapter(list[IssuerDocument]).validate_json(file.read_bytes())
    if not issuers:
        raise ValueError(f"{file}: no issuer, nobody could log in")
    return [
        each.model_copy(update={"jwks_file": file.parent / each.jwks_file}) if each.jwks_file else each
        for each in issuers
    ]


class TokenVerifier:
    """Verifies tokens of the configured issuers; remembers verified ones, by SHA-256, until they expire."""

    def __init__(self, issuers: Sequence[IssuerDocument], *, clock: Callable[[], float] = time.time) -> None:
        self._issuers: dict[str, _Issuer] = {}
        for each in issuers:
            if each.issuer in self._issuers:
                raise ValueError(f"issuer {each.issuer} stands twice")
            keys = IssuerKeys(file=each.jwks_file, url=each.jwks_url)
            self._issuers[each.issuer] = _Issuer(each.issuer, each.audience, keys)
        self._clock = clock
        self._registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
        self._registry.max_header_length = 2048
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()

    async def keep_fresh(self) -> None:
        """Keep the key sets of all issuers fresh, for ever."""
        async with asyncio.TaskGroup() as group:
            for each in self._issuers.values():
                group.create_task(each.keys.keep_fresh())

    async def verify(self, token: str) -> Identity:
        """Return who the token speaks for.

        Raises:
            TokenRefused: with ``token_invalid`` or ``token_expired``.
        """
        if not token or len(token) > TOKEN_LIMIT_BYTES or not token.isascii():
            raise _invalid("what was sent as the token is no token of this gateway")
        key = hashlib.sha256(token.encode()).digest()
        known = self._verified.get(key)
        if known is not None and known.version == known.issuer.keys.version:
            if known.identity.expires_at > self._clock():
                return known.identity
            raise _expired()
        header, claims = _peek(token)
        issuer = self._issuers.get(str(claims.get("iss")))
        if issuer is None:
            raise _invalid("the issuer of the token is not configured here")
        await self._check_signature(token, header, issuer)
        identity = read_identity(claims, audience=issuer.audience, now=self._clock())
        self._verified[key] = _Verified(identity, issuer, issuer.keys.version)
        self._verified.move_to_end(key)
        if len(self._verified) > CACHE_LIMIT:
            self._verified.popitem(last=False)
        return identity

    async def _check_signature(self, token: str, header: dict[str, Any], issuer: _Issuer) -> None:
        if header.get("alg") not in ALGORITHMS:
            raise _invalid("the token is not signed with RS256, ES256 or EdDSA")
        kid = header.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise _invalid("the token's key id is not text")
        try:
            key = await issuer.keys.find(kid)
        except KeysUnavailable as error:
            raise _invalid("the keys of the token's issuer cannot be read right now") from error
        if key is None:
            raise _invalid("the token is signed with a key its issuer does not publish")
        try:
            deserialize_compact(token, key, algorithms=list(ALGORITHMS), registry=self._registry)
        except (JoseError, ValueError) as error:
            raise _invalid("the signature of the token does not verify") from error


class Door:
    """Lets agents in to resources.

    Args:
        verifier: checks tokens.
        resource: finds a registered upstream by name.
        problem: says why the configuration may not be acted on right now; ``None``: it may.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        resource: Callable[[str], ResourceDocument | None],
        problem: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._verifier = verifier
        self._resource = resource
        self._problem = problem

    async def admit(self, *, agent: str, resource: str, token: str, protocol: str) -> Admission:
        """Check token, name and resource, in that order: who is not known learns nothing about resources.

        Args:
            agent: the name that was claimed; empty where the protocol has no place for one.
            resource: name of the resource asked for.
            token: as the agent sent it.
            protocol: what is spoken here; a resource of another protocol is none.

        Raises:
            TokenRefused: with ``token_invalid``, ``token_expired``, ``resource_unknown``,
                ``log_unavailable``.
        """
        identity = await self._verifier.verify(token)
        if agent and identity.agent != agent:
            raise _invalid("the token is for another agent than the user name given")
        if self._problem() is not None:
            raise TokenRefused(
                Refusal(
                    code=RefusalCode.LOG_UNAVAILABLE,
                    reason="The gateway is not sure of its configuration right now.",
                    hint="Connect again later.",
                )
            )
        narrowed = identity.resources is not None and resource not in identity.resources
        document = None if narrowed else self._resource(resource)
        if document is None or document.protocol not in _SPOKEN[protocol]:
            # One refusal for both: an agent cannot list what exists by asking.
            raise TokenRefused(
                Refusal(
                    code=RefusalCode.RESOURCE_UNKNOWN,
                    reason="There is no such resource for this agent.",
                    hint=_WHERE[protocol],
                )
            )
        return Admission(_MAKER, identity=identity, resource=document)


def read_identity(claims: dict[str, Any], *, audience: str, now: float) -> Identity:
    """Check the claims of a token whose signature has been verified, and return who it speaks for.

    Raises:
        TokenRefused: a claim is missing, malformed or out of its time.
    """
    try:
        bound = bound_resources(claims.get("aud"), audience)
    except ValueError as error:
        raise _invalid("the token is for another audience") from error
    expires_at = _time(claims, "exp")
    if expires_at is None:
        raise _invalid("the token does not expire")
    if expires_at <= now:
        raise _expired()
    for name in ("nbf", "iat"):
        begins_at = _time(claims, name)
        if begins_at is not None and begins_at > now + LEEWAY_S:
            raise _invalid("the token is not valid yet")
    subject = _text(claims, "sub")
    token_id = _text(claims, "jti")
    if subject is None or token_id is None:
        raise _invalid("the token lacks 'sub' or 'jti'")
    agent, user, groups = subject, None, _texts(claims, "groups")
    if "act" in claims:
        actor = claims["act"]
        name = _text(actor, "sub") if isinstance(actor, dict) else None
        if name is None:
            raise _invalid("the token's 'act' names no agent")
        agent, user, groups = name, subject, _texts(actor, "groups")
    try:
        return Identity(
            agent=agent,
            user=user,
            groups=tuple(sorted(set(groups or ()))),
            run=_text(claims, "run"),
            tool=_text(claims, "tool"),
            resources=_narrowed(_texts(claims, "resources"), bound),
            issuer=str(claims["iss"]),
            token_id=token_id,
            expires_at=int(expires_at),
        )
    except ValidationError as error:
        raise _invalid("a claim of the token is too long or malformed") from error


def _peek(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    parts = token.split(".")
    if len(parts) != 3:
        raise _invalid("what was sent as the token is no token of this gateway")
    found: list[dict[str, Any]] = []
    for part in parts[:2]:
        try:
            value: Any = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        except (binascii.Error, ValueError, RecursionError) as error:
            raise _invalid("what was sent as the token is no token of this gateway") from error
        if not isinstance(value, dict):
            raise _invalid("what was sent as the token is no token of this gateway")
        found.append(value)
    return found[0], found[1]


def _narrowed(claimed: tuple[str, ...] | None, bound: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return what both the claim and the audience name."""
    if claimed is None or bound is None:
        return bound if claimed is None else claimed
    return tuple(name for name in claimed if name in bound)


def _time(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _invalid(f"the token's {name!r} is not a time")
    return value


def _text(claims: dict[str, Any], name: str) -> str | None:
    if name not in claims:
        return None
    value = claims[name]
    if not isinstance(value, str) or not value or len(value) > 256:
        raise _invalid(f"the token's {name!r} is not a short text")
    return value


def _texts(claims: dict[str, Any], name: str) -> tuple[str, ...] | None:
    if name not in claims:
        return None
    value = claims[name]
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise _invalid(f"the token's {name!r} is not a list of texts")
    return tuple(value)


def _invalid(reason: str) -> TokenRefused:
    return TokenRefused(
        Refusal(code=RefusalCode.TOKEN_INVALID, reason=reason[0].upper() + reason[1:] + ".", hint=_RENEW)
    )


def _expired() -> TokenRefused:
    return TokenRefused(Refusal(code=RefusalCode.TOKEN_EXPIRED, reason="The token has expired.", hint=_RENEW))
