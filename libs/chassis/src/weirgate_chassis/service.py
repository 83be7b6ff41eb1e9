"""The life of a service process, the same for all six.

A service is a class::

    class PolicyService(Service[PolicySettings]):
        name = "policy"

        async def start(self) -> None:
            self.feed = ConfigFeed(self.host.bus)
            await self.feed.start()
            self.host.health.check("config", self.feed.problem)
            self.hearing = await self.host.bus.subscribe(INTERCEPTED, self.heard, queue="policy")
            self.host.spawn(self.refresh_catalogs(), "catalogs")

        async def stop(self) -> None:
            await self.hearing.stop()

    if __name__ == "__main__":
        run(PolicyService, PolicySettings)

What ``run`` does, in order:

1. reads the settings (a misspelt variable stops here), configures the log, installs uvloop;
2. connects the bus, waiting for NATS within the start deadline, and checks that the log is what was asked
for; 3. listens on the health address, makes the service, awaits ``start``; then logs ``ready`` and /readyz
says so; 4. runs ``run``, every spawned task and the watch of the bus in one task group: the first that raises
stops everything
   and the process ends with status 1, so that a supervisor starts it afresh. A service that is not sure of
   its state does not limp on;
5. on SIGTERM or SIGINT: /readyz says stopping, ``stop`` is awaited, tasks are cancelled, the bus sends what
is queued, all
   within the stop deadline; status 0. A second signal ends it at once.
"""

import asyncio
import gc
import os
import signal
import sys
import traceback
from abc import ABC
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Generic, NoReturn, TypeVar

import uvloop

from weirgate_bus.jetstream import JetStreamBus
from weirgate_bus.port import Bus
from weirgate_chassis import log
from weirgate_chassis.health import Health, HealthEndpoint
from weirgate_chassis.metric import Metrics
from weirgate_chassis.settings import ServiceSettings, SettingsError, split_address

S = TypeVar("S", bound=ServiceSettings)

FAILED, MISCONFIGURED = 1, 2
"""Exit status: something failed; the environment does not describe a service that may start."""


