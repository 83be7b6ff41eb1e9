"""Text, masked as it streams: what detectors find is replaced, also where pieces cut it.

Text is let through up to a *boundary*: a place no find can reach across, seen from what stands before it.
Then the two sides are independent, and the masked whole is the masked parts one after the other, wherever the
pieces were cut.

- A hard boundary stands before a line end, a tab, ``<``, ``>``, ``"`` or other marks that are part of nothing
  a detector looks for. A soft one stands before a space, which numbers in groups contain: so not behind a
  digit or a separator, not behind what may be the head of an IBAN, not behind ``Bearer``.
- Neither stands within 64 bytes behind ``aws`` (a secret key is told by the words before it, see
  :mod:`weirgate_mask.recognise`), nor within a private key, nor within the line that begins one.

Where there is no boundary for :data:`HOLD_LIMIT_BYTES` the text is cut all the same, at places that depend on
the text alone: never within a find, and what is still growing (a private key, a token, a JWT) is replaced at
once and the rest of it dropped. A find longer than the hold that shows only at its end is not found.

Field patterns do not apply to text. Bytes that are no UTF-8 stand for themselves; a zero byte is PeerError,
since UTF-16 and UTF-32 would hide everything behind them.
"""

import re
from collections.abc import Callable

from weirgate_mask.found import Found
from weirgate_wire.error import PeerError

HOLD_LIMIT_BYTES = 64 * 1024
"""Text that is held back at most."""
_TICKS = 4
"""Cuts for want of a boundary are made at multiples of the hold divided by this, so that they are the same
for any pieces."""
_TRIES = 256
_PIECES = 1024

