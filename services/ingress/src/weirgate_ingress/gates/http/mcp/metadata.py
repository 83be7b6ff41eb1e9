"""Where an agent without a token reads where to get one: OAuth protected resource metadata.

Served without a token, and the same for every name a resource could have, so that nobody can list what exists by
asking.

Source: RFC 9728 sections 2, 3.1, 5.1; RFC 6750 section 2.1.
"""

import json
import re
from typing import Final

from weirgate_wire.error import PeerError
from weirgate_wire.http.check import request_check
from weirgate_wire.http.head import RequestHead, ResponseHead
from weirgate_wire.http.target import read_target

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"
_RESOURCE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def metadata_url(head: RequestHead, *, tls: bool) -> str | None:
    """Return where the metadata of the resource that a request is for is served; ``None``: that cannot be said.

    Args:
        head: of the request.
        tls: whether it came by TLS.
    """
    found = _place(head)
    return None if found is None else f"{_origin(found[0], tls)}{WELL_KNOWN}/{found[1]}"


def metadata_asked(head: RequestHead, url: str | None, servers: tuple[str, ...]) -> bytes | None:
    """Return the answer to a request for metadata; ``None``: it asks for something else.

    Args:
        head: of the request.
        url: what ``metadata_url`` says of it.
        servers: addresses of the issuers of tokens.
    """
    found = _place(head)
    if found is None or url is None or head.method not in ("GET", "HEAD") or not found[2]:
        return None
    origin, _, resource = url.partition(WELL_KNOWN)
    document: dict[str, object] = {
        "resource": f"{origin}{resource}",
        "bearer_methods_supported": ["header"],
        "resource_name": f"Weirgate: {found[1]}",
    }
    if servers:
        document["authorization_servers"] = list(servers)
    body = json.dumps(document).encode()
    headers = (
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
        ("connection", "close"),
    )
    word = ResponseHead(status=200, reason="OK", headers=headers).encode()
    return word if head.method == "HEAD" else word + body


def _place(head: RequestHead) -> tuple[str, str, bool] | None:
    """Return host, resource, and whether the metadata itself is asked for."""
    try:
        request_check(head)
        host, path = head.get("host"), read_target(head.target).path
    except PeerError:
        return None
    asked = False
    if path.startswith(f"{WELL_KNOWN}/"):
        asked, path = True, path[len(WELL_KNOWN) :]
    elif path.endswith(WELL_KNOWN) and not head.all("authorization"):
        asked, path = True, path[: -len(WELL_KNOWN)]
    name, _, rest = path[1:].partition("/")
    if host is None or _RESOURCE.fullmatch(name) is None or (asked and rest):
        return None
    return host, name, asked


def _origin(host: str, tls: bool) -> str:
    return f"{'https' if tls else 'http'}://{host.lower()}"
