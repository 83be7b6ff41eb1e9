"""`weirgate up` as a person uses it: started, hurt, stopped, started again."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from weirgate_testkit.gateway import running_gateway

BASE = 17700
WEIRGATE = str(Path(sys.executable).parent / "weirgate")

pytestmark = pytest.mark.timeout(300)


def masked_row(url: str) -> tuple[object, ...]:
    with psycopg.connect(url) as connection:
        row = connection.execute("select email from customers where id = 1").fetchone()
    assert row is not None
    return row


def children_of(directory: Path) -> list[str]:
    found: list[str] = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(directory) in line and process.pid != psutil.Process().pid:
            found.append(line)
    return found


def test_a_gateway_starts_heals_stops_without_a_trace_and_starts_again(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with running_gateway(directory, port_base=BASE) as gateway:
        first = masked_row(gateway.url("analyst"))
        assert first != ("quinn.patel1@example.com",)

        for name in ("masking", "nats"):
            before = gateway.pid(name)
            gateway.kill(name)
            deadline = time.monotonic() + 20
            while gateway.pid(name) == before:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            gateway.wait_ready()
            said = (directory / "up.out").read_text()
            assert f"{name} died (SIGKILL)" in said
            assert f"{name} restarted" in said

        second = subprocess.run(
            [WEIRGATE, "up", "--data-dir", str(directory), "--port-base", str(BASE + 100)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert second.returncode == 1
        assert "already running" in second.stderr

        pids = list(gateway.endpoints["pids"].values())
        gateway.process.send_signal(signal.SIGINT)
        assert gateway.process.wait(60) == 0
        assert not [pid for pid in pids if psutil.pid_exists(pid)]
        assert children_of(directory) == []
        assert not (directory / "lock").exists()
        assert not (directory / "endpoints.json").exists()

    with running_gateway(directory, port_base=BASE) as gateway:
        assert masked_row(gateway.url("analyst")) == first
        events = gateway.events(last=10_000)
        assert [event["log_sequence"] for event in events] == list(range(1, len(events) + 1))
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(60) == 0


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", BASE + 203))
        taken.listen()
        done = subprocess.run(
            [WEIRGATE, "up", "--demo", "--data-dir", str(tmp_path / "data"), "--port-base", str(BASE + 200)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"port {BASE + 203} (console) is already taken" in done.stderr
    assert "--port-base" in done.stderr
    assert not (tmp_path / "data" / "lock").exists()


def test_a_gateway_that_was_killed_leaves_nothing_in_the_way_of_the_next(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with running_gateway(directory, port_base=BASE + 300) as gateway:
        first = masked_row(gateway.url("analyst"))
        gateway.process.kill()
        gateway.process.wait(10)
        (directory / "endpoints.json").unlink()
    with running_gateway(directory, port_base=BASE + 300) as gateway:
        assert masked_row(gateway.url("analyst")) == first


def test_wrong_use_says_what_would_be_right(tmp_path: Path) -> None:
    done = subprocess.run(
        [WEIRGATE, "up", "--data-dir", str(tmp_path), "--set", "nonsense"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "SERVICE:WEIRGATE_NAME=VALUE" in done.stderr
