"""The clerk against a log in memory: catching up, being second, the log going away."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from weirgate_approval.clerk import Clerk
from weirgate_bus.memory import MemoryBus, MemoryLog
from weirgate_bus.seek import first_since, last_sequence
from weirgate_chassis.clock import now, now_us, rfc3339
from weirgate_chassis.ids import new_id
from weirgate_contracts.events import (
    ApprovalRequested,
    DecisionMade,
    Event,
    OperationAbandoned,
    OperationDeferred,
    OperationHeld,
    SessionClosed,
    decode,
)
from weirgate_contracts.identity import Identity

AGENT = Identity(agent="bot", user="alice", issuer="i", token_id="t", expires_at=2_000_000_000)
SPEAK = {"dba": frozenset({"dba"})}


def held(
    request: str, *, quorum: int = 1, session: str = "s1", window_s: int = 600, at: str = ""
) -> OperationHeld:
    return OperationHeld(
        id=new_id(), at=at or now(), ingress="in1", session=session, operation=1, intercepted=request,
        digest="d", policy_revision=1, catalog_revision="c", resource="shop", identity=AGENT, groups=("dba",),
        quorum=quorum, window_s=window_s, reason="why", text="delete from t",
    )  # fmt: skip


async def record(log: MemoryLog, event: Event) -> int:
    event = event if event.id else event.stamped(id=new_id(), at=now())
    return (await MemoryBus(log).publish(event.subject, event.encoded(), id=event.id)).sequence


def decision(request: str, by: str, say: str = "grant") -> DecisionMade:
    return DecisionMade.model_validate({"request": request, "decision": say, "by": by, "groups": ("dba",)})


def told(log: MemoryLog, request: str) -> list[str]:
    return [
        delivery.subject.split(".")[2]
        for delivery in log.messages()
        if delivery.subject.startswith("audit.approval.") and delivery.subject.endswith(request)
    ]


def clerk_on(log: MemoryLog) -> Clerk:
    clerk = Clerk(MemoryBus(log, "approval"), now_us=now_us, new_id=new_id)
    clerk.review(SPEAK)
    return clerk


async def nothing() -> None:
    return


@asynccontextmanager
async def working(*clerks: Clerk) -> AsyncGenerator[None]:
    async with asyncio.TaskGroup() as tasks:
        following: list[asyncio.Task[None]] = []
        for clerk in clerks:
            await clerk.start(nothing)
            following.append(tasks.create_task(clerk.follow()))
        yield
        for task in following:
            task.cancel()


async def until(log: MemoryLog, request: str, *kinds: str) -> None:
    async with asyncio.timeout(5):
        while told(log, request) != list(kinds):
            await asyncio.sleep(0.005)


async def test_an_operation_held_while_the_clerk_works_is_opened_and_decided() -> None:
    log, request = MemoryLog(), new_id()
    async with working(clerk_on(log)):
        await record(log, held(request))
        await until(log, request, "requested")
        await record(log, decision(request, "bob"))
        await until(log, request, "requested", "granted")


async def test_an_operation_held_while_no_clerk_was_there_is_opened_by_the_next() -> None:
    log, request = MemoryLog(), new_id()
    await record(log, held(request))
    async with working(clerk_on(log)):
        await until(log, request, "requested")


async def test_what_was_decided_while_no_clerk_was_there_counts() -> None:
    log, request = MemoryLog(), new_id()
    await record(log, held(request, quorum=2))
    async with working(clerk_on(log)):
        await until(log, request, "requested")
    await record(log, decision(request, "bob"))
    await record(log, decision(request, "carol"))
    async with working(clerk_on(log)):
        await until(log, request, "requested", "endorsed", "granted")


@pytest.mark.parametrize("ending", ["abandoned", "closed"])
async def test_an_agent_that_left_while_no_clerk_was_there_withdraws(ending: str) -> None:
    log, request = MemoryLog(), new_id()
    await record(log, held(request))
    if ending == "abandoned":
        await record(
            log, OperationAbandoned(ingress="in1", session="s1", operation=1, reason="cancelled", sent=False)
        )
    else:
        await record(log, SessionClosed(ingress="in1", session="s1", reason="agent"))
    await record(log, decision(request, "bob"))
    async with working(clerk_on(log)):
        await until(log, request, "requested", "withdrawn")


def deferred(request: str) -> OperationDeferred:
    return OperationDeferred(
        ingress="in1", session="s1", operation=1, request=request, resource="shop", identity=AGENT, digest="d",
        window_s=600,
    )  # fmt: skip


async def test_a_deferred_request_is_decided_after_its_session_ended_whoever_was_there() -> None:
    log, request = MemoryLog(), new_id()
    await record(log, held(request))
    await record(log, deferred(request))
    await record(log, SessionClosed(ingress="in1", session="s1", reason="agent"))
    async with working(clerk_on(log)):
        await until(log, request, "requested")
    async with working(clerk_on(log), clerk_on(log)):
        await asyncio.sleep(0.05)
        await record(log, decision(request, "bob"))
        await until(log, request, "requested", "granted")


async def test_a_request_is_deferred_while_a_clerk_works() -> None:
    log, request = MemoryLog(), new_id()
    async with working(clerk_on(log)):
        for event in (
            held(request),
            deferred(request),
            SessionClosed(ingress="in1", session="s1", reason="agent"),
        ):
            await record(log, event)
        await record(log, decision(request, "bob"))
        await until(log, request, "requested", "granted")


async def test_a_request_overdue_when_the_clerk_starts_expires() -> None:
    log, request = MemoryLog(), new_id()
    await record(log, held(request, window_s=1, at=rfc3339(now_us() - 5_000_000)))
    await record(log, decision(request, "bob"))
    async with working(clerk_on(log)):
        await until(log, request, "requested", "expired")


async def test_several_clerks_on_one_log_open_once_and_decide_once() -> None:
    log = MemoryLog()
    requests = [new_id() for _ in range(40)]
    async with working(*(clerk_on(log) for _ in range(3))):
        for number, request in enumerate(requests):
            await record(log, held(request, session=f"s{number}"))
        await asyncio.gather(*(until(log, request, "requested") for request in requests))
        for request in requests:
            await asyncio.gather(
                record(log, decision(request, "bob")), record(log, decision(request, "carol", "refuse"))
            )
        async with asyncio.timeout(5):
            while any(len(told(log, request)) < 2 for request in requests):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
    for request in requests:
        assert told(log, request) in (["requested", "granted"], ["requested", "refused"])


async def test_while_the_log_is_away_nothing_is_decided_and_afterwards_it_is() -> None:
    log, request = MemoryLog(), new_id()
    async with working(clerk_on(log)):
        await record(log, held(request))
        await until(log, request, "requested")
        waiting = asyncio.ensure_future(record(log, decision(request, "bob")))
        await asyncio.sleep(0)
        log.go_away()
        await asyncio.sleep(0.1)
        log.come_back()
        await waiting
        await until(log, request, "requested", "granted")


async def test_an_event_of_a_request_that_cannot_be_read_ends_it_without_a_grant() -> None:
    log, request = MemoryLog(), new_id()
    async with working(clerk_on(log)):
        await record(log, held(request, quorum=2))
        await until(log, request, "requested")
        await MemoryBus(log).publish(
            f"audit.approval.endorsed.in1.s1.{request}", b'{"kind": "approval.endorsed", "v": 2}', id=new_id()
        )
        await record(log, decision(request, "bob"))
        await record(log, decision(request, "carol"))
        await asyncio.sleep(0.2)
    assert told(log, request) == ["requested", "endorsed"]


async def test_an_event_under_the_subject_of_another_session_is_not_believed() -> None:
    log, request = MemoryLog(), new_id()
    event = held(request)
    async with working(clerk_on(log)):
        await MemoryBus(log).publish("audit.operation.held.in1.other", event.encoded(), id=event.id)
        await asyncio.sleep(0.1)
    assert told(log, request) == []


async def test_the_request_carries_what_people_need_and_the_window_of_the_rule() -> None:
    log, request = MemoryLog(), new_id()
    async with working(clerk_on(log)):
        await record(log, held(request))
        await until(log, request, "requested")
    event = decode(log.messages()[-1].body)
    assert isinstance(event, ApprovalRequested)
    assert (event.text, event.reason, event.window_s, event.identity) == ("delete from t", "why", 600, AGENT)


async def test_the_end_of_the_log_and_the_first_of_a_time_are_found_by_halving() -> None:
    log = MemoryLog()
    bus = MemoryBus(log)
    assert await last_sequence(bus) == 0
    for count in range(1, 20):
        await record(log, SessionClosed(ingress="in1", session=f"s{count}", reason="agent"))
        assert await last_sequence(bus) == count
    times = [delivery.stored_at for delivery in log.messages()]
    assert await first_since(bus, 19, times[7]) == times.index(times[7]) + 1
    assert await first_since(bus, 19, "9999") == 20
    assert await first_since(bus, 19, "0000") == 1
