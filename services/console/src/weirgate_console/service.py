"""The console service: the only other door. REST now; nothing here decides, it records what people say."""

import asyncio
import ipaddress
import socket
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn

from weirgate_chassis import log
from weirgate_chassis.config import ConfigFeed
from weirgate_chassis.service import Host, Service
from weirgate_chassis.settings import split_address
from weirgate_console.api.app import make_app
from weirgate_console.api.door import Parts
from weirgate_console.api.guard import Guard
from weirgate_console.check import load_checkers
from weirgate_console.decide import Decisions
from weirgate_console.keys import read_issuers
from weirgate_console.login import Doorkeeper, read_admin_token
from weirgate_console.publish import Publisher
from weirgate_console.requests import Requests
from weirgate_console.settings import ConsoleSettings
from weirgate_console.tokens import Mint, own_issuer, read_issuer_key


class _Server(uvicorn.Server):
    """Signals are the chassis's, which stops every part in order."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class ConsoleService(Service[ConsoleSettings]):
    """Serves REST."""

    name = "console"

    def __init__(self, settings: ConsoleSettings, host: Host) -> None:
        super().__init__(settings, host)
        self._feed = ConfigFeed(host.bus, catalogs=False)
        self._requests = Requests(host.bus)
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read configuration and requests, then listen."""
        parts = self._parts()
        await self._feed.start()
        await self._requests.start()
        self.host.health.check("config", self._feed.problem)
        self.host.health.check("approvals", self._requests.problem)
        listening = _listen(self.settings.console_listen)
        config = uvicorn.Config(
            Guard(make_app(parts), deadline_s=self.settings.request_deadline_s),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=self.settings.calls_limit,
            timeout_keep_alive=5,
            h11_max_incomplete_event_size=32 * 1024,
        )
        self._server = _Server(config)
        self._serving = self.host.spawn(self._server.serve(sockets=[listening]), "rest")
        while not self._server.started:  # noqa: ASYNC110  (uvicorn tells it in no other way)
            await asyncio.sleep(0.01)
        host, port = listening.getsockname()[:2]
        log.info("console listens", host=host, port=port, issuer=parts.mint is not None)

    async def stop(self) -> None:
        """Answer what is under way, then hear no more."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
        await self._requests.stop()
        await self._feed.stop()

    def _parts(self) -> Parts:
        given, bus = self.settings, self.host.bus
        issuers = read_issuers(given.issuers_file)
        mint = None
        if given.issuer_key_file is not None:
            issuer = own_issuer(issuers, given.jwks_file)
            private = read_issuer_key(given.issuer_key_file)
            mint = Mint(bus, private, issuer, ttl_limit_s=given.token_ttl_limit_s)
        token = read_admin_token(given.admin_token_file) if given.admin_token_file is not None else None
        checkers = load_checkers()
        if not checkers:
            log.warning("no policy checker is installed, so no policy can be published")
        return Parts(
            bus=bus,
            doorkeeper=Doorkeeper(issuers, token),
            requests=self._requests,
            decisions=Decisions(bus, self._requests, self._feed, deadline_s=given.decision_deadline_s),
            publisher=Publisher(bus, checkers),
            mint=mint,
        )


def _listen(address: str) -> socket.socket:
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=256)
    listening.setblocking(False)
    bound = ipaddress.ip_address(listening.getsockname()[0])
    if not bound.is_loopback:
        log.warning("the console listens past loopback in clear; put TLS before it", address=address)
    return listening
