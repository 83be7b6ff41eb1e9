"""Session ids of servers, sealed for one identity and one resource.

Who knows a server's ``Mcp-Session-Id`` *is* that session to most servers. So an agent is told a sealed one: AES-SIV
(RFC 5297) of the server's id, with issuer, agent, user and resource as associated data. It opens for nobody else, on
every ingress that has the key, and nothing is kept.

Deterministic: one server's id has one sealed form for one identity. The tag is compared in constant time (by the
library).
"""

import base64
import binascii
import re
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.identity import Identity

ID_LIMIT: Final = 1024
"""Characters of a server's id; real ones are UUIDs or tokens of a few hundred."""
_PURPOSE: Final = b"weirgate.ingress\0mcp session id\x001"
_SIV_KEY_BYTES: Final = 64
SESSION_ID: Final = re.compile(r"[\x21-\x7e]{1,1024}")
"""MCP 2025-11-25, "Session management": visible ASCII only."""
_SEALED_LIMIT: Final = 2 * ID_LIMIT


class SealedIds:
    """Seals and opens session ids.

    Args:
        key: 32 bytes, any key of the ingress that every replica has; only a key derived from it is used.
    """

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = AESSIV(HKDF(SHA256(), _SIV_KEY_BYTES, salt=None, info=_PURPOSE).derive(key))

    def __repr__(self) -> str:
        return "SealedIds()"

    def seal(self, id: str, identity: Identity, resource: ResourceDocument) -> str:
        """Return what the agent is told for a server's id."""
        sealed = self._cipher.encrypt(id.encode("ascii"), _about(identity, resource))
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def open(self, sealed: str, identity: Identity, resource: ResourceDocument) -> str | None:
        """Return the server's id; ``None``: it was not issued to this identity for this resource."""
        if len(sealed) > _SEALED_LIMIT or not sealed.isascii():
            return None
        try:
            raw = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
            id = self._cipher.decrypt(raw, _about(identity, resource)).decode("ascii")
        except (binascii.Error, ValueError, InvalidTag):
            return None
        return id if SESSION_ID.fullmatch(id) else None


def _about(identity: Identity, resource: ResourceDocument) -> list[bytes]:
    user = b"0" if identity.user is None else b"1" + identity.user.encode()
    parts = (identity.issuer, identity.agent, resource.name, resource.upstream)
    # Each stands by itself in SIV, so no two lists are the same octets.
    return [*(part.encode() for part in parts), user]
