"""Where a body ends, and the body itself.

How a body is framed is decided once, from the head, with no precedence among contradictions: two announcements
are refused, also where they agree. Chunks are read strictly and written anew; their extensions are dropped.

A chunked body is a machine of four states:

=========  ====================================================  ===============
state      takes                                                 next
=========  ====================================================  ===============
``SIZE``   ``hex-digits [extensions] CRLF``                      DATA; LAST at 0
``DATA``   as many bytes as announced                            AFTER
``AFTER``  ``CRLF``                                              SIZE
``LAST``   an empty line, or field lines and an empty line       done
=========  ====================================================  ===============

Invariants: the pieces, joined, are the body, wherever the stream is cut; what follows the body is never part of a
piece; no more than one line is held back (in LAST: the trailers).

Source: RFC 9112 sections 6 and 7, RFC 9110 section 6.5.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from weirgate_wire.error import PeerError, UsageError
from weirgate_wire.http.field import STRAY, TCHAR, Headers, HeadTooLong, read_fields, write_fields
from weirgate_wire.http.head import Head, RequestHead, ResponseHead
from weirgate_wire.http.hop import HOP_BY_HOP, hop_by_hop, is_critical, is_disguised

__all__ = [
    "HOP_BY_HOP",
    "LAST_CHUNK",
    "BodyReader",
    "Framing",
    "chunk",
    "hop_by_hop",
    "last_chunk",
    "request_framing",
    "response_framing",
]

LAST_CHUNK = b"0\r\n\r\n"
EXTENSION_LIMIT_BYTES = 1024
"""Extensions of one chunk."""
EXTENSIONS_LIMIT_BYTES = 16 * 1024
"""Extensions of one body: else a sender of one-byte chunks costs a thousand times what it says (CVE-2023-39326)."""
TRAILERS_LIMIT_BYTES = 8 * 1024
TRAILERS_LIMIT = 32

_HEX = frozenset(b"0123456789abcdefABCDEF")
_LENGTH = re.compile(r"0|[1-9][0-9]{0,18}")
_SIZE_LINE = re.compile(
    (
        rf"([0-9A-Fa-f]{{1,16}})((?:;[{TCHAR}]+(?:=(?:[{TCHAR}]+"
        r'|"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"))?)*)\r\n'
    ).encode("latin-1")
)
_SIZE_LINE_LIMIT_BYTES = 16 + EXTENSION_LIMIT_BYTES + 2


@dataclass(frozen=True, slots=True)
class Framing:
    """Where a body ends: nowhere (there is none), after ``length`` bytes, with its last chunk, or with the
    connection."""

    kind: Literal["none", "length", "chunked", "close"]
    length: int = 0
    """Bytes; of kind ``length`` only."""


_NONE = Framing("none")
_CHUNKED = Framing("chunked")
_CLOSE = Framing("close")


def request_framing(head: RequestHead) -> Framing:
    """Return how the body of a request is framed.

    Raises:
        PeerError: contradictory, repeated or odd announcements, or a body where there cannot be one (CONNECT,
            TRACE).
    """
    announced = _announced(head)
    if announced is None:
        return _NONE
    if head.method in ("CONNECT", "TRACE"):
        raise PeerError("a body where the method has none")
    return announced


def response_framing(head: ResponseHead, *, method: str) -> Framing:
    """Return how the body of a response is framed.

    Args:
        head: of the response.
        method: of the request it answers.

    Raises:
        PeerError: contradictory, repeated or odd announcements, or a body announced where there cannot be one
            (1xx, 204, 2xx to CONNECT).
    """
    announced = _announced(head)
    status = head.status
    if status < 200 or status == 204 or (method == "CONNECT" and status < 300):
        # A length of 0 is common with 204, and says the same.
        if announced is not None and announced != Framing("length"):
            raise PeerError("a body announced where the status has none")
        return _NONE
    if status == 304 or method == "HEAD":
        return _NONE
    return _CLOSE if announced is None else announced


def chunk(piece: bytes) -> bytes:
    """Return one chunk.

    Raises:
        UsageError: the piece is empty, which would end the body.
    """
    if not piece:
        raise UsageError("an empty chunk")
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def last_chunk(trailers: Iterable[tuple[str, str]] = ()) -> bytes:
    """Return the end of a chunked body, with trailers where there are any.

    Raises:
        UsageError: a trailer cannot be written, or is not allowed there.
    """
    fields = tuple(trailers)
    if any(_forbidden(name) for name, _ in fields):
        raise UsageError("a field that is not allowed in trailers")
    return f"0\r\n{write_fields(fields)}\r\n".encode("latin-1")


class _State(Enum):
    SIZE = auto()
    DATA = auto()
    AFTER = auto()
    LAST = auto()


class BodyReader:
    """Read one body, cut anywhere.

    Args:
        framing: where it ends.
    """

    __slots__ = ("_extension_bytes", "_held", "_kind", "_left", "_state", "done", "trailers")

    def __init__(self, framing: Framing) -> None:
        self.done = framing.kind == "none" or (framing.kind == "length" and not framing.length)
        """The body has ended."""
        self.trailers: Headers = ()
        """Fields after a chunked body, once it is done."""
        self._kind = framing.kind
        self._left = framing.length
        self._held = b""
        self._state = _State.SIZE
        self._extension_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes of the stream and return the pieces of the body in them, none of them empty.

        Raises:
            PeerError: chunks or trailers are malformed.
            HeadTooLong: chunk extensions or trailers over a limit.
        """
        if self.done:
            self._held += data
            return []
        if not data:
            return []
        if self._kind == "close":
            return [data]
        if self._kind == "length":
            piece = data[: self._left]
            self._left -= len(piece)
            if not self._left:
                self.done = True
                self._held = data[len(piece) :]
            return [piece]
        return self._chunks(data)

    def eof(self) -> None:
        """Say that the peer has closed: that ends a body of kind ``close``.

        Raises:
            PeerError: the body is not finished.
        """
        if self._kind == "close":
            self.done = True
        if not self.done:
            raise PeerError("closed in the middle of a body")

    def rest(self) -> bytes:
        """Take what was fed after the end of the body.

        Raises:
            UsageError: the body has not ended.
        """
        if not self.done:
            raise UsageError("what follows a body was asked for before its end")
        left, self._held = self._held, b""
        return left

    def _chunks(self, data: bytes) -> list[bytes]:
        if self._held:
            data = self._held + data
            self._held = b""
        pieces: list[bytes] = []
        at = 0
        while at < len(data):
            if self._state is _State.DATA:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = _State.AFTER
                continue
            after = self._line(data, at)
            if after is None or self.done:
                self._held = data[at if after is None else after :]
                break
            at = after
        return pieces

    def _line(self, data: bytes, at: int) -> int | None:
        """Read what stands between two chunks; return where it ends, or ``None`` until more is fed."""
        if self._state is _State.SIZE:
            return self._size(data, at)
        if self._state is _State.AFTER:
            return self._after(data, at)
        return self._last(data, at)

    def _size(self, data: bytes, at: int) -> int | None:
        found = _SIZE_LINE.match(data, at, at + _SIZE_LINE_LIMIT_BYTES)
        if found is None:
            line = data[at : at + _SIZE_LINE_LIMIT_BYTES]
            if line[0] not in _HEX or b"\n" in line or STRAY.search(line):
                raise PeerError("a malformed chunk size line")
            if len(line) == _SIZE_LINE_LIMIT_BYTES:
                raise HeadTooLong("a chunk size line over its limit")
            return None
        size, extensions = found.groups()
        self._extension_bytes += len(extensions)
        if len(extensions) > EXTENSION_LIMIT_BYTES or self._extension_bytes > EXTENSIONS_LIMIT_BYTES:
            raise HeadTooLong("chunk extensions over their limit")
        self._left = int(size, 16)
        self._state = _State.DATA if self._left else _State.LAST
        return found.end()

    def _after(self, data: bytes, at: int) -> int | None:
        end = data[at : at + 2]
        if end == b"\r\n":
            self._state = _State.SIZE
            return at + 2
        if end == b"\r":
            return None
        raise PeerError("a chunk that is longer than its size")

    def _last(self, data: bytes, at: int) -> int | None:
        if data.startswith(b"\r\n", at):
            self.done = True
            return at + 2
        end = data.find(b"\r\n\r\n", at, at + TRAILERS_LIMIT_BYTES)
        if end < 0:
            if STRAY.search(data[at:]):
                raise PeerError("a bare CR or LF, or a control character, in trailers")
            if len(data) - at >= TRAILERS_LIMIT_BYTES:
                raise HeadTooLong(f"trailers over {TRAILERS_LIMIT_BYTES} bytes")
            return None
        fields = read_fields("\n" + data[at : end + 2].decode("latin-1"), 1, TRAILERS_LIMIT)
        if any(_forbidden(name) for name, _ in fields):
            raise PeerError("a field that is not allowed in trailers")
        self.trailers = fields
        self.done = True
        return end + 4


def _announced(head: Head) -> Framing | None:
    codings = head.all("transfer-encoding")
    lengths = head.all("content-length")
    if not codings:
        if not lengths:
            return None
        if len(lengths) > 1:
            raise PeerError("content-length stands more than once")
        if not _LENGTH.fullmatch(lengths[0]):
            raise PeerError("a content-length that is not a plain decimal number")
        return Framing("length", int(lengths[0]))
    if lengths:
        raise PeerError("both transfer-encoding and content-length")
    if head.minor == 0:
        raise PeerError("transfer-encoding in HTTP/1.0")
    if codings != ["chunked"]:
        raise PeerError("a transfer-encoding other than exactly: chunked")
    return _CHUNKED


def _forbidden(name: str) -> bool:
    if name == "content-digest":  # made for trailers: RFC 9530 section 6.2
        return False
    return name in HOP_BY_HOP or is_critical(name) or is_disguised(name)
