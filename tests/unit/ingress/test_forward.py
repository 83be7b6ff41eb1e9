"""Certificates for hosts behind CONNECT: short, for one host, by an authority that may issue them."""

import asyncio
import datetime
import os
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from weirgate_embedded.certificate import make_certificates
from weirgate_embedded.forward import make_forward_authority
from weirgate_ingress import forward
from weirgate_ingress.forward import BadAuthority, ForwardAuthority, NoForwardTls, read_authority_files


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    make_forward_authority(tmp_path)
    return tmp_path / "forward-ca.pem", tmp_path / "forward-ca.key"


def shake(
    server: ssl.SSLContext, ca: Path, *, name: str | None, alpn: str = "http/1.1"
) -> tuple[x509.Certificate, str | None]:
    """Shake hands in memory; return the leaf, or raise as the client would."""
    client = ssl.create_default_context(cafile=str(ca))
    # As Python 3.13 does by itself.
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.set_alpn_protocols([alpn])
    if name is None:
        client.check_hostname = False
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(down, up, server_hostname=name)
    two = server.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (one, two):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    leaf = one.getpeercert(binary_form=True)
    assert leaf is not None
    return x509.load_der_x509_certificate(leaf), one.selected_alpn_protocol()


async def test_a_leaf_is_of_one_host_and_short_and_a_strict_client_takes_it(files: tuple[Path, Path]) -> None:
    authority = ForwardAuthority(*files)
    context = await authority.context("api.internal")
    assert context is not None
    leaf, alpn = shake(context, files[0], name="api.internal")
    assert alpn == "http/1.1"
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["api.internal"]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert life <= datetime.timedelta(days=forward.LEAF_DAYS, hours=forward.SKEW_HOURS)
    assert await authority.context("api.internal") is context
    assert await authority.context("other.internal") is not context


async def test_a_client_that_offers_another_protocol_is_let_in_without_one(files: tuple[Path, Path]) -> None:
    context = await ForwardAuthority(*files).context("api.internal")
    assert context is not None
    assert shake(context, files[0], name="api.internal", alpn="h2")[1] is None


async def test_an_agent_that_names_another_host_or_none_gets_no_certificate(files: tuple[Path, Path]) -> None:
    context = await ForwardAuthority(*files).context("api.internal")
    assert context is not None
    for name in ("other.internal", "internal", "xapi.internal", None):
        with pytest.raises(ssl.SSLError):
            shake(context, files[0], name=name)
    shake(context, files[0], name="API.internal")


async def test_a_host_that_is_an_address_has_no_sni(files: tuple[Path, Path]) -> None:
    for host in ("127.0.0.1", "2001:db8::1"):
        context = await ForwardAuthority(*files).context(host)
        assert context is not None
        leaf, _ = shake(context, files[0], name=host)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == [host]
        with pytest.raises(ssl.SSLError):
            shake(context, files[0], name="api.internal")


async def test_a_long_host_gets_a_leaf_too(files: tuple[Path, Path]) -> None:
    host = ".".join(["a" * 60] * 4)
    context = await ForwardAuthority(*files).context(host)
    assert context is not None
    shake(context, files[0], name=host)


