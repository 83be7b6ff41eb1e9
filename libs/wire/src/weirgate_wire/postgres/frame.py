"""Split a byte stream into typed messages, without building an object per row.

A frame is one type byte, a four-byte length that counts itself, and the body. What comes out of
:meth:`Splitter.next`:

=========  ==========================================================================================
``Frame``  one whole message
``Run``    whole messages of one *run kind* (DataRow, CopyData), back to back in one ``bytes``
``Part``   a piece of one message too long to be held, only where ``streams`` says so
=========  ==========================================================================================

Invariants: what comes out, joined, is exactly what went in, up to the last complete unit; where the stream
is cut changes units of ``Run`` and ``Part`` only in how they are grouped. A kind that is not in ``limits``,
a length below 4 and a length over the kind's limit are refused from the header alone, before anything of the
body is kept.
"""

import struct
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

from weirgate_wire.postgres.error import FrameTooLong, PeerError

HEADER_BYTES = 5
RUN_LIMIT_BYTES = 256 * 1024
"""A run ends once it is this long: the block a gate holds at a time."""

STREAM_LIMIT_BYTES = 0x40000000
"""Longest message that is streamed in parts. Source: ``PQ_LARGE_MESSAGE_LIMIT`` of PostgreSQL, 1 GiB less
one."""

_LENGTH = struct.Struct(">I")
_length_at = _LENGTH.unpack_from


@dataclass(slots=True)
class Frame:
    """One whole message."""

    kind: int
    """Type byte."""
    raw: bytes
    """Type byte, length and body."""

    @property
    def body(self) -> bytes:
        """The message without type byte and length."""
        return self.raw[HEADER_BYTES:]


@dataclass(slots=True)
class Run:
    """Whole messages of one kind, back to back."""

    kind: int
    block: bytes
    count: int


@dataclass(slots=True)
class Part:
    """A piece of one long message."""

    kind: int
    piece: bytes
    first: bool
    """The piece starts with the header."""
    last: bool
    size_bytes: int
    """Of the whole message, header included."""


class Splitter:
    """Incremental splitter of one direction of a stream.

    Args:
        limits: longest whole message per type byte, header included; a kind that is missing is unknown. May
        be
            replaced between two calls: it then counts for every frame not yet begun.
        run_kinds: kinds handed out as ``Run``.
    """

    __slots__ = (
        "_at",
        "_buffer",
        "_late",
        "_need",
        "_part_kind",
        "_part_left",
        "_part_size",
        "_run_kinds",
        "limits",
        "streams",
    )

    def __init__(self, limits: Mapping[int, int], *, run_kinds: Set[int] = frozenset()) -> None:
        self.limits = limits
        self.streams: Callable[[], bool] = _never
        """Asked before a message of a run kind over 256 KiB: whether to hand it out in parts, up to 1 GiB,
        whatever its limit."""
        self._run_kinds = run_kinds
        self._buffer = b""
        self._at = 0
        self._late = bytearray()
        self._need = HEADER_BYTES
        self._part_kind = 0
        self._part_left = 0
        self._part_size = 0

    @property
    def buffered_bytes(self) -> int:
        """Bytes fed and not yet handed out."""
        return len(self._buffer) - self._at + len(self._late)

    def feed(self, data: bytes) -> None:
        """Take bytes of the stream, cut anywhere."""
        if self._at >= len(self._buffer) and not self._late:
            self._buffer = data
            self._at = 0
        else:
            self._late += data

    def peek(self) -> int | None:
        """Return the type byte of the next unit, or ``None`` where nothing is buffered."""
        if self._part_left:
            return self._part_kind
        if self._at < len(self._buffer):
            return self._buffer[self._at]
        return self._late[0] if self._late else None

    def rest(self) -> bytes:
        """Take what was fed and not handed out: the stream changes its form here (TLS, another codec)."""
        left = self._buffer[self._at :] + bytes(self._late)
        self._buffer, self._at, self._need = b"", 0, HEADER_BYTES
        self._late.clear()
        return left

    def next(self) -> Frame | Run | Part | None:
        """Return the next unit, or ``None`` until more is fed.

        Raises:
            PeerError: an unknown kind, or a length below 4.
            FrameTooLong: a length over the limit. Nothing was consumed: once ``streams`` says so, it can be
            called again to skim it.
        """
        if self._part_left:
            return self._next_part()
        buffer, at = self._buffer, self._at
        size = len(buffer)
        if self._late:
            if size - at + len(self._late) < self._need:
                return None
            buffer = buffer[at:] + self._late if at < size else bytes(self._late)
            self._late = bytearray()
            self._buffer, self._at, at = buffer, 0, 0
            size = len(buffer)
        if size - at < HEADER_BYTES:
            self._need = HEADER_BYTES
            return None
        kind = buffer[at]
        end = at + 1 + self._checked_length(kind, buffer, at)
        if kind not in self._run_kinds:
            if end > size:
                self._need = end - at
                return None
            self._at = end
            self._need = HEADER_BYTES
            return Frame(kind, buffer[at:end])
        if end > size or end - at > RUN_LIMIT_BYTES:
            if end - at > RUN_LIMIT_BYTES and self.streams():
                self._part_kind, self._part_size = kind, end - at
                self._part_left = end - at
                return self._next_part()
            if end > size:
                self._need = end - at
                return None
        return self._next_run(kind, buffer, at, end)

    def _checked_length(self, kind: int, buffer: bytes, at: int) -> int:
        limit = self.limits.get(kind)
        if limit is None:
            raise PeerError(f"unknown message kind 0x{kind:02x}")
        length: int = _length_at(buffer, at + 1)[0]
        if length < 4:
            raise PeerError(f"message {chr(kind)!r} has length {length}")
        if length >= limit:
            if kind in self._run_kinds and self.streams():
                limit = STREAM_LIMIT_BYTES
            if length >= limit:
                raise FrameTooLong(kind, length + 1, limit)
        return length

    def _next_run(self, kind: int, buffer: bytes, at: int, end: int) -> Run:
        size = len(buffer)
        limit = self.limits[kind]
        stop = min(size, at + RUN_LIMIT_BYTES)
        last_header = size - HEADER_BYTES
        count = 1
        # The hot loop of a result: one header read a row, nothing built.
        while end <= last_header and buffer[end] == kind:
            length = _length_at(buffer, end + 1)[0]
            after = end + 1 + length
            if after > stop or length < 4 or length >= limit:
                break
            end = after
            count += 1
        self._at = end
        self._need = HEADER_BYTES
        return Run(kind, buffer if at == 0 and end == size else buffer[at:end], count)

    def _next_part(self) -> Part | None:
        if self._late:
            self._buffer = self._buffer[self._at :] + self._late
            self._late = bytearray()
            self._at = 0
        at = self._at
        piece = self._buffer[at : at + min(self._part_left, RUN_LIMIT_BYTES)]
        if not piece:
            return None
        first = self._part_left == self._part_size
        self._part_left -= len(piece)
        self._at = at + len(piece)
        self._need = HEADER_BYTES
        return Part(self._part_kind, piece, first, not self._part_left, self._part_size)


def _never() -> bool:
    return False


def frame(kind: bytes, body: bytes = b"") -> bytes:
    """Return a whole message: type byte, length, body."""
    return kind + _LENGTH.pack(len(body) + 4) + body
