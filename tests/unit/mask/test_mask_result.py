"""Plans applied to rows, and plans that do not fit."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weirgate_contracts.labels import DETECTOR_LABELS
from weirgate_contracts.masking import (
    DetectorPlan,
    LabelledColumn,
    OutputPlan,
    Plan,
    StatementPlan,
    Transform,
)
from weirgate_mask.placeholder import placeholder
from weirgate_mask.result import Keyring, PlanMismatch, RowMasker, row_masker
from weirgate_wire.error import PeerError
from weirgate_wire.postgres.row import join_row, split_row

KEYS = Keyring(b"k" * 32)
REDACT = Transform(kind="redact")
NOTHING: frozenset[str] = frozenset()
EMAIL = placeholder("pii.email", KEYS).encode()
Row = list[bytes | None]


@dataclass(frozen=True)
class Column:
    """What the masks read of a RowDescription column."""

    name: str = "c"
    table_oid: int = 0
    column_number: int = 0
    type_oid: int = 25
    format: int = 0


def block(*rows: Sequence[bytes | None]) -> bytes:
    return b"".join(join_row(row) for row in rows)


def rows_of(data: bytes) -> list[Row]:
    rows: list[Row] = []
    at = 0
    while at < len(data):
        assert data[at : at + 1] == b"D"
        (size,) = struct.unpack_from(">I", data, at + 1)
        rows.append(split_row(data[at + 5 : at + 1 + size]))
        at += 1 + size
    return rows


def masked(name: str | None = "c", *labels: str, transform: Transform = REDACT) -> OutputPlan:
    return OutputPlan(name=name, labels=labels or ("pii.email",), transform=transform)


CLEAR = OutputPlan(name="c")


def plans(*outputs: OutputPlan, detect: tuple[str, ...] = (), transform: Transform = REDACT,
          labelled: tuple[LabelledColumn, ...] = ()) -> tuple[StatementPlan, Plan]:  # fmt: skip
    one = StatementPlan(outputs=outputs)
    found = tuple(DetectorPlan(label=label, transform=transform) for label in detect)
    return one, Plan(statements=(one,), detectors=found, labelled=labelled)


def masker(*outputs: OutputPlan, columns: list[Column] | None = None, unmask: frozenset[str] = NOTHING,
           detect: tuple[str, ...] = (), transform: Transform = REDACT,
           labelled: tuple[LabelledColumn, ...] = ()) -> RowMasker | None:  # fmt: skip
    one, whole = plans(*outputs, detect=detect, transform=transform, labelled=labelled)
    return row_masker(one, whole, unmask, columns or [Column() for _ in outputs], KEYS)


def surely(made: RowMasker | None) -> RowMasker:
    assert made is not None
    return made


def test_only_the_planned_column_is_masked_and_null_stays_null() -> None:
    made = surely(masker(CLEAR, masked(), CLEAR))
    out = made.mask_rows(block([b"1", b"a@b.cd", b"x"], [b"2", None, None], [None, b"", b"y"]))
    assert rows_of(out) == [[b"1", EMAIL, b"x"], [b"2", None, None], [None, EMAIL, b"y"]]
    assert made.cells_masked == 2


def test_nothing_to_mask_needs_no_masker() -> None:
    assert masker(CLEAR, CLEAR) is None
    assert masker(CLEAR, detect=("pii.email",), columns=[Column(type_oid=23)]) is None


def test_an_output_is_clear_only_if_every_label_is_unmasked() -> None:
    both = masked("c", "pii.email", "pii.phone")
    assert masker(both, unmask=frozenset(("pii.email", "pii.phone"))) is None
    made = surely(masker(both, unmask=frozenset(("pii.email",))))
    assert rows_of(made.mask_rows(block([b"x"]))) == [[placeholder("pii.phone", KEYS).encode()]]


def test_a_detector_whose_label_is_unmasked_is_off() -> None:
    assert masker(CLEAR, detect=("pii.email",), unmask=frozenset(("pii.email",))) is None


def test_outputs_none_leaves_only_the_detectors() -> None:
    one = StatementPlan(outputs=None)
    whole = Plan(statements=(one,), detectors=(DetectorPlan(label="pii.email", transform=REDACT),))
    made = surely(row_masker(one, whole, NOTHING, [Column(), Column()], KEYS))
    assert rows_of(made.mask_rows(block([b"to a@b.cd!", None]))) == [[b"to " + EMAIL + b"!", None]]


def test_cells_that_hold_no_text_are_not_searched() -> None:
    one = StatementPlan(outputs=(CLEAR,), cell_text=False)
    whole = Plan(statements=(one,), detectors=(DetectorPlan(label="pii.email", transform=REDACT),))
    assert row_masker(one, whole, NOTHING, [Column()], KEYS) is None


@pytest.mark.parametrize(
    ("outputs", "columns"),
    [
        ((CLEAR,), [Column(), Column()]),
        ((CLEAR, CLEAR), [Column()]),
        ((OutputPlan(name="email"),), [Column(name="mail")]),
        ((CLEAR,), [Column(format=2)]),
    ],
)
def test_a_plan_of_another_shape_is_a_mismatch(
    outputs: tuple[OutputPlan, ...], columns: list[Column]
) -> None:
    with pytest.raises(PlanMismatch) as raised:
        masker(*outputs, columns=columns)
    assert raised.value.reason


def test_a_labelled_column_the_plan_does_not_mask_is_a_mismatch() -> None:
    column = LabelledColumn(table_oid=7, column_number=3, label="pii.email", transform=REDACT)
    for output in (CLEAR, masked("c", "pii.phone")):
        with pytest.raises(PlanMismatch):
            masker(output, columns=[Column(table_oid=7, column_number=3)], labelled=(column,))
    assert masker(masked(), columns=[Column(table_oid=7, column_number=3)], labelled=(column,)) is not None
    assert masker(CLEAR, columns=[Column(table_oid=7, column_number=4)], labelled=(column,)) is None
    clear = frozenset(("pii.email",))
    assert (
        masker(CLEAR, columns=[Column(table_oid=7, column_number=3)], labelled=(column,), unmask=clear)
        is None
    )


def test_a_labelled_column_in_an_answer_planned_without_outputs_is_a_mismatch() -> None:
    one = StatementPlan(outputs=None)
    column = LabelledColumn(table_oid=7, column_number=3, label="pii.email", transform=REDACT)
    with pytest.raises(PlanMismatch):
        row_masker(one, Plan(statements=(one,), labelled=(column,)), NOTHING, [Column("c", 7, 3)], KEYS)


def test_an_impossible_plan_masks_nothing_and_lets_nothing_through() -> None:
    one = StatementPlan(outputs=None)
    with pytest.raises(PlanMismatch):
        row_masker(one, Plan(statements=(one,), impossible="no catalog"), NOTHING, [Column()], KEYS)


def test_a_label_without_a_transform_is_redacted() -> None:
    made = surely(masker(OutputPlan(name="c", labels=("pii.email",))))
    assert rows_of(made.mask_rows(block([b"x"]))) == [[EMAIL]]


def test_a_hit_never_spans_two_cells() -> None:
    made = surely(masker(CLEAR, CLEAR, detect=DETECTOR_LABELS))
    for rows in ([[b"411111111111", b"1111"]], [[b"john@", b"example.com"]], [[b"123-45-", b"6789"]]):
        assert made.mask_rows(block(*rows)) == block(*rows)
    assert made.cells_masked == 0


def test_a_length_header_that_looks_like_a_digit_hides_no_hit() -> None:
    made = surely(masker(CLEAR, detect=("payment.card",)))
    # A cell of 48 to 57 bytes: its length header ends in an ASCII digit.
    for padding in range(28, 45):
        cell = b"4111111111111111" + b" " * padding
        ((out,),) = rows_of(made.mask_rows(block([cell])))
        assert out == placeholder("payment.card", KEYS).encode() + b" " * padding


def test_card_numbers_in_number_columns_become_null() -> None:
    number = struct.pack(">q", 4111111111111111)
    other = struct.pack(">q", 4111111111111112)
    columns = [Column(type_oid=20, format=1), Column(type_oid=20), Column(type_oid=1700), Column(type_oid=23)]
    made = surely(masker(*(CLEAR,) * 4, columns=columns, detect=("payment.card",)))
    out = made.mask_rows(
        block([number, b"4111111111111111", b"4111111111111111", b"1"], [other, b"5", b"1.5", b"2"])
    )
    assert rows_of(out) == [[None, None, None, b"1"], [other, b"5", b"1.5", b"2"]]
    assert made.cells_masked == 3


def test_only_the_whole_part_of_a_written_number_can_be_a_card() -> None:
    made = surely(masker(CLEAR, columns=[Column(type_oid=1700)], detect=("payment.card",)))
    cards = [b"4111111111111111", b"-4111111111111111", b"4111111111111111.25", b"4222222222222"]
    others = [b"0.4111111111111111", b"12.4111111111111111", b"411111111111", b"4111111111111112", None]
    out = rows_of(made.mask_rows(block(*([cell] for cell in cards + others))))
    assert out == [[None]] * len(cards) + [[cell] for cell in others]


def test_stars_keep_what_is_kept_in_every_row_whatever_its_size_and_script() -> None:
    output = OutputPlan(
        name="c", labels=("payment.card",), transform=Transform(kind="partial", keep_first=1, keep_last=2)
    )
    ascii_rows = [[b"4111-1111"], [b"abc"], [b""], [None], [b"abcd"]]
    starred = [[b"4******11"], [b"***"], [b""], [None], [b"a*cd"]]
    made = surely(masker(output, detect=DETECTOR_LABELS))
    assert rows_of(made.mask_rows(block(*ascii_rows))) == starred
    assert made.cells_masked == 4
    mixed = [*ascii_rows, ["ärgerlich".encode()]]
    assert rows_of(made.mask_rows(block(*mixed))) == [*starred, ["ä******ch".encode()]]


def test_a_find_beside_a_masked_column_is_found() -> None:
    hidden = OutputPlan(name="c", labels=("payment.card",), transform=Transform(kind="partial", keep_last=4))
    made = surely(masker(hidden, CLEAR, detect=DETECTOR_LABELS))
    out = rows_of(made.mask_rows(block([b"4111111111111111", b"to a@b.cd"], [b"a@b.cd", b"plain"])))
    assert out == [[b"************1111", b"to " + EMAIL], [b"**b.cd", b"plain"]]


def test_a_card_number_in_a_binary_numeric_is_found() -> None:
    # 4111 1111 1111 1111 in base 10,000: four digits, weight 3.
    cell = struct.pack(">HhHH4H", 4, 3, 0, 0, 4111, 1111, 1111, 1111)
    small = struct.pack(">HhHH1H", 1, 0, 0, 0, 42)
    made = surely(masker(CLEAR, columns=[Column(type_oid=1700, format=1)], detect=("payment.card",)))
    assert rows_of(made.mask_rows(block([cell], [small], [None]))) == [[None], [small], [None]]


def test_a_find_in_json_leaves_json() -> None:
    import json

    columns = [Column(type_oid=114), Column(type_oid=3802, format=1)]
    made = surely(masker(CLEAR, CLEAR, columns=columns, detect=DETECTOR_LABELS))
    text = rb'{"mail":"x \u0040 jo\u0068n\u0040example.com", "card": 4111111111111111, "a@b.cd": [1.5, "\n"]}'
    ((plain, binary),) = rows_of(made.mask_rows(block([text, b"\x01" + text])))
    assert plain is not None
    assert binary is not None
    assert binary == b"\x01" + plain
    assert json.loads(plain) == {
        "mail": f"x @ {EMAIL.decode()}",
        "card": placeholder("payment.card", KEYS),
        EMAIL.decode(): [1.5, "\n"],
    }


def test_a_find_in_bytea_is_found_in_both_formats() -> None:
    columns = [Column(type_oid=17), Column(type_oid=17, format=1)]
    made = surely(masker(CLEAR, CLEAR, columns=columns, detect=("pii.email",)))
    secret = b"to john@example.com"
    out = rows_of(made.mask_rows(block([b"\\x" + secret.hex().encode(), secret], [b"\\x00ff", b"\x00\xff"])))
    assert out == [[b"\\x" + EMAIL.hex().encode(), EMAIL], [b"\\x00ff", b"\x00\xff"]]


def test_a_find_in_an_array_leaves_an_array() -> None:
    columns = [Column(type_oid=1009), Column(type_oid=1009, format=1)]
    made = surely(masker(CLEAR, CLEAR, columns=columns, detect=("pii.email",)))
    head = struct.pack(">iiIii", 1, 0, 25, 2, 1)
    binary = head + struct.pack(">i", 6) + b"a@b.cd" + struct.pack(">i", 1) + b"x"
    ((text, raw),) = rows_of(made.mask_rows(block([b'{a@b.cd,"x, y"}', binary])))
    assert text == b"{" + EMAIL + b',"x, y"}'
    assert raw == head + struct.pack(">i", len(EMAIL)) + EMAIL + struct.pack(">i", 1) + b"x"


def test_a_find_in_a_type_we_cannot_write_is_null_in_binary() -> None:
    columns = [Column(type_oid=2249, format=1), Column(type_oid=2249)]
    made = surely(masker(CLEAR, CLEAR, columns=columns, detect=("pii.email",)))
    out = rows_of(made.mask_rows(block([b"\x00\x01a@b.cd", b"(1,a@b.cd)"])))
    assert out == [[None, b"(1," + EMAIL + b")"]]


def test_an_address_column_is_masked_by_its_type() -> None:
    made = surely(masker(CLEAR, columns=[Column(type_oid=869)], detect=("pii.ip",)))
    assert rows_of(made.mask_rows(block([b"10.0.0.1"], [None]))) == [[None], [None]]


def test_transforms_of_detectors_apply_to_what_is_found() -> None:
    partial = Transform(kind="partial", keep_last=4)
    made = surely(masker(CLEAR, detect=("payment.card",), transform=partial))
    assert rows_of(made.mask_rows(block([b"card 4111111111111111."]))) == [[b"card ************1111."]]
    null = surely(masker(CLEAR, detect=("payment.card",), transform=Transform(kind="null")))
    assert rows_of(null.mask_rows(block([b"card 4111111111111111."]))) == [[None]]


def test_types_that_hold_no_text_are_not_searched() -> None:
    columns = [Column(type_oid=2950), Column(type_oid=1114), Column()]
    made = surely(masker(CLEAR, CLEAR, CLEAR, columns=columns, detect=DETECTOR_LABELS))
    row: Row = [b"41111111-1111-1111-1111-111111111111", b"2024-01-01 10:00:00", b"x"]
    assert made.mask_rows(block(row)) == block(row)


@pytest.mark.parametrize(
    "noise",
    [
        b"D",
        b"D\x00\x00\x00\x04",
        b"D\x00\x00\x00\x00\x00\x01",
        b"E\x00\x00\x00\x0b\x00\x01\x00\x00\x00\x01x",
        b"D\x00\x00\x00\x0b\x00\x02\x00\x00\x00\x01x",
        b"D\x00\x00\x00\x0b\x00\x01\x00\x00\x00\x02x",
        b"D\x00\x00\x00\x0c\x00\x01\x00\x00\x00\x01xy",
        b"D\x00\x00\x00\x0a\x00\x01\xff\xff\xff\xfe",
        b"D\x7f\xff\xff\xff\x00\x01\x00\x00\x00\x01x",
        b"D\x00\x00\x00\x0b\x00\x01\x7f\xff\xff\xffx",
    ],
)
def test_a_block_that_is_not_what_it_says_is_refused_whole(noise: bytes) -> None:
    made = surely(masker(masked()))
    good = block([b"john"])
    for data in (noise, good + noise, noise + good):
        with pytest.raises(PeerError):
            made.mask_rows(data)


SAMPLES = [b"a@b.cd", b"4111111111111111", "ü".encode() * 9]
CELL = st.none() | st.binary(max_size=20) | st.sampled_from(SAMPLES)
ROWS = st.integers(1, 6).flatmap(
    lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1, max_size=30)
)


@given(ROWS, st.data())
def test_rows_keep_their_number_shape_and_nulls_and_lose_what_is_labelled(
    rows: list[Row], data: st.DataObject
) -> None:
    width = len(rows[0])
    hidden = data.draw(st.sets(st.integers(0, width - 1)))
    kinds = ("redact", "null", "pseudonym", "partial")
    transform = data.draw(st.sampled_from([Transform(kind=kind) for kind in kinds]))
    outputs = [masked(transform=transform) if number in hidden else CLEAR for number in range(width)]
    made = masker(*outputs, detect=("pii.email",))
    out = rows_of(surely(made).mask_rows(block(*rows)))
    assert len(out) == len(rows)
    for before, after in zip(rows, out, strict=True):
        for number in range(width):
            was, now = before[number], after[number]
            if was is None:
                assert now is None
            elif number in hidden:
                assert now is None or (now != was or set(was) <= set(b"*"))
            elif b"a@b.cd" not in was:
                assert now == was
            else:
                assert now is not None
                assert b"a@b.cd" not in now


@given(ROWS, st.integers(1, 5))
def test_blocks_of_any_size_give_the_same_rows(rows: list[Row], size: int) -> None:
    outputs = [masked(transform=Transform(kind="pseudonym")), *(CLEAR,) * (len(rows[0]) - 1)]
    whole = surely(masker(*outputs, detect=DETECTOR_LABELS))
    cut = surely(masker(*outputs, detect=DETECTOR_LABELS))
    parts = b"".join(cut.mask_rows(block(*rows[at : at + size])) for at in range(0, len(rows), size))
    assert whole.mask_rows(block(*rows)) == parts
    assert whole.cells_masked == cut.cells_masked


def test_many_different_values_are_forgotten_again() -> None:
    made = surely(masker(masked(transform=Transform(kind="pseudonym"))))
    for start in range(0, 30_000, 3_000):
        out = rows_of(made.mask_rows(block(*([b"%d" % number] for number in range(start, start + 3_000)))))
        assert len({row[0] for row in out}) == 3_000
    assert made.cells_masked == 30_000
