"""Splitting a stream into messages."""

import pytest

from weirgate_wire.postgres.error import FrameTooLong, PeerError
from weirgate_wire.postgres.frame import RUN_LIMIT_BYTES, Frame, Part, Run, Splitter, frame

LIMITS = {ord("Q"): 100, ord("D"): 1_000_000}


def splitter() -> Splitter:
    return Splitter(LIMITS, run_kinds=frozenset(b"D"))


def drain(given: Splitter) -> list[Frame | Run | Part]:
    units: list[Frame | Run | Part] = []
    while (unit := given.next()) is not None:
        units.append(unit)
    return units


def test_rows_come_as_one_run_between_other_messages() -> None:
    row = frame(b"D", b"abc")
    given = splitter()
    given.feed(frame(b"Q", b"x") + row * 3 + frame(b"Q"))
    assert drain(given) == [Frame(81, frame(b"Q", b"x")), Run(68, row * 3, 3), Frame(81, frame(b"Q"))]


def test_a_run_is_cut_at_its_limit_and_at_the_last_whole_row() -> None:
    row = frame(b"D", b"x" * 1000)
    given = splitter()
    given.feed(row * 600 + row[:500])
    runs = drain(given)
    assert [type(one) for one in runs] == [Run] * 3
    assert all(isinstance(one, Run) and len(one.block) <= RUN_LIMIT_BYTES for one in runs)
    assert given.buffered_bytes == 500
    given.feed(row[500:])
    assert drain(given) == [Run(68, row, 1)]


@pytest.mark.parametrize(
    "header", [b"Q\x7f\xff\xff\xff", b"Q\xff\xff\xff\xff", b"D\x80\0\0\0", b"Q\0\0\0\x64"]
)
def test_a_length_over_the_limit_is_refused_from_the_header(header: bytes) -> None:
    given = splitter()
    given.feed(header)
    with pytest.raises(FrameTooLong):
        given.next()


@pytest.mark.parametrize("header", [b"Z\0\0\0\4", b"Q\0\0\0\3", b"D\0\0\0\0"])
def test_an_unknown_kind_and_an_impossible_length_are_refused(header: bytes) -> None:
    given = splitter()
    given.feed(header)
    with pytest.raises(PeerError):
        given.next()


def test_an_impossible_length_behind_a_good_row_is_refused_after_it() -> None:
    given = splitter()
    given.feed(frame(b"D", b"a") + b"D\0\0\0\0" + frame(b"D", b"a"))
    assert given.next() == Run(68, frame(b"D", b"a"), 1)
    with pytest.raises(PeerError):
        given.next()


def test_a_long_row_is_held_whole_or_streamed_as_told() -> None:
    row = frame(b"D", b"x" * 600_000)
    given = splitter()
    given.feed(row[:100])
    assert given.next() is None
    given.feed(row[100:])
    assert drain(given) == [Run(68, row, 1)]
    given.streams = lambda: True
    given.feed(row[:100])
    first = given.next()
    assert isinstance(first, Part)
    assert (first.first, first.last, first.size_bytes) == (True, False, len(row))
    given.feed(row[100:] + frame(b"Q"))
    rest = drain(given)
    assert b"".join(one.piece for one in [first, *rest] if isinstance(one, Part)) == row
    assert rest[-1] == Frame(81, frame(b"Q"))


def test_a_row_refused_for_its_length_can_be_skimmed() -> None:
    row = frame(b"D", b"x" * 2_000_000)
    given = splitter()
    given.feed(row)
    with pytest.raises(FrameTooLong):
        given.next()
    given.streams = lambda: True
    assert all(isinstance(one, Part) for one in drain(given))
    assert given.buffered_bytes == 0


def test_limits_can_change_between_messages() -> None:
    given = splitter()
    given.feed(frame(b"Q") + frame(b"X"))
    assert given.next() is not None
    given.limits = {ord("X"): 100}
    assert given.next() == Frame(88, frame(b"X"))


def test_what_is_left_can_be_taken_and_looked_at() -> None:
    given = splitter()
    assert given.peek() is None
    given.feed(frame(b"Q")[:3])
    given.feed(b"\0")
    assert given.peek() == ord("Q")
    assert given.next() is None
    assert given.rest() == frame(b"Q")[:4]
    assert given.buffered_bytes == 0
