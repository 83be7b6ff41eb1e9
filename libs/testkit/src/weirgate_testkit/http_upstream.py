"""HTTP upstreams that ask for something: an nginx that speaks HTTP/2 and looks at certificates, a token endpoint."""

import contextlib
import datetime
import json
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from weirgate_embedded.certificate import make_certificates
from weirgate_embedded.postgres import unprivileged
from weirgate_testkit.port import free_port


def make_client_certificate(directory: Path) -> None:
    """Write ``client.pem`` and ``client.key``, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (directory / "client.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "client.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


@dataclass(kw_only=True)
class TokenEndpoint:
    """Gives tokens ``t1``, ``t2``, … to one client."""

    url: str = ""
    life_s: int = 3600
    asked: list[dict[str, list[str]]] = field(default_factory=list[dict[str, list[str]]])
    answer: Callable[[BaseHTTPRequestHandler], None] | None = None
    """In place of its own."""


@contextlib.contextmanager
def token_endpoint() -> Generator[TokenEndpoint]:
    """Serve tokens on loopback until the end of the block."""
    made = TokenEndpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            made.asked.append(parse_qs(body))
            if made.answer is not None:
                made.answer(self)
                return
            said: dict[str, Any] = {
                "access_token": f"t{len(made.asked)}", "token_type": "Bearer", "expires_in": made.life_s,
            }  # fmt: skip
            raw = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with serving(Handler) as port:
        made.url = f"http://127.0.0.1:{port}/token"
        yield made


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Generator[int]:
    """Serve HTTP/1.1 on a loopback port until the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@dataclass(frozen=True, kw_only=True)
class Nginx:
    """An nginx that speaks HTTP/2 over TLS."""

    directory: Path
    port: int

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://127.0.0.1:{self.port}"


@contextlib.contextmanager
def nginx_http2(directory: Path, *, mib: int = 64) -> Generator[Nginx]:
    """Run nginx until the end of the block.

    ``/who`` says how it was asked, ``/picky`` takes no token but ``t2`` and later, ``/big.bin`` is large, ``/up/``
    takes files by PUT.
    """
    directory.mkdir()
    make_certificates(directory)
    make_client_certificate(directory)
    (directory / "up").mkdir()
    with (directory / "big.bin").open("wb") as out:
        block = bytes(range(256)) * 4096
        for _ in range(mib):
            out.write(block)
    port = free_port()
    who = (
        '{"protocol": "$server_protocol", "verified": "$ssl_client_verify", "authorization": "$http_authorization", '
        '"key": "$http_x_crm_key", "target": "$request_uri", "connection": "$connection", '
        '"served": $connection_requests}'
    )
    (directory / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {directory}/pid; error_log {directory}/log;\n"
        "events { worker_connections 256; }\n"
        f"http {{ access_log off; client_max_body_size 0; keepalive_requests 20; client_body_temp_path {directory};"
        f"proxy_temp_path {directory}; fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; "
        f"scgi_temp_path {directory}; default_type application/octet-stream;\n"
        f"server {{ listen 127.0.0.1:{port} ssl http2; root {directory};\n"
        f"ssl_certificate {directory}/server.pem; ssl_certificate_key {directory}/server.key;\n"
        f"ssl_client_certificate {directory}/client.pem; ssl_verify_client optional;\n"
        f"location /who {{ default_type application/json; return 200 '{who}'; }}\n"
        'location /picky { if ($http_authorization = "Bearer t1") { return 401; } default_type application/json;'
        f" return 200 '{who}'; }}\n"
        "location /up/ { dav_methods PUT; }\n"
        "location /moved { return 302 /who?$args; }\n"
        "} }\n"
    )
    for path in (directory, directory / "up", directory.parent):
        path.chmod(0o777)
    (directory / "server.key").chmod(0o644)
    argv, extra = unprivileged(
        ["/usr/sbin/nginx", "-c", str(directory / "nginx.conf"), "-e", str(directory / "log")]
    )
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **extra)
    try:
        _wait(process, port, directory / "log")
        yield Nginx(directory=directory, port=port)
    finally:
        process.terminate()
        process.wait(10)


def _wait(process: "subprocess.Popen[Any]", port: int, said: Path) -> None:
    import socket

    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nginx did not start: {said.read_text()[-800:] if said.exists() else ''}")
