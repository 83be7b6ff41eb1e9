"""``COPY … TO STDOUT`` in binary, masked: each row is put into a DataRow frame, masked like one, and taken
out again.

Source: PostgreSQL manual, "COPY", "Binary Format".
"""

import struct

from weirgate_mask.rows import RowMasker
from weirgate_wire.error import PeerError

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEAD_BYTES = len(_SIGNATURE) + 8
_TWO = struct.Struct(">II")
_COUNT = struct.Struct(">h")
_SIZE = struct.Struct(">i")
_FRAME = struct.Struct(">cI")
_CRITICAL_FLAGS = 0xFFFF0000
ROW_LIMIT_BYTES = 256 * 1024 * 1024
"""Longest row that is waited for."""


class BinaryRows:
    """Masks a stream of binary rows, cut anywhere."""

    def __init__(self, columns: int, rows: RowMasker) -> None:
        self._columns = columns
        self._rows = rows
        self._waiting = bytearray()
        self._need = _HEAD_BYTES
        self._begun = False
        self._ended = False

    @property
    def cells_masked(self) -> int:
        """Cells that were replaced so far."""
        return self._rows.cells_masked

    def feed(self, data: bytes) -> bytes:
        """Take some bytes and return what may go on: see :class:`weirgate_mask.copies.CopyMasker`."""
        self._waiting += data
        if self._ended:
            if self._waiting:
                raise PeerError("bytes after the end of COPY")
            return b""
        if self._need > ROW_LIMIT_BYTES or len(self._waiting) > 2 * ROW_LIMIT_BYTES:
            raise PeerError("a row of COPY is over the limit")
        if len(self._waiting) < self._need:
            return b""
        buffer = bytes(self._waiting)
        out = b""
        at = 0
        if not self._begun:
            at = self._head(buffer)
            if at == 0:
                return b""
            out = buffer[:at]
        frames: list[bytes] = []
        while (end := self._row_end(buffer, at)) > at and not self._ended:
            frames.append(_FRAME.pack(b"D", end - at + 4))
            frames.append(buffer[at:end])
            at = end
        masked = _bare(self._rows.mask_rows(b"".join(frames)))
        if self._ended:
            masked += buffer[at : at + 2]
            at += 2
            if at != len(buffer):
                raise PeerError("bytes after the end of COPY")
        self._waiting = bytearray(buffer[at:])
        self._need = max(self._need - at, 0)
        return out + masked

    def finish(self) -> bytes:
        """Take the end of the stream."""
        if not self._ended or self._waiting:
            raise PeerError("COPY ends inside a row")
        return b""

    def _head(self, buffer: bytes) -> int:
        if not buffer.startswith(_SIGNATURE):
            raise PeerError("not a binary COPY")
        flags, extension = _TWO.unpack_from(buffer, len(_SIGNATURE))
        if flags & _CRITICAL_FLAGS:
            raise PeerError("a binary COPY with flags nobody knows")
        end = _HEAD_BYTES + extension
        if len(buffer) < end:
            self._need = end
            return 0
        self._begun = True
        return end

    def _row_end(self, buffer: bytes, at: int) -> int:
        """Return where the row that starts at ``at`` ends; ``at`` itself if it is not all there, or none
        follows."""
        size = len(buffer)
        if at + 2 > size:
            self._need = at + 2
            return at
        (count,) = _COUNT.unpack_from(buffer, at)
        if count == -1:
            self._ended = True
            return at
        if count != self._columns:
            raise PeerError(f"not a row of {self._columns} columns")
        cell = at + 2
        for _ in range(count):
            if cell + 4 > size:
                self._need = cell + 4
                return at
            (length,) = _SIZE.unpack_from(buffer, cell)
            if length < -1:
                raise PeerError(f"a cell of {length} bytes")
            cell += 4 + max(length, 0)
            if cell > size:
                self._need = cell
                return at
        return cell


def _bare(block: bytes) -> bytes:
    """Take rows out of their frames."""
    parts: list[bytes] = []
    at = 0
    while at < len(block):
        (_, size) = _FRAME.unpack_from(block, at)
        parts.append(block[at + 5 : at + 1 + size])
        at += 1 + size
    return b"".join(parts)
