"""A recording is read back: what was asked, what came, and nothing left out."""

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weirgate_contracts.recording import Frame
from weirgate_recorder.replay import document, tell
from weirgate_recorder.scene import Bytes, Copied, Done, Left, Said, Scene, Table, Told
from weirgate_recorder.transcript import Transcript
from weirgate_wire.postgres.agent import (
    Bind,
    CopyData,
    CopyDone,
    Describe,
    Execute,
    Parse,
    Query,
    Sync,
    Terminate,
)
from weirgate_wire.postgres.upstream import (
    BIND_COMPLETE,
    COPY_DONE,
    NO_DATA,
    PARSE_COMPLETE,
    CommandComplete,
    CopyResponse,
    DataRow,
    ErrorResponse,
    FieldDescription,
    NoticeResponse,
    ReadyForQuery,
    RowDescription,
)

READY = ReadyForQuery("I").encode()
COLUMNS = RowDescription((FieldDescription("id", type_oid=23), FieldDescription("email")))


def said(body: bytes, operation: int = 1) -> Frame:
    return Frame(direction="i", operation=operation, at_us=1_000_000, body=body)


def answered(body: bytes, operation: int = 1) -> Frame:
    return Frame(direction="o", operation=operation, at_us=2_000_000, body=body)


def read(*frames: Frame, rows: int = 20) -> list[Scene]:
    transcript = Transcript(rows=rows)
    scenes = [scene for frame in frames for scene in transcript.feed(frame)]
    return [*scenes, *transcript.finish()]


def simple_session() -> list[Frame]:
    rows = b"".join(DataRow((str(n).encode(), b"a@b.c" if n else None)).encode() for n in range(3))
    return [
        said(Query("select id, email from customers").encode()),
        answered(COLUMNS.encode() + rows + CommandComplete("SELECT 3").encode() + READY),
        said(Query("oops").encode(), 2),
        answered(
            ErrorResponse({"S": "ERROR", "C": "42601", "M": "syntax error", "H": "try again"}).encode()
            + READY,
            2,
        ),
        said(Terminate().encode(), 0),
    ]


def test_a_simple_query_is_told_with_its_table_and_tag() -> None:
    scenes = read(*simple_session())
    assert [type(scene) for scene in scenes] == [Said, Table, Done, Said, Told, Left]
    table = scenes[1]
    assert isinstance(table, Table)
    assert table.columns == ("id", "email")
    assert table.rows == (("0", None), ("1", "a@b.c"), ("2", "a@b.c"))
    assert (table.count, table.numbers) == (3, (True, False))


@given(st.data())
def test_where_frames_are_cut_changes_nothing(data: st.DataObject) -> None:
    frames: list[Frame] = []
    for frame in simple_session():
        cut = data.draw(st.integers(0, len(frame.body)))
        for body in (frame.body[:cut], frame.body[cut:]):
            frames += [replace(frame, body=body)]
    assert [document(scene) for scene in read(*frames)] == [
        document(scene) for scene in read(*simple_session())
    ]


def test_an_extended_query_shows_text_parameters_and_binary_cells() -> None:
    scenes = read(
        said(
            Parse("s1", "select id from t where id = $1", (23,)).encode()
            + Describe("S", "s1").encode()
            + Sync().encode()
        ),
        answered(
            PARSE_COMPLETE.encode() + RowDescription((FieldDescription("id", type_oid=23),)).encode() + READY
        ),
        said(
            Bind("", "s1", (struct.pack(">i", 7),), (1,), (1,)).encode()
            + Execute("").encode()
            + Sync().encode(),
            2,
        ),
        answered(
            BIND_COMPLETE.encode()
            + DataRow((struct.pack(">i", 7),)).encode()
            + CommandComplete("SELECT 1").encode()
            + READY,
            2,
        ),
    )
    prepared, ran, table, done = scenes
    assert isinstance(prepared, Said)
    assert prepared.phase == "prepare"
    assert isinstance(ran, Said)
    assert (ran.text, ran.parameters) == ("select id from t where id = $1", ("7",))
    assert isinstance(table, Table)
    assert (table.columns, table.rows) == (("id",), (("7",),))
    assert isinstance(done, Done)


