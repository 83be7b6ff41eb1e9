"""Reading a recording of whatever protocol. Pure."""

from collections.abc import Iterator
from typing import Final

from weirgate_contracts.recording import Frame
from weirgate_recorder.exchange import Exchange
from weirgate_recorder.scene import Scene
from weirgate_recorder.transcript import Transcript

_OVER_HTTP: Final = frozenset(("http", "mcp"))
_CAPITALS: Final = range(0x41, 0x5B)


class Reading:
    """Reads the frames of one session, in order.

    Args:
        protocol: Of the session; ``None``: it is told from the first bytes.
        rows: Rows of each result, or lines of each body, that are kept.
    """

    def __init__(self, protocol: str | None = None, *, rows: int = 20) -> None:
        self._rows = rows
        self._transcript = None if protocol is None else self._begin(http=protocol in _OVER_HTTP)

    def feed(self, frame: Frame) -> Iterator[Scene]:
        """Take the next frame, give the scenes it completes."""
        if self._transcript is None:
            if not frame.body:
                return
            # Begins with a method or with HTTP. In a message of PostgreSQL the second byte is the highest of a
            # length, and would be one of 1 GiB or more.
            self._transcript = self._begin(http=all(each in _CAPITALS for each in frame.body[:2]))
        yield from self._transcript.feed(frame)

    def finish(self) -> Iterator[Scene]:
        """Give what was still coming when the recording ended."""
        if self._transcript is not None:
            yield from self._transcript.finish()

    def _begin(self, *, http: bool) -> Exchange | Transcript:
        return Exchange(rows=self._rows) if http else Transcript(rows=self._rows)
