"""The ways in: which resource a request is for is said in one place, or the request is refused."""

import base64
import json
from typing import Any

import pytest

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.events import OperationRefused, SessionClosed, SessionOpened, SessionRefused
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.core import (
    Ask,
    Bytes,
    Hangup,
    LoggedIn,
    Login,
    LoginRefused,
    Record,
    Renew,
    Send,
    Side,
    StartTls,
    Tape,
    TlsStarted,
)
from weirgate_ingress.gates.http.place import LivePlaces, Register
from weirgate_testkit.http_story import CRM, HttpStory, status_of
from weirgate_testkit.story import IDENTITY
from weirgate_wire.http.head import HeadReader

API = CRM.model_copy(update={"hosts": ("api.internal", "crm.internal:8443", "[2001:db8::1]:9000")})
SECURE = ResourceDocument(name="secure", protocol="http", upstream="https://vault.test/v2", routes=("/keys",))
TWIN = ResourceDocument(name="twin", protocol="http", upstream="https://shared.test/a")
TWIN_B = ResourceDocument(name="twin-b", protocol="http", upstream="https://shared.test/b")
MCP = ResourceDocument(
    name="tools", protocol="mcp", upstream="http://tools.test/mcp", hosts=("tools.internal",)
)
SHOP = ResourceDocument(name="shop", protocol="postgres", upstream="postgresql://app@db/shop")
PLACES = Register([API, SECURE, TWIN, TWIN_B, MCP, SHOP])
PROXY = "Bearer proxy-token"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"


def story(**terms: Any) -> HttpStory:
    given: dict[str, Any] = {"places": PLACES, "tunnels": True} | terms
    return HttpStory(**given)


def head(line: str, *fields: str) -> bytes:
    return "\r\n".join((f"{line} HTTP/1.1", *fields, "", "")).encode("latin-1")


def login_of(one: HttpStory) -> tuple[str, str]:
    one.expect(Login)
    login = one.last
    assert isinstance(login, Login)
    return login.resource, login.token


def told(one: HttpStory) -> tuple[int, dict[str, Any], list[tuple[str, str]]]:
    raw = next(each.data for each in reversed(one.all) if isinstance(each, Send) and each.side is Side.AGENT)
    reader = HeadReader()
    reader.feed(raw)
    answer = reader.response()
    assert answer is not None
    return answer.status, json.loads(raw.partition(b"\r\n\r\n")[2]), list(answer.headers)


# ---------------------------------------------------------------- by Host


@pytest.mark.parametrize(
    ("host", "tls", "path", "resource", "within"),
    [
        ("api.internal", False, "/v1/x", "crm", "/v1/x"),
        ("API.Internal:7401", False, "/v1/x", "crm", "/v1/x"),
        ("crm.internal:8443", False, "/shop/x", "crm", "/shop/x"),
        ("[2001:DB8::1]:9000", False, "/", "crm", "/"),
        ("tools.internal", True, "/", "tools", "/"),
        # Every other Host says nothing: the path does.
        ("crm.internal", False, "/other/v1/x", "other", "/v1/x"),
        ("crm.internal:8444", False, "/other", "other", "/"),
        ("crm.test:8080", False, "/api/v1", "api", "/v1"),
        ("internal", False, "/crm/v1/x", "crm", "/v1/x"),
        ("xapi.internal", False, "/crm/x", "crm", "/x"),
    ],
)
def test_host_says_which_resource_only_where_it_is_a_registered_one(
    host: str, tls: bool, path: str, resource: str, within: str
) -> None:
    one = story()
    if tls:
        one.feed(TlsStarted(version="TLSv1.3"))
    one.agent_sends(head(f"GET {path}", f"Host: {host}", "Authorization: Bearer t"))
    assert login_of(one) == (resource, "t")
    one.feed(LoggedIn(identity=IDENTITY, resource=API)).expect(Record, SessionOpened).expect(Ask)
    assert one.ask is not None
    assert one.ask.event.call is not None
    assert one.ask.event.call.path == within


