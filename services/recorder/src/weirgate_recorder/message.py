"""HTTP/1.1 messages out of the bytes of one direction of a recording. Pure.

::

    head ──▶ body of a length ──────────────────────────────▶ head
         ├─▶ chunk size ─▶ chunk ─▶ … ─▶ size 0 ─▶ trailers ─▶ head
         └─▶ body up to the end, which only who feeds the reader knows

It reads what our own gateway wrote, so it is strict: what is not as it should be is :class:`Broken`, and the
reader of the recording shows it as bytes. However the bytes are cut, the same comes out; nothing is kept but
what is not read yet.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

HEAD_LIMIT_BYTES: Final = 1024 * 1024
"""Far more than the gateway lets through in one head."""
_LINE_LIMIT_BYTES: Final = 16 * 1024

Headers = tuple[tuple[str, str], ...]
Framing = int | Literal["chunked", "close"]
"""How long a body is: so many bytes, as its chunks say, or up to the end (of the connection; of the operation)."""

REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}) ([!-~\x80-\xff]+) (HTTP/1\.[01])\r\n")
STATUS_LINE: Final = re.compile(rb"(HTTP/1\.[01]) ([1-9]\d\d)(?: ([^\r\n]*))?\r\n")
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?")
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*?)[ \t]*")


class Broken(ValueError):
    """The bytes are no message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A start line and the headers after it."""

    line: tuple[str, str, str]
    """Method, target, version; or version, status, reason."""
    headers: Headers

    def find(self, name: str) -> str:
        """Return the values of a header joined by commas; empty: it is not there."""
        return ", ".join(value for key, value in self.headers if key.lower() == name)


@dataclass(frozen=True, slots=True)
class Piece:
    """Some of a body."""

    body: bytes


@dataclass(frozen=True, slots=True)
class End:
    """A message is over."""

    trailers: Headers = ()


class Reader:
    """Reads one direction.

    After each :class:`Head` say by :meth:`begin` how long its body is, before the next :meth:`next`.

    Args:
        line: What a message begins with, ``REQUEST_LINE`` or ``STATUS_LINE``.
    """

    def __init__(self, line: re.Pattern[bytes]) -> None:
        self._line = line
        self._unread = bytearray()
        self._at = 0
        self._state: Literal["head", "length", "size", "chunk", "mark", "trailer", "close"] = "head"
        self._left = 0

    @property
    def between(self) -> bool:
        """Nothing of a message has come that is not over."""
        return self._state == "head" and self._at == len(self._unread)

    @property
    def in_body(self) -> bool:
        """A head has come, and its message is not over."""
        return self._state != "head"

    @property
    def open_ended(self) -> bool:
        """The body goes up to the end, so wherever that is, it is whole."""
        return self._state == "close"

    def feed(self, body: bytes) -> None:
        """Take more bytes."""
        del self._unread[: self._at]
        self._at = 0
        self._unread += body

    def rest(self) -> bytes:
        """Give up what is not read, and expect a head."""
        rest = bytes(self._unread[self._at :])
        self._unread.clear()
        self._at, self._left, self._state = 0, 0, "head"
        return rest

    def begin(self, framing: Framing) -> None:
        """Say how long the body of the head just read is."""
        match framing:
            case int():
                self._state, self._left = "length", framing
            case "chunked":
                self._state = "size"
            case "close":
                self._state = "close"

    def next(self) -> Head | Piece | End | None:
        """Return what comes next; ``None``: more bytes are needed.

        Raises:
            Broken: what comes is no message.
        """
        match self._state:
            case "head":
                return self._head()
            case "length":
                if self._left == 0:
                    self._state = "head"
                    return End()
                return self._piece()
            case "close":
                self._left = len(self._unread) - self._at
                return self._piece()
            case _:
                return self._chunked()

    def _piece(self) -> Piece | None:
        size = min(self._left, len(self._unread) - self._at)
        if size == 0:
            return None
        self._left -= size
        self._at += size
        return Piece(bytes(self._unread[self._at - size : self._at]))

    def _head(self) -> Head | None:
        while self._unread.startswith(b"\r\n", self._at):
            self._at += 2
        if self._at == len(self._unread):
            return None
        line_end = self._unread.find(b"\r\n", self._at)
        found = self._line.match(self._unread, self._at)
        if line_end >= 0 and (found is None or found.end() != line_end + 2):
            raise Broken("no start line")
        headers = self._headers(found.end()) if found is not None else None
        if found is None or headers is None:
            if len(self._unread) - self._at > HEAD_LIMIT_BYTES:
                raise Broken("a head without an end")
            return None
        one, two, three = (str(part or b"", "latin-1") for part in found.groups())
        return Head(line=(one, two, three), headers=headers)

    def _headers(self, start: int) -> Headers | None:
        """Read headers up to the empty line after them; ``None``: it has not come."""
        if self._unread.startswith(b"\r\n", start):
            end = start
        else:
            end = self._unread.find(b"\r\n\r\n", start) + 2
            if end < 2:
                return None
        headers: list[tuple[str, str]] = []
        for line in bytes(self._unread[start:end]).split(b"\r\n")[:-1]:
            found = _HEADER.fullmatch(line)
            if found is None:
                raise Broken("no header")
            headers.append((str(found.group(1), "latin-1"), str(found.group(2), "latin-1")))
        self._at = end + 2
        return tuple(headers)

    def _chunked(self) -> Piece | End | None:
        while True:
            match self._state:
                case "size":
                    end = self._unread.find(b"\r\n", self._at)
                    if end < 0:
                        if len(self._unread) - self._at > _LINE_LIMIT_BYTES:
                            raise Broken("no size of a chunk")
                        return None
                    found = _CHUNK_LINE.fullmatch(self._unread, self._at, end)
                    if found is None:
                        raise Broken("no size of a chunk")
                    self._left = int(found.group(1), 16)
                    self._at = end + 2
                    self._state = "chunk" if self._left else "trailer"
                case "chunk":
                    piece = self._piece()
                    if self._left == 0:
                        self._state = "mark"
                    return piece
                case "mark":
                    if len(self._unread) - self._at < 2:
                        return None
                    if not self._unread.startswith(b"\r\n", self._at):
                        raise Broken("no end of a chunk")
                    self._at += 2
                    self._state = "size"
                case _:
                    trailers = self._headers(self._at)
                    if trailers is None:
                        if len(self._unread) - self._at > HEAD_LIMIT_BYTES:
                            raise Broken("trailers without an end")
                        return None
                    self._state = "head"
                    return End(trailers)


def framing_of_call(head: Head) -> Framing:
    """Return how long the body of a call is. Where the head says nothing, all that follows belongs to it: a
    call is recorded without the headers of its way to the upstream, and so without the marks of chunks.

    Raises:
        Broken: its head does not say so clearly.
    """
    coding, length = _coding(head), _length(head)
    if coding:
        if coding[-1] != "chunked" or length is not None:
            raise Broken("a body of unknown length")
        return "chunked"
    return "close" if length is None else length


def framing_of_answer(head: Head, method: str | None) -> Framing:
    """Return how long the body of an answer is.

    Args:
        head: Of the answer.
        method: Of the call it answers, where that is known.

    Raises:
        Broken: its head contradicts itself.
    """
    status = int(head.line[1])
    if method == "HEAD" or status < 200 or status in (204, 304) or (method == "CONNECT" and status < 300):
        return 0
    coding, length = _coding(head), _length(head)
    if coding:
        return "chunked" if coding[-1] == "chunked" else "close"
    return "close" if length is None else length


def _coding(head: Head) -> list[str]:
    return [each.strip().lower() for each in head.find("transfer-encoding").split(",") if each.strip()]


def _length(head: Head) -> int | None:
    said = {each.strip() for each in head.find("content-length").split(",")} - {""}
    if not said:
        return None
    (length,) = said if len(said) == 1 else ("",)
    if re.fullmatch(r"[0-9]{1,18}", length) is None:
        raise Broken("a length that is no number")
    return int(length)
