"""WebSocket, strictly: bytes to messages and back, without extensions.

A reader is a machine of two states:

===========  ==========================================================  ==================================
state        takes                                                       next
===========  ==========================================================  ==================================
header       2 to 14 bytes: FIN, opcode, mask bit, length, masking key   payload; header where it is empty
payload      as many bytes as announced, unmasked                        header; over, after a Close
===========  ==========================================================  ==================================

A message is handed out in parts, as it comes: how it was cut into frames means nothing where no extension is spoken
(section 5.4), so it is not told. Control frames are handed out whole, also between the parts of a message.

Invariants: the parts of a message, joined, are the message, wherever the stream is cut and however it is
fragmented; of a message that breaks a rule no last part is handed out; nothing is read after a Close.

Refused: reserved bits and opcodes, a frame masked or not against its sender's role, a length that is not written in
its shortest form, a control frame over 125 bytes or in fragments, a continuation of nothing, a message within a
message, text that is not UTF-8 (code points may be split over frames), close codes that must not be sent.

Source: RFC 6455 sections 5 and 7.4; the IANA registry of WebSocket close codes.
"""

import base64
import binascii
import codecs
import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from weirgate_wire.error import PeerError, UsageError

CONTROL_LIMIT_BYTES = 125
"""Payload of a control frame. Source: RFC 6455 section 5.5."""
REASON_LIMIT_BYTES = 123
"""Text of a Close, after its code."""
MESSAGE_LIMIT_BYTES = 1024 * 1024
"""Longest message that is read whole. ``websockets`` and aiohttp say 1 and 4 MiB; ``ws`` of
Node.js: 100 MiB; gorilla/websocket and nginx: none."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CODES = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015)))
_OWN_CODES = range(3000, 5000)
_LENGTH_16, _LENGTH_64 = 126, 127


class Opcode(IntEnum):
    """What a frame is. Source: RFC 6455 section 5.2."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class CloseCode(IntEnum):
    """Those a gateway gives. Source: RFC 6455 section 7.4.1; IANA."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED = 1003
    INVALID = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL = 1011
    TRY_AGAIN = 1013
    BAD_GATEWAY = 1014


class WebSocketError(PeerError):
    """A peer broke the protocol; ``code`` is what it is to be closed with."""

    def __init__(self, reason: str, code: CloseCode = CloseCode.PROTOCOL_ERROR) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some of a message, unmasked. Empty only where the message ends without more."""

    text: bool
    """A text message; else a binary one."""
    data: bytes = field(repr=False)
    first: bool
    last: bool


@dataclass(frozen=True, slots=True)
class Ping:
    """To be answered with a Pong of the same payload."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pong:
    """Answers a Ping, or none."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Close:
    """The last frame of a direction."""

    code: int | None = None
    """``None``: it gives none, and no reason."""
    reason: str = field(default="", repr=False)

    def payload(self) -> bytes:
        """Return it as the payload of a frame.

        Raises:
            UsageError: a code that must not be sent, or a reason without one or over its limit.
        """
        reason = self.reason.encode()
        if self.code is None:
            if reason:
                raise UsageError("a reason without a close code")
            return b""
        if not _may_be_sent(self.code):
            raise UsageError("a close code that must not be sent")
        if len(reason) > REASON_LIMIT_BYTES:
            raise UsageError("a close reason over its limit")
        return struct.pack("!H", self.code) + reason


Event = Part | Ping | Pong | Close


