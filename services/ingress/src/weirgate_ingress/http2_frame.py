"""Frames of an HTTP/2 upstream, counted before anything reads them. Pure but for the clock it is given.

``h2`` answers each PING and SETTINGS and takes in any number of frames that say nothing; who is to bear that is left to
its user. So each frame that brings no part of an answer costs one of a budget, which time, requests and what is sent
fill up again. An upstream that overdraws it is hung up on (CVE-2019-9511 to 9518 and their kin: floods of pings,
settings, resets, empty frames, priorities, window updates).

GOAWAY is taken out and read here: ``h2`` takes a connection as closed with it, and RFC 9113 section 6.8 has the streams
up to the last one it names go on.

Source: RFC 9113 sections 4.1, 6.8 and 10.5.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from weirgate_wire.error import PeerError

BUDGET: Final = 1000
"""Frames at once. Envoy: 1000 outbound control frames; Node.js: 1000 invalid frames."""
PER_SECOND: Final = 10.0
PER_REQUEST: Final = 10
"""Its head, 1xx heads, trailers, settings."""
PER_SENT: Final = 10
"""For each DATA frame sent, as Envoy: window updates come back for it."""
FRAME_LIMIT_BYTES: Final = 16_384
"""What we say by SETTINGS_MAX_FRAME_SIZE, the least there is."""
_HEAD_BYTES: Final = 9
_DATA: Final = 0x0
_SETTINGS: Final = 0x4
_GOAWAY: Final = 0x7
_PADDED: Final = 0x8
_STREAM = 0x7FFF_FFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class GoAway:
    """The upstream takes no new streams."""

    last: int
    """Number of the last stream it may have acted on."""
    code: int


class FrameMeter:
    """Count the frames of one connection, cut anywhere.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._budget = float(BUDGET)
        self._filled_at = clock()
        self._held = b""
        self._left = 0
        self._leaving: bytearray | None = None
        self._first = True
        self.gone: GoAway | None = None
        """The first GOAWAY that came, or one that names an earlier stream."""

    def earn(self, frames: int) -> None:
        """A request, or data, was sent: so many more frames may come back."""
        self._budget = min(BUDGET, self._budget + frames)

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the upstream, return those ``h2`` is to read.

        Raises:
            PeerError: too many frames that bring nothing, one that is too long, or no SETTINGS first.
        """
        if self._held:
            data, self._held = self._held + data, b""
        kept: list[bytes] = []
        at = start = 0
        size = len(data)
        while at < size:
            if self._left:
                step = min(self._left, size - at)
                if self._leaving is not None:
                    self._leaving += data[at : at + step]
                    start = at + step
                at += step
                self._left -= step
                if not self._left and self._leaving is not None:
                    self._left_off(bytes(self._leaving))
                continue
            if size - at < _HEAD_BYTES:
                self._held = data[at:]
                size = at
                break
            length = int.from_bytes(data[at : at + 3], "big")
            kind = data[at + 3]
            self._count(kind, data[at + 4], length)
            if kind == _GOAWAY:
                kept.append(data[start:at])
                start = at + _HEAD_BYTES
                self._leaving = bytearray()
            at += _HEAD_BYTES
            self._left = length
        if not start and size == len(data):
            return data
        kept.append(data[start:size])
        return b"".join(kept)

    def _count(self, kind: int, flags: int, length: int) -> None:
        if length > FRAME_LIMIT_BYTES:
            raise PeerError("an HTTP/2 frame over the limit")
        if self._first and kind != _SETTINGS:
            raise PeerError("an HTTP/2 connection that does not begin with SETTINGS")
        self._first = False
        if kind == _GOAWAY and length < 8:
            raise PeerError("a GOAWAY frame that is too short")
        if kind == _DATA and length and not flags & _PADDED:
            return
        if self._budget < 1:
            now = self._clock()
            self._budget = min(BUDGET, self._budget + (now - self._filled_at) * PER_SECOND)
            self._filled_at = now
            if self._budget < 1:
                raise PeerError("a flood of HTTP/2 frames that bring nothing")
        self._budget -= 1

    def _left_off(self, payload: bytes) -> None:
        self._leaving = None
        last = int.from_bytes(payload[:4], "big") & _STREAM
        if self.gone is None or last < self.gone.last:
            self.gone = GoAway(last=last, code=int.from_bytes(payload[4:8], "big"))
