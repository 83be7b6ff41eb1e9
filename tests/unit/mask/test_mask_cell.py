"""Every transform on every type in both formats."""

import datetime
import ipaddress
import json
import struct
import uuid
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weirgate_contracts.masking import Transform, TransformKind
from weirgate_mask import values
from weirgate_mask.cell import cell_masker
from weirgate_mask.checksum import card_number, luhn
from weirgate_mask.keys import Keyring
from weirgate_mask.kind import OPAQUE, kind_of, kind_of_name
from weirgate_mask.placeholder import is_placeholder
from weirgate_mask.substitute import Substitute

KEYS = Keyring(b"k" * 32)
KINDS: tuple[TransformKind, ...] = ("redact", "partial", "null", "generalise", "pseudonym", "format")


def numeric_binary(text: str) -> bytes:
    return values.write_numeric(Decimal(text), True)


def array_binary(oid: int, *cells: bytes | None) -> bytes:
    body = b"".join(b"\xff\xff\xff\xff" if c is None else struct.pack(">i", len(c)) + c for c in cells)
    return struct.pack(">iiIii", 1, int(None in cells), oid, len(cells), 1) + body


STAMP = datetime.datetime(2019, 5, 17, 8, 30, 1, 250000)
STAMP_BINARY = values.write_timestamp(STAMP, True, zone=False)
UUID = uuid.UUID("6f1c1f4e-4b3a-4f69-9d53-0d6c9f6f2b11")

# type, OID, text cell, binary cell
TYPES: list[tuple[str, int, bytes, bytes]] = [
    ("text", 25, b"j\xc3\xb6rg@example.com", b"j\xc3\xb6rg@example.com"),
    ("varchar", 1043, b"4111 1111 1111 1111", b"4111 1111 1111 1111"),
    ("bpchar", 1042, b"abcdef    ", b"abcdef    "),
    ("name", 19, b"somebody", b"somebody"),
    ("json", 114, b'{"mail": "joerg@example.com"}', b'{"mail": "joerg@example.com"}'),
    ("jsonb", 3802, b'{"mail": "joerg@example.com"}', b'\x01{"mail": "joerg@example.com"}'),
    ("xml", 142, b"<a>joerg</a>", b"<a>joerg</a>"),
    ("uuid", 2950, str(UUID).encode(), UUID.bytes),
    ("int2", 21, b"12345", struct.pack(">h", 12345)),
    ("int4", 23, b"123456789", struct.pack(">i", 123456789)),
    ("int8", 20, b"4111111111111111", struct.pack(">q", 4111111111111111)),
    ("numeric", 1700, b"-92837.40", numeric_binary("-92837.40")),
    ("float4", 700, b"0.1", struct.pack(">f", 0.1)),
    ("float8", 701, b"12345.678", struct.pack(">d", 12345.678)),
    ("bool", 16, b"t", b"\x01"),
    ("date", 1082, b"2019-05-17", values.write_date(STAMP.date(), True)),
    ("timestamp", 1114, b"2019-05-17 08:30:01.25", STAMP_BINARY),
    ("timestamptz", 1184, b"2019-05-17 10:30:01.25+02", STAMP_BINARY),
    ("time", 1083, b"08:30:01", struct.pack(">q", 30601000000)),
    ("interval", 1186, b"1 day", struct.pack(">qii", 0, 1, 0)),
    ("inet", 869, b"192.168.7.9", b"\x02\x20\x00\x04\xc0\xa8\x07\x09"),
    ("cidr", 650, b"2001:db8:1::/64", b"\x03\x40\x01\x10" + ipaddress.ip_address("2001:db8:1::").packed),
    ("bytea", 17, b"\\x736563726574", b"secret"),
    ("text[]", 1009, b'{one,"two, 2",NULL}', array_binary(25, b"one", b"two, 2", None)),
    ("int4[]", 1007, b"{17003,-5,NULL}", array_binary(
        23, struct.pack(">i", 17003), struct.pack(">i", -5), None)),
    ("opaque", 99999, b"(1,joerg)", b"\x00\x00\x00\x02joerg"),
]  # fmt: skip

