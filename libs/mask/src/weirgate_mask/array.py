"""PostgreSQL arrays: take the elements out, put others in.

Source: PostgreSQL 18, ``src/backend/utils/adt/arrayfuncs.c``.
"""

import re
import struct
from collections.abc import Callable

_INT = struct.Struct(">i")
_HEAD = struct.Struct(">iiI")
_TEXT_PIECE = re.compile(rb'[{},]|"(?:[^"\\]|\\.)*"|[^{},"\\]+', re.DOTALL)
_BOUNDS = re.compile(rb"(\[-?\d+:-?\d+\])+=")
_UNESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPE = re.compile(rb'(["\\])')
_PLAIN = re.compile(rb"[^\s{},\"\\]+")
_NULL = b"\xff\xff\xff\xff"

Cell = Callable[[bytes], bytes | None]


def map_binary(cell: bytes, element: Cell) -> bytes:
    """Rewrite each element that is not NULL of an array in binary format.

    Raises:
        ValueError: not an array.
    """
    try:
        dimensions, _, oid = _HEAD.unpack_from(cell)
        at = 12 + 8 * dimensions
        if not 0 <= dimensions <= 6 or len(cell) < at:
            raise ValueError("not an array")
        parts: list[bytes] = []
        null = False
        while at < len(cell):
            (size,) = _INT.unpack_from(cell, at)
            at += 4
            if size < -1 or at + max(size, 0) > len(cell):
                raise ValueError("array cut short")
            masked = None if size < 0 else element(cell[at : at + size])
            at += max(size, 0)
            if masked is None:
                null = True
                parts.append(_NULL)
            else:
                parts.append(_INT.pack(len(masked)))
                parts.append(masked)
    except struct.error as error:
        raise ValueError("array cut short") from error
    return _HEAD.pack(dimensions, int(null), oid) + cell[12 : 12 + 8 * dimensions] + b"".join(parts)


def _written(element: bytes) -> bytes:
    if _PLAIN.fullmatch(element) and element.upper() != b"NULL":
        return element
    return b'"' + _ESCAPE.sub(rb"\\\1", element) + b'"'


def map_text(cell: bytes, element: Cell) -> bytes:
    """Rewrite each element that is not NULL of an array in text format (delimiter ``,``).

    Raises:
        ValueError: not an array.
    """
    bounds = _BOUNDS.match(cell)
    at = bounds.end() if bounds else 0
    parts: list[bytes] = [cell[:at]]
    while at < len(cell):
        piece = _TEXT_PIECE.match(cell, at)
        if piece is None:
            raise ValueError("not an array")
        at = piece.end()
        text = piece.group()
        if text in b"{},":
            parts.append(text)
            continue
        if text[:1] == b'"':
            masked = element(_UNESCAPE.sub(rb"\1", text[1:-1]))
        else:
            masked = None if text.upper() == b"NULL" else element(text)
        parts.append(b"NULL" if masked is None else _written(masked))
    return b"".join(parts)
