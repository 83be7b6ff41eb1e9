"""What the demo's HTTP upstreams share: a threading server that wants a token no agent has and keeps an access log.

The log is a JSON object a line, written before anything has an effect: tests hold it against the gateway's own.
"""

import argparse
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class AccessLog:
    """An access log: a JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def note(self, **line: Any) -> None:
        """Write a line."""
        with self._lock, self._path.open("a") as out:
            out.write(json.dumps({"at": time.time()} | line) + "\n")


def is_credential(given: str | None, token: str) -> bool:
    """Say whether an ``Authorization`` field carries the token."""
    return hmac.compare_digest((given or "").encode(), f"Bearer {token}".encode())


class DemoServer(ThreadingHTTPServer):
    """The server of one upstream."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, token: str, log: Path, handler: type["DemoHandler"]) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.token = token
        self.log = AccessLog(log)


class DemoHandler(BaseHTTPRequestHandler):
    """Reads a request whole, notes it, checks the credential, and leaves the rest to :meth:`answer`."""

    protocol_version = "HTTP/1.1"

    def answer(self, body: bytes) -> None:
        """Answer a request whose credential is right."""
        raise NotImplementedError

    def setup(self) -> None:
        super().setup()
        self.wfile = self.connection.makefile("wb", buffering=64 * 1024)

    def log_message(self, format: str, *args: Any) -> None:
        """The access log is our own."""

    def do_GET(self) -> None:
        assert isinstance(self.server, DemoServer)
        length = int(self.headers.get("content-length") or 0)
        body = self._chunked() if self.headers.get("transfer-encoding") else self.rfile.read(length)
        allowed = is_credential(self.headers.get("authorization"), self.server.token)
        self.server.log.note(
            method=self.command,
            target=self.path,
            bytes=len(body),
            credential=allowed,
            **({"text": body.decode(errors="replace")} if 0 < len(body) <= 4096 else {}),
        )
        if not allowed:
            self.send_json(401, {"error": "who are you?"})
        else:
            self.answer(body)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def send_json(self, status: int, body: Any) -> None:
        """Answer with JSON."""
        self.send_whole(status, "application/json", json.dumps(body).encode())

    def send_whole(self, status: int, type: str, body: bytes) -> None:
        """Answer with a body of known length."""
        self.send_response(status)
        if type:
            self.send_header("Content-Type", type)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def begin_events(self) -> None:
        """Begin to answer with server-sent events."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def send_event(self, event: str) -> None:
        """Send one event, as it stands on the wire."""
        data = event.encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def end_events(self) -> None:
        """End the stream."""
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _chunked(self) -> bytes:
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return bytes(body)


def asked(doc: str | None) -> argparse.Namespace:
    """Read the command line every demo upstream has."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    return parser.parse_args()


def serve(doc: str | None, handler: type[DemoHandler]) -> None:
    """Serve until told to stop."""
    options = asked(doc)
    DemoServer(options.port, options.token_file.read_text().strip(), options.log, handler).serve_forever()
