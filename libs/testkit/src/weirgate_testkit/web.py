"""HTTP: the gateway beside going direct and through nginx and mitmproxy, all to one nginx with a small document."""

import asyncio
import contextlib
import json
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from weirgate_embedded.postgres import unprivileged
from weirgate_testkit.gateway import RunningGateway
from weirgate_testkit.port import free_port

CUSTOMER = {
    "id": 7,
    "name": "Ann Abbot",
    "email": "ann.abbot@example.com",
    "city": "Lyon",
    "card": "4000001234567899",
}
LIST_MIB = 16
BODY_MIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """Where each way leads, and what goes with a request."""

    ways: dict[str, str]
    header: str
    reader: str
    gateway: RunningGateway


@contextlib.contextmanager
def origin(directory: Path, gateway: RunningGateway, mitmdump: Path | None = None) -> Generator[Web]:
    """Run an nginx that answers, one that passes on, and mitmproxy; register the first with the gateway.

    Args:
        directory: to be made, for what they need.
        gateway: measured beside them.
        mitmdump: mitmproxy's command; without it that way is left out.
    """
    directory.mkdir()
    first, second, third = free_port(), free_port(), free_port()
    (directory / "customer.json").write_text(json.dumps(CUSTOMER))
    many = json.dumps([CUSTOMER | {"id": n} for n in range(LIST_MIB * 2**20 // 120)])
    (directory / "customers.json").write_text(many)
    with (directory / "body.bin").open("wb") as out:
        out.truncate(BODY_MIB * 2**20)
    (directory / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {directory}/pid; error_log {directory}/log;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log off; types {{ application/json json; application/octet-stream bin; }} keepalive_requests "
        f"100000000;\nclient_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory}; "
        f"uwsgi_temp_path {directory}; scgi_temp_path {directory};\n"
        f"server {{ listen 127.0.0.1:{first}; root {directory}; }}\n"
        f"upstream one {{ server 127.0.0.1:{first}; keepalive 64; }}\n"
        f"server {{ listen 127.0.0.1:{second}; location / {{ proxy_pass http://one; proxy_http_version 1.1; "
        'proxy_set_header Connection ""; } }\n}\n'
    )
    for path in (directory, directory.parent):
        path.chmod(0o777)
    argv, extra = unprivileged(
        ["/usr/sbin/nginx", "-c", str(directory / "nginx.conf"), "-e", str(directory / "log")]
    )
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **extra)
    document = directory / "bench.yaml"
    document.write_text(
        f"kind: resource\nname: sink\nprotocol: http\nupstream: http://127.0.0.1:{third}\n---\n"
        f"kind: resource\nname: bench\nprotocol: http\nupstream: http://127.0.0.1:{first}\nroutes: [/customer.json]\n"
        "unread: pass\n---\n"
        'kind: labels\nresource: bench\nfields: {"* /**/email": pii.email, "* /**/card": payment.card}\n'
    )
    applied = gateway.weirgate("apply", "-f", str(document), check=False)
    if applied.returncode != 0:
        raise SystemExit(applied.stderr)
    try:
        time.sleep(1)
        if process.poll() is not None:
            raise SystemExit("nginx did not start: " + (directory / "log").read_text()[-800:])
        ways = {"direct": f"http://127.0.0.1:{first}", "nginx": f"http://127.0.0.1:{second}"}
        with contextlib.ExitStack() as stack:
            if mitmdump is not None:
                ways["mitmproxy"] = stack.enter_context(_mitmproxy(mitmdump, directory, first))
            stack.enter_context(_sink(third))
            yield Web(
                ways=ways | {"weirgate": gateway.http_url("bench")},
                header=f"Authorization: Bearer {gateway.token('admin-bot')}\r\n",
                reader=f"Authorization: Bearer {gateway.token('reader')}\r\n",
                gateway=gateway,
            )
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def _mitmproxy(mitmdump: Path, directory: Path, origin_port: int) -> Generator[str]:
    """Run mitmproxy as a reverse proxy that says nothing of what passes."""
    port = free_port()
    process = subprocess.Popen(
        [str(mitmdump), "-q", "--mode", f"reverse:http://127.0.0.1:{origin_port}", "--listen-host", "127.0.0.1",
         "-p", str(port), "--set", f"confdir={directory / 'mitmproxy'}", "--set", "flow_detail=0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None:
                raise SystemExit("mitmproxy did not start")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def _sink(port: int) -> Generator[None]:
    """Run an upstream that reads a body of known or unknown length, keeps nothing of it, and says how long it was."""
    listening = socket.create_server(("127.0.0.1", port))

    def serve() -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            with peer, peer.makefile("rb", buffering=1 << 16) as given:
                fields = {}
                while line := given.readline().strip():
                    name, _, value = line.lower().partition(b":")
                    fields[name] = value.strip()
                size = left = int(fields.get(b"content-length", b"0"))
                while left and (count := len(given.read(min(left, 1 << 20)))):
                    left -= count
                word = b"%d" % (size - left)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(word), word))

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def http(web: Web, rounds: int, seconds: int) -> dict[str, Any]:
    """Measure latency, requests/s, masked JSON and a large body."""
    figures: dict[str, Any] = {}
    for clients in (1, 32):
        times: dict[str, list[list[float]]] = {name: [] for name in web.ways}
        for _ in range(rounds):
            for name, url in web.ways.items():
                times[name].append(asyncio.run(_load(f"{url}/customer.json", web.header, clients, seconds)))
        rate = {name: statistics.median(len(one) / seconds for one in each) for name, each in times.items()}
        figures[f"http requests/s c={clients}"] = {
            "median": rate,
            "of direct": {name: value / rate["direct"] for name, value in rate.items()},
        }
        if clients == 1:
            middle = {
                name: {
                    "p50": statistics.median(sorted(one)[len(one) // 2] for one in each) * 1e6,
                    "p99": statistics.median(sorted(one)[int(len(one) * 0.99)] for one in each) * 1e6,
                }
                for name, each in times.items()
            }
            figures["http latency c=1, us"] = {
                "median": middle,
                "added by weirgate": {q: middle["weirgate"][q] - middle["direct"][q] for q in ("p50", "p99")},
            }
    figures["http masked JSON"] = _masked(web)
    figures["http body down"] = _body(web)
    figures["http body up"] = _upload(web)
    return figures


async def _load(url: str, header: str, clients: int, seconds: int) -> list[float]:
    """Ask again and again on ``clients`` connections; return seconds of each answer."""
    until = time.perf_counter() + seconds
    found: list[float] = []
    parts = urlsplit(url)
    sent = f"GET {parts.path} HTTP/1.1\r\nHost: bench\r\n{header}\r\n".encode()

    async def one() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 22)
        while (began := time.perf_counter()) < until:
            writer.write(sent)
            await _answer(reader)
            found.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(one() for _ in range(clients)))
    return found


async def _answer(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b" 200 " not in head[:20]:
        raise SystemExit(f"not answered: {head[:200]!r}")
    _, _, length = head.partition(b"content-length:")
    if length:
        await reader.readexactly(int(length.split(b"\r\n")[0]))
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        await reader.readexactly(size + 2)
    await reader.readexactly(2)


def _masked(web: Web) -> dict[str, float]:
    began = time.perf_counter()
    size = _drain(f"{web.ways['weirgate']}/customers.json", web.reader)
    return {"MB/s": size / 1e6 / (time.perf_counter() - began)}


def _body(web: Web) -> dict[str, float]:
    ingress = psutil.Process(web.gateway.pid("ingress"))
    out = {"ingress before MiB": ingress.memory_info().rss / 2**20}
    began = time.perf_counter()
    size = _drain(f"{web.ways['weirgate']}/body.bin", web.header, watch=ingress, out=out)
    out["MiB"] = size / 2**20
    out["MiB/s"] = size / 2**20 / (time.perf_counter() - began)
    return out


def _upload(web: Web) -> dict[str, float]:
    ingress = psutil.Process(web.gateway.pid("ingress"))
    out = {"ingress before MiB": ingress.memory_info().rss / 2**20}
    parts = urlsplit(web.gateway.http_url("sink"))
    peak = 0.0
    piece = bytes(1 << 20)
    began = time.perf_counter()
    with socket.create_connection((parts.hostname or "", parts.port or 80)) as peer:
        peer.sendall(
            f"PUT {parts.path}/body.bin HTTP/1.1\r\nHost: bench\r\nContent-Length: {BODY_MIB * 2**20}\r\n"
            f"Content-Type: application/octet-stream\r\n{web.header}\r\n".encode()
        )
        for _ in range(BODY_MIB):
            peer.sendall(piece)
            peak = max(peak, ingress.memory_info().rss / 2**20)
        answer = b""
        while not answer.endswith(b"%d" % (BODY_MIB * 2**20)):
            more = peer.recv(1 << 16)
            if not more:
                raise SystemExit(f"not taken: {answer[:300]!r}")
            answer += more
    out["ingress peak MiB"] = peak
    out["MiB"] = BODY_MIB
    out["MiB/s"] = BODY_MIB / (time.perf_counter() - began)
    return out


def _drain(
    url: str, header: str, *, watch: psutil.Process | None = None, out: dict[str, float] | None = None
) -> int:
    parts = urlsplit(url)
    size = 0
    with socket.create_connection((parts.hostname or "", parts.port or 80)) as peer:
        peer.sendall(
            f"GET {parts.path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n{header}\r\n".encode()
        )
        while count := len(peer.recv(1 << 20)):
            size += count
            if watch is not None and out is not None:
                now = watch.memory_info().rss / 2**20
                out["ingress peak MiB"] = max(now, out.get("ingress peak MiB", 0))
    return size
