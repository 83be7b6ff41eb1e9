"""A recording of an HTTP session, read back as people would tell it. Pure.

Each direction is read by itself: calls from the agent, answers to it. A frame names its operation, so an
answer is told with the method of the call it answers (HEAD has no body), also where a call was refused before
it could be read. A call is recorded as it was judged, without the headers that frame it, so its body is what
comes under the number of its operation: no byte in it can pass for another call. A message that is cut off
(the agent left, the recording ends) is told as far as it came; the next operation's first bytes begin a new
one. After 101 both directions are bytes of another protocol: of WebSocket they are told message by message, of any
other as they are.

What cannot be read is a :class:`Bytes` scene, never left out, up to where the next operation begins.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final, Literal

from weirgate_contracts.recording import Frame
from weirgate_recorder.body import KEPT_BYTES, Gathering
from weirgate_recorder.frames import Messages
from weirgate_recorder.message import (
    REQUEST_LINE,
    STATUS_LINE,
    Broken,
    End,
    Framing,
    Head,
    Headers,
    Piece,
    Reader,
    framing_of_answer,
    framing_of_call,
)
from weirgate_recorder.scene import SHOWN_BYTES, Answered, Body, Bytes, Called, Scene

_ROW_BYTES: Final = 200
"""Of an answer's text that stand for one row of a table."""
_LINES = {"i": REQUEST_LINE, "o": STATUS_LINE}


class _Side:
    """One direction."""

    __slots__ = ("direction", "gathering", "head", "lost", "method", "operation", "reader", "socket", "way")

    def __init__(self, direction: Literal["i", "o"]) -> None:
        self.direction = direction
        self.way: Literal["in", "out"] = "in" if direction == "i" else "out"
        self.reader = Reader(_LINES[direction])
        self.operation = 0
        self.head: Head | None = None
        self.method: str | None = None
        """Of the call that an answer answers, where it is known."""
        self.gathering: Gathering | None = None
        self.lost = False
        self.socket: Messages | None = None
        """What reads it after 101, where that is a WebSocket."""


