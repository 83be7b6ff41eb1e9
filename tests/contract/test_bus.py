"""What every bus does, whichever it is: the memory double passes what JetStream passes."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from weirgate_bus import (
    Batch,
    Bus,
    BusConflict,
    BusDenied,
    BusFull,
    BusTooLarge,
    BusUnavailable,
    Delivery,
    Expect,
)
from weirgate_bus.jetstream import JetStreamBus
from weirgate_bus.memory import MemoryBus, MemoryLog
from weirgate_bus.topology import Limits
from weirgate_chassis.ids import new_id
from weirgate_testkit.nats import NatsServer, running_nats

_sessions = itertools.count(1)


class World(Protocol):
    """One log and its users."""

    async def user(self, name: str) -> Bus: ...
    async def go_away(self) -> None: ...
    async def come_back(self) -> None: ...


class MemoryWorld:
    def __init__(self, limit_bytes: int | None = None) -> None:
        self.log = MemoryLog(limit_bytes=limit_bytes)

    async def user(self, name: str) -> Bus:
        return MemoryBus(self.log, name)

    async def go_away(self) -> None:
        self.log.go_away()

    async def come_back(self) -> None:
        self.log.come_back()


class NatsWorld:
    def __init__(self, server: NatsServer) -> None:
        self.server = server
        self.buses: list[JetStreamBus] = []

    async def user(self, name: str) -> Bus:
        bus = await JetStreamBus.connect(self.server.url, self.server.seed(name), name)
        self.buses.append(bus)
        return bus

    async def go_away(self) -> None:
        await asyncio.to_thread(self.server.kill9)
        while any(bus.connected for bus in self.buses):
            await asyncio.sleep(0.01)

    async def come_back(self) -> None:
        await asyncio.to_thread(self.server.start)
        while not all(bus.connected for bus in self.buses):
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        for bus in self.buses:
            await bus.close()


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(params=["memory", "jetstream"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    real = NatsWorld(request.getfixturevalue("nats"))
    yield real
    if real.server.process is not None and real.server.process.poll() is not None:
        real.server.start()
    await real.close()


@pytest.fixture
def session() -> str:
    return f"s{next(_sessions)}"


@pytest.fixture
def subject(session: str) -> str:
    return f"audit.session.opened.here.{session}"


async def until(happened: Callable[[], object], deadline_s: float = 5.0) -> None:
    limit = time.monotonic() + deadline_s
    while not happened():
        assert time.monotonic() < limit, "it did not happen in time"
        await asyncio.sleep(0.005)


async def read_all(bus: Bus, *subjects: str, newest: bool = False, start: int = 1) -> list[Delivery]:
    return [each async for each in bus.read("AUDIT", subjects=subjects, last_per_subject=newest, start=start)]


async def test_what_is_acknowledged_is_in_the_stream(world: World, subject: str) -> None:
    bus = await world.user("ingress")
    stored = await bus.publish(subject, b"one", id=new_id())
    found = await bus.get("AUDIT", stored.sequence)
    assert (found.subject, found.body, found.sequence) == (subject, b"one", stored.sequence)
    assert found.stored_at.endswith("Z")


async def test_messages_are_stored_in_the_order_they_were_published_in(world: World, subject: str) -> None:
    bus = await world.user("ingress")
    stored = await asyncio.gather(*(bus.publish(subject, b"%d" % n, id=new_id()) for n in range(500)))
    sequences = [each.sequence for each in stored]
    assert sequences == sorted(set(sequences))
    assert [each.body for each in await read_all(bus, subject)] == [b"%d" % n for n in range(500)]


async def test_the_same_id_is_stored_once(world: World, subject: str) -> None:
    bus = await world.user("ingress")
    id = new_id()
    first = await bus.publish(subject, b"x", id=id)
    again = await bus.publish(subject, b"x", id=id)
    assert again.duplicate
    assert again.sequence == first.sequence
    assert len(await read_all(bus, subject)) == 1


async def test_a_duplicate_among_many_harms_none_of_the_others(world: World, subject: str) -> None:
    bus = await world.user("ingress")
    id = new_id()
    first = await bus.publish(subject, b"x", id=id)
    many = [bus.publish(subject, b"%d" % n, id=new_id() if n != 20 else id) for n in range(50)]
    stored = await asyncio.gather(*many)
    assert [each.duplicate for each in stored] == [n == 20 for n in range(50)]
    assert stored[20].sequence == first.sequence
    assert [each.body for each in await read_all(bus, subject)] == [
        b"x",
        *(b"%d" % n for n in range(50) if n != 20),
    ]


async def test_only_one_of_two_who_expect_to_be_first_is(world: World, subject: str) -> None:
    bus = await world.user("ingress")
    tries = [
        bus.publish(subject, b"%d" % n, id=new_id(), expect=Expect(subject=subject, sequence=0))
        for n in range(2)
    ]
    first, second = await asyncio.gather(*tries, return_exceptions=True)
    assert not isinstance(first, BaseException)
    assert isinstance(second, BusConflict)
    assert [each.body for each in await read_all(bus, subject)] == [b"0"]


async def test_a_condition_may_cover_several_subjects(world: World, session: str) -> None:
    bus = await world.user("ingress")
    stored = await bus.publish(f"audit.session.opened.here.{session}", b"1", id=new_id())
    over = Expect(subject=f"audit.session.*.here.{session}", sequence=stored.sequence)
    await bus.publish(f"audit.session.closed.here.{session}", b"2", id=new_id(), expect=over)
    with pytest.raises(BusConflict):
        await bus.publish(f"audit.session.refused.here.{session}", b"3", id=new_id(), expect=over)


async def test_a_conditional_message_repeated_with_its_id_is_a_duplicate(world: World, subject: str) -> None:
    bus = await world.user("ingress")
    id, expect = new_id(), Expect(subject=subject, sequence=0)
    first = await bus.publish(subject, b"x", id=id, expect=expect)
    again = await bus.publish(subject, b"x", id=id, expect=expect)
    assert again.duplicate
    assert again.sequence == first.sequence


async def test_a_core_subscription_hears_what_is_published(world: World, session: str) -> None:
    ingress, policy = await world.user("ingress"), await world.user("policy")
    heard: list[Delivery] = []
    await policy.subscribe(f"audit.operation.intercepted.here.{session}", heard.append)
    await ingress.publish(f"audit.operation.intercepted.here.{session}", b"x", id=new_id())
    await until(lambda: heard)
    assert (heard[0].body, heard[0].sequence) == (b"x", 0)


async def test_a_stored_message_is_heard_with_its_sequence(world: World, subject: str) -> None:
    bus = await world.user("ingress")
    heard: list[Delivery] = []
    await bus.subscribe("stored." + subject, heard.append)
    stored = await asyncio.gather(*(bus.publish(subject, b"%d" % n, id=new_id()) for n in range(40)))
    await until(lambda: len(heard) == 40)
    assert [each.sequence for each in heard] == [each.sequence for each in stored]
    assert heard[0].subject == "stored." + subject
    assert [each.body for each in heard] == [b"%d" % n for n in range(40)]


async def test_a_refused_message_is_never_heard_as_stored(world: World, subject: str) -> None:
    bus = await world.user("ingress")
    heard: list[Delivery] = []
    await bus.subscribe("stored." + subject, heard.append)
    await bus.publish(subject, b"1", id=new_id())
    with pytest.raises(BusConflict):
        await bus.publish(subject, b"2", id=new_id(), expect=Expect(subject=subject, sequence=0))
    await bus.publish(subject, b"3", id=new_id())
    await until(lambda: len(heard) == 2)
    assert [each.body for each in heard] == [b"1", b"3"]


async def test_members_of_a_queue_group_share_and_others_hear_all(world: World, session: str) -> None:
    ingress = await world.user("ingress")
    subject = f"audit.operation.intercepted.here.{session}"
    members: list[list[Delivery]] = [[], []]
    everything: list[Delivery] = []
    for each in members:
        await (await world.user("policy")).subscribe(subject, each.append, queue="policy")
    await (await world.user("masking")).subscribe(subject, everything.append, queue="masking")
    await asyncio.gather(*(ingress.publish(subject, b"%d" % n, id=new_id()) for n in range(100)))
    await until(lambda: len(members[0]) + len(members[1]) == 100 and len(everything) == 100)
    assert members[0]
    assert members[1]


async def test_a_stopped_subscription_hears_no_more(world: World, subject: str) -> None:
    bus = await world.user("ingress")
    heard: list[Delivery] = []
    hearing = await bus.subscribe("stored." + subject, heard.append)
    await bus.publish(subject, b"1", id=new_id())
    await until(lambda: heard)
    await hearing.stop()
    await bus.publish(subject, b"2", id=new_id())
    await asyncio.sleep(0.05)
    assert len(heard) == 1


async def test_what_a_handler_raises_ends_the_watch(world: World, subject: str) -> None:
    bus = await world.user("ingress")

    def broken(_: Delivery) -> None:
        raise ZeroDivisionError

    watching = asyncio.create_task(bus.watch())
    await bus.subscribe("stored." + subject, broken)
    await bus.publish(subject, b"1", id=new_id())
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(watching, 5)


async def test_told_messages_are_heard_and_not_stored(world: World, session: str) -> None:
    console, ingress = await world.user("console"), await world.user("ingress")
    heard: list[Delivery] = []
    await ingress.subscribe("control.session.kill.>", heard.append)
    console.tell(f"control.session.kill.here.{session}", b"now")
    await until(lambda: heard)
    assert heard[0].body == b"now"


async def test_reading_gives_the_newest_of_each_subject(world: World, session: str) -> None:
    bus = await world.user("ingress")
    for n in range(3):
        for word in ("opened", "closed"):
            await bus.publish(f"audit.session.{word}.here.{session}", b"%d" % n, id=new_id())
    found = await read_all(bus, f"audit.session.*.here.{session}", newest=True)
    assert {each.subject.split(".")[2]: each.body for each in found} == {"opened": b"2", "closed": b"2"}
    assert [each.sequence for each in found] == sorted(each.sequence for each in found)


async def test_reading_starts_where_it_is_told_and_ends(world: World, subject: str) -> None:
    bus = await world.user("ingress")
    stored = [await bus.publish(subject, b"%d" % n, id=new_id()) for n in range(5)]
    found = await read_all(bus, subject, start=stored[3].sequence)
    assert [each.body for each in found] == [b"3", b"4"]
    assert await read_all(bus, subject, start=stored[4].sequence + 1) == []
    assert await read_all(bus, "audit.session.opened.here.nobody") == []


async def test_reading_much_loses_nothing(world: World, subject: str) -> None:
    bus = await world.user("ingress")
    body = b"x" * 2000
    for _ in range(5):
        await asyncio.gather(*(bus.publish(subject, body, id=new_id()) for _ in range(1000)))
    count = 0
    async for _ in bus.read("AUDIT", subjects=(subject,)):
        count += 1
        if count % 500 == 0:
            await asyncio.sleep(0.01)
    assert count == 5000


async def test_there_is_no_message_past_the_end(world: World, subject: str) -> None:
    bus = await world.user("ingress")
    stored = await bus.publish(subject, b"", id=new_id())
    with pytest.raises(KeyError):
        await bus.get("AUDIT", stored.sequence + 1000)


async def take(batches: AsyncIterator[Batch], count: int, *, accept: bool = True) -> list[Delivery]:
    taken: list[Delivery] = []
    while len(taken) < count:
        batch = await asyncio.wait_for(anext(batches), 5)
        taken += batch.deliveries
        if accept:
            await batch.accept()
    return taken


LINGERS = pytest.mark.parametrize("linger_s", [0.0, 0.05])


async def test_what_one_publishes_itself_is_not_heard_until_it_is_stored(world: World, session: str) -> None:
    policy, other = await world.user("policy"), await world.user("policy")
    subject = f"audit.operation.allowed.own.{session}"
    heard: dict[str, list[bytes]] = {"own": [], "other": [], "stored": []}
    await policy.subscribe("audit.operation.allowed.own.*", lambda it: heard["own"].append(it.body))
    await policy.subscribe("stored.audit.operation.allowed.own.*", lambda it: heard["stored"].append(it.body))
    await other.subscribe("audit.operation.allowed.own.*", lambda it: heard["other"].append(it.body))
    await policy.publish(subject, b"mine", id=new_id())
    await other.publish(subject, b"theirs", id=new_id())
    await until(lambda: len(heard["stored"]) == 2)
    assert heard == {"own": [b"theirs"], "other": [b"mine"], "stored": [b"mine", b"theirs"]}


@LINGERS
async def test_following_goes_on_where_it_was_accepted(world: World, session: str, linger_s: float) -> None:
    ingress = await world.user("ingress")
    subject = f"audit.operation.refused.follow.{session}"
    stored = await asyncio.gather(*(ingress.publish(subject, b"%d" % n, id=new_id()) for n in range(30)))

    async def follower() -> AsyncIterator[Batch]:
        bus = await world.user("approval")
        return bus.follow("AUDIT", durable="approval", subjects=(subject,), batch=10, linger_s=linger_s)

    first = await follower()
    taken = await take(first, 10)
    await take(first, 10, accept=False)  # taken, and then the service dies
    again = await take(await follower(), len(stored) - len(taken))
    assert [each.sequence for each in [*taken, *again]] == [each.sequence for each in stored]
    await ingress.publish(subject, b"more", id=new_id())


@LINGERS
async def test_a_batch_that_was_not_accepted_comes_again(world: World, session: str, linger_s: float) -> None:
    ingress, recorder = await world.user("ingress"), await world.user("recorder")
    subject = f"audit.operation.failed.again.{session}"
    batches = recorder.follow("AUDIT", durable="recorder", subjects=(subject,), linger_s=linger_s)
    await ingress.publish(subject, b"1", id=new_id())
    first = await take(batches, 1, accept=False)
    second = await take(batches, 1)
    assert first[0].sequence == second[0].sequence
    await ingress.publish(subject, b"2", id=new_id())
    assert [each.body for each in await take(batches, 1)] == [b"2"]


async def test_who_may_lag_is_given_together_what_came_together(world: World, session: str) -> None:
    ingress, recorder = await world.user("ingress"), await world.user("recorder")
    subject = f"audit.operation.failed.together.{session}"
    batches = recorder.follow("AUDIT", durable="recorder", subjects=(subject,), linger_s=0.5)
    coming = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0.2)
    for n in range(5):
        await ingress.publish(subject, b"%d" % n, id=new_id())
    batch = await asyncio.wait_for(coming, 5)
    assert [each.body for each in batch.deliveries] == [b"%d" % n for n in range(5)]


async def test_a_message_that_is_too_large_is_refused(world: World, subject: str) -> None:
    bus = await world.user("ingress")
    with pytest.raises(BusTooLarge):
        await bus.publish(subject, bytes(8 * 1024 * 1024 + 1), id=new_id())
    large = bytes(4 * 1024 * 1024)
    await asyncio.gather(*(bus.publish(subject, large, id=new_id(), deadline_s=10) for _ in range(3)))
    assert [len(each.body) for each in await read_all(bus, subject)] == [len(large)] * 3


async def test_nobody_publishes_what_is_not_theirs(world: World, session: str) -> None:
    bus = await world.user("policy")
    with pytest.raises(BusDenied):
        await bus.publish(f"audit.operation.planned.here.{session}", b"", id=new_id())
    with pytest.raises(BusDenied):
        await bus.publish("elsewhere.x", b"", id=new_id())
    with pytest.raises(BusDenied):
        await bus.publish("audit.operation.allowed.here.*", b"", id=new_id())


async def test_a_message_that_is_denied_harms_none_of_the_others(world: World, session: str) -> None:
    bus = await world.user("policy")
    good, bad = f"audit.operation.allowed.here.{session}", f"audit.operation.planned.here.{session}"
    for wrong in (0, 5, 9):
        futures = [bus.publish(bad if n == wrong else good, b"%d" % n, id=new_id()) for n in range(10)]
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert [isinstance(each, BusDenied) for each in results] == [n == wrong for n in range(10)], results
    assert len(await read_all(bus, good)) == 27


@pytest.mark.parametrize("kind", ["memory", "jetstream"])
async def test_a_full_stream_refuses_and_keeps_what_it_has(kind: str, tmp_path: Path) -> None:
    async def check(world: World) -> None:
        bus = await world.user("ingress")
        subject = "audit.session.opened.here.full"
        results = await asyncio.gather(
            *(bus.publish(subject, bytes(10_000), id=new_id()) for _ in range(150)), return_exceptions=True
        )
        refused = [each for each in results if isinstance(each, BaseException)]
        assert refused
        assert all(isinstance(each, BusFull) for each in refused), refused
        assert len(await read_all(bus, subject)) == 150 - len(refused)

    if kind == "memory":
        await check(MemoryWorld(limit_bytes=1_000_000))
        return
    with running_nats(tmp_path, limits=Limits(audit_bytes=1_000_000, recording_bytes=1_000_000)) as server:
        real = NatsWorld(server)
        await check(real)
        await real.close()


async def test_away_it_says_so_within_the_deadline_and_the_same_id_may_be_tried_again(
    world: World, subject: str
) -> None:
    bus = await world.user("ingress")
    await bus.publish(subject, b"1", id=new_id())
    await world.go_away()
    assert not bus.connected
    id = new_id()
    began = time.monotonic()
    with pytest.raises(BusUnavailable):
        await bus.publish(subject, b"2", id=id, deadline_s=0.3)
    assert time.monotonic() - began < 0.6
    await world.come_back()
    assert bus.connected
    await bus.publish(subject, b"2", id=id)
    assert [each.body for each in await read_all(bus, subject)] == [b"1", b"2"]


async def test_what_waits_while_it_is_away_is_published_when_it_is_back(world: World, subject: str) -> None:
    bus = await world.user("ingress")
    await world.go_away()
    waiting = [bus.publish(subject, b"%d" % n, id=new_id(), deadline_s=20) for n in range(200)]
    await asyncio.sleep(0.05)
    await world.come_back()
    await asyncio.gather(*waiting)
    assert [each.body for each in await read_all(bus, subject)] == [b"%d" % n for n in range(200)]


async def test_subscriptions_survive_and_whoever_must_read_again_is_told(world: World, subject: str) -> None:
    bus = await world.user("ingress")
    heard: list[Delivery] = []
    told: list[bool] = []
    await bus.subscribe("stored." + subject, heard.append)
    bus.on_reconnect(lambda: told.append(bus.connected))
    await world.go_away()
    await world.come_back()
    await bus.publish(subject, b"1", id=new_id())
    await until(lambda: heard)
    assert told == [True]


@LINGERS
async def test_following_survives_that_the_server_was_away(
    world: World, session: str, linger_s: float
) -> None:
    ingress, recorder = await world.user("ingress"), await world.user("recorder")
    subject = f"audit.operation.abandoned.away.{session}"
    batches = recorder.follow("AUDIT", durable="chain", subjects=(subject,), batch=4, linger_s=linger_s)
    for n in range(10):
        await ingress.publish(subject, b"%d" % n, id=new_id())
    taken = await take(batches, 4)
    await world.go_away()
    await world.come_back()
    for n in range(10, 20):
        await ingress.publish(subject, b"%d" % n, id=new_id(), deadline_s=10)
    while len(taken) < 20:
        batch = await asyncio.wait_for(anext(batches), 15)
        try:
            await batch.accept()
        except BusUnavailable:
            continue
        taken += batch.deliveries
    assert [each.body for each in taken] == [b"%d" % n for n in range(20)]


async def test_closed_it_takes_nothing_more(world: World, subject: str) -> None:
    bus = await world.user("ingress")
    last = bus.publish(subject, b"1", id=new_id())
    await bus.close()
    assert (await last).sequence
    with pytest.raises(BusUnavailable):
        await bus.publish(subject, b"2", id=new_id())