READERS: dict[str, Callable[[bytes, bool], object]] = {
    "text": lambda cell, _: values.read_text(cell),
    "varchar": lambda cell, _: values.read_text(cell),
    "bpchar": lambda cell, _: values.read_text(cell),
    "name": lambda cell, _: values.read_text(cell),
    "xml": lambda cell, _: values.read_text(cell),
    "json": lambda cell, _: json.loads(cell),
    "jsonb": lambda cell, binary: json.loads(values.read_json(cell, binary, versioned=True)),
    "uuid": values.read_uuid,
    "int2": lambda cell, binary: values.read_integer(cell, 2, binary),
    "int4": lambda cell, binary: values.read_integer(cell, 4, binary),
    "int8": lambda cell, binary: values.read_integer(cell, 8, binary),
    "numeric": values.read_numeric,
    "float4": lambda cell, binary: values.read_float(cell, 4, binary),
    "float8": lambda cell, binary: values.read_float(cell, 8, binary),
    "date": values.read_date,
    "timestamp": values.read_timestamp,
    "timestamptz": values.read_timestamp,
    "inet": values.read_inet,
    "cidr": values.read_inet,
    "bytea": values.read_bytea,
}


def mask(oid: int, binary: bool, kind: TransformKind, cell: bytes, **more: int) -> bytes | None:
    transform = Transform.model_validate({"kind": kind, **more})
    return cell_masker(kind_of(oid), binary, Substitute("pii.test", transform, KEYS))(cell)


@pytest.mark.parametrize("transform", KINDS)
@pytest.mark.parametrize(("name", "oid", "text", "binary"), TYPES, ids=[one[0] for one in TYPES])
def test_a_masked_value_is_another_value_of_its_type_or_null(
    name: str, oid: int, text: bytes, binary: bytes, transform: TransformKind
) -> None:
    for cell, is_binary in ((text, False), (binary, True)):
        masked = mask(oid, is_binary, transform, cell, keep_last=2)
        if transform == "null":
            assert masked is None
        if masked is None:
            continue
        assert masked != cell
        if name in READERS:
            READERS[name](masked, is_binary)
        for secret in (b"joerg", b"secret", b"two", b"17003", b"4111111111111111", b"92837"):
            assert secret not in masked


@pytest.mark.parametrize("transform", ["pseudonym", "format", "generalise"])
@pytest.mark.parametrize(("name", "oid", "text", "binary"), TYPES, ids=[one[0] for one in TYPES])
def test_text_and_binary_of_a_value_are_masked_alike(
    name: str, oid: int, text: bytes, binary: bytes, transform: TransformKind
) -> None:
    as_text, as_binary = mask(oid, False, transform, text), mask(oid, True, transform, binary)
    assert (as_text is None) == (as_binary is None)
    if as_text is not None and as_binary is not None and name in READERS:
        assert READERS[name](as_text, False) == READERS[name](as_binary, True)


@pytest.mark.parametrize(
    "name", ["int2", "int4", "int8", "numeric", "float8", "date", "timestamp", "uuid", "inet"]
)
def test_a_type_that_holds_no_placeholder_is_null_when_redacted(name: str) -> None:
    _, oid, text, binary = next(one for one in TYPES if one[0] == name)
    for transform in ("redact", "partial"):
        assert mask(oid, False, transform, text) is None
        assert mask(oid, True, transform, binary) is None


@pytest.mark.parametrize("name", ["bool", "time", "interval", "opaque"])
@pytest.mark.parametrize("transform", KINDS)
def test_a_type_we_cannot_write_is_always_null(name: str, transform: TransformKind) -> None:
    _, oid, text, binary = next(one for one in TYPES if one[0] == name)
    assert mask(oid, False, transform, text) is None
    assert mask(oid, True, transform, binary) is None


def test_redacted_text_is_a_placeholder_and_json_holds_one() -> None:
    masked = mask(25, False, "redact", b"x")
    assert masked is not None
    assert is_placeholder(masked.decode(), KEYS)
    document = mask(3802, True, "partial", b'\x01{"a": 1}')
    assert document is not None
    assert is_placeholder(json.loads(document[1:]), KEYS)


def test_partial_keeps_characters_and_not_bytes() -> None:
    assert mask(25, False, "partial", "äöüß€".encode(), keep_first=1, keep_last=1) == "ä***€".encode()
    assert mask(25, False, "partial", b"4111111111111111", keep_last=4) == b"************1111"


def test_partial_of_a_short_value_shows_none_of_it() -> None:
    assert mask(25, False, "partial", b"1234", keep_last=4) == b"****"
    assert mask(25, False, "partial", "äö".encode(), keep_first=1, keep_last=1) == b"**"
    assert mask(25, False, "partial", b"", keep_last=4) == b""


def test_bytes_that_are_no_utf8_are_masked_too() -> None:
    assert mask(25, False, "partial", b"\xff\xfe\xfd", keep_last=1) == b"**\xfd"
    assert mask(25, False, "format", b"\xff\xfe") not in (None, b"\xff\xfe")


def test_padding_of_character_n_does_not_change_a_pseudonym() -> None:
    assert mask(1042, False, "pseudonym", b"abc   ") == mask(25, False, "pseudonym", b"abc")


