"""``application/x-www-form-urlencoded``, masked pair by pair: fields by name, detectors over the rest.

A field is named as a column of CSV is: by the last step of a pattern. What no mask replaces comes out byte
for byte, however it was escaped.
"""

from urllib.parse import quote_plus, unquote_to_bytes

from weirgate_mask.fields import FieldTree
from weirgate_mask.found import Found
from weirgate_mask.values import read_text, write_text
from weirgate_wire.error import PeerError

PAIR_LIMIT_BYTES = 1 << 20
_PIECES = 1024


class FormBody:
    """Masks a form."""

    def __init__(self, fields: FieldTree, found: Found | None) -> None:
        self.cells_masked = 0
        self._fields = fields.last_steps()
        self._found = found
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def feed(self, piece: bytes) -> bytes:
        """Take some of the form and return the pairs that may go on.

        Raises:
            PeerError: a pair of more than 1 MiB.
        """
        end = piece.rfind(b"&") + 1
        if not end:
            self._waiting.append(piece)
            if len(self._waiting) > _PIECES:
                self._waiting = [b"".join(self._waiting)]
            self._waiting_bytes += len(piece)
            if self._waiting_bytes > PAIR_LIMIT_BYTES:
                raise PeerError("a value of more than 1 MiB cannot be masked")
            return b""
        whole = b"".join((*self._waiting, piece[:end]))
        self._waiting = [piece[end:]]
        self._waiting_bytes = len(piece) - end
        return b"&".join([self._pair(pair) for pair in whole.split(b"&")])

    def finish(self) -> bytes:
        """Take the end and return the last pair."""
        rest = b"".join(self._waiting)
        self._waiting = []
        return self._pair(rest)

    def _pair(self, pair: bytes) -> bytes:
        if not pair:
            return pair
        key, mark, value = pair.partition(b"=")
        name = _read(key)
        scalar = next((scalar for step, scalar in self._fields if step is None or step == name), None)
        if scalar is not None and value:
            made = scalar.to.text(read_text(_read(value)))
            self.cells_masked += 1
            return self._seen(key) + mark + (b"" if made is None else _write(write_text(made)))
        return self._seen(key) + mark + self._seen(value)

    def _seen(self, part: bytes) -> bytes:
        if self._found is None or not part:
            return part
        masked, finds = self._found.text(_read(part))
        self.cells_masked += bool(finds)
        return _write(masked) if finds else part


def _read(part: bytes) -> bytes:
    return unquote_to_bytes(part.replace(b"+", b" "))


def _write(text: bytes) -> bytes:
    return quote_plus(text).encode()
