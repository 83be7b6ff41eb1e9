"""The deferred requests an ingress knows, told by a log in memory."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from weirgate_bus.memory import MemoryBus, MemoryLog
from weirgate_chassis.clock import rfc3339
from weirgate_chassis.ids import new_id
from weirgate_contracts.events import (
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRefused,
    ApprovalRequested,
    ApprovalWithdrawn,
    Event,
    GrantUsed,
    OperationDeferred,
    OperationHeld,
    OperationIntercepted,
)
from weirgate_contracts.identity import Identity
from weirgate_ingress.deferral import SINCE_S, TELL_S, Deferrals, Known

WHO = Identity(agent="bot", user="alice", groups=("g",), issuer="i", token_id="t1", expires_at=2_000_000_000)
START_US = 1_790_000_000_000_000
WINDOW_S = 900


class World:
    """A log, a clock, and people who deal with requests in it."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.bus = MemoryBus(self.log)
        self.now_us = START_US
        self.tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def later(self, seconds: float) -> None:
        self.now_us += int(seconds * 1e6)

    async def publish(self, event: Event) -> int:
        stamped = event.stamped(id=new_id(), at=rfc3339(self.now_us))
        stored = await self.bus.publish(stamped.subject, stamped.encoded(), id=stamped.id)
        await self.settled()
        return stored.sequence

    async def settled(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    @asynccontextmanager
    async def ingress(self, **more: Any) -> AsyncGenerator[Deferrals]:
        bus = MemoryBus(self.log, "ingress")
        made = Deferrals(bus, spawn=self.spawn, clock=lambda: self.now_us, **more)
        await made.start()
        yield made
        await made.stop()
        await bus.close()

    async def defer(self, **change: Any) -> str:
        request = str(change.get("request", new_id()))
        await self.publish(deferred(request).model_copy(update=change))
        return request

    async def grant(self, request: str, *, usable_s: float = WINDOW_S) -> int:
        until = rfc3339(self.now_us + int(usable_s * 1e6))
        return await self.publish(ApprovalGranted(**of(request), by=("ann",), expires_at=until))


def deferred(request: str) -> OperationDeferred:
    return OperationDeferred(
        ingress="in1", session="s1", operation=1, request=request, resource="crm", identity=WHO, digest="d",
        window_s=WINDOW_S,
    )  # fmt: skip


def of(request: str, digest: str = "d") -> dict[str, Any]:
    return {"ingress": "in1", "session": "s1", "request": request, "operation": 1, "digest": digest}


def retry(**change: Any) -> OperationIntercepted:
    event = OperationIntercepted(
        ingress="in2", session="s9", operation=4, protocol="http", resource="crm", identity=WHO, digest="d"
    )
    return event.model_copy(update=change)


def joined(request: str) -> OperationHeld:
    return OperationHeld(
        ingress="in2", session="s9", operation=4, intercepted=new_id(), digest="d", policy_revision=1,
        catalog_revision="", resource="crm", identity=WHO, groups=("dba",), window_s=9, reason="r", text="t",
        joins=request,
    )  # fmt: skip


def state(known: Known | None) -> str:
    return known.state if known is not None else "unknown"


Ending = Callable[[str], Event]
ENDINGS: dict[str, Ending] = {
    "refused": lambda request: ApprovalRefused(**of(request), by="ann", reason="no"),
    "expired": lambda request: ApprovalExpired(**of(request)),
    "withdrawn": lambda request: ApprovalWithdrawn(**of(request), reason="r"),
}


@pytest.fixture(params=["heard", "read"])
def known_by(request: pytest.FixtureRequest) -> str:
    """Whether an ingress was there when it happened, or starts afterwards."""
    return str(request.param)


async def after(world: World, known_by: str, *happens: Callable[[], Any]) -> AsyncGenerator[Deferrals]:
    if known_by == "heard":
        async with world.ingress() as ingress:
            for each in happens:
                await each()
            yield ingress
    else:
        for each in happens:
            await each()
        async with world.ingress() as ingress:
            yield ingress


async def test_a_request_is_found_by_what_it_is_and_whose(known_by: str) -> None:
    world, request = World(), new_id()
    async for ingress in after(world, known_by, lambda: world.defer(request=request)):
        assert ingress.find(retry()) == Known(request=request, state="open")
        renewed = WHO.model_copy(update={"token_id": "t2", "expires_at": 2_100_000_000})
        assert ingress.find(retry(identity=renewed)) is not None
        for change in ("agent", "user", "run", "tool", "issuer"):
            assert ingress.find(retry(identity=WHO.model_copy(update={change: "x"}))) is None
        assert ingress.find(retry(identity=WHO.model_copy(update={"groups": ()}))) is None
        assert ingress.find(retry(digest="e")) is None
        assert ingress.find(retry(resource="other")) is None


async def test_a_grant_is_found_until_it_is_used_or_its_time_is_over(known_by: str) -> None:
    world, request = World(), new_id()
    steps = (lambda: world.defer(request=request), lambda: world.grant(request, usable_s=60))
    async for ingress in after(world, known_by, *steps):
        known = ingress.find(retry())
        assert known is not None
        assert known.grant is not None
        assert (known.state, known.grant.request, known.grant.sequence) == ("granted", request, 2)
        world.later(61)
        assert state(ingress.find(retry())) == "expired"
        world.later(-61)
        await world.publish(
            GrantUsed(
                ingress="in2", session="s9", request=request, operation=4, intercepted=new_id(), digest="d"
            )
        )
        assert ingress.find(retry()) is None
        assert ingress.state_of(request, WHO, "crm").state == "used"


@pytest.mark.parametrize("ending", list(ENDINGS))
async def test_an_end_is_told_once_to_whoever_comes_back(known_by: str, ending: str) -> None:
    world, request = World(), new_id()
    steps = (lambda: world.defer(request=request), lambda: world.publish(ENDINGS[ending](request)))
    async for ingress in after(world, known_by, *steps):
        assert state(ingress.find(retry())) == ending
        await world.publish(joined(request))
        assert ingress.find(retry()) is None
        assert ingress.state_of(request, WHO, "crm").state == ending
    async with world.ingress() as another:
        assert another.find(retry()) is None


async def test_a_retry_that_joined_an_open_request_was_not_told_its_end(known_by: str) -> None:
    world, request = World(), new_id()
    steps = (lambda: world.defer(request=request), lambda: world.publish(joined(request)))
    async for ingress in after(world, known_by, *steps):
        await world.publish(ENDINGS["refused"](request))
        assert state(ingress.find(retry())) == "refused"


async def test_people_who_were_quicker_than_the_deferral_are_heard(known_by: str) -> None:
    world, request = World(), new_id()
    steps = (lambda: world.grant(request), lambda: world.defer(request=request))
    async for ingress in after(world, known_by, *steps):
        await world.settled()
        assert state(ingress.find(retry())) == "granted"


async def test_a_window_that_is_over_is_an_end_even_when_approval_is_silent() -> None:
    world = World()
    async with world.ingress() as ingress:
        request = await world.defer()
        world.later(WINDOW_S + 10)
        assert state(ingress.find(retry())) == "expired"
        assert ingress.state_of(request, WHO, "crm").state == "expired"
        world.later(TELL_S)
        assert ingress.find(retry()) is None
        assert ingress.state_of(request, WHO, "crm").state is None


async def test_an_end_is_told_for_a_day_however_often_ingress_starts() -> None:
    world = World()
    request = await world.defer()
    await world.publish(ENDINGS["refused"](request))
    world.later(TELL_S + 1)
    async with world.ingress() as ingress:
        assert ingress.find(retry()) is None


async def test_the_state_is_told_to_nobody_else() -> None:
    world = World()
    async with world.ingress() as ingress:
        request = await world.defer()
        assert ingress.state_of(request, WHO, "crm").state == "open"
        assert ingress.state_of(request, WHO, "other").state is None
        assert ingress.state_of(request, WHO.model_copy(update={"user": "eve"}), "crm").state is None
        assert ingress.state_of(new_id(), WHO, "crm").state is None


async def test_of_two_requests_for_the_same_the_granted_one_counts() -> None:
    world = World()
    async with world.ingress() as ingress:
        first = await world.defer()
        second = await world.defer()
        assert ingress.find(retry()) == Known(request=second, state="open")
        await world.grant(first)
        known = ingress.find(retry())
        assert known is not None
        assert known.request == first


async def test_a_request_asked_after_a_grant_that_covers_it_no_more_counts() -> None:
    world = World()
    async with world.ingress() as ingress:
        first = await world.defer()
        await world.grant(first)
        second = await world.defer()
        assert ingress.find(retry()) == Known(request=second, state="open")


async def test_a_deferral_of_our_own_is_known_at_once_and_not_for_long_if_the_log_has_none() -> None:
    world, request = World(), new_id()
    async with world.ingress() as ingress:
        ingress.deferred(deferred(request).stamped(id=new_id(), at=rfc3339(world.now_us)))
        assert ingress.find(retry()) == Known(request=request, state="open")
        world.later(31)
        assert ingress.find(retry()) is None
        assert ingress.state_of(request, WHO, "crm").state is None
        await world.defer(request=request)
        assert ingress.find(retry()) == Known(request=request, state="open")


async def test_what_happened_while_the_log_was_away_is_read_afterwards() -> None:
    world = World()
    async with world.ingress() as ingress:
        request = await world.defer()
        lost = [each for each in world.log.hearing if each.bus is not world.bus]
        for each in lost:
            world.log.hearing.remove(each)
        await world.grant(request)
        another = await world.defer(digest="e")
        assert state(ingress.find(retry())) == "open"
        world.log.hearing += lost
        world.log.go_away()
        world.log.come_back()
        await world.settled()
        assert state(ingress.find(retry())) == "granted"
        assert ingress.find(retry(digest="e")) == Known(request=another, state="open")


async def test_a_decision_about_other_bytes_is_not_heard() -> None:
    world = World()
    async with world.ingress() as ingress:
        request = await world.defer()
        until = rfc3339(world.now_us + 60_000_000)
        await world.publish(ApprovalGranted(**of(request, digest="x"), by=("ann",), expires_at=until))
        assert state(ingress.find(retry())) == "open"


async def test_what_cannot_be_read_makes_a_request_unknown() -> None:
    world = World()
    async with world.ingress() as ingress:
        request = await world.defer()
        await world.bus.publish(f"audit.approval.granted.in1.s1.{request}", b"{}", id=new_id())
        await world.bus.publish("audit.operation.deferred.in1.s1", b"noise", id=new_id())
        await world.settled()
        assert ingress.find(retry()) is None
        assert ingress.count == 0


async def test_what_is_known_is_bounded() -> None:
    world = World()
    async with world.ingress(limit=3) as ingress:
        for number in range(10):
            await world.defer(digest=str(number))
        assert ingress.count == 3
        assert ingress.find(retry(digest="0")) is None
        assert ingress.find(retry(digest="9")) is not None


async def test_requests_nobody_was_told_to_come_back_for_are_not_kept() -> None:
    world = World()
    async with world.ingress() as ingress:
        asked = ApprovalRequested(
            **of(new_id()), resource="crm", identity=WHO, groups=("dba",), quorum=1, expires_at=rfc3339(START_US),
            reason="r", text="t",
        )  # fmt: skip
        await world.publish(asked)
        await world.grant(asked.request)
        assert ingress.count == 0


def test_a_start_reads_back_past_the_longest_window_and_the_grant_after_it() -> None:
    assert SINCE_S > 2 * 7 * 24 * 3600
