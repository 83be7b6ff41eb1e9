"""The recorder: both streams into the read model, checkpoints into the log."""

import asyncio

from weirgate_chassis.clock import now
from weirgate_chassis.ids import new_id
from weirgate_chassis.seal import Sealer, read_key
from weirgate_chassis.service import Host, Service
from weirgate_contracts.events import Event
from weirgate_contracts.subjects import (
    AUDIT_STREAM,
    AUDIT_SUBJECTS,
    RECORDING_STREAM,
    RECORDING_SUBJECTS,
)
from weirgate_recorder.alarm import Alarm
from weirgate_recorder.checkpoint import Checkpoints, Rule
from weirgate_recorder.follow import Follower, Route
from weirgate_recorder.settings import RecorderSettings
from weirgate_recorder.sink import EventSink, RecordingSink
from weirgate_recorder.store import Position, Store

DURABLES = {AUDIT_STREAM: "recorder", RECORDING_STREAM: "recorder-frames"}
"""Names of the durable consumers, the same for every replica: one leads, the others stand by."""


def stamped(event: Event) -> Event:
    """Give one of our own events its id and time."""
    return event.stamped(id=new_id(), at=now())


class RecorderService(Service[RecorderSettings]):
    """Stores the log and indexes the recordings."""

    name = "recorder"

    def __init__(self, settings: RecorderSettings, host: Host) -> None:
        super().__init__(settings, host)
        self._alarm = Alarm(host.bus, stamped)
        self._events = EventSink(lambda: self._connect(AUDIT_STREAM), self._alarm)
        self._recordings = RecordingSink(
            lambda: self._connect(RECORDING_STREAM),
            self._alarm,
            Sealer(read_key(settings.recording_key_file)),
        )
        self._followers = (
            Follower(
                bus=host.bus,
                sink=self._events,
                route=self._route(AUDIT_STREAM, AUDIT_SUBJECTS),
                alarm=self._alarm,
            ),
            Follower(
                bus=host.bus,
                sink=self._recordings,
                route=self._route(RECORDING_STREAM, RECORDING_SUBJECTS),
                alarm=self._alarm,
            ),
        )

    def _route(self, stream: str, subjects: str) -> Route:
        return Route(
            stream=stream,
            subjects=(subjects,),
            durable=DURABLES[stream],
            batch=self.settings.batch if stream == AUDIT_STREAM else self.settings.recording_batch,
            linger_s=self.settings.linger_s,
        )

    async def _connect(self, stream: str) -> Store:
        return await Store.connect(self.settings.read_model_dsn.get_secret_value(), stream=stream)

    async def start(self) -> None:
        """Begin. The read model may be away: then this is not ready until it is back."""
        self.host.health.check("read model", self._problem)
        metrics = self.host.metrics
        metrics.gauge(
            "weirgate_recorder_sequence",
            "Sequence of the log up to which it is stored",
            lambda: self._events.reached.sequence,
        )
        metrics.gauge(
            "weirgate_recorder_events", "Events stored by this process", lambda: self._events.stored
        )
        metrics.gauge(
            "weirgate_recorder_recordings",
            "Recording messages indexed by this process",
            lambda: self._recordings.stored,
        )

    async def run(self) -> None:
        """Follow both streams, for ever."""
        loop = asyncio.get_running_loop()
        checkpoints = Checkpoints(
            bus=self.host.bus,
            rule=Rule(
                messages=self.settings.checkpoint_messages,
                seconds=self.settings.checkpoint_s,
                now_s=loop.time(),
            ),
            stamp=stamped,
            reached=self._reached,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._alarm.run(), name="alarm")
            tasks.create_task(checkpoints.run(), name="checkpoints")
            for follower in self._followers:
                tasks.create_task(follower.run(), name="follower")

    def _reached(self) -> Position | None:
        """A checkpoint is only for who leads, and not while an old log is being caught up with."""
        events = self._followers[0]
        return self._events.reached if events.leading and events.caught_up else None

    def _problem(self) -> str | None:
        for follower in self._followers:
            if (problem := follower.problem()) is not None:
                return problem
        return None
