"""The tokens of JSON (RFC 8259) as expressions over bytes, and strings read and written.

Every repeat is possessive, so no input makes an expression go back: time is linear. They are stricter than
many readers: no lone surrogate passes, since two readers would read two different things.
"""

import json
import re

WS = rb"[ \t\n\r]*+"
_RUN = rb'[^"\\\x00-\x1f]*+'
_ESCAPE = (
    rb'\\(?:["\\/bfnrt]|u(?:[0-9A-CEFa-cef][0-9A-Fa-f]{3}|[Dd][0-7][0-9A-Fa-f]{2}'
    rb"|[Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2}))"
)
INSIDE = _RUN + rb"(?:" + _ESCAPE + _RUN + rb")*+"
STRING = rb'"' + INSIDE + rb'"'
PLAIN_STRING = rb'"' + _RUN + rb'(?:\\["\\bfnrt]' + _RUN + rb')*+"'
HIDING = re.compile(rb"\\[/u]")
"""Escapes behind which something may stand that detectors do not see in the raw bytes. The others stand for
characters that are part of nothing, and make no text more than twice as long: the patterns allow for that."""
_WHOLE = rb"-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+"
NUMBER = _WHOLE + rb"(?:[eE][+-]?+[0-9]++)?+"
PLAIN_SCALAR = rb"(?:" + PLAIN_STRING + rb"|" + _WHOLE + rb"|true|false|null)"
"""A scalar in which a scan sees what there is: no escape that hides, no exponent."""

MEMBER = re.compile(WS + rb"(" + STRING + rb")" + WS + rb":" + WS)
KEY = re.compile(STRING)
SCALAR = re.compile(rb"((?:" + STRING + rb"|" + NUMBER + rb"|true|false|null))" + WS + rb"([,}\]])" + WS)
PAIR = re.compile(
    WS + rb"(" + STRING + rb")" + WS + rb":" + WS
    + rb"((?:" + STRING + rb"|" + NUMBER + rb"|true|false|null))" + WS + rb"([,}])" + WS
)  # fmt: skip
WHOLE_SCALAR = re.compile(rb"(?:" + STRING + rb"|" + NUMBER + rb"|true|false|null)")
MARK = re.compile(rb"([,}\]])" + WS)
SPACE = re.compile(WS)
STRING_INSIDE = re.compile(INSIDE)
LOOSE = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
"""The inside of a string, as far as the quote that ends it; or a backslash whose other half has not come."""
PLAIN = re.compile(rb"[ !#-\[\]-~]*+")
"""Text that needs no escape in a string."""
NUMBER_RUN = re.compile(rb"[0-9.eE+-]*+")

NULL = b"null"
QUOTE, BACKSLASH, OPEN_OBJECT, OPEN_ARRAY, CLOSE_OBJECT, CLOSE_ARRAY, COMMA, COLON = b'"\\{[}],:'


def read_string(token: bytes) -> str:
    """Read a whole string token that :data:`STRING` fits."""
    if BACKSLASH not in token:
        return token[1:-1].decode()
    text: str = json.loads(token.decode())
    return text


def write_string(text: str) -> bytes:
    """Write a string token. What a mask has cut in the middle of a character becomes U+FFFD."""
    try:
        return json.dumps(text, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        clean = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return json.dumps(clean, ensure_ascii=False).encode()
