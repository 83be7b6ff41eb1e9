"""The ways in under noise and cuts: nothing is dialled, asked or secured that one reading alone would allow."""

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from weirgate_contracts.config import ResourceDocument
from weirgate_ingress.gates.core import (
    Ask,
    Bytes,
    Dial,
    Effect,
    Hangup,
    LoggedIn,
    Login,
    Renew,
    Send,
    SendHead,
    Side,
    StartTls,
    TlsStarted,
)
from weirgate_ingress.gates.http.gate import HttpGate
from weirgate_ingress.gates.http.place import Register
from weirgate_ingress.gates.http.terms import HttpTerms
from weirgate_testkit.http_story import CRM, StarBodies
from weirgate_testkit.story import IDENTITY
from weirgate_wire.error import PeerError
from weirgate_wire.http.target import read_authority

API = CRM.model_copy(update={"hosts": ("api.internal",)})
OTHER = ResourceDocument(
    name="other", protocol="http", upstream="https://other.test:8443/x", hosts=("b.internal:81",)
)
REGISTER = Register([API, OTHER])
PIECES = (
    "CONNECT ", "GET ", "OPTIONS ", "http://", "https://", "HTTP://", "/", "//", "*", "@", ":", ":443", ":80",
    ":8443", ":81", ".", "[::1]", "%2e", "\\", "?", "#", "api.internal", "API.INTERNAL", "b.internal", "other.test",
    "crm.test:8080", "crm", "/api", "/x", " HTTP/1.1\r\n", " HTTP/1.0\r\n", "Host: ", "Host:", "\r\n", "\n", " ",
    "\t", ",",
    "Proxy-Authorization: Bearer t", "Authorization: Bearer u", "Content-Length: 1", "x-y: z",
)  # fmt: skip
heads = st.lists(st.sampled_from(PIECES), max_size=18).map("".join)
hosts = st.sampled_from(
    ("api.internal", "API.internal:443", "api.internal:80", "b.internal:81", "other.test:8443", "crm.test:8080",
     "evil.test", "api.internal.", "x@api.internal")
)  # fmt: skip


def made() -> HttpGate:
    terms = HttpTerms(
        ingress="in1", session="s1", peer="p", cleartext_allowed=True, places=REGISTER, tunnels=True
    )
    return HttpGate(terms, StarBodies())


def told(raw: bytes, cuts: list[int]) -> list[Effect]:
    """Feed a stream in pieces; whoever logs in is let in to what it asked for."""
    gate, found = made(), list[Effect]()
    edges = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    for begin, end in pairwise(edges):
        for effect in gate.feed(Bytes(side=Side.AGENT, data=raw[begin:end])):
            found.append(effect)
            if isinstance(effect, Login):
                resource = {"crm": API, "other": OTHER}.get(effect.resource)
                if resource is not None:
                    found += gate.feed(LoggedIn(identity=IDENTITY, resource=resource))
    return found


def shape(effects: list[Effect]) -> list[Any]:
    # Of what is wrong in several ways the first that is seen is told, so only the status must be the same.
    said = b"".join(one.data for one in effects if isinstance(one, Send))[:12]
    rest = [type(one).__name__ for one in effects if isinstance(one, Login | Ask | StartTls | Renew | Hangup)]
    return [said, rest]


@settings(max_examples=300, deadline=None)
@given(text=heads, cuts=st.lists(st.integers(0, 400), max_size=5))
def test_noise_at_the_door_dials_nobody_and_cuts_change_nothing(text: str, cuts: list[int]) -> None:
    raw = f"{text}\r\n\r\n".encode("latin-1")
    effects = told(raw, [])
    assert not [one for one in effects if isinstance(one, Dial | SendHead)]
    for one in effects:
        if isinstance(one, StartTls):
            assert text.lstrip("\r\n").startswith("CONNECT ")
            assert one.host in ("api.internal", "b.internal", "other.test")
    again = told(raw, cuts)
    # What stands behind a CONNECT is refused sooner or later, as it comes before the answer or after it.
    if not any(isinstance(one, StartTls) for one in (*effects, *again)):
        assert shape(again) == shape(effects)


@settings(max_examples=300, deadline=None)
@given(target=hosts, host=hosts, method=st.sampled_from(("CONNECT", "GET")), token=st.booleans())
def test_who_is_let_in_named_one_registered_authority_in_every_place(
    target: str, host: str, method: str, token: bool
) -> None:
    line = f"CONNECT {target}" if method == "CONNECT" else f"GET http://{target}/api/v1/x"
    fields = f"Host: {host}\r\n" + (
        "Proxy-Authorization: Bearer t\r\n" if token else "Authorization: Bearer t\r\n"
    )
    effects = told(f"{line} HTTP/1.1\r\n{fields}\r\n".encode(), [])
    logins = [one for one in effects if isinstance(one, Login)]
    if not logins:
        return
    assert token
    named, meant = read_authority(target), read_authority(host)
    assert named[0] == meant[0]
    if logins[0].resource in ("crm", "other"):
        known = {"crm": ("api.internal", "crm.test"), "other": ("b.internal", "other.test")}
        assert named[0] in known[logins[0].resource]
    else:
        assert ":" in logins[0].resource


@settings(max_examples=300, deadline=None)
@given(inner=st.one_of(st.binary(max_size=300), heads.map(lambda text: f"{text}\r\n\r\n".encode("latin-1"))))
def test_inside_a_tunnel_only_its_own_host_is_asked_about(inner: bytes) -> None:
    gate = made()
    connect = (
        b"CONNECT api.internal:443 HTTP/1.1\r\nHost: api.internal\r\nProxy-Authorization: Bearer t\r\n\r\n"
    )
    gate.feed(Bytes(side=Side.AGENT, data=connect))
    gate.feed(LoggedIn(identity=IDENTITY, resource=API))
    gate.feed(TlsStarted(version="TLSv1.3"))
    effects = gate.feed(Bytes(side=Side.AGENT, data=inner))
    assert not [one for one in effects if isinstance(one, Login | StartTls | Renew | Dial | SendHead)]
    for one in effects:
        if isinstance(one, Ask):
            text = inner.decode("latin-1").lower()
            assert "host:" in text or " http/1.0" in text


@given(text=st.text(max_size=40))
def test_a_register_finds_nothing_for_what_the_codec_refuses(text: str) -> None:
    try:
        host, port = read_authority(text)
    except PeerError:
        return
    assert not REGISTER.hosted(host, port or 1) or host in ("api.internal", "b.internal")
