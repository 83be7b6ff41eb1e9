"""A shell under test: real sockets, a memory bus, a gate a test scripts, and a stand-in upstream."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from weirgate_bus.memory import MemoryBus, MemoryLog
from weirgate_chassis.seal import Sealer
from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.events import (
    Event,
    OperationAllowed,
    OperationDenied,
    OperationHeld,
    OperationIntercepted,
    OperationPlanned,
    decode,
)
from weirgate_contracts.identity import Identity
from weirgate_contracts.masking import Plan
from weirgate_contracts.operation import SessionContext, Statement
from weirgate_contracts.recording import decode_frames
from weirgate_contracts.refusal import Refusal
from weirgate_contracts.subjects import RECORDING_STREAM
from weirgate_ingress.address import UpstreamAddress
from weirgate_ingress.gates.core import Effect, Input
from weirgate_ingress.listener import Listener, ListenerLimits, Newcomer, Speech
from weirgate_ingress.question import Questions
from weirgate_ingress.shell import Premises
from weirgate_ingress.token import Admission, Door, TokenRefused
from weirgate_ingress.upstreams import Link, Upstream

IDENTITY = Identity(agent="reader", issuer="test", token_id="t1", expires_at=4_000_000_000)
DIGEST = "ab" * 32
KEY = bytes(32)
_POSTGRES = Speech(protocol="postgres", alpn="postgresql", alpn_required=True)


class ScriptedGate:
    """A gate whose reaction to each input a test gives; it remembers what it was fed."""

    def __init__(self, react: Callable[["ScriptedGate", Input], list[Effect]]) -> None:
        self.fed: list[Input] = []
        self.session = ""
        self.wants_agent_bytes = True
        self.secret_size_bytes = 4
        self.protocol: Literal["postgres"] = "postgres"
        self._react = react

    def feed(self, given: Input) -> list[Effect]:
        self.fed.append(given)
        return self._react(self, given)


class OpenDoor(Door):
    """Lets everybody in, or nobody."""

    def __init__(self, refusal: Refusal | None = None) -> None:
        self.refusal = refusal

    async def admit(self, *, agent: str, resource: str, token: str, protocol: str) -> Admission:
        if self.refusal is not None:
            raise TokenRefused(self.refusal)
        admission = Admission.__new__(Admission)
        document = ResourceDocument(
            name="shop", protocol="postgres", upstream="postgresql://app@127.0.0.1/shop"
        )
        object.__setattr__(admission, "identity", IDENTITY)
        object.__setattr__(admission, "resource", document)
        return admission


class PlainUpstreams:
    """Dials a TCP server without any login."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cancelled = 0

    async def dial(self, admission: Admission, *, parameters: Any, minor: int = 0) -> Upstream:
        loop = asyncio.get_running_loop()
        transport, link = await loop.create_connection(Link, "127.0.0.1", self.port)
        return Upstream(
            link=link,
            transport=transport,
            parameters={"server_version": "18"},
            minor=0,
            rest=b"",
            tls=False,
            address=UpstreamAddress(host="127.0.0.1", port=self.port, user="app", database="shop"),
            process_id=7,
            secret=b"1234",
        )


@dataclass
class FarSide:
    """The upstream as a test sees it."""

    port: int = 0
    received: bytearray = field(default_factory=bytearray)
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    writer: asyncio.StreamWriter | None = None
    closed: bool = False

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.connected.set()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                self.received += data
                self.grown.set()
        self.closed = True
        self.grown.set()
        writer.close()

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not done():
                self.grown.clear()
                await self.grown.wait()


class House:
    """One ingress: bus, listener, and what stands around them."""

    def __init__(self, react: Callable[[ScriptedGate, Input], list[Effect]]) -> None:
        self.log = MemoryLog()
        self.bus = MemoryBus(self.log, user="ingress")
        self.others = MemoryBus(self.log)
        self.react = react
        self.gates: list[ScriptedGate] = []
        self.far = FarSide()
        self.door = OpenDoor()
        self.port = 0
        self.tasks: set[asyncio.Task[Any]] = set()
        self.listener: Listener | None = None
        self.failures: list[BaseException] = []

    def spawn(self, work: Any, name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failures.append(task.exception() or Exception())

    def make_gate(self, newcomer: Newcomer) -> ScriptedGate:
        gate = ScriptedGate(self.react)
        gate.session = newcomer.session
        self.gates.append(gate)
        return gate

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)

    def events(self) -> list[Event]:
        return [decode(each.body) for each in self.log.messages()]

    def tape(self) -> bytes:
        """Everything recorded as sent to the agent."""
        sealer = Sealer(KEY)
        out = b""
        for each in self.log.messages(RECORDING_STREAM):
            for frame in decode_frames(sealer.open(each.body, each.subject)):
                if frame.direction == "o":
                    out += frame.body
        return out


