"""DataRow and CopyData blocks: bytes per row, no objects.

A *block* is what :class:`~weirgate_wire.postgres.frame.Run` hands out: whole frames back to back.

Source: PostgreSQL manual, "Message Formats", DataRow.
"""

import struct
from collections.abc import Iterator, Sequence

from weirgate_wire.postgres.error import PeerError
from weirgate_wire.postgres.frame import HEADER_BYTES

_length_at = struct.Struct(">I").unpack_from
_cell_length_at = struct.Struct(">i").unpack_from
_count_at = struct.Struct(">H").unpack_from
_HEAD = struct.Struct(">cIH")
_LENGTH = struct.Struct(">i")


def split_row(body: bytes, at: int = 0, end: int | None = None) -> list[bytes | None]:
    """Return the cells of one DataRow body (which may stand inside a block, from ``at`` to ``end``); NULL is
    None.

    Raises:
        PeerError: counts and lengths do not fill the body exactly.
    """
    stop = len(body) if end is None else end
    if at + 2 > stop:
        raise PeerError("a row ends too early")
    count: int = _count_at(body, at)[0]
    at += 2
    cells: list[bytes | None] = []
    for _ in range(count):
        if at + 4 > stop:
            raise PeerError("a row ends too early")
        size: int = _cell_length_at(body, at)[0]
        at += 4
        if size < 0:
            if size != -1:
                raise PeerError(f"a cell of {size} bytes")
            cells.append(None)
            continue
        if at + size > stop:
            raise PeerError("a row ends too early")
        cells.append(body[at : at + size])
        at += size
    if at != stop:
        raise PeerError("bytes after the last cell of a row")
    return cells


def join_row(cells: Sequence[bytes | None]) -> bytes:
    """Return a whole DataRow frame."""
    parts: list[bytes] = [b""]
    size = 6
    pack = _LENGTH.pack
    for cell in cells:
        if cell is None:
            parts.append(b"\xff\xff\xff\xff")
            size += 4
        else:
            parts.append(pack(len(cell)))
            parts.append(cell)
            size += 4 + len(cell)
    parts[0] = _HEAD.pack(b"D", size, len(cells))
    return b"".join(parts)


def each_frame(block: bytes) -> Iterator[tuple[int, int]]:
    """Give start and end of each frame's body in a block.

    Raises:
        PeerError: the block does not hold whole frames.
    """
    at = 0
    size = len(block)
    while at < size:
        if at + HEADER_BYTES > size:
            raise PeerError("a block does not hold whole messages")
        end = at + 1 + _length_at(block, at + 1)[0]
        if end > size or end < at + HEADER_BYTES:
            raise PeerError("a block does not hold whole messages")
        yield at + HEADER_BYTES, end
        at = end


def cut_block(block: bytes, *, rows: int | None, size_bytes: int | None) -> tuple[int, int]:
    """Find how much of a block fits into what is left of a limit.

    Args:
        block: whole frames.
        rows: frames that may still pass; ``None``: no limit.
        size_bytes: bytes that may still pass; ``None``: no limit.

    Returns:
        Bytes of the block that fit (whole frames), and how many frames that is.
    """
    fits = 0
    count = 0
    for _, end in each_frame(block):
        if (rows is not None and count >= rows) or (size_bytes is not None and end > size_bytes):
            break
        fits = end
        count += 1
    return fits, count
