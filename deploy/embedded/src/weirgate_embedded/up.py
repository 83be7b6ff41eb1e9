"""`weirgate up`: everything on one machine, each part a process of its own, kept alive until told to stop.

Order of a start: lock, leftovers, ports, secrets; then NATS, the read model and (demo) the upstream side by side; then
all services; then, once the console answers, the demo's documents and tokens; last ``endpoints.json``, which says that
all of it is ready. A stop goes the other way round.
"""

import contextlib
import fcntl
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any, TextIO

from weirgate_bus.topology import Limits
from weirgate_embedded import broker, demo, issuer
from weirgate_embedded.certificate import make_certificates
from weirgate_embedded.forward import make_forward_authority
from weirgate_embedded.layout import SERVICES, Layout, UpRefused, check_ports, write_json, write_private
from weirgate_embedded.postgres import Postgres, PostgresFailed
from weirgate_embedded.supervisor import (
    Child,
    Cluster,
    Supervisor,
    clean_environment,
    end_leftovers,
    service_argv,
)

READY_WITHIN_S = 60.0
LOOK_EVERY_S = 0.1

READ_MODEL_SETTINGS = {
    "shared_buffers": "64MB",
    "max_connections": "50",
    "synchronous_commit": "off",  # the log is the truth: what the read model loses, the recorder stores again
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
UPSTREAM_SETTINGS = {
    "shared_buffers": "128MB",
    "max_connections": "200",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
}


@dataclass
class Gateway:
    """An embedded gateway on one data directory."""

    layout: Layout
    with_demo: bool
    environment: dict[str, str] = field(default_factory=dict[str, str])
    """More settings for the services (tests, benches): ``WEIRGATE_…`` names, given to those that know them."""
    upstream_settings: dict[str, str] = field(default_factory=dict[str, str])
    limits: Limits = field(default_factory=Limits)
    mirror: bool = False
    """Keep the mirror of AUDIT too; on the same disk it costs every event a second fsync and proves little."""
    out: TextIO = sys.stderr
    stop_asked: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(self.layout, self.say, on_restart=self._write_endpoints)
        self._demo: dict[str, Any] = {}
        self._ready = False
        self._staged = 0
        self._began = time.monotonic()

    def say(self, line: str) -> None:
        """Tell the person at the terminal, and the log, one line."""
        stamp = time.strftime("%H:%M:%S")
        print(f"{stamp} {line}", file=self.out, flush=True)
        with contextlib.suppress(OSError), (self.layout.logs / "up.log").open("a") as log:
            print(f"{time.strftime('%Y-%m-%d')} {stamp} {line}", file=log)

    def run(self, *, ready: Callable[["Gateway"], None] | None = None) -> None:
        """Start, watch, stop. Returns when told to stop, with nothing left behind.

        Raises:
            UpRefused: it cannot be started; whatever had been started is stopped again.
        """
        self.layout.make()
        with _lock(self.layout):
            end_leftovers(self.layout, self.say)
            check_ports(self.layout)
            try:
                self._start()
                if not self.stop_asked.is_set():
                    self._ready = True
                    self._write_endpoints()
                    self.say(f"ready after {time.monotonic() - self._began:.1f} s")
                    if ready is not None:
                        ready(self)
                while not self.stop_asked.wait(LOOK_EVERY_S):
                    self.supervisor.look()
                    self._stage()
            finally:
                self.say("stopping")
                self.layout.endpoints.unlink(missing_ok=True)
                self.supervisor.stop()
                broker.clear(self.layout)
                self.say("stopped; nothing of it is running")

    # ------------------------------------------------------------------ start

    def _start(self) -> None:
        layout = self.layout
        make_certificates(layout.tls)
        make_forward_authority(layout.tls)
        for name in ("recording.key", "mask.key"):
            layout.secret(name)
        layout.secret("admin.token")
        servers = {"read_model": self._cluster("read_model", READ_MODEL_SETTINGS)}
        if self.with_demo:
            servers["upstream"] = self._cluster("upstream", UPSTREAM_SETTINGS | self.upstream_settings)
        broker.prepare(layout)
        issuer.prepare(layout)
        with ThreadPoolExecutor(max_workers=3) as pool:
            self.say("starting NATS, the read model" + (" and the demo upstream" if self.with_demo else ""))
            self.supervisor.add(broker.child(layout))
            streams = pool.submit(partial(broker.provision, layout, self.limits, mirror=self.mirror))
            made = [pool.submit(server.initialise) for server in servers.values()]
            for each in made:
                self._wait(each)
            if self.stop_asked.is_set():
                return
            # From this thread: the kernel ends a child with the thread that started it.
            for name, server in servers.items():
                self.supervisor.add(Cluster(name, server))
            work = [streams, pool.submit(self._make_read_model, servers["read_model"])]
            seeding = pool.submit(self._make_upstream, servers["upstream"]) if self.with_demo else None
            for each in work:
                self._wait(each)
            if self.stop_asked.is_set():
                return
            if self.with_demo:
                for api in demo.APIS:
                    self.supervisor.add(api.child(layout))
            self.say("starting " + ", ".join(SERVICES))
            for name in SERVICES:
                self.supervisor.add(self._service(name))
            self._wait_ready("console")
            if seeding is not None:
                self._wait(seeding)
                self._demo = demo.publish(layout, self.say)
            for name in SERVICES:
                self._wait_ready(name)
            if self.with_demo:
                for api in demo.APIS:
                    self._wait_until(api.name, partial(api.is_listening, layout))

    def _stage(self) -> None:
        """Have batches staged in memory, once after every start of NATS."""
        pid = self.supervisor.pids().get("nats", 0)
        if pid != self._staged and broker.stage(self.layout):
            self._staged = pid

    def _cluster(self, name: str, settings: dict[str, str]) -> Postgres:
        return Postgres(
            directory=self.layout.directory / "postgres" / name,
            port=self.layout.port(name),
            password=self.layout.secret(f"{name}.password"),
            settings=settings,
            log_file=self.layout.logs / f"{name}.log",
        )

    def _make_read_model(self, server: Postgres) -> None:
        server.wait_ready()
        if server.psql("select count(*) from pg_database where datname = 'weirgate'").strip() == "0":
            server.psql("create database weirgate")
        write_private(self.layout.secrets / "read-model.dsn", server.dsn("weirgate") + "\n")

    def _make_upstream(self, server: Postgres) -> None:
        server.wait_ready()
        demo.seed(server, self.layout, self.say)

    def _service(self, name: str) -> Child:
        layout = self.layout
        address = "127.0.0.1:{}".format
        own: dict[str, dict[str, str]] = {
            "ingress": {
                "POSTGRES_LISTEN": address(layout.port("postgres")),
                "HTTP_LISTEN": address(layout.port("http")),
                "TLS_CERT_FILE": str(layout.tls / "server.pem"),
                "TLS_KEY_FILE": str(layout.tls / "server.key"),
                "FORWARD_CA_CERT_FILE": str(layout.tls / "forward-ca.pem"),
                "FORWARD_CA_KEY_FILE": str(layout.tls / "forward-ca.key"),
                "HTTP_TOKEN_HEADER": "X-Api-Key",
                "CLEARTEXT_LOOPBACK": "true",
                "ISSUERS_FILE": str(layout.directory / "issuers.json"),
                "RECORDING_KEY_FILE": str(layout.secrets / "recording.key"),
                "MASK_KEY_FILE": str(layout.secrets / "mask.key"),
                "APPROVALS_URL": f"http://127.0.0.1:{layout.port('console')}/v1/approvals",
            },
            "policy": {},
            "masking": {},
            "approval": {},
            "recorder": {
                "READ_MODEL_DSN": (layout.secrets / "read-model.dsn").read_text().strip(),
                "RECORDING_KEY_FILE": str(layout.secrets / "recording.key"),
            },
            "console": {
                "CONSOLE_LISTEN": address(layout.port("console")),
                "ISSUER_KEY_FILE": str(layout.secrets / "issuer.jwk"),
                "ADMIN_TOKEN_FILE": str(layout.secrets / "admin.token"),
                "JWKS_FILE": str(layout.directory / "jwks.json"),
                "ISSUERS_FILE": str(layout.directory / "issuers.json"),
            },
        }
        common = {
            "NATS_URL": f"nats://127.0.0.1:{layout.port('nats')}",
            "NATS_NKEY_FILE": str(layout.nkey(name)),
            "HEALTH_LISTEN": address(layout.port(f"{name} health")),
            "NAME": "one",
        }
        settings = {f"WEIRGATE_{key}": value for key, value in (common | own[name]).items()}
        more = {
            key.removeprefix(f"{name}:"): value
            for key, value in self.environment.items()
            if key.startswith(f"{name}:") or ":" not in key
        }
        return Child(
            name=name,
            argv=service_argv(name),
            environment=clean_environment() | settings | more,
            log_file=layout.logs / f"{name}.log",
        )

    # ------------------------------------------------------------------ waiting

    def _wait(self, work: Future[Any]) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while not work.done():
            if self.stop_asked.wait(0.02):
                return
            if time.monotonic() > deadline:
                raise UpRefused(f"not ready within {READY_WITHIN_S:g} s; see {self.layout.logs}")
        try:
            work.result()
        except (PostgresFailed, broker.BrokerFailed) as error:
            raise UpRefused(str(error)) from error

    def _wait_ready(self, name: str) -> None:
        self._wait_until(
            name, partial(_answers, f"http://127.0.0.1:{self.layout.port(f'{name} health')}/readyz")
        )

    def _wait_until(self, name: str, is_ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while not is_ready():
            if self.stop_asked.wait(0.05):
                return
            child = next(each for each in self.supervisor.children if each.name == name)
            if time.monotonic() > deadline or child.failures > 3:
                raise UpRefused(f"{name} did not get ready; it said: {child.last_words()}")
            self.supervisor.look()

    def _write_endpoints(self) -> None:
        if not self._ready:
            return
        layout = self.layout
        where = {
            "postgres": {"host": "127.0.0.1", "port": layout.port("postgres")},
            "http": {"host": "127.0.0.1", "port": layout.port("http")},
            "console": {"url": f"http://127.0.0.1:{layout.port('console')}"},
            "nats": {"url": f"nats://127.0.0.1:{layout.port('nats')}"},
            "ca": str(layout.tls / "ca.pem"),
            "forward_ca": str(layout.tls / "forward-ca.pem"),
            "read_model": {"dsn_file": str(layout.secrets / "read-model.dsn")},
            "demo": self._demo,
            "upstreams": demo.upstreams(layout) if self.with_demo else {},
            "health": {name: self._health_url(name) for name in SERVICES},
            "pids": {"up": os.getpid()} | self.supervisor.pids(),
        }
        write_json(layout.endpoints, where)

    def _health_url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.layout.port(f'{name} health')}"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310  (our own loopback address)
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError):
        return False


@contextlib.contextmanager
def _lock(layout: Layout) -> Any:
    """Hold the data directory; the kernel lets go of it however we end."""
    path = layout.directory / "lock"
    with path.open("a+") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            held.seek(0)
            raise UpRefused(
                f"a gateway is already running on {layout.directory} (pid {held.read().strip() or 'unknown'}); "
                "stop it with `weirgate down`, or use another --data-dir"
            ) from error
        held.truncate(0)
        held.write(f"{os.getpid()}\n")
        held.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def obey_signals(gateway: Gateway) -> None:
    """Have SIGINT and SIGTERM ask for a stop; a second one does not hurry it."""

    def ask(_number: int, _frame: FrameType | None) -> None:
        gateway.stop_asked.set()

    signal.signal(signal.SIGINT, ask)
    signal.signal(signal.SIGTERM, ask)
