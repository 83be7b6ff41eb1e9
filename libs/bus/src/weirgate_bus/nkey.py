"""NKeys: Ed25519 keys in the form NATS writes them. The server holds the public half, a service the seed."""

import base64
import os
from pathlib import Path
from typing import cast

import nkeys

from weirgate_bus.port import BusDenied


class Signer:
    """Proves that we hold the seed.

    Args:
        seed: as it stands in a ``.nk`` file (``SU…``).

    Raises:
        BusDenied: it is no user seed.
    """

    def __init__(self, seed: bytes) -> None:
        try:
            self._pair = nkeys.from_seed(bytearray(seed.strip()))
        except (nkeys.NkeysError, ValueError) as error:
            raise BusDenied("not an NKey seed") from error
        self.public = cast("bytes", self._pair.public_key).decode()
        """Public key, ``U…``."""

    def sign(self, nonce: str) -> str:
        """Sign what the server asks for."""
        return base64.urlsafe_b64encode(self._pair.sign(nonce.encode())).rstrip(b"=").decode()


def read_seed(path: Path) -> bytes:
    """Read a seed file.

    Raises:
        BusDenied: it cannot be read, or holds something else.
    """
    try:
        seed = path.read_bytes().strip()
    except OSError as error:
        raise BusDenied(f"{path}: {error.strerror}") from error
    Signer(seed)
    return seed


def new_seed() -> bytes:
    """Make the seed of a new user."""
    return nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)


def write_seed(path: Path) -> str:
    """Make a seed file that only its owner can read, unless there is one; returns its public key."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(new_seed() + b"\n")
    return Signer(read_seed(path)).public
