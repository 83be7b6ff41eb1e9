"""How a head is given the credential of its upstream: a field, a piece of the query, a token, a signature.

A credential is read for one dial (a signature's for each head: temporary keys change while a connection stays), and
stands in no attribute that is shown, no log and no exception.

Source: RFC 6750, RFC 7617; see :mod:`weirgate_ingress.oauth2` and :mod:`weirgate_ingress.sigv4`.
"""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final, Protocol
from urllib.parse import quote

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.injection import OAuth2Document, SigV4Document
from weirgate_ingress.credential import CredentialError, Credentials
from weirgate_ingress.oauth2 import Token, TokenSource, fetch_token
from weirgate_ingress.origin_tls import Contexts
from weirgate_ingress.sigv4 import SigningKey, sign
from weirgate_wire.error import UsageError
from weirgate_wire.http.head import RequestHead

SOURCES_LIMIT: Final = 1024
_VALUE = re.compile(r"[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")
_ID = re.compile(r"[A-Za-z0-9_]{4,128}")


class Injection(Protocol):
    """Gives heads the credential."""

    @property
    def names(self) -> tuple[str, ...]:
        """Fields that carry it, in lower case."""
        ...

    @property
    def secrets(self) -> tuple[str, ...]:
        """What was sent of it as it is, to be looked for in answers."""
        ...

    async def prepare(self) -> None:
        """Get what ``apply`` needs.

        Raises:
            CredentialError: it is not to be had.
        """
        ...

    def apply(self, head: RequestHead, body_sha256: str | None) -> RequestHead:
        """Return the head with the credential.

        Args:
            head: final in everything else.
            body_sha256: of the body, hexadecimal; ``None``: it streams.

        Raises:
            CredentialError: not now; ``prepare`` says why, or gets it.
        """
        ...

    def refused(self) -> None:
        """The upstream did not take it (401)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A credential that is sent as it is, or none."""

    header: tuple[str, str] | None = field(default=None, repr=False)
    query: str | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The field."""
        return (self.header[0],) if self.header is not None else ()

    async def prepare(self) -> None:
        """It is there."""

    def apply(self, head: RequestHead, body_sha256: str | None) -> RequestHead:
        """Add the field, or the piece of the query behind all others."""
        target = head.target
        if self.query is not None:
            target += ("&" if "?" in target else "?") + self.query
        return _with_field(head, target, self.header)

    def refused(self) -> None:
        """There is no other."""


class Bearer:
    """An access token that is got and kept."""

    names = ("authorization",)

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._used: str | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """The token that was used last."""
        return (self._used,) if self._used is not None else ()

    async def prepare(self) -> None:
        """Get a token where there is no good one."""
        await self._source.token()

    def apply(self, head: RequestHead, body_sha256: str | None) -> RequestHead:
        """Add the token."""
        token = self._source.current()
        if token is None:
            raise CredentialError("there is no token")
        self._used = token
        return _with_field(head, head.target, ("authorization", f"Bearer {token}"))

    def refused(self) -> None:
        """Drop the token that was used last."""
        if self._used is not None:
            self._source.refused(self._used)


class Signature:
    """A signature over each head."""

    names = ("authorization", "x-amz-security-token")
    secrets: tuple[str, ...] = ()
    """A signature is good for one head and some minutes; the key itself is never sent."""

    def __init__(self, read: Callable[[], SigningKey], clock: Callable[[], datetime]) -> None:
        self._read = read
        self._clock = clock

    async def prepare(self) -> None:
        """Say why it cannot be signed."""
        self._read()

    def apply(self, head: RequestHead, body_sha256: str | None) -> RequestHead:
        """Sign the head."""
        return sign(head, self._read(), body_sha256=body_sha256, at=self._clock())

    def refused(self) -> None:
        """The key is read again for each head."""


class Injections:
    """Makes injections; keeps the tokens of all sessions.

    Args:
        credentials: where credentials are read.
        contexts: TLS to token endpoints.
        clock: the time of signatures.
    """

    def __init__(
        self,
        credentials: Credentials,
        contexts: Contexts,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._credentials = credentials
        self._contexts = contexts
        self._clock = clock
        self._sources: dict[tuple[object, ...], TokenSource] = {}

    async def of(self, resource: ResourceDocument) -> Injection:
        """Return how heads for a resource get its credential; it can be applied at once.

        Raises:
            CredentialError: the credential cannot be had, or cannot be sent.
        """
        credential = self._credentials.read(resource)
        if resource.inject is None or credential is None:
            return Plain()
        if any(char in credential for char in "\r\n\0"):
            raise CredentialError("the credential has a line break in it")
        made: Injection
        if resource.oauth2 is not None:
            made = Bearer(self._source(resource, resource.oauth2, credential))
        elif resource.sigv4 is not None:
            made = Signature(partial(self._signing, resource, resource.sigv4), self._clock)
        else:
            made = _plain(resource.inject, credential)
        await made.prepare()
        return made

    def _source(self, resource: ResourceDocument, document: OAuth2Document, secret: str) -> TokenSource:
        key = (document, resource.ca, hashlib.sha256(secret.encode()).digest())
        found = self._sources.get(key)
        if found is None:

            async def fetch() -> Token:
                try:
                    context = self._contexts.get(resource.ca, ("http/1.1",))
                except OSError as error:
                    raise CredentialError(f"the trust store: {type(error).__name__}") from error
                return await fetch_token(document, secret, context)

            if len(self._sources) >= SOURCES_LIMIT:
                self._sources.clear()
            found = self._sources[key] = TokenSource(fetch)
        return found

    def _signing(self, resource: ResourceDocument, document: SigV4Document) -> SigningKey:
        secret = self._credentials.read(resource)
        id = document.access_key_id
        if ":" in id:
            id = self._credentials.resolve(id)
        if _ID.fullmatch(id) is None:
            raise CredentialError("the id of the access key is none")
        token = None
        if document.session_token is not None:
            token = _sendable(self._credentials.resolve(document.session_token))
        assert secret is not None, "a document with 'sigv4' has a credential"
        return SigningKey(
            access_key_id=id,
            secret=secret,
            session_token=token,
            region=document.region,
            service=document.service,
        )


def _with_field(head: RequestHead, target: str, field: tuple[str, str] | None) -> RequestHead:
    headers = head.headers
    if field is not None:
        headers = (*((name, value) for name, value in headers if name != field[0]), field)
    return RequestHead(method=head.method, target=target, headers=headers)


def _plain(inject: str, credential: str) -> Plain:
    kind, _, name = inject.partition(":")
    match kind:
        case "bearer":
            return Plain(header=("authorization", f"Bearer {_sendable(credential)}"), secrets=(credential,))
        case "basic":
            encoded = base64.b64encode(credential.encode()).decode()
            return Plain(header=("authorization", f"Basic {encoded}"), secrets=(credential,))
        case "header":
            return Plain(header=(name.lower(), _sendable(credential)), secrets=(credential,))
        case "query":
            # Not to be looked for: redirects repeat the query, and the gate takes the parameter out of them.
            return Plain(query=f"{name}={quote(credential, safe='')}")
        case _:
            raise UsageError(f"no way to inject: {kind}")


def _sendable(credential: str) -> str:
    if _VALUE.fullmatch(credential) is None:
        raise CredentialError("the credential holds characters that no header field can")
    return credential
