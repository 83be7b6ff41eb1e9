"""What detectors find in the texts of a body, and what stands in its place."""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from weirgate_contracts.masking import Plan, Transform
from weirgate_mask.checksum import card_number
from weirgate_mask.copies import FieldMemo
from weirgate_mask.detectors import detectors
from weirgate_mask.jsonscalar import mask_number
from weirgate_mask.jsontoken import NULL, PLAIN, QUOTE, read_string, write_string
from weirgate_mask.keys import Keyring
from weirgate_mask.substitute import Substitutes
from weirgate_mask.values import read_text, write_text

_CARD = "payment.card"
_CARD_DIGITS = 13
_EMAIL = "pii.email"
_EMAIL_ALONE = re.compile(
    rb"(?!eyJ)[A-Za-z]{1,16}(?:[._-][A-Za-z]{1,16})?[0-9]{0,5}"
    rb"@[A-Za-z]{1,20}(?:\.[A-Za-z]{1,20}){0,2}\.[A-Za-z]{2,10}"
)
"""Texts in which detectors find an e-mail address, the whole of it, and no other thing (a test compares)."""
Find = tuple[int, int, tuple[str, ...]]


class Found:
    """The detectors that are on, for one body."""

    __slots__ = ("_card", "_redacted", "_seek", "_substitutes", "labels", "scan", "substitute", "token")

    def __init__(self, transforms: Mapping[str, Transform], keys: Keyring) -> None:
        """Take detector label to transform.

        Raises:
            DetectorsUnusable: see :mod:`weirgate_mask.detectors`.
        """
        compiled = detectors(frozenset(transforms))
        self.labels = frozenset(transforms)
        self.scan = compiled.scan
        """Where hits end in a whole block, see :meth:`Detectors.scan`."""
        self._seek = compiled.find
        self._substitutes = Substitutes(transforms, keys)
        self.substitute = self._substitutes.of
        self._redacted: dict[tuple[str, ...], bytes] = {
            (label,): write_string(one.token)
            for label, one in self._substitutes.items()
            if one.transform.kind == "redact"
        }
        """Tokens for strings that are one find from end to end."""
        self._card = self._substitutes.get(_CARD)
        self.token = FieldMemo(self._token).__getitem__
        """Replace what is found in a JSON string or number; the token itself where nothing is found.

        A find that is to become null makes the whole value null.
        """

    def find(self, text: bytes) -> list[Find]:
        """Find what the detectors look for in one text, see :meth:`Detectors.find`."""
        if _EMAIL in self.labels and _EMAIL_ALONE.fullmatch(text):
            # The most common find by far; the long way takes ten times as long.
            return [(0, len(text), (_EMAIL,))]
        return self._seek(text)

    def text(self, text: bytes) -> tuple[bytes, int]:
        """Replace what is found in a text; a find that is to become null is left out.

        Returns:
            The text, and how many finds were replaced.
        """
        finds = self.find(text)
        if not finds:
            return text, 0
        masked, _ = self._replaced(text, finds)
        return masked, len(finds)

    def _replaced(self, text: bytes, finds: list[Find]) -> tuple[bytes, bool]:
        parts: list[bytes] = []
        done = 0
        nothing = False
        for start, end, labels in finds:
            made = self.substitute(labels).text(read_text(text[start:end]))
            parts.append(text[done:start])
            if made is None:
                nothing = True
            else:
                parts.append(write_text(made))
            done = end
        parts.append(text[done:])
        return b"".join(parts), nothing

    def _token(self, token: bytes) -> bytes:
        if token[0] != QUOTE:
            return self._number(token)
        text = token[1:-1] if b"\\" not in token else read_string(token).encode()
        finds = self.find(text)
        if not finds:
            return token
        start, end, labels = finds[0]
        if start == 0 and end == len(text) and labels in self._redacted:
            return self._redacted[labels]
        masked, nothing = self._replaced(text, finds)
        if nothing:
            return NULL
        return b'"%b"' % masked if PLAIN.fullmatch(masked) else write_string(read_text(masked))

    def key(self, key: bytes) -> str | None:
        """Return a masked object key, ``None`` where nothing is found in it. A key cannot be null."""
        finds = self.find(key)
        if not finds:
            return None
        masked, nothing = self._replaced(key, finds)
        return self.substitute(finds[0][2]).token if nothing else read_text(masked)

    def _number(self, token: bytes) -> bytes:
        if self._card is None or len(token) < _CARD_DIGITS:
            return token
        if 0 <= token.find(b".") <= _CARD_DIGITS - 1 and b"e" not in token and b"E" not in token:
            return token
        try:
            value = Decimal(token.decode())
            digits = str(abs(int(value))) if 0 <= value.adjusted() < 20 else ""
        except (ValueError, InvalidOperation, OverflowError):
            return token
        return mask_number(self._card, token) if card_number(digits) else token


def found_in(plan: Plan, unmask: frozenset[str], keys: Keyring) -> Found | None:
    """Return the detectors of a plan that are on for somebody who may see these labels.

    Raises:
        DetectorsUnusable: see :mod:`weirgate_mask.detectors`.
    """
    transforms = {one.label: one.transform for one in plan.detectors if one.label not in unmask}
    return Found(transforms, keys) if transforms else None
