"""Media types: ``type/subtype; name=value``.

Source: RFC 9110 section 8.3.1 and section 5.6.6.
"""

import re

from weirgate_wire.error import PeerError
from weirgate_wire.http.field import TCHAR

_TYPE = re.compile(rf"([{TCHAR}]+/[{TCHAR}]+)")
_PARAMETER = re.compile(
    rf"[ \t]*;[ \t]*(?:([{TCHAR}]+)="
    rf'(?:([{TCHAR}]+)|"((?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*)"))?'
)


def read_media_type(value: str) -> tuple[str, dict[str, str]]:
    """Read the value of a Content-Type field.

    Returns:
        ``type/subtype`` in lower case, and the parameters: names in lower case, values as they stand, without
        quotes.

    Raises:
        PeerError: it is malformed, is a list, or a parameter stands twice.
    """
    value = value.strip(" \t")
    found = _TYPE.match(value)
    if found is None:
        raise PeerError("a malformed media type")
    at = found.end()
    parameters: dict[str, str] = {}
    while at < len(value):
        one = _PARAMETER.match(value, at)
        if one is None:
            raise PeerError("a malformed parameter of a media type")
        at = one.end()
        name, plain, quoted = one.groups()
        if name is None:
            continue
        name = name.lower()
        if name in parameters:
            raise PeerError("a parameter of a media type stands twice")
        parameters[name] = plain if plain is not None else re.sub(r"\\(.)", r"\1", quoted)
    return found.group(1).lower(), parameters
