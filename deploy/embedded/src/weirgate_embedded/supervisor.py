"""Child processes that are kept alive: started, watched, restarted, and ended without a trace."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from weirgate_embedded.death import die_with_parent
from weirgate_embedded.layout import Layout, write_json
from weirgate_embedded.postgres import Postgres

RESTART_AFTER_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Wait before the n-th restart in a row; a child that has lived for a minute starts from the first again."""
STOP_WITHIN_S = 8.0


@dataclass(kw_only=True)
class Child:
    """One process of the gateway."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    log_file: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    restart_at: float = 0.0

    def start(self) -> None:
        """Start the process in a session of its own: a terminal's Ctrl-C is for the supervisor alone."""
        with self.log_file.open("ab") as out:
            self.process = subprocess.Popen(
                self.argv, env=dict(self.environment), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True, preexec_fn=die_with_parent(signal.SIGTERM),
            )  # fmt: skip
        self.started = time.monotonic()

    def exited(self) -> int | None:
        """Return the exit status of a process that has ended, else ``None``."""
        return None if self.process is None else self.process.poll()

    def last_words(self) -> str:
        """Return the end of its log."""
        with contextlib.suppress(FileNotFoundError):
            return self.log_file.read_text(errors="replace").strip()[-600:]
        return ""


@dataclass
class Cluster:
    """A PostgreSQL of ours, seen as a child."""

    name: str
    server: Postgres
    failures: int = 0
    restart_at: float = 0.0
    started: float = 0.0

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        return self.server.process

    def start(self) -> None:
        """Start the server; whoever needs it tries until it takes connections."""
        self.server.launch()
        self.started = time.monotonic()

    def exited(self) -> int | None:
        """Return the exit status of a server that has ended, else ``None``."""
        return None if self.server.process is None else self.server.process.poll()

    def last_words(self) -> str:
        """Return the end of its log."""
        log = self.server.log_file
        return log.read_text(errors="replace").strip()[-600:] if log is not None and log.exists() else ""


@dataclass
class Supervisor:
    """Watches children until told to stop."""

    layout: Layout
    say: Callable[[str], None]
    children: list[Child | Cluster] = field(default_factory=list[Child | Cluster])
    on_restart: Callable[[], None] = lambda: None

    def add(self, child: Child | Cluster) -> None:
        """Start a child and watch it from now on."""
        self.children.append(child)
        child.start()
        self.note_pids()

    def pids(self) -> dict[str, int]:
        """Return the pid of every child that has one."""
        return {child.name: child.process.pid for child in self.children if child.process is not None}

    def note_pids(self) -> None:
        """Keep the pids on disk, with start times, so that a pid used again by others is not taken for ours."""
        noted: dict[str, list[float]] = {}
        for name, pid in self.pids().items():
            with contextlib.suppress(psutil.NoSuchProcess):
                noted[name] = [pid, psutil.Process(pid).create_time()]
        write_json(self.layout.run_file, noted)

    def look(self) -> None:
        """Restart what has died, with growing waits."""
        now = time.monotonic()
        for child in self.children:
            status = child.exited()
            if status is None:
                continue
            if child.restart_at == 0.0:
                if now - child.started > 60:
                    child.failures = 0
                wait = RESTART_AFTER_S[min(child.failures, len(RESTART_AFTER_S) - 1)]
                child.failures += 1
                child.restart_at = now + wait
                how = signal.Signals(-status).name if status < 0 else f"status {status}"
                self.say(f"{child.name} died ({how}); restarting in {wait:g} s")
                if status > 0 and child.last_words():
                    self.say(f"{child.name} said: {child.last_words().splitlines()[-1][:400]}")
            elif now >= child.restart_at:
                child.restart_at = 0.0
                try:
                    child.start()
                except Exception as error:  # noqa: BLE001  the outermost loop: the next look tries again
                    child.started = now
                    self.say(f"{child.name} did not start: {error}")
                    continue
                self.say(f"{child.name} restarted")
                self.note_pids()
                self.on_restart()

    def stop(self) -> None:
        """End every child, last started first; what does not go in time is killed."""
        for child in reversed(self.children):
            process = child.process
            if process is None or process.poll() is not None:
                continue
            if isinstance(child, Cluster):
                child.server.stop()
                continue
            process.terminate()
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.say(f"{child.name} did not stop within {STOP_WITHIN_S:g} s; killed")
                process.kill()
                process.wait(5)
        self.layout.run_file.unlink(missing_ok=True)


def end_leftovers(layout: Layout, say: Callable[[str], None]) -> None:
    """End the children a killed supervisor left behind."""
    try:
        noted: dict[str, list[float]] = json.loads(layout.run_file.read_text())
    except (FileNotFoundError, ValueError):
        return
    for name, (pid, created) in noted.items():
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(pid))
            if abs(process.create_time() - created) > 1:
                continue
            say(f"ending {name} (pid {int(pid)}), left behind by a gateway that was killed")
            process.send_signal(signal.SIGINT if name in ("read model", "upstream") else signal.SIGTERM)
            try:
                process.wait(STOP_WITHIN_S)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait(5)
    layout.run_file.unlink(missing_ok=True)


def service_argv(name: str) -> list[str]:
    """Command line of one of our services."""
    return [sys.executable, "-m", f"weirgate_{name}"]


def clean_environment() -> dict[str, str]:
    """Return our environment without WEIRGATE_ settings of the caller: each service gets just its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WEIRGATE_")}
