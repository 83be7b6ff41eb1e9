"""The ways in: how a request says which resource it is for, and where its token stands.

==========  =====================================  ====================  =====================================
way         the request                            the resource          the token
==========  =====================================  ====================  =====================================
prefix      ``GET /<resource>/x``, any other Host  first segment         ``Authorization``, or
                                                                         ``Proxy-Authorization``
host        ``GET /x``, Host is a registered one   by Host               the same
forward     ``GET http://authority/x``             by the authority      ``Proxy-Authorization`` alone
connect     ``CONNECT authority``                  by the authority      ``Proxy-Authorization`` alone
tunnel      ``GET /x`` inside that                 the tunnel's          the tunnel's
==========  =====================================  ====================  =====================================

Where a field for the token is configured (``Entrance.token_header``) and there, it comes before ``Authorization``; it
is never sent on.

Invariants:

1. A request has one authority. Host and the target agree, or it is refused (``request_check``); inside a
   tunnel Host is the tunnel's authority, or it is refused (421).
2. Who sends no good token to the proxy learns nothing of what is registered: an authority that leads nowhere is
   first refused after the token was checked, as a resource of its own written name (``evil.test:443``), which
   no resource can have.
3. ``Authorization`` of a request to the proxy is the client's for the upstream. It is never taken for a token
   of ours, and never sent on.

Source: RFC 9110 sections 7.4, 9.3.6, 11.7, 15.5.8, 15.5.20; RFC 9112 section 3.2; RFC 6750; RFC 7617.
"""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Self

from weirgate_contracts.authority import DEFAULT_PORTS, write_authority
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.http.place import Nowhere, Place, Places, choose
from weirgate_wire.error import PeerError
from weirgate_wire.http.head import RequestHead, ResponseHead
from weirgate_wire.http.target import Target, read_authority, read_target, split_absolute

CONNECTED = ResponseHead(status=200, reason="Connection established", headers=()).encode()
"""What answers a CONNECT that is let in. Neither length nor coding: what follows is the tunnel."""
_FORM = "Write /<resource>/<path> with 'Authorization: Bearer <token>'."
_PROXY_FORM = (
    "Give the proxy the token: http://agent:<token>@gateway:port as HTTP_PROXY and HTTPS_PROXY, or "
    "'Proxy-Authorization: Bearer <token>'."
)


