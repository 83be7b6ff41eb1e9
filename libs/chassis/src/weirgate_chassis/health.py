"""The health of a service, and a small HTTP endpoint that tells it.

``/healthz``: 200 as long as the process turns its event loop. ``/readyz``: 200 once the service is ready and
every check passes, else 503 with one line a reason. ``/metrics``: Prometheus text. It knows GET and nothing
else, answers one question a connection, and gives a peer 5 s and 4 KiB to ask it.
"""

import asyncio
from collections.abc import Callable

from weirgate_chassis.metric import Metrics

_REQUEST_LIMIT_BYTES = 4096
_DEADLINE_S = 5.0

Check = Callable[[], str | None]
"""Says what is wrong right now, in one line; ``None``: nothing."""


class Health:
    """Whether a service is ready, and why not."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self.started = False
        self.stopping = False

    def check(self, name: str, check: Check) -> None:
        """Add a reason not to be ready. It is asked often, must not block and not raise."""
        self._checks[name] = check

    def problems(self) -> list[str]:
        """Say everything that is wrong right now; empty: ready."""
        found: list[str] = []
        if not self.started:
            found.append("starting")
        if self.stopping:
            found.append("stopping")
        for name, check in self._checks.items():
            problem = check()
            if problem is not None:
                found.append(f"{name}: {problem}")
        return found


class HealthEndpoint:
    """Serves ``/healthz``, ``/readyz`` and ``/metrics``."""

    def __init__(self, health: Health, metrics: Metrics) -> None:
        self._health = health
        self._metrics = metrics
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, which with port 0 is any free one."""
        self._server = await asyncio.start_server(self._answer, host, port, limit=_REQUEST_LIMIT_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_DEADLINE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._response(head))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a peer that cannot ask in time is told nothing
        finally:
            writer.close()

    def _response(self, head: bytes) -> bytes:
        parts = head.split(b"\r\n", 1)[0].split(b" ")
        if len(parts) != 3 or parts[0] not in (b"GET", b"HEAD"):
            return _http(405, "GET only\n")
        match parts[1].split(b"?", 1)[0]:
            case b"/healthz":
                return _http(200, "alive\n")
            case b"/readyz":
                problems = self._health.problems()
                return _http(503, "\n".join(problems) + "\n") if problems else _http(200, "ready\n")
            case b"/metrics":
                return _http(200, self._metrics.text(), "text/plain; version=0.0.4; charset=utf-8")
            case _:
                return _http(404, "no such page\n")


_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


def _http(status: int, text: str, kind: str = "text/plain; charset=utf-8") -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body
