"""The untyped packets a connection opens with, and the answers to them.

A start-up packet has no type byte: a four-byte length that counts itself, then a four-byte code (a protocol
version, or one of the request codes), then what the code asks for.

Source: PostgreSQL 18 manual, "Message Formats" and "Protocol Flow, Start-up".
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from weirgate_wire.postgres.error import PeerError, UsageError
from weirgate_wire.postgres.frame import frame
from weirgate_wire.postgres.reader import Reader

STARTUP_LIMIT_BYTES = 10_000
"""Longest start-up packet. Source: ``MAX_STARTUP_PACKET_LENGTH`` of PostgreSQL."""
PROTOCOL_3_0 = 0x0003_0000
PROTOCOL_3_2 = 0x0003_0002
CANCEL_CODE = 0x04D2_162E
SSL_CODE = 0x04D2_162F
GSSENC_CODE = 0x04D2_1630
CANCEL_SECRET_LIMIT_BYTES = 256
"""Longest cancel secret of protocol 3.2; 3.0 always has 4."""
ALPN = "postgresql"
"""Protocol name of direct TLS. Source: PostgreSQL manual, "SSL Session Encryption"."""

_HEAD = struct.Struct(">II")


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupMessage:
    """Open a session. ``parameters`` keeps the order sent; ``_pq_.`` options stand among them."""

    version: int
    parameters: Mapping[str, str]

    def encode(self) -> bytes:
        """Return the whole packet."""
        parts: list[bytes] = []
        for name, value in self.parameters.items():
            if not name or "\0" in name or "\0" in value:
                raise UsageError("a start-up parameter with NUL, or without a name")
            parts.append(name.encode() + b"\0" + value.encode() + b"\0")
        return _packet(self.version, b"".join(parts) + b"\0")


@dataclass(frozen=True, slots=True)
class SslRequest:
    """May TLS start?"""

    def encode(self) -> bytes:
        """Return the whole packet."""
        return _packet(SSL_CODE, b"")


@dataclass(frozen=True, slots=True)
class GssEncRequest:
    """May GSSAPI encryption start?"""

    def encode(self) -> bytes:
        """Return the whole packet."""
        return _packet(GSSENC_CODE, b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequest:
    """Cancel what the session with this key does. The secret is 4 bytes, or up to 256 in protocol 3.2."""

    process_id: int
    secret: bytes

    def encode(self) -> bytes:
        """Return the whole packet."""
        return _packet(CANCEL_CODE, struct.pack(">I", self.process_id) + self.secret)

    def __repr__(self) -> str:
        return f"CancelRequest(process_id={self.process_id})"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsupportedVersion:
    """A protocol version other than 3.x."""

    version: int

    @property
    def dotted(self) -> str:
        """The version as people write it."""
        return f"{self.version >> 16}.{self.version & 0xFFFF}"


StartupPacket = StartupMessage | SslRequest | GssEncRequest | CancelRequest | UnsupportedVersion


def split_startup(
    buffer: bytes, *, limit_bytes: int = STARTUP_LIMIT_BYTES
) -> tuple[StartupPacket, int] | None:
    """Read one start-up packet from the start of ``buffer``.

    Returns:
        The packet and how many bytes it took, or ``None`` until there is more.

    Raises:
        PeerError: its length is not possible or over the limit, or it cannot be read. A length is judged as
        soon as
            its four bytes are there.
    """
    if len(buffer) < 4:
        return None
    size = int.from_bytes(buffer[:4], "big")
    if not 8 <= size <= limit_bytes:
        raise PeerError(f"a start-up packet of {size} bytes")
    if len(buffer) < size:
        return None
    code = int.from_bytes(buffer[4:8], "big")
    return _decode(code, bytes(buffer[8:size])), size


def _decode(code: int, body: bytes) -> StartupPacket:
    if code in (SSL_CODE, GSSENC_CODE):
        if body:
            raise PeerError("an encryption request with a body")
        return SslRequest() if code == SSL_CODE else GssEncRequest()
    if code == CANCEL_CODE:
        if not 8 <= len(body) <= 4 + CANCEL_SECRET_LIMIT_BYTES:
            raise PeerError("a cancel request with a secret of impossible length")
        return CancelRequest(process_id=int.from_bytes(body[:4], "big"), secret=body[4:])
    if code >> 16 != 3:
        return UnsupportedVersion(version=code)
    reader = Reader(body)
    parameters: dict[str, str] = {}
    while name := reader.text():
        if name in parameters:
            raise PeerError("a start-up parameter stands twice")
        parameters[name] = reader.text()
    reader.end()
    return StartupMessage(version=code, parameters=parameters)


def _packet(code: int, body: bytes) -> bytes:
    return _HEAD.pack(len(body) + 8, code) + body


def negotiate_protocol_version(newest: int, options: Iterable[str]) -> bytes:
    """Return a NegotiateProtocolVersion message: the newest version we speak, the ``_pq_.`` options we do
    not know."""
    names = list(options)
    return frame(
        b"v", struct.pack(">II", newest, len(names)) + b"".join(name.encode() + b"\0" for name in names)
    )