def test_a_format_preserving_mask_keeps_length_and_separators() -> None:
    masked = mask(25, False, "format", b"Ab-12 cd@x.org")
    assert masked is not None
    text = masked.decode()
    shape = [c if not c.isalnum() else "d" if c.isdigit() else "U" if c.isupper() else "l" for c in text]
    assert "".join(shape) == "Ul-dd ll@l.lll"


def test_a_format_preserving_mask_of_a_card_passes_the_check_still() -> None:
    for cell in (b"4111 1111 1111 1111", b"5500-0000-0000-0004"):
        masked = mask(25, False, "format", cell)
        assert masked is not None
        assert luhn("".join(c for c in masked.decode() if c.isdigit()))
        assert masked != cell
    as_number = mask(20, False, "format", b"4111111111111111")
    assert as_number is not None
    assert luhn(as_number.decode())
    assert len(as_number) == 16


def test_a_shape_without_a_letter_or_digit_becomes_a_placeholder() -> None:
    masked = mask(25, False, "format", b"--- ---")
    assert masked is not None
    assert is_placeholder(masked.decode(), KEYS)


def test_generalise_gives_year_range_domain_and_network() -> None:
    assert mask(1082, False, "generalise", b"2019-05-17") == b"2019-01-01"
    assert mask(1114, False, "generalise", b"2019-05-17 08:30:01") == b"2019-01-01 00:00:00"
    assert mask(1184, False, "generalise", b"2019-12-31 23:30:01-05") == b"2020-01-01 00:00:00+00"
    assert mask(23, False, "generalise", b"52345", step=10000) == b"50000"
    assert mask(23, False, "generalise", b"-7") == b"-10"
    assert mask(1700, False, "generalise", b"52345.67", step=1000) == b"52000"
    assert mask(25, False, "generalise", b"john@example.com") == b"*@example.com"
    assert mask(869, False, "generalise", b"192.168.7.9") == b"192.168.7.0/24"
    assert mask(25, False, "generalise", b"192.168.7.9") == b"192.168.7.0/24"


def test_an_integer_at_the_edge_of_its_type_does_not_overflow() -> None:
    assert mask(21, False, "generalise", b"-32768") is None
    for transform in ("pseudonym", "format"):
        for value in (-(2**31), 2**31 - 1, 0, 1, -1):
            masked = mask(23, True, transform, struct.pack(">i", value))
            assert masked is not None
            assert len(masked) == 4


@pytest.mark.parametrize(
    ("oid", "cell"),
    [(23, b"no"), (1082, b"17.05.2019"), (1082, b"infinity"), (1114, b"17/05/2019 00:00:00"), (2950, b"x"),
     (869, b"nowhere"), (1700, b"NaN"), (701, b"Infinity"), (17, b"\\xzz"), (1009, b'{"a')],
)  # fmt: skip
def test_a_cell_that_cannot_be_read_becomes_null(oid: int, cell: bytes) -> None:
    for transform in ("pseudonym", "format", "generalise"):
        assert mask(oid, False, transform, cell) is None


@pytest.mark.parametrize("oid", [one[1] for one in TYPES])
@given(cell=st.binary(max_size=40), binary=st.booleans(), transform=st.sampled_from(KINDS))
def test_no_bytes_make_a_masker_raise(oid: int, cell: bytes, binary: bool, transform: TransformKind) -> None:
    mask(oid, binary, transform, cell, keep_last=2)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30, places=5))
def test_numeric_survives_its_binary_format(value: Decimal) -> None:
    assert values.read_numeric(values.write_numeric(value, True), True) == value


def test_types_are_known_by_name_too() -> None:
    assert kind_of_name("character varying(40)") == kind_of(25)
    assert kind_of_name("numeric(10,2)") == kind_of(1700)
    assert kind_of_name("timestamp with time zone") == kind_of(1184)
    assert kind_of_name("bigint[]") == kind_of(1016)
    assert kind_of_name("citext") == kind_of(25)
    assert kind_of_name("mood") == OPAQUE
    assert kind_of_name(None) == OPAQUE


def test_a_type_of_an_extension_is_known_by_name_only_where_it_is_text() -> None:
    assert kind_of(20001, "public.citext") == kind_of(25)
    assert kind_of(20001, "bigint") == OPAQUE
    assert kind_of(25, "bigint") == kind_of(25)


def test_card_numbers_are_of_known_issuers() -> None:
    assert card_number("4111111111111111")
    assert card_number("378282246310005")
    assert not card_number("4111111111111112")
    assert not card_number("0000000000000000")
    assert not card_number("1234567812345670")
