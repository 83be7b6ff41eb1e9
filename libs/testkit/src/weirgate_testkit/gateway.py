"""A whole gateway for tests: `weirgate up` as a process, its services to be killed, its log to be read."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import psutil

READY_WITHIN_S = 90.0


_T = TypeVar("_T")


def eventually(check: Callable[[], _T], within_s: float = 20.0) -> _T:
    """Look again until something is the case; return it."""
    deadline = time.monotonic() + within_s
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.2)
    return found


@dataclass
class RunningGateway:
    """A gateway that is up."""

    directory: Path
    process: subprocess.Popen[str]

    @property
    def endpoints(self) -> dict[str, Any]:
        """What ``endpoints.json`` says now."""
        return json.loads((self.directory / "endpoints.json").read_text())

    def token(self, agent: str) -> str:
        """Token of one of the demo's agents."""
        return str(self.endpoints["demo"]["tokens"][agent])

    def url(
        self, agent: str, *, token: str | None = None, resource: str = "shop", parameters: str = ""
    ) -> str:
        """Address for a PostgreSQL agent."""
        where = self.endpoints["postgres"]
        secret = quote(self.token(agent) if token is None else token)
        return f"postgresql://{agent}:{secret}@{where['host']}:{where['port']}/{resource}{parameters}"

    def direct_url(self, *, superuser: bool = False) -> str:
        """Address of the demo upstream itself, past the gateway."""
        shop = self.endpoints["upstreams"]["shop"]
        user = "postgres" if superuser else shop["user"]
        secret = Path(shop["superuser_password_file" if superuser else "password_file"]).read_text().strip()
        return f"postgresql://{user}:{secret}@{shop['host']}:{shop['port']}/{shop['database']}"

    def http_url(self, resource: str = "crm") -> str:
        """Address for an HTTP agent; the token goes into ``Authorization: Bearer``."""
        where = self.endpoints["http"]
        return f"http://{where['host']}:{where['port']}/{resource}"

    def crm_log(self) -> list[dict[str, Any]]:
        """What reached the demo's HTTP upstream, by its own access log."""
        return self.upstream_lines("crm")

    def upstream_lines(self, name: str) -> list[dict[str, Any]]:
        """What reached one of the demo's HTTP upstreams, by its own access log."""
        path = Path(self.endpoints["upstreams"][name]["log"])
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def weirgate(
        self, *arguments: str, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command as a user of this data directory would."""
        return subprocess.run(
            [str(Path(sys.executable).parent / "weirgate"), *arguments], text=True, capture_output=True, check=check,
            input=stdin, timeout=120, env=os.environ | {"WEIRGATE_DATA_DIR": str(self.directory)},
        )  # fmt: skip

    def mint(self, agent: str, *groups: str, ttl: str = "15m", **more: str) -> str:
        """Mint a token by the command."""
        extra = [part for name, value in more.items() for part in (f"--{name}", value)]
        asked = [part for group in groups for part in ("--group", group)]
        return self.weirgate("token", "mint", "--agent", agent, *asked, "--ttl", ttl, *extra).stdout.strip()

    def events(self, *, last: int = 100_000) -> list[dict[str, Any]]:
        """Return the log, oldest first."""
        out = self.weirgate("log", "tail", "--last", str(last), "--json").stdout
        return [json.loads(line) for line in out.splitlines() if line]

    def pid(self, name: str) -> int:
        """Pid of a service, of ``nats``, ``read_model`` or ``upstream``."""
        return int(self.endpoints["pids"][name])

    def kill(self, name: str) -> None:
        """Kill -9 a part, as nothing graceful would."""
        process = psutil.Process(self.pid(name))
        family = [process, *process.children(recursive=True)]
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(signal.SIGKILL)
        psutil.wait_procs(family, timeout=5)

    def freeze(self, name: str) -> None:
        """Stop a part's clock (SIGSTOP): it is there and says nothing."""
        psutil.Process(self.pid(name)).send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Let a frozen part go on."""
        psutil.Process(self.pid(name)).send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def frozen(self, name: str) -> Generator[None]:
        """Freeze a part for as long as this lasts."""
        self.freeze(name)
        try:
            yield
        finally:
            self.thaw(name)

    def held(self, text: str, *, within_s: float = 10.0) -> dict[str, Any]:
        """Return the request for approval that shows this text, once there is one."""

        def mine() -> list[dict[str, Any]]:
            waiting = json.loads(self.weirgate("approvals", "list", "--json").stdout)
            return [one for one in waiting if text in one["text"]]

        return eventually(mine, within_s)[0]

    def wait_ready(self, *names: str, within_s: float = 40.0) -> None:
        """Wait until services answer that they are ready."""
        deadline = time.monotonic() + within_s
        for name in names or tuple(self.endpoints["health"]):
            while not self.is_ready(name):
                if time.monotonic() > deadline:
                    raise AssertionError(f"{name} is not ready after {within_s} s")
                time.sleep(0.1)

    def is_ready(self, name: str) -> bool:
        """Ask a service whether it is ready."""
        try:
            with urllib.request.urlopen(self.endpoints["health"][name] + "/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def upstream_log(self) -> str:
        """What the demo upstream has logged (``log_statement = all`` where asked for)."""
        return Path(self.endpoints["upstreams"]["shop"]["log"]).read_text(errors="replace")

    def stop(self) -> None:
        """Stop it as Ctrl-C would."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)


@contextlib.contextmanager
def running_gateway(
    directory: Path,
    *,
    port_base: int,
    settings: Mapping[str, str] | None = None,
    arguments: tuple[str, ...] = (),
) -> Generator[RunningGateway]:
    """Run ``weirgate up --demo`` on a directory until the end of the block.

    Args:
        settings: more settings for services, ``service:WEIRGATE_NAME`` to value, and ``upstream:name`` for the
            demo upstream's own settings.
    """
    more = [part for name, value in (settings or {}).items() for part in ("--set", f"{name}={value}")]
    directory.mkdir(parents=True, exist_ok=True)
    said = directory / "up.out"
    with said.open("w") as out:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "weirgate"), "up", "--demo", "--data-dir", str(directory),
             "--port-base", str(port_base), *more, *arguments],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, text=True, start_new_session=True,
        )  # fmt: skip
    gateway = RunningGateway(directory, process)
    deadline = time.monotonic() + READY_WITHIN_S
    try:
        while not (directory / "endpoints.json").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the gateway did not start: {said.read_text()[-3000:]}")
            time.sleep(0.05)
        yield gateway
    finally:
        gateway.stop()
