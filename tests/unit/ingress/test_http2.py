"""An HTTP/2 upstream looks like an HTTP/1.1 one; a hostile one looks like one that is lost."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any, cast

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, SettingsFrame

from weirgate_ingress.http2 import WINDOW_BYTES, Http2Line
from weirgate_ingress.http2_frame import BUDGET, FrameMeter
from weirgate_wire.error import PeerError
from weirgate_wire.http.framing import LAST_CHUNK, BodyReader, chunk, response_framing
from weirgate_wire.http.head import HeadReader, RequestHead, ResponseHead

OK = [(":status", "200"), ("content-type", "text/plain")]


class Wire(asyncio.Transport):
    """What the upstream is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.gone = False

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def is_closing(self) -> bool:
        return self.gone

    def abort(self) -> None:
        self.gone = True

    def close(self) -> None:
        self.gone = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


class Wires:
    """In place of the link."""

    def attach(self, sink: Any, rest: bytes) -> None:
        pass

    def detach(self) -> None:
        pass


class Upstream:
    """A scripted server, the line before it, and the session behind that."""

    def __init__(self, **settings: int) -> None:
        self.wire = Wire()
        self.line = Http2Line(cast("Any", Wires()), self.wire)
        self.server = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.server.initiate_connection()
        if settings:
            self.server.update_settings({SettingCodes[name]: value for name, value in settings.items()})
        self.said = b""
        self.lost = 0
        self.full = False
        self.requests: list[dict[str, str]] = []
        self.body = b""
        self.ended: list[int] = []
        self.reset: list[int] = []
        self.on_said: Callable[[], None] | None = None
        self.line.start()
        self.line.attach(self, b"")
        self.turn()

    # the session
    def upstream_sent(self, data: bytes) -> None:
        assert data
        self.said += data
        if self.on_said is not None:
            self.on_said()

    def upstream_lost(self) -> None:
        self.lost += 1

    def upstream_full(self) -> None:
        self.full = True

    def upstream_drained(self) -> None:
        self.full = False

    # the server
    def turn(self, *, acknowledge: bool = True) -> None:
        """Let bytes go both ways until nothing moves."""
        while True:
            sent, self.wire.sent = self.wire.sent, b""
            for event in self.server.receive_data(sent) if sent else ():
                self.take(event, acknowledge)
            back = self.server.data_to_send()
            if back and not self.wire.gone:
                self.line.upstream_sent(back)
            if not self.wire.sent and not back:
                return

    def take(self, event: Event, acknowledge: bool) -> None:
        match event:
            case RequestReceived():
                self.requests.append({str(name): str(value) for name, value in event.headers or ()})
            case DataReceived():
                self.body += event.data or b""
                if acknowledge:
                    self.server.acknowledge_received_data(
                        event.flow_controlled_length or 0, event.stream_id or 0
                    )
            case StreamEnded():
                self.ended.append(event.stream_id or 0)
            case StreamReset():
                self.reset.append(event.stream_id or 0)
            case _:
                pass

    def ask(self, method: str = "GET", *headers: tuple[str, str], target: str = "/a?b=c") -> "Upstream":
        self.line.send_head(RequestHead(method=method, target=target, headers=(("host", "h.test"), *headers)))
        self.turn()
        return self

    def frames(self, *frames: Frame) -> None:
        self.line.upstream_sent(b"".join(frame.serialize() for frame in frames))

    def answer(self, number: int = 1, *pieces: bytes, headers: Any = OK, end: bool = True) -> None:
        self.server.send_headers(number, headers, end_stream=end and not pieces)
        for index, piece in enumerate(pieces):
            self.server.send_data(number, piece, end_stream=end and index == len(pieces) - 1)
        self.turn()

    def read(self, method: str = "GET") -> tuple[ResponseHead, bytes]:
        """Read what was said as the gate would; it is whole."""
        heads = HeadReader()
        heads.feed(self.said)
        head = heads.response()
        while head is not None and head.status < 200:
            head = heads.response()
        assert head is not None
        body = BodyReader(response_framing(head, method=method))
        pieces = body.feed(heads.rest())
        assert body.done
        assert body.rest() == b""
        self.said = b""
        return head, b"".join(pieces)


