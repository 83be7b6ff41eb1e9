"""From the head of a request to a judged thing: who asks, for which resource, and the call as it would be sent.

Source: RFC 9110, RFC 9112, RFC 6750.
"""

import hashlib
from dataclasses import dataclass, field

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.http import (
    BODY_LIMIT_BYTES,
    BODY_TEXT_LIMIT_BYTES,
    READ_TYPES,
    HttpBody,
    HttpCall,
)
from weirgate_contracts.modelapi import routes_of
from weirgate_contracts.modelcall import read_model
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_contracts.route import match_route
from weirgate_ingress.gates.http.deferral import is_own, read_location
from weirgate_ingress.gates.http.entry import Entrance, Entry, Tunnel, Unserved, read_entry
from weirgate_ingress.gates.http.handshake import Offer, hop_fields, offered, read_offer
from weirgate_ingress.gates.http.header import sent_on, told
from weirgate_wire.error import PeerError
from weirgate_wire.http.check import request_check
from weirgate_wire.http.coding import read_codings
from weirgate_wire.http.framing import Framing, request_framing
from weirgate_wire.http.head import RequestHead
from weirgate_wire.http.media import read_media_type
from weirgate_wire.http.target import Target

__all__ = ["Request", "Unserved", "digest_of", "make_call", "read_request", "too_long"]