@contextlib.asynccontextmanager
async def house(
    react: Callable[[ScriptedGate, Input], list[Effect]],
    *,
    deadline_s: float = 1.0,
    limits: ListenerLimits | None = None,
    tls: Any = None,
    margin_s: float = 0.2,
) -> AsyncGenerator[House]:
    """Run an ingress around scripted gates."""
    made = House(react)
    server = await asyncio.start_server(made.far.accept, "127.0.0.1", 0)
    made.far.port = server.sockets[0].getsockname()[1]
    questions = Questions(
        made.bus,
        "one",
        spawn=made.spawn,
        deadline_s=deadline_s,
        approvals_url="http://x/approvals",
        margin_s=margin_s,
    )
    await questions.start()
    premises = Premises(
        bus=made.bus,
        ingress="one",
        sealer=Sealer(KEY),
        questions=questions,
        door=made.door,
        upstreams=PlainUpstreams(made.far.port),
        spawn=made.spawn,
        tls=(lambda: tls) if tls is not None else (lambda: None),
        record_deadline_s=deadline_s,
    )
    listener = Listener(premises, made.make_gate, _POSTGRES, limits)
    made.listener = listener
    made.port = await listener.start("127.0.0.1", 0)
    try:
        yield made
    finally:
        await listener.stop(1.0)
        await questions.stop()
        server.close()
        if made.far.writer is not None:
            made.far.writer.close()
    assert not made.failures, made.failures


def intercepted(session: str, operation: int = 1) -> OperationIntercepted:
    return OperationIntercepted(
        ingress="one",
        session=session,
        operation=operation,
        protocol="postgres",
        resource="shop",
        identity=IDENTITY,
        statements=(Statement(text="select 1", phase="run", simple=True),),
        context=SessionContext(database="shop"),
        digest=DIGEST,
    )


class Judges:
    """Policy and masking as doubles: they hear what is intercepted and publish what a test says."""

    def __init__(self, bus: MemoryBus) -> None:
        self.bus = bus
        self.asked: list[OperationIntercepted] = []
        self.verdicts = ["allowed"]
        self.plans = True
        self.catalogs = ["c1"]
        self._count = 0

    async def start(self) -> "Judges":
        await self.bus.subscribe("audit.operation.intercepted.*.*", self._heard)
        return self

    def _heard(self, delivery: Any) -> None:
        event = decode(delivery.body)
        assert isinstance(event, OperationIntercepted)
        self.asked.append(event)
        verdict = self.verdicts[min(len(self.asked), len(self.verdicts)) - 1]
        catalog = self.catalogs[min(len(self.asked), len(self.catalogs)) - 1]
        common = {
            "ingress": event.ingress,
            "session": event.session,
            "operation": event.operation,
            "intercepted": event.id,
            "digest": event.digest,
        }
        judged = common | {"policy_revision": 1, "catalog_revision": "c1"}
        match verdict:
            case "allowed":
                self.publish(OperationAllowed.model_validate(judged))
            case "denied":
                refusal = {"refusal": {"code": "denied", "reason": "no"}}
                self.publish(OperationDenied.model_validate(judged | refusal))
            case "held":
                more = {"resource": "shop", "identity": IDENTITY, "groups": ("dba",), "window_s": 1}
                self.publish(OperationHeld.model_validate(judged | more | {"reason": "writes", "text": "x"}))
            case "foreign":
                self.publish(OperationAllowed.model_validate(judged | {"digest": "cd" * 32}))
            case _:
                pass
        if self.plans:
            plan = {"masking_revision": 1, "catalog_revision": catalog, "plan": Plan(statements=())}
            self.publish(OperationPlanned.model_validate(common | plan))

    def publish(self, event: Event) -> None:
        self._count += 1
        id = f"01JDAAAAAAAAAAAAAAAAAA{self._count:04d}"
        stamped = event.stamped(id=id, at="2026-11-22T00:00:00.000000Z")
        self.bus.publish(stamped.subject, stamped.encoded(), id=id)