async def test_a_request_is_a_stream_and_its_answer_a_message() -> None:
    up = Upstream().ask("GET", ("accept", "*/*"), ("authorization", "Bearer s"), ("te", "trailers"))
    assert up.requests == [
        {":method": "GET", ":scheme": "https", ":authority": "h.test", ":path": "/a?b=c", "accept": "*/*",
         "authorization": "Bearer s"}
    ]  # fmt: skip
    assert up.ended == [1]
    up.answer(1, b"hel", b"lo")
    head, body = up.read()
    assert (head.status, head.get("content-type"), head.get("transfer-encoding"), body) == (
        200, "text/plain", "chunked", b"hello",
    )  # fmt: skip
    # The next one goes on the same connection.
    up.ask("DELETE").answer(3, headers=[(":status", "204")])
    assert up.read()[0].status == 204
    assert not up.lost


async def test_a_known_length_is_kept_and_an_empty_answer_has_one() -> None:
    up = Upstream().ask()
    up.answer(1, b"hel", b"lo", headers=[*OK, ("content-length", "5")])
    head, body = up.read()
    assert (head.get("content-length"), body) == ("5", b"hello")
    up.ask().answer(3)
    assert up.read()[0].get("content-length") == "0"
    up.ask("HEAD").answer(5, headers=[*OK, ("content-length", "70")])
    assert up.read("HEAD")[0].get("content-length") == "70"


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_is_taken_out_of_its_framing(chunked: bool) -> None:
    framing = ("transfer-encoding", "chunked") if chunked else ("content-length", "6")
    up = Upstream().ask("POST", framing)
    assert "transfer-encoding" not in up.requests[0]
    for piece in (b"abc", b"def"):
        up.line.write(chunk(piece) if chunked else piece)
    up.turn()
    assert (up.body, up.ended) == (b"abcdef", [] if chunked else [1])
    if chunked:
        up.line.write(LAST_CHUNK)
        up.turn()
    assert up.ended == [1]
    up.answer(1)
    assert up.read()[0].status == 200


async def test_a_head_on_its_way_and_trailers() -> None:
    up = Upstream().ask()
    up.server.send_headers(1, [(":status", "103"), ("link", "</a>")])
    up.answer(1, b"x", end=False)
    up.server.send_headers(1, [("grpc-status", "0")], end_stream=True)
    up.turn()
    assert up.said.startswith(b"HTTP/1.1 103 \r\nlink: </a>\r\n\r\nHTTP/1.1 200 \r\n")
    head, body = up.read()
    assert (head.status, body) == (200, b"x")


# ---------------------------------------------------------------- flow


async def test_an_upstream_that_takes_nothing_stops_the_agent_and_goes_on_later() -> None:
    up = Upstream().ask("PUT", ("transfer-encoding", "chunked"))
    up.line.set_write_buffer_limits(high=200_000, low=50_000)
    sent = hashlib.sha256()
    pieces = 0
    while not up.full:
        piece = bytes([pieces % 251]) * 16_000
        sent.update(piece)
        up.line.write(chunk(piece))
        up.turn(acknowledge=False)
        pieces += 1
        assert pieces < 100
    # Its window, and what may wait here.
    assert len(up.body) == 65_535
    assert up.line.get_write_buffer_size() < 220_000
    up.line.write(LAST_CHUNK)
    up.server.acknowledge_received_data(65_535, 1)
    up.turn()
    assert not up.full
    assert hashlib.sha256(up.body).digest() == sent.digest()
    assert up.ended == [1]


async def test_a_session_that_cannot_send_on_is_sent_no_more_than_the_window() -> None:
    up = Upstream().ask()
    up.server.send_headers(1, OK)
    up.line.pause_reading()
    size = 0
    while (room := min(up.server.local_flow_control_window(1), 16_384)) > 0:
        up.server.send_data(1, b"x" * room)
        size += room
        up.turn()
    assert size == WINDOW_BYTES
    up.line.resume_reading()
    up.turn()
    assert up.server.local_flow_control_window(1) > WINDOW_BYTES // 2
    up.server.end_stream(1)
    up.turn()
    assert len(up.read()[1]) == size


async def test_an_answer_before_the_end_of_the_request_ends_it() -> None:
    up = Upstream().ask("PUT", ("transfer-encoding", "chunked"))
    up.line.write(chunk(b"abc"))
    up.turn()
    up.answer(1, headers=[(":status", "413")])
    assert up.read()[0].status == 413
    assert up.reset == [1]
    up.line.write(chunk(b"more"))
    up.turn()
    assert (up.body, up.lost) == (b"abc", 0)


