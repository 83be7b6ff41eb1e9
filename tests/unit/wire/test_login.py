"""Logging in to an upstream: what we answer, and what we refuse to."""

import base64
import hashlib
import hmac

import pytest

from weirgate_wire.error import PeerError, UsageError
from weirgate_wire.postgres.error import encode_fields
from weirgate_wire.postgres.frame import frame
from weirgate_wire.postgres.login import LoginFailed, LoginTerms, Method, UpstreamLogin, UpstreamReady
from weirgate_wire.postgres.scram import ITERATIONS_LIMIT, ScramClient, prepare_password

NONCE = "rOprNGfwEbeRWgbNEkqO"
REST = frame(b"S", b"TimeZone\0UTC\0") + frame(b"K", b"\0\0\0\x07abcd") + frame(b"Z", b"I")


def auth(code: int, rest: bytes = b"") -> bytes:
    return frame(b"R", code.to_bytes(4, "big") + rest)


def started(
    password: str | None = "pencil",
    *,
    binding: bytes | None = None,
    mode: str = "prefer",
    methods: frozenset[Method] | None = None,
    cleartext: bool = False,
    minor: int = 0,
) -> UpstreamLogin:
    terms = LoginTerms.__new__(LoginTerms)
    values = {
        "user": "user",
        "database": "shop",
        "password": password,
        "parameters": {},
        "minor": minor,
        "nonce": NONCE,
        "binding": binding,
        "binding_mode": mode,
        "cleartext_allowed": cleartext,
        "methods": methods or frozenset(("none", "password", "md5", "scram-sha-256")),
    }
    for name, value in values.items():
        object.__setattr__(terms, name, value)
    login = UpstreamLogin(terms)
    login.start()
    return login


def test_the_example_of_the_rfc_verifies() -> None:
    # RFC 7677, section 3, with the name left out as PostgreSQL does, so only the shape and our own proof count.
    client = ScramClient("pencil", nonce=NONCE)
    assert client.first() == b"n,,n=,r=rOprNGfwEbeRWgbNEkqO"
    theirs = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    server_first = f"r={theirs},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    final = client.final(server_first.encode()).decode()
    without_proof, proof = final.rsplit(",p=", 1)
    signed = f"n=,r={NONCE},{server_first},{without_proof}".encode()
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
    assert bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True)) == client_key
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    good = base64.b64encode(hmac.digest(server_key, signed, "sha256"))
    client.verify(b"v=" + good)
    with pytest.raises(PeerError):
        client.verify(b"v=" + base64.b64encode(bytes(32)))
    with pytest.raises(PeerError):
        client.verify(b"e=invalid-proof")


@pytest.mark.parametrize(
    "server_first",
    [
        "r=other,s=W22Z,i=4096",
        f"r={NONCE},s=W22Z,i=4096",
        f"r={NONCE}x,s=W22Z,i={ITERATIONS_LIMIT + 1}",
        f"r={NONCE}x,s=W22Z,i=0",
        f"r={NONCE}x,s=,i=4096",
        f"m=ext,r={NONCE}x,s=W22Z,i=4096",
        f"r={NONCE}x,s=*,i=4096",
    ],
)
def test_a_first_message_out_of_bounds_is_refused(server_first: str) -> None:
    with pytest.raises(PeerError):
        ScramClient("pencil", nonce=NONCE).final(server_first.encode())


def test_a_password_is_prepared_as_postgresql_does() -> None:
    assert prepare_password("I\u00adX") == b"IX"
    assert prepare_password("\u2168") == b"IX"
    assert prepare_password("a\u00a0b") == b"a b"
    assert prepare_password("\u0007\u00e9") == "\u0007\u00e9".encode(), "prohibited: used as it is"
    assert prepare_password("\u0627\u0031") == "\u0627\u0031".encode()


def test_trust_logs_in_and_what_comes_after_belongs_to_the_session() -> None:
    login = started()
    assert login.feed(auth(0) + REST + b"more") == b""
    ready = login.outcome
    assert isinstance(ready, UpstreamReady)
    assert (ready.process_id, ready.secret, ready.rest) == (7, b"abcd", b"more")
    assert ready.parameters == {"TimeZone": "UTC"}


