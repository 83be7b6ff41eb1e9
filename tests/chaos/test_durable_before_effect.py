"""Promise P1 under fire: whatever dies, no statement reaches the upstream without its events in the log."""

import asyncio
import contextlib
import re
import time

import psycopg
import pytest

from weirgate_testkit.gateway import RunningGateway

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

VICTIMS = ("policy", "masking", "approval", "recorder", "console", "ingress", "nats", "read_model")
CLIENTS = 6
BEFORE_S, AFTER_S = 2.0, 5.0


async def load(gateway: RunningGateway, client: int, until: float, mark: str) -> tuple[int, int]:
    """Write numbered statements, simple and extended, over and over; reconnect when the session ends."""
    done = refused = number = 0
    while time.monotonic() < until:
        with contextlib.suppress(psycopg.OperationalError, OSError):
            connection = await asyncio.wait_for(
                psycopg.AsyncConnection.connect(
                    gateway.url("admin-bot"), autocommit=True, prepare_threshold=3
                ),
                10,
            )
            try:
                while time.monotonic() < until:
                    number += 1
                    text = f"select name /* {mark}-{client}-{number} */ from products where id = "
                    try:
                        if number % 2:
                            await asyncio.wait_for(connection.execute(text + "3"), 10)  # type: ignore[arg-type]
                        else:
                            await asyncio.wait_for(connection.execute(text + "%s", (3,)), 10)  # type: ignore[arg-type]
                        done += 1
                    except psycopg.Error:
                        refused += 1
                        if connection.closed:
                            break
                        await asyncio.sleep(0.05)
            finally:
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(connection.close(), 2)
        await asyncio.sleep(0.1)
    return done, refused


@pytest.mark.parametrize("victim", VICTIMS)
async def test_every_statement_the_upstream_saw_has_its_events(gateway: RunningGateway, victim: str) -> None:
    mark = f"durable{victim.replace('_', '')}{time.time_ns()}"
    until = time.monotonic() + BEFORE_S + AFTER_S
    clients = [asyncio.create_task(load(gateway, n, until, mark)) for n in range(CLIENTS)]
    await asyncio.sleep(BEFORE_S)
    await asyncio.to_thread(gateway.kill, victim)
    counts = await asyncio.gather(*clients)
    await asyncio.to_thread(gateway.wait_ready)
    assert sum(done for done, _ in counts) > 20

    seen = re.findall(rf"{mark}-\d+-\d+", gateway.upstream_log())
    assert seen
    intercepted: dict[str, list[str]] = {}
    allowed: set[str] = set()
    for event in await asyncio.to_thread(gateway.events):
        if event["kind"] == "operation.intercepted":
            for statement in event["statements"]:
                for name in re.findall(rf"{mark}-\d+-\d+", statement["text"]):
                    intercepted.setdefault(name, []).append(event["id"])
        elif event["kind"] == "operation.allowed":
            allowed.add(event["intercepted"])
    missing = [name for name in set(seen) if not any(each in allowed for each in intercepted.get(name, []))]
    assert missing == []

    verified = await asyncio.to_thread(gateway.weirgate, "log", "verify", check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr
