"""`weirgate log …` and `weirgate sessions …`, run as a person runs them, on a real NATS and PostgreSQL."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from weirgate_bus.connection import Connection
from weirgate_bus.consume import call
from weirgate_bus.nkey import read_seed
from weirgate_bus.port import Delivery
from weirgate_bus.provision import provision
from weirgate_bus.topology import inbox
from weirgate_contracts.events import (
    LogCheckpointed,
    OperationFinished,
    OperationIntercepted,
    SessionOpened,
    decode,
)
from weirgate_contracts.http import HttpCall, HttpResponse
from weirgate_contracts.recording import Frame
from weirgate_embedded.postgres import Postgres
from weirgate_testkit.audit import Scribe, identity
from weirgate_testkit.nats import SMALL, running_nats
from weirgate_testkit.postgres import running_postgres
from weirgate_testkit.recorder import Place, place, writer
from weirgate_wire.postgres.agent import Query
from weirgate_wire.postgres.upstream import (
    CommandComplete,
    DataRow,
    FieldDescription,
    ReadyForQuery,
    RowDescription,
)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with running_postgres(tmp_path_factory.mktemp("read-model")) as server:
        yield server


@pytest.fixture
async def here(tmp_path: Path, postgres: Postgres) -> AsyncIterator[Place]:
    with running_nats(tmp_path / "nats") as nats:
        async with place(tmp_path / "data", nats, postgres.dsn()) as made:
            yield made
    connection = await asyncpg.connect(postgres.dsn())
    await connection.execute("drop schema if exists weirgate cascade")
    await connection.close()


async def ask(here: Place, *arguments: str, status: int = 0) -> str:
    done = await asyncio.to_thread(here.weirgate, *arguments)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    for line in done.stdout.splitlines():
        assert "--json" in arguments or len(line) <= 100, line
    return done.stdout if done.stdout else done.stderr


async def ask_json(here: Place, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await ask(here, *arguments, "--json", status=status)).splitlines()]


async def recorded(here: Place, *, sessions: int = 2) -> str:
    """Publish a log, let a recorder store and checkpoint it; return the first session."""
    events = Scribe().log(sessions)
    with here.recorder():
        await here.publish(events)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            made = [decode(each.body) for each in await here.log() if each.subject == LogCheckpointed.SUBJECT]
            if any(isinstance(each, LogCheckpointed) and each.sequence >= len(events) for each in made):
                break
            await asyncio.sleep(0.05)
    return str(getattr(events[0], "session", ""))


async def swap_log(here: Place, log: list[Delivery]) -> None:
    """Put another log in the place of this one: what somebody can do who holds the provisioning key."""
    seed_file = here.nats.seed("provision")
    connection = await Connection.open(
        here.nats.url, read_seed(seed_file), "thief", inbox=inbox("provision"), deadline_s=10
    )
    await call(connection, "$JS.API.STREAM.DELETE.AUDIT")
    await connection.close()
    await provision(here.nats.url, seed_file, SMALL)
    await here.close()
    for each in log:
        bus = await here.bus(writer(each.subject))
        await bus.publish(each.subject, each.body, id=each.headers["Nats-Msg-Id"], deadline_s=10)


async def test_tail_reads_the_log_with_recorder_and_read_model_away(here: Place) -> None:
    events = Scribe().log(1)
    await here.publish(events)
    (here.directory / "secrets" / "read-model.dsn").unlink()
    told = await ask_json(here, "log", "tail", "--last", "5")
    assert [each["id"] for each in told] == [event.id for event in events[-5:]]
    assert [each["log_sequence"] for each in told] == list(range(len(events) - 4, len(events) + 1))
    everything = await ask_json(here, "log", "tail", "--last", "100000")
    assert [each["kind"] for each in everything] == [event.kind for event in events]
    assert "operation.denied" in await ask(here, "log", "tail", "--last", "100")


async def test_tail_takes_kinds_families_and_a_session(here: Place) -> None:
    events = Scribe().log(2)
    await here.publish(events)
    denied = await ask_json(here, "log", "tail", "--kind", "operation.denied")
    assert [each["kind"] for each in denied] == ["operation.denied"] * 2
    approvals = await ask_json(here, "log", "tail", "--kind", "approval", "--last", "2")
    assert {each["kind"].split(".")[0] for each in approvals} == {"approval"}
    session = str(getattr(events[0], "session", ""))
    of_one = await ask_json(here, "log", "tail", "--session", session, "--last", "1000")
    assert [each["id"] for each in of_one] == [
        event.id for event in events if getattr(event, "session", "") == session
    ]
    assert "there are" in await ask(here, "log", "tail", "--kind", "nonsense", status=2)


async def test_tail_follow_goes_on_with_what_comes(here: Place) -> None:
    scribe = Scribe()
    await here.publish(scribe.log(1))
    program = (
        "import typer; from weirgate_recorder.command import register as r; a = typer.Typer(); r(a); a()"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, "log", "tail", "--last", "1", "--follow", "--json",
        env=here.environment() | {"WEIRGATE_DATA_DIR": str(here.directory)},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            await process.stdout.readline()
            more = scribe.log(1)
            await here.publish(more)
            lines = [json.loads(await process.stdout.readline()) for _ in more]
        assert [each["id"] for each in lines] == [event.id for event in more]
    finally:
        process.kill()
        await process.wait()


async def test_verify_finds_an_untouched_log_sound_with_and_without_the_read_model(here: Place) -> None:
    await recorded(here)
    (report,) = await ask_json(here, "log", "verify")
    assert (report["sound"], report["read_model"]) == (True, True)
    assert report["witnessed"] >= report["covered"] > 0
    assert report["checkpoints"] >= 1
    assert "sound" in await ask(here, "log", "verify", "--log-only")
    (here.directory / "secrets" / "read-model.dsn").unlink()
    (report,) = await ask_json(here, "log", "verify")
    assert (report["sound"], report["read_model"]) == (True, False)


@pytest.mark.parametrize("what", ["edited", "dropped", "reordered", "truncated"])
async def test_verify_names_the_first_event_that_is_wrong(here: Place, what: str) -> None:
    await recorded(here)
    log = await here.log()
    if what == "edited":
        body = log[9].body.replace(b"operation", b"operatiom", 1)
        log[9] = Delivery(subject=log[9].subject, body=body, sequence=10, headers=log[9].headers)
    elif what == "dropped":
        del log[9]
    elif what == "reordered":
        log[9], log[10] = log[10], log[9]
    else:
        del log[-4:]
    await swap_log(here, log)
    (report,) = await ask_json(here, "log", "verify", status=1)
    assert not report["sound"]
    assert report["first_wrong"] == (len(log) + 1 if what == "truncated" else 10), report
    if what != "truncated":
        (report,) = await ask_json(here, "log", "verify", "--log-only", status=1)
        assert report["first_wrong"] <= 10 <= report["findings"][0]["last"], report
    assert "discard" in await ask(here, "log", "rebuild", status=1)
    assert "rebuilt" in await ask(here, "log", "rebuild", "--discard-witness")


async def test_rebuild_makes_the_same_read_model_again_while_a_recorder_writes(here: Place) -> None:
    scribe = Scribe()
    with here.recorder():
        await here.publish(scribe.log(2))
        await here.record("s1", [Frame(direction="i", operation=1, at_us=1_700_000_000_000_000, body=b"abc")])
        before = await ask_json(here, "sessions", "list")
        deadline = time.monotonic() + 20
        while len(before) < 4 and time.monotonic() < deadline:
            before = await ask_json(here, "sessions", "list")
        load = asyncio.create_task(here.publish(scribe.log(5)))
        (done,) = await ask_json(here, "log", "rebuild")
        await load
        assert done["events"] > 0
        assert done["recordings"] == 1
        sessions = before
        deadline = time.monotonic() + 20
        while len(sessions) < 14 and time.monotonic() < deadline:
            sessions = await ask_json(here, "sessions", "list")
        assert len(sessions) == 14
        for each in before:
            assert next(other for other in sessions if other["session"] == each["session"]) == each
    (report,) = await ask_json(here, "log", "verify")
    assert report["sound"]


async def test_sessions_are_listed_filtered_and_shown(here: Place) -> None:
    session = await recorded(here)
    assert len(await ask_json(here, "sessions", "list")) == 4
    assert len(await ask_json(here, "sessions", "list", "--verdict", "denied")) == 2
    assert len(await ask_json(here, "sessions", "list", "--agent", "analyst", "--state", "closed")) == 2
    assert len(await ask_json(here, "sessions", "list", "--resource", "nothing")) == 0
    assert len(await ask_json(here, "sessions", "list", "--since", "1h")) == 0
    assert len(await ask_json(here, "sessions", "list", "--since", "2026-01-01")) == 4
    assert session in await ask(here, "sessions", "list")
    page = await ask(here, "sessions", "show", session[-6:])
    for said in (
        "analysts.read",
        "pii.email",
        "drop table customers",
        "denied",
        "approval",
        "ann, bob",
        "3 cells",
    ):
        assert said in page
    (shown,) = await ask_json(here, "sessions", "show", session)
    assert len(shown["operations"]) == 7
    assert "no session" in await ask(here, "sessions", "show", "nobody", status=1)
    assert "write one of" in await ask(here, "sessions", "list", "--verdict", "maybe", status=2)
    assert "write 15m" in await ask(here, "sessions", "list", "--since", "yesterday", status=2)


async def test_a_session_is_replayed_from_its_recording(here: Place) -> None:
    session = await recorded(here, sessions=1)
    rows = b"".join(DataRow((b"1", b"[pii.email]")).encode() for _ in range(30))
    answer = (
        RowDescription((FieldDescription("id", type_oid=23), FieldDescription("email"))).encode()
        + rows
        + CommandComplete("SELECT 30").encode()
        + ReadyForQuery("I").encode()
    )
    start_us = 1_700_000_000_000_000
    await here.record(
        session, [Frame(direction="i", operation=1, at_us=start_us, body=Query("select 1").encode())]
    )
    for at in range(0, len(answer), 100):
        piece = Frame(direction="o", operation=1, at_us=start_us + at, body=answer[at : at + 100])
        await here.record(session, [piece])
    told = await ask(here, "sessions", "replay", session[-6:], "--instant", "--rows", "3")
    for said in ("select 1", "[pii.email]", "30 rows", "the first 3 shown", "SELECT 30"):
        assert said in told
    scenes = await ask_json(here, "sessions", "replay", session)
    assert [each["scene"] for each in scenes] == ["said", "table", "done"]
    assert "select 1" in await ask(here, "sessions", "replay", session, "--raw")
    (here.directory / "secrets" / "read-model.dsn").unlink()
    assert "30 rows" in await ask(here, "sessions", "replay", session)
    assert "no recording" in await ask(here, "sessions", "replay", "nobody", status=1)


async def test_an_http_session_is_listed_shown_replayed_and_tailed(here: Place) -> None:
    scribe = Scribe()
    session = scribe.new_session()
    who: dict[str, Any] = {"protocol": "http", "resource": "crm", "identity": identity("bot")}
    where: dict[str, Any] = {"ingress": "i1", "session": session}
    call = HttpCall(method="GET", path="/v1/customers/7", query=(("x", "1"),), route="/v1/customers/{id}")
    answer = HttpResponse(status=200, type="application/json")
    events = scribe.stamp_all(
        [
            SessionOpened(**where, **who, peer="127.0.0.1:1", tls="TLSv1.3"),
            OperationIntercepted(**where, **who, operation=1, call=call, digest="d"),
            OperationFinished(**where, operation=1, outcome="ok", response=answer, bytes_out=100),
        ]
    )
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    body = b'7\r\n{"id":7\r\n1\r\n}\r\n0\r\n\r\n'
    sent = b"GET /v1/customers/7?x=1 HTTP/1.1\r\naccept: */*\r\n\r\n"
    with here.recorder():
        await here.publish(events)
        await here.record(
            session, [Frame(direction="i", operation=1, at_us=1_700_000_000_000_000, body=sent)]
        )
        for part in (head[:40], head[40:] + body[:4], body[4:]):
            frame = Frame(direction="o", operation=1, at_us=1_700_000_000_000_100, body=part)
            await here.record(session, [frame])
        deadline = time.monotonic() + 20
        while "→ ok" not in await asyncio.to_thread(
            lambda: here.weirgate("sessions", "show", session).stdout
        ):
            assert time.monotonic() < deadline
    assert "crm" in await ask(here, "sessions", "list")
    page = await ask(here, "sessions", "show", session)
    assert "GET /v1/customers/7?x=1" in page
    assert "200 application/json" in page
    (shown,) = await ask_json(here, "sessions", "show", session)
    assert (shown["operations"][0]["status"], shown["operations"][0]["response_type"]) == (
        200, "application/json",
    )  # fmt: skip
    assert "bot→crm GET /v1/customers/7?x=1" in await ask(here, "log", "tail")
    told = await ask(here, "sessions", "replay", session)
    for said in ("▸ GET /v1/customers/7?x=1 HTTP/1.1", "◂ 200 OK", '│ {"id":7}', "8 B of application/json"):
        assert said in told
    (here.directory / "secrets" / "read-model.dsn").unlink()
    scenes = await ask_json(here, "sessions", "replay", session)
    assert [each["scene"] for each in scenes] == ["called", "answered", "body"]


async def test_with_no_gateway_there_each_command_says_what_to_do(tmp_path: Path, here: Place) -> None:
    assert "weirgate up" in await ask(here, "log", "tail", "--data-dir", str(tmp_path), status=1)
    assert "read-model.dsn" in await ask(here, "sessions", "list", "--data-dir", str(tmp_path), status=1)


async def test_tail_fails_when_nats_is_away(here: Place) -> None:
    here.nats.stop()
    assert "cannot be read" in await ask(here, "log", "tail", status=1)
