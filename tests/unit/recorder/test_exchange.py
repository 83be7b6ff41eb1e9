"""A recording of an HTTP session is read back: what was called, what was answered, and nothing left out."""

import gzip
import random
import zlib
from collections.abc import Callable
from dataclasses import replace

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from weirgate_contracts.recording import Frame
from weirgate_recorder.body import KEPT_BYTES
from weirgate_recorder.exchange import Exchange
from weirgate_recorder.reading import Reading
from weirgate_recorder.replay import document, tell
from weirgate_recorder.scene import Answered, Body, Bytes, Called, Message, Said, Scene
from weirgate_wire.postgres.agent import Query


def called(body: bytes, operation: int = 1) -> Frame:
    return Frame(direction="i", operation=operation, at_us=1_000_000, body=body)


def answered(body: bytes, operation: int = 1) -> Frame:
    return Frame(direction="o", operation=operation, at_us=2_000_000, body=body)


def read(*frames: Frame, rows: int = 20) -> list[Scene]:
    exchange = Exchange(rows=rows)
    scenes = [scene for frame in frames for scene in exchange.feed(frame)]
    return [*scenes, *exchange.finish()]


def told(*frames: Frame, rows: int = 20, width: int = 100) -> list[str]:
    return [line for scene in read(*frames, rows=rows) for line in tell(scene, width=width)]


def bodies(*frames: Frame, rows: int = 20) -> list[Body]:
    return [scene for scene in read(*frames, rows=rows) if isinstance(scene, Body)]


def kinds(*frames: Frame) -> list[str]:
    return [type(scene).__name__ for scene in read(*frames)]


GET = b"GET /v1/customers/7?x=1 HTTP/1.1\r\naccept: */*\r\n\r\n"
POST = b'POST /v1/orders HTTP/1.1\r\ncontent-type: application/json\r\n\r\n{"customer":7}'
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: 9\r\n\r\n"
JSON = OK + b'{"id": 7}'
CHUNKED = (
    b"HTTP/1.1 201 Created\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nx-sum: 11\r\n\r\n"
)


def session() -> list[Frame]:
    return [
        called(GET),
        answered(JSON),
        called(POST, 2),
        answered(b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED, 2),
        called(b"HEAD /v1/customers HTTP/1.1\r\n\r\n", 3),
        answered(b"HTTP/1.1 200 OK\r\ncontent-length: 512\r\n\r\n", 3),
        called(b"DELETE /v1/customers/7 HTTP/1.1\r\n\r\n", 4),
        answered(b"HTTP/1.1 204 No Content\r\n\r\n", 4),
    ]


def test_a_session_reads_as_calls_and_answers() -> None:
    assert told(*session()) == [
        "00:00:01.000    #1 ▸ GET /v1/customers/7?x=1 HTTP/1.1",
        "                     accept: */*",
        "00:00:02.000    #1 ◂ 200 OK",
        "                     content-type: application/json; charset=utf-8",
        "                     content-length: 9",
        '                     │ {"id": 7}',
        "                     9 B of application/json to the agent",
        "00:00:01.000    #2 ▸ POST /v1/orders HTTP/1.1",
        "                     content-type: application/json",
        '                     │ {"customer":7}',
        "                     14 B of application/json from the agent",
        "00:00:02.000    #2 ◂ 100 Continue",
        "00:00:02.000    #2 ◂ 201 Created",
        "                     content-type: text/plain",
        "                     transfer-encoding: chunked",
        "                     │ hello world",
        "                     x-sum: 11",
        "                     11 B of text/plain to the agent",
        "00:00:01.000    #3 ▸ HEAD /v1/customers HTTP/1.1",
        "00:00:02.000    #3 ◂ 200 OK",
        "                     content-length: 512",
        "00:00:01.000    #4 ▸ DELETE /v1/customers/7 HTTP/1.1",
        "00:00:02.000    #4 ◂ 204 No Content",
    ]


@given(st.data())
def test_where_frames_are_cut_changes_nothing(data: st.DataObject) -> None:
    frames: list[Frame] = []
    for frame in session():
        cuts = sorted(data.draw(st.lists(st.integers(0, len(frame.body)), max_size=4)))
        for start, end in zip([0, *cuts], [*cuts, len(frame.body)], strict=True):
            frames.append(replace(frame, body=frame.body[start:end]))
    assert [document(scene) for scene in read(*frames)] == [document(scene) for scene in read(*session())]


