"""The certificate agents see, read again when its files change, so that renewing one needs no restart."""

import ssl
from pathlib import Path

from weirgate_chassis import log


class Certificate:
    """Gives the TLS context for the agents' side.

    Args:
        certificate: PEM chain.
        key: PEM private key, not encrypted.
        alpn: the protocol that is spoken inside.

    Raises:
        OSError: a file cannot be read (``ssl.SSLError`` where it is not what it should be).
    """

    def __init__(self, certificate: Path, key: Path, *, alpn: str) -> None:
        self._certificate = certificate
        self._key = key
        self._alpn = alpn
        self._stamp = self._look()
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        """Return the context; the last good one while new files cannot be read."""
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._context = self._load()
                self._stamp = stamp
                log.info("certificate read again")
        except OSError as error:
            log.error("certificate cannot be read again", reason=type(error).__name__)
        return self._context

    def _look(self) -> tuple[int, int]:
        return self._certificate.stat().st_mtime_ns, self._key.stat().st_mtime_ns

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Renegotiation lets a peer make us compute at will.
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols([self._alpn])
        context.load_cert_chain(self._certificate, self._key, password=_no_passphrase)
        return context


def _no_passphrase() -> str:
    # Without this OpenSSL asks on the terminal and the start hangs.
    return ""
