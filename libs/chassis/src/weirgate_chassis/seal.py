"""Sealing: what stands in a recording is encrypted before it is published.

A sealed body is ``version (1) · nonce (12) · ciphertext and tag``, AES-256-GCM, with the subject as
associated data: a body moved to another session does not open.
"""

import os
import struct
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = b"\x01"
_NONCE = 12
_COUNTER = struct.Struct(">I")
_COUNTER_LIMIT = 1 << 32
KEY_BYTES = 32


class SealError(ValueError):
    """It does not open: another key, another subject, changed, or cut short."""


def read_key(path: Path) -> bytes:
    """Read a key file: 32 bytes as 64 hexadecimal digits.

    Raises:
        ValueError: it holds something else (the message does not show what).
    """
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError:
        raise ValueError(f"{path}: not hexadecimal digits") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path}: a key is {KEY_BYTES} bytes, this is {len(key)}")
    return key


class Sealer:
    """Seals and opens bodies with one key.

    Args:
        key: 32 bytes.

    A nonce is 8 random bytes per ``Sealer`` and a counter of 4: no pair of nonces is equal within one sealer,
    and the chance that two of a million sealers of one key share their random part is below 1 in 10 million.
    A sealer draws a new random part when its counter is used up.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key is {KEY_BYTES} bytes")
        self._cipher = AESGCM(key)
        self._prefix = os.urandom(_NONCE - _COUNTER.size)
        self._count = 0

    def seal(self, body: bytes, subject: str) -> bytes:
        """Encrypt a body for one subject."""
        if self._count == _COUNTER_LIMIT:
            self._prefix = os.urandom(_NONCE - _COUNTER.size)
            self._count = 0
        nonce = self._prefix + _COUNTER.pack(self._count)
        self._count += 1
        return _VERSION + nonce + self._cipher.encrypt(nonce, body, subject.encode())

    def open(self, body: bytes, subject: str) -> bytes:
        """Decrypt a body that was sealed for this subject.

        Raises:
            SealError: it does not open.
        """
        if body[:1] != _VERSION or len(body) < 1 + _NONCE:
            raise SealError("not a sealed body of a version this release knows")
        try:
            return self._cipher.decrypt(body[1 : 1 + _NONCE], body[1 + _NONCE :], subject.encode())
        except InvalidTag as error:
            raise SealError("it does not open with this key and subject") from error
