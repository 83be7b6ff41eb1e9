"""A cell of a PostgreSQL result as text for people. Pure.

Text format stands as it came. Of the binary format the common types are read; what is not known is shown as
hexadecimal, never guessed.

Source: PostgreSQL source, ``src/include/catalog/pg_type.dat`` (numbers) and the ``*send`` functions
    (formats).
"""

import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Binary times count from here."""


def _timestamp(raw: bytes, *, zone: bool) -> str:
    count = int.from_bytes(raw, "big", signed=True)
    if len(raw) != 8:
        raise ValueError
    if count == (1 << 63) - 1 or count == -(1 << 63):
        return "infinity" if count > 0 else "-infinity"
    moment = _EPOCH + timedelta(microseconds=count)
    text = moment.isoformat(sep=" ")
    return text if zone else text.removesuffix("+00:00")


def _date(raw: bytes) -> str:
    (days,) = struct.unpack(">i", raw)
    return str(date(2000, 1, 1) + timedelta(days=days))


def _numeric(raw: bytes) -> str:
    """Digits are base 10,000. Source: ``numeric_send``."""
    count, weight, sign, scale = struct.unpack_from(">HhHH", raw)
    if sign == 0xC000:
        return "NaN"
    if sign not in (0, 0x4000) or len(raw) != 8 + 2 * count:
        raise ValueError
    value = Decimal(0)
    for place, digit in enumerate(struct.unpack_from(f">{count}H", raw, 8)):
        value += Decimal(digit).scaleb(4 * (weight - place))
    return f"{-value if sign else value:.{scale}f}"


_READERS: Final[dict[int, Callable[[bytes], str]]] = {
    16: lambda raw: {b"\x00": "f", b"\x01": "t"}[raw],
    20: lambda raw: str(struct.unpack(">q", raw)[0]),
    21: lambda raw: str(struct.unpack(">h", raw)[0]),
    23: lambda raw: str(struct.unpack(">i", raw)[0]),
    26: lambda raw: str(struct.unpack(">I", raw)[0]),
    700: lambda raw: f"{struct.unpack('>f', raw)[0]:.7g}",
    701: lambda raw: repr(struct.unpack(">d", raw)[0]),
    1082: _date,
    1114: lambda raw: _timestamp(raw, zone=False),
    1184: lambda raw: _timestamp(raw, zone=True),
    1700: _numeric,
    2950: lambda raw: str(UUID(bytes=raw)),
    3802: lambda raw: raw[1:].decode(),
}
for _text in (18, 19, 25, 114, 705, 1042, 1043):
    _READERS[_text] = bytes.decode

NUMBERS: Final = frozenset({20, 21, 23, 26, 700, 701, 790, 1700})
"""Types whose cells stand right-aligned."""


def show_cell(raw: bytes | None, *, type_oid: int, binary: bool) -> str | None:
    """Return a cell as text; NULL is ``None``."""
    if raw is None:
        return None
    if not binary:
        return raw.decode("utf-8", "replace")
    reader = _READERS.get(type_oid)
    if reader is not None:
        try:
            return reader(raw)
        except (ValueError, KeyError, struct.error, OverflowError, ArithmeticError):
            pass
    return "\\x" + raw.hex()
