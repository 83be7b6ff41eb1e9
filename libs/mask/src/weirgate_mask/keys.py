"""Keys of the masks: one secret, one derived key for each purpose and label."""

from hashlib import sha256

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
_BLOCK_BYTES = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


class Keyring:
    """Derives a key for each purpose and label by HKDF-SHA-256, so that equal values under two labels share
    nothing.

    The secret itself is kept nowhere but here, and appears in no ``repr``.
    """

    __slots__ = ("_derived", "_halves", "_key")

    def __init__(self, key: bytes) -> None:
        """Take the 32 raw bytes of the mask key.

        Raises:
            ValueError: not 32 bytes.
        """
        if len(key) != KEY_BYTES:
            raise ValueError(f"a mask key has {KEY_BYTES} bytes")
        self._key = bytes(key)
        self._derived: dict[tuple[str, str], bytes] = {}
        self._halves = {("", ""): (sha256(), sha256())}

    def __repr__(self) -> str:
        return "Keyring()"

    def derive(self, purpose: str, label: str) -> bytes:
        """Return the 32-byte key for a purpose and a label."""
        known = self._derived.get((purpose, label))
        if known is None:
            # A purpose holds no zero byte, so no two pairs give the same info.
            hkdf = HKDF(SHA256(), KEY_BYTES, salt=None, info=f"weirgate.mask\0{purpose}\0{label}".encode())
            known = self._derived[purpose, label] = hkdf.derive(self._key)
        return known

    def digest(self, purpose: str, label: str, value: bytes) -> bytes:
        """Return HMAC-SHA-256 of a value under the key for a purpose and a label."""
        known = self._halves.get((purpose, label))
        if known is None:
            key = self.derive(purpose, label).ljust(_BLOCK_BYTES, b"\0")
            known = sha256(key.translate(_INNER)), sha256(key.translate(_OUTER))
            self._halves[purpose, label] = known
        # RFC 2104 with the key's two blocks hashed once: less than half of what hmac.digest() takes for a
        # short value.
        inner, outer = known[0].copy(), known[1].copy()
        inner.update(value)
        outer.update(inner.digest())
        return outer.digest()
