"""What people are shown fits their screen and cannot drive it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weirgate_bus.port import Delivery
from weirgate_recorder import tail
from weirgate_recorder.layout import fit, grid, size, size_cells, span, visible
from weirgate_testkit.audit import Scribe


@given(st.text(), st.integers(1, 40))
def test_a_text_is_fitted_to_exactly_the_width(text: str, width: int) -> None:
    assert size_cells(fit(visible(text), width)) in (width, width - 1 + (size_cells(text) == 0))


@given(st.text())
def test_nothing_invisible_is_left_in_what_is_shown(text: str) -> None:
    shown = visible(text)
    assert not any(ord(each) < 32 or ord(each) in (0x7F, 0x202E, 0x2028) for each in shown)


@given(st.lists(st.lists(st.text(max_size=30), min_size=3, max_size=3), max_size=5), st.integers(20, 100))
def test_no_line_of_a_table_is_wider_than_the_screen(rows: list[list[str]], width: int) -> None:
    for line in grid(("one", "two", "three"), rows, limit=width, ruled=True):
        assert size_cells(line) <= width


def test_columns_that_must_stay_whole_do() -> None:
    lines = list(grid(("id", "text"), [("0" * 26, "x" * 100)], limit=60, whole=1))
    assert "0" * 26 in lines[1]


def test_durations_and_sizes_read_well() -> None:
    assert [span(each) for each in (7, 1500, 2_500_000, 90_000_000, 7_260_000_000)] == [
        "7 µs",
        "1.5 ms",
        "2.5 s",
        "1m30s",
        "2h01m",
    ]
    assert [size(each) for each in (12, 2048, 5 * 1024**2)] == ["12 B", "2.0 KiB", "5.0 MiB"]


def test_every_event_is_one_line_and_one_object() -> None:
    for sequence, event in enumerate(Scribe().log(1), 1):
        delivery = Delivery(subject=event.subject, body=event.encoded(), sequence=sequence)
        line = tail.line(delivery)
        assert size_cells(line) <= 100
        assert event.kind[:20] in line
        document = tail.document(delivery)
        assert (document["id"], document["log_sequence"]) == (event.id, sequence)
        assert json.dumps(document)


@given(st.binary())
def test_what_is_no_event_is_shown_too(body: bytes) -> None:
    delivery = Delivery(subject="audit.x", body=body, sequence=1, stored_at="2026-01-01T00:00:00Z")
    assert tail.line(delivery)
    assert json.dumps(tail.document(delivery))


def test_kinds_and_a_session_become_subjects() -> None:
    assert tail.subjects() == ["audit.>"]
    assert tail.subjects(kinds=["operation.denied"]) == ["audit.operation.denied.*.*"]
    assert "audit.admin.killed.s1" in tail.subjects(session="s1")
    assert "audit.approval.granted.*.s1.*" in tail.subjects(session="s1")
    assert tail.subjects(kinds=["log"], session="s1") == []
    with pytest.raises(tail.UnknownKind):
        tail.subjects(kinds=["operat"])