# ---------------------------------------------------------------- no end


def complete(raw: bytes) -> bool:
    heads = HeadReader()
    heads.feed(raw)
    head = heads.response()
    if head is None:
        return False
    body = BodyReader(response_framing(head, method="GET"))
    body.feed(heads.rest())
    return body.done


@pytest.mark.parametrize("headers", [OK, [*OK, ("content-length", "5")]])
@pytest.mark.parametrize("how", ["reset", "refused", "socket", "goaway", "garbage"])
async def test_an_answer_that_breaks_off_is_never_complete(headers: Any, how: str) -> None:
    up = Upstream().ask()
    # All of its bytes are there, and its end is not.
    up.answer(1, b"hello", headers=headers, end=False)
    match how:
        case "reset":
            up.server.reset_stream(1)
            up.turn()
        case "refused":
            up.server.reset_stream(1, 0x7)
            up.turn()
        case "socket":
            up.line.upstream_lost()
        case "goaway":
            up.frames(GoAwayFrame(0, last_stream_id=0, error_code=2))
        case _:
            up.line.upstream_sent(b"\x00\x00\x04\x08\x00\x00\x00\x00\x01\x00\x00\x00\x00")
    assert up.lost == 1
    assert not complete(up.said)
    assert up.line.is_closing()


async def test_a_length_that_is_not_kept_is_no_end() -> None:
    for pieces in ((b"hell",), (b"hello!",)):
        up = Upstream().ask()
        up.answer(1, headers=[*OK, ("content-length", "5")], end=False)
        up.frames(*(DataFrame(1, data=piece, flags=["END_STREAM"]) for piece in pieces))
        assert up.lost == 1
        assert not complete(up.said)


async def test_a_connection_that_is_given_notice_finishes_its_stream_and_is_not_used_again() -> None:
    up = Upstream().ask()
    up.frames(GoAwayFrame(0, last_stream_id=1, error_code=0))
    assert not up.lost
    up.answer(1, b"hello")
    head, body = up.read()
    assert (head.get("connection"), body) == ("close", b"hello")
    assert up.lost == 1
    idle = Upstream()
    idle.frames(GoAwayFrame(0, last_stream_id=0, error_code=0))
    assert idle.lost == 1


async def test_a_request_while_an_answer_is_handed_over_goes_on_its_own_stream() -> None:
    up = Upstream().ask()
    asked: list[int] = []

    def next_one() -> None:
        if not asked and up.said.endswith(LAST_CHUNK):
            asked.append(1)
            up.line.send_head(RequestHead(method="GET", target="/next", headers=(("host", "h.test"),)))

    up.on_said = next_one
    up.answer(1, b"hello")
    assert [one[":path"] for one in up.requests] == ["/a?b=c", "/next"]
    up.read()
    up.answer(3, b"again")
    assert up.read()[1] == b"again"


async def test_a_server_that_takes_no_stream_is_lost_and_not_from_within_the_call() -> None:
    up = Upstream(MAX_CONCURRENT_STREAMS=0)
    up.line.send_head(RequestHead(method="GET", target="/", headers=(("host", "h.test"),)))
    assert up.lost == 0
    assert up.line.is_closing()
    await asyncio.sleep(0)
    assert up.lost == 1


# ---------------------------------------------------------------- hostile


def block(up: Upstream, *fields: tuple[str, str]) -> bytes:
    return up.server.encoder.encode(list(fields), huffman=False)


@pytest.mark.parametrize(
    "fields",
    [
        [(":status", "101")],
        [(":status", "99")],
        [(":status", "2000")],
        [(":status", "200"), ("connection", "keep-alive")],
        [(":status", "200"), ("transfer-encoding", "chunked")],
        [(":status", "200"), ("Upper", "x")],
        [(":status", "200"), ("a", "b\r\nset-cookie: x=y")],
        [(":status", "200"), ("a b", "c")],
        [(":status", "200"), ("content-length", "1"), ("content-length", "2")],
        [(":status", "200"), ("content-length", "+5")],
        [(":status", "200"), ("content-length", "1_0")],
        [("x", "y")],
        [(":status", "200"), ("a", "x" * 70_000)],
    ],
)
async def test_a_head_that_is_none_is_not_passed_on(fields: list[tuple[str, str]]) -> None:
    up = Upstream().ask()
    raw = block(up, *fields)
    frames: list[Frame] = []
    first, rest = raw[:16_000], raw[16_000:]
    from hyperframe.frame import ContinuationFrame

    frames.append(HeadersFrame(1, data=first, flags=[] if rest else ["END_HEADERS"]))
    while rest:
        piece, rest = rest[:16_000], rest[16_000:]
        frames.append(ContinuationFrame(1, data=piece, flags=[] if rest else ["END_HEADERS"]))
    up.frames(*frames)
    assert (up.said, up.lost) == (b"", 1)


