"""Field lines: ``name: value`` of heads and trailers, read and written by one grammar.

A block of field lines is read by one anchored regular expression. Each match starts right after a line feed and
ends with one, and no part of it but the end can hold CR or LF; so the block is well-formed exactly when there are
as many matches as line feeds, and nothing between two matches can go unseen. What is written is read back by the
same grammar before it leaves.

Refused here: bare CR, bare LF, NUL and every other control character but HTAB, line folding, white space before
the colon, a name that is no token, a line without a colon.

Source: RFC 9110 section 5, RFC 9112 section 5.
"""

import re
from collections.abc import Iterable

from weirgate_wire.error import PeerError, UsageError

Headers = tuple[tuple[str, str], ...]
"""Names in lower case and values without surrounding white space, in order. A value is latin-1: bytes from 0x80
on (``obs-text``) stand as the character of the same number."""

TCHAR = r"!#$%&'*+\-.^_`|~0-9A-Za-z"
"""Characters of a token, for a character class. Source: RFC 9110 section 5.6.2."""
LOWER_TCHAR = r"!#$%&'*+\-.^_`|~0-9a-z"
TEXT = r"\t\x20-\x7e\x80-\xff"
"""Characters of a field value, for a character class."""
_VISIBLE = r"\x21-\x7e\x80-\xff"

_FIELD = re.compile(rf"(?<=\n)([{TCHAR}]+):([{TEXT}]*)\r\n")
_WRITTEN = re.compile(rf"(?<=\n)([{LOWER_TCHAR}]+): ((?:[{_VISIBLE}](?:[{TEXT}]*[{_VISIBLE}])?)?)\r\n")
STRAY = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)")
"""A byte that no head holds: a control character, or a CR or LF on its own. A CR at the very end may still get
its LF."""


class HeadTooLong(PeerError):
    """A head, a target or trailers over a limit: 431 or 414, where the rest is a 400."""


def read_fields(text: str, at: int, limit: int) -> Headers:
    r"""Read field lines.

    Args:
        text: the lines, each with its CRLF, after a ``\n`` that stands before ``at``.
        at: where the first line begins.
        limit: most lines.

    Raises:
        PeerError: a line is malformed.
        HeadTooLong: more lines than the limit.
    """
    count = text.count("\n", at)
    if count > limit:
        raise HeadTooLong(f"more than {limit} fields")
    found = _FIELD.findall(text, at)
    if len(found) != count:
        raise PeerError(_what_is_wrong(text[at:]))
    return tuple([(name.lower(), value.strip(" \t")) for name, value in found])


def write_fields(headers: Iterable[tuple[str, str]]) -> str:
    """Write field lines, each with its CRLF.

    Raises:
        UsageError: they would not be read back as the very same fields: a name that is no lower-case token, a
            value with surrounding white space, CR, LF, NUL, or a character that is not latin-1.
    """
    given = list(headers)
    text = "".join([f"{name}: {value}\r\n" for name, value in given])
    if _WRITTEN.findall("\n" + text) != given:
        raise UsageError("a field that cannot be written")
    return text


def _what_is_wrong(block: str) -> str:
    if STRAY.search(block.encode("latin-1")):
        return "a bare CR or LF, or a control character, in a head"
    for line in block.split("\r\n"):
        name, colon, _ = line.partition(":")
        if line.startswith((" ", "\t")):
            return "a folded field line"
        if line and not colon:
            return "a field line without a colon"
        if name.endswith((" ", "\t")):
            return "white space before the colon of a field"
    return "a field name that is no token"
