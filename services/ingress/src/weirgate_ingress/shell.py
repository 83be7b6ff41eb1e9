"""One session: the sockets of both peers around a pure gate, its effects carried out in order.

What an effect waits for, and what may overlap so that a session is not slower than the log:

=================  =====================================  =================================================
effect             starts when                            what follows waits for
=================  =====================================  =================================================
``Tape``           at once (early is safe, late is not)   its being on disk, unless ``covered``
``Ask``            all before it but tapes has run        nothing: its answer is an input
``Record``         all before it has run                  its being on disk, except ``OperationFinished``
``Send``           all before it has run and is on disk   nothing
``StartTls``       all before it has run                  the handshake
``Hangup``         everything is on disk                  nothing follows
others             all before it has run                  nothing
=================  =====================================  =================================================

Invariants:

* effects run in the order the gate gave them; nothing is sent while a ``Tape`` or ``Record`` before it is not
  on disk;
* a log that does not take something ends the session: what waits is thrown away (so an answer that could not
  be recorded is never seen), the gate is given ``Stop``, its last word is sent, facts are published for as
  long as the bus tries, nothing more goes upstream;
* what waits is bounded: above ``HIGH_BYTES`` neither peer is read; a peer that reads slowly stops the other.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, Protocol, cast

from weirgate_bus.port import Bus, BusError, BusFull, BusUnavailable, Stored
from weirgate_chassis import log
from weirgate_chassis.clock import now
from weirgate_chassis.ids import new_id, new_trace_id
from weirgate_chassis.seal import Sealer
from weirgate_contracts.events import (
    OperationAbandoned,
    OperationDeferred,
    OperationFailed,
    OperationFinished,
    OperationIntercepted,
    OperationRefused,
    SessionClosed,
    SessionEvent,
    SessionRefused,
)
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.aside import Asides
from weirgate_ingress.cancel import CancelKeys
from weirgate_ingress.forward import ForwardTls, NoForwardTls, never_secured
from weirgate_ingress.gates.core import (
    Alarm,
    Allowed,
    Answered,
    Aside,
    Ask,
    Bytes,
    Cancelled,
    CancelOther,
    CancelUpstream,
    Closed,
    Dial,
    Dialled,
    DialRefused,
    Distrust,
    Effect,
    Gate,
    Hangup,
    Held,
    HoldFor,
    HoldOver,
    Input,
    LoggedIn,
    Login,
    LoginRefused,
    LookUp,
    Record,
    Refused,
    Renew,
    Send,
    SendHead,
    Side,
    StartTls,
    Stop,
    Tape,
    TlsStarted,
    Undial,
    Withdraw,
)
from weirgate_ingress.origins import Origin
from weirgate_ingress.question import Question, Questions
from weirgate_ingress.recording import Recording
from weirgate_ingress.token import Admission, Door, TokenRefused
from weirgate_ingress.upstreams import DialError, Upstream, unavailable

HIGH_BYTES: Final = 2 * 1024 * 1024
LOW_BYTES: Final = 512 * 1024
"""Bytes of effects that wait for the log: above HIGH neither peer is read, below LOW both are again."""
WRITE_HIGH_BYTES: Final = 512 * 1024
WRITE_LOW_BYTES: Final = 128 * 1024
"""The same for the write buffer of a socket; it also bounds what a peer that stopped reading costs us."""
UNREAD_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""What waits in the write buffer of a peer that stopped reading and is all the same answered (pings are): far more
than back-pressure lets come together otherwise."""
DRAIN_DEADLINE_S: Final = 5.0
LAST_WORD_DEADLINE_S: Final = 30.0
"""How long the facts of a session that lost its log are still offered to it."""
FINISHED_DELAY_S: Final = 0.002
"""Longest ``OperationFinished`` waits for company: it gates nothing, and an agent that asks again at once has it
go in one commit with its next operation (one write and one fsync less per operation)."""
LEAVE_DEADLINE_S: Final = 60.0
"""Longest a gate may take to hang up after its agent has gone."""

_LAST = (Hangup, Renew)
_CLOSING = (OperationFinished, OperationFailed, OperationAbandoned, OperationRefused, OperationDeferred)
Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[Any]]


