"""Fields that end at the next hop, and names too important to be ended there by a peer.

``Connection: authorization`` asks an intermediary to drop a field that was judged. So names that frame, route,
authenticate or describe a message are refused in ``Connection`` (and in trailers, where they would come after the
verdict).

Source: RFC 9110 sections 6.5.1 and 7.6.1; "Abusing HTTP hop-by-hop request headers" (N. Davison, 2019).
"""

import re
from collections.abc import Iterable

from weirgate_wire.error import PeerError
from weirgate_wire.http.field import LOWER_TCHAR
from weirgate_wire.http.head import Head

HOP_BY_HOP = frozenset(
    {
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Fields that are never sent on as they came."""

CRITICAL = frozenset(
    {
        "accept",
        "authorization",
        "cache-control",
        "cookie",
        "date",
        "expect",
        "forwarded",
        "from",
        "host",
        "idempotency-key",
        "location",
        "mcp-session-id",
        "origin",
        "prefer",
        "range",
        "referer",
        "set-cookie",
        "traceparent",
        "tracestate",
        "vary",
        "via",
        "www-authenticate",
        "x-api-key",
        "x-original-url",
        "x-real-ip",
        "x-rewrite-url",
    }
)
"""Fields that route, authenticate or describe a message end to end. Not Transfer-Encoding: it ends at this hop in
any case, and large networks do list it."""
_CRITICAL_FAMILIES = ("content-", "if-", "sec-", "x-forwarded-", "x-http-method", "x-method", "x-weirgate-")
_NAME = re.compile(rf"[{LOWER_TCHAR}]+")
_PLAIN = re.compile(r"[a-z0-9-]+")


def hop_by_hop(headers: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Return the names of fields not to be sent on: the known ones, and those that ``Connection`` lists.

    Raises:
        PeerError: ``Connection`` is malformed, or lists a field that is critical end to end.
    """
    listed: set[str] = set()
    for name, value in headers:
        if name == "connection":
            listed.update(one.strip(" \t").lower() for one in value.split(","))
    listed.discard("")
    for one in listed:
        if not _NAME.fullmatch(one):
            raise PeerError("a malformed Connection field")
        if is_critical(one):
            raise PeerError("a Connection field that lists a field critical end to end")
    return HOP_BY_HOP | listed


def persists(head: Head) -> bool:
    """Whether the sender of a head means its connection to go on: HTTP/1.1 without ``Connection: close``.

    Raises:
        PeerError: see :func:`hop_by_hop`.

    Source: RFC 9112 section 9.3.
    """
    return head.minor == 1 and "close" not in hop_by_hop(head.headers)


def is_critical(name: str) -> bool:
    """Whether a field (lower-case name) must reach the other end as it was judged. ``content_length`` counts as
    ``content-length``: see :func:`is_disguised`."""
    name = re.sub(r"[^a-z0-9]", "-", name)
    return name in CRITICAL or name.startswith(_CRITICAL_FAMILIES)


def is_disguised(name: str) -> bool:
    """Whether a field (lower-case name) is another one to an upstream that maps all punctuation to one sign, as
    CGI and its heirs do: ``content_length``, ``transfer.encoding``."""
    if _PLAIN.fullmatch(name):
        return False
    return is_critical(name) or re.sub(r"[^a-z0-9]", "-", name) in HOP_BY_HOP
