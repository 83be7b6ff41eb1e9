"""Cells to values and back: PostgreSQL's text and binary formats of the types whose masked value keeps its
type.

A value is a plain Python value, the same for both formats, so that a pseudonym does not depend on the format.
What cannot be read (another DateStyle, ``infinity``, a broken cell) raises ``ValueError``; whoever masks then
gives NULL.

Source: PostgreSQL 18, ``src/backend/utils/adt``: the ``*_send`` and ``*_recv`` functions.
"""

import ipaddress
import math
import re
import struct
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation

_EPOCH = datetime(2000, 1, 1)
_EPOCH_DAY = date(2000, 1, 1).toordinal()
_MICROSECOND = timedelta(microseconds=1)
_INTEGER = {2: struct.Struct(">h"), 4: struct.Struct(">i"), 8: struct.Struct(">q")}
_FLOAT = {4: struct.Struct(">f"), 8: struct.Struct(">d")}
_NUMERIC_HEAD = struct.Struct(">HhHH")
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_ISO_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}(\.\d{1,6})?([+-]\d{2}(:\d{2}){0,2})?")
_DIGITS = 10_000
"""Base of one digit of a binary numeric."""


def read_text(cell: bytes) -> str:
    """Read text; a byte that is no UTF-8 stands for itself, so nothing is lost or refused."""
    return cell.decode("utf-8", "surrogateescape")


def write_text(value: str) -> bytes:
    """Write what :func:`read_text` has read."""
    return value.encode("utf-8", "surrogateescape")


def read_integer(cell: bytes, size: int, binary: bool) -> int:
    """Read int2, int4 or int8."""
    if not binary:
        return int(cell)
    if len(cell) != size:
        raise ValueError("integer of another size")
    value: int = _INTEGER[size].unpack(cell)[0]
    return value


def write_integer(value: int, size: int, binary: bool) -> bytes:
    """Write int2, int4 or int8.

    Raises:
        ValueError: out of the range of the type.
    """
    if not -(1 << (size * 8 - 1)) <= value < 1 << (size * 8 - 1):
        raise ValueError("integer out of range")
    return _INTEGER[size].pack(value) if binary else b"%d" % value


def read_float(cell: bytes, size: int, binary: bool) -> float:
    """Read float4 or float8; a float4 is the same number in both formats."""
    if binary and len(cell) != size:
        raise ValueError("float of another size")
    value: float = _FLOAT[size].unpack(cell)[0] if binary else float(cell)
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    return float(_FLOAT[size].unpack(_FLOAT[size].pack(value))[0])


def write_float(value: float, size: int, binary: bool) -> bytes:
    """Write float4 or float8."""
    if binary:
        return _FLOAT[size].pack(value)
    return b"%d" % int(value) if value == int(value) and abs(value) < 1e15 else repr(value).encode()


def read_numeric(cell: bytes, binary: bool) -> Decimal:
    """Read numeric, with its scale."""
    if not binary:
        try:
            value = Decimal(cell.decode("ascii"))
        except (InvalidOperation, UnicodeDecodeError) as error:
            raise ValueError("not a number") from error
        if not value.is_finite():
            raise ValueError("not a finite number")
        return value
    if len(cell) < 8:
        raise ValueError("numeric cut short")
    count, weight, sign, scale = _NUMERIC_HEAD.unpack_from(cell)
    if sign not in (0, 0x4000) or len(cell) != 8 + 2 * count:
        raise ValueError("not a finite number")
    digits: tuple[int, ...] = struct.unpack_from(f">{count}H", cell, 8)
    number = 0
    for digit in digits:
        number = number * _DIGITS + digit
    # The digits give number * 10000 ** (weight - count + 1); the scale says how many decimals are shown.
    exponent = 4 * (weight - count + 1)
    shift = exponent + scale
    shown = number * 10**shift if shift >= 0 else number // 10**-shift
    return Decimal((1 if sign else 0, tuple(int(digit) for digit in str(shown)), -scale))


def write_numeric(value: Decimal, binary: bool) -> bytes:
    """Write numeric."""
    plain = format(value, "f")
    if not binary:
        return plain.encode()
    whole, _, decimals = plain.lstrip("-").partition(".")
    padded = "0" * (-len(whole) % 4) + whole
    scaled = decimals + "0" * (-len(decimals) % 4)
    digits = [int(padded[at : at + 4]) for at in range(0, len(padded), 4)]
    weight = len(digits) - 1
    digits += [int(scaled[at : at + 4]) for at in range(0, len(scaled), 4)]
    while digits and digits[0] == 0:
        digits.pop(0)
        weight -= 1
    while digits and digits[-1] == 0:
        digits.pop()
    if not digits:
        weight = 0
    head = _NUMERIC_HEAD.pack(
        len(digits), weight, 0x4000 if plain.startswith("-") and digits else 0, len(decimals)
    )
    return head + struct.pack(f">{len(digits)}H", *digits)