_SOFT = rb"(?<![0-9 .()/+-]) "
_LAST = re.compile(rb"(?s:.*)(?:" + _SOFT + rb"|[\x01-\x1f<>\",;\[\]\\])")
_LAST_OF_MARKUP = re.compile(rb"(?s:.*)(?:" + _SOFT + rb"|[\x01-\x1f<>\"])")
_ANY = re.compile(rb"[\x01-\x20<>\",;\[\]\\]")
_SPACE = 0x20
_IBAN_HEAD = re.compile(rb"(?<![0-9A-Za-z])[A-Za-z]{2}[0-9]{2}[ 0-9A-Za-z]*\Z")
_AWS_BYTES, _IBAN_BYTES, _BEGIN_BYTES = 64, 80, 96
_BEGINNING = re.compile(rb"-----BEGIN[ 0-9A-Z]*\Z")
_KEY_BEGIN = re.compile(rb"-----BEGIN [0-9A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(rb"-----END [0-9A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_GROWING_JWT = re.compile(rb"(?<![0-9A-Za-z_.-])eyJ[0-9A-Za-z_-]{6,}(?:\.[0-9A-Za-z_-]*){0,2}\Z")
_GROWTH = re.compile(rb"[0-9A-Za-z_.~+/=@\x80-\xff-]*+")
_REFERENCE = re.compile(
    rb"&(?:#(?:[xX]0*([2-7][0-9A-Fa-f])|0*([0-9]{2,3}))|(commat|period|num|plus|lowbar|colon));"
)
_NAMED = {b"commat": b"@", b"period": b".", b"num": b"#", b"plus": b"+", b"lowbar": b"_", b"colon": b":"}
_KEY, _JWT, _AWS, _IBAN = "secret.private_key", "secret.jwt", "secret.aws_key", "payment.iban"


class TextBody:
    """Masks text; without detectors it lets everything through."""

    def __init__(
        self, found: Found | None, *, hold_bytes: int = HOLD_LIMIT_BYTES, markup: bool = False
    ) -> None:
        """Take what masks.

        Args:
            found: Detectors.
            hold_bytes: What is held back at most.
            markup: XML or HTML, in which a character may be written as a reference.
        """
        self.cells_masked = 0
        self._found = found
        self._markup = markup
        self._last = _LAST_OF_MARKUP if markup else _LAST
        self._tick = hold_bytes // _TICKS
        self._limit = hold_bytes - self._tick
        self._into = 0
        self._waiting: list[bytes] = []
        self._skips: Callable[[bytes], bytes] | None = None
        self._tail = b""

    def feed(self, piece: bytes) -> bytes:
        """Take some text and return what may go on.

        Raises:
            PeerError: not text.
        """
        if b"\0" in piece:
            raise PeerError("text with a zero byte in it")
        if self._found is None:
            return piece
        out: list[bytes] = []
        at = 0
        while at < len(piece):
            part = piece[at : at + self._tick - self._into]
            at += len(part)
            self._into = (self._into + len(part)) % self._tick
            out.append(self._part(part, self._found))
        return b"".join(out)

    def finish(self) -> bytes:
        """Take the end of the text and return what is left."""
        rest = b"".join(self._waiting)
        self._waiting = []
        self._skips = None
        return self._masked(rest, self._found) if self._found is not None else rest

    def _part(self, part: bytes, found: Found) -> bytes:
        if self._skips is not None:
            part = self._skips(part)
        self._waiting.append(part)
        if self._into and not _ANY.search(part):
            if len(self._waiting) > _PIECES:
                self._waiting = [b"".join(self._waiting)]
            return b""
        text = b"".join(self._waiting)
        cut = self._boundary(text, found)
        masked = self._masked(text[:cut], found)
        rest = text[cut:]
        if not self._into and len(rest) > self._limit:
            forced, rest = self._force(rest, found)
            masked += forced
        self._waiting = [rest]
        return masked

    def _masked(self, text: bytes, found: Found) -> bytes:
        if self._markup and b"&" in text:
            plain = _REFERENCE.sub(_referred, text)
            if plain != text and found.find(plain):
                text = plain
        masked, finds = found.text(text)
        self.cells_masked += finds
        return masked

    # ------------------------------------------------------------ where to cut

    def _boundary(self, text: bytes, found: Found) -> int:
        keys = _keys(text) if _KEY in found.labels else []
        end = len(text)
        for _ in range(_TRIES):
            last = self._last.match(text, 0, end)
            if last is None:
                return 0
            cut = last.end() - 1
            end = _unsafe(text, cut, found, keys)
            if end < 0:
                return cut
        return 0

    def _force(self, text: bytes, found: Found) -> tuple[bytes, bytes]:
        for start, end in _keys(text) if _KEY in found.labels else []:
            if end == len(text) and not _KEY_END.search(text, start):
                self._tail = text[-_BEGIN_BYTES:]
                self._skips = self._skip_key
                return self._dropped(text, start, (_KEY,), found), b""
        finds = found.find(text)
        jwt = _GROWING_JWT.search(text) if _JWT in found.labels else None
        if jwt is not None:
            finds.append((jwt.start(), len(text), (_JWT,)))
        for start, end, labels in finds:
            if end == len(text):
                self._skips = self._skip_growth
                return self._dropped(text, start, labels, found), b""
        cut = len(text) - self._limit // 2
        while cut > 1 and text[cut] & 0xC0 == 0x80:
            cut -= 1
        for start, end, _ in finds:
            if start < cut < end:
                cut = start or end
        return self._masked(text[:cut], found), text[cut:]

    def _dropped(self, text: bytes, start: int, labels: tuple[str, ...], found: Found) -> bytes:
        before = self._masked(text[:start], found)
        self.cells_masked += 1
        to = found.substitute(labels)
        return before if to.transform.kind == "null" else before + to.token.encode()

    def _skip_key(self, part: bytes) -> bytes:
        text = self._tail + part
        end = _KEY_END.search(text)
        if end is None:
            self._tail = text[-_BEGIN_BYTES:]
            return b""
        self._skips = None
        return text[end.end() :]

    def _skip_growth(self, part: bytes) -> bytes:
        grown = _GROWTH.match(part)
        rest = part[grown.end() :] if grown else part
        if rest:
            self._skips = None
        return rest


def _keys(text: bytes) -> list[tuple[int, int]]:
    if b"PRIVATE KEY" not in text:
        return []
    keys: list[tuple[int, int]] = []
    done = 0
    while begin := _KEY_BEGIN.search(text, done):
        end = _KEY_END.search(text, begin.end())
        done = end.end() if end else len(text)
        keys.append((begin.start(), done))
    return keys


def _unsafe(text: bytes, cut: int, found: Found, keys: list[tuple[int, int]]) -> int:
    """Return before what the text cannot be cut at ``cut``, or -1 where it can."""
    for start, end in keys:
        if start < cut < end:
            return start
    if _KEY in found.labels:
        beginning = _BEGINNING.search(text, max(0, cut - _BEGIN_BYTES), cut)
        if beginning is not None:
            return beginning.start()
    if _AWS in found.labels:
        first = max(0, cut - _AWS_BYTES)
        aws = text[first:cut].lower().rfind(b"aws")
        if aws >= 0:
            return first + aws
    if text[cut] != _SPACE:
        return -1
    if _IBAN in found.labels:
        head = _IBAN_HEAD.search(text, max(0, cut - _IBAN_BYTES), cut)
        if head is not None:
            return head.start()
    return cut if text[max(0, cut - 6) : cut].lower() == b"bearer" else -1


def _referred(reference: re.Match[bytes]) -> bytes:
    hexadecimal, decimal, name = reference.groups()
    if name:
        return _NAMED[name]
    number = int(hexadecimal, 16) if hexadecimal else int(decimal)
    char = chr(number)
    # What would be markup stays a reference.
    return char.encode() if 0x20 <= number < 0x7F and char not in "<>&\"'" else reference.group()
