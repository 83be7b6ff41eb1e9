"""What a server offers, item by item, and the list with nothing left in it but what an agent may be shown."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final, cast

from weirgate_contracts.definition import definition_digest
from weirgate_contracts.mcp import McpItem
from weirgate_ingress.gates.http.mcp.call import LISTS, NAME_LIMIT
from weirgate_ingress.gates.http.mcp.message import Message, write_message
from weirgate_wire.error import PeerError

ITEMS_LIMIT: Final = 1000
"""Items of one answer; servers with more have pages (``nextCursor``). It bounds the event that holds their digests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list as the server has answered it."""

    message: Message
    method: str
    offered: tuple[McpItem, ...]
    items: tuple[dict[str, Any], ...] = field(repr=False)
    before: tuple[bytes, ...] = field(default=(), repr=False)
    """Notifications that came before it."""
    events: bool = False
    """It came as an event stream."""


def read_listing(method: str, message: Message, before: tuple[bytes, ...], *, events: bool) -> Listing:
    """Read a list.

    Args:
        method: that asked for it.
        message: a result.
        before: payloads of notifications that came before it.
        events: whether it came as an event stream.

    Raises:
        PeerError: it is none, is too long, or holds a name twice, of which nobody could tell which one is shown.
    """
    kind, member, naming = LISTS[method]
    result = cast("dict[str, Any]", message.members["result"])
    if any(name != member and name.casefold() == member.casefold() for name in result):
        raise PeerError(f"a list under a name that differs from {member!r} only in case")
    found: Any = result.get(member)
    if not isinstance(found, list):
        raise PeerError(f"a result without a list of {member}")
    entries = cast("list[Any]", found)
    if len(entries) > ITEMS_LIMIT:
        raise PeerError(f"a list of more than {ITEMS_LIMIT} {member}")
    items: list[dict[str, Any]] = []
    offered: list[McpItem] = []
    for entry in entries:
        name: Any = cast("dict[str, Any]", entry).get(naming) if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name or len(name) > NAME_LIMIT:
            raise PeerError(f"an item among the {member} without a name")
        items.append(cast("dict[str, Any]", entry))
        offered.append(McpItem(kind=kind, name=name, sha256=_digest(cast("dict[str, Any]", entry))))
    if len({item.name for item in offered}) != len(offered):
        raise PeerError(f"a name that stands twice among the {member}")
    return Listing(
        message=message,
        method=method,
        offered=tuple(offered),
        items=tuple(items),
        before=before,
        events=events,
    )


def _digest(item: dict[str, Any]) -> str:
    try:
        return definition_digest(item)
    except (ValueError, RecursionError) as error:
        raise PeerError("an item of which no digest can be made") from error


def shown_listing(listing: Listing, visible: Collection[str]) -> bytes:
    """Return the message with the visible items only: in their order, each as the server gave it, cursor and all."""
    kept = set(visible)
    _, member, _ = LISTS[listing.method]
    result = dict(cast("dict[str, Any]", listing.message.members["result"]))
    pairs = zip(listing.offered, listing.items, strict=True)
    result[member] = [item for offer, item in pairs if offer.name in kept]
    return write_message({**listing.message.members, "result": result})


def listing_digest(asked: str, offered: Collection[McpItem]) -> str:
    """Return what a verdict on a list is bound to.

    Args:
        asked: digest of the operation that asked for the list.
        offered: what stands in it.
    """
    found = hashlib.sha256(f"weirgate mcp list 1\0{asked}\0".encode())
    for item in offered:
        found.update(f"{item.kind}\0{len(item.name)}\0{item.name}\0{item.sha256}\0".encode())
    return found.hexdigest()