def test_a_session_as_json_says_the_same() -> None:
    call, answer, body = (document(scene) for scene in read(called(GET), answered(JSON)))
    assert (call["scene"], call["method"], call["target"]) == ("called", "GET", "/v1/customers/7?x=1")
    assert (answer["scene"], answer["status"], answer["operation"]) == ("answered", 200, 1)
    assert (body["scene"], body["direction"], body["type"], body["size_bytes"], body["text"]) == (
        "body", "out", "application/json", 9, '{"id": 7}',
    )  # fmt: skip


def test_calls_sent_before_an_answer_came_are_told_in_order() -> None:
    frames = [
        called(GET),
        called(POST, 2),
        called(GET, 3),
        answered(JSON),
        answered(CHUNKED, 2),
        answered(JSON, 3),
    ]
    assert kinds(*frames) == [
        "Called", "Called", "Body", "Called", "Answered", "Body", "Answered", "Body", "Answered", "Body",
    ]  # fmt: skip


def test_several_messages_in_one_frame_are_told_apart_where_their_heads_say_how_long_they_are() -> None:
    post = POST.replace(b"\r\n\r\n", b"\r\ncontent-length: 14\r\n\r\n")
    chunked = b"PUT /x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    assert kinds(called(post + chunked + post), answered(JSON + CHUNKED + JSON)) == [
        "Called", "Body", "Called", "Body", "Called", "Body",
        "Answered", "Body", "Answered", "Body", "Answered", "Body",
    ]  # fmt: skip


def test_a_body_that_looks_like_another_call_is_a_body() -> None:
    (call, body) = read(called(POST + b"\n" + GET))
    assert isinstance(call, Called)
    assert isinstance(body, Body)
    assert body.text is not None
    assert "GET /v1/customers/7" in body.text


def test_a_body_that_is_still_sent_while_it_is_answered_is_told_in_parts() -> None:
    found = bodies(called(POST), answered(OK), called(b"more"), answered(b'{"id": 7}'), called(GET, 2))
    assert [(each.direction, each.size_bytes) for each in found] == [("in", 14), ("out", 9), ("in", 4)]


def test_what_is_no_text_is_told_by_size_and_type() -> None:
    png = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 2048\r\n\r\n" + b"\x89PNG\x00" * 409
    assert told(called(GET), answered(png + b"\x00\x00\x00"))[-1].strip() == (
        "2.0 KiB of image/png to the agent, not text"
    )


def compressed(body: bytes, encoding: str, type_: str = "text/plain") -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {type_}\r\ncontent-encoding: {encoding}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(b"hello", mtime=0), "gzip"),
        (gzip.compress(b"hello", mtime=0), "x-gzip"),
        (zlib.compress(b"hello"), "deflate"),
        (zlib.compress(b"hello")[2:-4], "deflate"),
        (brotli.compress(b"hello"), "br"),
        (zstandard.compress(b"hello"), "zstd"),
        (brotli.compress(gzip.compress(b"hello", mtime=0)), "gzip, br"),
    ],
)
def test_compressed_text_is_shown_as_text(body: bytes, encoding: str) -> None:
    (found,) = bodies(called(GET), answered(compressed(body, encoding)))
    assert (found.text, found.cut, found.encoding, found.size_bytes) == ("hello", False, encoding, len(body))


@pytest.mark.parametrize("encoding", ["zstd", "gzip, gzip", "compress", "gzip, br, br", "gzip"])
def test_what_is_not_decompressed_here_is_told_by_size(encoding: str) -> None:
    (found,) = bodies(called(GET), answered(compressed(b"\x8b\x02\x80hello\x03", encoding)))
    assert found.text is None
    lines = told(called(GET), answered(compressed(b"\x8b\x02\x80hello\x03", encoding)))
    assert lines[-1].strip() == f"9 B of text/plain to the agent, {encoding}, not text"


@pytest.mark.parametrize(
    ("pack", "encoding"), [(gzip.compress, "gzip"), (brotli.compress, "br"), (zstandard.compress, "zstd")]
)
def test_of_a_compressed_body_that_breaks_off_the_beginning_is_shown(
    pack: Callable[[bytes], bytes], encoding: str
) -> None:
    noise = "".join(random.Random(7).choices("abcdefghij\n", k=900_000))
    (found,) = bodies(called(GET), answered(compressed(pack(noise.encode()), encoding)), rows=200)
    assert found.text
    assert noise.startswith(found.text)
    assert found.cut


