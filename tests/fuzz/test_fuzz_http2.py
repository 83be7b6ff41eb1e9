"""Whatever an HTTP/2 upstream sends, the session hears an answer or that it is lost, once, and nothing else happens."""

import random
from typing import Any, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from hypothesis import given, settings
from hypothesis import strategies as st

from weirgate_ingress.http2 import Http2Line
from weirgate_wire.error import PeerError
from weirgate_wire.http.framing import BodyReader, response_framing
from weirgate_wire.http.head import HeadReader, RequestHead

HEAD = RequestHead(method="GET", target="/a", headers=(("host", "h.test"),))


class Session:
    """The session, and in place of link and transport."""

    def __init__(self) -> None:
        self.said = b""
        self.lost = 0
        self.sent = b""
        self.gone = False

    def upstream_sent(self, data: bytes) -> None:
        assert not self.lost
        self.said += data

    def upstream_lost(self) -> None:
        self.lost += 1

    def upstream_full(self) -> None: ...
    def upstream_drained(self) -> None: ...
    def attach(self, sink: Any, rest: bytes) -> None: ...

    def write(self, data: bytes) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.gone

    def abort(self) -> None:
        self.gone = True


def answer(seed: int) -> bytes:
    """A whole answer of a well-behaved server to one request."""
    session = Session()
    line = begun(session)
    line.send_head(HEAD)
    server = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    server.initiate_connection()
    server.receive_data(session.sent)
    chance = random.Random(seed)
    headers = [(":status", "200"), ("content-type", "text/plain"), ("x", "y" * chance.randrange(300))]
    server.send_headers(1, headers)
    for _ in range(chance.randrange(4)):
        server.send_data(1, b"z" * chance.randrange(1, 300), pad_length=chance.choice([None, None, 5]))
    server.ping(b"12345678")
    server.end_stream(1)
    return bytes(server.data_to_send())


def begun(session: Session) -> Http2Line:
    line = Http2Line(cast("Any", session), cast("Any", session))
    line.start()
    line.attach(session, b"")
    return line


def complete(raw: bytes) -> bytes | None:
    heads = HeadReader()
    heads.feed(raw)
    try:
        head = heads.response()
        if head is None:
            return None
        body = BodyReader(response_framing(head, method="GET"))
        pieces = body.feed(heads.rest())
    except PeerError:
        return None
    return b"".join(pieces) if body.done else None


async def test_where_the_stream_is_cut_changes_nothing() -> None:
    for seed in range(60):
        raw = answer(seed)
        chance = random.Random(seed)
        found: list[bytes | None] = []
        for size in (len(raw), 1, 7, chance.randrange(2, 60)):
            session = Session()
            line = begun(session)
            line.send_head(HEAD)
            for at in range(0, len(raw), size):
                line.upstream_sent(raw[at : at + size])
            assert not session.lost
            found.append(complete(session.said))
        assert found[0] is not None
        assert set(found) == {found[0]}


@settings(max_examples=400, deadline=None)
@given(
    seed=st.integers(0, 50),
    edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255), st.sampled_from("sid")), max_size=6),
    size=st.integers(1, 3000),
)
async def test_a_broken_answer_is_an_answer_or_a_loss(
    seed: int, edits: list[tuple[int, int, str]], size: int
) -> None:
    raw = bytearray(answer(seed))
    for at, byte, how in edits:
        at %= len(raw)
        if how == "s":
            raw[at] = byte
        elif how == "i":
            raw.insert(at, byte)
        else:
            del raw[at]
    session = Session()
    line = begun(session)
    line.send_head(HEAD)
    for at in range(0, len(raw), size):
        line.upstream_sent(bytes(raw[at : at + size]))
    assert session.lost <= 1
    assert bool(session.lost) == session.gone
    line.upstream_lost()
    assert session.lost == 1
