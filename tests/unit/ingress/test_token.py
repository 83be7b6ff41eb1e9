"""A token admits exactly whom it names, to exactly what it names."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.refusal import RefusalCode
from weirgate_ingress.keys import IssuerKeys, KeysUnavailable, read_keys
from weirgate_ingress.token import Admission, Door, IssuerDocument, TokenRefused, TokenVerifier, read_issuers

ED = OKPKey.generate_key("Ed25519", parameters={"kid": "ed"})
EC = ECKey.generate_key("P-256", parameters={"kid": "ec"})
RSA = RSAKey.generate_key(2048, parameters={"kid": "rsa"})
YEAR_2100 = 4_102_444_800
SHOP = ResourceDocument(name="shop", protocol="postgres", upstream="postgresql://app@db/shop")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys = [each.as_dict(private=False) for each in (ED, EC, RSA)]
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": keys}))
    (tmp_path / "issuers.json").write_text(
        json.dumps([{"issuer": "https://one", "audience": "weirgate", "jwks_file": "jwks.json"}])
    )
    return tmp_path


@pytest.fixture
def verifier(folder: Path) -> TokenVerifier:
    return TokenVerifier(read_issuers(folder / "issuers.json"))


def mint(key: Any = ED, algorithm: str = "Ed25519", drop: str = "", **claims: Any) -> str:
    body: dict[str, Any] = {
        "iss": "https://one",
        "aud": "weirgate",
        "sub": "reader",
        "jti": "t1",
        "exp": int(time.time()) + 60,
    }
    body |= claims
    body.pop(drop, None)
    return jwt.encode({"alg": algorithm, "kid": key.kid}, body, key, algorithms=[algorithm])


@pytest.mark.parametrize(
    ("key", "algorithm"), [(ED, "Ed25519"), (ED, "EdDSA"), (EC, "ES256"), (RSA, "RS256")]
)
async def test_a_good_token_names_its_agent(verifier: TokenVerifier, key: Any, algorithm: str) -> None:
    identity = await verifier.verify(mint(key, algorithm, groups=["b", "a", "a"], run="r1", tool="sql"))
    assert (identity.agent, identity.user, identity.groups) == ("reader", None, ("a", "b"))
    assert (identity.run, identity.tool, identity.resources) == ("r1", "sql", None)
    assert await verifier.verify(mint(key, algorithm)) is not identity


async def test_a_delegated_token_gives_the_agent_its_own_groups_and_not_the_persons(
    verifier: TokenVerifier,
) -> None:
    token = mint(sub="ann", act={"sub": "reader", "groups": ["agents"]}, groups=["dba"])
    identity = await verifier.verify(token)
    assert (identity.agent, identity.user, identity.groups) == ("reader", "ann", ("agents",))
    identity = await verifier.verify(mint(sub="ann", act={"sub": "reader"}, groups=["dba"]))
    assert identity.groups == ()


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": {"weirgate": 1}},
        {"iss": "https://two"},
        {"iss": ["https://one"]},
        {"drop": "exp"},
        {"drop": "jti"},
        {"drop": "sub"},
        {"exp": "tomorrow"},
        {"exp": True},
        {"nbf": YEAR_2100},
        {"iat": YEAR_2100},
        {"groups": "admins"},
        {"groups": ["a", 1]},
        {"groups": None},
        {"resources": "shop"},
        {"resources": [""]},
        {"resources": ["Not A Name"]},
        {"act": "reader"},
        {"act": {}},
        {"act": None},
        {"run": 7},
        {"tool": ""},
        {"sub": "x" * 200},
        {"jti": ""},
    ],
)
async def test_a_claim_that_is_missing_or_malformed_refuses(
    verifier: TokenVerifier, claims: dict[str, Any]
) -> None:
    with pytest.raises(TokenRefused) as refused:
        await verifier.verify(mint(**claims))
    assert refused.value.refusal.code is RefusalCode.TOKEN_INVALID


async def test_an_expired_token_is_told_apart_also_when_it_was_good_before(folder: Path) -> None:
    now = time.time()
    verifier = TokenVerifier(read_issuers(folder / "issuers.json"), clock=lambda: now)
    token = mint(exp=int(now) + 10)
    await verifier.verify(token)
    now += 11
    with pytest.raises(TokenRefused) as refused:
        await verifier.verify(token)
    assert refused.value.refusal.code is RefusalCode.TOKEN_EXPIRED


async def test_the_algorithm_is_ours_to_choose(verifier: TokenVerifier) -> None:
    secret = OctKey.import_key(json.dumps(RSA.as_dict(private=False)), parameters={"kid": "rsa"})
    for token in (
        mint(secret, "HS256"),
        mint(RSA, "RS512"),
        mint(RSA, "PS256"),
        mint()[:-4] + "AAAA",
        mint().rsplit(".", 1)[0] + ".",
        mint(OKPKey.generate_key("Ed25519", parameters={"kid": "ed"})),
        mint(OKPKey.generate_key("Ed25519", parameters={"kid": "unknown"})),
        "eyJhbGciOiJub25lIn0.e30.",
        "a.b",
        "",
        "x" * 20_000,
        "é",
    ):
        with pytest.raises(TokenRefused) as refused:
            await verifier.verify(token)
        assert refused.value.refusal.code is RefusalCode.TOKEN_INVALID


async def test_the_door_opens_to_the_named_agent_and_resource_only(verifier: TokenVerifier) -> None:
    door = Door(verifier, {"shop": SHOP}.get)
    admission = await door.admit(agent="reader", resource="shop", token=mint(), protocol="postgres")
    assert admission.resource is SHOP
    for agent, resource, token, code in (
        ("other", "shop", mint(), RefusalCode.TOKEN_INVALID),
        ("reader", "crm", mint(), RefusalCode.RESOURCE_UNKNOWN),
        ("reader", "shop", mint(resources=[]), RefusalCode.RESOURCE_UNKNOWN),
        ("reader", "shop", mint(resources=["crm"]), RefusalCode.RESOURCE_UNKNOWN),
        ("reader", "crm", mint(resources=["crm"]), RefusalCode.RESOURCE_UNKNOWN),
    ):
        with pytest.raises(TokenRefused) as refused:
            await door.admit(agent=agent, resource=resource, token=token, protocol="postgres")
        assert refused.value.refusal.code is code
    unsure = Door(verifier, {"shop": SHOP}.get, lambda: "not read yet")
    with pytest.raises(TokenRefused):
        await unsure.admit(agent="reader", resource="shop", token=mint(), protocol="postgres")


async def test_a_token_for_one_resource_opens_no_other(verifier: TokenVerifier) -> None:
    door = Door(verifier, {"shop": SHOP}.get)
    good = mint(aud=["weirgate", "weirgate/shop"])
    assert (
        await door.admit(agent="reader", resource="shop", token=good, protocol="postgres")
    ).identity.resources == ("shop",)
    for token in (mint(aud="weirgate/crm"), mint(aud="weirgate/crm", resources=["shop"])):
        with pytest.raises(TokenRefused) as refused:
            await door.admit(agent="reader", resource="shop", token=token, protocol="postgres")
        assert refused.value.refusal.code is RefusalCode.RESOURCE_UNKNOWN


async def test_a_resource_of_mcp_is_reached_by_http_and_not_by_postgres(verifier: TokenVerifier) -> None:
    tools = ResourceDocument(name="tools", protocol="mcp", upstream="http://127.0.0.1:9000/mcp")
    door = Door(verifier, {"tools": tools}.get)
    assert (await door.admit(agent="", resource="tools", token=mint(), protocol="http")).resource is tools
    with pytest.raises(TokenRefused):
        await door.admit(agent="reader", resource="tools", token=mint(), protocol="postgres")


async def test_nobody_else_makes_an_admission(verifier: TokenVerifier) -> None:
    identity = await verifier.verify(mint())
    with pytest.raises(TypeError):
        Admission(object(), identity=identity, resource=SHOP)


async def test_a_new_key_file_is_read_and_what_an_old_key_signed_is_verified_again(folder: Path) -> None:
    verifier = TokenVerifier(read_issuers(folder / "issuers.json"))
    token = mint()
    await verifier.verify(token)
    other = OKPKey.generate_key("Ed25519", parameters={"kid": "new"})
    (folder / "jwks.json").write_text(json.dumps({"keys": [other.as_dict(private=False)]}))
    await verifier.verify(mint(other))
    with pytest.raises(TokenRefused):
        await verifier.verify(token)
    (folder / "jwks.json").write_text("broken")
    await verifier.verify(mint(other, jti="t2"))


def test_only_public_signature_keys_of_our_kinds_are_taken() -> None:
    weak = RSAKey.generate_key(1024, auto_kid=True)
    document = {
        "keys": [
            ED.as_dict(private=True),
            OctKey.generate_key(256).as_dict(),
            weak.as_dict(private=False),
            EC.as_dict(private=False) | {"use": "enc"},
            {"kty": "AKP"},
            7,
        ]
    }
    keys = read_keys(json.dumps(document).encode())
    assert [key.kid for key in keys] == ["ed"]
    assert not keys[0].is_private
    with pytest.raises(ValueError, match="key set"):
        read_keys(b"[]")


class _Issuer(BaseHTTPRequestHandler):
    document = b""
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(type(self).document)

    def log_message(self, format: str, *args: Any) -> None:
        pass


async def test_a_key_set_by_url_is_fetched_once_and_again_for_an_unknown_key_within_a_rate() -> None:
    server = HTTPServer(("127.0.0.1", 0), _Issuer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        _Issuer.document = json.dumps({"keys": [ED.as_dict(private=False)]}).encode()
        keys = IssuerKeys(url=f"http://127.0.0.1:{server.server_port}/jwks", pause_s=0.2)
        assert await keys.find("ed") is not None
        assert await keys.find("ed") is not None
        assert _Issuer.asked == 1
        for _ in range(5):
            assert await keys.find("none") is None
        assert _Issuer.asked == 1, "within the pause nobody makes us ask again"
        _Issuer.document = json.dumps({"keys": [EC.as_dict(private=False)]}).encode()
        time.sleep(0.25)
        assert await keys.find("ec") is not None
        assert keys.version == 2
        _Issuer.document = b"x" * 300_000
        time.sleep(0.25)
        assert await keys.find("none") is None
        assert await keys.find("ec") is not None, "the last good set is kept"
    finally:
        server.shutdown()
    with pytest.raises(KeysUnavailable):
        await IssuerKeys(url=f"http://127.0.0.1:{server.server_port}/jwks").find("ed")


def test_an_issuer_needs_one_place_for_its_keys_and_https() -> None:
    for places in ({}, {"url": "http://example.com/jwks"}, {"url": "https://x", "file": Path("y")}):
        with pytest.raises(ValueError, match="jwks"):
            IssuerKeys(**places)  # pyright: ignore[reportArgumentType]
    document = IssuerDocument(issuer="a", jwks_file=Path("x"))
    with pytest.raises(ValueError, match="twice"):
        TokenVerifier([document, document])
