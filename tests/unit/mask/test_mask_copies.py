"""COPY, masked: text, CSV and binary, cut anywhere."""

import csv
import io
import struct
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weirgate_contracts.labels import DETECTOR_LABELS
from weirgate_contracts.masking import CopyOptions, DetectorPlan, OutputPlan, Plan, StatementPlan, Transform
from weirgate_mask.placeholder import placeholder
from weirgate_mask.result import CopyMasker, Keyring, PlanMismatch, copy_masker
from weirgate_wire.error import PeerError

KEYS = Keyring(b"k" * 32)
REDACT = Transform(kind="redact")
EMAIL = placeholder("pii.email", KEYS).encode()
CLEAR = OutputPlan(name=None)
HIDDEN = OutputPlan(name=None, labels=("pii.email",), transform=REDACT)
HEAD = b"PGCOPY\n\xff\r\n\0" + struct.pack(">II", 0, 0)
Format = Literal["text", "csv", "binary"]


def masker(
    *outputs: OutputPlan, options: CopyOptions | None = None, detect: tuple[str, ...] = (),
    unmask: frozenset[str] = frozenset(),
) -> CopyMasker | None:  # fmt: skip
    one = StatementPlan(outputs=outputs, copy_options=options)
    whole = Plan(
        statements=(one,), detectors=tuple(DetectorPlan(label=label, transform=REDACT) for label in detect)
    )
    format_: Format = "binary" if options and options.format == "binary" else "text"
    return copy_masker(one, whole, unmask, format=format_, columns=len(outputs), keys=KEYS)


def run(made: CopyMasker | None, data: bytes, *cuts: int) -> bytes:
    assert made is not None
    out = b""
    at = 0
    for cut in sorted(cuts):
        out += made.feed(data[at:cut])
        at = max(at, cut)
    return out + made.feed(data[at:]) + made.finish()


def binary(*rows: list[bytes | None]) -> bytes:
    body = b"".join(
        struct.pack(">h", len(row))
        + b"".join(b"\xff\xff\xff\xff" if c is None else struct.pack(">i", len(c)) + c for c in row)
        for row in rows
    )
    return HEAD + body + b"\xff\xff"


TEXT, CSV, BINARY = (CopyOptions(format="text"), CopyOptions(format="csv", delimiter=",", null=""),
                     CopyOptions(format="binary"))  # fmt: skip


def test_text_rows_are_masked_and_null_stays_null() -> None:
    data = b"1\tjohn\\tx@b.cd\t\\N\n2\t\\N\tx\n3\t\ty\n"
    made = masker(CLEAR, HIDDEN, CLEAR, options=TEXT)
    assert run(made, data) == b"1\t" + EMAIL + b"\t\\N\n2\t\\N\tx\n3\t" + EMAIL + b"\ty\n"
    assert made is not None
    assert made.cells_masked == 2


def test_an_escaped_delimiter_ends_no_field() -> None:
    options = CopyOptions(format="text", delimiter="|", null="NUL")
    data = b"a\\|b|secret\\|more|NUL\n"
    assert run(masker(CLEAR, HIDDEN, HIDDEN, options=options), data) == b"a\\|b|" + EMAIL + b"|NUL\n"


def test_a_masked_value_is_written_with_its_escapes() -> None:
    partial = OutputPlan(name=None, labels=("pii.email",), transform=Transform(kind="partial", keep_last=2))
    assert run(masker(partial, options=TEXT), b"secret\\t\\\\\n") == b"******\\t\\\\\n"


def test_csv_rows_are_masked_across_quotes_and_newlines() -> None:
    data = b'1,"jo""hn\n, x",\n2,,"y"\n3,"",z\n'
    made = masker(CLEAR, HIDDEN, CLEAR, options=CSV)
    assert run(made, data) == b"1," + EMAIL + b',\n2,,"y"\n3,' + EMAIL + b",z\n"