def test_after_an_error_a_pipeline_goes_on_at_the_next_sync() -> None:
    scenes = read(
        said(
            Parse("", "insert into t values (1)").encode()
            + Bind("", "").encode()
            + Execute("").encode()
            + Bind("", "").encode()
            + Execute("").encode()
            + Sync().encode()
            + Parse("", "select id from t").encode()
            + Bind("", "").encode()
            + Describe("P", "").encode()
            + Execute("").encode()
            + Sync().encode()
        ),
        answered(
            PARSE_COMPLETE.encode()
            + BIND_COMPLETE.encode()
            + ErrorResponse({"S": "ERROR", "C": "42501", "M": "no"}).encode()
            + READY
            + PARSE_COMPLETE.encode()
            + BIND_COMPLETE.encode()
            + RowDescription((FieldDescription("id"),)).encode()
            + DataRow((b"1",)).encode()
            + CommandComplete("SELECT 1").encode()
            + READY
        ),
    )
    tables = [scene for scene in scenes if isinstance(scene, Table)]
    assert [table.columns for table in tables] == [("id",)]


def test_copy_data_is_told_both_ways() -> None:
    scenes = read(
        said(Query("copy t from stdin").encode()),
        answered(CopyResponse("in", 0, (0, 0)).encode()),
        said(CopyData(b"1\ta\n").encode() + CopyData(b"2\tb\n").encode() + CopyDone().encode()),
        answered(CommandComplete("COPY 2").encode() + READY),
        said(Query("copy t to stdout").encode(), 2),
        answered(
            CopyResponse("out", 0, (0, 0)).encode()
            + CopyData(b"1\ta\n").encode()
            + COPY_DONE.encode()
            + CommandComplete("COPY 1").encode()
            + READY,
            2,
        ),
    )
    copies = [scene for scene in scenes if isinstance(scene, Copied)]
    assert [(each.direction, each.messages, each.lines) for each in copies] == [
        ("in", 2, ("1\ta", "2\tb")),
        ("out", 1, ("1\ta",)),
    ]


def test_of_a_large_result_the_first_rows_are_kept_and_all_are_counted() -> None:
    rows = b"".join(DataRow((str(n).encode(), b"x")).encode() for n in range(5000))
    scenes = read(
        said(Query("select").encode()),
        *(answered(piece) for piece in (COLUMNS.encode(), rows[:33_333], rows[33_333:])),
        answered(CommandComplete("SELECT 5000").encode() + READY),
        rows=5,
    )
    table = scenes[1]
    assert isinstance(table, Table)
    assert (len(table.rows), table.count, table.size_bytes) == (5, 5000, len(rows))


def test_a_notice_and_no_data_are_told_in_order() -> None:
    scenes = read(
        said(Parse("", "update t set a = 1").encode() + Describe("S", "").encode() + Sync().encode()),
        answered(
            NoticeResponse({"S": "NOTICE", "C": "00000", "M": "held for dba"}).encode()
            + PARSE_COMPLETE.encode()
            + NO_DATA.encode()
            + READY
        ),
    )
    assert [type(scene) for scene in scenes] == [Said, Told]


@given(st.lists(st.tuples(st.sampled_from("io"), st.binary(max_size=60))))
def test_noise_becomes_bytes_and_no_byte_of_it_is_lost_unsaid(noise: list[tuple[str, bytes]]) -> None:
    frames = [Frame(direction=side, operation=1, at_us=1, body=body) for side, body in noise]
    for scene in read(*frames):
        assert list(tell(scene))
        assert document(scene)


def test_after_what_cannot_be_read_everything_of_that_side_is_shown_as_bytes() -> None:
    scenes = read(said(b"\x00garbage"), said(b"more"))
    assert [scene.size_bytes for scene in scenes if isinstance(scene, Bytes)] == [8, 4]


@pytest.mark.parametrize("width", [60, 100])
def test_every_line_fits_the_screen(width: int) -> None:
    wide = RowDescription(tuple(FieldDescription(f"a_rather_long_column_name_{n}") for n in range(12)))
    scenes = read(
        said(Query("select " + ", ".join(f"column_{n}" for n in range(60)) + " from t\nwhere true").encode()),
        answered(
            wide.encode()
            + DataRow((b"value " * 20,) * 12).encode()
            + CommandComplete("SELECT 1").encode()
            + READY
        ),
        answered(
            ErrorResponse({"S": "ERROR", "C": "42501", "M": "m" * 300, "H": "h" * 300}).encode() + READY
        ),
    )
    for scene in scenes:
        for line in tell(scene, width=width):
            assert len(line) <= width


def test_nothing_recorded_can_drive_the_terminal() -> None:
    scenes = read(
        said(Query("select '\x1b]0;owned\x07'").encode()),
        answered(COLUMNS.encode() + DataRow((b"1", b"\x1b[2J\r\nx")).encode() + READY),
    )
    text = "\n".join(line for scene in scenes for line in tell(scene))
    assert "\x1b" not in text
    assert "\r" not in text
    assert "\\u001b[2J\\r\\nx" in text