@pytest.mark.parametrize(
    ("pack", "encoding"), [(gzip.compress, "gzip"), (brotli.compress, "br"), (zstandard.compress, "zstd")]
)
def test_a_bomb_is_shown_by_its_beginning_only(pack: Callable[[bytes], bytes], encoding: str) -> None:
    (found,) = bodies(called(GET), answered(compressed(pack(b"a" * 50_000_000), encoding)))
    assert found.text is not None
    assert (len(found.text), found.cut) == (4000, True)


def test_of_a_long_answer_the_first_lines_are_shown_and_all_is_counted() -> None:
    text = b"line\n" * 100_000
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/csv\r\n\r\n"
    frames = [called(GET), *(answered(part) for part in (head, text[:333_333], text[333_333:]))]
    (found,) = bodies(*frames, rows=3)
    assert (found.text, found.cut, found.size_bytes) == ("line\nline\nline", True, 500_000)
    assert told(*frames, rows=3)[-1].endswith("488.3 KiB of text/csv to the agent, the beginning shown")
    (none,) = bodies(*frames, rows=0)
    assert (none.text, none.cut) == ("", True)


def test_what_the_agent_sent_is_shown_up_to_a_limit_whatever_rows_are_asked_for() -> None:
    (small,) = bodies(called(POST), rows=0)
    assert (small.text, small.cut) == ('{"customer":7}', False)
    (large,) = bodies(called(POST + b"x" * KEPT_BYTES))
    assert large.text is not None
    assert (len(large.text), large.cut, large.size_bytes) == (KEPT_BYTES, True, KEPT_BYTES + 14)


def test_text_cut_within_a_character_is_text_all_the_same() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n"
    (found,) = bodies(called(GET), answered(head + "xä".encode() * 4000))
    assert found.text is not None
    assert found.cut


def test_another_charset_is_told_as_it_is_meant() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=ISO-8859-1\r\ncontent-length: 2\r\n\r\n"
    assert [each.text for each in bodies(called(GET), answered(head + b"\xe4x"))] == ["äx"]
    odd = head.replace(b"ISO-8859-1", b"rot13")
    assert [each.text for each in bodies(called(GET), answered(odd + b"ab"))] == ["ab"]


def test_a_recording_that_is_cut_off_is_told_as_far_as_it_goes() -> None:
    whole = b"".join(frame.body for frame in session()[2:4])
    for size in range(len(whole)):
        asked, said = POST[:size], (session()[3].body)[: max(0, size - len(POST))]
        for scene in read(called(asked), answered(said)):
            assert list(tell(scene))
            assert document(scene)
    (body,) = bodies(called(GET), answered(OK + b'{"id'))
    assert (body.size_bytes, body.whole, body.text) == (4, False, '{"id')
    assert told(called(GET), answered(OK + b'{"id'))[-1].endswith(
        "4 B of application/json to the agent, cut off"
    )


def test_after_a_message_that_was_cut_off_the_next_operation_is_read_again() -> None:
    scenes = read(called(GET), answered(OK + b"{"), called(GET, 2), answered(JSON, 2))
    answers = [scene for scene in scenes if isinstance(scene, Body)]
    assert [(each.operation, each.size_bytes, each.whole) for each in answers] == [
        (1, 1, False),
        (2, 9, True),
    ]


def test_an_answer_to_nobody_knows_what_is_told_too() -> None:
    refused = b"HTTP/1.1 403 Forbidden\r\ncontent-type: application/problem+json\r\ncontent-length: 2\r\n\r\n"
    assert kinds(answered(refused + b"{}", 1), answered(refused, 2), answered(refused + b"{}", 3)) == [
        "Answered", "Body", "Answered", "Answered", "Body",
    ]  # fmt: skip


def upgraded(protocol: bytes) -> list[Frame]:
    upgrade = b"GET /ws HTTP/1.1\r\nconnection: upgrade\r\nupgrade: " + protocol + b"\r\n\r\n"
    switched = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: " + protocol + b"\r\n\r\n"
    return [called(upgrade), answered(switched + b"\x81\x05hello")]


def test_after_an_upgrade_both_sides_are_bytes_of_the_other_protocol() -> None:
    found = bodies(*upgraded(b"other"), called(b"\x88\x80\x01\x02\x03\x04", 2))
    assert [(each.direction, each.type, each.size_bytes) for each in found] == [
        ("out", "other", 7), ("in", "other", 6),
    ]  # fmt: skip