def test_a_csv_header_is_left_as_it_is() -> None:
    options = CSV.model_copy(update={"header": True})
    out = run(masker(CLEAR, HIDDEN, options=options), b"id,email\n1,john\n")
    assert out == b"id,email\n1," + EMAIL + b"\n"


def test_csv_with_an_escape_of_its_own_is_read_right() -> None:
    options = CopyOptions(format="csv", delimiter=";", null="", quote="'", escape="\\")
    data = b"1;'jo\\'hn;\n\\\\';x\n"
    for cut in range(len(data)):
        assert run(masker(CLEAR, HIDDEN, CLEAR, options=options), data, cut) == b"1;" + EMAIL + b";x\n"


def test_binary_rows_are_masked() -> None:
    data = binary([b"1", b"john"], [b"2", None])
    typed = HIDDEN.model_copy(update={"type": "text"})
    assert run(masker(CLEAR, typed, options=BINARY), data) == binary([b"1", EMAIL], [b"2", None])


def test_what_the_plan_does_not_know_the_type_of_is_null_in_binary() -> None:
    assert run(masker(CLEAR, HIDDEN, options=BINARY), binary([b"1", b"john"])) == binary([b"1", None])


def test_types_the_plan_knows_keep_their_type() -> None:
    number = OutputPlan(name=None, labels=("pii.id",), transform=Transform(kind="pseudonym"), type="integer")
    ((text),) = run(masker(number, options=TEXT), b"17\n").split()
    out = run(masker(number, options=BINARY), binary([struct.pack(">i", 17)]))
    assert struct.unpack(">i", out[len(HEAD) + 6 : len(HEAD) + 10])[0] == int(text)


def test_detectors_find_in_every_format() -> None:
    text = run(masker(CLEAR, CLEAR, options=TEXT, detect=DETECTOR_LABELS), b"1\tto a@b.cd\n2\tx\n")
    assert text == b"1\tto " + EMAIL + b"\n2\tx\n"
    written = run(masker(CLEAR, CLEAR, options=CSV, detect=DETECTOR_LABELS), b'1,"to, a@b.cd"\n2,x\n')
    assert written == b'1,"to, ' + EMAIL + b'"\n2,x\n'
    typed = CLEAR.model_copy(update={"type": "text"})
    packed = run(masker(typed, options=BINARY, detect=DETECTOR_LABELS), binary([b"to a@b.cd"], [b"x"]))
    assert packed == binary([b"to " + EMAIL], [b"x"])


def test_a_delimiter_that_splits_what_is_looked_for_hides_nothing() -> None:
    options = CopyOptions(format="text", delimiter="@")
    out = run(masker(CLEAR, CLEAR, options=options, detect=("pii.email",)), b"1@to a\\@b.cd\n")
    assert out == b"1@to " + EMAIL + b"\n"


def test_bytea_is_searched_in_its_hex() -> None:
    typed = CLEAR.model_copy(update={"type": "bytea"})
    data = b"\\\\x" + b"a@b.cd".hex().encode() + b"\n"
    out = run(masker(typed, options=TEXT, detect=("pii.email",)), data)
    assert out == b"\\\\x" + EMAIL.hex().encode() + b"\n"


def test_nothing_to_mask_needs_no_masker() -> None:
    assert masker(CLEAR, options=TEXT) is None
    assert masker(HIDDEN, options=TEXT, unmask=frozenset(("pii.email",))) is None


def test_a_copy_the_plan_does_not_know_is_a_mismatch() -> None:
    with pytest.raises(PlanMismatch):
        masker(HIDDEN)
    one = StatementPlan(outputs=(HIDDEN,), copy_options=TEXT)
    whole = Plan(statements=(one,))
    with pytest.raises(PlanMismatch):
        copy_masker(one, whole, frozenset(), format="binary", columns=1, keys=KEYS)
    with pytest.raises(PlanMismatch):
        copy_masker(one, whole, frozenset(), format="text", columns=2, keys=KEYS)


