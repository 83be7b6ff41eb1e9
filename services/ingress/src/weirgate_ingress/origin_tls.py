"""TLS to HTTP upstreams: what they are verified against, what is shown to them, what is offered.

Certificate and key are read for each dial, from wherever they stand, and never written to a disk: OpenSSL reads them
from memory that has a file's name.

Source: RFC 8446; RFC 7301 (ALPN).
"""

import hashlib
import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from weirgate_contracts.config import ResourceDocument
from weirgate_ingress.credential import CredentialError, Credentials

CONTEXTS_LIMIT: Final = 256


class Contexts:
    """TLS contexts by what they are made of: reading a trust store costs up to 30 ms. Made again when a file, a
    certificate or a key changes.

    Args:
        credentials: where certificates and keys are read.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._known: dict[tuple[object, ...], ssl.SSLContext] = {}

    def of(self, resource: ResourceDocument, alpn: Sequence[str]) -> ssl.SSLContext:
        """Return the context for a resource, with its certificate where it has one.

        Raises:
            CredentialError: certificate or key cannot be read, or do not go together.
            OSError: the trust store cannot be read.
        """
        shown: str | None = None
        if resource.client_cert is not None and resource.client_key is not None:
            cert = self._credentials.resolve(resource.client_cert)
            shown = f"{cert}\n{self._credentials.resolve(resource.client_key)}\n"
        return self.get(resource.ca, alpn, shown)

    def get(self, ca: str | None, alpn: Sequence[str], shown: str | None = None) -> ssl.SSLContext:
        """Return a context.

        Args:
            ca: file of certificates to verify against; ``None``: the system's.
            alpn: what is offered, the best first.
            shown: PEM certificates and key of ours.

        Raises:
            CredentialError, OSError: as above.
        """
        stamp = Path(ca).stat().st_mtime_ns if ca is not None else 0
        digest = hashlib.sha256(shown.encode()).digest() if shown is not None else None
        key = (ca, stamp, tuple(alpn), digest)
        context = self._known.get(key)
        if context is None:
            context = ssl.create_default_context(cafile=ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.set_alpn_protocols(list(alpn))
            if shown is not None:
                _load(context, shown)
            if len(self._known) >= CONTEXTS_LIMIT:
                self._known.clear()
            self._known[key] = context
        return context


def _load(context: ssl.SSLContext, shown: str) -> None:
    memory = os.memfd_create("weirgate", os.MFD_CLOEXEC)
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(shown.encode())
        context.load_cert_chain(f"/proc/self/fd/{memory}", password=_no_passphrase)
    except ssl.SSLError as error:
        raise CredentialError(
            f"the client certificate and key: {error.reason or 'cannot be read'}"
        ) from error
    finally:
        os.close(memory)


def _no_passphrase() -> str:
    # Without this OpenSSL asks on the terminal and the loop stands still.
    return ""