def test_a_websocket_is_told_message_by_message_wherever_its_frames_are_cut() -> None:
    opened = upgraded(b"websocket")
    said = b"\x01\x02ab\x89\x01p\x80\x01c" + b"\x82\x01\x00" + b"\x88\x07\x03\xf0no :("
    one = [called(said, 2)]
    two = [called(said[at : at + 1], 2) for at in range(len(said))]
    for frames in (one, two):
        found = [each for each in read(*opened, *frames) if isinstance(each, Message)]
        assert [(each.direction, each.kind, each.text, each.code) for each in found] == [
            ("out", "text", "hello", None), ("in", "ping", "p", None), ("in", "text", "abc", None),
            ("in", "binary", None, None), ("in", "close", "no :(", 1008),
        ]  # fmt: skip
        assert {each.operation for each in found} == {1, 2}
    assert any("◂ text, 5 B" in line for line in told(*opened))
    assert any("▸ close 1008" in line for line in told(*opened, *one))


def test_what_is_no_frame_and_what_is_cut_off_is_told_all_the_same() -> None:
    cut, broken = read(*upgraded(b"websocket"), called(b"\x01\x02ab", 2), called(b"\xff\x00", 2))[-2:]
    assert isinstance(cut, Message)
    assert (cut.text, cut.whole) == ("ab", False)
    assert isinstance(broken, Bytes)
    assert broken.size_bytes == 2


@pytest.mark.parametrize(
    "broken",
    [
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\nrest",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nrest",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\nrest",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabXX",
        b"nothing of the kind\r\n\r\n",
    ],
)
def test_what_cannot_be_read_is_shown_as_bytes_up_to_the_next_operation(broken: bytes) -> None:
    scenes = read(called(GET), answered(broken), answered(b"more"), called(GET, 2), answered(JSON, 2))
    unread = [scene for scene in scenes if isinstance(scene, Bytes)]
    assert unread
    assert unread[-1].size_bytes == 4
    assert isinstance(scenes[-1], Body)
    assert isinstance(scenes[-2], Answered)


@given(st.lists(st.tuples(st.sampled_from("iox"), st.integers(0, 3), st.binary(max_size=60))))
def test_noise_raises_nothing(noise: list[tuple[str, int, bytes]]) -> None:
    for scene in read(*(Frame(direction=d, operation=n, at_us=1, body=body) for d, n, body in noise)):
        assert list(tell(scene))
        assert document(scene)


_BITS = [
    GET,
    POST,
    OK,
    JSON,
    CHUNKED,
    b"\r\n",
    b"0\r\n\r\n",
    b"HTTP/1.1 101 x\r\n\r\n",
    b"5\r\nhello",
    b"\x00\xff",
]


@given(st.lists(st.tuples(st.sampled_from("io"), st.integers(0, 3), st.sampled_from(_BITS)), max_size=12))
def test_messages_in_any_disorder_raise_nothing(parts: list[tuple[str, int, bytes]]) -> None:
    for scene in read(*(Frame(direction=d, operation=n, at_us=1, body=body) for d, n, body in parts)):
        assert list(tell(scene))


@pytest.mark.parametrize("width", [60, 100])
def test_every_line_fits_the_screen(width: int) -> None:
    head = b"HTTP/1.1 200 " + b"r" * 200 + b"\r\nx-long: " + b"v" * 300 + b"\r\ncontent-type: " + b"t" * 200
    frames = [called(b"GET /" + b"p" * 300 + b" HTTP/1.1\r\n\r\n"), answered(head + b"\r\n\r\n" + b"w" * 900)]
    lines = told(*frames, width=width)
    assert max(map(len, lines)) <= width
    assert sum(line.count("p") for line in lines) >= 300


def test_nothing_recorded_can_drive_the_terminal() -> None:
    sent = b"GET /\x1b[2J HTTP/1.1\r\nx: \x1b]0;owned\x07\r\n\r\n"
    head = b"HTTP/1.1 200 \x1b[31m\r\ncontent-type: text/\x1b\r\n\r\n"
    text = "\n".join(told(called(sent), answered(head + b"a\x1b[2J\rb\r\nc\x7f"), called(GET, 2)))
    assert "\x1b" not in text
    assert "\r" not in text
    assert "\x7f" not in text


def test_a_reading_finds_out_whose_protocol_it_is() -> None:
    def first(protocol: str | None, *frames: Frame) -> Scene:
        reading = Reading(protocol)
        return next(scene for frame in frames for scene in reading.feed(frame))

    query = Query("select 1").encode()
    assert isinstance(first(None, called(b""), called(GET)), Called)
    assert isinstance(first(None, answered(JSON)), Answered)
    assert isinstance(first("http", called(GET)), Called)
    assert isinstance(first("mcp", called(GET)), Called)
    assert isinstance(first(None, called(query)), Said)
    assert isinstance(first("postgres", called(query)), Said)
    assert list(Reading().finish()) == []