class Host:
    """What a service is given to live in.

    Attributes:
        bus: the connected bus.
        health: reasons not to be ready are added here.
        metrics: counters and histograms are made here.
    """

    def __init__(self, bus: Bus, health: Health, metrics: Metrics, tasks: asyncio.TaskGroup) -> None:
        self.bus = bus
        self.health = health
        self.metrics = metrics
        self._tasks = tasks
        self._asked = asyncio.Event()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run something beside the service. What it raises stops the service; it is cancelled at the end."""
        return self._tasks.create_task(work, name=name)

    def ask_to_stop(self) -> None:
        """Stop gracefully, as a SIGTERM would."""
        self._asked.set()

    @property
    def stop_asked(self) -> bool:
        """Whether somebody has asked for a graceful stop."""
        return self._asked.is_set()

    async def asked_to_stop(self) -> None:
        """Wait until somebody asks for a graceful stop."""
        await self._asked.wait()


class Service(ABC, Generic[S]):
    """A service. It is made once the bus is connected; see the module for its life."""

    name: ClassVar[str]
    """Of the service, as in ``weirgate_contracts.subjects.WRITES``."""

    def __init__(self, settings: S, host: Host) -> None:
        self.settings = settings
        self.host = host

    async def start(self) -> None:
        """Get ready: load, subscribe, listen. The service is ready once this returns."""

    async def run(self) -> None:
        """Work until cancelled. Returning early counts as a failure; by default it waits for ever."""
        await asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        """Stop gracefully: take nothing new, finish or hand over what is open. Tasks still run meanwhile."""


class ServiceFailed(Exception):
    """A service ended that should not have, or could not start or stop in time."""


class _Stopped(Exception):
    """The stop was asked for and went well."""


def run(service: Callable[[S, Host], Service[S]], settings: type[S] | S) -> NoReturn:
    """Run a service until it is told to stop, then end the process.

    Args:
        service: the class.
        settings: its settings class (read from the environment), or the settings.
    """
    name: str = getattr(service, "name", "service")
    try:
        given = settings if isinstance(settings, ServiceSettings) else settings.from_environment()
    except SettingsError as error:
        log.configure(service=name)
        for problem in str(error).splitlines():
            log.error("settings refused", problem=problem)
        sys.exit(MISCONFIGURED)
    log.configure(service=name, instance=given.name, level=given.log_level)
    status = 0
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(live(service, given))
    except BaseException as error:  # noqa: BLE001  (the outermost: whatever it is, the process ends with 1)
        log.error("failed", reason=log.describe(error), where=_where(error))
        status = FAILED
    else:
        log.info("stopped")
    sys.stdout.flush()
    sys.exit(status)


async def live(service: Callable[[S, Host], Service[S]], settings: S, *, bus: Bus | None = None) -> None:
    """Live through one service's life, until asked to stop.

    Args:
        bus: a connected bus, for tests; else it is connected as the settings say.

    Raises:
        Exception: whatever failed first, possibly in a group.
    """
    health, metrics = Health(), Metrics()
    endpoint = HealthEndpoint(health, metrics)
    if settings.health_listen:
        await endpoint.start(*split_address(settings.health_listen))
    try:
        connected = bus if bus is not None else await _connect(getattr(service, "name", "service"), settings)
        health.check("bus", lambda: None if connected.connected else "not connected")
        try:
            async with asyncio.TaskGroup() as tasks:
                host = Host(connected, health, metrics, tasks)
                with _signals(host):
                    await _conduct(service(settings, host), host, tasks, settings)
                    # What still runs is cancelled by the group, which takes this for a failure of the body.
                    raise _Stopped
        except* _Stopped:
            pass
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.stop_deadline_s):
                    await connected.close()
    finally:
        await endpoint.stop()


async def _connect(name: str, settings: ServiceSettings) -> Bus:
    async with asyncio.timeout(settings.start_deadline_s):
        bus = await JetStreamBus.connect(
            settings.nats_url, settings.nats_nkey_file, f"{name}-{settings.name}"
        )
        await bus.self_check()
    return bus


async def _conduct(made: Service[S], host: Host, tasks: asyncio.TaskGroup, settings: S) -> None:
    """Start, work, stop. A failure of any task cancels this from outside."""
    tasks.create_task(host.bus.watch(), name="bus")
    asked = tasks.create_task(host.asked_to_stop(), name="asked")
    starting = tasks.create_task(_start(made, settings.start_deadline_s), name="start")
    await asyncio.wait((asked, starting), return_when=asyncio.FIRST_COMPLETED)
    if not asked.done():
        await starting
        host.health.started = True
        _calm_collector()
        log.info("ready")
        tasks.create_task(_work(made), name="run")
        await asked
    host.health.stopping = True
    log.info("stopping")
    if starting.done():
        try:
            async with asyncio.timeout(settings.stop_deadline_s):
                await made.stop()
        except TimeoutError:
            raise ServiceFailed("a graceful stop took longer than its deadline") from None


def _calm_collector() -> None:
    """Have the garbage collector leave alone what was loaded at the start, and look seldom at the rest.

    Events and messages are freed by their reference counts; by default every 700 of them begin a collection.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _start(made: Service[S], deadline_s: float) -> None:
    try:
        async with asyncio.timeout(deadline_s):
            await made.start()
    except TimeoutError as error:
        raise ServiceFailed("the start took longer than its deadline") from error


async def _work(made: Service[S]) -> NoReturn:
    await made.run()
    raise ServiceFailed("the service returned from run")


@contextmanager
def _signals(host: Host) -> Generator[None, None, None]:
    """The first signal asks for a graceful stop, the second ends the process at once."""
    loop = asyncio.get_running_loop()

    def heard() -> None:
        if host.stop_asked:
            os._exit(FAILED)
        host.ask_to_stop()

    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, heard)
    except (ValueError, RuntimeError):  # not the main thread (a test): nobody signals there
        yield
        return
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _where(error: BaseException) -> str:
    """The last frames of a traceback as ``file:line``, innermost last: places, never values."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