def test_a_host_on_its_own_port_needs_that_port() -> None:
    named = API.model_copy(update={"hosts": ("crm.internal:443",)})
    one = HttpStory(places=Register([named])).feed(TlsStarted(version="TLSv1.3"))
    one.agent_sends(head("GET /v1", "Host: crm.internal", "Authorization: Bearer t"))
    assert login_of(one) == ("crm", "t")
    one = HttpStory(places=Register([named]))
    one.agent_sends(head("GET /v1", "Host: crm.internal", "Authorization: Bearer t"))
    assert login_of(one) == ("v1", "t")


def test_a_host_of_two_resources_leads_nowhere() -> None:
    other = SECURE.model_copy(update={"hosts": ("api.internal",)})
    one = story(places=Register([API, other]))
    one.agent_sends(head("GET /crm/v1/x", "Host: api.internal", "Authorization: Bearer t"))
    # Not even by the prefix form: a name with a colon is no resource's.
    assert login_of(one) == ("api.internal:80", "t")


def test_what_is_judged_by_host_is_what_is_sent() -> None:
    one = story().agent_sends(
        head("GET /v1/customers/7?a=b", "Host: api.internal", "Authorization: Bearer t")
    )
    one.expect(Login).feed(LoggedIn(identity=IDENTITY, resource=API)).expect(Record, SessionOpened)
    one.expect(Ask)
    assert one.ask is not None
    assert one.ask.event.call is not None
    assert one.ask.event.call.route == "/v1/customers/{id}"
    one.sent_on()
    assert one.head.target == "/v1/customers/7?a=b"
    assert one.head.get("host") is None


# ---------------------------------------------------------------- as a proxy


def test_a_configured_field_may_hold_the_token_and_is_never_sent_on() -> None:
    one = story(token_header="x-api-key")
    one.agent_sends(
        head("GET /crm/v1/customers/7", "Host: gw", "X-Api-Key: t", "Authorization: Bearer other")
    )
    assert login_of(one) == ("crm", "t")
    one.feed(LoggedIn(identity=IDENTITY, resource=CRM)).expect(Record, SessionOpened).expect(Ask)
    assert one.ask is not None
    assert one.ask.event.call is not None
    assert {field.name for field in one.ask.event.call.headers}.isdisjoint({"x-api-key", "authorization"})
    # Without it the usual places count, and of the proxy's they alone.
    two = story(token_header="x-api-key").agent_sends(
        head("GET /crm/v1", "Host: gw", "Authorization: Bearer u")
    )
    assert login_of(two) == ("crm", "u")
    three = story(token_header="x-api-key").agent_sends(
        head(
            "GET http://api.internal/v1",
            "Host: api.internal",
            "X-Api-Key: t",
            f"Proxy-Authorization: {PROXY}",
        )
    )
    assert login_of(three) == ("crm", "proxy-token")
    four = story(token_header="x-api-key").agent_sends(
        head("GET /crm/v1", "Host: gw", "X-Api-Key: t", "X-Api-Key: u")
    )
    four.expect(Record, SessionRefused).expect(Send, Side.AGENT).expect(Hangup)
    assert told(four)[0] == 400


def test_a_proxy_request_takes_the_proxys_token_and_drops_the_upstreams() -> None:
    one = story().agent_sends(
        head(
            "GET http://api.internal/v1/customers/7",
            "Host: api.internal",
            "Authorization: Bearer the-upstreams-own",
            f"Proxy-Authorization: {PROXY}",
            "Proxy-Connection: keep-alive",
        )
    )
    assert login_of(one) == ("crm", "proxy-token")
    one.feed(LoggedIn(identity=IDENTITY, resource=API)).expect(Record, SessionOpened).expect(Ask).sent_on()
    sent = one.head
    assert sent.target == "/v1/customers/7"
    assert not any("authorization" in name or "proxy" in name for name, _ in sent.headers)
    assert "the-upstreams-own" not in repr(one.all)
    one.upstream_sends(
        OK
        + b"Location: http://crm.test:8080/api/v1/next\r\nSet-Cookie: a=1; Domain=crm.test; Path=/api/v1\r\n"
        b"Set-Cookie: b=2\r\n\r\nhello"
    )
    one.says(
        lambda raw: (
            b"location: /v1/next\r\n" in raw
            and b"set-cookie: a=1; Path=/v1\r\n" in raw
            and b"set-cookie: b=2\r\n" in raw
        )
    ).expect(Record)


