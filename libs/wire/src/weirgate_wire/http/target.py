"""The request target: what is asked for, in the one form that is judged and sent.

Path tricks live on two parsers that normalise differently. So nothing is normalised that could be read in two
ways; it is refused: dot segments and empty segments in any spelling, encoded slashes and backslashes, control
characters, double encoding, text that is not UTF-8. What is left has one spelling: unreserved characters stand for
themselves, every other escape is in upper case.

Source: RFC 3986 sections 2, 3 and 6; RFC 9112 section 3.2.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import unquote, unquote_to_bytes

from weirgate_wire.error import PeerError
from weirgate_wire.http.field import HeadTooLong

TARGET_LIMIT_BYTES = 16 * 1024
PAIRS_LIMIT = 1000
"""Most pairs of a query. Django: 1000 (``DATA_UPLOAD_MAX_NUMBER_FIELDS``)."""

_PATH = re.compile(r"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_DISGUISED = re.compile(r"[/\\]|%[0-9A-Fa-f]{2}")
_TWICE = re.compile(r"%25[0-9A-Fa-f]{2}")
# Any visible ASCII but '#' and ';': some parsers separate pairs at ';', some do not (CVE-2021-23336).
_QUERY = re.compile(r"(?:[!-\"$&-:<-~]|%[0-9A-Fa-f]{2})*")
# TAB, LF and CR are text that people search for; the rest of the controls is not.
_QUERY_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ABSOLUTE = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([1-9][0-9]{0,4}))?")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_FORBIDDEN = frozenset([*range(0x20), 0x7F, 0x2F, 0x5C])


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A path and a query, in normal form."""

    path: str = field(repr=False)
    """Begins with ``/``; no dot segment, no empty segment but the last."""
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Decoded names and values, in order."""
    raw_query: str | None = field(default=None, repr=False)
    """The query as it is sent; ``None``: there is no ``?``."""

    @property
    def segments(self) -> tuple[str, ...]:
        """Decoded segments, the empty one behind a trailing slash included: what routes are matched against,
        for ``%3A`` and ``:`` are the same to an upstream."""
        return tuple([unquote(one) for one in self.path[1:].split("/")])

    def encode(self) -> str:
        """Return the target as it is sent, in origin-form."""
        return self.path if self.raw_query is None else f"{self.path}?{self.raw_query}"


def read_target(target: str) -> Target:
    """Read a target in origin-form (``/path?query``).

    Raises:
        PeerError: another form, or anything two parsers could read differently (see above).
        HeadTooLong: over 16 KiB, or over 1000 pairs.
    """
    if len(target) > TARGET_LIMIT_BYTES:
        raise HeadTooLong(f"a target over {TARGET_LIMIT_BYTES} bytes")
    path, mark, raw_query = target.partition("?")
    if not _PATH.fullmatch(path):
        raise PeerError("a path that does not begin with /, or with characters that must be percent-encoded")
    if "%" in path:
        path = _ESCAPE.sub(_normal_escape, path)
        if _TWICE.search(path):
            raise PeerError("a path that is percent-encoded twice")
    if not mark:
        raw_query = None
    _check_segments(path)
    return Target(path=path, query=_pairs(raw_query) if raw_query else (), raw_query=raw_query)


def split_absolute(target: str) -> tuple[str, str, str]:
    """Split a target in absolute-form (``http://host/path?query``).

    Returns:
        Scheme (``http`` or ``https``), authority (for :func:`read_authority`) and the target in origin-form (for
        :func:`read_target`).

    Raises:
        PeerError: another form, another scheme, or a malformed authority.
    """
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        raise PeerError("a target that is neither a path nor an http address")
    scheme, authority, origin = found.groups()
    read_authority(authority)
    return scheme.lower(), authority, origin if origin.startswith("/") else "/" + origin


def read_authority(text: str) -> tuple[str, int | None]:
    """Read ``host`` or ``host:port``.

    Returns:
        The host in lower case (an IPv6 address compressed and without brackets) and the port, ``None`` where none
        is written.

    Raises:
        PeerError: user information, an empty or impossible port, a host that is neither a name of letters, digits,
            ``-``, ``_`` and dots nor an address in its full form. A name that ends in a number is an address to
            some resolvers (``127.1``, ``0x7f.1``), so it must be a whole IPv4 address.
    """
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise PeerError("a malformed host")
    host, port = found.group(1).lower(), found.group(2)
    if port is not None and int(port) > 65535:
        raise PeerError("a port over 65535")
    return _normal_host(host), int(port) if port is not None else None


def _normal_host(host: str) -> str:
    try:
        if host.startswith("["):
            return str(IPv6Address(host[1:-1]))
        labels = host.split(".")
        if labels[-1].isdigit() or re.fullmatch(r"0x[0-9a-f]*", labels[-1]):
            return str(IPv4Address(host))
    except AddressValueError as error:
        raise PeerError("a malformed address as host") from error
    if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise PeerError("a malformed host name")
    return host


def _normal_escape(found: re.Match[str]) -> str:
    byte = int(found.group(1), 16)
    if byte in _UNRESERVED:
        return chr(byte)
    if byte in _FORBIDDEN:
        raise PeerError("a path with an encoded slash, backslash or control character")
    return found.group().upper()


def _check_segments(path: str) -> None:
    # A trailing slash leaves one empty segment at the end, which is allowed.
    segments = path[1:].split("/")
    if segments[-1] == "":
        segments.pop()
    escaped = "%" in path
    for segment in segments:
        if escaped:
            segment = _spoken(segment)
        # Some upstreams cut a segment at ';' before they resolve dots, some drop spaces at its end.
        name = segment.partition(";")[0].strip(" ")
        if name in ("", ".", ".."):
            raise PeerError("a path with an empty or a dot segment")


def _spoken(segment: str) -> str:
    """Decode a segment, as the most generous upstream would."""
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError as error:
        raise PeerError("a path that is not UTF-8") from error
    if text.isascii():
        return text
    # Compatibility forms (a full-width slash or dot) become the plain ones in upstreams that map to a code page.
    plain = unicodedata.normalize("NFKC", text)
    if _DISGUISED.search(plain) or any(unicodedata.category(one) == "Cc" for one in text):
        raise PeerError("a path with a disguised slash, backslash, escape or control character")
    return plain


def _pairs(raw_query: str) -> tuple[tuple[str, str], ...]:
    if not _QUERY.fullmatch(raw_query):
        raise PeerError("a query with '#', ';' or a broken escape")
    if raw_query.count("&") >= PAIRS_LIMIT:
        raise HeadTooLong(f"a query of more than {PAIRS_LIMIT} pairs")
    pairs: list[tuple[str, str]] = []
    for pair in raw_query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            pairs.append((_query_text(name), _query_text(value)))
    return tuple(pairs)


def _query_text(text: str) -> str:
    text = text.replace("+", " ")
    if "%" not in text:
        return text
    try:
        text = unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        raise PeerError("a query that is not UTF-8") from error
    if _QUERY_CONTROL.search(text):
        raise PeerError("a query with a control character")
    return text
