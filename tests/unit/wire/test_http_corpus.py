"""Every case of the corpus is refused, or sent on in one form that an independent parser reads as we judged it."""

from collections.abc import Iterable

import h11
import pytest

from weirgate_testkit.http_corpus import CASES, Case
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
from weirgate_wire.http.target import read_target, split_absolute

Judged = tuple[RequestHead | ResponseHead, bytes, Headers]
"""Head as it is sent, body, trailers."""


def kept(headers: Headers, framing: Framing) -> Headers:
    dropped = hop_by_hop(headers)
    own = (("transfer-encoding", "chunked"),) if framing.kind == "chunked" else ()
    return (*(one for one in headers if one[0] not in dropped), *own)


def body_of(reader: HeadReader, framing: Framing) -> tuple[bytes, Headers, bytes, bytes]:
    """Body, trailers, the body as it is sent, what is left."""
    body = BodyReader(framing)
    pieces = body.feed(reader.rest())
    if not body.done:
        body.eof()
    if framing.kind == "chunked":
        out = b"".join(chunk(piece) for piece in pieces) + last_chunk(body.trailers)
    else:
        out = b"".join(pieces)
    return b"".join(pieces), body.trailers, out, body.rest()


def sent_target(head: RequestHead) -> str:
    if head.method == "CONNECT" or head.target == "*":
        return head.target
    origin = head.target if head.target.startswith("/") else split_absolute(head.target)[2]
    return read_target(origin).encode()


def forward(case: Case) -> tuple[Judged, bytes, bytes]:
    """What is judged, what is sent on, what is left; as a gate puts the codec together."""
    reader = HeadReader()
    reader.feed(case.raw)
    if case.side == "response":
        answer = reader.response()
        if answer is None:
            raise PeerError("closed in the middle of a head")
        framing = response_framing(answer, method=case.method)
        answer = answer.with_headers(kept(answer.headers, framing))
        body, trailers, out, rest = body_of(reader, framing)
        return (answer, body, trailers), answer.encode() + out, rest
    head = reader.request()
    if head is None:
        raise PeerError("closed in the middle of a head")
    request_check(head)
    framing = request_framing(head)
    headers = kept(head.headers, framing)
    head = RequestHead(method=head.method, target=sent_target(head), headers=headers, minor=head.minor)
    body, trailers, out, rest = body_of(reader, framing)
    return (head, body, trailers), head.encode() + out, rest


def read_by_h11(case: Case, raw: bytes) -> tuple[Judged, bytes]:
    """What h11 makes of it, and what it leaves."""
    if case.side == "request":
        peer = h11.Connection(h11.SERVER)
        peer.receive_data(raw)
    else:
        peer = h11.Connection(h11.CLIENT)
        peer.send(h11.Request(method=case.method, target="/", headers=[("Host", "a")]))
        peer.send(h11.EndOfMessage())
        peer.receive_data(raw)
        peer.receive_data(b"")
    head: RequestHead | ResponseHead | None = None
    body = b""
    trailers: Headers = ()
    while True:
        match event := peer.next_event():
            case h11.Request() | h11.Response() | h11.InformationalResponse():
                head = head_of(event)
                if isinstance(event, h11.InformationalResponse):
                    break
            case h11.Data():
                body += bytes(event.data)
            case h11.EndOfMessage():
                trailers = text_of(event.headers)
                break
            case _:
                raise AssertionError(event)
    assert head is not None
    return (head, body, trailers), peer.trailing_data[0]


def text_of(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    return tuple((name.decode(), value.decode("latin-1")) for name, value in headers)


def head_of(event: h11.Request | h11.Response | h11.InformationalResponse) -> RequestHead | ResponseHead:
    minor = int(event.http_version[2:])
    headers = text_of(event.headers)
    if isinstance(event, h11.Request):
        return RequestHead(
            method=event.method.decode(), target=event.target.decode(), headers=headers, minor=minor
        )
    return ResponseHead(
        status=event.status_code, reason=event.reason.decode("latin-1"), headers=headers, minor=minor
    )


def ids(cases: list[Case]) -> list[str]:
    return [case.name.encode("unicode_escape").decode() for case in cases]


REFUSED = [case for case in CASES if case.sent is None]
SENT = [case for case in CASES if case.sent is not None]


@pytest.mark.parametrize("case", REFUSED, ids=ids(REFUSED))
def test_it_is_refused(case: Case) -> None:
    with pytest.raises(PeerError):
        forward(case)


@pytest.mark.parametrize("case", SENT, ids=ids(SENT))
def test_it_is_sent_on_in_one_form(case: Case) -> None:
    _, out, rest = forward(case)
    assert (out, rest) == (case.sent, case.rest)


@pytest.mark.parametrize("case", SENT, ids=ids(SENT))
def test_what_is_sent_reads_back_as_what_was_judged(case: Case) -> None:
    judged, out, _ = forward(case)
    found, left = read_by_h11(case, out)
    assert found == judged
    assert left == b""


@pytest.mark.parametrize("case", SENT, ids=ids(SENT))
def test_what_is_sent_is_sent_as_it_is_a_second_time(case: Case) -> None:
    assert case.sent is not None
    again = Case(name=case.name, raw=case.sent, sent=case.sent, side=case.side, method=case.method)
    assert forward(again)[1] == case.sent


def test_the_corpus_is_large_and_names_every_case_once() -> None:
    assert len(CASES) >= 220
    assert len({case.name for case in CASES}) == len(CASES)
    assert len({(case.side, case.method, case.raw) for case in CASES}) == len(CASES)
