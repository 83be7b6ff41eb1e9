"""What must hold of a request head before anything else is asked about it.

Source: RFC 9112 sections 3.2 and 3.3; RFC 9110 sections 7.2 and 10.1.1; RFC 6265 section 5.4.
"""

from weirgate_wire.error import PeerError
from weirgate_wire.http.head import RequestHead
from weirgate_wire.http.hop import is_disguised
from weirgate_wire.http.target import read_authority, split_absolute

_ONCE = frozenset(
    {
        "authorization",
        "content-location",
        "content-range",
        "content-type",
        "cookie",
        "date",
        "expect",
        "from",
        "host",
        "if-modified-since",
        "if-range",
        "if-unmodified-since",
        "max-forwards",
        "origin",
        "proxy-authorization",
        "range",
        "referer",
        "sec-websocket-key",
        "sec-websocket-version",
        "user-agent",
    }
)
"""Fields of a single value: where two stand, some upstreams take the first, some the last."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


def request_check(head: RequestHead) -> None:
    """Check the fields and the form of the target against each other.

    Raises:
        PeerError: no Host (HTTP/1.1), or more than one, or a malformed one; a field of a single value twice; a
            field name that CGI-like upstreams take for another; an expectation other than ``100-continue``; a
            target in a form that its method has not; a target that names another host than Host does.
    """
    seen: set[str] = set()
    for name, _ in head.headers:
        if name in _ONCE:
            if name in seen:
                raise PeerError(f"field {name} stands more than once")
            seen.add(name)
        elif is_disguised(name):
            raise PeerError("a field name that some upstreams take for another")
    expected = head.get("expect")
    if expected is not None and expected.lower() != "100-continue":
        raise PeerError("an expectation other than 100-continue")
    text = head.get("host")
    if text is None and head.minor:
        raise PeerError("no host")
    _check_target(head, read_authority(text) if text is not None else None)


def _check_target(head: RequestHead, host: tuple[str, int | None] | None) -> None:
    target = head.target
    if head.method == "CONNECT":
        named = read_authority(target)
        if named[1] is None:
            raise PeerError("CONNECT without a port")
        # Clients leave the port out of Host here, as the example of RFC 9110 section 9.3.6 does.
        if host is not None and host not in (named, (named[0], None)):
            raise PeerError("a target and a Host that differ")
    elif target.startswith("/"):
        return
    elif target == "*":
        if head.method != "OPTIONS":
            raise PeerError("an asterisk as target of another method than OPTIONS")
    else:
        scheme, authority, _ = split_absolute(target)
        port = _DEFAULT_PORTS[scheme]
        named = read_authority(authority)
        if host is not None and (host[0], host[1] or port) != (named[0], named[1] or port):
            raise PeerError("a target and a Host that differ")
