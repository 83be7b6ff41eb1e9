"""The demo upstream `crm`: a small HTTP API with customers, payments, an export and an event stream.

Run as ``python -m weirgate_embedded.demo.crm --port P --token-file F --log L``.
"""

import json
import random
import re
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

from weirgate_embedded.demo.api import DemoHandler, serve
from weirgate_mask.checksum import luhn_digit

_FIRST = ("Ada", "Ben", "Chloe", "Dario", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kira", "Liam")
_LAST = ("Abbot", "Brandt", "Costa", "Diallo", "Ekberg", "Fontaine", "Grant", "Haas", "Ivanov", "Jensen")
_CITIES = ("Lyon", "Porto", "Graz", "Aarhus", "Ghent", "Turin")
CUSTOMERS = 500
ROUTES = (
    "/v1/customers", "/v1/customers/{id}", "/v1/payments", "/v1/export.csv", "/v1/events", "/v1/report.txt",
    "/v1/debug",
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


class _Handler(DemoHandler):
    def answer(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        if parts.path == "/v1/customers" and self.command in ("GET", "HEAD"):
            limit = min(int(query.get("limit", ["20"])[0]), CUSTOMERS)
            self.send_json(200, {"customers": [customer(number) for number in range(1, limit + 1)]})
        elif (one := _ONE.fullmatch(parts.path)) and 1 <= int(one[1]) <= CUSTOMERS:
            if self.command == "DELETE":
                self.send_whole(204, "", b"")
            else:
                self.send_json(200, customer(int(one[1])))
        elif parts.path == "/v1/payments" and self.command == "POST":
            try:
                wanted = json.loads(body)
            except ValueError:
                self.send_json(400, {"error": "not JSON"})
                return
            self.send_json(201, {"status": "paid", "payment": wanted})
        elif parts.path == "/v1/export.csv":
            lines = ["id,name,email,city"]
            for number in range(1, CUSTOMERS + 1):
                one_of = customer(number)
                lines.append(",".join(str(one_of[name]) for name in ("id", "name", "email", "city")))
            self.send_whole(200, "text/csv; charset=utf-8", ("\n".join(lines) + "\n").encode())
        elif parts.path == "/v1/report.txt":
            self._report(int(query.get("mib", ["1"])[0]))
        elif parts.path == "/v1/debug":
            self.send_json(200, dict(self.headers.items()))
        elif parts.path == "/v1/events":
            self._events(min(int(query.get("count", ["5"])[0]), 1000))
        else:
            self.send_json(404, {"error": "there is no such thing"})

    def _events(self, count: int) -> None:
        self.begin_events()
        for number in range(1, count + 1):
            self.send_event(f"id: {number}\nevent: signup\ndata: {json.dumps(customer(number))}\n\n")
            time.sleep(0.01)
        self.end_events()

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


if __name__ == "__main__":
    serve(__doc__, _Handler)
