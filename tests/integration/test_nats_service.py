"""A service process on a real server: ready, healthy, stopped by a signal, failing loudly."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from weirgate_testkit.nats import NatsServer, running_nats
from weirgate_testkit.port import free_port

PROGRAM = """
import asyncio, sys
from weirgate_chassis.config import ConfigFeed
from weirgate_chassis.service import Service, run
from weirgate_chassis.settings import ServiceSettings

class Sample(Service[ServiceSettings]):
    name = "policy"
    async def start(self):
        self.feed = ConfigFeed(self.host.bus)
        await self.feed.start()
        self.host.health.check("config", self.feed.problem)
        if self.settings.name == "broken":
            self.host.spawn(self.broken(), "broken")
    async def broken(self):
        raise RuntimeError("card 4111111111111111")

run(Sample, ServiceSettings)
"""


def start(server: NatsServer, port: int, **more: str) -> subprocess.Popen[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WEIRGATE_")}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=clean
        | {
            "WEIRGATE_NATS_URL": server.url,
            "WEIRGATE_NATS_NKEY_FILE": str(server.seed("policy")),
            "WEIRGATE_HEALTH_LISTEN": f"127.0.0.1:{port}",
        }
        | more,
        stderr=subprocess.PIPE,
        text=True,
    )


def ask(port: int, page: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=2) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def wait_for(port: int, page: str, status: int) -> str:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        got, text = ask(port, page)
        if got == status:
            return text
        time.sleep(0.05)
    raise AssertionError(f"/{page} never answered {status}")


def test_a_service_gets_ready_and_stops_on_a_signal(tmp_path: Path) -> None:
    with running_nats(tmp_path) as server:
        port = free_port()
        process = start(server, port)
        wait_for(port, "readyz", 200)
        assert ask(port, "healthz") == (200, "alive\n")
        assert ask(port, "nothing")[0] == 404
        server.kill9()
        assert "not connected" in wait_for(port, "readyz", 503)
        server.start()
        wait_for(port, "readyz", 200)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=15)
        assert process.returncode == 0, said
        assert re.search(r'"text": "ready"', said)


def test_a_task_that_fails_ends_the_process_without_telling_payload(tmp_path: Path) -> None:
    with running_nats(tmp_path) as server:
        process = start(server, free_port(), WEIRGATE_NAME="broken")
        _, said = process.communicate(timeout=30)
        assert process.returncode == 1, said
        assert "RuntimeError" in said
        assert "4111" not in said


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("WEIRGATE_NATS_NKEY_FIL", "/x", "did you mean WEIRGATE_NATS_NKEY_FILE"),
        ("WEIRGATE_LOG_LEVEL", "loud", "WEIRGATE_LOG_LEVEL"),
    ],
)
def test_a_wrong_environment_stops_the_start(tmp_path: Path, variable: str, value: str, words: str) -> None:
    with running_nats(tmp_path) as server:
        process = start(server, free_port(), **{variable: value})
        _, said = process.communicate(timeout=30)
        assert process.returncode == 2
        assert words in said
