"""What upstreams ask for, through the whole gateway: HTTP/2, certificates, tokens, signatures."""

import contextlib
import hashlib
import json
import time
from collections.abc import Generator, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from weirgate_testkit.gateway import RunningGateway, eventually
from weirgate_testkit.http_upstream import Nginx, TokenEndpoint, nginx_http2, serving, token_endpoint

SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
CLIENT_SECRET = "Gx7-only-the-gateway-knows"
MIB = 2**20


@contextlib.contextmanager
def apply(gateway: RunningGateway, directory: Path, name: str, **given: Any) -> Generator[httpx.Client]:
    """Register an upstream, and be an agent of it."""
    document = {"kind": "resource", "name": name, "protocol": "http", "unread": "pass"} | given
    path = directory / f"{name}.yaml"
    path.write_text(json.dumps(document))
    gateway.weirgate("apply", "-f", str(path))
    headers = {"Authorization": f"Bearer {gateway.token('admin-bot')}"}
    # What was applied reaches ingress a moment later.
    eventually(
        lambda: httpx.get(gateway.http_url(name) + "/who", headers=headers, timeout=30).status_code != 404
    )
    with httpx.Client(base_url=gateway.http_url(name), headers=headers, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("upstreams")
    for name, value in (("secret", SECRET), ("client-secret", CLIENT_SECRET), ("session", "FQoSESSION==")):
        (directory / name).write_text(value + "\n")
    return directory


@pytest.fixture(scope="module")
def nginx(place: Path) -> Iterator[Nginx]:
    with nginx_http2(place / "nginx") as made:
        yield made


@pytest.fixture
def tokens() -> Iterator[TokenEndpoint]:
    with token_endpoint() as made:
        yield made


# ---------------------------------------------------------------- HTTP/2


def test_an_upstream_that_offers_http2_is_spoken_to_in_it(
    gateway: RunningGateway, nginx: Nginx, place: Path
) -> None:
    more: dict[str, Any] = {"upstream": nginx.url, "ca": f"{nginx.directory}/ca.pem"}
    with apply(gateway, place, "two", **more) as agent:
        first, second = agent.get("/who?a=b").json(), agent.get("/who").json()
        assert (first["protocol"], first["target"]) == ("HTTP/2.0", "/who?a=b")
        assert second["connection"] == first["connection"]
        # nginx gives notice after 20 requests: none of them is lost.
        assert all(agent.get("/who").status_code == 200 for _ in range(60))
        assert agent.head("/big.bin").headers["content-length"] == str(64 * MIB)
        assert agent.get("/nothing").status_code == 404
    with apply(gateway, place, "one", http2=False, **more) as agent:
        assert agent.get("/who").json()["protocol"] == "HTTP/1.1"


def test_large_bodies_pass_both_ways_in_flat_memory(
    gateway: RunningGateway, nginx: Nginx, place: Path
) -> None:
    ingress = psutil.Process(gateway.pid("ingress"))
    with apply(gateway, place, "large", upstream=nginx.url, ca=f"{nginx.directory}/ca.pem") as agent:
        before = peak = ingress.memory_info().rss
        digest, size = hashlib.sha256(), 0
        with agent.stream("GET", "/big.bin") as answer:
            for piece in answer.iter_raw(MIB):
                peak = max(peak, ingress.memory_info().rss)
                digest.update(piece)
                size += len(piece)
        expected = hashlib.sha256((nginx.directory / "big.bin").read_bytes()).digest()
        assert (size, digest.digest()) == (64 * MIB, expected)

        def pieces() -> Iterator[bytes]:
            nonlocal peak
            block = bytes(range(256)) * 4096
            for _ in range(64):
                peak = max(peak, ingress.memory_info().rss)
                yield block

        done = agent.put(
            "/up/big.bin", content=pieces(), headers={"Content-Type": "application/octet-stream"}
        )
        assert done.status_code in (201, 204)
        assert hashlib.sha256((nginx.directory / "up" / "big.bin").read_bytes()).digest() == expected
        assert peak - before < 48 * MIB


def test_an_agent_that_reads_slowly_slows_the_upstream(
    gateway: RunningGateway, nginx: Nginx, place: Path
) -> None:
    ingress = psutil.Process(gateway.pid("ingress"))
    with apply(gateway, place, "slow", upstream=nginx.url, ca=f"{nginx.directory}/ca.pem") as agent:
        before = ingress.memory_info().rss
        with agent.stream("GET", "/big.bin") as answer:
            pieces = answer.iter_raw(MIB)
            size = len(next(pieces))
            time.sleep(3)
            assert ingress.memory_info().rss - before < 32 * MIB
            size += sum(len(piece) for piece in pieces)
        assert size == 64 * MIB


# ---------------------------------------------------------------- certificates and tokens


def test_a_certificate_is_shown_with_a_token_and_an_agent_sees_neither(
    gateway: RunningGateway, nginx: Nginx, place: Path, tokens: TokenEndpoint
) -> None:
    with apply(
        gateway,
        place,
        "both",
        upstream=nginx.url,
        ca=f"{nginx.directory}/ca.pem",
        client_cert=f"file:{nginx.directory}/client.pem",
        client_key=f"file:{nginx.directory}/client.key",
        inject="oauth2",
        credential=f"file:{place}/client-secret",
        oauth2={"token_url": tokens.url, "client_id": "gate", "scope": "read", "auth": "post"},
    ) as agent:
        found = agent.get("/who").json()
        assert (found["verified"], found["authorization"]) == ("SUCCESS", "Bearer t1")
        # A second session asks for no second token; a 401 drops the first.
        with httpx.Client(base_url=agent.base_url, headers=agent.headers) as other:
            assert other.get("/picky").status_code == 401
            assert other.get("/picky").json()["authorization"] == "Bearer t2"
        assert agent.get("/who").json()["authorization"] == "Bearer t2"
    assert [one["client_secret"] for one in tokens.asked] == [[CLIENT_SECRET]] * 2
    assert CLIENT_SECRET not in json.dumps(gateway.events(last=200))


@pytest.mark.parametrize("how", ["error", "huge", "redirect", "silent", "gone"])
def test_a_token_endpoint_that_gives_none_is_an_upstream_that_is_away(
    gateway: RunningGateway, nginx: Nginx, place: Path, tokens: TokenEndpoint, how: str
) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if how == "silent":
            time.sleep(12)
            return
        handler.send_response({"error": 400, "huge": 200, "redirect": 302}[how])
        handler.send_header("Location", f"{nginx.url}/who")
        handler.end_headers()
        if how == "huge":
            handler.wfile.write(b'{"access_token": "' + b"x" * 2**20)

    tokens.answer = answer
    url = "http://127.0.0.1:9/token" if how == "gone" else tokens.url
    with apply(
        gateway,
        place,
        f"away-{how}",
        upstream=nginx.url,
        ca=f"{nginx.directory}/ca.pem",
        inject="oauth2",
        credential=f"file:{place}/client-secret",
        oauth2={"token_url": url, "client_id": "gate"},
    ) as agent:
        answered = agent.get("/who")
        assert (answered.status_code, answered.json()["code"]) == (502, "upstream_unavailable")
        assert CLIENT_SECRET not in answered.text


def test_a_token_that_ends_while_the_connection_stays_is_replaced(
    gateway: RunningGateway, nginx: Nginx, place: Path, tokens: TokenEndpoint
) -> None:
    tokens.life_s = 1
    with apply(
        gateway,
        place,
        "brief",
        upstream=nginx.url,
        ca=f"{nginx.directory}/ca.pem",
        inject="oauth2",
        credential=f"file:{place}/client-secret",
        oauth2={"token_url": tokens.url, "client_id": "gate"},
    ) as agent:
        first = agent.get("/who").json()
        time.sleep(1.5)
        second = agent.get("/who").json()
        assert second["connection"] == first["connection"]
        assert second["authorization"] != first["authorization"]
        # And where there is none to be had any more nothing is sent.
        tokens.answer = lambda handler: handler.send_error(500)
        time.sleep(1.5)
        refused = agent.put("/up/never", json={"amount": 12})
        assert (refused.status_code, refused.json()["code"]) == (502, "upstream_unavailable")
        assert not (nginx.directory / "up" / "never").exists()
        time.sleep(1.1)
        tokens.answer = None
        assert agent.get("/who").status_code == 200


def test_an_upstream_that_cannot_be_verified_is_sent_nothing(
    gateway: RunningGateway, nginx: Nginx, place: Path
) -> None:
    with apply(gateway, place, "stranger", upstream=nginx.url) as agent:
        assert agent.get("/who").json()["code"] == "upstream_unavailable"
    key = f"file:{place}/secret"
    more: dict[str, Any] = {"upstream": nginx.url, "ca": f"{nginx.directory}/ca.pem"}
    with apply(gateway, place, "nokey", client_cert=key, client_key=key, **more) as agent:
        answer = agent.get("/who")
        assert answer.json()["code"] == "upstream_unavailable"
        assert SECRET not in answer.text


def test_a_redirect_tells_no_credential_of_the_query(
    gateway: RunningGateway, nginx: Nginx, place: Path
) -> None:
    with apply(
        gateway,
        place,
        "query",
        upstream=nginx.url,
        ca=f"{nginx.directory}/ca.pem",
        inject="query:api_key",
        credential=f"file:{place}/secret",
    ) as agent:
        answer = agent.get("/moved?a=b")
        assert (answer.status_code, answer.headers["location"]) == (302, "/query/who?a=b")
        assert agent.get("/who?api_key=mine").json()["code"] == "unsupported"


# ---------------------------------------------------------------- signatures


class Signed(BaseHTTPRequestHandler):
    """Checks the signature of each request, as the service would."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        shown = self.headers["Authorization"]
        names = shown.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        request = AWSRequest(
            method=self.command, url=f"http://{self.headers['Host']}{self.path}", data=body or None
        )
        for name in names:
            if name != "x-amz-security-token":
                request.headers[name] = self.headers[name]
        request.headers["X-Amz-Security-Token"] = self.headers["X-Amz-Security-Token"]
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        signer = S3SigV4Auth(Credentials("AKIDEXAMPLE", SECRET, "FQoSESSION=="), "s3", "eu-central-1")
        text = signer.string_to_sign(request, signer.canonical_request(request))
        good = shown.endswith(f"Signature={signer.signature(text, request)}")
        whole = self.headers["X-Amz-Content-SHA256"] == hashlib.sha256(body).hexdigest()
        raw = json.dumps({"good": good, "whole": whole, "signed": names}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_PUT = do_POST = _answer

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_each_request_is_signed_over_what_is_sent(gateway: RunningGateway, place: Path) -> None:
    with (
        serving(Signed) as port,
        apply(
            gateway,
            place,
            "signed",
            upstream=f"http://127.0.0.1:{port}/bucket",
            inject="sigv4",
            credential=f"file:{place}/secret",
            sigv4={
                "region": "eu-central-1",
                "service": "s3",
                "access_key_id": "AKIDEXAMPLE",
                "session_token": f"file:{place}/session",
            },
        ) as agent,
    ):
        for target in ("/who", "/a%20b/%C3%A4?list-type=2&prefix=x%2Fy&prefix=a&acl=", "/key?versionId=3"):
            found = agent.get(
                target, headers={"X-Amz-Date": "19700101T000000Z", "X-Amz-Meta-A": "b  c"}
            ).json()
            assert found["good"], target
            assert {"host", "x-amz-date", "x-amz-meta-a", "x-amz-security-token"} <= set(found["signed"])
        found = agent.put("/who", json={"amount": 12}).json()
        assert (found["good"], found["whole"]) == (True, True)
        streamed = agent.put("/who", content=b"abc", headers={"Content-Type": "text/plain"})
        assert (streamed.status_code, streamed.json()["code"]) == (501, "unsupported")
    assert SECRET not in json.dumps(gateway.events(last=100))
