"""A dialogue over a WebSocket with the HTTP gate; see :mod:`weirgate_testkit.http_story`."""

from typing import Any, Literal, Self

from weirgate_contracts.events import OperationFinished
from weirgate_ingress.gates.core import Ask, Dial, Dialled, Record, Send, SendHead, Side, Tape
from weirgate_testkit.http_story import HttpStory
from weirgate_wire.http.head import HeadReader, ResponseHead
from weirgate_wire.websocket import Close, Event, MessageReader, Opcode, Part, accept_of, encode_frame

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MASK = b"\x11\x22\x33\x44"


def handshake_fields(**more: str) -> dict[str, Any]:
    """Return the fields of a handshake, as ``HttpStory.request`` takes them."""
    return {
        "upgrade": "websocket", "connection": "keep-alive, Upgrade", "sec_websocket_version": "13",
        "sec_websocket_key": KEY, "sec_websocket_extensions": "permessage-deflate",
    } | more  # fmt: skip


def frame(text: str | bytes, *, final: bool = True, opcode: Opcode | None = None) -> bytes:
    """Return a frame of the agent: a text message, of bytes a binary one."""
    data = text.encode() if isinstance(text, str) else text
    kind = Opcode.TEXT if isinstance(text, str) else Opcode.BINARY
    return encode_frame(kind if opcode is None else opcode, data, final=final, key=MASK)


def plain(text: str | bytes, *, final: bool = True, opcode: Opcode | None = None) -> bytes:
    """Return a frame as an upstream sends it, and as it stands in a recording."""
    data = text.encode() if isinstance(text, str) else text
    kind = Opcode.TEXT if isinstance(text, str) else Opcode.BINARY
    return encode_frame(kind if opcode is None else opcode, data, final=final)


def close(code: int | None = 1000, reason: str = "", *, of_agent: bool = False) -> bytes:
    """Return a Close."""
    return encode_frame(Opcode.CLOSE, Close(code, reason).payload(), key=MASK if of_agent else None)


def events_in(raw: bytes, *, masked: bool) -> list[Event]:
    """Return what a reader finds in a stream."""
    return list(MessageReader(masked=masked).feed(raw))


def messages_in(raw: bytes, *, masked: bool) -> list[bytes]:
    """Return the whole messages in a stream."""
    found: list[bytes] = []
    for one in events_in(raw, masked=masked):
        if isinstance(one, Part):
            found = [*found, one.data] if one.first else [*found[:-1], found[-1] + one.data]
    return found


def close_in(raw: bytes, *, masked: bool = False) -> Close:
    """Return the Close at the end of a stream."""
    last = events_in(raw, masked=masked)[-1]
    assert isinstance(last, Close)
    return last


class SocketStory(HttpStory):
    """One WebSocket, told step by step."""

    def switching(self, **headers: str) -> bytes:
        """Return the upstream's 101 to the head it was sent."""
        key = self.head.get("sec-websocket-key")
        assert key is not None
        fields = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-accept": accept_of(key)}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        return ResponseHead(status=101, reason="Switching", headers=tuple(fields.items())).encode()

    def opened(
        self, *, messages: Literal["judge", "record"] | None = "judge", early: bytes = b"", **plan: Any
    ) -> Self:
        """The tunnel stands."""
        self.request(**handshake_fields()).known().expect(Ask)
        self.allow(messages=messages, **plan)
        self.expect(Dial).feed(Dialled(parameters={}, process_id=0, secret=b""))
        self.expect(Tape, "i").expect(SendHead)
        self.upstream_sends(self.switching() + early)
        return self if early else self.says(lambda raw: self.is_switched(raw))

    @staticmethod
    def is_switched(raw: bytes) -> bool:
        """Whether these bytes are the 101 of the agent."""
        reader = HeadReader()
        reader.feed(raw)
        head = reader.response()
        assert head is not None
        return head.status == 101 and head.get("sec-websocket-accept") == accept_of(KEY)

    def passes(self, *texts: str | bytes) -> Self:
        """A message was allowed: it is recorded, sent on masked, and over."""
        whole = [one.encode() if isinstance(one, str) else one for one in texts]
        self.expect(Tape, "i", lambda e: messages_in(e.data, masked=False) == whole)
        self.expect(Send, Side.UPSTREAM, lambda e: messages_in(e.data, masked=True) == whole)
        return self.expect(Record, OperationFinished)

    def goes_up(self, code: int) -> Self:
        """A Close goes to the upstream."""
        self.expect(Tape, "i", lambda e: close_in(e.data).code == code)
        return self.expect(Send, Side.UPSTREAM, lambda e: close_in(e.data, masked=True).code == code)

    @property
    def said(self) -> bytes:
        """Everything the agent was sent."""
        return b"".join(one.data for one in self.all if isinstance(one, Send) and one.side is Side.AGENT)

    @property
    def told_upstream(self) -> bytes:
        """Everything the upstream was sent, without heads."""
        return b"".join(one.data for one in self.all if isinstance(one, Send) and one.side is Side.UPSTREAM)
