"""The demo upstream `crm`: a small HTTP API with customers, payments, an export and an event stream.

It wants a bearer token that no agent has, and writes what reached it into an access log, a JSON object a line. Run as
``python -m weirgate_embedded.demo.crm --port P --token-file F --log L``.
"""

import argparse
import hmac
import json
import random
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from weirgate_mask.checksum import luhn_digit

_FIRST = ("Ada", "Ben", "Chloe", "Dario", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kira", "Liam")
_LAST = ("Abbot", "Brandt", "Costa", "Diallo", "Ekberg", "Fontaine", "Grant", "Haas", "Ivanov", "Jensen")
_CITIES = ("Lyon", "Porto", "Graz", "Aarhus", "Ghent", "Turin")
CUSTOMERS = 500
ROUTES = (
    "/v1/customers", "/v1/customers/{id}", "/v1/payments", "/v1/export.csv", "/v1/events", "/v1/report.txt",
)  # fmt: skip
_ONE = re.compile(r"/v1/customers/(\d+)")


def customer(number: int) -> dict[str, Any]:
    """Return one customer, always the same."""
    draw = random.Random(number)  # noqa: S311  (made-up people, the same on every machine)
    first, last = draw.choice(_FIRST), draw.choice(_LAST)
    return {
        "id": number,
        "name": f"{first} {last}",
        "email": f"{first}.{last}{number}@example.com".lower(),
        "phone": f"+1 415 555 {draw.randrange(10_000):04}",
        "city": draw.choice(_CITIES),
        "card": f"400000{number:09}{luhn_digit(f'400000{number:09}')}",
        "notes": f"Prefers mail to {first.lower()}{number}@example.org." if number % 5 == 0 else "",
    }


class Crm(ThreadingHTTPServer):
    """The server."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, token: str, log: Path) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.token = token
        self._log = log
        self._lock = threading.Lock()

    def note(self, line: dict[str, Any]) -> None:
        """Write a line of the access log, before anything has an effect."""
        with self._lock, self._log.open("a") as out:
            out.write(json.dumps(line) + "\n")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def crm(self) -> Crm:
        assert isinstance(self.server, Crm)
        return self.server

    def setup(self) -> None:
        super().setup()
        self.wfile = self.connection.makefile("wb", buffering=64 * 1024)

    def log_message(self, format: str, *args: Any) -> None:
        """The access log is our own."""

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _serve(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self._chunked() if self.headers.get("transfer-encoding") else self.rfile.read(length)
        allowed = hmac.compare_digest(self.headers.get("authorization", ""), f"Bearer {self.crm.token}")
        self.crm.note(
            {
                "at": time.time(),
                "method": self.command,
                "target": self.path,
                "bytes": len(body),
                "credential": allowed,
            }
        )
        if not allowed:
            self._json(401, {"error": "who are you?"})
            return
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        if parts.path == "/v1/customers" and self.command in ("GET", "HEAD"):
            limit = min(int(query.get("limit", ["20"])[0]), CUSTOMERS)
            self._json(200, {"customers": [customer(number) for number in range(1, limit + 1)]})
        elif (one := _ONE.fullmatch(parts.path)) and 1 <= int(one[1]) <= CUSTOMERS:
            if self.command == "DELETE":
                self._send(204, "", b"")
            else:
                self._json(200, customer(int(one[1])))
        elif parts.path == "/v1/payments" and self.command == "POST":
            try:
                wanted = json.loads(body)
            except ValueError:
                self._json(400, {"error": "not JSON"})
                return
            self._json(201, {"status": "paid", "payment": wanted})
        elif parts.path == "/v1/export.csv":
            lines = ["id,name,email,city"]
            for number in range(1, CUSTOMERS + 1):
                one_of = customer(number)
                lines.append(",".join(str(one_of[name]) for name in ("id", "name", "email", "city")))
            self._send(200, "text/csv; charset=utf-8", ("\n".join(lines) + "\n").encode())
        elif parts.path == "/v1/report.txt":
            self._report(int(query.get("mib", ["1"])[0]))
        elif parts.path == "/v1/events":
            self._events(min(int(query.get("count", ["5"])[0]), 1000))
        else:
            self._json(404, {"error": "there is no such thing"})

    def _chunked(self) -> bytes:
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return bytes(body)

    def _events(self, count: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(1, count + 1):
            event = f"id: {number}\nevent: signup\ndata: {json.dumps(customer(number))}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
            self.wfile.flush()
            time.sleep(0.01)
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _report(self, mib: int) -> None:
        """Answer plain text of as many MiB as asked for, with an address in each piece of 64 KiB."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(mib * 2**20))
        self.end_headers()
        line = b"All went as it should, and nothing of it is worth a second look today.\n"
        piece = (line * (2**16 // len(line) + 1))[: 2**16 - 32] + b"write to ann.abbot@example.com\n\n"
        for _ in range(mib * 16):
            self.wfile.write(piece)
        self.wfile.flush()

    def _json(self, status: int, body: Any) -> None:
        self._send(status, "application/json", json.dumps(body).encode())

    def _send(self, status: int, type: str, body: bytes) -> None:
        self.send_response(status)
        if type:
            self.send_header("Content-Type", type)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    asked = parser.parse_args()
    Crm(asked.port, asked.token_file.read_text().strip(), asked.log).serve_forever()


if __name__ == "__main__":
    main()