def test_the_token_may_be_the_password_of_a_proxy_address() -> None:
    basic = base64.b64encode(b"agent:proxy-token").decode()
    one = story().agent_sends(
        head("GET http://api.internal/", "Host: api.internal", f"Proxy-Authorization: Basic {basic}")
    )
    assert login_of(one) == ("crm", "proxy-token")


def test_under_the_upstreams_own_authority_the_path_is_the_upstreams() -> None:
    one = story().agent_sends(
        head("GET http://crm.test:8080/api/v1/pay", "Host: crm.test:8080", f"Proxy-Authorization: {PROXY}")
    )
    assert login_of(one) == ("crm", "proxy-token")
    one.feed(LoggedIn(identity=IDENTITY, resource=API)).expect(Record, SessionOpened).expect(Ask)
    assert one.ask is not None
    assert one.ask.event.call is not None
    assert (one.ask.event.call.path, one.ask.event.call.route) == ("/v1/pay", "/v1/pay")
    one.sent_on()
    # The dialler writes the base before it.
    assert one.head.target == "/v1/pay"
    one.upstream_sends(
        OK + b"Location: http://crm.test:8080/api/v1/next\r\nSet-Cookie: a=1; Path=/api\r\n\r\nhello"
    ).says(lambda raw: b"location: /api/v1/next\r\n" in raw and b"set-cookie: a=1; Path=/api\r\n" in raw)
    one.expect(Record)


@pytest.mark.parametrize("path", ["/", "/apix/v1", "/other", "/API/v1"])
def test_of_an_upstream_with_a_base_only_what_is_below_it_is_reached(path: str) -> None:
    one = story().agent_sends(
        head(f"GET http://crm.test:8080{path}", "Host: crm.test:8080", f"Proxy-Authorization: {PROXY}")
    )
    assert login_of(one) == ("crm.test:8080", "proxy-token")


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.test/",
        "http://api.internal:8080/",
        "http://api.internal:443/",
        "http://db:5432/",
        "http://vault.test/v2",
        "http://127.0.0.1/",
        "http://shared.test:443/a",
    ],
)
def test_an_authority_that_is_not_registered_is_told_so_after_the_token_was_checked(target: str) -> None:
    authority = target.removeprefix("http://").partition("/")[0]
    one = story().agent_sends(head(f"GET {target}", f"Host: {authority}", f"Proxy-Authorization: {PROXY}"))
    resource, _ = login_of(one)
    assert resource == (authority if ":" in authority else f"{authority}:80")
    unknown = Refusal(code=RefusalCode.RESOURCE_UNKNOWN, reason="There is no such resource for this agent.")
    one.feed(LoginRefused(refusal=unknown)).expect(Send, Side.AGENT).expect(Hangup)
    status, body, _ = told(one)
    assert (status, body["code"]) == (403, "resource_unknown")
    assert "hosts:" in body["hint"]
    one = story().agent_sends(head(f"GET {target}", f"Host: {authority}"))
    one.expect(Record, SessionRefused).expect(Send, Side.AGENT).expect(Hangup)
    assert told(one)[0] == 407


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("GET http://api.internal/", ""),
        ("GET http://api.internal/", "Authorization: Bearer token"),
        ("GET http://api.internal/", "Proxy-Authorization: Negotiate abc"),
        ("CONNECT api.internal:443", ""),
        ("CONNECT api.internal:443", "Authorization: Bearer token"),
    ],
)
def test_without_a_token_for_the_proxy_it_asks_for_one(line: str, field: str) -> None:
    host = "api.internal:443" if line.startswith("CONNECT") else "api.internal"
    one = story().agent_sends(head(line, f"Host: {host}", *([field] if field else [])))
    one.expect(Record, SessionRefused).expect(Send, Side.AGENT).expect(Hangup)
    status, body, headers = told(one)
    assert (status, body["code"]) == (407, "token_invalid")
    assert [value for name, value in headers if name == "proxy-authenticate"] == [
        'Basic realm="weirgate"',
        'Bearer realm="weirgate"',
    ]
    assert not [name for name, _ in headers if name == "www-authenticate"]


def test_a_bad_token_for_the_proxy_is_asked_for_again() -> None:
    one = story().agent_sends(
        head("GET http://api.internal/", "Host: api.internal", f"Proxy-Authorization: {PROXY}")
    )
    bad = Refusal(code=RefusalCode.TOKEN_EXPIRED, reason="The token has expired.")
    one.expect(Login).feed(LoginRefused(refusal=bad)).expect(Send, Side.AGENT).expect(Hangup)
    assert told(one)[0] == 407