class PacedGate(Gate, Protocol):
    """A gate that says when it has read far enough ahead."""

    @property
    def wants_agent_bytes(self) -> bool:
        """Whether more of the agent should be read; may change with any ``feed``."""
        ...

    @property
    def protocol(self) -> Literal["postgres", "http"]:
        """What is spoken."""
        ...

    @property
    def secret_size_bytes(self) -> int:
        """Length of the cancel secret for ``Dialled``: more than 4 where the agent speaks protocol 3.2."""
        ...


class Dialler(Protocol):
    """Connects upstreams, given proof of login."""

    async def dial(self, admission: Admission, *, parameters: Any, minor: int = 0) -> Upstream | Origin:
        """Connect and log in, or raise ``DialError``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Premises:
    """What all sessions of one ingress process share."""

    bus: Bus
    ingress: str
    sealer: Sealer
    questions: Questions
    door: Door
    upstreams: Dialler
    spawn: Spawn
    cancels: CancelKeys = field(default_factory=CancelKeys)
    tls: Callable[[], ssl.SSLContext | None] = lambda: None
    forward: ForwardTls = field(default_factory=NoForwardTls)
    """Certificates of other hosts, for what comes through CONNECT."""
    record_deadline_s: float = 2.0


class Watcher(Protocol):
    """Who keeps the list of sessions."""

    def logged_in(self, session: "Session") -> None: ...
    def renew(self, session: "Session", agent: asyncio.Transport, data: bytes) -> None: ...
    def gone(self, session: "Session") -> None: ...


class Session(asyncio.Protocol):
    """The shell of one session; the protocol of the agent's socket and the sink of the upstream's.

    Args:
        premises: what all sessions share.
        gate: the core.
        id: of the session, a subject token.
        peer: address and port of the agent's socket.
        watcher: told when the agent has logged in, and when the session is gone.
        login_deadline_s: seconds left to log in.
        direct_tls: the socket speaks TLS from its first byte.
    """

    def __init__(
        self,
        premises: Premises,
        gate: PacedGate,
        *,
        id: str,
        peer: str,
        watcher: Watcher,
        login_deadline_s: float,
        direct_tls: bool = False,
    ) -> None:
        self.id = id
        self.peer = peer
        self.admission: Admission | None = None
        self._premises = premises
        self._gate = gate
        self._watcher = watcher
        self._login_deadline_s = login_deadline_s
        self._direct_tls = direct_tls
        self._trace = new_trace_id()
        self._agent: asyncio.Transport | None = None
        self._agent_lost = False
        self._upstream: Upstream | Origin | None = None
        self._process_id = 0
        self._recording = Recording(
            premises.bus,
            premises.sealer,
            ingress=premises.ingress,
            session=id,
            deadline_s=premises.record_deadline_s,
            progressed=self._progress,
            failed=self._log_lost,
        )
        # What waits: an effect, or the mark of the recording that what follows waits for.
        self._queue: deque[Effect | int] = deque()
        self._effects_waiting = 0
        self._bytes_waiting = 0
        self._inputs: deque[Input] = deque()
        self._feeding = False
        self._running = False
        self._blocked = False
        self._records_open = 0
        self._finished: list[OperationFinished] = []
        self._finished_timer: asyncio.TimerHandle | None = None
        self._hanging_up = False
        self._lost = False
        self._over = False
        self._questions: dict[int, Question] = {}
        self._holding: dict[int, asyncio.TimerHandle] = {}
        self._begun: dict[int, tuple[float, str]] = {}
        self._asides = Asides()
        self._agent_full = self._upstream_full = False
        self._agent_paused = self._upstream_paused = False
        self._upgrading = False
        self._early: list[bytes] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._deadline: asyncio.TimerHandle | None = None
        self._leaving: asyncio.TimerHandle | None = None
        self._alarm: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------ the agent's socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The agent is connected, with direct TLS after its handshake."""
        agent = cast("asyncio.Transport", transport)
        if self._over:
            # It was evicted while its socket was being taken over.
            agent.abort()
            return
        self._agent = agent
        agent.set_write_buffer_limits(high=WRITE_HIGH_BYTES, low=WRITE_LOW_BYTES)
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self._login_deadline_s, self._login_late)
        if self._direct_tls:
            tls = agent.get_extra_info("ssl_object")
            self._feed(TlsStarted(version=tls.version() or "TLS"))

    def data_received(self, data: bytes) -> None:
        """The agent sent something."""
        if self._over:
            return
        if self._upgrading:
            # Decrypted already: the socket's own protocol is the TLS layer by now.
            self._early.append(data)
            return
        self._feed(Bytes(side=Side.AGENT, data=data))

    def eof_received(self) -> bool:
        """The agent will send nothing more: it is gone, PostgreSQL knows no half-closed session."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The agent's socket is closed."""
        self._agent_lost = True
        if self._over:
            self._watcher.gone(self)
            return
        self._leaving = asyncio.get_running_loop().call_later(LEAVE_DEADLINE_S, self._abort)
        if self._upgrading and self.admission is not None:
            # Its handshake fails of it, and that says more of why.
            return
        self._feed(Closed(side=Side.AGENT))

    def pause_writing(self) -> None:
        """The agent reads slowly."""
        self._agent_full = True
        self._balance()

    def resume_writing(self) -> None:
        """The agent has caught up."""
        self._agent_full = False
        self._balance()

    # ------------------------------------------------------------ the upstream's socket

    def upstream_sent(self, data: bytes) -> None:
        """The upstream sent something."""
        if not self._over:
            self._feed(Bytes(side=Side.UPSTREAM, data=data))

    def upstream_lost(self) -> None:
        """The upstream's socket is closed."""
        if not self._over:
            self._feed(Closed(side=Side.UPSTREAM))

    def upstream_full(self) -> None:
        """The upstream reads slowly."""
        self._upstream_full = True
        self._balance()

    def upstream_drained(self) -> None:
        """The upstream has caught up."""
        self._upstream_full = False
        self._balance()

    # ------------------------------------------------------------ from outside

    def stop(self, refusal: Refusal) -> None:
        """End the session with this as the last word."""
        # A handshake that is under way would hold back the record of this, for as long as the agent likes.
        if self._upgrading:
            self._blocked = False
        if not self._over:
            self._feed(Stop(refusal=refusal))

    def evict(self) -> None:
        """End it before it has logged in, at once: others need the place."""
        self._abort()

    def answered(self, operation: int, answer: Allowed | Held | Refused) -> None:
        """A question of this session has an answer."""
        if not isinstance(answer, Held):
            self._questions.pop(operation, None)
            self._stop_holding(operation)
        if not self._over:
            self._feed(Answered(operation=operation, answer=answer))

    def log_lost(self, error: BusError) -> None:
        """The log did not take a question."""
        self._log_lost(error)

    # ------------------------------------------------------------ feeding the gate

    def _feed(self, given: Input) -> None:
        if self._feeding:
            self._inputs.append(given)
            return
        self._feeding = True
        try:
            self._take(self._gate.feed(given))
            while self._inputs and not self._over:
                self._take(self._gate.feed(self._inputs.popleft()))
        except Exception as error:  # noqa: BLE001  (the outermost loop of a session: it closes both sides)
            self._broken(error)
        finally:
            self._feeding = False
        self._balance()

    def _take(self, effects: list[Effect]) -> None:
        queue = self._queue
        taped = False
        for effect in effects:
            kind = type(effect)
            if kind is Send:
                send = cast("Send", effect)
                if self._lost and send.side is Side.UPSTREAM:
                    continue
                self._bytes_waiting += len(send.data)
            elif kind in (SendHead, Aside) and self._lost:
                continue
            elif kind is Tape:
                if self._lost:
                    continue
                tape = cast("Tape", effect)
                mark = self._recording.add(tape.direction, tape.operation, tape.data)
                if tape.covered:
                    continue
                taped = True
                if queue and type(queue[-1]) is int:
                    queue[-1] = mark
                else:
                    queue.append(mark)
                continue
            elif kind is Ask and not self._effects_waiting and not self._blocked:
                self._ask(cast("Ask", effect).event)
                continue
            queue.append(effect)
            self._effects_waiting += 1
        if taped:
            self._recording.flush()
        self._run()

    # ------------------------------------------------------------ carrying out effects

    def _run(self) -> None:
        if self._running:
            return
        self._running = True
        queue = self._queue
        recording = self._recording
        try:
            while queue and not self._blocked:
                head = queue[0]
                if type(head) is int:
                    if recording.durable < head:
                        return
                    queue.popleft()
                    continue
                if type(head) in _LAST and not self._lost:
                    self._publish_finished()
                    recording.flush()
                    if self._records_open or not recording.settled:
                        return
                queue.popleft()
                self._effects_waiting -= 1
                self._carry_out(cast("Effect", head))
        finally:
            self._running = False

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Send():
                self._send(effect)
            case Record():
                self._record(effect.event)
            case Ask():
                self._ask(effect.event)
            case Withdraw():
                self._stop_holding(effect.operation)
                question = self._questions.pop(effect.operation, None)
                if question is not None:
                    self._premises.questions.forget(question)
            case HoldFor():
                self._hold_for(effect)
            case LookUp():
                self._look_up(effect)
            case Tape():
                raise AssertionError("a tape is queued by its mark")
            case StartTls():
                self._blocked = self._upgrading = True
                self._spawn(self._start_tls(effect.host), "start TLS")
            case Login():
                self._spawn(self._log_in(effect), "login")
            case Dial():
                self._spawn(self._dial(effect), "dial")
            case CancelUpstream():
                if self._upstream is not None:
                    # Not among the session's own tasks: it is to outlive a session whose agent has left.
                    self._premises.spawn(self._guarded(self._upstream.cancel()), "cancel")
            case CancelOther():
                self._premises.cancels.cancel(effect.process_id, effect.secret)
            case SendHead():
                self._send_head(effect)
            case Aside():
                self._spawn(self._say_aside(effect), "aside")
            case Undial():
                self._undial()
            case Distrust():
                if isinstance(self._upstream, Origin):
                    self._upstream.distrust()
            case Renew():
                self._renew(effect)
            case Alarm():
                self._set_alarm(effect)
            case Hangup():
                self._finish()

    def _send(self, effect: Send) -> None:
        self._bytes_waiting -= len(effect.data)
        if effect.side is Side.AGENT:
            transport = self._agent
        else:
            transport = self._upstream.transport if self._upstream is not None else None
        if transport is not None and not transport.is_closing():
            transport.write(effect.data)

        # A single row of a database may be larger; what HTTP sends at once never is.
        http = self._gate.protocol == "http"
        if http and transport is not None and transport.get_write_buffer_size() > UNREAD_LIMIT_BYTES:
            self.stop(
                Refusal(
                    code=RefusalCode.LIMIT_EXCEEDED,
                    reason=f"The {effect.side.value} does not read what it is sent.",
                )
            )

    def _set_alarm(self, effect: Alarm) -> None:
        if self._alarm is None:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(effect.after_s, self.stop, effect.refusal)

    def _send_head(self, effect: SendHead) -> None:
        upstream = self._upstream
        if not isinstance(upstream, Origin) or upstream.transport.is_closing():
            return
        if not upstream.send_head(effect.head, effect.body_sha256):
            # What follows it, its body, waits with it.
            self._blocked = True
            self._spawn(self._send_head_later(upstream, effect), "credential")

    async def _send_head_later(self, upstream: Origin, effect: SendHead) -> None:
        """Send a head once its credential is there; where that is not to be had, nothing is sent."""
        try:
            await upstream.prepare()
        except DialError as error:
            self._unsent(upstream, error)
            return
        if self._over:
            return
        self._blocked = False
        sent = self._lost or self._upstream is not upstream or upstream.transport.is_closing()
        if not sent and not upstream.send_head(effect.head, effect.body_sha256):
            # Good for less time than it took to get it.
            self._unsent(upstream, unavailable(upstream.resource, "the credential does not last"))
            return
        self._progress()

    def _unsent(self, upstream: Origin, error: DialError) -> None:
        log.warning("no credential", session=self.id, resource=upstream.resource.name, reason=str(error))
        if self._over:
            return
        if self._upstream is upstream:
            # The body that waits behind the head has nowhere to go now.
            self._undial()
        self._blocked = False
        self._feed(DialRefused(refusal=error.refusal))
        self._progress()

    def _undial(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.link.detach()
        self._upstream_full = self._upstream_paused = False

    def _renew(self, effect: Renew) -> None:
        agent, self._agent = self._agent, None
        self._leave()
        if agent is None or agent.is_closing() or self._agent_lost:
            self._watcher.gone(self)
            return
        if self._agent_paused:
            agent.resume_reading()
        self._watcher.renew(self, agent, effect.data)

    def _ask(self, event: OperationIntercepted) -> None:
        self._publish_finished()
        trace = new_trace_id()
        self._begun[event.operation] = (time.monotonic(), trace)
        self._questions[event.operation] = self._premises.questions.ask(event, self, trace=trace)

    def _record(self, event: SessionEvent) -> None:
        trace, more = self._trace, cast("dict[str, Any]", {})
        if isinstance(event, _CLOSING):
            begun = self._begun.pop(event.operation, None)
            if begun is not None:
                trace = begun[1]
                more["duration_us"] = int((time.monotonic() - begun[0]) * 1e6)
        stamped = event.stamped(id=new_id(), at=now(), trace=trace, **more)
        if isinstance(stamped, OperationDeferred):
            self._premises.questions.deferred(stamped)
        self._records_open += 1
        if isinstance(stamped, OperationFinished):
            self._finished.append(stamped)
            if self._finished_timer is None:
                loop = asyncio.get_running_loop()
                self._finished_timer = loop.call_later(FINISHED_DELAY_S, self._publish_finished)
            return
        # The events of a session stand in the log in the order they happened.
        self._publish_finished()
        gates = not self._lost
        if gates:
            self._blocked = True
        self._publish(stamped).add_done_callback(partial(self._recorded, gates))

    def _publish_finished(self) -> None:
        if self._finished_timer is not None:
            self._finished_timer.cancel()
            self._finished_timer = None
            finished, self._finished = self._finished, []
            for event in finished:
                self._publish(event).add_done_callback(partial(self._recorded, False))

    def _publish(self, event: SessionEvent) -> asyncio.Future[Stored]:
        deadline_s = LAST_WORD_DEADLINE_S if self._lost else self._premises.record_deadline_s
        return self._premises.bus.publish(event.subject, event.encoded(), id=event.id, deadline_s=deadline_s)

    def _recorded(self, gates: bool, stored: asyncio.Future[Stored]) -> None:
        self._records_open -= 1
        error = BusUnavailable("cancelled") if stored.cancelled() else stored.exception()
        if error is not None:
            self._log_lost(error if isinstance(error, BusError) else BusUnavailable(type(error).__name__))
        elif not self._lost:
            if gates:
                self._blocked = False
            self._progress()

    def _progress(self) -> None:
        """Something is on disk: what waited for it may go."""
        if not self._over:
            self._run()
            if self._agent_paused or self._upstream_paused:
                self._balance()

    def _log_lost(self, error: BusError) -> None:
        if self._lost or self._over:
            return
        self._lost = True
        self._recording.give_up()
        waiting = list(self._queue)
        self._queue.clear()
        self._effects_waiting = self._bytes_waiting = 0
        self._blocked = False
        for effect in waiting:
            # What waits to be sent never is, so an operation did not finish; other facts stay facts.
            if isinstance(effect, Record) and not isinstance(effect.event, OperationFinished):
                self._record(effect.event)
        for question in self._questions.values():
            self._premises.questions.forget(question)
        full = isinstance(error, BusFull)
        log.error("session loses its log", session=self.id, reason=log.describe(error))
        self.stop(
            Refusal(
                code=RefusalCode.LOG_FULL if full else RefusalCode.LOG_UNAVAILABLE,
                reason="The log is full." if full else "The log is not available.",
                hint="Nothing can be done that cannot be recorded. Connect again later.",
            )
        )
        if not self._over and not self._feeding:
            # The gate had no last word (it has not begun, or hung up already and waited for the log).
            self._finish()

    # ------------------------------------------------------------ held, and not for ever

    def _hold_for(self, effect: HoldFor) -> None:
        loop = asyncio.get_running_loop()
        self._holding[effect.operation] = loop.call_later(effect.wait_s, self._hold_over, effect.operation)

    def _hold_over(self, operation: int) -> None:
        self._stop_holding(operation)
        question = self._questions.get(operation)
        if self._over or question is None or not self._premises.questions.waits(question):
            return  # people have agreed: it is on its way, and answered soon
        self._premises.questions.forget(question)
        self._feed(HoldOver(operation=operation))

    def _stop_holding(self, operation: int) -> None:
        timer = self._holding.pop(operation, None)
        if timer is not None:
            timer.cancel()

    def _look_up(self, effect: LookUp) -> None:
        assert self.admission is not None, "a gate looks up for who has logged in"
        found = self._premises.questions.state_of(
            effect.request, self.admission.identity, self.admission.resource.name
        )
        self._feed(found)

    # ------------------------------------------------------------ back-pressure

    def _balance(self) -> None:
        """Read a peer only while what comes of it has somewhere to go."""
        if self._over:
            return
        waiting = self._bytes_waiting
        crowded = waiting > HIGH_BYTES or (
            waiting > LOW_BYTES and (self._agent_paused or self._upstream_paused)
        )
        agent = self._agent
        if agent is not None and not self._upgrading and not self._agent_lost:
            pause = crowded or self._upstream_full or not self._gate.wants_agent_bytes
            if pause != self._agent_paused and not agent.is_closing():
                self._agent_paused = pause
                if pause:
                    agent.pause_reading()
                else:
                    agent.resume_reading()
        if self._upstream is not None:
            pause = crowded or self._agent_full
            if pause != self._upstream_paused and not self._upstream.transport.is_closing():
                self._upstream_paused = pause
                if pause:
                    self._upstream.transport.pause_reading()
                else:
                    self._upstream.transport.resume_reading()

    # ------------------------------------------------------------ what takes time

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._premises.spawn(self._guarded(work), name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001  (the outermost of a session's tasks: it closes both sides)
            self._broken(error)

    async def _start_tls(self, host: str | None) -> None:
        agent = self._agent
        if agent is not None and not agent.is_closing():
            # What comes before TLS is there would be taken for what came through it.
            agent.pause_reading()
        context = self._premises.tls() if host is None else await self._premises.forward.context(host)
        secured: asyncio.Transport | None = None
        if context is not None and agent is not None and not self._over:
            with suppress(OSError, ssl.SSLError):
                secured = await asyncio.get_running_loop().start_tls(
                    agent, self, context, server_side=True, ssl_handshake_timeout=self._login_deadline_s
                )
        if self._over or secured is None or self._agent_lost:
            if host is None or self._over:
                self._abort()
            else:
                self._unsecured(never_secured(host))
            return
        self._agent = secured
        secured.set_write_buffer_limits(high=WRITE_HIGH_BYTES, low=WRITE_LOW_BYTES)
        self._agent_paused = False
        self._upgrading = False
        self._blocked = False
        version = secured.get_extra_info("ssl_object").version()
        self._feed(TlsStarted(version=version or "TLS"))
        early, self._early = self._early, []
        for data in early:
            if not self._over:
                self._feed(Bytes(side=Side.AGENT, data=data))
        self._progress()

    def _unsecured(self, refusal: Refusal) -> None:
        """The agent has logged in and did not go on with TLS: its session ends, and the log says so."""
        agent, self._agent = self._agent, None
        if agent is not None:
            agent.abort()
        self._upgrading = self._blocked = False
        self.stop(refusal)
        self._progress()

    async def _log_in(self, login: Login) -> None:
        try:
            self.admission = await self._premises.door.admit(
                agent=login.agent,
                resource=login.resource,
                token=login.token,
                protocol=self._gate.protocol,
            )
        except TokenRefused as refused:
            event = SessionRefused(
                ingress=self._premises.ingress,
                session=self.id,
                protocol=self._gate.protocol,
                peer=self.peer,
                claimed_agent=login.agent[:256] or None,
                claimed_resource=login.resource[:256],
                refusal=refused.refusal,
            ).stamped(id=new_id(), at=now(), trace=self._trace)
            try:
                await self._publish(event)
            except BusError as error:
                self._log_lost(error)
                return
            if not self._over:
                self._feed(LoginRefused(refusal=refused.refusal))
            return
        if self._over:
            return
        self._watcher.logged_in(self)
        self._expire_later()
        self._feed(LoggedIn(identity=self.admission.identity, resource=self.admission.resource))

    async def _dial(self, dial: Dial) -> None:
        assert self.admission is not None, "a gate dials after it was told that the agent has logged in"
        size_bytes = self._gate.secret_size_bytes
        # What the agent does not speak is not asked of the upstream either.
        minor = 2 if size_bytes > 4 else 0
        try:
            upstream = await self._premises.upstreams.dial(
                self.admission, parameters=dial.parameters, minor=minor
            )
        except DialError as error:
            log.warning(
                "dial failed", session=self.id, resource=self.admission.resource.name, reason=str(error)
            )
            if not self._over:
                self._feed(DialRefused(refusal=error.refusal))
            return
        if self._over:
            upstream.transport.abort()
            return
        self._undial()
        self._upstream = upstream
        upstream.transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES, low=WRITE_LOW_BYTES)
        if self._process_id:
            self._premises.cancels.drop(self._process_id)
        self._process_id, secret = self._premises.cancels.make(self._cancelled, size_bytes=size_bytes)
        self._feed(Dialled(parameters=dict(upstream.parameters), process_id=self._process_id, secret=secret))
        if isinstance(upstream, Origin):
            upstream.attach(self, self.stop)
        else:
            upstream.attach(self)

    async def _say_aside(self, aside: Aside) -> None:
        admission = self.admission
        assert admission is not None, "a gate has something to say to an upstream only after login"
        await self._asides.say(aside, lambda: self._premises.upstreams.dial(admission, parameters={}))

    def _cancelled(self) -> None:
        if not self._over:
            self._feed(Cancelled())

    def _expire_later(self) -> None:
        """Watch for the token's end; looks again hourly, as a clock may be set."""
        if self._deadline is not None:
            self._deadline.cancel()
        assert self.admission is not None
        left_s = self.admission.identity.expires_at - time.time()
        if left_s <= 0:
            self.stop(
                Refusal(
                    code=RefusalCode.TOKEN_EXPIRED,
                    reason="The token has expired.",
                    hint="Get a new token and connect again.",
                )
            )
            return
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(min(left_s + 0.001, 3600.0), self._expire_later)

    def _login_late(self) -> None:
        self.stop(
            Refusal(
                code=RefusalCode.LOGIN_TIMEOUT,
                reason="The login took too long.",
                hint="Connect again, and send the token without delay.",
            )
        )

    # ------------------------------------------------------------ the end

    def _finish(self) -> None:
        """Close both sockets once what was sent has drained; abort what does not in time."""
        if self._over:
            return
        self._leave()
        loop = asyncio.get_running_loop()
        for transport in (self._agent, self._upstream.transport if self._upstream is not None else None):
            if transport is not None and not transport.is_closing():
                # TLS needs reads to go on for its own close to be seen.
                transport.close()
                loop.call_later(DRAIN_DEADLINE_S, transport.abort)
        if self._agent_lost or self._agent is None:
            self._watcher.gone(self)

    def _abort(self) -> None:
        """Close both sockets at once."""
        if self._over:
            return
        self._leave()
        for transport in (self._agent, self._upstream.transport if self._upstream is not None else None):
            if transport is not None:
                transport.abort()
        if self._agent_lost or self._agent is None:
            self._watcher.gone(self)

    def _broken(self, error: Exception) -> None:
        """Our own bug, or a gate's: nothing more may go either way."""
        if self._over:
            return
        log.error("session broken", session=self.id, reason=log.describe(error), where=_where(error))
        self._lost = True
        if self.admission is not None:
            event = SessionClosed(ingress=self._premises.ingress, session=self.id, reason="error")
            stored = self._publish(event.stamped(id=new_id(), at=now(), trace=self._trace))
            stored.add_done_callback(_observe)
        self._abort()

    def _leave(self) -> None:
        self._over = True
        self._publish_finished()
        self._recording.give_up()
        self._queue.clear()
        self._inputs.clear()
        for question in self._questions.values():
            self._premises.questions.forget(question)
        self._questions.clear()
        for timer in (self._deadline, self._leaving, self._alarm, *self._holding.values()):
            if timer is not None:
                timer.cancel()
        if self._process_id:
            self._premises.cancels.drop(self._process_id)
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()


def _observe(stored: asyncio.Future[Stored]) -> None:
    if not stored.cancelled() and stored.exception() is not None:
        log.warning("the end of a session is not recorded", reason=type(stored.exception()).__name__)


def _where(error: BaseException) -> str:
    """File and line the error comes from: a place, never a value."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}" if trace else ""