async def test_many_at_once_wait_for_one_leaf_and_one_who_leaves_does_not_take_it_along(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    original = forward.make_leaf_context

    def counting(authority: forward.Authority, host: str) -> tuple[datetime.datetime, ssl.SSLContext]:
        made.append(host)
        return original(authority, host)

    monkeypatch.setattr(forward, "make_leaf_context", counting)
    authority = ForwardAuthority(*files)
    waiting = [asyncio.create_task(authority.context("api.internal")) for _ in range(8)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    found = await asyncio.gather(*waiting[1:])
    assert made == ["api.internal"]
    assert len(set(map(id, found))) == 1


async def test_a_leaf_that_is_about_to_end_is_issued_anew(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = ForwardAuthority(*files)
    first = await authority.context("api.internal")
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=forward.LEAF_DAYS, hours=-12)
    monkeypatch.setattr(forward, "_now", lambda: later)
    assert await authority.context("api.internal") is not first


async def test_hosts_that_are_not_asked_for_are_forgotten(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "LEAVES_LIMIT", 2)
    authority = ForwardAuthority(*files)
    first = await authority.context("a")
    await authority.context("b")
    assert await authority.context("a") is first
    await authority.context("c")
    assert await authority.context("a") is first


async def test_an_authority_that_is_replaced_counts_at_once_and_one_that_is_broken_never(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    certificate, key = files
    authority = ForwardAuthority(certificate, key)
    before = await authority.context("api.internal")
    old = certificate.read_bytes()
    (tmp_path / "new").mkdir()
    make_forward_authority(tmp_path / "new")
    # Half replaced: the certificate is there, its key is not.
    certificate.write_bytes((tmp_path / "new/forward-ca.pem").read_bytes())
    os.utime(certificate, (1, 1))
    assert await authority.context("api.internal") is before
    key.write_bytes((tmp_path / "new/forward-ca.key").read_bytes())
    os.utime(key, (2, 2))
    after = await authority.context("api.internal")
    assert after is not None
    shake(after, certificate, name="api.internal")
    (tmp_path / "old.pem").write_bytes(old)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(after, tmp_path / "old.pem", name="api.internal")
    key.unlink()
    assert await authority.context("api.internal") is after


async def test_an_authority_that_has_expired_issues_nothing(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = ForwardAuthority(*files)
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=400)
    monkeypatch.setattr(forward, "_now", lambda: later)
    assert await authority.context("api.internal") is None
    with pytest.raises(BadAuthority, match="expired"):
        read_authority_files(*files)


def test_files_that_are_no_authority_are_refused_and_their_key_is_in_no_message(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    certificate, key = files
    make_certificates(tmp_path)
    other = tmp_path / "other.key"
    other.write_bytes(pem(rsa.generate_private_key(65537, 2048)))
    encrypted = tmp_path / "encrypted.key"
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    encrypted.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    for wrong, why in (
        ((certificate, other), "not the key"),
        ((certificate, encrypted), "unencrypted"),
        ((certificate, certificate), "unencrypted"),
        ((key, key), "no PEM certificate"),
        ((tmp_path / "server.pem", tmp_path / "server.key"), "CA:TRUE"),
    ):
        with pytest.raises(BadAuthority, match=why) as caught:
            read_authority_files(*wrong)
        assert "PRIVATE KEY" not in str(caught.value)
    assert "PrivateKey" not in repr(read_authority_files(certificate, key))


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
async def test_an_authority_of_the_operators_own_may_have_another_kind_of_key(
    tmp_path: Path, kind: str
) -> None:
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Corporate authority")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        # Shorter than a leaf would live.
        .not_valid_after(now + datetime.timedelta(days=3))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(forward.key_usage(certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, None if kind == "ed25519" else hashes.SHA256())
    )
    (tmp_path / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "ca.key").write_bytes(pem(key))
    context = await ForwardAuthority(tmp_path / "ca.pem", tmp_path / "ca.key").context("api.internal")
    assert context is not None
    leaf, _ = shake(context, tmp_path / "ca.pem", name="api.internal")
    assert leaf.not_valid_after_utc <= made.not_valid_after_utc


def test_the_embedded_authority_is_private_made_once_and_signs_certificates_only(tmp_path: Path) -> None:
    make_forward_authority(tmp_path)
    certificate, key = tmp_path / "forward-ca.pem", tmp_path / "forward-ca.key"
    assert [path.stat().st_mode & 0o777 for path in (certificate, key)] == [0o600, 0o600]
    before = certificate.read_bytes()
    make_forward_authority(tmp_path)
    assert certificate.read_bytes() == before
    made = x509.load_pem_x509_certificate(before)
    basic = made.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    usage = made.extensions.get_extension_for_class(x509.KeyUsage)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature) == (True, True, False)
    key.unlink()
    make_forward_authority(tmp_path)
    assert certificate.read_bytes() != before


async def test_without_an_authority_nothing_is_served() -> None:
    assert not NoForwardTls().served
    assert await NoForwardTls().context("api.internal") is None


def pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