def test_another_resource_through_the_same_proxy_connection_is_another_session() -> None:
    first = head("GET http://api.internal/v1/x", "Host: api.internal", f"Proxy-Authorization: {PROXY}")
    other = head("GET http://tools.internal/", "Host: tools.internal", f"Proxy-Authorization: {PROXY}")
    one = story().agent_sends(first).expect(Login).feed(LoggedIn(identity=IDENTITY, resource=API))
    one.expect(Record, SessionOpened).expect(Ask).refused().says()
    one.agent_sends(first).expect(Ask).refused().says()
    one.agent_sends(other).expect(Record, SessionClosed)
    one.expect(Renew, lambda renew: renew.data == other)


# ---------------------------------------------------------------- CONNECT


CONNECT = head("CONNECT api.internal:443", "Host: api.internal:443", f"Proxy-Authorization: {PROXY}")


def tunnel(line: bytes = CONNECT, resource: ResourceDocument = API, host: str = "api.internal") -> HttpStory:
    one = story().agent_sends(line).expect(Login).feed(LoggedIn(identity=IDENTITY, resource=resource))
    one.expect(Record, SessionOpened).expect(Send, Side.AGENT, b"HTTP/1.1 200 Connection established\r\n\r\n")
    one.expect(StartTls, lambda effect: effect.host == host)
    assert not one.gate.wants_agent_bytes
    return one.feed(TlsStarted(version="TLSv1.3"))


def test_inside_a_tunnel_requests_are_judged_as_anywhere() -> None:
    one = tunnel()
    assert one.gate.wants_agent_bytes
    for host in ("api.internal", "API.internal:443"):
        inner = head("GET /v1/customers/7", f"Host: {host}", "Authorization: Bearer the-upstreams-own")
        one.agent_sends(inner).expect(Ask)
        assert one.ask is not None
        assert one.ask.event.call is not None
        assert one.ask.event.call.route == "/v1/customers/{id}"
        one.expect_nothing_sent_to(Side.UPSTREAM)
        one.refused().says(lambda raw: status_of(raw) == 403)
    one.agent_sends(head("GET /v1/customers/7", "Host: api.internal")).expect(Ask).sent_on()
    one.upstream_sends(OK + b"\r\nhello").says().expect(Record)
    assert "the-upstreams-own" not in repr(one.all)
    opened = [each.event for each in one.all if isinstance(each, Record)]
    assert sum(isinstance(each, SessionOpened) for each in opened) == 1


def test_a_tunnel_to_the_upstream_itself_takes_its_base_off() -> None:
    line = head("CONNECT vault.test:443", "Host: vault.test", f"Proxy-Authorization: {PROXY}")
    one = tunnel(line, SECURE, "vault.test").agent_sends(head("GET /v2/keys", "Host: vault.test")).expect(Ask)
    assert one.ask is not None
    assert one.ask.event.call is not None
    assert one.ask.event.call.path == "/keys"
    one.refused().says()
    one.agent_sends(head("GET /v1/keys", "Host: vault.test")).expect(Record, OperationRefused)
    one.says(lambda raw: status_of(raw) == 404).expect(Record, SessionClosed).expect(Hangup)


@pytest.mark.parametrize(
    ("inner", "status"),
    [
        (head("GET /v1", "Host: other.internal"), 421),
        (head("GET /v1", "Host: api.internal:8443"), 421),
        (head("GET /v1", "Host: api.internal:80"), 421),
        (head("GET /v1", "Host: api.internal", "Host: api.internal"), 400),
        (head("GET /v1"), 400),
        (head("GET https://api.internal/v1", "Host: api.internal"), 400),
        (head("GET http://other.internal/v1", "Host: other.internal"), 400),
        (CONNECT, 400),
        (head("TRACE /", "Host: api.internal"), 501),
        (head("GET /v1", "Host: api.internal", "Upgrade: h2c"), 501),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ],
)
def test_what_does_not_belong_inside_a_tunnel_ends_it(inner: bytes, status: int) -> None:
    one = tunnel().agent_sends(inner).expect(Record, OperationRefused)
    one.says(lambda raw: status_of(raw) == status).expect(Record, SessionClosed).expect(Hangup)
    one.expect_nothing_sent_to(Side.UPSTREAM)


