"""A recorder for tests: NATS, read model and data directory as `weirgate up` makes them, the service as a
process."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from weirgate_bus.jetstream import JetStreamBus
from weirgate_bus.port import Delivery, Stored
from weirgate_bus.subject import matches
from weirgate_chassis.seal import Sealer, read_key
from weirgate_contracts.events import Event
from weirgate_contracts.recording import Frame, encode_frames, recording_subject
from weirgate_contracts.subjects import AUDIT_STREAM, AUDIT_SUBJECTS, WRITES
from weirgate_testkit.nats import NatsServer
from weirgate_testkit.port import free_port

READY_WITHIN_S = 30.0


def writer(subject: str) -> str:
    """Return the only service that may publish on a subject."""
    for user, patterns in WRITES.items():
        if any(matches(each, subject) for each in patterns):
            return user
    raise ValueError(subject)


@dataclass
class Place:
    """A data directory with a log, a read model, and somebody for each service to publish as."""

    directory: Path
    nats: NatsServer
    dsn: str
    _buses: dict[str, JetStreamBus] = field(default_factory=dict[str, JetStreamBus])

    def prepare(self) -> None:
        """Write what the command reads."""
        (self.directory / "secrets").mkdir(parents=True, exist_ok=True)
        (self.directory / "secrets" / "nkeys").symlink_to(self.nats.seeds)
        (self.directory / "secrets" / "recording.key").write_text(secrets.token_hex(32))
        (self.directory / "secrets" / "read-model.dsn").write_text(self.dsn)
        (self.directory / "endpoints.json").write_text(json.dumps({"nats": {"url": self.nats.url}}))

    @property
    def sealer(self) -> Sealer:
        """What recordings are sealed with."""
        return Sealer(read_key(self.directory / "secrets" / "recording.key"))

    async def bus(self, user: str) -> JetStreamBus:
        """Return a connection as one user."""
        if user not in self._buses:
            self._buses[user] = await JetStreamBus.connect(
                self.nats.url, self.nats.seed(user), f"test-{user}"
            )
        return self._buses[user]

    async def publish(self, events: Iterable[Event]) -> list[Stored]:
        """Publish events in this order, each as the service that may."""
        stored: list[Stored] = []
        for event in events:
            bus = await self.bus(writer(event.subject))
            stored.append(await bus.publish(event.subject, event.encoded(), id=event.id, deadline_s=10))
        return stored

    async def publish_fast(self, events: Sequence[Event]) -> None:
        """Publish events of any services at once; their order among each other is not kept."""
        futures: list[asyncio.Future[Stored]] = []
        for event in events:
            bus = await self.bus(writer(event.subject))
            futures.append(bus.publish(event.subject, event.encoded(), id=event.id, deadline_s=30))
            if len(futures) >= 500:
                await asyncio.gather(*futures)
                futures = []
        await asyncio.gather(*futures)

    async def record(self, session: str, frames: Sequence[Frame], *, ingress: str = "i1") -> None:
        """Publish frames of a recording as ingress does."""
        subject = recording_subject(ingress, session)
        body = self.sealer.seal(encode_frames(frames), subject)
        bus = await self.bus("ingress")
        await bus.publish(subject, body, id=secrets.token_hex(13))

    async def log(self) -> list[Delivery]:
        """Return everything the log holds."""
        bus = await self.bus("auditor")
        return [each async for each in bus.read(AUDIT_STREAM, subjects=[AUDIT_SUBJECTS])]

    async def close(self) -> None:
        """Disconnect everybody."""
        for bus in self._buses.values():
            await bus.close()
        self._buses.clear()

    def environment(self, **more: str) -> dict[str, str]:
        """Return what the recorder's process is told."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("WEIRGATE_")}
        return clean | {
            "WEIRGATE_NATS_URL": self.nats.url,
            "WEIRGATE_NATS_NKEY_FILE": str(self.nats.seed("recorder")),
            "WEIRGATE_READ_MODEL_DSN": self.dsn,
            "WEIRGATE_RECORDING_KEY_FILE": str(self.directory / "secrets" / "recording.key"),
            "WEIRGATE_CHECKPOINT_S": "0.5",
            **more,
        }

    @contextlib.contextmanager
    def recorder(self, *, wait: bool = True, **settings: str) -> "Generator[RunningRecorder]":
        """Run the recorder as a process, until the context ends."""
        port = free_port()
        environment = self.environment(WEIRGATE_HEALTH_LISTEN=f"127.0.0.1:{port}", **settings)
        with (self.directory / "recorder.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "weirgate_recorder"], env=environment, stdout=log, stderr=log
            )
        running = RunningRecorder(process, port, self.directory / "recorder.log")
        try:
            if wait:
                running.wait_ready()
            yield running
        finally:
            running.stop()

    def weirgate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the recorder's as a user would."""
        program = (
            "import typer; from weirgate_recorder.command import register; "
            "app = typer.Typer(); register(app); app()"
        )
        return subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env=self.environment() | {"WEIRGATE_DATA_DIR": str(self.directory)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


@dataclass
class RunningRecorder:
    """The service as a process."""

    process: subprocess.Popen[bytes]
    port: int
    log_file: Path

    def ready(self) -> str | None:
        """Return ``None`` when it is ready, else what /readyz says."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2):
                return None
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError as error:
            return str(error)

    def wait_ready(self) -> None:
        """Wait until it is ready."""
        self.wait_until(lambda: self.ready() is None)

    def wait_until(self, true: Callable[[], bool], *, within_s: float = READY_WITHIN_S) -> None:
        """Wait until something holds of it."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if true():
                return
            time.sleep(0.05)
        raise AssertionError(f"not in time: {self.ready()}\n{self.log_file.read_text()[-3000:]}")

    def kill9(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it gracefully."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill9()


@contextlib.asynccontextmanager
async def place(directory: Path, nats: NatsServer, dsn: str) -> AsyncGenerator[Place]:
    """Prepare a data directory; everybody is disconnected at the end."""
    made = Place(directory, nats, dsn)
    made.prepare()
    try:
        yield made
    finally:
        await made.close()
