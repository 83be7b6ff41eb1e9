"""Where bodies end, and what comes out of them."""

import pytest

from weirgate_wire.error import PeerError, UsageError
from weirgate_wire.http.framing import (
    HOP_BY_HOP,
    LAST_CHUNK,
    BodyReader,
    Framing,
    chunk,
    hop_by_hop,
    last_chunk,
    request_framing,
    response_framing,
)
from weirgate_wire.http.head import RequestHead, ResponseHead

CHUNKED = Framing("chunked")
TE = ("transfer-encoding", "chunked")


def request(*headers: tuple[str, str], method: str = "POST") -> RequestHead:
    return RequestHead(method=method, target="/", headers=headers)


def response(status: int, *headers: tuple[str, str]) -> ResponseHead:
    return ResponseHead(status=status, headers=headers)


def test_a_request_without_an_announcement_has_no_body() -> None:
    assert request_framing(request()) == Framing("none")
    assert request_framing(request(TE)) == CHUNKED
    assert request_framing(request(("content-length", "9" * 19))) == Framing("length", 10**19 - 1)


@pytest.mark.parametrize(
    ("status", "method", "kind"),
    [
        (200, "GET", "close"),
        (200, "HEAD", "none"),
        (404, "HEAD", "none"),
        (100, "GET", "none"),
        (101, "GET", "none"),
        (204, "GET", "none"),
        (304, "GET", "none"),
        (205, "GET", "close"),
        (200, "CONNECT", "none"),
        (299, "CONNECT", "none"),
        (300, "CONNECT", "close"),
        (407, "CONNECT", "close"),
    ],
)
def test_a_response_without_an_announcement(status: int, method: str, kind: str) -> None:
    assert response_framing(response(status), method=method).kind == kind


def test_a_response_with_an_announcement() -> None:
    assert response_framing(response(200, TE), method="GET") == CHUNKED
    assert response_framing(response(200, ("content-length", "3")), method="GET") == Framing("length", 3)
    assert response_framing(response(304, ("content-length", "3")), method="GET") == Framing("none")
    assert response_framing(response(200, TE), method="HEAD") == Framing("none")


def test_a_body_of_known_length_ends_there() -> None:
    body = BodyReader(Framing("length", 5))
    assert body.feed(b"hel") == [b"hel"]
    assert not body.done
    with pytest.raises(PeerError):
        body.eof()
    with pytest.raises(UsageError):
        body.rest()
    assert body.feed(b"loGET") == [b"lo"]
    assert body.done
    assert body.feed(b" /") == []
    assert body.rest() == b"GET /"
    assert body.rest() == b""
    body.eof()


@pytest.mark.parametrize("framing", [Framing("none"), Framing("length")])
def test_a_body_that_is_none_is_done_at_once(framing: Framing) -> None:
    body = BodyReader(framing)
    assert body.done
    assert body.feed(b"next") == []
    assert body.rest() == b"next"


def test_a_body_until_the_end_of_the_connection() -> None:
    body = BodyReader(Framing("close"))
    assert body.feed(b"a") == [b"a"]
    assert body.feed(b"") == []
    assert not body.done
    body.eof()
    assert body.done
    assert body.rest() == b""


def test_pieces_are_handed_on_as_they_came_where_nothing_is_cut() -> None:
    data = b"x" * 1000
    for framing in (Framing("close"), Framing("length", 5000)):
        assert BodyReader(framing).feed(data)[0] is data
    body = BodyReader(CHUNKED)
    body.feed(b"2000\r\n")
    assert body.feed(data)[0] is data


def test_chunks_and_trailers_are_taken_apart() -> None:
    body = BodyReader(CHUNKED)
    assert body.feed(b"5;a=b\r\nhello\r\n1\r") == [b"hello"]
    assert body.feed(b"\n") == []
    assert body.feed(b"!\r\n0\r\nX-Sum: 1\r\n") == [b"!"]
    assert body.trailers == ()
    assert body.feed(b"\r\nGET") == []
    assert (body.done, body.trailers, body.rest()) == (True, (("x-sum", "1"),), b"GET")


@pytest.mark.parametrize(
    "bad", [b"x", b"5 ", b"5\rx", b"5\x00", b"\r", b"5\r\nhellox", b"0\r\n\n", b"0\r\nA\x00"]
)
def test_what_can_never_be_a_chunk_is_refused_without_waiting(bad: bytes) -> None:
    body = BodyReader(CHUNKED)
    if bad == b"5 ":
        assert body.feed(bad) == []
        bad = b"\r\n"
    with pytest.raises(PeerError):
        body.feed(bad)


def test_a_chunk_is_written() -> None:
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert last_chunk() == LAST_CHUNK
    assert last_chunk([("x-sum", "1")]) == b"0\r\nx-sum: 1\r\n\r\n"


def test_an_empty_chunk_is_never_written() -> None:
    with pytest.raises(UsageError):
        chunk(b"")


@pytest.mark.parametrize(
    "trailer", [("content-length", "1"), ("connection", "x"), ("x", "a\r\nb: c"), ("x_a:", "b")]
)
def test_a_trailer_that_would_be_refused_is_never_written(trailer: tuple[str, str]) -> None:
    with pytest.raises(UsageError):
        last_chunk([trailer])


def test_fields_of_one_hop_are_named() -> None:
    assert hop_by_hop(()) == HOP_BY_HOP
    assert hop_by_hop((("connection", "X-A, close"), ("connection", "x-b"))) == HOP_BY_HOP | {
        "x-a",
        "x-b",
        "close",
    }


@pytest.mark.parametrize("value", ["host", "Content-Length", "x, COOKIE", "authorization", "a b"])
def test_connection_cannot_end_what_was_judged(value: str) -> None:
    with pytest.raises(PeerError):
        hop_by_hop((("connection", value),))
