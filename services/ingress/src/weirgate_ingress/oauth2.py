"""Tokens of upstreams by the client credentials grant: got once for all sessions, kept until shortly before their end.

=============  =========================================  ====================================================
a token is     when                                       what ``token`` does
=============  =========================================  ====================================================
fresh          more than a fifth of its life is left      gives it
ageing         less than that                             gives it, and gets the next one meanwhile
gone           less than a twentieth (at most 30 s)       gets one and waits, for 10 s at most
=============  =========================================  ====================================================

Invariants: one fetch is under way per source, whoever asks; what a token endpoint says is bounded in time and size and
is in no event, log or exception but as one of the error codes of the standard; a failed fetch is not repeated within a
second; a token refused by the upstream is dropped, but one that came in place of a refused one is given 30 s, so
that agents cannot make the gateway ask without end.

Source: RFC 6749 sections 2.3.1, 3.2, 4.4, 5.1, 5.2; RFC 6750 section 2.1.
"""

import asyncio
import base64
import contextlib
import json
import math
import re
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import quote_plus, urlencode, urlsplit

from weirgate_contracts.injection import OAuth2Document
from weirgate_ingress.credential import CredentialError
from weirgate_wire.error import PeerError
from weirgate_wire.http.framing import BodyReader, response_framing
from weirgate_wire.http.head import HeadReader, RequestHead, ResponseHead

