"""Dial an upstream and log in to it. The only module that opens a connection to one, and only with an
``Admission``.

::

    connect ─▶ [TLS at once | SSLRequest ─▶ 'S' ─▶ TLS | 'N' ─▶ open line, where sslmode allows]
            ─▶ login (weirgate_wire.postgres.login) ─▶ Upstream

Invariants: the credential is read for one dial and is in no attribute, log or exception; after SSLRequest
exactly one byte is taken in clear (CVE-2021-23222: bytes injected before TLS would count as protected);
``require`` and stronger never speak on an open line; no upstream message reaches the agent from here.
"""

import asyncio
import base64
import contextlib
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from weirgate_chassis import log
from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.address import AddressError, UpstreamAddress, read_address
from weirgate_ingress.credential import CredentialError, Credentials
from weirgate_ingress.socket import tune
from weirgate_ingress.token import Admission
from weirgate_wire.postgres.error import PeerError, UsageError
from weirgate_wire.postgres.login import LoginFailed, LoginTerms, UpstreamLogin, UpstreamReady
from weirgate_wire.postgres.startup import ALPN, CancelRequest, SslRequest

CANCEL_DEADLINE_S: Final = 5.0
_LOGIN_BUFFER_LIMIT_BYTES: Final = 256 * 1024
_RETRY = "Try again later; an operator can see why in the log of the gateway."


