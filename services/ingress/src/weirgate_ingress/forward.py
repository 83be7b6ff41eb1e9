"""Certificates of the hosts agents reach through CONNECT, issued by the gateway's own forward authority.

A leaf is EC P-256, lives :data:`LEAF_DAYS` days at most and names one host. Its key is made for it, is in no file
that outlives the call, and is in no log and no repr. The authority's files are looked at before each use, so that
replacing them needs no restart; while new ones cannot be read the last good ones count.

Source: RFC 5280 section 4.2; RFC 6066 section 3 (SNI); CA/Browser Forum Baseline Requirements 7.1.
"""

import asyncio
import contextlib
import datetime
import ipaddress
import os
import ssl
import tempfile
from collections import OrderedDict
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from weirgate_chassis import log
from weirgate_contracts.refusal import Refusal, RefusalCode

LEAF_DAYS: Final = 7
RENEW_DAYS: Final = 1
"""A leaf that has less than this left is issued anew."""
SKEW_HOURS: Final = 1
"""How far an agent's clock may be behind ours."""
LEAVES_LIMIT: Final = 1024
"""Hosts whose leaf is kept, the least recently used goes first. Only registered hosts get one."""
_COMMON_NAME_LIMIT: Final = 64
"""Source: RFC 5280 appendix A, ub-common-name."""

SigningKey = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)


class ForwardTls(Protocol):
    """Gives the TLS context in which the gateway is another host."""

    @property
    def served(self) -> bool:
        """Whether there is any to give."""
        ...

    async def context(self, host: str) -> ssl.SSLContext | None:
        """Return the context for a host in normal form (an IPv6 address without brackets); ``None``: there is none
        to be had."""
        ...


class NoForwardTls:
    """CONNECT is not served."""

    @property
    def served(self) -> bool:
        """Say no."""
        return False

    async def context(self, host: str) -> ssl.SSLContext | None:
        """Return nothing."""
        return None


class BadAuthority(Exception):
    """The files hold no authority that could issue; the text names files, never a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """What issues leaves."""

    certificate: x509.Certificate
    chain: bytes = field(repr=False)
    """PEM of what stands between a leaf and the root the agents trust; empty where the authority is that root."""
    key: SigningKey = field(repr=False)


class ForwardAuthority:
    """Issues leaves, off the event loop, one at a time for each host.

    Args:
        certificate: PEM of the authority, its own certificate first.
        key: PEM private key, not encrypted.

    Raises:
        OSError: a file cannot be read.
        BadAuthority: they hold no authority.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = certificate, key
        self._stamp = self._look()
        self._authority = read_authority_files(certificate, key)
        self._leaves: OrderedDict[str, tuple[datetime.datetime, ssl.SSLContext]] = OrderedDict()
        self._issuing: dict[str, asyncio.Task[ssl.SSLContext | None]] = {}

    @property
    def served(self) -> bool:
        """Say yes."""
        return True

    async def context(self, host: str) -> ssl.SSLContext | None:
        """Return the context for a host; ``None``: none can be issued, which the log says."""
        self._refresh()
        until, context = self._leaves.get(host, (None, None))
        if until is not None and until - _now() > datetime.timedelta(days=RENEW_DAYS):
            self._leaves.move_to_end(host)
            return context
        task = self._issuing.get(host)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._issue(host), name="issue a leaf")
            self._issuing[host] = task
            task.add_done_callback(lambda done: self._forget(host, done))
        # One agent that leaves must not take the certificate from the others that wait for it.
        return await asyncio.shield(task)

    def _forget(self, host: str, done: "asyncio.Task[ssl.SSLContext | None]") -> None:
        if self._issuing.get(host) is done:
            del self._issuing[host]

    async def _issue(self, host: str) -> ssl.SSLContext | None:
        authority = self._authority
        try:
            until, context = await asyncio.to_thread(make_leaf_context, authority, host)
        except (BadAuthority, OSError, ValueError) as error:
            log.error("no certificate for a host behind CONNECT", reason=type(error).__name__)
            return None
        if authority is self._authority:
            self._leaves[host] = (until, context)
            if len(self._leaves) > LEAVES_LIMIT:
                self._leaves.popitem(last=False)
        return context

    def _refresh(self) -> None:
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return
            # Set first: files that are wrong are told once, not with every tunnel.
            self._stamp = stamp
            self._authority = read_authority_files(*self._files)
            self._leaves.clear()
            self._issuing.clear()
            log.info("forward authority read again")
        except (OSError, BadAuthority) as error:
            log.error("forward authority cannot be read again", reason=type(error).__name__)

    def _look(self) -> tuple[int, ...]:
        return tuple(path.stat().st_mtime_ns for path in self._files)