_FORM = "Look at /.well-known/weirgate/<resource>/requests/<request>."


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as read from its head."""

    head: RequestHead
    resource: str
    path: str
    target: Target
    token: str = field(repr=False)
    framing: Framing
    type: str
    """Media type of the body; empty: none."""
    continues: bool
    """The agent waits for ``100 Continue``."""
    looks_up: str | None = None
    """The deferred request it asks the gateway itself about; nothing of it is for the upstream."""
    offer: Offer | None = None
    """It asks for a WebSocket."""
    hosted: bool = False
    own: bool = False
    """How the agent writes paths; see ``Entry``."""
    connect: Tunnel | None = None
    """It asks for this tunnel, and is no operation."""
    inside: bool = False
    """It came through a tunnel, whose token was checked."""

    @property
    def read_whole(self) -> bool:
        """Whether its body is read whole before it is judged."""
        return self.framing.kind != "none" and (self.type in READ_TYPES or self.type.endswith("+json"))


def read_request(head: RequestHead, entrance: Entrance) -> Request:
    """Read who asks for what.

    Args:
        head: as received.
        entrance: of the connection it came in by.

    Raises:
        PeerError: it is malformed or ambiguous.
        Unserved: it is not served.
    """
    request_check(head)
    if head.method == "TRACE":
        raise Unserved(
            RefusalCode.UNSUPPORTED,
            "TRACE is not let through the gateway.",
            "It would echo what the gateway takes off.",
        )
    framing = request_framing(head)
    offer = read_offer(head, framing) if head.all("upgrade") else None
    if offer is None and head.all("upgrade"):
        raise unserved_upgrade("Of upgrades only those to WebSocket are let through the gateway.")
    entry = read_entry(head, entrance)
    if entrance.token_header is not None:
        # Whether it was a token or not: nobody behind the gateway is to read it.
        kept = tuple((name, value) for name, value in head.headers if name != entrance.token_header)
        head = head.with_headers(kept)
    resource = entry.resource
    looks_up: str | None = None
    if entry.connect is None and is_own(entry.target.path):
        resource, looks_up = _own(head, entry, framing)
    kind = head.get("content-type")
    expect = head.get("expect")
    if expect is not None and expect.lower() != "100-continue":
        raise PeerError("an expectation other than 100-continue")
    return Request(
        head=head,
        resource=resource,
        path=entry.path,
        target=entry.target,
        token=entry.token,
        framing=framing,
        type=read_media_type(kind)[0] if kind else "",
        continues=expect is not None and framing.kind != "none" and head.minor == 1,
        hosted=entry.hosted,
        own=entry.own,
        connect=entry.connect,
        inside=entrance.tunnel is not None,
        looks_up=looks_up,
        offer=offer,
    )


def _own(head: RequestHead, entry: Entry, framing: Framing) -> tuple[str, str]:
    """Read what is asked of the gateway itself: resource and request."""
    found = read_location(entry.target.path)
    if found is None or (entry.hosted and found[0] != entry.resource):
        raise Unserved(RefusalCode.RESOURCE_UNKNOWN, "The gateway itself has nothing there.", _FORM)
    if head.method not in ("GET", "HEAD") or framing.kind != "none" or entry.target.raw_query is not None:
        raise Unserved(
            RefusalCode.UNSUPPORTED,
            "The state of a request can be looked at only.",
            "Use GET, without a body.",
        )
    return found


def unserved_upgrade(reason: str) -> Unserved:
    """Return what an upgrade raises that is not served."""
    hint = "Use plain HTTP/1.1 requests, with server-sent events for streams."
    return Unserved(RefusalCode.UNSUPPORTED, reason, hint)


def make_call(
    request: Request, resource: ResourceDocument, whole: bytes | None
) -> tuple[HttpCall, RequestHead]:
    """Return the call as it is judged, and the head as it is sent on."""
    routes = routes_of(resource)
    if routes and ";" in request.path:
        # Some upstreams drop ";x" before they look, so that "/admin;x" is "/admin" to them and to no rule.
        raise Unserved(
            RefusalCode.UNSUPPORTED,
            "A path with ';' in it is not let through to a resource with routes.",
            "Send it as %3B where it is part of a value.",
        )
    found = match_route(routes, request.path)
    route, arguments = found if found is not None else (None, {})
    decoded = whole is not None and bool(read_codings(request.head.all("content-encoding")))
    headers = sent_on(request.head, decoded=decoded)
    if request.offer is not None:
        headers = offered(request.offer, headers)
    raw = request.target.raw_query
    sent = RequestHead(
        method=request.head.method,
        target=request.path if raw is None else f"{request.path}?{raw}",
        headers=headers if request.offer is None else (*hop_fields(), *headers),
    )
    call = HttpCall(
        method=request.head.method,
        path=request.path,
        query=request.target.query,
        route=route,
        arguments=arguments,
        headers=told(headers),
        body=_body(request, whole),
        upgrade=None if request.offer is None else "websocket",
    )
    model = read_model(resource.api, call, whole)
    return (call.model_copy(update={"model": model}) if model is not None else call), sent


def _body(request: Request, whole: bytes | None) -> HttpBody | None:
    if request.framing.kind == "none":
        return None
    if whole is None:
        size = request.framing.length if request.framing.kind == "length" else None
        return HttpBody(type=request.type, whole=False, size_bytes=size)
    text = None
    if len(whole) <= BODY_TEXT_LIMIT_BYTES:
        try:
            text = whole.decode()
        except UnicodeDecodeError:
            text = None
    return HttpBody(
        type=request.type,
        whole=True,
        size_bytes=len(whole),
        sha256=hashlib.sha256(whole).hexdigest(),
        text=text,
    )


def digest_of(sent: RequestHead, whole: bytes | None) -> str:
    """Return what a verdict, a plan and an approval are bound to: the head as sent, and a body read whole."""
    found = hashlib.sha256(b"weirgate http 1\0")
    found.update(sent.encode())
    found.update(b"streamed" if whole is None else b"whole" + hashlib.sha256(whole).digest())
    return found.hexdigest()


def too_long(size: int) -> Refusal:
    """Return the refusal of a body that should be read whole and is too long for it."""
    return Refusal(
        code=RefusalCode.TOO_LARGE,
        reason=f"A body of this type is read whole before it is judged, and it has more than {BODY_LIMIT_BYTES} bytes"
        + (f" ({size} announced)." if size else "."),
        hint="Send it in smaller pieces.",
    )
