"""The read model on a real PostgreSQL: each message has its effect once, whatever is delivered how often."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from weirgate_bus.port import Delivery
from weirgate_contracts.events import Event, LogCheckpointed, OperationFinished, OperationIntercepted
from weirgate_contracts.http import HttpCall, HttpResponse
from weirgate_contracts.identity import Identity
from weirgate_embedded.postgres import Postgres
from weirgate_recorder import store as store_module
from weirgate_recorder.chain import GENESIS, link
from weirgate_recorder.schema import MIGRATIONS
from weirgate_recorder.store import Behind, Extent, Store, StoreUnavailable
from weirgate_testkit.audit import Scribe
from weirgate_testkit.postgres import running_postgres

TABLES = ("position", "events", "sessions", "operations", "approvals", "recordings", "gap")


def delivered(events: Sequence[Event], start: int = 1) -> list[Delivery]:
    return [
        Delivery(subject=event.subject, body=event.encoded(), sequence=n, headers={"Nats-Msg-Id": event.id})
        for n, event in enumerate(events, start)
    ]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with running_postgres(tmp_path_factory.mktemp("read-model")) as server:
        yield server


@pytest.fixture
async def dsn(postgres: Postgres) -> AsyncIterator[str]:
    yield postgres.dsn()
    connection = await asyncpg.connect(postgres.dsn())
    await connection.execute("drop schema if exists weirgate cascade; drop schema if exists other cascade")
    await connection.close()


async def everything(dsn: str, schema: str = "weirgate") -> dict[str, list[dict[str, Any]]]:
    connection = await asyncpg.connect(dsn)
    try:
        held: dict[str, list[dict[str, Any]]] = {}
        for table in TABLES:
            rows = await connection.fetch(f'select * from "{schema}".{table} order by 1, 2')
            held[table] = [{k: v for k, v in row.items() if k != "noticed_at"} for row in rows]
        return held
    finally:
        await connection.close()


async def test_an_event_is_stored_byte_for_byte_with_the_link_of_the_chain(dsn: str) -> None:
    log = delivered(Scribe().log(1))
    store = await Store.connect(dsn, stream="AUDIT")
    written = await store.write_events(log)
    await store.close()
    rows = (await everything(dsn))["events"]
    chain = GENESIS
    for each, row in zip(log, rows, strict=True):
        chain = link(
            chain,
            sequence=each.sequence,
            subject=each.subject,
            message_id=each.headers["Nats-Msg-Id"],
            body=each.body,
        )
        assert (row["sequence"], row["body"], row["link"]) == (each.sequence, each.body, chain)
    assert written.position.link == chain
    assert (written.stored, written.holes, written.unreadable) == (len(log), (), ())


async def test_a_session_its_operations_and_its_approvals_can_be_read_back(dsn: str) -> None:
    store = await Store.connect(dsn, stream="AUDIT")
    await store.write_events(delivered(Scribe().log(1, operations=1)))
    await store.close()
    held = await everything(dsn)
    session, refused = held["sessions"]
    assert (session["state"], session["agent"], session["person"]) == ("closed", "analyst", "ann@example.com")
    assert (refused["state"], refused["refusal"]) == ("refused", "token_invalid")
    read, dropped, updated, failed, left = held["operations"]
    assert (read["verdict"], read["outcome"], read["rows"], read["cells_masked"]) == ("allowed", "ok", 3, 3)
    assert (read["rules"], read["verbs"], read["masked"]) == (["analysts.read"], ["select"], ["pii.email"])
    assert (dropped["verdict"], dropped["refusal"]) == ("denied", "denied")
    assert (updated["verdict"], updated["outcome"]) == ("allowed", "ok")
    assert (failed["outcome"], failed["refusal"]) == ("failed", "upstream_lost")
    assert (left["outcome"], left["reason"]) == ("abandoned", "cancelled, sent")
    (approval,) = held["approvals"]
    assert (approval["state"], approval["decided_by"], approval["endorsed_by"]) == (
        "granted",
        ["ann", "bob"],
        ["ann"],
    )
    assert approval["request"] == updated["request"]


async def test_a_call_is_stored_with_its_status_and_type(dsn: str) -> None:
    scribe = Scribe()
    session = scribe.new_session()
    asked = OperationIntercepted(
        ingress="i1", session=session, operation=1, protocol="http", resource="crm", digest="d",
        identity=Identity(agent="bot", issuer="t", token_id="t", expires_at=0),
        call=HttpCall(method="GET", path="/v1/customers/7", query=(("x", "1"),)),
    )  # fmt: skip
    finished = OperationFinished(
        ingress="i1", session=session, operation=1, outcome="ok",
        response=HttpResponse(status=200, type="application/json"),
    )  # fmt: skip
    log = delivered(scribe.stamp_all([asked, finished]))
    store = await Store.connect(dsn, stream="AUDIT")
    await store.write_events(log[:1])
    await store.write_events(log[1:])
    await store.close()
    (row,) = (await everything(dsn))["operations"]
    assert (row["text"], row["status"], row["response_type"]) == (
        "GET /v1/customers/7?x=1", 200, "application/json",
    )  # fmt: skip


async def test_a_read_model_of_an_earlier_release_is_migrated_where_it_stands(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = delivered(Scribe().log(1))
    monkeypatch.setattr(store_module, "MIGRATIONS", MIGRATIONS[:1])
    await (await Store.connect(dsn, stream="AUDIT")).close()
    monkeypatch.undo()
    store = await Store.connect(dsn, stream="AUDIT")
    written = await store.write_events(log)
    await store.close()
    assert written.stored == len(log)
    assert all(row["status"] is None for row in (await everything(dsn))["operations"])


async def test_storing_the_same_batch_again_changes_nothing(dsn: str) -> None:
    log = delivered(Scribe().log(2))
    store = await Store.connect(dsn, stream="AUDIT")
    await store.write_events(log)
    before = await everything(dsn)
    for again in (log, log[5:9], list(reversed(log))):
        written = await store.write_events(again)
        assert (written.stored, written.mismatches) == (0, ())
    await store.close()
    assert await everything(dsn) == before


async def test_any_mix_of_batches_gives_what_one_batch_gives(dsn: str) -> None:
    log = delivered(Scribe().log(4))
    whole = await Store.connect(dsn, stream="AUDIT", schema="other")
    await whole.write_events(log)
    await whole.close()
    chance = random.Random(7)
    store = await Store.connect(dsn, stream="AUDIT")
    at = 0
    while at < len(log):
        start, end = max(0, at - chance.randrange(4)), at + chance.randrange(1, 9)
        batch = log[start:end]
        chance.shuffle(batch)
        await store.write_events(batch)
        at = end
    await store.close()
    assert await everything(dsn) == await everything(dsn, "other")


async def test_a_batch_past_the_position_is_not_stored(dsn: str) -> None:
    log = delivered(Scribe().log(1))
    store = await Store.connect(dsn, stream="AUDIT")
    await store.write_events(log[:3])
    with pytest.raises(Behind) as behind:
        await store.write_events(log[5:])
    assert behind.value.position == 3
    assert (await store.position()).sequence == 3
    await store.close()


async def test_what_the_stream_itself_does_not_hold_is_a_hole_and_the_rest_is_stored(dsn: str) -> None:
    log = delivered(Scribe().log(1))
    store = await Store.connect(dsn, stream="AUDIT")
    written = await store.write_events(log[:3] + log[5:], from_stream=True)
    await store.close()
    assert written.holes == ((4, 5),)
    held = await everything(dsn)
    assert held["gap"] == [{"stream": "AUDIT", "first": 4, "last": 5}]
    assert len(held["events"]) == len(log) - 2


async def test_another_message_under_a_sequence_that_is_stored_is_noticed(dsn: str) -> None:
    log = delivered(Scribe().log(1))
    store = await Store.connect(dsn, stream="AUDIT")
    await store.write_events(log)
    forged = Delivery(subject=log[3].subject, body=log[3].body + b" ", sequence=4, headers=log[3].headers)
    written = await store.write_events([log[2], forged, log[4]])
    await store.close()
    assert written.mismatches == (4,)


async def test_a_checkpoint_that_does_not_match_is_noticed_and_one_that_does_is_not(dsn: str) -> None:
    scribe = Scribe()
    log = delivered(scribe.log(1))
    store = await Store.connect(dsn, stream="AUDIT")
    reached = (await store.write_events(log)).position
    good = scribe.stamp(LogCheckpointed(sequence=reached.sequence, chain=reached.link.hex()))
    bad = scribe.stamp(LogCheckpointed(sequence=3, chain="00" * 32))
    written = await store.write_events(delivered([good, bad], start=len(log) + 1))
    await store.close()
    assert written.mismatches == (3,)
    assert written.position.checkpointed == reached.sequence
    assert written.position.fresh == reached.sequence


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"not json",
        b"{}",
        b'{"kind":"operation.finished","at":"2026-01-01T00:00:00Z","ingress":"i","session":"s","operation":1,'
        b'"outcome":"ok","sqlstate":null,"tags":[],"rows":"many","bytes_in":0,"bytes_out":0,"cells_masked":0,'
        b'"duration_us":0,"sha256":""}',
        b'{"kind":"operation.finished","at":"2026-01-01T00:00:00Z","ingress":"i","session":"s",'
        b'"operation":99999999999,"outcome":"ok","sqlstate":null,"tags":[],"rows":1,"bytes_in":0,"bytes_out":0,'
        b'"cells_masked":0,"duration_us":0,"sha256":""}',
    ],
)
async def test_a_message_that_is_no_event_is_kept_and_stops_nothing(dsn: str, body: bytes) -> None:
    log = delivered(Scribe().log(1))
    odd = Delivery(subject="audit.log.degraded", body=body, sequence=len(log) + 1)
    after = delivered(Scribe().log(1), start=len(log) + 2)
    store = await Store.connect(dsn, stream="AUDIT")
    written = await store.write_events([*log, odd, *after])
    await store.close()
    assert written.unreadable == (odd.sequence,)
    rows = (await everything(dsn))["events"]
    assert len(rows) == len(log) * 2 + 1
    assert (rows[len(log)]["kind"], rows[len(log)]["body"]) == (None, body)
    assert (await everything(dsn))["operations"]


async def test_only_one_recorder_leads_a_stream(dsn: str) -> None:
    one = await Store.connect(dsn, stream="AUDIT")
    other = await Store.connect(dsn, stream="AUDIT")
    recordings = await Store.connect(dsn, stream="RECORDING")
    assert await one.lead()
    assert not await other.lead()
    assert await recordings.lead()
    await one.close()
    assert await other.lead()
    await other.close()
    await recordings.close()


async def test_two_writers_at_once_still_store_each_message_once(dsn: str) -> None:
    log = delivered(Scribe().log(6))
    stores = [await Store.connect(dsn, stream="AUDIT") for _ in range(2)]

    async def write(store: Store) -> None:
        for start in range(0, len(log), 7):
            await store.write_events(log[start : start + 7])

    await asyncio.gather(*(write(store) for store in stores))
    held = await everything(dsn)
    assert [row["sequence"] for row in held["events"]] == list(range(1, len(log) + 1))
    for store in stores:
        await store.close()


async def test_the_extent_of_a_recording_counts_each_message_once(dsn: str) -> None:
    store = await Store.connect(dsn, stream="RECORDING")
    extents = [
        Extent(sequence=n, ingress="i1", session="s1", size_bytes=10, frames=2 if n != 3 else None)
        for n in range(1, 6)
    ]
    await store.write_extents(extents[:3], reached=3)
    await store.write_extents(extents[1:], reached=5)
    with pytest.raises(Behind):
        await store.write_extents(
            [Extent(sequence=9, ingress="i1", session="s1", size_bytes=1, frames=1)], reached=9
        )
    await store.close()
    (row,) = (await everything(dsn))["recordings"]
    assert (row["messages"], row["frames"], row["size_bytes"], row["unreadable"]) == (5, 8, 50, 1)
    assert (row["first_sequence"], row["last_sequence"]) == (1, 5)


async def test_a_rebuilt_schema_takes_the_name_while_a_recorder_writes_on(dsn: str) -> None:
    log = delivered(Scribe().log(3))
    running = await Store.connect(dsn, stream="AUDIT")
    await running.write_events(log[:20])
    rebuilt = await Store.connect(dsn, stream="AUDIT", schema="other")
    await rebuilt.write_events(log[:25])
    await rebuilt.take_name("other")
    await rebuilt.close()
    with pytest.raises(Behind):
        await running.write_events(log[30:])
    await running.write_events(log[20:])
    await running.close()
    assert (await everything(dsn))["position"][0]["sequence"] == len(log)


async def test_a_read_model_that_is_away_is_said_to_be_away(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        await Store.connect("postgresql://nobody@127.0.0.1:1/none", stream="AUDIT")