class Unserved(Exception):
    """A request that is refused before anybody is asked."""

    def __init__(self, code: RefusalCode, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.refusal = Refusal(code=code, reason=reason[:2000], hint=hint)

    @classmethod
    def of(cls, refusal: Refusal) -> Self:
        """Return it for a refusal that was made already."""
        return cls(refusal.code, refusal.reason, refusal.hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """What a CONNECT has opened, or asks for."""

    host: str
    """In normal form; an IPv6 address without brackets."""
    port: int
    place: Place | None
    """``None``: the authority leads nowhere, which the agent is told after its token was checked."""

    @property
    def authority(self) -> str:
        """Host and port, as an address has them."""
        return write_authority((self.host, self.port))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """What is known of the connection a request comes in by."""

    places: Places = field(default_factory=Nowhere)
    token_header: str | None = None
    """A field, in lower case, whose value may be the token."""
    tunnels: bool = False
    """CONNECT is served: there is a certificate authority for it."""
    secure: bool = False
    """The agent speaks TLS."""
    tunnel: Tunnel | None = None
    """The connection is inside this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Which way a request came in, and what it is for."""

    resource: str
    """Name of a resource, or an authority that leads nowhere."""
    path: str
    """Within the resource, in normal form."""
    target: Target
    token: str = field(repr=False)
    """Empty inside a tunnel: who is there was checked before."""
    hosted: bool = False
    """The agent's paths are those of the resource, without its name before them."""
    own: bool = False
    """The agent's paths begin with the upstream's base path, as the upstream's own do."""
    connect: Tunnel | None = None
    """It asks for this tunnel."""


def is_proxied(head: RequestHead) -> bool:
    """Whether a request asks the gateway as a proxy: its refusals are a proxy's (407)."""
    return head.method == "CONNECT" or not head.target.startswith(("/", "*"))


def is_hosted(head: RequestHead, entrance: Entrance) -> bool:
    """Whether the agent's paths are an upstream's own, so that no path among them is the gateway's."""
    if entrance.tunnel is not None or is_proxied(head):
        return True
    try:
        name, port = read_authority(head.get("host") or "")
    except PeerError:
        return False
    port = port or DEFAULT_PORTS["https" if entrance.secure else "http"]
    return bool(entrance.places.hosted(name, port))


def read_entry(head: RequestHead, entrance: Entrance) -> Entry:
    """Read which resource a head is for. The head has passed ``request_check``.

    Raises:
        PeerError: it is malformed or ambiguous.
        Unserved: it is not served.
    """
    if entrance.tunnel is not None:
        return _inside(head, entrance.tunnel)
    if head.method == "CONNECT":
        return _connect(head, entrance)
    if is_proxied(head):
        return _forward(head, entrance)
    target = read_target(head.target)
    host = head.get("host")
    if host is not None:
        name, port = read_authority(host)
        port = port or DEFAULT_PORTS["https" if entrance.secure else "http"]
        places = entrance.places.hosted(name, port)
        if places:
            place = choose(places, target.path)
            # A path outside the upstream's own base belongs to no resource, and never falls to the prefix form.
            resource = place.resource if place is not None else write_authority((name, port))
            return _hosted(place, target, resource=resource, token=_token(head, entrance))
    first, slash, rest = target.path[1:].partition("/")
    if not first:
        raise Unserved(RefusalCode.RESOURCE_UNKNOWN, "No resource stands in the path.", _FORM)
    return Entry(
        resource=first, path=f"/{rest}" if slash else "/", target=target, token=_token(head, entrance)
    )


def _hosted(place: Place | None, target: Target, *, resource: str, token: str) -> Entry:
    inner = place.inner(target.path) if place is not None else None
    return Entry(
        resource=resource,
        path=inner if inner is not None else target.path,
        target=target,
        token=token,
        hosted=True,
        own=place is not None and bool(place.base),
    )


def _forward(head: RequestHead, entrance: Entrance) -> Entry:
    scheme, authority, origin = split_absolute(head.target)
    if scheme != "http":
        raise Unserved(
            RefusalCode.UNSUPPORTED,
            "An https address is not asked for in absolute form.",
            "Open a tunnel to it with CONNECT, as clients do that have HTTPS_PROXY set.",
        )
    token = _proxy_token(head)
    target = read_target(origin)
    host, port = read_authority(authority)
    port = port or DEFAULT_PORTS[scheme]
    place = choose(entrance.places.forwarded(scheme, host, port), target.path)
    resource = place.resource if place is not None else write_authority((host, port))
    return _hosted(place, target, resource=resource, token=token)


def _connect(head: RequestHead, entrance: Entrance) -> Entry:
    if not entrance.tunnels:
        raise Unserved(
            RefusalCode.UNSUPPORTED,
            "CONNECT is not served: the gateway has no certificate authority for it.",
            "Give ingress WEIRGATE_FORWARD_CA_CERT_FILE and WEIRGATE_FORWARD_CA_KEY_FILE, or reach the resource as "
            "/<resource>/<path>.",
        )
    token = _proxy_token(head)
    host, port = read_authority(head.target)
    if port is None:
        raise PeerError("CONNECT without a port")
    place = choose(entrance.places.forwarded("https", host, port), None)
    tunnel = Tunnel(host=host, port=port, place=place)
    return Entry(
        resource=place.resource if place is not None else tunnel.authority,
        path="/",
        target=Target(path="/"),
        token=token,
        hosted=True,
        connect=tunnel,
    )


def _inside(head: RequestHead, tunnel: Tunnel) -> Entry:
    if is_proxied(head):
        raise PeerError("inside a tunnel only a path is asked for")
    host = head.get("host")
    name, port = read_authority(host) if host is not None else (tunnel.host, tunnel.port)
    if (name, port or DEFAULT_PORTS["https"]) != (tunnel.host, tunnel.port):
        raise Unserved(
            RefusalCode.MISDIRECTED,
            f"Host is not {tunnel.authority}, which the tunnel is for.",
            "Open a tunnel of its own for each host.",
        )
    target = read_target(head.target)
    place = tunnel.place
    assert place is not None, "a tunnel that leads nowhere is never opened"
    if place.inner(target.path) is None:
        raise Unserved(
            RefusalCode.RESOURCE_UNKNOWN,
            f"Of {tunnel.authority} only what is below {place.base}/ is registered.",
            f"Ask for {place.base}/<path>.",
        )
    return _hosted(place, target, resource=place.resource, token="")


def explained(refusal: Refusal, resource: str) -> Refusal:
    """Return the refusal of an authority that leads nowhere with what would help; any other as it is.

    Args:
        refusal: as recorded.
        resource: what was asked for: a name, or the authority.
    """
    host, colon, _ = resource.rpartition(":")
    if refusal.code is not RefusalCode.RESOURCE_UNKNOWN or not colon:
        return refusal
    hint = (
        f"Nothing but registered resources is reached through the gateway. Have it registered: 'hosts: [{host}]' in "
        "the document of one resource."
    )
    return refusal.model_copy(update={"hint": hint})


# ---------------------------------------------------------------- tokens


def _token(head: RequestHead, entrance: Entrance) -> str:
    """Return the token, from whichever of the places has it.

    ``Basic`` carries it as the password, for what can do nothing else (``curl -u agent:token``). Where the configured
    field is there it alone counts: ``Authorization`` is then the client's for the upstream, and never sent on.
    """
    own = head.all(entrance.token_header) if entrance.token_header is not None else ()
    if len(own) > 1:
        raise PeerError("more than one credential")
    if own:
        return own[0].strip().removeprefix("Bearer ").strip()
    found = [*head.all("authorization"), *head.all("proxy-authorization")]
    if not found:
        raise Unserved(RefusalCode.TOKEN_INVALID, "The request carries no token.", _FORM)
    if len(found) > 1:
        raise PeerError("more than one credential")
    return _read_token(found[0], _FORM)


def _proxy_token(head: RequestHead) -> str:
    found = head.get("proxy-authorization")
    if found is None:
        raise Unserved(RefusalCode.TOKEN_INVALID, "The request carries no token for the proxy.", _PROXY_FORM)
    return _read_token(found, _PROXY_FORM)


def _read_token(credential: str, form: str) -> str:
    scheme, _, value = credential.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value:
        return value
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode("ascii").partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            raise PeerError("a basic credential that is none") from None
    raise Unserved(RefusalCode.TOKEN_INVALID, "The credential is no bearer token.", form)
