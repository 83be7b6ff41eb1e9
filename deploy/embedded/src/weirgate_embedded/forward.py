"""The embedded gateway's forward authority: what agents trust to reach https:// addresses through it."""

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from weirgate_embedded.layout import write_private

VALID_DAYS = 397
"""As long as the server certificate beside it."""
RENEW_DAYS = 14
"""Twice the life of a leaf: none that is issued ends early for want of the authority."""


def make_forward_authority(directory: Path) -> None:
    """Write ``forward-ca.pem`` and ``forward-ca.key`` (EC P-256, private), unless good ones are there."""
    certificate, key = directory / "forward-ca.pem", directory / "forward-ca.key"
    if key.exists() and _is_good(certificate):
        return
    now = datetime.datetime.now(datetime.UTC)
    own = ec.generate_private_key(ec.SECP256R1())
    # With its first day in it: an agent that still trusts an older one is not confused by an equal name.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Weirgate forward authority {now:%Y-%m-%d}")])
    authority = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_signs_certificates(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        .sign(own, hashes.SHA256())
    )
    private = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(key, private.decode())
    # Last, since its being there says that the key is.
    write_private(certificate, authority.public_bytes(serialization.Encoding.PEM).decode())


def _signs_certificates() -> x509.KeyUsage:
    return x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _is_good(path: Path) -> bool:
    try:
        until = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (FileNotFoundError, ValueError):
        return False
    return until > datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=RENEW_DAYS)
