"""Which header fields pass, which are dropped, and which no event may hold.

=====================  ==========================================================================================
dropped from requests  credentials for the gateway, hop-by-hop fields, ``Host`` and framing (made anew), ``Expect``
                       (the gateway's own to answer), ``Forwarded`` and its kin (an agent could claim anything),
                       ``Range`` (a part of a masked body is not to be had)
dropped from answers   hop-by-hop fields, framing (made anew), digests of a body that masking may change,
                       ``Alt-Svc`` (a way around the gateway)
rewritten in answers   ``Location`` within the upstream, ``Set-Cookie`` (only for this resource)
withheld from events   ``Cookie``, ``Set-Cookie`` and whatever else carries a secret by its name; subprotocols of a
                       WebSocket that look like tokens
=====================  ==========================================================================================

Source: RFC 9110 sections 7.6, 10, 14; RFC 6265.
"""

from collections.abc import Iterable

from weirgate_contracts.http import HttpHeader
from weirgate_wire.http.accept import accepted
from weirgate_wire.http.coding import CODINGS
from weirgate_wire.http.framing import hop_by_hop
from weirgate_wire.http.head import RequestHead, ResponseHead

Headers = tuple[tuple[str, str], ...]

_OURS = frozenset(
    (
        "authorization", "host", "content-length", "expect", "range", "if-range", "forwarded", "via", "x-real-ip",
        "x-original-url", "x-rewrite-url", "accept-encoding",
    )
)  # fmt: skip
"""Besides the hop-by-hop fields, which ``Proxy-Authorization`` and ``Transfer-Encoding`` are."""
_CLAIMS = ("x-forwarded-", "x-envoy-", "x-http-method")
_SECRET = frozenset(
    (
        "cookie", "set-cookie", "x-api-key", "api-key", "x-auth-token", "x-amz-security-token", "mcp-session-id",
    )
)  # fmt: skip
_ANSWER = frozenset(("content-length", "alt-svc"))
DIGESTS = frozenset(("content-md5", "digest", "content-digest", "repr-digest"))
"""Fields that tell of a body byte by byte."""
_VALIDATORS = DIGESTS | {"etag", "accept-ranges"}
_CODED = DIGESTS | {"content-encoding"}
"""All of them digests of the coded body."""
_PROTOCOL_BYTES = 40
"""Longest name of a subprotocol that is shown: a longer one is rather a token."""
WITHHELD = "[withheld]"
ACCEPTED = CODINGS
"""Content codings masking can look into; an agent that takes none of them is answered without."""


def sent_on(head: RequestHead, *, decoded: bool = False) -> Headers:
    """Return the fields of a request that the upstream is sent, in order.

    Args:
        head: as the agent sent it.
        decoded: its body is sent on without the content codings it came in.
    """
    gone = _OURS | hop_by_hop(head.headers)
    if decoded:
        gone |= _CODED
    kept = [
        (name, value) for name, value in head.headers if name not in gone and not name.startswith(_CLAIMS)
    ]
    kept.append(("accept-encoding", accepted(head.all("accept-encoding"), ACCEPTED)))
    return tuple(kept)


def shown(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return fields as an event or a recording may hold them."""
    return tuple(
        (name, _shown_protocols(value) if name == "sec-websocket-protocol" else value)
        if name not in _SECRET
        else (name, WITHHELD)
        for name, value in headers
    )


def _shown_protocols(value: str) -> str:
    """Withhold subprotocols that carry a token, as browsers must where they cannot set a header."""
    return ", ".join(
        WITHHELD if len(one) > _PROTOCOL_BYTES or "bearer" in one.lower() else one
        for one in value.split(", ")
    )


def told(headers: Iterable[tuple[str, str]]) -> tuple[HttpHeader, ...]:
    """Return the fields of a request as the intercepted event holds them."""
    return tuple(HttpHeader(name=name, value=value) for name, value in shown(headers))


def answered(
    head: ResponseHead, *, resource: str, origin: str, base: str, masked: bool, hosted: bool = False
) -> Headers:
    """Return the fields of an answer that the agent is sent, in order.

    Args:
        head: as the upstream sent it.
        resource: name of the resource: the first segment of every path the agent asks for, unless ``hosted``.
        origin: scheme and authority of the upstream, lower case.
        base: path that stands before every path of the resource at the upstream and not at the agent, without a slash
            at its end.
        masked: whether the body may be changed.
        hosted: the agent reaches the resource under an authority of its own. Locations then are paths, which stay
            under it, and its cookies are no other resource's anyway.
    """
    gone = _ANSWER | hop_by_hop(head.headers)
    if masked:
        gone |= _VALIDATORS
    kept: list[tuple[str, str]] = []
    for name, value in head.headers:
        if name in gone:
            continue
        if name in ("location", "content-location"):
            value = _placed(value, prefix="" if hosted else f"/{resource}", origin=origin, base=base)
        elif name == "set-cookie":
            value = _narrowed(value, prefix=None if hosted else f"/{resource}", base=base)
        kept.append((name, value))
    return tuple(kept)


def _placed(location: str, *, prefix: str, origin: str, base: str) -> str:
    """Rewrite a location within the upstream into one within the resource; others stand as they are."""
    rest = location
    if location.lower().startswith(origin) and location[len(origin) : len(origin) + 1] in ("", "/", "?", "#"):
        rest = location[len(origin) :] or "/"
    if not rest.startswith("/") or rest.startswith("//"):
        return location
    if base and (rest == base or rest.startswith((f"{base}/", f"{base}?"))):
        rest = rest[len(base) :] or "/"
        if not prefix and rest[1:2] in ("/", "\\"):
            # Without what stood before it, it would name another host.
            return location
    return f"{prefix}{rest}"


def _narrowed(cookie: str, *, prefix: str | None, base: str) -> str:
    """Keep a cookie from every other resource.

    Where one host serves them all only its path tells them apart. ``None``: the host is of this resource alone, so
    that a cookie without ``Domain`` is, too, and its path is the upstream's.
    """
    parts = [part.strip() for part in cookie.split(";")]
    kept = [parts[0]]
    path = ""
    for part in parts[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "path" and value.startswith("/"):
            path = value
        elif name.strip().lower() not in ("domain", "path"):
            kept.append(part)
    if base and (path == base or path.startswith(f"{base}/")):
        path = path[len(base) :] or "/"
    if prefix is not None:
        path = f"{prefix}{path or '/'}"
    if path:
        kept.append(f"Path={path}")
    return "; ".join(kept)
