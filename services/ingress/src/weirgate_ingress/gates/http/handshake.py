"""The opening handshake of a WebSocket: read from the agent, made anew for the upstream, checked, answered.

Of what the agent offers only its subprotocols are passed on. The key is each hop's own, and extensions are each
hop's own to agree upon; the gateway speaks none, so it can read what passes.

Source: RFC 6455 sections 4 and 11.3; RFC 9110 section 7.8.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, field

from weirgate_wire.error import PeerError
from weirgate_wire.http.field import TCHAR
from weirgate_wire.http.framing import Framing
from weirgate_wire.http.head import Head, RequestHead, ResponseHead
from weirgate_wire.websocket import accept_of, is_key

Headers = tuple[tuple[str, str], ...]

VERSION = "13"
PROTOCOLS_LIMIT = 32
"""Subprotocols one handshake offers."""
_TOKEN = re.compile(rf"[{TCHAR}]{{1,128}}")
_HOP = frozenset(
    ("sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-accept",
     "sec-websocket-protocol")
)  # fmt: skip
"""Fields of the handshake, made anew for each hop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What an agent asks for in its handshake."""

    key: str = field(repr=False)
    protocols: tuple[str, ...] = ()
    """Subprotocols, the one it likes best first."""


def read_offer(head: RequestHead, framing: Framing) -> Offer | None:
    """Return what an upgrade offers; ``None``: it is to another protocol than WebSocket.

    Raises:
        PeerError: it is to WebSocket, and malformed.
    """
    if [one.lower() for one in _listed(head, "upgrade")] != ["websocket"]:
        return None
    if head.method != "GET" or head.minor != 1 or framing.kind != "none":
        raise PeerError("a WebSocket handshake is a GET of HTTP/1.1 without a body")
    if "upgrade" not in [one.lower() for one in _listed(head, "connection")]:
        raise PeerError("an Upgrade that Connection does not list")
    if head.get("sec-websocket-version") != VERSION:
        raise PeerError(f"a WebSocket version other than {VERSION}")
    key = head.get("sec-websocket-key")
    if key is None or not is_key(key):
        raise PeerError("a Sec-WebSocket-Key that is not 16 bytes in base 64")
    protocols = _listed(head, "sec-websocket-protocol")
    if len(protocols) > PROTOCOLS_LIMIT or len(set(protocols)) != len(protocols):
        raise PeerError("subprotocols that stand twice, or too many")
    if not all(_TOKEN.fullmatch(one) for one in protocols):
        raise PeerError("a subprotocol that is no token")
    return Offer(key=key, protocols=tuple(protocols))


def offered(offer: Offer, headers: Headers) -> Headers:
    """Return the fields of a handshake as it is judged and sent on, but for the key."""
    kept = [(name, value) for name, value in headers if name not in _HOP]
    if offer.protocols:
        kept.append(("sec-websocket-protocol", ", ".join(offer.protocols)))
    return tuple(kept)


def hop_fields() -> Headers:
    """Return what makes a request a handshake, to stand before the key."""
    return (("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", VERSION))


def switch(head: ResponseHead, *, offer: Offer, key: str, headers: Headers) -> ResponseHead:
    """Check the upstream's 101 and return the one the agent is sent.

    Args:
        head: as the upstream sent it.
        offer: of the agent.
        key: that the upstream was sent.
        headers: those of ``head`` that pass to the agent.

    Raises:
        PeerError: it does not answer what it was asked.
    """
    if [one.lower() for one in _listed(head, "upgrade")] != ["websocket"]:
        raise PeerError("it switches to another protocol than it was asked for")
    if "upgrade" not in [one.lower() for one in _listed(head, "connection")]:
        raise PeerError("an Upgrade that Connection does not list")
    if not hmac.compare_digest((head.get("sec-websocket-accept") or "").encode(), accept_of(key).encode()):
        raise PeerError("a Sec-WebSocket-Accept that does not answer the key")
    if head.all("sec-websocket-extensions"):
        raise PeerError("a WebSocket extension nobody offered")
    chosen = head.get("sec-websocket-protocol")
    if chosen is not None and chosen not in offer.protocols:
        raise PeerError("a subprotocol nobody offered")
    kept = [(name, value) for name, value in headers if name not in _HOP]
    kept += [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-accept", accept_of(offer.key)),
    ]
    if chosen is not None:
        kept.append(("sec-websocket-protocol", chosen))
    return ResponseHead(status=101, reason="Switching Protocols", headers=tuple(kept))


class Keys:
    """Bytes no peer can foresee, for the handshake's key and the masking keys of frames.

    Args:
        seed: random, of one session; not empty.
        number: of the operation, so that two tunnels never share a key.

    Source: RFC 6455 sections 4.1 and 10.3.
    """

    __slots__ = ("_block", "_count", "_seed")

    def __init__(self, seed: bytes, number: int) -> None:
        self._seed = hmac.digest(seed, b"websocket %d" % number, "sha256")
        self._block = b""
        self._count = 0

    def take(self, size: int) -> bytes:
        """Return the next bytes, at most 64."""
        if len(self._block) < size:
            self._count += 1
            self._block = hashlib.blake2b(self._count.to_bytes(8, "big"), key=self._seed).digest()
        taken, self._block = self._block[:size], self._block[size:]
        return taken


def _listed(head: Head, name: str) -> list[str]:
    return [one.strip(" \t") for value in head.all(name) for one in value.split(",") if one.strip(" \t")]