@pytest.mark.parametrize(
    "line",
    [
        "CONNECT api.internal",
        "CONNECT api.internal:0",
        "CONNECT api.internal:65536",
        "CONNECT api.internal:0443",
        "CONNECT api.internal:https",
        "CONNECT api.internal.:443",
        "CONNECT agent:token@api.internal:443",
        "CONNECT @api.internal:443",
        "CONNECT https://api.internal:443",
        "CONNECT api.internal:443/",
        "CONNECT api.internal:443,other:443",
        "CONNECT api.internal%2e:443",
        "CONNECT ::1:443",
        "CONNECT [::1:443",
        "CONNECT [fe80::1%25eth0]:443",
        "CONNECT 127.1:443",
        "CONNECT /",
        "CONNECT *",
        "GET https:/api.internal/",
        "GET http://agent:token@api.internal/",
        "GET ftp://api.internal/",
        "GET api.internal:443",
        "GET http://api.internal/../x",
        "GET http://api.internal//x",
        "GET http://api.internal/%2e%2e/x",
    ],
)
def test_an_authority_that_can_be_read_in_two_ways_is_refused(line: str) -> None:
    one = story().agent_sends(head(line, "Host: api.internal", f"Proxy-Authorization: {PROXY}"))
    one.expect(Record, SessionRefused).expect(Send, Side.AGENT).expect(Hangup)
    assert told(one)[0] == 400


@pytest.mark.parametrize(
    "fields",
    [
        ("Host: other.internal",),
        ("Host: api.internal:8443",),
        ("Host: api.internal", "Host: api.internal"),
        ("Host: api.internal", "Content-Length: 5"),
        ("Host: api.internal", "Transfer-Encoding: chunked"),
        ("Host: api.internal", f"Proxy-Authorization: {PROXY}"),
        ("Host: api.internal", "Proxy_Authorization: Bearer other"),
    ],
)
def test_fields_that_contradict_a_connect_refuse_it(fields: tuple[str, ...]) -> None:
    one = story().agent_sends(head("CONNECT api.internal:443", f"Proxy-Authorization: {PROXY}", *fields))
    one.expect(Record, SessionRefused).expect(Send, Side.AGENT).expect(Hangup)
    assert told(one)[0] == 400


@pytest.mark.parametrize(
    ("authority", "resource"),
    [
        ("API.INTERNAL:443", "crm"),
        ("crm.internal:8443", "crm"),
        ("[2001:db8:0::1]:9000", "crm"),
        ("vault.test:443", "secure"),
        # Nobody's: another port, an upstream in clear, and one authority that two resources share.
        ("api.internal:80", "api.internal:80"),
        ("crm.test:8080", "crm.test:8080"),
        ("tools.test:443", "tools.test:443"),
        ("shared.test:443", "shared.test:443"),
        ("[::1]:443", "[::1]:443"),
        ("db:5432", "db:5432"),
    ],
)
def test_connect_leads_to_registered_authorities_alone(authority: str, resource: str) -> None:
    line = head(f"CONNECT {authority}", f"Host: {authority}", f"Proxy-Authorization: {PROXY}")
    assert login_of(story().agent_sends(line)) == (resource, "proxy-token")


def test_without_an_authority_of_its_own_the_gateway_serves_no_connect() -> None:
    one = story(tunnels=False).agent_sends(CONNECT)
    one.expect(Record, SessionRefused).expect(Send, Side.AGENT).expect(Hangup)
    status, body, _ = told(one)
    assert (status, body["code"]) == (501, "unsupported")
    assert "WEIRGATE_FORWARD_CA_CERT_FILE" in body["hint"]


def test_an_https_address_goes_through_connect() -> None:
    one = story().agent_sends(
        head("GET https://api.internal/", "Host: api.internal", f"Proxy-Authorization: {PROXY}")
    )
    one.expect(Record, SessionRefused).expect(Send, Side.AGENT).expect(Hangup)
    status, body, _ = told(one)
    assert status == 501
    assert "CONNECT" in body["hint"]


