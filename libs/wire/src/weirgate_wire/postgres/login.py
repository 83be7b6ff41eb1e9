"""Log in to an upstream: the start-up message to the first ReadyForQuery. Pure: no clock, no randomness, no
socket.

======================  ============================================  =====================================
after                   the upstream sends                            we
======================  ============================================  =====================================
``start()``             NegotiateProtocolVersion                      take the lower version
                        AuthenticationOk                              wait for ReadyForQuery
                        …CleartextPassword, …MD5Password              send the password, wait for Ok
                        …SASL                                         send client-first
client-first            …SASLContinue                                 send client-final
client-final            …SASLFinal                                    verify, wait for Ok
Ok                      ParameterStatus, BackendKeyData, notices      remember
                        ReadyForQuery                                 ``LoggedIn``
anywhere                ErrorResponse                                 ``LoginFailed``
======================  ============================================  =====================================

Invariants: after SCRAM began, Ok without a verified server signature is refused (else whoever poses as the
upstream skips the proof); a second authentication request is refused; with ``channel_binding=require``
nothing but SCRAM-SHA-256-PLUS gets an answer; no password is in a ``repr`` or an exception.

Source: PostgreSQL manual, "Message Flow", "SASL Authentication"; libpq ``fe-auth.c``.
"""

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from weirgate_wire.postgres.error import PeerError, UsageError, decode_fields
from weirgate_wire.postgres.frame import frame
from weirgate_wire.postgres.scram import MECHANISM, MECHANISM_PLUS, ScramClient
from weirgate_wire.postgres.startup import StartupMessage

Method = Literal["none", "password", "md5", "scram-sha-256"]
ALL_METHODS: frozenset[Method] = frozenset(("none", "password", "md5", "scram-sha-256"))

VERSION_MAJOR = 3
MESSAGE_LIMIT_BYTES = 64 * 1024
"""Longest message during login; PostgreSQL's own are below 2 KiB, libpq stops at 30,000 bytes (errors
excepted)."""
PARAMETERS_LIMIT = 256
"""Most ParameterStatus values kept; PostgreSQL 18 sends 15."""
SECRET_LIMIT_BYTES = 256
"""Longest cancel key of protocol 3.2."""

