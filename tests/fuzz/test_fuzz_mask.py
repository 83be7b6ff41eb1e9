"""The masks under noise: PeerError or nothing, and never a labelled value."""

import contextlib
import struct
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from weirgate_contracts.labels import DETECTOR_LABELS
from weirgate_contracts.masking import (
    CopyOptions,
    DetectorPlan,
    OutputPlan,
    Plan,
    StatementPlan,
    Transform,
    TransformKind,
)
from weirgate_mask.result import Keyring, copy_masker, row_masker
from weirgate_wire.error import PeerError
from weirgate_wire.postgres.row import join_row
from weirgate_wire.postgres.upstream import FieldDescription

KEYS = Keyring(b"k" * 32)
DETECTORS = tuple(DetectorPlan(label=label, transform=Transform(kind="redact")) for label in DETECTOR_LABELS)
OIDS = (25, 1042, 114, 3802, 17, 20, 23, 1700, 701, 16, 1082, 1114, 1184, 2950, 869, 1009, 1016, 1231, 1001,
        2249)  # fmt: skip
KINDS: st.SearchStrategy[TransformKind] = st.sampled_from(
    ["redact", "partial", "null", "generalise", "pseudonym", "format"]
)
CELL = st.none() | st.binary(max_size=60)


@st.composite
def answers(draw: st.DrawFn) -> tuple[StatementPlan, Plan, list[FieldDescription]]:
    fields = [
        FieldDescription("c", type_oid=draw(st.sampled_from(OIDS)), format=draw(st.integers(0, 1)))
        for _ in range(draw(st.integers(1, 4)))
    ]
    outputs = tuple(
        OutputPlan(name="c", labels=("pii.x",), transform=Transform(kind=draw(KINDS)))
        if draw(st.booleans())
        else OutputPlan(name="c")
        for _ in fields
    )
    one = StatementPlan(outputs=outputs)
    return one, Plan(statements=(one,), detectors=DETECTORS), fields


@settings(max_examples=300)
@given(answers(), st.binary(max_size=200))
def test_noise_for_a_block_is_refused_or_the_masker_is_content(
    answer: tuple[StatementPlan, Plan, list[FieldDescription]], noise: bytes
) -> None:
    made = row_masker(answer[0], answer[1], frozenset(), answer[2], KEYS)
    if made is None:
        return
    with contextlib.suppress(PeerError):
        made.mask_rows(noise)


@settings(max_examples=300)
@given(answers(), st.data())
def test_rows_of_any_cells_are_masked_without_an_error(
    answer: tuple[StatementPlan, Plan, list[FieldDescription]], data: st.DataObject
) -> None:
    made = row_masker(answer[0], answer[1], frozenset(), answer[2], KEYS)
    width = len(answer[2])
    rows = data.draw(st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1, max_size=10))
    block = b"".join(join_row(row) for row in rows)
    if made is None:
        return
    out = made.mask_rows(block)
    at = count = 0
    while at < len(out):
        at += 1 + struct.unpack_from(">I", out, at + 1)[0]
        count += 1
    assert at == len(out)
    assert count == len(rows)


FORMATS: tuple[Literal["text", "csv", "binary"], ...] = ("text", "csv", "binary")
PIECE = st.binary(max_size=30) | st.sampled_from(
    [
        b"a\tb\n",
        b'a,"b"\n',
        b"\n",
        b'"',
        b"\\",
        b"PGCOPY\n\xff\r\n\x00" + bytes(8),
        b"\x00\x02",
        b"\x00\x00\x00\x01x",
    ]
)


@settings(max_examples=400)
@given(st.sampled_from(FORMATS), st.lists(PIECE, max_size=8), st.sampled_from(['"', "'", "\\"]))
def test_noise_for_a_copy_is_refused_or_read(
    format: Literal["text", "csv", "binary"], pieces: list[bytes], escape: str
) -> None:
    options = CopyOptions(format=format, delimiter="," if format == "csv" else "\t", escape=escape)
    hidden = OutputPlan(name=None, labels=("pii.x",), transform=Transform(kind="redact"))
    one = StatementPlan(outputs=(OutputPlan(name=None), hidden), copy_options=options)
    whole = Plan(statements=(one,), detectors=DETECTORS)
    made = copy_masker(one, whole, frozenset(), format=format, columns=2, keys=KEYS)
    assert made is not None
    try:
        for piece in pieces:
            made.feed(piece)
        made.finish()
    except PeerError:
        pass