class MessageReader:
    """Read one direction of a stream, cut anywhere.

    Args:
        masked: the sender masks its frames, as an agent must and an upstream must not.
        limit_bytes: longest message; ``None``: any, since it is handed out as it comes.
    """

    __slots__ = (
        "_at",
        "_control",
        "_decoder",
        "_final",
        "_first",
        "_header",
        "_key",
        "_left",
        "_limit_bytes",
        "_mask",
        "_message",
        "_opcode",
        "_open",
        "over",
    )  # fmt: skip

    def __init__(self, *, masked: bool, limit_bytes: int | None = None) -> None:
        self.over = False
        """A Close was read: what follows is not looked at."""
        self._mask = masked
        self._limit_bytes = limit_bytes
        self._header = bytearray()
        self._open = False
        """Within the payload of a frame."""
        self._opcode = Opcode.CONTINUATION
        self._final = False
        self._left = 0
        self._key = b""
        self._at = 0
        self._control = bytearray()
        self._message: Opcode | None = None
        """What kind of message is being read."""
        self._first = True
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take bytes of the stream, and give what is in them. To be taken to its end.

        Raises:
            WebSocketError: malformed, at the place where it is: what comes before is given.
        """
        at = 0
        while at < len(data) and not self.over:
            if not self._open:
                at = self._take_header(data, at)
                if not self._open or (self._left and at == len(data)):
                    continue
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            yield from self._take(self._unmasked(piece))

    # ------------------------------------------------------------ header

    def _take_header(self, data: bytes, at: int) -> int:
        """Take bytes of a header; ``_open`` once it is whole."""
        header = self._header
        while True:
            wanted = self._size(header) - len(header)
            if not wanted:
                break
            some = data[at : at + wanted]
            if not some:
                return at
            header += some
            at += len(some)
            if len(header) == 2:
                self._check(header)
        self._begin(header)
        header.clear()
        return at

    @staticmethod
    def _size(header: bytearray) -> int:
        if len(header) < 2:
            return 2
        length = header[1] & 0x7F
        more = 2 if length == _LENGTH_16 else 8 if length == _LENGTH_64 else 0
        return 2 + more + (4 if header[1] & 0x80 else 0)

    def _check(self, header: bytearray) -> None:
        """Refuse by its first two bytes what can be."""
        if header[0] & 0x70:
            raise WebSocketError("a reserved bit is set, and no extension was agreed upon")
        try:
            opcode = Opcode(header[0] & 0x0F)
        except ValueError:
            raise WebSocketError("a reserved opcode") from None
        if bool(header[1] & 0x80) is not self._mask:
            raise WebSocketError("a frame that is not masked" if self._mask else "a masked frame")
        final = bool(header[0] & 0x80)
        if opcode >= Opcode.CLOSE:
            if not final:
                raise WebSocketError("a control frame in fragments")
            if header[1] & 0x7F > CONTROL_LIMIT_BYTES:
                raise WebSocketError("a control frame over 125 bytes")
        elif opcode is Opcode.CONTINUATION:
            if self._message is None:
                raise WebSocketError("a continuation of no message")
        elif self._message is not None:
            raise WebSocketError("a message within a message")
        self._opcode, self._final = opcode, final

    def _begin(self, header: bytearray) -> None:
        length, at = header[1] & 0x7F, 2
        if length == _LENGTH_16:
            (length,), at = struct.unpack_from("!H", header, 2), 4
            shortest = length >= _LENGTH_16
        elif length == _LENGTH_64:
            (length,), at = struct.unpack_from("!Q", header, 2), 10
            shortest = length >= 1 << 16
        else:
            shortest = True
        if not shortest or length >> 63:
            raise WebSocketError("a length that is not in its shortest form, or over 63 bits")
        if self._opcode in (Opcode.TEXT, Opcode.BINARY):
            self._message, self._first, self._at = self._opcode, True, 0
            self._decoder.reset()
        if self._opcode < Opcode.CLOSE:
            self._at += length
            if self._limit_bytes is not None and self._at > self._limit_bytes:
                raise WebSocketError(f"a message over {self._limit_bytes} bytes", CloseCode.TOO_BIG)
        self._key = bytes(header[at:])
        self._left, self._open = length, True

    # ------------------------------------------------------------ payload

    def _unmasked(self, piece: bytes) -> bytes:
        if not self._key or not piece:
            return piece
        shown = mask(piece, self._key)
        turn = len(piece) % 4
        self._key = self._key[turn:] + self._key[:turn]
        return shown

    def _take(self, piece: bytes) -> Iterator[Event]:
        over = not self._left
        self._open = not over
        if self._opcode >= Opcode.CLOSE:
            self._control += piece
            if over:
                whole = bytes(self._control)
                self._control.clear()
                yield self._controlled(whole)
            return
        last = over and self._final
        text = self._message is Opcode.TEXT
        if text:
            try:
                self._decoder.decode(piece, last)
            except UnicodeDecodeError:
                raise WebSocketError("text that is not UTF-8", CloseCode.INVALID) from None
        if piece or last:
            first, self._first = self._first, False
            yield Part(text=text, data=piece, first=first, last=last)
        if last:
            self._message = None

    def _controlled(self, payload: bytes) -> Event:
        if self._opcode is Opcode.PING:
            return Ping(payload)
        if self._opcode is Opcode.PONG:
            return Pong(payload)
        self.over = True
        if not payload:
            return Close()
        if len(payload) == 1:
            raise WebSocketError("half a close code")
        (code,) = struct.unpack_from("!H", payload)
        if not _may_be_sent(code):
            raise WebSocketError("a close code that must not be sent")
        try:
            return Close(code, payload[2:].decode())
        except UnicodeDecodeError:
            raise WebSocketError("a close reason that is not UTF-8", CloseCode.INVALID) from None


def mask(data: bytes, key: bytes) -> bytes:
    """Mask or unmask: each byte by the byte of the key at its place, the key repeated.

    Args:
        data: any bytes; its first goes with the first of the key.
        key: four bytes.
    """
    size = len(data)
    # One exclusive or of two long numbers: some hundred times as fast as byte by byte.
    repeated = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")).to_bytes(size, "little")


def encode_frame(opcode: Opcode, payload: bytes, *, final: bool = True, key: bytes | None = None) -> bytes:
    """Return a frame.

    Args:
        opcode: what it is.
        payload: unmasked.
        final: the last of its message.
        key: masking key of four bytes, which nobody can foresee; ``None``: not masked.

    Raises:
        UsageError: a control frame in fragments or over its limit, or a key that is none.
    """
    size = len(payload)
    if opcode >= Opcode.CLOSE and (not final or size > CONTROL_LIMIT_BYTES):
        raise UsageError("a control frame in fragments or over its limit")
    if key is not None and len(key) != 4:
        raise UsageError("a masking key has four bytes")
    first = opcode | (0x80 if final else 0)
    masked = 0 if key is None else 0x80
    if size < _LENGTH_16:
        header = struct.pack("!BB", first, masked | size)
    elif size < 1 << 16:
        header = struct.pack("!BBH", first, masked | _LENGTH_16, size)
    else:
        header = struct.pack("!BBQ", first, masked | _LENGTH_64, size)
    return header + payload if key is None else header + key + mask(payload, key)


def encode_part(part: Part, *, key: bytes | None = None) -> bytes:
    """Return a part of a message as a frame of its own; see :func:`encode_frame`."""
    opcode = (Opcode.TEXT if part.text else Opcode.BINARY) if part.first else Opcode.CONTINUATION
    return encode_frame(opcode, part.data, final=part.last, key=key)


def shortened(reason: str) -> str:
    """Return as much of a text as fits into a Close, cut between characters."""
    return reason.encode("utf-8", "replace")[:REASON_LIMIT_BYTES].decode("utf-8", "ignore")


def is_key(value: str) -> bool:
    """Whether a text is a ``Sec-WebSocket-Key``: 16 bytes in base 64. Source: RFC 6455 section 4.1."""
    try:
        return len(value) == 24 and len(base64.b64decode(value, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def accept_of(key: str) -> str:
    """Return the ``Sec-WebSocket-Accept`` that answers a key. Source: RFC 6455 section 4.2.2."""
    # SHA-1 is what the protocol says; it proves that the peer has read the key, and protects nothing.
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def _may_be_sent(code: int) -> bool:
    return code in _CODES or code in _OWN_CODES
