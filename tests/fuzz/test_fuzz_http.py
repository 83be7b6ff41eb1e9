"""HTTP: noise gives PeerError or nothing; cutting a stream anywhere changes nothing; what is written reads back."""

from itertools import pairwise

import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st

from weirgate_testkit.http_corpus import CASES
from weirgate_wire.error import PeerError
from weirgate_wire.http.check import request_check
from weirgate_wire.http.field import Headers
from weirgate_wire.http.framing import (
    BodyReader,
    Framing,
    chunk,
    hop_by_hop,
    last_chunk,
    request_framing,
    response_framing,
)
from weirgate_wire.http.head import HeadReader, RequestHead, ResponseHead
from weirgate_wire.http.media import read_media_type
from weirgate_wire.http.target import read_authority, read_target, split_absolute

TCHAR = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
NAMES = st.text(TCHAR, min_size=1, max_size=12)
VALUES = st.text(
    st.characters(
        max_codepoint=0xFF, exclude_characters=[*map(chr, range(9)), *map(chr, range(10, 32)), "\x7f"]
    ),
    max_size=20,
).map(lambda text: text.strip(" \t"))
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=8).map(tuple)
METHODS = st.one_of(
    st.sampled_from(["GET", "POST", "M-SEARCH"]), st.from_regex(r"[A-Z][A-Z0-9_-]{0,31}", fullmatch=True)
)
TARGETS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=30)
REQUESTS = st.builds(
    RequestHead, method=METHODS, target=TARGETS, headers=HEADERS, minor=st.integers(min_value=0, max_value=1)
)
RESPONSES = st.builds(
    ResponseHead,
    status=st.integers(100, 599),
    reason=VALUES,
    headers=HEADERS,
    minor=st.integers(min_value=0, max_value=1),
)
CUTS = st.lists(st.integers(0, 400), max_size=8)
# Noise that often gets past the first byte: pieces of grammar in any order.
SCRAPS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"GET",
                b"POST",
                b" ",
                b"/",
                b"/a",
                b"%2e",
                b"?",
                b"HTTP/1.1",
                b"HTTP/1.1 200 OK",
                b"\r\n",
                b"\r",
                b"\n",
            ]
        ),
        st.sampled_from(
            [
                b"Host: a\r\n",
                b"Content-Length: 5\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b":",
                b"\t",
                b"x",
                b"\x00",
            ]
        ),
        st.sampled_from(
            [b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\n", b";a=b", b"hello", b"5", b"X-A: b\r\n", b"\r\n\r\n"]
        ),
        st.binary(max_size=4),
    ),
    max_size=14,
).map(b"".join)
NOISE = st.one_of(
    st.binary(max_size=200), SCRAPS, SCRAPS.map(lambda scraps: b"GET / HTTP/1.1\r\nHost: a\r\n" + scraps)
)
RAW = st.one_of(NOISE, st.sampled_from([case.raw for case in CASES if len(case.raw) < 2000]))

Outcome = tuple[RequestHead | ResponseHead | None, bytes, Headers, bytes] | str


def pieces_of(raw: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(raw), *(min(cut, len(raw)) for cut in cuts)})
    return [raw[begin:end] for begin, end in pairwise(at)]


def outcome(pieces: list[bytes], response: bool) -> Outcome:
    """Head, body, trailers and what is left; or that it was refused. Asked after every piece."""
    reader = HeadReader()
    head: RequestHead | ResponseHead | None = None
    body: BodyReader | None = None
    found: list[bytes] = []
    try:
        for piece in pieces:
            if body is not None:
                found += body.feed(piece)
                continue
            reader.feed(piece)
            head = reader.response() if response else reader.request()
            if head is None:
                continue
            if isinstance(head, ResponseHead):
                body = BodyReader(response_framing(head, method="GET"))
            else:
                request_check(head)
                body = BodyReader(request_framing(head))
            found += body.feed(reader.rest())
    except PeerError:
        return "refused"
    if body is None:
        return (None, b"", (), reader.rest())
    assert all(found)
    return (head, b"".join(found), body.trailers, body.rest() if body.done else b"unfinished")