@pytest.mark.parametrize(
    ("options", "data"),
    [
        (TEXT, b"1\t2\t3\n"),
        (TEXT, b"1\n"),
        (TEXT, b"1\t2"),
        (CSV, b"1,2,3\n"),
        (CSV, b'1,"2\n'),
        (CSV, b'1,"2"x\n'),
        (BINARY, b"nothing of the kind"),
        (BINARY, HEAD),
        (BINARY, HEAD + b"\x00\x03"),
        (BINARY, HEAD + b"\x00\x02\xff\xff\xff\xfe"),
        (BINARY, binary([b"1", b"2"]) + b"x"),
        (BINARY, HEAD[:-8] + b"\x00\x01\x00\x00" + bytes(4) + b"\xff\xff"),
    ],
)
def test_a_stream_that_is_no_copy_of_the_planned_columns_is_refused(
    options: CopyOptions, data: bytes
) -> None:
    with pytest.raises(PeerError):
        run(masker(CLEAR, HIDDEN, options=options), data)


FIELD = st.none() | st.text(alphabet='ab@.\n\t\\",\r;ü1', max_size=12) | st.just("john@example.com")
ROWS = st.lists(st.lists(FIELD, min_size=3, max_size=3), min_size=1, max_size=8)
CUTS = st.lists(st.integers(0, 600), max_size=6)


def as_text(rows: list[list[str | None]]) -> bytes:
    def field(value: str | None) -> str:
        if value is None:
            return "\\N"
        for raw, written in (("\\", "\\\\"), ("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")):
            value = value.replace(raw, written)
        return value

    return "".join("\t".join(map(field, row)) + "\n" for row in rows).encode()


def as_csv(rows: list[list[str | None]]) -> bytes:
    def field(value: str | None) -> str:
        if value is None:
            return ""
        if not value or any(char in value for char in '",\n\r'):
            return '"' + value.replace('"', '""') + '"'
        return value

    return "".join(",".join(map(field, row)) + "\n" for row in rows).encode()


@given(ROWS, CUTS)
def test_cutting_text_anywhere_changes_nothing(rows: list[list[str | None]], cuts: list[int]) -> None:
    data = as_text(rows)
    whole = run(masker(CLEAR, HIDDEN, CLEAR, options=TEXT, detect=("pii.email",)), data)
    assert run(masker(CLEAR, HIDDEN, CLEAR, options=TEXT, detect=("pii.email",)), data, *cuts) == whole
    assert b"john" not in whole
    assert whole.count(b"\n") == len(rows)
    for line, row in zip(whole.split(b"\n"), rows, strict=False):
        fields = line.split(b"\t")
        assert [field == b"\\N" for field in fields] == [value is None for value in row]


@given(ROWS, CUTS)
def test_cutting_csv_anywhere_changes_nothing(rows: list[list[str | None]], cuts: list[int]) -> None:
    data = as_csv(rows)
    whole = run(masker(CLEAR, HIDDEN, CLEAR, options=CSV, detect=("pii.email",)), data)
    assert run(masker(CLEAR, HIDDEN, CLEAR, options=CSV, detect=("pii.email",)), data, *cuts) == whole
    assert b"john" not in whole
    read = list(csv.reader(io.StringIO(whole.decode(), newline="")))
    assert len(read) == len(rows)
    for after, before in zip(read, rows, strict=True):
        assert after[1] == ("" if before[1] is None else EMAIL.decode())


@given(ROWS, CUTS)
def test_cutting_binary_anywhere_changes_nothing(rows: list[list[str | None]], cuts: list[int]) -> None:
    data = binary(*([None if value is None else value.encode() for value in row] for row in rows))
    outputs = [one.model_copy(update={"type": "text"}) for one in (CLEAR, HIDDEN, CLEAR)]
    whole = run(masker(*outputs, options=BINARY, detect=("pii.email",)), data)
    assert run(masker(*outputs, options=BINARY, detect=("pii.email",)), data, *cuts) == whole
    assert b"john" not in whole
    assert whole.startswith(HEAD)
    assert whole.endswith(b"\xff\xff")
