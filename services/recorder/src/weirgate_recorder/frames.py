"""The messages of a WebSocket out of one direction of a recording. Pure.

The gateway records what it wrote, and so frames without a mask, one after the other. A message may come in parts, and
parts of one the agent sent stand under one number: that of its own operation where it was judged, else that of the
call that opened the WebSocket. What cannot be read is told as bytes, and so is all that follows it.

Source: RFC 6455 section 5.
"""

from collections.abc import Iterator
from typing import Literal

from weirgate_contracts.recording import Frame
from weirgate_recorder.body import Gathering
from weirgate_recorder.message import Head
from weirgate_recorder.scene import SHOWN_BYTES, Bytes, Message, Scene
from weirgate_wire.error import PeerError
from weirgate_wire.websocket import Close, Event, MessageReader, Part, Ping, Pong

_HEAD = Head(line=("", "", ""), headers=())


class Messages:
    """Reads one direction after 101.

    Args:
        direction: as its frames have it.
        lines: Of each message that are kept.
    """

    def __init__(self, direction: str, *, lines: int) -> None:
        self._direction = direction
        self._way: Literal["in", "out"] = "in" if direction == "i" else "out"
        self._lines = lines
        self._reader = MessageReader(masked=False)
        self._gathering: Gathering | None = None
        self._text = True
        self._operation = 0
        self._lost = False

    def feed(self, frame: Frame, body: bytes) -> Iterator[Scene]:
        """Take bytes of a frame of the recording, give the messages they complete."""
        if not self._lost:
            try:
                for event in self._reader.feed(body):
                    yield from self._take(frame, event)
                return
            except PeerError:
                self._lost = True
                yield from self.finish(frame.at_us)
        yield Bytes(
            at_us=frame.at_us,
            operation=frame.operation,
            direction=self._direction,
            size_bytes=len(body),
            start=body[:SHOWN_BYTES],
        )

    def finish(self, at_us: int) -> Iterator[Scene]:
        """Give the message that was still coming."""
        if self._gathering is not None:
            yield self._told(at_us, whole=False)

    def _take(self, frame: Frame, event: Event) -> Iterator[Scene]:
        match event:
            case Part():
                if self._gathering is None:
                    self._gathering = Gathering(_HEAD, limit_bytes=SHOWN_BYTES, lines=self._lines)
                    self._text, self._operation = event.text, frame.operation
                self._gathering.take(event.data)
                if event.last:
                    yield self._told(frame.at_us, whole=True)
            case Ping(data=data):
                yield self._control(frame, "ping", data)
            case Pong(data=data):
                yield self._control(frame, "pong", data)
            case Close(code=code, reason=reason):
                yield self._control(frame, "close", reason.encode(), code)

    def _told(self, at_us: int, *, whole: bool) -> Message:
        assert self._gathering is not None
        gathering, self._gathering = self._gathering, None
        text, cut = gathering.text()
        return Message(
            at_us=at_us,
            operation=self._operation,
            direction=self._way,
            kind="text" if self._text else "binary",
            size_bytes=gathering.size_bytes,
            text=text if self._text else None,
            cut=cut,
            whole=whole,
        )

    def _control(
        self, frame: Frame, kind: Literal["ping", "pong", "close"], data: bytes, code: int | None = None
    ) -> Message:
        try:
            text = data.decode() if b"\x00" not in data else None
        except UnicodeDecodeError:
            text = None
        return Message(
            at_us=frame.at_us,
            operation=frame.operation,
            direction=self._way,
            kind=kind,
            size_bytes=len(data),
            text=text,
            cut=False,
            whole=True,
            code=code,
        )