def test_md5_is_answered_with_the_salted_digest() -> None:
    login = started()
    inner = hashlib.md5(b"penciluser").hexdigest()
    expected = b"md5" + hashlib.md5(inner.encode() + b"salt").hexdigest().encode() + b"\0"
    assert login.feed(auth(5, b"salt")) == frame(b"p", expected)
    assert login.feed(auth(0) + REST) == b""
    assert isinstance(login.outcome, UpstreamReady)


def test_a_password_goes_in_clear_only_where_that_is_allowed() -> None:
    assert started(cleartext=True).feed(auth(3)) == frame(b"p", b"pencil\0")
    with pytest.raises(PeerError, match="in clear"):
        started().feed(auth(3))


def test_being_let_in_without_the_server_signature_is_refused() -> None:
    login = started()
    login.feed(auth(10, b"SCRAM-SHA-256\0\0"))
    with pytest.raises(PeerError):
        login.feed(auth(0))


def test_a_second_demand_is_refused() -> None:
    login = started(cleartext=True)
    login.feed(auth(3))
    with pytest.raises(PeerError, match="twice"):
        login.feed(auth(5, b"salt"))


def test_channel_binding_is_used_where_it_can_be_and_insisted_on_where_required() -> None:
    offer = auth(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")
    assert b"SCRAM-SHA-256-PLUS\0" in started(binding=b"d" * 32).feed(offer)
    assert b"p=tls-server-end-point,," in started(binding=b"d" * 32).feed(offer)
    assert b"n,,n=" in started().feed(offer)
    assert b"y,,n=" in started(binding=b"d" * 32).feed(auth(10, b"SCRAM-SHA-256\0\0"))
    for demand in (auth(10, b"SCRAM-SHA-256\0\0"), auth(0), auth(3), auth(5, b"salt")):
        with pytest.raises(PeerError, match="channel binding"):
            started(binding=b"d" * 32, mode="require", cleartext=True).feed(demand)


def test_a_method_that_is_not_accepted_gets_no_answer() -> None:
    only: frozenset[Method] = frozenset(("scram-sha-256",))
    for demand in (auth(0), auth(3), auth(5, b"salt")):
        with pytest.raises(PeerError, match="require_auth"):
            started(methods=only, cleartext=True).feed(demand)


def test_a_refusal_tells_whether_anything_was_asked_before() -> None:
    error = frame(b"E", encode_fields({"S": "FATAL", "C": "28000", "M": "no entry"}))
    early = started()
    early.feed(error)
    assert early.outcome == LoginFailed(sqlstate="28000", message="no entry", early=True)
    late = started(cleartext=True)
    late.feed(auth(3))
    late.feed(error)
    assert isinstance(late.outcome, LoginFailed)
    assert not late.outcome.early


def test_an_older_version_is_taken_and_a_newer_one_is_not() -> None:
    login = started(minor=2)
    login.feed(frame(b"v", (0x30000).to_bytes(4, "big") + bytes(4)) + auth(0) + REST)
    assert isinstance(login.outcome, UpstreamReady)
    assert login.outcome.minor == 0
    with pytest.raises(PeerError):
        started(minor=0).feed(frame(b"v", (0x30002).to_bytes(4, "big") + bytes(4)))


def test_a_length_of_two_gibibytes_is_refused_at_its_header() -> None:
    with pytest.raises(PeerError):
        started().feed(b"R\x7f\xff\xff\xff")


def test_neither_replication_nor_another_user_gets_into_the_start_up_message() -> None:
    terms = LoginTerms(
        user="app",
        database="shop",
        nonce=NONCE,
        parameters={"Replication": "database", "user": "root", "_pq_.x": "1", "TimeZone": "UTC"},
    )
    raw = UpstreamLogin(terms).start()
    assert b"eplication" not in raw
    assert b"root" not in raw
    assert b"_pq_" not in raw
    assert b"TimeZone\0UTC\0" in raw


def test_the_password_is_in_no_repr_and_the_login_is_fed_in_order() -> None:
    terms = LoginTerms(user="app", database="shop", nonce=NONCE, password="s3cret")
    assert "s3cret" not in repr(terms)
    with pytest.raises(UsageError):
        UpstreamLogin(terms).feed(b"")
