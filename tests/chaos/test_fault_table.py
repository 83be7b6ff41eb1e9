"""The fault table: what each failure looks like to the agent, and what stands in the log afterwards."""

import asyncio
import contextlib
import os
import socket
import struct
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from weirgate_testkit import raw
from weirgate_testkit.gateway import RunningGateway, eventually, running_gateway

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

BIG = "select n, repeat('x', 100) from generate_series(1, 5000000) n"


def clear_url(gateway: RunningGateway, agent: str = "admin-bot") -> str:
    return gateway.url(agent, parameters="?sslmode=disable")


def refusal(connection: psycopg.Connection[Any], sql: str) -> tuple[str, str, float]:
    began = time.monotonic()
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(sql)  # type: ignore[arg-type]
    return str(caught.value.sqlstate), str(caught.value), time.monotonic() - began


def works(gateway: RunningGateway) -> bool:
    try:
        with psycopg.connect(clear_url(gateway), autocommit=True, connect_timeout=10) as connection:
            return connection.execute("select 1").fetchone() == (1,)
    except psycopg.Error:
        return False


@pytest.mark.parametrize(("name", "code"), [("policy", "verdict_timeout"), ("masking", "plan_timeout")])
def test_a_judge_that_is_away_is_a_refusal_within_the_deadline(
    gateway: RunningGateway, name: str, code: str
) -> None:
    mark = f"away{time.time_ns()}"
    with psycopg.connect(clear_url(gateway), autocommit=True) as connection:
        connection.execute("select 1")
        with gateway.frozen(name):
            state, said, took = refusal(connection, f"select '{mark}'")
        assert name in said
        assert took < 6
        assert state
        assert mark not in gateway.upstream_log()
        eventually(lambda: works(gateway))
        assert connection.execute("select 2").fetchone() == (2,)
    assert any(
        event["kind"] == "operation.refused" and event["refusal"]["code"] == code
        for event in gateway.events(last=300)
    )


def test_nats_away_is_a_refusal_and_the_gateway_recovers(gateway: RunningGateway) -> None:
    mark = f"nats{time.time_ns()}"
    with psycopg.connect(clear_url(gateway), autocommit=True) as connection:
        connection.execute("select 1")
        with gateway.frozen("nats"):
            _, said, took = refusal(connection, f"select '{mark}'")
        assert took < 10
        assert said
    assert mark not in gateway.upstream_log()
    gateway.kill("nats")
    eventually(lambda: works(gateway), 40)
    gateway.wait_ready()


def test_recorder_away_changes_nothing_for_the_agent_and_it_catches_up(gateway: RunningGateway) -> None:
    mark = f"recorder{time.time_ns()}"
    with gateway.frozen("recorder"), psycopg.connect(clear_url(gateway), autocommit=True) as connection:
        assert connection.execute(f"select '{mark}'").fetchone() == (mark,)  # type: ignore[arg-type]
    session = next(
        event["session"]
        for event in gateway.events(last=300)
        if event["kind"] == "operation.intercepted" and mark in str(event["statements"])
    )
    eventually(lambda: mark in gateway.weirgate("sessions", "show", session, check=False).stdout)


async def test_approval_away_keeps_the_operation_waiting_and_loses_nothing(gateway: RunningGateway) -> None:
    mark = f"approval{time.time_ns()}"
    connection = await psycopg.AsyncConnection.connect(clear_url(gateway, "writer"), autocommit=True)
    gateway.kill("approval")
    waiting = asyncio.create_task(
        connection.execute(f"update products set category = '{mark}' where id = 4")  # type: ignore[arg-type]
    )
    request = ""
    for _ in range(100):
        out = (await asyncio.to_thread(gateway.weirgate, "approvals", "list", "--json", check=False)).stdout
        import json

        found = [entry for entry in json.loads(out or "[]") if mark in str(entry)]
        if found:
            request = found[0]["id"]
            break
        assert not waiting.done()
        await asyncio.sleep(0.3)
    assert request
    await asyncio.to_thread(gateway.weirgate, "approvals", "grant", request)
    assert (await asyncio.wait_for(waiting, 20)).rowcount == 1
    await connection.close()


def test_upstream_away_is_a_refusal_that_says_so(gateway: RunningGateway) -> None:
    with gateway.frozen("upstream"), pytest.raises(psycopg.OperationalError, match="upstream"):
        psycopg.connect(clear_url(gateway), connect_timeout=60)
    gateway.kill("upstream")
    eventually(lambda: works(gateway), 40)


def test_upstream_dying_in_the_middle_of_a_result_is_an_error_and_recorded(gateway: RunningGateway) -> None:
    with raw.login(clear_url(gateway)) as peer:
        peer.sendall(raw.query(BIG))
        got = 0
        while got < 2_000_000:
            got += len(peer.recv(65536))
        gateway.kill("upstream")
        tail = b""
        peer.settimeout(30)
        while part := peer.recv(65536):
            tail = (tail + part)[-4000:]
    assert b"upstream_lost" in tail or b"upstream" in tail
    eventually(
        lambda: any(
            event["kind"] == "operation.failed" and event["refusal"]["code"] == "upstream_lost"
            for event in gateway.events(last=300)
        )
    )
    eventually(lambda: works(gateway), 40)