class Exchange:
    """Reads the frames of one HTTP session, in order.

    Args:
        rows: Lines of each answer's body that are kept.
    """

    def __init__(self, *, rows: int = 20) -> None:
        self._rows = rows
        self._sides = {"i": _Side("i"), "o": _Side("o")}
        self._methods: dict[int, deque[str]] = {}
        self._upgraded: str | None = None
        self._last_us = 0

    def feed(self, frame: Frame) -> Iterator[Scene]:
        """Take the next frame, give the scenes it completes."""
        self._last_us = frame.at_us
        side = self._sides.get(frame.direction)
        if side is None:
            yield _unread(frame.at_us, frame.operation, frame.direction, frame.body)
            return
        if frame.operation != side.operation and self._begins_anew(side, frame):
            yield from self._break_off(side, frame.at_us)
        if self._upgraded is not None:
            yield from self._raw(side, frame, frame.body)
            return
        if side.lost:
            yield _unread(frame.at_us, frame.operation, frame.direction, frame.body)
            return
        if side.reader.between:
            side.operation = frame.operation
        if side.direction == "o" and not side.reader.in_body:
            yield from self._tell_call_so_far(frame)
        side.reader.feed(frame.body)
        yield from self._read(side, frame)

    def finish(self) -> Iterator[Scene]:
        """Give what was still coming when the recording ended."""
        for side in self._sides.values():
            if side.socket is not None:
                yield from side.socket.finish(self._last_us)
            yield from self._break_off(side, self._last_us)

    def _read(self, side: _Side, frame: Frame) -> Iterator[Scene]:
        while True:
            try:
                unit = side.reader.next()
            except Broken:
                yield from self._lose(side, frame)
                return
            match unit:
                case None:
                    return
                case Head():
                    try:
                        yield from self._head(side, frame, unit)
                    except Broken:
                        yield from self._lose(side, frame)
                        return
                    if self._upgraded is not None:
                        yield from self._upgrade(frame)
                        return
                case Piece(body=body):
                    if side.gathering is not None:
                        side.gathering.take(body)
                case End(trailers=trailers):
                    yield from self._body(side, frame.at_us, whole=True, trailers=trailers)

    def _head(self, side: _Side, frame: Frame, head: Head) -> Iterator[Scene]:
        side.operation = frame.operation
        one, two, three = head.line
        framing: Framing = 0
        broken: Broken | None = None
        scene: Scene
        if side.direction == "i":
            scene = Called(
                at_us=frame.at_us,
                operation=frame.operation,
                method=one,
                target=two,
                version=three,
                headers=head.headers,
            )
            self._methods.setdefault(frame.operation, deque()).append(one)
            try:
                framing = framing_of_call(head)
            except Broken as error:
                broken = error
        else:
            status = int(two)
            scene = Answered(
                at_us=frame.at_us,
                operation=frame.operation,
                status=status,
                reason=three,
                version=one,
                headers=head.headers,
            )
            try:
                side.method = self._method(frame.operation, final=status >= 200)
                framing = framing_of_answer(head, side.method)
            except Broken as error:
                broken = error
            if status == 101:
                self._upgraded = head.find("upgrade").strip().lower() or "another protocol"
        yield scene
        if broken is not None:
            raise broken
        side.reader.begin(framing)
        side.head = head
        side.gathering = self._gather(side, head)

    def _gather(self, side: _Side, head: Head) -> Gathering:
        if side.direction == "i":
            return Gathering(head, limit_bytes=KEPT_BYTES, lines=None)
        return Gathering(head, limit_bytes=self._rows * _ROW_BYTES, lines=self._rows)

    def _tell_call_so_far(self, frame: Frame) -> Iterator[Scene]:
        """Tell the body of the call before its answer; what comes of it later is told later."""
        side = self._sides["i"]
        if side.operation != frame.operation or not side.reader.open_ended or side.head is None:
            return
        if side.gathering is not None and side.gathering.size_bytes:
            yield from self._body(side, frame.at_us, whole=True)
            side.gathering = self._gather(side, side.head)

    def _method(self, operation: int, *, final: bool) -> str | None:
        waiting = self._methods.get(operation)
        if not waiting:
            return None
        if not final:
            return waiting[0]
        method = waiting.popleft()
        if not waiting:
            del self._methods[operation]
        return method

    def _body(self, side: _Side, at_us: int, *, whole: bool, trailers: Headers = ()) -> Iterator[Scene]:
        gathering, side.gathering = side.gathering, None
        if gathering is None or (whole and not gathering.size_bytes and not trailers):
            return
        text, cut = gathering.text()
        yield Body(
            at_us=at_us,
            operation=side.operation,
            direction=side.way,
            type=gathering.type,
            encoding=gathering.encoding,
            size_bytes=gathering.size_bytes,
            text=text,
            cut=cut,
            whole=whole,
            trailers=trailers,
        )

    # ------------------------------------------------------------ what does not go as it should

    def _begins_anew(self, side: _Side, frame: Frame) -> bool:
        """Say whether a frame of another operation begins a message although the one before is not over."""
        if side.reader.between and not side.lost:
            return False
        if side.direction == "i" and side.reader.open_ended:
            return True
        return self._upgraded is None and _LINES[side.direction].match(frame.body) is not None

    def _break_off(self, side: _Side, at_us: int) -> Iterator[Scene]:
        if side.reader.in_body:
            whole = side.reader.open_ended
            if side.direction == "o" and side.method is None and side.gathering is not None:
                whole |= side.gathering.size_bytes == 0  # it may have answered HEAD
            rest = side.reader.rest()
            yield from self._body(side, at_us, whole=whole)
        else:
            rest = side.reader.rest()
        side.gathering = None
        side.lost = False
        if rest:
            yield _unread(at_us, side.operation, side.direction, rest)

    def _lose(self, side: _Side, frame: Frame) -> Iterator[Scene]:
        rest = side.reader.rest()
        yield from self._body(side, frame.at_us, whole=False)
        side.gathering = None
        side.lost = True
        if rest:
            yield _unread(frame.at_us, frame.operation, frame.direction, rest)

    # ------------------------------------------------------------ after 101

    def _upgrade(self, frame: Frame) -> Iterator[Scene]:
        """The connection changes its protocol: what came after the head is of the other one."""
        for side in self._sides.values():
            if side.direction == "i" and side.reader.in_body:
                yield from self._body(side, frame.at_us, whole=side.reader.open_ended)
            side.gathering = None
            if self._upgraded == "websocket":
                side.socket = Messages(side.direction, lines=self._rows)
            yield from self._raw(side, frame, side.reader.rest())

    def _raw(self, side: _Side, frame: Frame, body: bytes) -> Iterator[Scene]:
        if not body:
            return
        if side.socket is not None:
            yield from side.socket.feed(frame, body)
            return
        headers = (("content-type", self._upgraded or ""),)
        gathering = Gathering(
            Head(line=("", "", ""), headers=headers), limit_bytes=SHOWN_BYTES, lines=self._rows
        )
        gathering.take(body)
        text, cut = gathering.text()
        yield Body(
            at_us=frame.at_us,
            operation=frame.operation,
            direction=side.way,
            type=gathering.type,
            encoding="",
            size_bytes=len(body),
            text=text,
            cut=cut,
            whole=True,
        )


def _unread(at_us: int, operation: int, direction: str, body: bytes) -> Bytes:
    return Bytes(
        at_us=at_us,
        operation=operation,
        direction=direction,
        size_bytes=len(body),
        start=body[:SHOWN_BYTES],
    )