async def test_what_is_pushed_is_refused() -> None:
    from hyperframe.frame import PushPromiseFrame

    up = Upstream().ask()
    raw = block(up, (":method", "GET"), (":scheme", "https"), (":authority", "h.test"), (":path", "/p"))
    up.frames(PushPromiseFrame(1, promised_stream_id=2, data=raw, flags=["END_HEADERS"]))
    assert (up.said, up.lost) == (b"", 1)


@pytest.mark.parametrize(
    "frame",
    [
        PingFrame(0, opaque_data=b"12345678"),
        SettingsFrame(0, settings={4: 65_535}),
        DataFrame(1, data=b""),
        DataFrame(1, data=b"", pad_length=10, flags=["PADDED"]),
    ],
)
async def test_a_flood_of_frames_that_bring_nothing_is_hung_up_on(frame: Frame) -> None:
    up = Upstream().ask()
    up.answer(1, b"x", end=False)
    raw = frame.serialize()
    for _ in range(4):
        up.line.upstream_sent(raw * (BUDGET // 2))
    assert up.lost == 1
    # What it was answered stays small: it is hung up on before more is read.
    assert len(up.wire.sent) < BUDGET * 30


async def test_pings_are_answered_while_the_agent_reads_nothing() -> None:
    up = Upstream().ask()
    up.line.pause_reading()
    up.frames(PingFrame(0, opaque_data=b"12345678"))
    assert b"12345678" in up.wire.sent


# ---------------------------------------------------------------- the meter


def test_wherever_frames_are_cut_the_same_is_read() -> None:
    frames = [
        SettingsFrame(0, settings={4: 100}), PingFrame(0, opaque_data=b"12345678"),
        GoAwayFrame(0, last_stream_id=7, error_code=2, additional_data=b"debug"), DataFrame(1, data=b"hello"),
        GoAwayFrame(0, last_stream_id=5, error_code=0), DataFrame(1, data=b"x", flags=["END_STREAM"]),
    ]  # fmt: skip
    raw = b"".join(frame.serialize() for frame in frames)
    kept = b"".join(frame.serialize() for frame in frames if not isinstance(frame, GoAwayFrame))
    for size in (1, 2, 3, 5, 8, 9, 10, 17, 64, len(raw)):
        meter = FrameMeter(lambda: 0.0)
        got = b"".join(meter.feed(raw[at : at + size]) for at in range(0, len(raw), size))
        assert got == kept
        assert meter.gone is not None
        assert (meter.gone.last, meter.gone.code) == (5, 0)


def test_the_budget_is_filled_by_time_and_by_what_is_sent() -> None:
    now = [0.0]
    meter = FrameMeter(lambda: now[0])
    ping = PingFrame(0, opaque_data=b"12345678").serialize()
    meter.feed(SettingsFrame(0).serialize() + ping * (BUDGET - 1))
    meter.earn(5)
    meter.feed(ping * 5)
    now[0] = 1.0
    meter.feed(ping * 10)
    with pytest.raises(PeerError):
        meter.feed(ping)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\x00\x40\x01\x04\x00\x00\x00\x00\x00",
        b"\x00\x00\x08\x06" + bytes(13),
    ],
)
def test_what_is_no_http2_is_refused_at_once(raw: bytes) -> None:
    with pytest.raises(PeerError):
        FrameMeter(lambda: 0.0).feed(raw)


def test_a_goaway_that_is_too_short_is_refused() -> None:
    meter = FrameMeter(lambda: 0.0)
    meter.feed(SettingsFrame(0).serialize())
    with pytest.raises(PeerError):
        meter.feed(b"\x00\x00\x04\x07\x00\x00\x00\x00\x00")
