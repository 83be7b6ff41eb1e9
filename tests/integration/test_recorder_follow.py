"""The recorder as a process, on a real NATS and PostgreSQL: what the log holds, the read model holds."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from weirgate_contracts.events import Event, LogCheckpointed, LogDegraded, decode
from weirgate_contracts.recording import Frame
from weirgate_embedded.postgres import Postgres
from weirgate_recorder.chain import Verifier
from weirgate_testkit.audit import Scribe
from weirgate_testkit.nats import running_nats
from weirgate_testkit.postgres import running_postgres
from weirgate_testkit.recorder import Place, place


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


async def fetch(here: Place, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(here.dsn)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


async def until(holds: Callable[[], Awaitable[bool]], *, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if await holds():
                return
        except (asyncpg.PostgresError, OSError):
            pass
        await asyncio.sleep(0.05)
    raise AssertionError("not in time")


async def stored(here: Place) -> list[int]:
    return [row["sequence"] for row in await fetch(here, "select sequence from weirgate.events order by 1")]


async def all_stored(here: Place) -> bool:
    """Up to the last message that is no checkpoint: those come after what they cover."""
    last = max(each.sequence for each in await here.log() if each.subject != LogCheckpointed.SUBJECT)
    rows = await fetch(here, "select sequence from weirgate.position where stream = 'AUDIT'")
    return bool(rows) and rows[0]["sequence"] >= last


async def events_of(here: Place, kind: type[Event]) -> list[Event]:
    return [event for event in (decode(each.body) for each in await here.log()) if isinstance(event, kind)]


async def covered(here: Place, sequence: int) -> bool:
    made = await events_of(here, LogCheckpointed)
    return any(isinstance(each, LogCheckpointed) and each.sequence >= sequence for each in made)


async def sound(here: Place) -> bool:
    verifier = Verifier()
    for each in await here.log():
        verifier.feed(
            sequence=each.sequence,
            subject=each.subject,
            message_id=each.headers.get("Nats-Msg-Id", ""),
            body=each.body,
        )
    return verifier.finish().sound


async def test_what_is_published_is_stored_in_order_and_covered_by_a_checkpoint(here: Place) -> None:
    events = Scribe().log(3)
    with here.recorder():
        await here.publish(events)
        await until(lambda: all_stored(here))

        await until(lambda: covered(here, len(events)))
    log = await here.log()
    rows = await fetch(here, "select sequence, message_id, body from weirgate.events order by 1")
    for row, each in zip(rows, log, strict=False):
        assert (row["sequence"], row["message_id"], row["body"]) == (
            each.sequence,
            each.headers["Nats-Msg-Id"],
            each.body,
        )
    assert await sound(here)


async def test_a_quiet_log_grows_by_no_further_checkpoint(here: Place) -> None:
    with here.recorder(WEIRGATE_CHECKPOINT_S="0.2"):
        events = Scribe().log(1)
        await here.publish(events)
        await until(lambda: covered(here, len(events)))
        before = len(await here.log())
        await asyncio.sleep(1.5)
        assert len(await here.log()) == before


async def test_a_recorder_that_was_away_stores_what_it_missed(here: Place) -> None:
    scribe = Scribe()
    await here.publish(scribe.log(1))
    with here.recorder():
        await until(lambda: all_stored(here))
    await here.publish(scribe.log(2))
    with here.recorder():
        await until(lambda: all_stored(here))
    assert await stored(here) == [each.sequence for each in await here.log()][: len(await stored(here))]


@pytest.mark.slow
async def test_killed_again_and_again_under_load_it_stores_each_event_once(here: Place) -> None:
    scribe = Scribe()
    load = asyncio.create_task(here.publish_fast(scribe.log(60, operations=20)))
    kills = 0
    while not load.done() or kills < 3:
        with here.recorder(wait=False) as recorder:
            await asyncio.sleep(0.8 + 0.3 * kills)
            recorder.kill9()
        kills += 1
    await load
    with here.recorder():
        await until(lambda: all_stored(here))
    numbers = await stored(here)
    assert numbers == list(range(1, len(numbers) + 1))
    asked = await fetch(here, "select count(*) as n from weirgate.events where kind = 'operation.finished'")
    ended = await fetch(here, "select count(*) as n from weirgate.operations where outcome = 'ok'")
    assert asked[0]["n"] == ended[0]["n"] == 60 * 21
    assert await sound(here)


async def test_with_the_read_model_away_nothing_is_lost_and_it_is_said_once(
    here: Place, postgres: Postgres
) -> None:
    scribe = Scribe()
    with here.recorder() as recorder:
        await here.publish(scribe.log(1))
        await until(lambda: all_stored(here))
        postgres.stop()
        try:
            await here.publish(scribe.log(2))
            recorder.wait_until(lambda: "read model" in (recorder.ready() or ""))

            async def said() -> bool:
                return bool(await events_of(here, LogDegraded))

            await until(said)
            await asyncio.sleep(2)
        finally:
            postgres.start()
        recorder.wait_ready()
        await until(lambda: all_stored(here))
        degraded = await events_of(here, LogDegraded)
        assert [each.reason for each in degraded if isinstance(each, LogDegraded) and "AUDIT" in each.reason]
        assert len(degraded) == 1
    numbers = await stored(here)
    assert numbers == list(range(1, len(numbers) + 1))


async def test_with_the_read_model_away_from_the_start_it_waits_unready_and_then_goes_on(
    here: Place, postgres: Postgres
) -> None:
    await here.publish(Scribe().log(1))
    postgres.stop()
    try:
        with here.recorder(wait=False) as recorder:
            recorder.wait_until(lambda: "read model" in (recorder.ready() or ""))
            postgres.start()
            recorder.wait_ready()
            await until(lambda: all_stored(here))
    finally:
        if postgres.process is None or postgres.process.poll() is not None:
            postgres.start()


async def test_a_read_model_that_lost_its_last_hours_is_filled_from_the_stream(here: Place) -> None:
    scribe = Scribe()
    with here.recorder():
        await here.publish(scribe.log(2))
        await until(lambda: all_stored(here))
        # As after a restore of an older copy: position and rows go back together.
        await fetch(here, "drop schema weirgate cascade")
        await here.publish(scribe.log(1))
        await asyncio.sleep(1)
    with here.recorder():
        await until(lambda: all_stored(here))
    numbers = await stored(here)
    assert numbers == list(range(1, len(numbers) + 1))


async def test_recordings_are_indexed_and_one_that_does_not_open_is_reported(here: Place) -> None:
    with here.recorder():
        await here.record("s1", [Frame(direction="i", operation=1, at_us=1_700_000_000_000_000, body=b"abc")])
        await here.record(
            "s1", [Frame(direction="o", operation=1, at_us=1_700_000_000_500_000, body=b"defg")]
        )
        bus = await here.bus("ingress")
        await bus.publish("recording.i1.s2", b"not sealed", id="X1")

        async def indexed() -> bool:
            return len(await fetch(here, "select * from weirgate.recordings")) == 2

        await until(indexed)

        async def said() -> bool:
            return bool(await events_of(here, LogDegraded))

        await until(said)
    one, other = await fetch(here, "select * from weirgate.recordings order by session")
    assert (one["messages"], one["frames"], one["unreadable"]) == (2, 2, 0)
    assert (other["messages"], other["frames"], other["unreadable"]) == (1, 0, 1)


async def test_a_second_recorder_stands_by_and_takes_over(here: Place) -> None:
    scribe = Scribe()
    with here.recorder() as first, here.recorder() as second:
        await here.publish(scribe.log(1))
        await until(lambda: all_stored(here))
        first.kill9()
        await here.publish(scribe.log(1))
        await until(lambda: all_stored(here))
        second.wait_ready()
    numbers = await stored(here)
    assert numbers == list(range(1, len(numbers) + 1))
