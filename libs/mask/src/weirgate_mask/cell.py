"""One cell, masked: the wire format of a type around what a transform makes of its value."""

import json
from collections.abc import Callable
from typing import assert_never

from weirgate_mask import values
from weirgate_mask.array import map_binary, map_text
from weirgate_mask.kind import Kind
from weirgate_mask.substitute import Substitute, starred

_NULL_FOR_PARTS = frozenset(("integer", "numeric", "float", "date", "timestamp", "uuid", "inet", "opaque"))
"""Families that hold neither a placeholder nor stars."""

CellMasker = Callable[[bytes], bytes | None]
"""Takes a cell that is not NULL, returns what stands in its place; ``None``: NULL. Raises nothing."""


class Constant:
    """Masks every cell alike, so that nobody needs to look at it."""

    __slots__ = ("masked",)

    def __init__(self, masked: bytes | None) -> None:
        self.masked = masked

    def __call__(self, cell: bytes) -> bytes | None:
        return self.masked


class Stars:
    """Stars text in place of all but some characters, without decoding it where a byte is a character."""

    __slots__ = ("keep_first", "keep_last")

    def __init__(self, keep_first: int, keep_last: int) -> None:
        self.keep_first = keep_first
        self.keep_last = keep_last

    def __call__(self, cell: bytes) -> bytes:
        if not cell.isascii():
            return values.write_text(starred(values.read_text(cell), self.keep_first, self.keep_last))
        hidden = len(cell) - self.keep_first - self.keep_last
        if hidden <= 0:
            return b"*" * len(cell)
        return cell[: self.keep_first] + b"*" * hidden + cell[len(cell) - self.keep_last :]


_NULL = Constant(None)


def cell_masker(kind: Kind, binary: bool, substitute: Substitute) -> CellMasker:
    """Return the function that masks cells of one column.

    A type that cannot hold what the transform asks for, and a cell that cannot be read, become NULL: never
    the value, never another type.
    """
    inner = _typed(kind, binary, substitute)
    if isinstance(inner, Constant) or kind.family == "text":
        return inner

    def mask(cell: bytes) -> bytes | None:
        try:
            return inner(cell)
        except (ValueError, OverflowError, ArithmeticError):
            return None

    return mask


def _typed(kind: Kind, binary: bool, to: Substitute) -> CellMasker:
    if to.transform.kind == "null":
        return _NULL
    if to.transform.kind in ("redact", "partial") and kind.family in _NULL_FOR_PARTS:
        return _NULL
    match kind.family:
        case "text":
            return _text(to, padded=kind.variant)
        case "json":
            return _json(to, binary, versioned=kind.variant)
        case "xml":
            return lambda cell: _written(to.opaque_text(values.read_text(cell)))
        case "integer":
            size = kind.size

            def integer(cell: bytes) -> bytes | None:
                made = to.integer(values.read_integer(cell, size, binary), size)
                return None if made is None else values.write_integer(made, size, binary)

            return integer
        case "numeric":

            def numeric(cell: bytes) -> bytes | None:
                made = to.numeric(values.read_numeric(cell, binary))
                return None if made is None else values.write_numeric(made, binary)

            return numeric
        case "float":
            width = kind.size

            def real(cell: bytes) -> bytes | None:
                made = to.real(values.read_float(cell, width, binary), width)
                return None if made is None else values.write_float(made, width, binary)

            return real
        case "date":

            def day(cell: bytes) -> bytes | None:
                made = to.day(values.read_date(cell, binary))
                return None if made is None else values.write_date(made, binary)

            return day
        case "timestamp":
            zone = kind.variant

            def moment(cell: bytes) -> bytes | None:
                made = to.moment(values.read_timestamp(cell, binary))
                return None if made is None else values.write_timestamp(made, binary, zone=zone)

            return moment
        case "uuid":

            def identifier(cell: bytes) -> bytes | None:
                made = to.identifier(values.read_uuid(cell, binary))
                return None if made is None else values.write_uuid(made, binary)

            return identifier
        case "inet":
            cidr = kind.variant

            def address(cell: bytes) -> bytes | None:
                made = to.address(values.read_inet(cell, binary), cidr=cidr)
                return None if made is None else values.write_inet(made, binary, cidr=cidr)

            return address
        case "bytea":

            def octets(cell: bytes) -> bytes | None:
                made = to.octets(values.read_bytea(cell, binary))
                return None if made is None else values.write_bytea(made, binary)

            return octets
        case "array":
            assert kind.element is not None
            if kind.element.family == "opaque":
                return _NULL
            element = cell_masker(kind.element, binary, to)
            rewrite = map_binary if binary else map_text
            return lambda cell: rewrite(cell, element)
        case "opaque":
            return _NULL
        case _:
            assert_never(kind.family)


def _written(value: str | None) -> bytes | None:
    return None if value is None else values.write_text(value)


def _text(to: Substitute, *, padded: bool) -> CellMasker:
    if to.transform.kind == "redact":
        return Constant(values.write_text(to.token))
    if to.transform.kind == "partial":
        stars = Stars(to.transform.keep_first, to.transform.keep_last)
        return (lambda cell: stars(cell.rstrip(b" "))) if padded else stars
    # character(n) comes padded with spaces that are no part of the value: without them it joins with text.
    if padded:
        return lambda cell: _written(to.text(values.read_text(cell).rstrip(" ")))
    return lambda cell: _written(to.text(values.read_text(cell)))


def _json(to: Substitute, binary: bool, *, versioned: bool) -> CellMasker:
    def document(cell: bytes) -> bytes | None:
        made = to.opaque_text(values.read_json(cell, binary, versioned=versioned))
        return None if made is None else values.write_json(json.dumps(made), binary, versioned=versioned)

    return document
