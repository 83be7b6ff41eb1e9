"""What can be shown of a body: text as text, anything else as its size and type. Pure."""

import codecs
import re
from typing import Final

from weirgate_recorder.message import Head
from weirgate_wire.error import PeerError
from weirgate_wire.http.coding import CodingUnknown, decoded_beginning, read_codings

KEPT_BYTES: Final = 64 * 1024
"""Of each body, as it was sent; what comes after is counted and let go."""
_CHARSET: Final = re.compile(r";\s*charset\s*=\s*\"?([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_CHARSETS: Final = {
    "utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "utf-8", "iso-8859-1": "latin-1", "latin1": "latin-1",
    "windows-1252": "cp1252",
}  # fmt: skip
"""Those that are told; in any other, text that happens to be UTF-8 is shown, and nothing else."""


class Gathering:
    """A body that is still coming.

    Args:
        head: What it belongs to.
        at_us: When that came.
        limit_bytes: Of its text that is shown.
        lines: Of its text that are shown; ``None``: all.
    """

    def __init__(self, head: Head, *, limit_bytes: int, lines: int | None) -> None:
        given = head.find("content-type")
        self.type = given.partition(";")[0].strip().lower()
        self.encoding = head.find("content-encoding").strip().lower()
        self.size_bytes = 0
        charset = _CHARSET.search(given)
        self._charset = _CHARSETS.get(charset.group(1).lower(), "utf-8") if charset else "utf-8"
        self._limit_bytes = limit_bytes
        self._lines = lines
        self._kept = bytearray()

    def take(self, piece: bytes) -> None:
        """Take more of it."""
        self.size_bytes += len(piece)
        if len(self._kept) < KEPT_BYTES:
            self._kept += piece[: KEPT_BYTES - len(self._kept)]

    def text(self) -> tuple[str | None, bool]:
        """Return what can be shown of it, and whether there is more."""
        more = len(self._kept) < self.size_bytes
        shown, more = _decompressed(bytes(self._kept), self.encoding, self._limit_bytes, more)
        text = _decoded(shown, self._charset, whole=not more) if shown is not None else None
        if text is None or self._lines is None:
            return text, more
        lines = text.split("\n")
        if len(lines) > self._lines:
            return "\n".join(lines[: self._lines]), True
        return text, more


def _decompressed(kept: bytes, encoding: str, limit: int, more: bool) -> tuple[bytes | None, bool]:
    """Undo content codings within a limit; ``None``: one is not undone here, or nothing can be read.

    A session that broke off, or a body longer than what is kept, leaves a beginning: that is shown.
    """
    try:
        shown, whole = decoded_beginning(kept, read_codings((encoding,)), limit_bytes=limit)
    except (CodingUnknown, PeerError):
        return None, more
    return shown, more or not whole


def _decoded(shown: bytes, charset: str, *, whole: bool) -> str | None:
    try:
        text = codecs.getincrementaldecoder(charset)("strict").decode(shown, whole)
    except UnicodeDecodeError:
        return None
    return None if "\x00" in text else text
