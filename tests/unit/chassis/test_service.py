"""The life of a service, on a bus in memory."""

import asyncio

import pytest

from weirgate_bus.memory import MemoryBus, MemoryLog
from weirgate_bus.port import Delivery
from weirgate_chassis.service import Host, Service, ServiceFailed, live
from weirgate_chassis.settings import ServiceSettings

SETTINGS = ServiceSettings.from_environment(
    {
        "WEIRGATE_NATS_NKEY_FILE": "/none",
        "WEIRGATE_STOP_DEADLINE_S": "0.2",
        "WEIRGATE_START_DEADLINE_S": "0.2",
    }
)


class Sample(Service[ServiceSettings]):
    name = "sample"

    def __init__(self, settings: ServiceSettings, host: Host) -> None:
        super().__init__(settings, host)
        self.told: list[str] = []
        made.append(self)

    async def start(self) -> None:
        self.told.append("start")

    async def stop(self) -> None:
        self.told.append("stop")


made: list[Sample] = []


async def run(service: type[Sample], bus: MemoryBus | None = None) -> asyncio.Task[None]:
    made.clear()
    task = asyncio.create_task(live(service, SETTINGS, bus=bus or MemoryBus()))
    for _ in range(10):
        await asyncio.sleep(0)
    return task


async def test_asked_to_stop_it_stops_gracefully() -> None:
    task = await run(Sample)
    assert made[0].host.health.problems() == []
    made[0].host.ask_to_stop()
    await asyncio.wait_for(task, 1)
    assert made[0].told == ["start", "stop"]


async def test_a_spawned_task_that_fails_stops_the_service() -> None:
    class Broken(Sample):
        async def start(self) -> None:
            self.host.spawn(self.fail(), "fail")

        async def fail(self) -> None:
            await asyncio.sleep(0.01)
            raise ZeroDivisionError

    task = await run(Broken)
    with pytest.raises(ExceptionGroup) as failed:
        await asyncio.wait_for(task, 1)
    assert failed.value.subgroup(ZeroDivisionError)
    assert made[0].told == []


async def test_a_handler_that_fails_stops_the_service() -> None:
    log = MemoryLog()

    class Deaf(Sample):
        async def start(self) -> None:
            def broken(_: Delivery) -> None:
                raise ZeroDivisionError

            await self.host.bus.subscribe("control.>", broken)

    task = await run(Deaf, MemoryBus(log))
    MemoryBus(log).tell("control.session.kill.a.b", b"")
    with pytest.raises(ExceptionGroup) as failed:
        await asyncio.wait_for(task, 1)
    assert failed.value.subgroup(ZeroDivisionError)


async def test_a_start_that_takes_too_long_fails() -> None:
    class Slow(Sample):
        async def start(self) -> None:
            await asyncio.sleep(10)

    with pytest.raises(ExceptionGroup) as failed:
        await asyncio.wait_for(await run(Slow), 1)
    assert failed.value.subgroup(ServiceFailed)


async def test_a_stop_that_takes_too_long_fails() -> None:
    class Stuck(Sample):
        async def stop(self) -> None:
            await asyncio.sleep(10)

    task = await run(Stuck)
    made[0].host.ask_to_stop()
    with pytest.raises(ExceptionGroup) as failed:
        await asyncio.wait_for(task, 1)
    assert failed.value.subgroup(ServiceFailed)


async def test_returning_from_run_is_a_failure() -> None:
    class Short(Sample):
        async def run(self) -> None:
            return

    with pytest.raises(ExceptionGroup) as failed:
        await asyncio.wait_for(await run(Short), 1)
    assert failed.value.subgroup(ServiceFailed)


async def test_a_lost_connection_makes_it_not_ready_and_does_not_stop_it() -> None:
    log = MemoryLog()
    task = await run(Sample, MemoryBus(log))
    log.go_away()
    assert made[0].host.health.problems() == ["bus: not connected"]
    log.come_back()
    assert made[0].host.health.problems() == []
    made[0].host.ask_to_stop()
    await task
