"""One message of the corpus, and what must become of it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Bytes of a peer, and what is sent on."""

    name: str
    raw: bytes
    sent: bytes | None
    """Exactly what is sent on; ``None``: nothing, the message is refused."""
    side: Literal["request", "response"] = "request"
    """What ``raw`` is."""
    method: str = "GET"
    """Of the request that a response answers."""
    rest: bytes = b""
    """What is left after the message, not part of it."""


def refused(name: str, raw: bytes) -> Case:
    """A request that must not be sent on."""
    return Case(name=name, raw=raw, sent=None)


def sent(name: str, raw: bytes, sent: bytes, rest: bytes = b"") -> Case:
    """A request, and what is sent on."""
    return Case(name=name, raw=raw, sent=sent, rest=rest)