def read_date(cell: bytes, binary: bool) -> date:
    """Read date, DateStyle ISO."""
    if binary:
        try:
            return date.fromordinal(_EPOCH_DAY + read_integer(cell, 4, True))
        except OverflowError as error:
            raise ValueError("no year from 1 to 9999") from error
    text = cell.decode("ascii")
    if not _ISO_DATE.fullmatch(text):
        raise ValueError("not an ISO date")
    return date.fromisoformat(text)


def write_date(value: date, binary: bool) -> bytes:
    """Write date."""
    return _INTEGER[4].pack(value.toordinal() - _EPOCH_DAY) if binary else value.isoformat().encode()


def read_timestamp(cell: bytes, binary: bool) -> datetime:
    """Read timestamp or timestamptz; the latter as UTC, whatever zone the session shows it in."""
    if binary:
        try:
            return _EPOCH + timedelta(microseconds=read_integer(cell, 8, True))
        except OverflowError as error:
            raise ValueError("no year from 1 to 9999") from error
    text = cell.decode("ascii")
    if not _ISO_TIMESTAMP.fullmatch(text):
        raise ValueError("not an ISO timestamp")
    value = datetime.fromisoformat(text)
    try:
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    except OverflowError as error:
        raise ValueError("no year from 1 to 9999") from error


def write_timestamp(value: datetime, binary: bool, *, zone: bool) -> bytes:
    """Write timestamp, or timestamptz (shown in UTC)."""
    if binary:
        return _INTEGER[8].pack((value - _EPOCH) // _MICROSECOND)
    return (value.isoformat(sep=" ") + ("+00" if zone else "")).encode()


def read_uuid(cell: bytes, binary: bool) -> uuid.UUID:
    """Read uuid."""
    return uuid.UUID(bytes=cell) if binary else uuid.UUID(cell.decode("ascii"))


def write_uuid(value: uuid.UUID, binary: bool) -> bytes:
    """Write uuid."""
    return value.bytes if binary else str(value).encode()


Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


def read_inet(cell: bytes, binary: bool) -> Interface:
    """Read inet or cidr."""
    if not binary:
        return ipaddress.ip_interface(cell.decode("ascii"))
    if len(cell) < 4 or len(cell) != 4 + cell[3]:
        raise ValueError("address cut short")
    return ipaddress.ip_interface((cell[4:], cell[1]))


def write_inet(value: Interface, binary: bool, *, cidr: bool) -> bytes:
    """Write inet or cidr; an inet without a shorter prefix is shown as the address alone."""
    bits = value.network.prefixlen
    if binary:
        return bytes((2 if value.version == 4 else 3, bits, int(cidr), len(value.packed))) + value.packed
    return (str(value.ip) if not cidr and bits == value.max_prefixlen else str(value)).encode()


def read_bytea(cell: bytes, binary: bool) -> bytes:
    """Read bytea, in ``hex`` or ``escape`` output."""
    if binary:
        return cell
    if cell.startswith(b"\\x"):
        return bytes.fromhex(cell[2:].decode("ascii"))
    return re.sub(rb"\\(?:\\|([0-3][0-7]{2}))", _unescaped, cell)


def _unescaped(match: "re.Match[bytes]") -> bytes:
    octal = match.group(1)
    return bytes((int(octal, 8),)) if octal else b"\\"


def write_bytea(value: bytes, binary: bool) -> bytes:
    """Write bytea, as ``hex``."""
    return value if binary else b"\\x" + value.hex().encode()


def read_json(cell: bytes, binary: bool, *, versioned: bool) -> str:
    """Read json, or jsonb (whose binary format begins with a version byte, 1)."""
    if versioned and binary:
        if cell[:1] != b"\x01":
            raise ValueError("jsonb of another version")
        cell = cell[1:]
    return read_text(cell)


def write_json(value: str, binary: bool, *, versioned: bool) -> bytes:
    """Write json or jsonb."""
    return (b"\x01" if versioned and binary else b"") + write_text(value)
