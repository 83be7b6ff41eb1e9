"""The NATS protocol, cut anywhere."""

import pytest

from weirgate_bus import wire


class Heard:
    def __init__(self) -> None:
        self.messages: list[tuple[bytes, str, str, bytes, bytes]] = []
        self.lines: list[bytes] = []

    def message(self, sid: bytes, subject: str, reply: str, head: bytes, body: bytes) -> None:
        self.messages.append((sid, subject, reply, head, body))

    def control(self, line: bytes) -> None:
        self.lines.append(line)


STREAM = (
    b'INFO {"nonce":"x"}\r\nMSG a.b 1 5\r\nhello\r\n+OK\r\nMSG a.c 22 reply.to 2\r\n\r\n\r\nPING\r\n'
    b"HMSG d.e 3 r 23 27\r\nNATS/1.0\r\nName: one\r\n\r\nbody\r\n"
    b"HMSG d.e 3 16 16\r\nNATS/1.0 503\r\n\r\n\r\n-ERR 'Slow Consumer'\r\n"
)
MESSAGES = [
    (b"1", "a.b", "", b"", b"hello"),
    (b"22", "a.c", "reply.to", b"", b"\r\n"),
    (b"3", "d.e", "r", b"NATS/1.0\r\nName: one\r\n\r\n", b"body"),
    (b"3", "d.e", "", b"NATS/1.0 503\r\n\r\n", b""),
]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 50, 1000])
def test_messages_are_the_same_wherever_the_stream_is_cut(step: int) -> None:
    heard = Heard()
    parser = wire.Parser(heard)
    for at in range(0, len(STREAM), step):
        parser.feed(STREAM[at : at + step])
    assert heard.messages == MESSAGES
    assert [line[:4] for line in heard.lines] == [b"INFO", b"PING", b"-ERR"]


@pytest.mark.parametrize(
    "broken",
    [
        b"MSG a 1\r\n",
        b"MSG a 1 x\r\nhello\r\n",
        b"HMSG a 1 9 2\r\nxx\r\n",
        b"M" * (wire.LINE_LIMIT_BYTES + 1),
    ],
)
def test_what_is_not_the_protocol_is_refused(broken: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.Parser(Heard()).feed(broken)


def test_a_publication_reads_back() -> None:
    written = wire.publication("a.b", "r", b"Nats-Msg-Id:7\r\nOther: x\r\n", b"body")
    heard = Heard()
    head_line, rest = written.split(b"\r\n", 1)
    _, subject, reply, head, total = head_line.split(b" ")
    wire.Parser(heard).feed(b"HMSG %b 1 %b %b %b\r\n%b" % (subject, reply, head, total, rest))
    _, _, _, headers, body = heard.messages[0]
    assert body == b"body"
    assert wire.header(headers, b"Nats-Msg-Id") == "7"
    assert dict(wire.Headers(headers)) == {"Nats-Msg-Id": "7", "Other": "x"}
    assert wire.header(headers, b"Nats-Msg") == ""


def test_a_status_is_read_from_the_header_line() -> None:
    assert wire.status_of(b"NATS/1.0 503\r\n\r\n") == (503, "")
    assert wire.status_of(b"NATS/1.0 100 Idle Heartbeat\r\nX: y\r\n\r\n") == (100, "Idle Heartbeat")
    assert wire.status_of(b"NATS/1.0\r\nX: y\r\n\r\n") == (0, "")
