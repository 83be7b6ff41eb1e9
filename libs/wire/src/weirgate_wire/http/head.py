"""The head of a message: start line and fields, read strictly and always written anew.

Nothing of what a peer sent as a head is sent on. A head is read into a value, the value is judged, and
``encode()`` writes the value, so what the other side parses is what was judged. Names are in lower case, white
space around values is gone, and everything that two parsers could read differently is refused by
:class:`HeadReader`.

Source: RFC 9112 sections 2 to 5.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Self

from weirgate_wire.error import PeerError, UsageError
from weirgate_wire.http.field import STRAY, TEXT, Headers, HeadTooLong, read_fields, write_fields

HEAD_LIMIT_BYTES = 64 * 1024
"""Longest head. Servers: 8 KiB a line (Apache), 16 KiB (Node.js), 32 KiB (nginx), 60 KiB (Envoy)."""
FIELDS_LIMIT = 128
"""Most fields. Apache and Envoy: 100."""

_METHOD = r"[A-Z][A-Z0-9_-]{0,31}"
# Only upper case: methods are case-sensitive, and yet frameworks raise "get" to GET after it was judged as "get".
_REQUEST_LINE = re.compile(rf"({_METHOD}) ([\x21-\x7e]+) HTTP/1\.([01])\r\n")
_STATUS_LINE = re.compile(rf"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([{TEXT}]*))?\r\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What heads of both directions have in common."""

    headers: Headers = field(repr=False)
    minor: int = 1
    """HTTP/1.``minor``: 0 or 1."""

    def get(self, name: str) -> str | None:
        """Return the value of a field that may stand once, or ``None``.

        Args:
            name: in lower case.

        Raises:
            PeerError: it stands more than once.
        """
        found = self.all(name)
        if len(found) > 1:
            raise PeerError(f"field {name} stands more than once")
        return found[0] if found else None

    def all(self, name: str) -> list[str]:
        """Return the values of every field of that (lower-case) name, in order."""
        return [value for one, value in self.headers if one == name]

    def with_headers(self, headers: Iterable[tuple[str, str]]) -> Self:
        """Return the same head with other fields."""
        return replace(self, headers=tuple(headers))


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead(Head):
    """Request line and fields."""

    method: str
    """Upper-case letters, digits, ``-`` and ``_``; at most 32."""
    target: str = field(repr=False)
    """As received: visible ASCII, any form; :mod:`weirgate_wire.http.target` reads it."""

    def encode(self) -> bytes:
        """Return the head as bytes, with the empty line that ends it.

        Raises:
            UsageError: it would not be read back as this very head.
        """
        line = f"{self.method} {self.target} HTTP/1.{self.minor}\r\n"
        found = _REQUEST_LINE.fullmatch(line)
        if found is None or found.groups() != (self.method, self.target, str(self.minor)):
            raise UsageError("a request line that cannot be written")
        return f"{line}{write_fields(self.headers)}\r\n".encode("latin-1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseHead(Head):
    """Status line and fields."""

    status: int
    """100 to 599."""
    reason: str = ""
    """Latin-1, without control characters but HTAB; may be empty."""

    def encode(self) -> bytes:
        """Return the head as bytes, with the empty line that ends it.

        Raises:
            UsageError: it would not be read back as this very head.
        """
        line = f"HTTP/1.{self.minor} {self.status} {self.reason}\r\n"
        found = _STATUS_LINE.fullmatch(line)
        if found is None or found.groups() != (str(self.minor), str(self.status), self.reason):
            raise UsageError("a status line that cannot be written")
        return f"{line}{write_fields(self.headers)}\r\n".encode("latin-1")


class HeadReader:
    """Read heads from one direction of a stream, cut anywhere.

    A head is handed out once its empty line is there. What follows is kept: take it with :meth:`rest`, or ask for
    the next head. Bare line feeds and control characters are refused as soon as they are seen, for an agent that
    ends its head with ``LF LF`` would wait for ever.

    Args:
        limit_bytes: longest head, from the start line to the empty line.
        fields_limit: most field lines.
    """

    __slots__ = ("_buffer", "_fields_limit", "_limit_bytes", "_scanned", "_skipped")

    def __init__(self, limit_bytes: int = HEAD_LIMIT_BYTES, fields_limit: int = FIELDS_LIMIT) -> None:
        self._limit_bytes = limit_bytes
        self._fields_limit = fields_limit
        self._buffer: bytes | bytearray = b""
        self._scanned = 0
        self._skipped = False

    def feed(self, data: bytes) -> None:
        """Take bytes of the stream."""
        if not self._buffer:
            self._buffer = data
        else:
            if isinstance(self._buffer, bytes):
                self._buffer = bytearray(self._buffer)
            self._buffer += data

    def request(self) -> RequestHead | None:
        """Return the next request head, or ``None`` until more is fed.

        One empty line before the request line is passed over (RFC 9112 section 2.2), a second is refused.

        Raises:
            PeerError: it is malformed.
            HeadTooLong: it is over a limit.
        """
        if not self._skipped and self._buffer[:2] == b"\r\n":
            self._buffer = self._buffer[2:]
            self._scanned = max(0, self._scanned - 2)
            self._skipped = True
        if self._buffer[:1] == b"\r" and (self._skipped or len(self._buffer) > 1):
            raise PeerError("an empty line where a request line belongs")
        text = self._take()
        if text is None:
            return None
        line = _REQUEST_LINE.match(text)
        if line is None:
            raise PeerError(_why_no_request(text))
        method, target, minor = line.groups()
        headers = read_fields(text, line.end(), self._fields_limit)
        return RequestHead(method=method, target=target, headers=headers, minor=int(minor))

    def response(self) -> ResponseHead | None:
        """Return the next response head, or ``None`` until more is fed.

        Raises:
            PeerError: it is malformed.
            HeadTooLong: it is over a limit.
        """
        if self._buffer[:1] == b"\r":
            raise PeerError("an empty line where a status line belongs")
        text = self._take()
        if text is None:
            return None
        line = _STATUS_LINE.match(text)
        if line is None:
            raise PeerError("a malformed status line")
        minor, status, reason = line.groups()
        headers = read_fields(text, line.end(), self._fields_limit)
        return ResponseHead(status=int(status), reason=reason or "", headers=headers, minor=int(minor))

    def rest(self) -> bytes:
        """Take what was fed and not handed out: the body, or another protocol, begins here."""
        left = bytes(self._buffer)
        self._buffer, self._scanned, self._skipped = b"", 0, False
        return left

    def _take(self) -> str | None:
        """Take start line and fields, each with its CRLF, without the empty line."""
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n", max(0, self._scanned - 3))
        if end < 0:
            if STRAY.search(buffer, max(0, self._scanned - 1)):
                raise PeerError("a bare CR or LF, or a control character, in a head")
            if len(buffer) >= self._limit_bytes:
                raise HeadTooLong(f"a head over {self._limit_bytes} bytes")
            self._scanned = len(buffer)
            return None
        if end + 4 > self._limit_bytes:
            raise HeadTooLong(f"a head over {self._limit_bytes} bytes")
        text = buffer[: end + 2].decode("latin-1")
        self._buffer, self._scanned, self._skipped = buffer[end + 4 :], 0, False
        return text


def _why_no_request(text: str) -> str:
    line = text.partition("\r\n")[0]
    words = line.split(" ")
    if len(words) != 3 or not all(words):
        return "a request line that is not three words with one space between"
    if not re.fullmatch(_METHOD, words[0]):
        return "a method that is not up to 32 upper-case letters and digits"
    if not re.fullmatch(r"HTTP/1\.[01]", words[2]):
        return "a protocol version other than HTTP/1.0 and HTTP/1.1"
    return "a request target with characters that must be percent-encoded"
