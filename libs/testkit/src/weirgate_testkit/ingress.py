"""A real ingress process on a real nats-server, with scripted judges: to test ingress alone, end to end."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Coroutine, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import urlopen

from joserfc import jwt
from joserfc.jwk import OKPKey

from weirgate_bus.jetstream import JetStreamBus
from weirgate_chassis.clock import now
from weirgate_chassis.ids import new_id
from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.events import ConfigPublished, Event, decode
from weirgate_contracts.subjects import AUDIT_STREAM
from weirgate_embedded.certificate import make_certificates
from weirgate_embedded.postgres import Postgres
from weirgate_testkit.nats import NatsServer
from weirgate_testkit.port import free_port

ISSUER = "https://issuer.test"
T = TypeVar("T")


def in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end whether or not a loop runs in this thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@dataclass
class RunningIngress:
    """One ingress process with what it needs around it."""

    directory: Path
    nats: NatsServer
    port: int
    health_port: int
    key: OKPKey
    processes: list[subprocess.Popen[str]] = field(default_factory=list[subprocess.Popen[str]])

    def token(self, agent: str = "reader", **claims: Any) -> str:
        """Mint a token."""
        body = {
            "iss": ISSUER,
            "aud": "weirgate",
            "sub": agent,
            "jti": new_id(),
            "exp": int(time.time()) + 600,
        }
        return jwt.encode({"alg": "Ed25519", "kid": "k1"}, body | claims, self.key, algorithms=["Ed25519"])

    def dsn(
        self, agent: str = "reader", *, resource: str = "shop", mode: str = "require", **claims: Any
    ) -> str:
        """Address for a PostgreSQL agent."""
        token = self.token(agent, **claims)
        return f"postgresql://{agent}:{token}@127.0.0.1:{self.port}/{resource}?sslmode={mode}"

    def publish(self, event: Event, user: str) -> None:
        """Publish an event as a service would, and wait until it is stored."""

        async def work() -> None:
            bus = await JetStreamBus.connect(self.nats.url, self.nats.seed(user), "test")
            stamped = event.stamped(id=new_id(), at=now())
            await bus.publish(stamped.subject, stamped.encoded(), id=stamped.id)
            await bus.close()

        in_thread(work())

    def events(self, *subjects: str) -> list[Event]:
        """Read the log."""

        async def work() -> list[Event]:
            bus = await JetStreamBus.connect(self.nats.url, self.nats.seed("recorder"), "test")
            found: list[Event] = [
                decode(each.body) async for each in bus.read(AUDIT_STREAM, subjects=subjects or ("audit.>",))
            ]
            await bus.close()
            return found

        return in_thread(work())

    def kill(self, session: str) -> None:
        """End a session as the console would."""

        async def work() -> None:
            bus = await JetStreamBus.connect(self.nats.url, self.nats.seed("console"), "test")
            bus.tell(f"control.session.kill.one.{session}", b"")
            await asyncio.sleep(0.1)
            await bus.close()

        in_thread(work())

    def log_text(self) -> str:
        """What ingress has logged."""
        return (self.directory / "ingress.log").read_text()


def resource(
    upstream: Postgres, *, query: str = "", user: str = "postgres", name: str = "shop"
) -> dict[str, Any]:
    """Return the document of a resource on this server, its password in ``SHOP_PASSWORD``."""
    document = ResourceDocument.model_validate(
        {
            "name": name,
            "protocol": "postgres",
            "upstream": f"postgresql://{user}@127.0.0.1:{upstream.port}/postgres{query}",
            "credential": "env:SHOP_PASSWORD",
        }
    )
    return document.model_dump(mode="json")


@contextlib.contextmanager
def running_ingress(
    directory: Path,
    nats: NatsServer,
    resources: Mapping[str, dict[str, Any]],
    *,
    password: str = "postgres-password",
    settings: Mapping[str, str] | None = None,
    judges: bool = True,
    wrap: tuple[str, ...] = (),
) -> Generator[RunningIngress, None, None]:
    """Run ingress and scripted judges on a provisioned nats-server.

    Args:
        directory: for keys, certificates and logs.
        nats: the server.
        resources: documents by name.
        password: value of ``SHOP_PASSWORD``.
        settings: more environment.
        judges: start the scripted judges.
        wrap: put before the command of ingress (a profiler).
    """
    directory.mkdir(parents=True, exist_ok=True)
    make_certificates(directory)
    key = OKPKey.generate_key("Ed25519", parameters={"kid": "k1"})
    (directory / "jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    (directory / "issuers.json").write_text(
        json.dumps([{"issuer": ISSUER, "audience": "weirgate", "jwks_file": "jwks.json"}])
    )
    for name in ("recording.key", "mask.key"):
        (directory / name).write_text("00" * 32)
    made = RunningIngress(directory, nats, free_port(), free_port(), key)
    for name, body in resources.items():
        made.publish(ConfigPublished(config="resource", name=name, body=body, by="test"), "console")
    environment = {
        "WEIRGATE_NATS_URL": nats.url,
        "WEIRGATE_NATS_NKEY_FILE": str(nats.seed("ingress")),
        "WEIRGATE_HEALTH_LISTEN": f"127.0.0.1:{made.health_port}",
        "WEIRGATE_POSTGRES_LISTEN": f"127.0.0.1:{made.port}",
        "WEIRGATE_TLS_CERT_FILE": str(directory / "server.pem"),
        "WEIRGATE_TLS_KEY_FILE": str(directory / "server.key"),
        "WEIRGATE_CLEARTEXT_LOOPBACK": "true",
        "WEIRGATE_ISSUERS_FILE": str(directory / "issuers.json"),
        "WEIRGATE_RECORDING_KEY_FILE": str(directory / "recording.key"),
        "WEIRGATE_MASK_KEY_FILE": str(directory / "mask.key"),
        "SHOP_PASSWORD": password,
    }
    try:
        if judges:
            command = [sys.executable, "-m", "weirgate_testkit.judges", nats.url, str(nats.seeds)]
            judging = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            made.processes.append(judging)
            assert judging.stdout is not None
            assert judging.stdout.readline() == "ready\n"
        with (directory / "ingress.log").open("w") as log:
            command = [*(wrap or (sys.executable, "-m")), "weirgate_ingress"]
            made.processes.append(
                subprocess.Popen(
                    command, stderr=log, text=True, env=os.environ | environment | dict(settings or {})
                )
            )
        _wait_ready(made)
        yield made
    finally:
        for process in reversed(made.processes):
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_ready(made: RunningIngress) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{made.health_port}/readyz") as answer:
            if answer.status == 200:
                return
        if made.processes[-1].poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"ingress did not start:\n{made.log_text()[-3000:]}")