@pytest.mark.parametrize("behind", [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n", b"x"])
def test_nothing_may_stand_behind_a_connect_before_it_is_answered(behind: bytes) -> None:
    # In the same packet, a ClientHello too: it cannot be told from bytes in clear, and no client needs it.
    one = story().agent_sends(CONNECT + behind)
    one.expect(Record, SessionRefused).expect(Send, Side.AGENT).expect(Hangup)
    assert told(one)[0] == 400
    # While the token is checked.
    one = story().agent_sends(CONNECT).expect(Login)
    assert not one.gate.wants_agent_bytes
    one.agent_sends(behind).feed(LoggedIn(identity=IDENTITY, resource=API)).expect(Record, SessionOpened)
    one.expect(Record, OperationRefused).expect(Tape).expect(Send, Side.AGENT).expect(Record, SessionClosed)
    one.expect(Hangup)
    # Between the answer and TLS: then nothing more is said, for whoever reads it would take it for TLS.
    one = story().agent_sends(CONNECT).expect(Login).feed(LoggedIn(identity=IDENTITY, resource=API))
    one.expect(Record, SessionOpened).expect(Send).expect(StartTls).agent_sends(behind)
    one.expect(Record, OperationRefused).expect(Record, SessionClosed).expect(Hangup)


def test_a_connect_on_a_connection_that_serves_a_session_begins_another() -> None:
    one = story().request().known().expect(Ask).refused().says()
    one.agent_sends(CONNECT).expect(Record, SessionClosed).expect(Renew, lambda renew: renew.data == CONNECT)
    # Also of the same agent, for the same resource.
    one = story().agent_sends(
        head("GET http://api.internal/v1/x", "Host: api.internal", f"Proxy-Authorization: {PROXY}")
    )
    one.expect(Login).feed(LoggedIn(identity=IDENTITY, resource=API)).expect(Record, SessionOpened)
    one.expect(Ask).refused().says()
    one.agent_sends(CONNECT).expect(Record, SessionClosed).expect(Renew, lambda renew: renew.data == CONNECT)


def test_places_are_those_of_now() -> None:
    resources = [{"crm": API}]
    places = LivePlaces(lambda: resources[0])
    assert [one.resource for one in places.hosted("api.internal", 80)] == ["crm"]
    resources[0] = {"crm": CRM}
    assert not places.hosted("api.internal", 80)
    assert [one.resource for one in places.forwarded("http", "crm.test", 8080)] == ["crm"]


def test_a_tunnel_without_tls_ends_and_says_so() -> None:
    one = story().agent_sends(CONNECT).expect(Login).feed(LoggedIn(identity=IDENTITY, resource=API))
    one.expect(Record, SessionOpened).expect(Send).expect(StartTls).stopped(RefusalCode.PROTOCOL)
    one.expect(Record, SessionClosed).expect(Hangup)


def test_a_connect_needs_tls_where_a_token_does() -> None:
    one = story(cleartext_allowed=False).agent_sends(CONNECT)
    one.expect(Record, SessionRefused).expect(Send, Side.AGENT).expect(Hangup)
    assert told(one)[1]["code"] == "tls_required"


def test_where_a_connect_is_cut_changes_nothing() -> None:
    one = story()
    for byte in CONNECT[:-1]:
        one.feed(Bytes(side=Side.AGENT, data=bytes([byte])))
    one.feed(Bytes(side=Side.AGENT, data=CONNECT[-1:]))
    assert login_of(one) == ("crm", "proxy-token")
    one.feed(LoggedIn(identity=IDENTITY, resource=API)).expect(Record, SessionOpened)
    one.expect(Send).expect(StartTls)


@pytest.mark.parametrize(
    "location", ["/api//evil.test/", "/api/\\evil.test", "http://crm.test:8080/api//evil.test"]
)
def test_a_location_does_not_become_another_hosts_when_its_base_is_taken_off(location: str) -> None:
    one = story().agent_sends(head("GET /v1/x", "Host: api.internal", "Authorization: Bearer t"))
    one.expect(Login).feed(LoggedIn(identity=IDENTITY, resource=API)).expect(Record, SessionOpened).expect(
        Ask
    )
    one.sent_on().upstream_sends(OK + b"Location: " + location.encode() + b"\r\n\r\nhello")
    one.says(lambda raw: b"location: " + location.encode() in raw).expect(Record)
