"""Heads: read strictly, written only as they would be read back."""

import pytest

from weirgate_wire.error import PeerError, UsageError
from weirgate_wire.http.check import request_check
from weirgate_wire.http.field import HeadTooLong
from weirgate_wire.http.head import HeadReader, RequestHead, ResponseHead

GET = RequestHead(method="GET", target="/a?b", headers=(("host", "a"), ("x-a", "1"), ("x-a", "2")))
OK = ResponseHead(status=200, reason="OK", headers=(("content-length", "0"),))


def test_a_request_is_read_and_written_anew() -> None:
    reader = HeadReader()
    reader.feed(b"GET /a?b HTTP/1.1\r\nHOST:a\r\nX-A:  1\r\nx-a: 2 \r\n\r\nbody")
    assert reader.request() == GET
    assert reader.rest() == b"body"
    assert reader.rest() == b""
    assert GET.encode() == b"GET /a?b HTTP/1.1\r\nhost: a\r\nx-a: 1\r\nx-a: 2\r\n\r\n"


def test_a_response_is_read_and_written_anew() -> None:
    reader = HeadReader()
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert reader.response() == OK
    assert OK.encode() == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


def test_pipelined_heads_come_one_after_another() -> None:
    reader = HeadReader()
    reader.feed(GET.encode() + b"\r\n" + GET.encode() + GET.encode()[:9])
    assert [reader.request(), reader.request(), reader.request()] == [GET, GET, None]
    reader.feed(GET.encode()[9:])
    assert reader.request() == GET
    assert reader.request() is None


def test_a_field_is_asked_for_by_name() -> None:
    assert GET.get("host") == "a"
    assert GET.get("cookie") is None
    assert GET.all("x-a") == ["1", "2"]
    with pytest.raises(PeerError):
        GET.get("x-a")


def test_fields_can_be_replaced() -> None:
    assert GET.with_headers([("host", "b")]).headers == (("host", "b"),)
    assert GET.headers[0] == ("host", "a")


def test_a_head_shows_neither_target_nor_fields() -> None:
    assert "/a?b" not in repr(GET)
    assert "host" not in repr(GET)


@pytest.mark.parametrize(
    "bad", [b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nHost: a\n", b"\x16", b"GET / \rH", b"\r\n\r"]
)
def test_what_can_never_be_a_head_is_refused_without_waiting(bad: bytes) -> None:
    reader = HeadReader()
    for at in range(len(bad) - 1):
        reader.feed(bad[at : at + 1])
        assert reader.request() is None
    reader.feed(bad[-1:])
    with pytest.raises(PeerError):
        reader.request()


def test_a_head_at_its_limit_is_read_and_one_byte_more_is_refused() -> None:
    raw = GET.encode()
    for cut in (0, 5, len(raw) - 1):
        reader = HeadReader(limit_bytes=len(raw))
        reader.feed(raw[:cut])
        assert reader.request() is None
        reader.feed(raw[cut:])
        assert reader.request() == GET
        reader = HeadReader(limit_bytes=len(raw) - 1)
        reader.feed(raw[:cut])
        with pytest.raises(HeadTooLong):
            reader.request()
            reader.feed(raw[cut:])
            reader.request()


def test_a_head_without_an_end_is_refused_at_the_limit() -> None:
    reader = HeadReader(limit_bytes=100)
    reader.feed(b"GET /" + b"a" * 94)
    assert reader.request() is None
    reader.feed(b"a")
    with pytest.raises(HeadTooLong):
        reader.request()


def test_more_fields_than_the_limit_are_refused() -> None:
    reader = HeadReader(fields_limit=2)
    reader.feed(GET.encode())
    with pytest.raises(HeadTooLong):
        reader.request()


@pytest.mark.parametrize(
    "fields",
    [
        ("X-A", "b"),
        ("", "b"),
        ("x a", "b"),
        ("x:a", "b"),
        ("x\r\ny", "b"),
        ("x\ny", "b"),
        ("caf\xe9", "b"),
        ("x", "b\r\ny: c"),
        ("x", "b\r\n\r\nGET / HTTP/1.1"),
        ("x", "b\n"),
        ("x", "b\r"),
        ("x", "b\0"),
        ("x", " b"),
        ("x", "b\t"),
        ("x", "\u20ac"),
        ("x", "b\x7f"),
    ],
)
def test_a_field_that_would_not_be_read_back_is_never_written(fields: tuple[str, str]) -> None:
    with pytest.raises(UsageError):
        GET.with_headers([("host", "a"), fields]).encode()
    with pytest.raises(UsageError):
        OK.with_headers([fields, ("content-length", "0")]).encode()


@pytest.mark.parametrize(
    ("method", "target", "minor"),
    [
        ("get", "/", 1),
        ("", "/", 1),
        ("GET /a", "/", 1),
        ("GET\r\n", "/", 1),
        ("G" * 33, "/", 1),
        ("GET", "", 1),
        ("GET", "/a b", 1),
        ("GET", "/ HTTP/1.1\r\nx: y", 1),
        ("GET", "/\r", 1),
        ("GET", "/\0", 1),
        ("GET", "/caf\xe9", 1),
        ("GET", "/", 2),
        ("GET", "/", -1),
    ],
)
def test_a_request_line_that_would_not_be_read_back_is_never_written(
    method: str, target: str, minor: int
) -> None:
    with pytest.raises(UsageError):
        RequestHead(method=method, target=target, headers=(), minor=minor).encode()


@pytest.mark.parametrize(
    ("status", "reason", "minor"),
    [
        (99, "", 1),
        (600, "", 1),
        (-20, "", 1),
        (200, "a\r\nb", 1),
        (200, "\0", 1),
        (200, "\u20ac", 1),
        (200, "", 2),
    ],
)
def test_a_status_line_that_would_not_be_read_back_is_never_written(
    status: int, reason: str, minor: int
) -> None:
    with pytest.raises(UsageError):
        ResponseHead(status=status, reason=reason, headers=(), minor=minor).encode()


def test_a_long_line_without_a_colon_costs_no_more_than_its_length() -> None:
    # A pattern that is tried at every character of such a line takes minutes (quadratic).
    reader = HeadReader(limit_bytes=2_000_000)
    reader.feed(b"GET / HTTP/1.1\r\n" + b"a" * 1_900_000 + b"\r\n\r\n")
    with pytest.raises(PeerError):
        reader.request()


def test_a_usual_request_passes_the_check() -> None:
    request_check(GET)
    request_check(RequestHead(method="GET", target="http://a:80/", headers=(), minor=0))


@pytest.mark.parametrize("name", ["content_length", "proxy_authorization", "x.forwarded_for"])
def test_a_field_in_disguise_is_refused(name: str) -> None:
    with pytest.raises(PeerError):
        request_check(GET.with_headers([*GET.headers, (name, "b")]))