def never_secured(host: str) -> Refusal:
    """Return why a session ends whose tunnel was opened and has no TLS inside."""
    return Refusal(
        code=RefusalCode.PROTOCOL,
        reason=f"Inside the tunnel no TLS for {host!r} was begun."[:2000],
        hint="Ask for https:// through the proxy, with SNI of the same host, and trust the gateway's forward "
        "authority; http:// goes without CONNECT.",
    )


def read_authority_files(certificate: Path, key: Path) -> Authority:
    """Read an authority and check that it can issue.

    Raises:
        OSError: a file cannot be read.
        BadAuthority: they do not hold one.
    """
    raw = certificate.read_bytes()
    try:
        chain = x509.load_pem_x509_certificates(raw)
        own = chain[0]
        signing = serialization.load_pem_private_key(key.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise BadAuthority(f"{certificate} and {key}: no PEM certificate with an unencrypted key") from error
    if not isinstance(signing, SigningKey):
        raise BadAuthority(f"{key}: a key of this kind does not sign certificates")
    if _public(signing.public_key()) != _public(own.public_key()):
        raise BadAuthority(f"{key}: not the key of {certificate}")
    if not _may_issue(own):
        raise BadAuthority(f"{certificate}: not a certificate of an authority (CA:TRUE, keyCertSign)")
    if own.not_valid_after_utc <= _now():
        raise BadAuthority(f"{certificate}: has expired")
    return Authority(certificate=own, key=signing, chain=b"" if own.subject == own.issuer else raw)


def make_leaf_context(authority: Authority, host: str) -> tuple[datetime.datetime, ssl.SSLContext]:
    """Issue a leaf for one host; return when it ends, and the context that shows it.

    The context lets in who names just this host by SNI, or nobody where the host is an address, for which there is
    no SNI.

    Raises:
        BadAuthority: the authority has expired.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = _leaf(authority, host, key)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    # Sessions are not resumed: a ticket would let one in without its name being looked at.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    with _passing(private + leaf.public_bytes(serialization.Encoding.PEM) + authority.chain) as path:
        context.load_cert_chain(path)
    expected = None if _address(host) is not None else host

    def check(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> int | None:
        named = name.lower() if name is not None else None
        return None if named == expected else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    context.sni_callback = check  # type: ignore[assignment]  (typeshed has the callback without its result)
    return leaf.not_valid_after_utc, context


def _leaf(authority: Authority, host: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    now = _now()
    issuer = authority.certificate
    until = min(now + datetime.timedelta(days=LEAF_DAYS), issuer.not_valid_after_utc)
    if until <= now:
        raise BadAuthority("the forward authority has expired")
    address = _address(host)
    name = x509.DNSName(host) if address is None else x509.IPAddress(address)
    common = host if len(host) <= _COMMON_NAME_LIMIT else "Weirgate"
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - datetime.timedelta(hours=SKEW_HOURS), issuer.not_valid_before_utc))
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_issuer_key(issuer), critical=False)
        .sign(authority.key, _hash(authority.key))
    )


def key_usage(*, digital_signature: bool = False, certificates: bool = False) -> x509.KeyUsage:
    """Return a key usage with nothing but what is asked for."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _issuer_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        found = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        public: Any = issuer.public_key()
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found.value)


def _hash(key: SigningKey) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()


def _may_issue(certificate: x509.Certificate) -> bool:
    try:
        if not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
    except x509.ExtensionNotFound:
        return False
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def _public(key: Any) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@contextlib.contextmanager
def _passing(pem: bytes) -> Generator[str]:
    """Give a path to read something once: OpenSSL takes keys from files alone. On Linux it never touches a disk."""
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        descriptor = os.memfd_create("leaf", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, pem)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile(prefix="weirgate-") as file:
        # Made readable by its owner alone.
        file.write(pem)
        file.flush()
        yield file.name
