"""Keys of the masks: one secret, one derived key for each purpose and label."""

import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32


class Keyring:
    """Derives a key for each purpose and label by HKDF-SHA-256, so that equal values under two labels share
    nothing.

    The secret itself is kept nowhere but here, and appears in no ``repr``.
    """

    __slots__ = ("_derived", "_key")

    def __init__(self, key: bytes) -> None:
        """Take the 32 raw bytes of the mask key.

        Raises:
            ValueError: not 32 bytes.
        """
        if len(key) != KEY_BYTES:
            raise ValueError(f"a mask key has {KEY_BYTES} bytes")
        self._key = bytes(key)
        self._derived: dict[tuple[str, str], bytes] = {}

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
        return hmac.digest(self.derive(purpose, label), value, "sha256")
