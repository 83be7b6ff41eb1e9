"""Which PostgreSQL types there are for masking, by OID and by name.

A family says how a value is masked. ``opaque`` is everything whose inside we cannot write: it can only become
NULL.
"""

import re
from dataclasses import dataclass
from typing import Literal

Family = Literal[
    "text",
    "json",
    "xml",
    "integer",
    "numeric",
    "float",
    "date",
    "timestamp",
    "uuid",
    "inet",
    "bytea",
    "array",
    "opaque",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One type."""

    family: Family
    name: str = ""
    size: int = 0
    """Bytes of an integer or a float."""
    variant: bool = False
    """jsonb, timestamptz, cidr, bpchar: the other one of its family."""
    element: "Kind | None" = None
    free_text: bool = False
    """A detector may find something in it: text somebody wrote, or digits that may be a card number."""


OPAQUE = Kind(family="opaque", name="opaque", free_text=True)
"""A type we do not know: an enum, a composite, a range, one of an extension. It may well hold text."""
_CLOSED = Kind(family="opaque", name="closed")
"""A type we know cannot hold text and that we cannot write masked: bool, interval, time, money, a point …"""

_TEXT = Kind(family="text", name="text", free_text=True)
_BPCHAR = Kind(family="text", name="bpchar", variant=True, free_text=True)
_JSON = Kind(family="json", name="json", free_text=True)
_JSONB = Kind(family="json", name="jsonb", variant=True, free_text=True)
_XML = Kind(family="xml", name="xml", free_text=True)
_INT2 = Kind(family="integer", name="int2", size=2)
_INT4 = Kind(family="integer", name="int4", size=4)
_INT8 = Kind(family="integer", name="int8", size=8, free_text=True)
_NUMERIC = Kind(family="numeric", name="numeric", free_text=True)
_FLOAT4 = Kind(family="float", name="float4", size=4)
_FLOAT8 = Kind(family="float", name="float8", size=8)
_DATE = Kind(family="date", name="date")
_TIMESTAMP = Kind(family="timestamp", name="timestamp")
_TIMESTAMPTZ = Kind(family="timestamp", name="timestamptz", variant=True)
_UUID = Kind(family="uuid", name="uuid")
_INET = Kind(family="inet", name="inet", free_text=True)
_CIDR = Kind(family="inet", name="cidr", variant=True, free_text=True)
_BYTEA = Kind(family="bytea", name="bytea", free_text=True)


def _array(element: Kind) -> Kind:
    return Kind(family="array", name=element.name + "[]", element=element, free_text=element.free_text)


_SCALARS: dict[Kind, tuple[tuple[int, int], ...]] = {
    # Kind: (OID of the type, OID of its array), from pg_type.dat of PostgreSQL 18.
    _TEXT: ((25, 1009), (1043, 1015), (19, 1003), (705, 0), (2275, 1263)),
    _BPCHAR: ((1042, 1014),),
    _JSON: ((114, 199),),
    _JSONB: ((3802, 3807),),
    _XML: ((142, 143),),
    _INT2: ((21, 1005),),
    _INT4: ((23, 1007),),
    _INT8: ((20, 1016),),
    _NUMERIC: ((1700, 1231),),
    _FLOAT4: ((700, 1021),),
    _FLOAT8: ((701, 1022),),
    _DATE: ((1082, 1182),),
    _TIMESTAMP: ((1114, 1115),),
    _TIMESTAMPTZ: ((1184, 1185),),
    _UUID: ((2950, 2951),),
    _INET: ((869, 1041),),
    _CIDR: ((650, 651),),
    _BYTEA: ((17, 1001),),
    # bool, "char", oid, money, time, timetz, interval, macaddr, macaddr8, bit, varbit, xid, cid, tid, pg_lsn,
    # and the geometric types.
    _CLOSED: (
        (16, 1000), (18, 1002), (26, 1028), (790, 791), (1083, 1183), (1266, 1270), (1186, 1187), (829, 1040),
        (774, 775), (1560, 1561), (1562, 1563), (28, 1011), (29, 1012), (27, 1010), (3220, 3221), (600, 1017),
        (601, 1018), (602, 1019), (603, 1020), (604, 1027), (628, 629), (718, 719), (2278, 0),
    ),
}  # fmt: skip

_BY_OID: dict[int, Kind] = {}
for _kind, _oids in _SCALARS.items():
    for _scalar, _of_arrays in _oids:
        _BY_OID[_scalar] = _kind
        if _of_arrays:
            _BY_OID[_of_arrays] = _array(_kind)

_BY_NAME: dict[str, Kind] = {
    "text": _TEXT, "character varying": _TEXT, "name": _TEXT, "citext": _TEXT, "character": _BPCHAR,
    "json": _JSON, "jsonb": _JSONB, "xml": _XML, "smallint": _INT2, "integer": _INT4, "bigint": _INT8,
    "numeric": _NUMERIC, "real": _FLOAT4, "double precision": _FLOAT8, "date": _DATE,
    "timestamp without time zone": _TIMESTAMP, "timestamp with time zone": _TIMESTAMPTZ, "uuid": _UUID,
    "inet": _INET, "cidr": _CIDR, "bytea": _BYTEA, "boolean": _CLOSED, "interval": _CLOSED, "money": _CLOSED,
    "time without time zone": _CLOSED, "time with time zone": _CLOSED, "oid": _CLOSED, '"char"': _CLOSED,
}  # fmt: skip

_MODIFIER = re.compile(r"\(\d+(,-?\d+)?\)")


def kind_of_name(name: str | None) -> Kind:
    """Return the kind of a type by what ``format_type`` calls it; an unknown one is opaque."""
    if name is None:
        return OPAQUE
    bare = _MODIFIER.sub("", name)
    if bare.endswith("[]"):
        element = _BY_NAME.get(bare.removesuffix("[]").rpartition(".")[2])
        return _array(element) if element else OPAQUE
    return _BY_NAME.get(bare) or (_TEXT if bare.rpartition(".")[2] == "citext" else OPAQUE)


def kind_of(oid: int, name: str | None = None) -> Kind:
    """Return the kind of a type by its OID; ``name`` helps with types of extensions, whose OIDs are not
    fixed."""
    known = _BY_OID.get(oid)
    if known is None and oid >= 16384:
        named = kind_of_name(name)
        # citext is the one type of an extension that is sent as plain text; a name such as "bigint" under a
        # dynamic OID would mean that plan and answer do not speak of the same column.
        return named if named is _TEXT else OPAQUE
    return known or OPAQUE
