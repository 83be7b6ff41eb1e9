"""A stream of server-sent events, cut into payloads, and payloads written as events.

What an agent is sent is written anew: event ids are not passed on (what a server would replay by them was judged for
another operation, so resuming is not offered), nor are comments' words.

Invariants: the payloads are the same wherever the stream is cut; no more than one event is held back.

Source: HTML Living Standard, "Server-sent events", "Interpreting an event stream".
"""

import re

from weirgate_wire.error import PeerError

EVENT_LIMIT_BYTES = 4 * 1024 * 1024
"""Longest event. The SDKs have none; a tool's answer with an image in it has a few MiB."""
KEEP_ALIVE = b": \n\n"
"""A comment: what a server says while it has nothing to say."""
_LINE = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class EventReader:
    """Cuts a stream into the payloads of its events."""

    __slots__ = ("_begun", "_data", "_held", "_looked", "_name", "_size")

    def __init__(self) -> None:
        self._held = bytearray()
        self._looked = 0
        self._begun = False
        self._data: list[bytes] = []
        self._name = b""
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """Take some of the stream; return payloads, and an empty one for each comment.

        Raises:
            PeerError: an event over its limit, with a zero byte, or of a name no message has.
        """
        held = self._held
        held += piece
        found: list[bytes] = []
        at = 0
        while (end := _LINE.search(held, max(at, self._looked))) is not None:
            # A carriage return that comes last may be half of what ends a line.
            if end.group() == b"\r" and end.end() == len(held):
                break
            line, after = bytes(held[at : end.start()]), end.end()
            del end
            at = after
            self._looked = at
            self._line(line, found)
        self._looked = max(0, len(held) - at - 1)
        del held[:at]
        if self._size + len(held) > EVENT_LIMIT_BYTES:
            raise PeerError(f"an event of more than {EVENT_LIMIT_BYTES} bytes")
        return found

    def _line(self, line: bytes, found: list[bytes]) -> None:
        if not self._begun:
            self._begun = True
            line = line.removeprefix(_BOM)
        if b"\0" in line:
            raise PeerError("an event with a zero byte in it")
        if not line:
            self._dispatch(found)
            return
        name, _, value = line.partition(b":")
        if not name:
            found.append(b"")
            return
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(line) + 1
            if self._size > EVENT_LIMIT_BYTES:
                raise PeerError(f"an event of more than {EVENT_LIMIT_BYTES} bytes")
        elif name == b"event":
            self._name = value

    def _dispatch(self, found: list[bytes]) -> None:
        payload, name = b"\n".join(self._data), self._name
        self._data, self._name, self._size = [], b"", 0
        if not payload:
            return
        if name not in (b"", b"message"):
            raise PeerError("an event that is no message")
        found.append(payload)


def write_event(payload: bytes) -> bytes:
    """Write a payload as an event."""
    lines = b"".join(b"data: " + line + b"\n" for line in payload.split(b"\n"))
    return b"event: message\n" + lines + b"\n"
