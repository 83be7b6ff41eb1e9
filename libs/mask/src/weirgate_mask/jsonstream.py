"""JSON as it streams: bytes in, cut anywhere, bytes out, and what waits in between.

The states, and what becomes of values, are :class:`weirgate_mask.jsonbody.JsonBody`; here is what is under them. Pieces
wait until a state gets further with them, a string that is not whole yet is looked at once and not again with each
piece, detectors scan a buffer once, and nothing goes on behind a mistake.
"""

import codecs
from bisect import bisect_right
from collections.abc import Callable

from weirgate_mask import jsontoken as token
from weirgate_mask.found import Found
from weirgate_wire.error import PeerError

VALUE_LIMIT_BYTES = 1 << 20
"""Longest value that is held back to be looked into."""
TOO_LONG = "a value of more than 1 MiB cannot be masked"
_SLICE_BYTES = 256 * 1024
"""What is scanned at once."""
_PIECES = 1024
"""Pieces that wait at most: a piece of one byte takes 40."""
_NEVER = 1 << 62


class JsonStream:
    """Takes pieces to the states of a document and gives what they let through."""

    def __init__(self, found: Found | None) -> None:
        """Take the detectors; ``None``: none."""
        self.cells_masked = 0
        self._found = found
        self._state: Callable[[], bool] = self._value
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._string_open = self._escape_open = False
        self._broken = self._last = False
        self._buffer = b""
        self._at = self._copied = 0
        self._out: list[bytes] = []
        self._hits: list[int] = []
        self._all_hit = False

    def _value(self) -> bool:
        """Take a value: the first state. Say whether it got further."""
        raise NotImplementedError

    def _passes(self) -> bool:
        """Whether the string that has begun may go on before it is whole."""
        raise NotImplementedError

    def _may_end(self) -> bool:
        """Whether a body may end in this state."""
        raise NotImplementedError

    def _let_go(self) -> None:
        """The buffer is gone, and every place in it with it."""
        raise NotImplementedError

    def feed(self, piece: bytes) -> bytes:
        """Take some bytes and return what may go on.

        Raises:
            PeerError: this is not JSON, or a value in it is too long to be masked.
        """
        if len(piece) > _SLICE_BYTES:
            slices = range(0, len(piece), _SLICE_BYTES)
            return b"".join([self.feed(piece[at : at + _SLICE_BYTES]) for at in slices])
        if self._broken:
            raise PeerError("not JSON")
        if not piece:
            return b""
        try:
            self._utf8.decode(piece)
            self._waiting.append(piece)
            self._waiting_bytes += len(piece)
            if self._string_open and not self._string_ends(piece) and not self._passes():
                self._check_long()
                if len(self._waiting) > _PIECES:
                    self._waiting = [b"".join(self._waiting)]
                return b""
            return self._advance()
        except UnicodeDecodeError as error:
            self._broken = True
            raise PeerError("JSON that is not UTF-8") from error
        except PeerError:
            self._broken = True
            raise

    def finish(self) -> bytes:
        """Take the end of the body and return what is left.

        Raises:
            PeerError: the document has no end.
        """
        if self._broken:
            raise PeerError("not JSON")
        self._last = True
        rest = self._advance()
        if self._waiting_bytes or not self._may_end():
            self._broken = True
            raise PeerError("JSON that ends too early")
        return rest

    def _string_ends(self, piece: bytes) -> bool:
        begin = 1 if self._escape_open else 0
        inside = token.LOOSE.match(piece, begin)
        end = inside.end() if inside else begin
        self._escape_open = piece[end : end + 1] == b"\\"
        return piece[end : end + 1] == b'"'

    def _check_long(self) -> None:
        if self._waiting_bytes > VALUE_LIMIT_BYTES:
            raise PeerError(TOO_LONG)

    def _advance(self) -> bytes:
        self._buffer = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._at = self._copied = 0
        self._string_open = False
        self._out = []
        self._scan()
        while self._at < len(self._buffer) and self._state():
            pass
        rest = self._buffer[self._at :]
        out = self._out
        out.append(self._buffer[self._copied : self._at])
        self._waiting = [rest] if rest else []
        self._waiting_bytes = len(rest)
        self._buffer = b""
        self._let_go()
        return b"".join(out)

    def _scan(self) -> None:
        hits = self._found.scan(self._buffer) if self._found is not None else []
        self._all_hit = hits is None
        self._hits = sorted(hits) if hits else []
        self._hits.append(_NEVER)

    def _was_hit(self, start: int, end: int) -> bool:
        hits = self._hits
        return hits[bisect_right(hits, start)] <= end or self._all_hit

    def _put(self, start: int, end: int, masked: bytes) -> None:
        self._out.append(self._buffer[self._copied : start])
        self._out.append(masked)
        self._copied = end

    def _skip_space(self) -> bool:
        space = token.SPACE.match(self._buffer, self._at)
        if space is not None:
            self._at = space.end()
        return self._at < len(self._buffer)

    def _wait_for_string(self) -> None:
        inside = token.LOOSE.match(self._buffer, self._at + 1)
        end = inside.end() if inside else self._at + 1
        if self._last or self._buffer[end : end + 1] == b'"':
            raise PeerError("a string that is not JSON")
        if len(self._buffer) - self._at > VALUE_LIMIT_BYTES:
            raise PeerError(TOO_LONG)
        self._string_open = True
        self._escape_open = self._buffer[end : end + 1] == b"\\"
