"""The configuration feed: no gap, no silence, no guess."""

import asyncio
from typing import Any

import pytest

from weirgate_bus import Delivery
from weirgate_bus.memory import MemoryBus, MemoryLog
from weirgate_chassis.clock import now
from weirgate_chassis.config import ConfigFeed
from weirgate_chassis.ids import new_id
from weirgate_contracts.events import CatalogObserved, ConfigPublished


async def publish(log: MemoryLog, config: Any, name: str, body: dict[str, Any] | None) -> int:
    event = ConfigPublished(config=config, name=name, body=body, by="test").stamped(id=new_id(), at=now())
    return (await MemoryBus(log).publish(event.subject, event.encoded(), id=event.id)).sequence


def resource(name: str) -> dict[str, Any]:
    return {"name": name, "protocol": "postgres", "upstream": f"postgresql://app@{name}/db"}


async def feed_of(log: MemoryLog) -> ConfigFeed:
    feed = ConfigFeed(MemoryBus(log))
    await feed.start()
    return feed


async def test_an_empty_log_is_an_empty_and_healthy_configuration() -> None:
    feed = await feed_of(MemoryLog())
    assert feed.healthy
    assert (feed.revision, dict(feed.resources), feed.masking) == (0, {}, ())


async def test_the_newest_document_of_each_subject_counts() -> None:
    log = MemoryLog()
    await publish(log, "resource", "shop", resource("old"))
    await publish(log, "labels", "shop", {"resource": "shop", "columns": {"public.c.email": "pii.email"}})
    last = await publish(log, "resource", "shop", resource("new") | {"name": "shop"})
    feed = await feed_of(log)
    assert feed.revision == last
    assert feed.resources["shop"].upstream.endswith("@new/db")
    assert feed.labels["shop"]["public.c.email"] == "pii.email"


async def test_a_change_is_told_after_the_properties_are_new() -> None:
    log = MemoryLog()
    feed = await feed_of(log)
    seen: list[tuple[int, bool]] = []
    feed.on_change(lambda: seen.append((feed.revision, "shop" in feed.resources)))
    sequence = await publish(log, "resource", "shop", resource("shop"))
    await publish(log, "resource", "shop", None)
    await asyncio.sleep(0)
    assert seen == [(sequence, True), (sequence + 1, False)]


async def test_an_older_event_never_replaces_a_newer_one() -> None:
    log = MemoryLog()
    feed = await feed_of(log)
    await publish(log, "resource", "shop", resource("shop"))
    newest = await publish(log, "resource", "shop", None)
    old = log.messages()[0]
    log.hearing[0].handle(Delivery(subject="stored." + old.subject, body=old.body, sequence=old.sequence))
    assert feed.revision == newest
    assert "shop" not in feed.resources


async def test_what_was_missed_while_away_is_read_again() -> None:
    log = MemoryLog()
    feed = await feed_of(log)
    log.go_away()
    assert not feed.healthy
    hearing, log.hearing[:] = list(log.hearing), []  # core messages are lost
    other = MemoryLog()
    await publish(other, "resource", "shop", resource("shop"))
    log.streams["AUDIT"] = other.streams["AUDIT"]
    log.hearing[:] = hearing
    log.come_back()
    assert not feed.healthy
    for _ in range(5):
        await asyncio.sleep(0)
    assert feed.healthy
    assert "shop" in feed.resources


@pytest.mark.parametrize(
    "body",
    [
        b"no json",
        b'{"kind":"config.published","v":2}',
        b'{"kind":"session.closed"}',
    ],
)
async def test_an_event_that_cannot_be_read_makes_the_feed_refuse_until_a_newer_one_comes(
    body: bytes,
) -> None:
    log = MemoryLog()
    feed = await feed_of(log)
    await MemoryBus(log).publish("audit.config.resource.published.shop", body, id=new_id())
    assert not feed.healthy
    assert "audit.config.resource.published.shop" in (feed.problem() or "")
    await publish(log, "resource", "shop", resource("shop"))
    assert feed.healthy


async def test_a_document_that_cannot_be_read_is_a_problem_too_and_its_values_are_not_shown() -> None:
    log = MemoryLog()
    feed = await feed_of(log)
    await publish(log, "resource", "shop", resource("shop") | {"credential": "hunter2"})
    assert not feed.healthy
    assert "credential" in (feed.problem() or "")
    assert "hunter2" not in (feed.problem() or "")


async def test_an_event_under_the_subject_of_another_is_a_problem() -> None:
    log = MemoryLog()
    feed = await feed_of(log)
    event = ConfigPublished(config="resource", name="a", body=resource("a"), by="x").stamped(
        id=new_id(), at=now()
    )
    await MemoryBus(log).publish("audit.config.resource.published.b", event.encoded(), id=event.id)
    assert not feed.healthy


async def test_catalogs_are_kept_and_are_no_revision() -> None:
    log = MemoryLog()
    feed = await feed_of(log)
    event = CatalogObserved(resource="shop", revision="0" * 16, catalog={}).stamped(id=new_id(), at=now())
    await MemoryBus(log).publish(event.subject, event.encoded(), id=event.id)
    assert feed.catalogs["shop"].revision == "0" * 16
    assert feed.revision == 0
