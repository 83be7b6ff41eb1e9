"""The public keys of one token issuer: from a file or a URL, cached, the last good set kept.

A key set is fetched when there is none, every ``MAX_AGE_S`` (by ``keep_fresh``, no login waits for that),
and when a token names a key that is not in it, at most once in ``PAUSE_S``: else whoever invents key ids
makes us a hammer against the issuer.
"""

import asyncio
import contextlib
import json
import time
import urllib.request
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

PublicKey = RSAKey | ECKey | OKPKey

MAX_AGE_S: Final = 300.0
PAUSE_S: Final = 10.0
FETCH_TIMEOUT_S: Final = 5.0
SIZE_LIMIT_BYTES: Final = 256 * 1024
"""Longest key set; real ones are below 20 KiB."""
KEYS_LIMIT: Final = 64
_PRIVATE: Final = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "key_ops"))
RSA_BITS_MIN: Final = 2048
"""RFC 7518, section 3.3."""


class KeysUnavailable(Exception):
    """There is no key set and none can be had. The text names the place, never what it holds."""


class IssuerKeys:
    """The key set of one issuer.

    Args:
        file: path of a JWKS document; read again when it changes.
        url: https address of one (http only on loopback).
        max_age_s: age after which it is fetched again.
        pause_s: shortest time between two fetches.
    """

    def __init__(
        self,
        *,
        file: Path | None = None,
        url: str | None = None,
        max_age_s: float = MAX_AGE_S,
        pause_s: float = PAUSE_S,
    ) -> None:
        if (file is None) == (url is None):
            raise ValueError("an issuer has either a jwks_file or a jwks_url")
        if url is not None:
            parts = urlsplit(url)
            local = parts.hostname in ("localhost", "127.0.0.1", "::1")
            if parts.scheme != "https" and not (parts.scheme == "http" and local):
                raise ValueError(f"{url}: a jwks_url is https (http only on loopback)")
        self._file = file
        self._url = url
        self._max_age_s = max_age_s
        self._pause_s = pause_s
        self._keys: list[PublicKey] = []
        self._tried_at = -1e9
        self._stamp: tuple[int, int] | None = None
        self._lock = asyncio.Lock()
        self.version = 0
        """Counts the key sets there were: what was verified under an older one is verified again."""

    async def find(self, kid: str | None) -> PublicKey | None:
        """Return the key with this id (or the only one, where the token names none); ``None``: there is none.

        Raises:
            KeysUnavailable: no key set was ever had.
        """
        if self._file is not None or not self._keys:
            await self._refresh(force=not self._keys)
        found = self._lookup(kid)
        if found is None and self._url is not None:
            await self._refresh(force=False)
            found = self._lookup(kid)
        return found

    def _lookup(self, kid: str | None) -> PublicKey | None:
        if kid is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.kid == kid), None)

    async def keep_fresh(self) -> None:
        """Fetch the key set every ``max_age_s``, for ever, so that a withdrawn key stops counting."""
        while self._url is not None:
            await asyncio.sleep(self._max_age_s)
            with contextlib.suppress(KeysUnavailable):
                await self._refresh(force=True)

    async def _refresh(self, *, force: bool) -> None:
        before = self._tried_at
        async with self._lock:
            if self._tried_at != before and self._keys:
                return
            now = time.monotonic()
            if self._file is not None:
                self._read_file(self._file)
            elif force or now - self._tried_at >= self._pause_s:
                self._tried_at = now
                await self._fetch()
            if not self._keys:
                raise KeysUnavailable(f"no keys from {self._file or self._url}")

    def _read_file(self, file: Path) -> None:
        try:
            status = file.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp == self._stamp:
                return
            if status.st_size > SIZE_LIMIT_BYTES:
                raise ValueError("too long")
            self._take(file.read_bytes())
            self._stamp = stamp
        except (OSError, ValueError) as error:
            if not self._keys:
                raise KeysUnavailable(f"{file}: {type(error).__name__}") from error

    async def _fetch(self) -> None:
        try:
            self._take(await asyncio.to_thread(_download, self._url or ""))
        except (OSError, ValueError) as error:
            if not self._keys:
                raise KeysUnavailable(f"{self._url}: {type(error).__name__}") from error

    def _take(self, document: bytes) -> None:
        keys = read_keys(document)
        if not keys:
            raise ValueError("no usable key")
        if [key.as_dict() for key in keys] != [key.as_dict() for key in self._keys]:
            self._keys = keys
            self.version += 1


def read_keys(document: bytes) -> list[PublicKey]:
    """Return the signature keys of a JWKS document that we can use: RSA, P-256, Ed25519.

    Other kinds (symmetric ones above all) and keys for encryption are left out; private parts are dropped.

    Raises:
        ValueError: not a key set, or too many keys.
    """
    parsed: Any = json.loads(document)
    entries: Any = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(entries, list) or len(entries) > KEYS_LIMIT:
        raise ValueError("not a key set")
    keys: list[PublicKey] = []
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        key = _public_key(entry)
        if key is not None:
            keys.append(key)
    return keys


def _public_key(entry: dict[str, Any]) -> PublicKey | None:
    public = {name: value for name, value in entry.items() if name not in _PRIVATE}
    try:
        match entry.get("kty"), entry.get("crv"):
            case "RSA", _:
                key = RSAKey.import_key(public)
                return key if key.public_key.key_size >= RSA_BITS_MIN else None
            case "EC", "P-256":
                return ECKey.import_key(public)
            case "OKP", "Ed25519":
                return OKPKey.import_key(public)
            case _:
                return None
    except (JoseError, ValueError, TypeError):
        return None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could lead from the issuer to anywhere, a metadata service for instance."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _download(url: str) -> bytes:
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(url, timeout=FETCH_TIMEOUT_S) as answer:
        body: bytes = answer.read(SIZE_LIMIT_BYTES + 1)
    if len(body) > SIZE_LIMIT_BYTES:
        raise ValueError("too long")
    return body
