"""Text that may be JSON: an upstream that names no type, or a wrong one, must not undo the fields."""

import re
from typing import Protocol

from weirgate_mask.textbody import TextBody

_SPACE = rb"[ \t\r\n]*+"
_JSON = re.compile(
    rb"(?:\xef\xbb\xbf)?+" + _SPACE + rb"(?:\{" + _SPACE + rb'["}]|\[' + _SPACE + rb'["{\[\]])'
)
"""How a document begins that a field pattern could fit; ``[2026-01-01] …`` is a log."""
_OPEN = re.compile(rb"(?:\xef(?:\xbb\xbf?+)?+)?+" + _SPACE + rb"(?:[{\[]" + _SPACE + rb")?+")
_LOOK_BYTES = 4096


def is_json(text: bytes) -> bool:
    """Say whether a text begins as a JSON object or array does."""
    return _JSON.match(text) is not None


class Json(Protocol):
    """What masks a body that is JSON."""

    @property
    def cells_masked(self) -> int: ...
    def feed(self, piece: bytes) -> bytes: ...
    def finish(self) -> bytes: ...


class SniffedBody:
    """Masks as JSON what begins like JSON, and else as text. What begins like JSON and is not is PeerError."""

    def __init__(self, text: TextBody, json: Json) -> None:
        self._text = text
        self._json = json
        self._chosen: TextBody | Json | None = None
        self._head = b""

    @property
    def cells_masked(self) -> int:
        """Values replaced so far."""
        return self._text.cells_masked + self._json.cells_masked

    def feed(self, piece: bytes) -> bytes:
        """Take some bytes and return what may go on.

        Raises:
            PeerError: as the masker that was chosen.
        """
        if self._chosen is None:
            piece = self._head + piece
            if _OPEN.fullmatch(piece) and len(piece) < _LOOK_BYTES:
                self._head = piece
                return b""
            self._chosen = self._json if is_json(piece) else self._text
        return self._chosen.feed(piece)

    def finish(self) -> bytes:
        """Take the end and return what is left.

        Raises:
            PeerError: as the masker that was chosen.
        """
        if self._chosen is None:
            return self._text.feed(self._head) + self._text.finish()
        return self._chosen.finish()