FETCH_TIMEOUT_S: Final = 10.0
ANSWER_LIMIT_BYTES: Final = 64 * 1024
LIFE_S: Final = 300.0
"""Taken for a token whose answer names no life."""
LIFE_LIMIT_S: Final = 24 * 3600.0
RETRY_PAUSE_S: Final = 1.0
REFUSED_PAUSE_S: Final = 30.0
_AGEING: Final = 0.2
_GONE: Final = 0.05
_GONE_LIMIT_S: Final = 30.0
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")
_ERRORS: Final = frozenset(
    (
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
        "invalid_scope",
    )
)  # fmt: skip
_STATUS_OK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An access token, and for how long it is good."""

    value: str = field(repr=False)
    life_s: float


Fetch = Callable[[], Awaitable[Token]]


class TokenSource:
    """The token of one client at one token endpoint.

    Args:
        fetch: gets a token, in bounded time; raises :class:`CredentialError`.
        clock: seconds, monotonic.
    """

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._token: Token | None = None
        self._since = 0.0
        self._fetching: asyncio.Task[None] | None = None
        self._failed: tuple[float, str] | None = None
        self._refused_at = -math.inf

    def current(self) -> str | None:
        """Return the token; ``None``: there is none that is good. Where it ages the next one is got meanwhile."""
        token = self._token
        if token is None:
            return None
        left_s = self._since + token.life_s - self._clock()
        if left_s <= min(_GONE * token.life_s, _GONE_LIMIT_S):
            return None
        if left_s <= _AGEING * token.life_s and self._fetching is None and self._resting() is None:
            self._start()
        return token.value

    async def token(self) -> str:
        """Return a good token, getting one where there is none.

        Raises:
            CredentialError: it cannot be had; the text names no secret.
        """
        found = self.current()
        if found is not None:
            return found
        if self._fetching is None:
            if (reason := self._resting()) is not None:
                raise CredentialError(reason)
            self._start()
        assert self._fetching is not None
        # Whoever waits may leave; the fetch goes on for the others.
        await asyncio.shield(self._fetching)
        found = self.current()
        if found is None:
            raise CredentialError(self._failed[1] if self._failed else "the token had no time left")
        return found

    def refused(self, value: str) -> None:
        """The upstream refused a token: the next operation gets another."""
        token, now = self._token, self._clock()
        if token is None or token.value != value:
            return
        if now - self._refused_at < REFUSED_PAUSE_S:
            return
        self._token = None
        self._refused_at = now

    def _resting(self) -> str | None:
        if self._failed is not None and self._clock() - self._failed[0] < RETRY_PAUSE_S:
            return self._failed[1]
        return None

    def _start(self) -> None:
        self._fetching = asyncio.create_task(self._run(), name="oauth2 token")

    async def _run(self) -> None:
        try:
            token = await self._fetch()
        except CredentialError as error:
            self._failed = (self._clock(), str(error))
        else:
            self._token, self._since, self._failed = token, self._clock(), None
        finally:
            self._fetching = None


async def fetch_token(
    document: OAuth2Document, secret: str, context: ssl.SSLContext | None, timeout_s: float = FETCH_TIMEOUT_S
) -> Token:
    """Ask a token endpoint once.

    Args:
        document: where, and as whom.
        secret: of the client.
        context: for ``https``.
        timeout_s: for all of it.

    Raises:
        CredentialError: it gave none; the text holds nothing of what it said but an error code of the standard.
    """
    try:
        async with asyncio.timeout(timeout_s):
            status, body = await _exchange(document, secret, context)
    except TimeoutError as error:
        raise CredentialError("the token endpoint does not answer in time") from error
    except ssl.SSLError as error:
        raise CredentialError(f"the token endpoint: TLS: {error.reason or type(error).__name__}") from error
    except OSError as error:
        raise CredentialError(
            f"the token endpoint: {type(error).__name__}: {error.strerror or ''}".rstrip(": ")
        ) from error
    except PeerError as error:
        raise CredentialError(f"the token endpoint's answer is malformed: {error}") from error
    return read_token(status, body)


def read_token(status: int, body: bytes) -> Token:
    """Read what a token endpoint answered.

    Raises:
        CredentialError: it is no token for ``Authorization: Bearer``.
    """
    found: dict[str, Any] = {}
    with contextlib.suppress(ValueError, RecursionError):
        read = json.loads(body)
        found = cast("dict[str, Any]", read) if isinstance(read, dict) else {}
    if status != _STATUS_OK:
        code = found.get("error")
        said = f": {code}" if isinstance(code, str) and code in _ERRORS else ""
        raise CredentialError(f"the token endpoint answered {status}{said}")
    value, kind = found.get("access_token"), found.get("token_type", "bearer")
    if not isinstance(value, str) or _TOKEN.fullmatch(value) is None:
        raise CredentialError("the token endpoint's answer holds no token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise CredentialError("the token endpoint gave a token that is no bearer token")
    return Token(value=value, life_s=_life(found.get("expires_in")))


def _life(given: object) -> float:
    if given is None:
        return LIFE_S
    # Some servers write the number as a text.
    if isinstance(given, str) and re.fullmatch(r"[0-9]{1,12}", given):
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < math.inf:
        raise CredentialError("the token endpoint gave a token without time left")
    return min(float(given), LIFE_LIMIT_S)


def token_request(document: OAuth2Document, secret: str) -> bytes:
    """Return the request for a token as it is sent."""
    form = [("grant_type", "client_credentials")]
    if document.scope is not None:
        form.append(("scope", document.scope))
    if document.audience is not None:
        form.append(("audience", document.audience))
    parts = urlsplit(document.token_url)
    headers = [
        ("host", parts.netloc),
        ("accept", "application/json"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("connection", "close"),
    ]
    if document.auth == "basic":
        # Both are form-encoded before they are joined: RFC 6749 section 2.3.1.
        pair = f"{quote_plus(document.client_id)}:{quote_plus(secret)}"
        headers.append(("authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
    else:
        form += [("client_id", document.client_id), ("client_secret", secret)]
    body = urlencode(form).encode()
    headers.append(("content-length", str(len(body))))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return RequestHead(method="POST", target=target, headers=tuple(headers)).encode() + body


async def _exchange(
    document: OAuth2Document, secret: str, context: ssl.SSLContext | None
) -> tuple[int, bytes]:
    parts = urlsplit(document.token_url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    reader, writer = await asyncio.open_connection(
        parts.hostname, port, ssl=context if secure else None, limit=ANSWER_LIMIT_BYTES
    )
    try:
        writer.write(token_request(document, secret))
        await writer.drain()
        return await _read(reader)
    finally:
        writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    heads = HeadReader(limit_bytes=ANSWER_LIMIT_BYTES)
    head: ResponseHead | None = None
    read_bytes = 0
    while head is None or head.status < _STATUS_OK:
        head = heads.response()
        if head is None:
            data = await reader.read(ANSWER_LIMIT_BYTES)
            if not data:
                raise PeerError("no answer")
            read_bytes += len(data)
            if read_bytes > 2 * ANSWER_LIMIT_BYTES:
                raise PeerError("it is too long")
            heads.feed(data)
    body = BodyReader(response_framing(head, method="POST"))
    pieces = body.feed(heads.rest())
    while not body.done:
        data = await reader.read(ANSWER_LIMIT_BYTES)
        if not data:
            body.eof()
            break
        pieces += body.feed(data)
        # Counted as they come, not as bytes of the body: chunks of nothing have no end either.
        read_bytes += len(data)
        if read_bytes > 2 * ANSWER_LIMIT_BYTES:
            raise PeerError("it is too long")
    return head.status, b"".join(pieces)