class DialError(Exception):
    """The upstream is not to be had: ``refusal`` is for the agent, the text for operators."""

    def __init__(self, refusal: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.refusal = refusal


class Sink(Protocol):
    """Who takes what the upstream sends once it is dialled."""

    def upstream_sent(self, data: bytes) -> None: ...
    def upstream_lost(self) -> None: ...
    def upstream_full(self) -> None: ...
    def upstream_drained(self) -> None: ...


class Link(asyncio.Protocol):
    """The socket to an upstream: read by the dialler until login is over, by the session from then on."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._sink: Sink | None = None
        self._early = bytearray()
        self._lost = False
        self._full = False
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods and not the base class.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink.upstream_sent(data)
            return
        self._early += data
        if len(self._early) > _LOGIN_BUFFER_LIMIT_BYTES and self.transport is not None:
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._sink is not None:
            self._sink.upstream_lost()
        self._wake()

    def pause_writing(self) -> None:
        self._full = True
        if self._sink is not None:
            self._sink.upstream_full()

    def resume_writing(self) -> None:
        self._full = False
        if self._sink is not None:
            self._sink.upstream_drained()

    async def read(self) -> bytes:
        """Return what has come in, at least one byte.

        Raises:
            ConnectionError: it was closed.
        """
        while not self._early:
            if self._lost:
                raise ConnectionResetError("closed during login")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = bytes(self._early)
        self._early.clear()
        if self.transport is not None:
            self.transport.resume_reading()
        return data

    def attach(self, sink: Sink, rest: bytes) -> None:
        """Hand the link over to a session; ``rest`` and what came meanwhile is delivered first."""
        early = rest + bytes(self._early)
        self._early.clear()
        self._sink = sink
        if early:
            sink.upstream_sent(early)
        if self._full:
            sink.upstream_full()
        if self._lost:
            sink.upstream_lost()

    def detach(self) -> None:
        """Hear nothing more of it, and close it at once."""
        self._sink = None
        if self.transport is not None:
            self.transport.abort()

    @property
    def early_bytes(self) -> int:
        """Bytes that have come in and were not read."""
        return len(self._early)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A connection that is logged in and idle."""

    link: Link
    transport: asyncio.Transport
    parameters: Mapping[str, str]
    minor: int
    rest: bytes = field(repr=False)
    tls: bool
    address: UpstreamAddress
    process_id: int
    secret: bytes = field(repr=False)

    def attach(self, sink: Sink) -> None:
        """Deliver to a session from now on."""
        self.link.attach(sink, self.rest)

    async def cancel(self) -> None:
        """Ask the upstream to cancel what it does, on a new connection, with TLS where this one has it."""
        if not self.secret:
            return
        try:
            async with asyncio.timeout(CANCEL_DEADLINE_S):
                link, transport = await _open(self.address, tls=self.tls)
                try:
                    transport.write(CancelRequest(process_id=self.process_id, secret=self.secret).encode())
                    # The upstream closes once it has signalled; closing first could lose the request.
                    with contextlib.suppress(ConnectionError):
                        await link.read()
                finally:
                    transport.abort()
        except (OSError, TimeoutError, PeerError, _NoTls) as error:
            log.warning("cancel not delivered to the upstream", reason=type(error).__name__)


class Upstreams:
    """Dials registered upstreams.

    Args:
        environment: where ``env:`` credentials are read.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._credentials = Credentials(environment)

    async def dial(self, admission: Admission, *, parameters: Mapping[str, str], minor: int = 0) -> Upstream:
        """Connect and log in to the resource an agent was admitted to.

        Args:
            admission: proof that the agent may.
            parameters: start-up parameters beside user and database.
            minor: protocol 3.minor to ask for; an upstream that knows none but 3.0 gets that.

        Raises:
            DialError: with ``upstream_unavailable``.
        """
        resource = admission.resource
        try:
            address = read_address(resource)
            password = self._credentials.read(resource)
        except AddressError as error:
            raise unavailable(resource, f"address: {error}") from error
        except CredentialError as error:
            raise unavailable(resource, str(error)) from error
        if address.application is not None:
            parameters = {"application_name": address.application, **parameters}
        try:
            async with asyncio.timeout(address.connect_timeout_s):
                return await _dial(address, password, parameters, minor)
        except TimeoutError as error:
            raise unavailable(resource, "no answer in time") from error
        except _Refused as error:
            raise unavailable(resource, f"login refused with {error.failed.sqlstate}") from error
        except _NoTls as error:
            raise unavailable(resource, f"TLS: {error}") from error
        except (PeerError, UsageError) as error:
            raise unavailable(resource, str(error)) from error
        except OSError as error:
            raise unavailable(resource, f"{type(error).__name__}: {error.strerror or error}") from error


class _NoTls(Exception):
    """TLS cannot be had as asked for."""


class _Refused(Exception):
    """The upstream answered the login with an ErrorResponse."""

    def __init__(self, failed: LoginFailed) -> None:
        super().__init__(failed.sqlstate)
        self.failed = failed


async def _dial(
    address: UpstreamAddress, password: str | None, parameters: Mapping[str, str], minor: int
) -> Upstream:
    """Follow libpq's order of attempts; a failure after the upstream has asked for a password ends them."""
    first, second = _attempts(address)
    try:
        return await _with_version(address, password, parameters, minor, tls=first)
    except (_NoTls, ssl.SSLError):
        if second is None:
            raise
    except _Refused as error:
        if second is None or not error.failed.early:
            raise
    return await _with_version(address, password, parameters, minor, tls=second)


def _attempts(address: UpstreamAddress) -> tuple[bool, bool | None]:
    """Whether TLS is tried first, and then; ``None``: there is no second attempt."""
    match address.sslmode:
        case "disable":
            return False, None
        case "allow":
            return False, True
        case "prefer":
            return True, False
        case "require" | "verify-ca" | "verify-full":
            return True, None


async def _with_version(
    address: UpstreamAddress, password: str | None, parameters: Mapping[str, str], minor: int, *, tls: bool
) -> Upstream:
    try:
        return await _log_in(address, password, parameters, minor, tls=tls)
    except _Refused as error:
        # Poolers that predate 3.2 answer it with an error; NegotiateProtocolVersion needs no second dial.
        if not minor or not error.failed.early or error.failed.sqlstate not in ("0A000", "08P01", ""):
            raise
    return await _log_in(address, password, parameters, 0, tls=tls)


async def _log_in(
    address: UpstreamAddress, password: str | None, parameters: Mapping[str, str], minor: int, *, tls: bool
) -> Upstream:
    link, transport = await _open(address, tls=tls)
    try:
        login = UpstreamLogin(
            LoginTerms(
                user=address.user,
                database=address.database,
                password=password,
                parameters=parameters,
                minor=minor,
                nonce=base64.b64encode(os.urandom(18)).decode(),
                binding=end_point(transport) if tls else None,
                binding_mode=address.binding_mode,
                methods=address.methods,
                cleartext_allowed=tls or address.loopback or address.cleartext_asked,
            )
        )
        transport.write(login.start())
        while login.outcome is None:
            data = await link.read()
            # PBKDF2 takes milliseconds, and as many as the upstream says: not on the loop all sessions share.
            out = await asyncio.to_thread(login.feed, data) if login.slow else login.feed(data)
            if out:
                transport.write(out)
        if isinstance(login.outcome, LoginFailed):
            raise _Refused(login.outcome)
        return _ready(login.outcome, link, transport, address, tls=tls)
    except BaseException:
        transport.abort()
        raise


def _ready(
    outcome: UpstreamReady, link: Link, transport: asyncio.Transport, address: UpstreamAddress, *, tls: bool
) -> Upstream:
    return Upstream(
        link=link,
        transport=transport,
        parameters=outcome.parameters,
        minor=outcome.minor,
        rest=outcome.rest,
        tls=tls,
        address=address,
        process_id=outcome.process_id,
        secret=outcome.secret,
    )


async def _open(address: UpstreamAddress, *, tls: bool) -> tuple[Link, asyncio.Transport]:
    loop = asyncio.get_running_loop()
    transport, link = await loop.create_connection(Link, address.host, address.port)
    tune(transport)
    if not tls:
        return link, transport
    try:
        context = _CONTEXTS.get(address)
        if not address.direct:
            transport.write(SslRequest().encode())
            answer = await link.read()
            if answer != b"S":
                raise _NoTls(
                    "the upstream offers none" if answer in (b"N", b"E") else "an answer of several bytes"
                )
        if link.early_bytes:
            raise _NoTls("bytes in clear before TLS")
        secured = await loop.start_tls(transport, link, context, server_hostname=address.host)
        if secured is None:
            raise _NoTls("the connection was lost")
        link.transport = secured
        if address.direct:
            chosen = secured.get_extra_info("ssl_object").selected_alpn_protocol()
            if chosen != ALPN:
                secured.abort()
                raise _NoTls("the upstream does not speak ALPN postgresql")
        return link, secured
    except BaseException:
        transport.abort()
        raise


def end_point(transport: asyncio.Transport) -> bytes | None:
    """Return ``tls-server-end-point`` of the peer's certificate; ``None`` where its signature has no hash.

    Source: RFC 5929, section 4.1: the hash of the certificate's signature, SHA-256 in place of MD5 and SHA-1.
    """
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    der = tls.getpeercert(binary_form=True) if tls is not None else None
    if not der:
        return None
    try:
        algorithm = x509.load_der_x509_certificate(der).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return None
    if algorithm is None:
        return None
    digest = hashes.Hash(hashes.SHA256() if algorithm.name in ("md5", "sha1") else algorithm)
    digest.update(der)
    return digest.finalize()


class _Contexts:
    """TLS contexts by address; reading a trust store costs up to 30 ms. Read again when a file changes."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], ssl.SSLContext] = {}

    def get(self, address: UpstreamAddress) -> ssl.SSLContext:
        files = (address.sslrootcert, address.sslcert, address.sslkey)
        stamps = tuple(path.stat().st_mtime_ns for path in files if isinstance(path, Path))
        key = (address.sslmode, *files, stamps)
        context = self._known.get(key)
        if context is None:
            if len(self._known) > 256:
                self._known.clear()
            context = self._known[key] = _context(address)
        return context


_CONTEXTS: Final = _Contexts()


def _context(address: UpstreamAddress) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN])
    context.check_hostname = address.sslmode == "verify-full"
    # As libpq: ``require`` with a root certificate is ``verify-ca``.
    verifies = address.sslmode in ("verify-ca", "verify-full") or (
        address.sslmode == "require" and address.sslrootcert is not None
    )
    context.verify_mode = ssl.CERT_REQUIRED if verifies else ssl.CERT_NONE
    if verifies:
        if isinstance(address.sslrootcert, Path):
            context.load_verify_locations(address.sslrootcert)
        else:
            context.load_default_certs()
    if address.sslcert is not None:
        context.load_cert_chain(address.sslcert, address.sslkey, password=_no_passphrase)
    return context


def _no_passphrase() -> str:
    # Without this OpenSSL asks on the terminal and the loop stands still.
    return ""


def unavailable(resource: ResourceDocument, detail: str) -> DialError:
    """Return what a dial that failed raises: the agent is told no more than that, operators the detail."""
    return DialError(
        Refusal(
            code=RefusalCode.UPSTREAM_UNAVAILABLE,
            reason=f"The upstream of resource {resource.name!r} is away or does not let the gateway in.",
            hint=_RETRY,
        ),
        detail,
    )
