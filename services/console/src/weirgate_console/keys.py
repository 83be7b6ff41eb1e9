"""Public keys of the issuers people sign in with, from a file or a URL."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

PublicKey = RSAKey | ECKey | OKPKey
_KINDS: dict[tuple[str, str | None], type[RSAKey] | type[ECKey] | type[OKPKey]] = {
    ("RSA", None): RSAKey,
    ("EC", "P-256"): ECKey,
    ("OKP", "Ed25519"): OKPKey,
}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "key_ops"})
SIZE_LIMIT_BYTES = 256 * 1024
MAX_AGE_S = 300.0
PAUSE_S = 10.0
"""Shortest time between two fetches: else whoever invents key ids makes us a hammer against the issuer."""
RSA_BITS_MIN = 2048
"""RFC 7518, section 3.3."""


class Issuer(BaseModel):
    """One entry of ``issuers.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str
    audience: str = "weirgate"
    jwks_file: Path | None = None
    jwks_url: str | None = None


class KeysUnavailable(Exception):
    """There is no key set and none can be had."""


def read_issuers(file: Path) -> list[Issuer]:
    """Read ``issuers.json``; relative key files stand next to it.

    Raises:
        ValueError: not a list of issuers, or one of them has not exactly one source of keys.
        OSError: it cannot be read.
    """
    try:
        issuers = TypeAdapter(list[Issuer]).validate_json(file.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{file}: not a list of issuers") from error
    for one in issuers:
        if (one.jwks_file is None) == (one.jwks_url is None):
            raise ValueError(f"{file}: {one.issuer} has either a jwks_file or a jwks_url")
        if one.jwks_url is not None:
            url = httpx.URL(one.jwks_url)
            if url.scheme != "https" and url.host not in ("localhost", "127.0.0.1", "::1"):
                raise ValueError(f"{file}: {one.jwks_url} is not https (http only on loopback)")
    if len({one.issuer for one in issuers}) != len(issuers):
        raise ValueError(f"{file}: an issuer stands twice")
    return [
        one.model_copy(update={"jwks_file": file.parent / one.jwks_file}) if one.jwks_file else one
        for one in issuers
    ]


def read_keys(document: bytes) -> dict[str, PublicKey]:
    """Return the usable signature keys of a JWKS document by id. Symmetric keys are never usable.

    Raises:
        ValueError: not a key set.
    """
    parsed: Any = json.loads(document)
    entries: Any = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(entries, list) or len(entries) > 64:
        raise ValueError("not a key set")
    keys: dict[str, PublicKey] = {}
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        public = {str(name): value for name, value in entry.items() if name not in _PRIVATE}
        kind = _KINDS.get((str(public.get("kty")), public.get("crv")))
        if kind is None or not isinstance(public.get("kid"), str):
            continue
        try:
            key = kind.import_key(public)
        except (JoseError, ValueError, TypeError):
            continue
        if isinstance(key, RSAKey) and key.public_key.key_size < RSA_BITS_MIN:
            continue
        keys[public["kid"]] = key
    return keys


class IssuerKeys:
    """The key set of one issuer; the last good one is kept while a newer cannot be had."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._keys: dict[str, PublicKey] = {}
        self._read_at = -1e9
        self._turn = asyncio.Lock()

    async def find(self, kid: str) -> PublicKey | None:
        """Return the key with this id; ``None``: the issuer publishes no such key.

        Raises:
            KeysUnavailable: no key set was ever had.
        """
        now = time.monotonic()
        stale = now - self._read_at > (MAX_AGE_S if kid in self._keys else PAUSE_S)
        if stale or not self._keys or self._issuer.jwks_file is not None:
            async with self._turn:
                await self._refresh(now)
        if not self._keys:
            raise KeysUnavailable(self._issuer.issuer)
        return self._keys.get(kid)

    async def _refresh(self, now: float) -> None:
        if self._issuer.jwks_file is None and self._read_at >= now:
            return  # somebody else has, while this one waited for its turn
        self._read_at = time.monotonic()
        try:
            if self._issuer.jwks_file is not None:
                document = self._issuer.jwks_file.read_bytes()
            else:
                document = await _fetch(str(self._issuer.jwks_url))
            if len(document) <= SIZE_LIMIT_BYTES:
                self._keys = read_keys(document)
        except (OSError, ValueError, httpx.HTTPError):
            return


async def _fetch(url: str) -> bytes:
    # No redirects: one could lead from the issuer to anywhere, a metadata service for instance.
    async with (
        httpx.AsyncClient(timeout=5.0, follow_redirects=False, trust_env=False) as agent,
        agent.stream("GET", url) as answer,
    ):
        if answer.status_code != 200:
            raise ValueError(f"status {answer.status_code}")
        parts: list[bytes] = []
        size = 0
        async for part in answer.aiter_bytes():
            size += len(part)
            if size > SIZE_LIMIT_BYTES:
                raise ValueError("too long")
            parts.append(part)
        return b"".join(parts)
