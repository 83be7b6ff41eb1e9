"""One scalar of a JSON document, masked: what a transform makes of a string, a number, true or null."""

from decimal import Decimal, InvalidOperation

from weirgate_mask.copies import FieldMemo
from weirgate_mask.jsontoken import NULL, QUOTE, read_string, write_string
from weirgate_mask.substitute import Substitute

_INT8 = 1 << 63
_NUMBER_LIMIT = 64
"""Digits of a number, shown in full, that a transform is asked to change: ``1e999999`` is a trap."""


class Scalar:
    """Masks the scalars of one field; takes a token and returns the token in its place."""

    __slots__ = ("_memo", "_string", "to")

    def __init__(self, to: Substitute) -> None:
        self.to = to
        self._string: bytes | None = None
        if to.transform.kind == "redact":
            self._string = write_string(to.token)
        elif to.transform.kind == "null":
            self._string = NULL
        self._memo = FieldMemo(self._masked)

    def __call__(self, token: bytes) -> bytes:
        """Mask one token. Null stays null."""
        if token[0] in b"tfn":
            # A placeholder would keep the secret just as well, but would not be of any use in its place.
            return NULL
        return self._string or self._memo[token]

    def _masked(self, token: bytes) -> bytes:
        if token[0] != QUOTE:
            return mask_number(self.to, token)
        made = self.to.text(read_string(token))
        return NULL if made is None else write_string(made)


def mask_number(to: Substitute, token: bytes) -> bytes:
    """Mask a number token: with a number where the transform makes one, else with a string or null."""
    text = token.decode()
    match to.transform.kind:
        case "redact" | "partial":
            made = to.text(text)
            return NULL if made is None else write_string(made)
        case "null":
            return NULL
        case "generalise" | "pseudonym" | "format":
            return _numeric(to, text)


def _numeric(to: Substitute, text: str) -> bytes:
    if len(text) > _NUMBER_LIMIT:
        return NULL
    try:
        if text.lstrip("-").isdigit() and -_INT8 <= int(text) < _INT8:
            whole = to.integer(int(text), 8)
            return NULL if whole is None else b"%d" % whole
        value = Decimal(text)
        if not -_NUMBER_LIMIT < value.adjusted() < _NUMBER_LIMIT:
            return NULL
        number = to.numeric(value)
        return NULL if number is None else format(number, "f").encode()
    except (ValueError, InvalidOperation, ArithmeticError):
        return NULL
