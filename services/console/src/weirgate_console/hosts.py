"""An authority leads to one resource: whoever asks for it must not get what another one has. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.document import Complaint


def clashing_hosts(
    document: ResourceDocument, bodies: Mapping[tuple[str, str], Mapping[str, Any]]
) -> Iterable[Complaint]:
    """Complain of each of a resource's hosts that another resource has, or would have."""
    taken = {
        str(host): name
        for (kind, name), body in sorted(bodies.items())
        if kind == "resource" and name != document.name
        for host in body.get("hosts") or ()
    }
    for index, host in enumerate(document.hosts):
        if host in taken:
            yield Complaint(
                path=("hosts", index),
                what=f"{host!r} is a host of resource {taken[host]!r} already",
                right="keep it at one of them",
            )
