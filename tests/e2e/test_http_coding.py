"""Compressed bodies through a gateway, with clients as people use them."""

import gzip
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import brotli
import httpx
import pytest
import zstandard

from weirgate_testkit.gateway import RunningGateway, eventually

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}
ROWS = [{"id": n, "email": f"ann{n}@example.com", "note": f"row {n}"} for n in range(2000)]
BODY = json.dumps(ROWS).encode()


class Upstream(BaseHTTPRequestHandler):
    """Answers in the coding that stands in the path, and keeps what it was asked."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[dict[str, str], bytes]] = []  # noqa: RUF012  # one for all connections

    def do_GET(self) -> None:
        self.asked.append(({name.lower(): value for name, value in self.headers.items()}, b""))
        kind, _, coding = self.path[1:].partition("/")
        coding = coding.partition("?")[0]
        body = BODY if kind == "rows" else bytes(64 << 20)
        coded = PACK[coding](body)
        self._answer(coded[:-7] if kind == "cut" else coded, coding)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.asked.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self._answer(b"{}", "")

    def _answer(self, body: bytes, coding: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        if coding:
            self.send_header("content-encoding", coding)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url(gateway: RunningGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    document = tmp_path_factory.mktemp("coded") / "coded.yaml"
    document.write_text(
        f"kind: resource\nname: coded\nprotocol: http\nupstream: http://127.0.0.1:{server.server_port}\n"
        'routes: ["/rows/{coding}", /pay]\n---\n'
        'kind: labels\nresource: coded\nfields: {"* /**/email": pii.email}\n'
    )
    gateway.weirgate("apply", "-f", str(document))
    found = gateway.http_url("coded")
    key = {"Authorization": f"Bearer {gateway.token('admin-bot')}"}
    eventually(lambda: httpx.get(f"{found}/rows/gzip", headers=key).status_code == 200)
    yield found
    gateway.weirgate("config", "withdraw", "labels", "coded", check=False)
    gateway.weirgate("config", "withdraw", "resource", "coded", check=False)
    server.shutdown()
    server.server_close()
    thread.join()


def bearer(gateway: RunningGateway, agent: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {gateway.token(agent)}"}


@pytest.mark.parametrize("coding", PACK)
def test_an_answer_is_masked_inside_its_coding(gateway: RunningGateway, url: str, coding: str) -> None:
    answer = httpx.get(f"{url}/rows/{coding}", headers=bearer(gateway, "analyst"), timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-encoding"] == coding
    shown = answer.json()
    assert [(one["id"], one["note"]) for one in shown] == [(one["id"], one["note"]) for one in ROWS]
    assert b"@example.com" not in answer.content
    seen = httpx.get(f"{url}/rows/{coding}", headers=bearer(gateway, "admin-bot"), timeout=30)
    assert seen.json() == ROWS


def test_curl_compressed_is_offered_what_it_takes(gateway: RunningGateway, url: str) -> None:
    for coding in PACK:
        Upstream.asked.clear()
        done = subprocess.run(
            ["curl", "-sS", "--compressed", "-u", f"analyst:{gateway.token('analyst')}", f"{url}/rows/{coding}"],
            capture_output=True, timeout=30, check=True,
        )  # fmt: skip
        assert len(json.loads(done.stdout)) == len(ROWS)
        assert b"@example.com" not in done.stdout
        offered = {one.strip() for one in Upstream.asked[-1][0]["accept-encoding"].split(",")}
        assert {"gzip", "deflate", "br", "zstd"} >= offered >= {"gzip", "deflate"}


def test_the_weights_of_an_agent_reach_the_upstream(gateway: RunningGateway, url: str) -> None:
    headers = bearer(gateway, "analyst") | {"accept-encoding": "zstd;q=0.2, br, gzip;q=0, compress"}
    httpx.get(f"{url}/rows/br", headers=headers, timeout=30)
    assert Upstream.asked[-1][0]["accept-encoding"] == "br, zstd;q=0.2"


@pytest.mark.parametrize("kind", ["cut", "bomb"])
@pytest.mark.parametrize("coding", PACK)
def test_an_answer_that_cannot_be_decoded_to_its_end_breaks_off(
    gateway: RunningGateway, url: str, kind: str, coding: str
) -> None:
    mark = f"{kind}{coding}{time.time_ns()}"
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{url}/{kind}/{coding}?mark={mark}", headers=bearer(gateway, "analyst"), timeout=30)
    # The next agent is served as ever.
    assert httpx.get(f"{url}/rows/br", headers=bearer(gateway, "analyst"), timeout=30).status_code == 200

    def failed() -> list[str]:
        events = gateway.events(last=200)
        asked = [one["session"] for one in events if mark in json.dumps(one)]
        return [
            one["kind"] for one in events if one["kind"] == "operation.failed" and one["session"] in asked
        ]

    assert eventually(failed, 10)


@pytest.mark.parametrize("coding", PACK)
def test_a_request_is_judged_and_sent_on_as_the_text_it_holds(
    gateway: RunningGateway, url: str, coding: str
) -> None:
    text = json.dumps({"amount": 7, "mark": f"{coding}{time.time_ns()}"}).encode()
    headers = bearer(gateway, "admin-bot") | {"content-type": "application/json", "content-encoding": coding}
    answer = httpx.post(f"{url}/pay", content=PACK[coding](text), headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    sent, body = Upstream.asked[-1]
    assert body == text
    assert (sent.get("content-encoding"), sent["content-length"]) == (None, str(len(text)))
    (event,) = [
        one
        for one in gateway.events(last=100)
        if one["kind"] == "operation.intercepted"
        and (one.get("call") or {}).get("body")
        and one["call"]["body"]["text"] == text.decode()
    ]
    assert event["call"]["body"]["size_bytes"] == len(text)


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("compress", b"xx", 415),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-3], 400),
        ("br", brotli.compress(bytes(64 << 20)), 413),
        ("zstd", zstandard.compress(bytes(64 << 20)), 413),
    ],
)
def test_a_request_that_cannot_be_read_reaches_nobody(
    gateway: RunningGateway, url: str, coding: str, body: bytes, status: int
) -> None:
    before = len(Upstream.asked)
    headers = bearer(gateway, "admin-bot") | {"content-type": "application/json", "content-encoding": coding}
    answer = httpx.post(f"{url}/pay", content=body, headers=headers, timeout=30)
    assert answer.status_code == status, answer.text
    assert answer.json()["hint"]
    assert len(Upstream.asked) == before


def test_a_recording_shows_what_was_in_a_coded_answer(gateway: RunningGateway, url: str) -> None:
    for coding in PACK:
        mark = f"shown{coding}{time.time_ns()}"
        httpx.get(f"{url}/rows/{coding}?mark={mark}", headers=bearer(gateway, "analyst"), timeout=30)

        def session(mark: str = mark) -> list[str]:
            return [one["session"] for one in gateway.events(last=100) if mark in json.dumps(one)]

        found = eventually(session, 10)[0]

        def shown(found: str = found) -> bool:
            told = gateway.weirgate("sessions", "replay", found, check=False).stdout
            return '"note": "row 0"' in told and "@example.com" not in told

        assert eventually(shown, 10)


def test_half_a_coded_request_waits_and_then_goes_with_its_agent(gateway: RunningGateway, url: str) -> None:
    before = len(Upstream.asked)
    coded = gzip.compress(b'{"amount": 1}', mtime=0)
    where = gateway.endpoints["http"]
    head = (
        f"POST /coded/pay HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {gateway.token('admin-bot')}\r\n"
        f"Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: {len(coded)}\r\n\r\n"
    )
    with socket.create_connection((where["host"], where["port"]), timeout=10) as peer:
        peer.sendall(head.encode() + coded[:-4])
        peer.shutdown(socket.SHUT_WR)
        peer.settimeout(10)
        assert peer.recv(1000) == b""
    assert len(Upstream.asked) == before
    assert Path(gateway.directory).is_dir()