@settings(deadline=None, max_examples=400)
@given(RAW, CUTS, st.booleans())
@example(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", [1, 2, 3], False)
def test_where_a_stream_is_cut_changes_nothing(raw: bytes, cuts: list[int], response: bool) -> None:
    whole = outcome([raw], response)
    assert outcome(pieces_of(raw, cuts), response) == whole
    assert outcome([raw[at : at + 1] for at in range(len(raw))], response) == whole or not raw


@settings(deadline=None)
@given(NOISE, st.booleans())
def test_noise_is_refused_or_reads_back(noise: bytes, response: bool) -> None:
    reader = HeadReader()
    reader.feed(noise)
    try:
        head = reader.response() if response else reader.request()
    except PeerError:
        return
    if head is not None:
        again = HeadReader()
        again.feed(head.encode())
        assert (again.response() if response else again.request()) == head


@given(st.one_of(REQUESTS, RESPONSES), st.binary(max_size=20))
def test_any_head_reads_back(head: RequestHead | ResponseHead, rest: bytes) -> None:
    reader = HeadReader()
    reader.feed(head.encode() + rest)
    assert (reader.response() if isinstance(head, ResponseHead) else reader.request()) == head
    assert reader.rest() == rest


@given(REQUESTS)
def test_another_parser_reads_any_head_as_it_was_written(head: RequestHead) -> None:
    names = {"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade"}
    headers = (("host", "a"), *(one for one in head.headers if one[0] not in names))
    head = head.with_headers(headers)
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(head.encode())
    event = peer.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method.decode(), event.target.decode()) == (head.method, head.target)
    assert tuple((name.decode(), value.decode("latin-1")) for name, value in event.headers) == headers


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), HEADERS, CUTS, st.binary(max_size=20))
def test_any_chunked_body_reads_back(
    pieces: list[bytes], headers: Headers, cuts: list[int], rest: bytes
) -> None:
    trailers = tuple((f"x-{name}", value) for name, value in headers if name.isalnum())
    raw = b"".join(map(chunk, pieces)) + last_chunk(trailers) + rest
    body = BodyReader(Framing("chunked"))
    found = [one for piece in pieces_of(raw, cuts) for one in body.feed(piece)]
    assert b"".join(found) == b"".join(pieces)
    assert (body.done, body.trailers, body.rest()) == (True, trailers, rest)


@given(SCRAPS, CUTS)
def test_noise_as_chunks_is_refused_or_waits(noise: bytes, cuts: list[int]) -> None:
    body = BodyReader(Framing("chunked"))
    try:
        size = sum(len(one) for piece in pieces_of(noise, cuts) for one in body.feed(piece))
        body.eof()
    except PeerError:
        return
    assert size + len(body.rest()) < len(noise)


DOTS = ["/", "a", ".", "..", "%2e", "%2f", "%25", "%", ";", "\\", "%c3%a9", "?", "&", "=", "+", "//"]
PATHS = st.lists(st.one_of(st.sampled_from(DOTS), st.text(max_size=3)), max_size=10).map(
    lambda scraps: "/" + "".join(scraps)
)


@given(PATHS)
def test_a_target_is_refused_or_has_one_form(target: str) -> None:
    try:
        found = read_target(target)
    except PeerError:
        return
    assert read_target(found.encode()) == found
    assert found.encode().isascii()
    assert not {".", ".."} & set(found.segments)
    assert "" not in found.segments[:-1]
    assert not any("/" in segment or "\\" in segment for segment in found.segments)


@given(st.one_of(st.text(max_size=30), st.text("[]:@.-_%0123456789aAxX/", max_size=20)))
def test_noise_as_a_host_is_refused_or_reads_back(text: str) -> None:
    try:
        host, port = read_authority(text)
    except PeerError:
        return
    written = f"[{host}]" if ":" in host else host
    assert read_authority(written if port is None else f"{written}:{port}") == (host, port)


@given(st.one_of(st.text(max_size=30), st.text('a/;=" \\,', max_size=20)), HEADERS)
def test_noise_elsewhere_is_refused(text: str, headers: Headers) -> None:
    for read in (read_media_type, split_absolute, read_target):
        try:
            read(text)
        except PeerError:
            continue
    try:
        hop_by_hop((*headers, ("connection", text)))
    except PeerError:
        return