def test_an_agent_dying_in_the_middle_of_a_result_stops_the_upstream(gateway: RunningGateway) -> None:
    peer = raw.login(clear_url(gateway))
    peer.sendall(raw.query(BIG))
    peer.recv(65536)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    eventually(lambda: any(event["kind"] == "operation.abandoned" for event in gateway.events(last=100)))

    def idle() -> bool:
        with psycopg.connect(gateway.direct_url(superuser=True)) as direct:
            count = direct.execute(
                "select count(*) from pg_stat_activity where query like '%generate_series(1, 5000000)%' "
                "and state = 'active' and pid <> pg_backend_pid()"
            ).fetchone()
        return count == (0,)

    eventually(idle)


def test_a_token_that_expires_ends_the_session(gateway: RunningGateway) -> None:
    token = gateway.mint("short", "unrestricted", ttl="6s")
    with psycopg.connect(
        gateway.url("short", token=token, parameters="?sslmode=disable"), autocommit=True
    ) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        time.sleep(9)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    assert any(
        event["kind"] == "session.closed" and event["reason"] == "expired"
        for event in gateway.events(last=100)
    )
    with pytest.raises(psycopg.OperationalError, match="expired"):
        psycopg.connect(gateway.url("short", token=token, parameters="?sslmode=disable"))


def _address(gateway: RunningGateway) -> tuple[str, int]:
    parts = urlsplit(clear_url(gateway))
    return str(parts.hostname), int(parts.port or 0)


def _closed_within(peer: socket.socket, seconds: float) -> bytes:
    peer.settimeout(seconds)
    said = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while part := peer.recv(65536):
            said += part
    return said


@pytest.mark.parametrize("seed", range(6))
def test_garbage_bytes_end_that_session_alone(gateway: RunningGateway, seed: int) -> None:
    noise = os.urandom(4096)
    with socket.create_connection(_address(gateway)) as peer:
        with contextlib.suppress(OSError):
            peer.sendall(noise)
        _closed_within(peer, 15)
    with raw.login(clear_url(gateway)) as peer:
        with contextlib.suppress(OSError):
            peer.sendall(b"\xfe" + noise)
        assert b"08P01" in _closed_within(peer, 15)
    assert works(gateway)


def test_a_length_of_two_gibibytes_is_refused_at_once(gateway: RunningGateway) -> None:
    ingress = psutil.Process(gateway.pid("ingress"))
    before = ingress.memory_info().rss
    with raw.login(clear_url(gateway)) as peer:
        peer.sendall(b"Q\x7f\xff\xff\xff")
        assert b"too_large" in _closed_within(peer, 10)
    with socket.create_connection(_address(gateway)) as peer:
        peer.sendall(b"\x7f\xff\xff\xff\x00\x03\x00\x00")
        _closed_within(peer, 10)
    assert ingress.memory_info().rss - before < 64 * 2**20
    assert works(gateway)


def test_a_slow_reader_slows_the_upstream_and_loses_no_byte(gateway: RunningGateway) -> None:
    ingress = psutil.Process(gateway.pid("ingress"))
    sql = "select n, repeat('y', 200) from generate_series(1, 400000) n"
    before = ingress.memory_info().rss
    peak = 0
    with raw.login(clear_url(gateway)) as peer:
        peer.sendall(raw.query(sql))
        total, tail = 0, b""
        began = time.monotonic()
        while True:
            if time.monotonic() - began < 6:
                time.sleep(0.05)
            part = peer.recv(32768)
            assert part
            total += len(part)
            tail = (tail + part)[-64:]
            peak = max(peak, ingress.memory_info().rss)
            if tail[-6:-1] == b"Z\0\0\0\x05":
                break
    assert b"SELECT 400000" in tail
    with raw.login(gateway.direct_url()) as peer:
        pass
    assert total == raw.drain(gateway.direct_url(), sql).size_bytes
    assert peak - before < 64 * 2**20


def test_a_thousand_idle_sockets_cost_others_nothing(gateway: RunningGateway) -> None:
    idle: list[socket.socket] = []
    try:
        for _ in range(1000):
            idle.append(socket.create_connection(_address(gateway)))
        began = time.monotonic()
        assert works(gateway)
        assert time.monotonic() - began < 5
    finally:
        for peer in idle:
            peer.close()


def test_a_full_log_refuses_and_nothing_reaches_the_upstream(tmp_path: Path) -> None:
    with running_gateway(
        tmp_path / "full", port_base=17600, arguments=("--audit-max-bytes", str(2 << 20)),
        settings={"upstream:log_statement": "all"},
    ) as gateway:  # fmt: skip
        filler = "x" * 60_000
        said: psycopg.Error | None = None
        with psycopg.connect(clear_url(gateway), autocommit=True) as connection:
            for number in range(200):
                try:
                    connection.execute(f"select {number}, length('{filler}')")  # type: ignore[arg-type]
                except psycopg.Error as error:
                    said = error
                    break
        assert said is not None
        assert "log" in str(said)
        mark = f"full{time.time_ns()}"
        with (
            contextlib.suppress(psycopg.Error),
            psycopg.connect(clear_url(gateway), autocommit=True) as connection,
        ):
            connection.execute(f"select '{mark}', '{filler}'")  # type: ignore[arg-type]
        assert mark not in gateway.upstream_log()