_INT = struct.Struct(">I")
_AUTH_OK, _AUTH_CLEARTEXT, _AUTH_MD5, _AUTH_SASL, _AUTH_SASL_CONTINUE, _AUTH_SASL_FINAL = 0, 3, 5, 10, 11, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginTerms:
    """What we log in with, and what we insist on."""

    user: str
    database: str
    password: str | None = field(default=None, repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    """More start-up parameters. ``user``, ``database``, ``replication`` and ``_pq_.*`` are dropped."""
    minor: int = 0
    """Protocol 3.minor to ask for."""
    nonce: str = field(repr=False)
    """For SCRAM: see ``ScramClient``."""
    binding: bytes | None = None
    """``tls-server-end-point`` of the upstream's certificate; ``None`` without TLS or where it has none."""
    binding_mode: Literal["disable", "prefer", "require"] = "prefer"
    methods: frozenset[Method] = ALL_METHODS
    """Methods we accept, as libpq's ``require_auth``."""
    cleartext_allowed: bool = False
    """Whether a password may go as it is: under TLS, on loopback, or where the resource asks for it by
    name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamReady:
    """Logged in and idle."""

    parameters: Mapping[str, str]
    process_id: int
    secret: bytes = field(repr=False)
    minor: int
    rest: bytes
    """What came after ReadyForQuery: it belongs to the session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginFailed:
    """The upstream did not let us in."""

    sqlstate: str
    message: str
    """As the upstream says it: for operators, not for agents."""
    early: bool
    """Before it asked for anything: it may let us in another way (with or without TLS, an older version)."""


class UpstreamLogin:
    """One login. Call ``start`` once, then ``feed`` until ``outcome`` is set."""

    def __init__(self, terms: LoginTerms) -> None:
        self._terms = terms
        self._buffer = bytearray()
        self._scram: ScramClient | None = None
        self._state: Literal["new", "asked", "password", "scram-first", "scram-final", "verified", "ok"] = (
            "new"
        )
        self._parameters: dict[str, str] = {}
        self._process_id = 0
        self._secret = b""
        self._minor = terms.minor
        self.outcome: UpstreamReady | LoginFailed | None = None

    @property
    def slow(self) -> bool:
        """Whether the next ``feed`` may run PBKDF2, milliseconds and up."""
        return self._state == "scram-first"

    def start(self) -> bytes:
        """Return the start-up message."""
        if self._state != "new":
            raise UsageError("a login starts once")
        self._state = "asked"
        return encode_startup(self._terms)

    def feed(self, data: bytes) -> bytes:
        """Take what the upstream sent, cut anywhere; return what to send.

        Raises:
            PeerError: it broke the protocol, or asks for what we do not give.
        """
        if self._state == "new" or self.outcome is not None:
            raise UsageError("fed before the start or after the outcome")
        self._buffer += data
        out = b""
        while self.outcome is None:
            if len(self._buffer) < 5:
                break
            length = _INT.unpack_from(self._buffer, 1)[0]
            if not 4 <= length <= MESSAGE_LIMIT_BYTES:
                raise PeerError("login: a message has no sensible length")
            if len(self._buffer) < length + 1:
                break
            kind = self._buffer[0]
            body = bytes(self._buffer[5 : length + 1])
            del self._buffer[: length + 1]
            out += self._message(kind, body)
        return out

    def _message(self, kind: int, body: bytes) -> bytes:
        match kind:
            case 0x52:  # R
                return self._authentication(body)
            case 0x45:  # E
                fields = decode_fields(body)
                self.outcome = LoginFailed(
                    sqlstate=fields.get("C", ""), message=fields.get("M", ""), early=self._state == "asked"
                )
            case 0x4E:  # N
                decode_fields(body)
            case 0x76:  # v
                self._negotiate(body)
            case 0x53 if self._state == "ok":  # S
                name, value = _strings(body, 2)
                if len(self._parameters) >= PARAMETERS_LIMIT:
                    raise PeerError("login: too many parameters")
                self._parameters[name] = value
            case 0x4B if self._state == "ok":  # K
                if not 8 <= len(body) <= 4 + SECRET_LIMIT_BYTES:
                    raise PeerError("login: BackendKeyData has no sensible length")
                self._process_id = _INT.unpack_from(body)[0]
                self._secret = body[4:]
            case 0x5A if self._state == "ok":  # Z
                if body != b"I":
                    raise PeerError("login: not idle after login")
                self.outcome = UpstreamReady(
                    parameters=self._parameters,
                    process_id=self._process_id,
                    secret=self._secret,
                    minor=self._minor,
                    rest=bytes(self._buffer),
                )
            case _:
                raise PeerError(f"login: unexpected message 0x{kind:02x}")
        return b""

    def _negotiate(self, body: bytes) -> None:
        if self._state != "asked" or len(body) < 8:
            raise PeerError("login: unexpected NegotiateProtocolVersion")
        newest = _INT.unpack_from(body)[0]
        # PostgreSQL sends the minor alone up to 17 and the whole version from 18 on.
        major, minor = (newest >> 16) or VERSION_MAJOR, newest & 0xFFFF
        if major != VERSION_MAJOR or minor >= self._minor:
            raise PeerError("login: NegotiateProtocolVersion offers no older version")
        self._minor = minor

    def _authentication(self, body: bytes) -> bytes:
        if len(body) < 4:
            raise PeerError("login: an authentication request is cut short")
        code = _INT.unpack_from(body)[0]
        rest = body[4:]
        if code == _AUTH_OK:
            return self._ok()
        if code == _AUTH_SASL_CONTINUE and self._state == "scram-first" and self._scram is not None:
            self._state = "scram-final"
            return _password(self._scram.final(rest))
        if code == _AUTH_SASL_FINAL and self._state == "scram-final" and self._scram is not None:
            self._scram.verify(rest)
            self._state = "verified"
            return b""
        if self._state != "asked":
            raise PeerError("login: the upstream asks twice")
        if code == _AUTH_SASL:
            return self._sasl(rest)
        if self._terms.binding_mode == "require":
            raise PeerError("login: channel binding is required and the upstream asks for another method")
        if code == _AUTH_CLEARTEXT:
            return self._cleartext()
        if code == _AUTH_MD5:
            return self._md5(rest)
        raise PeerError(f"login: authentication method {code} is not one of ours")

    def _ok(self) -> bytes:
        if self._state == "asked":
            self._insist("none")
            if self._terms.binding_mode == "require":
                raise PeerError("login: channel binding is required and the upstream asks for nothing")
        elif self._state not in ("password", "verified"):
            raise PeerError("login: let in before the exchange was complete")
        self._state = "ok"
        return b""

    def _sasl(self, rest: bytes) -> bytes:
        self._insist("scram-sha-256")
        if not rest.endswith(b"\0\0"):
            raise PeerError("login: the list of mechanisms is malformed")
        offered = rest[:-2].split(b"\0")
        terms = self._terms
        may_bind = terms.binding is not None and terms.binding_mode != "disable"
        plus = MECHANISM_PLUS.encode() in offered
        if terms.binding_mode == "require" and not (plus and may_bind):
            raise PeerError("login: channel binding is required and not possible here")
        if plus and may_bind:
            self._scram = ScramClient(self._need_password(), nonce=terms.nonce, binding=terms.binding)
        elif MECHANISM.encode() in offered:
            self._scram = ScramClient(self._need_password(), nonce=terms.nonce, binding_possible=may_bind)
        else:
            raise PeerError("login: none of the offered SASL mechanisms is ours")
        self._state = "scram-first"
        first = self._scram.first()
        return _password(self._scram.mechanism.encode() + b"\0" + _INT.pack(len(first)) + first)

    def _cleartext(self) -> bytes:
        self._insist("password")
        if not self._terms.cleartext_allowed:
            raise PeerError(
                "login: the upstream asks for the password in clear over an open line; use sslmode=require, "
                "or allow it with require_auth=password"
            )
        self._state = "password"
        return _password(self._need_password().encode() + b"\0")

    def _md5(self, rest: bytes) -> bytes:
        self._insist("md5")
        if len(rest) != 4:
            raise PeerError("login: the MD5 salt is not 4 bytes")
        inner = hashlib.md5(
            self._need_password().encode() + self._terms.user.encode(), usedforsecurity=False
        ).hexdigest()
        outer = hashlib.md5(inner.encode() + rest, usedforsecurity=False).hexdigest()
        self._state = "password"
        return _password(b"md5" + outer.encode() + b"\0")

    def _insist(self, method: Method) -> None:
        if method not in self._terms.methods:
            raise PeerError(f"login: the upstream asks for method {method!r}, which require_auth excludes")

    def _need_password(self) -> str:
        password = self._terms.password
        if not password:
            raise PeerError("login: the upstream asks for a password and the resource names no credential")
        return password


def encode_startup(terms: LoginTerms) -> bytes:
    """Return the StartupMessage.

    Raises:
        UsageError: a name or value holds NUL.
    """
    pairs = {"user": terms.user, "database": terms.database}
    for name, value in terms.parameters.items():
        lower = name.lower()
        # Replication is another protocol that no judge reads; we drop every spelling of it.
        if lower not in ("user", "database", "replication") and not lower.startswith("_pq_."):
            pairs[name] = value
    return StartupMessage(version=VERSION_MAJOR << 16 | terms.minor, parameters=pairs).encode()


def _password(body: bytes) -> bytes:
    return frame(b"p", body)


def _strings(body: bytes, count: int) -> list[str]:
    parts = body.split(b"\0")
    if len(parts) != count + 1 or parts[-1]:
        raise PeerError("login: strings are malformed")
    return [part.decode("utf-8", "replace") for part in parts[:-1]]
