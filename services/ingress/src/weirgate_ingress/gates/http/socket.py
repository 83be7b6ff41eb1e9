"""The tunnel of a WebSocket: both directions read as messages, judged or masked, recorded, written anew.

=================  ======================================  ========================================================
state              on                                      does
=================  ======================================  ========================================================
``OPEN``           message of the agent                    ``Ask``, or, where no rule reads it, passes it part by part
``OPEN``           ``Allowed`` of a message                ``Tape``, ``Send(UPSTREAM)``, records ``finished`` of it
``OPEN``           ``Refused`` of a message                Close 1008 to the agent → ``CLOSING``
``OPEN``           message of the upstream                 masks it whole, or passes it part by part
``OPEN``           Close of the agent                      passes it on → ``AGENT_CLOSED``
``OPEN``           Close of the upstream                   passes it on → ``UPSTREAM_CLOSED``
``AGENT_CLOSED``   Close of the upstream, or its end       passes it on; over
``UPSTREAM_CLOSED``  Close of the agent                    passes it on; over
``CLOSING``        Close of the agent, or its end          over
=================  ======================================  ========================================================

Invariants, beside those of the gate:

* messages of the agent go on in the order they came, and where they are judged only whole and one by one: while one
  waits, those behind it wait (bounded), and so does the agent's Close;
* a Ping is answered here and a Pong ends here: what rides on them would pass no rule and no mask;
* where messages are judged the reason of the agent's Close is dropped, for the same cause; that of the upstream's is
  masked;
* nothing is sent to a peer after a Close was;
* every message that was asked about has its end recorded.

Source: RFC 6455 sections 5, 7.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Literal

from weirgate_contracts.events import OperationIntercepted
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.core import Alarm, Allowed, Answered, Ask, Held, Refused, Side, Tape, Withdraw
from weirgate_ingress.gates.http.handshake import Keys
from weirgate_ingress.gates.http.limit import over_size
from weirgate_ingress.gates.http.message import masked_message, message_call, message_digest, type_of, unfit
from weirgate_ingress.gates.http.operation import Operation
from weirgate_ingress.gates.http.record import HttpRecords, Reason
from weirgate_ingress.gates.http.terms import Bodies, PlanMismatch, Unreadable
from weirgate_ingress.gates.outbox import Outbox
from weirgate_wire.websocket import (
    MESSAGE_LIMIT_BYTES,
    Close,
    CloseCode,
    Event,
    MessageReader,
    Opcode,
    Part,
    Ping,
    Pong,
    WebSocketError,
    encode_frame,
    encode_part,
    shortened,
)

CLOSE_DEADLINE_S = 10.0
"""Longest a peer may take to answer a Close. ``websockets``: 10 s; ``ws`` of Node.js: 30 s."""
_OBJECT_BYTES = 64
"""Counted for each message that waits, besides its bytes: else a thousand empty ones cost nothing."""
UNANSWERED = Refusal(
    code=RefusalCode.LIMIT_EXCEEDED, reason="A Close of the WebSocket was not answered in time."
)
_CLOSE_CODES = {
    RefusalCode.SHUTDOWN: CloseCode.GOING_AWAY,
    RefusalCode.LOG_UNAVAILABLE: CloseCode.TRY_AGAIN,
    RefusalCode.LOG_FULL: CloseCode.TRY_AGAIN,
    RefusalCode.VERDICT_TIMEOUT: CloseCode.TRY_AGAIN,
    RefusalCode.PLAN_TIMEOUT: CloseCode.TRY_AGAIN,
    RefusalCode.TOO_LARGE: CloseCode.TOO_BIG,
}
"""What a refusal closes with, where it is not a matter of policy (1008)."""


class _State(Enum):
    OPEN = auto()
    AGENT_CLOSED = auto()
    UPSTREAM_CLOSED = auto()
    CLOSING = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What a tunnel needs of its gate."""

    out: Outbox
    records: HttpRecords
    bodies: Bodies
    next_number: Callable[[], int]
    undial: Callable[[], None]
    ahead_limit_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    text: bool
    data: bytes = field(repr=False)


@dataclass(slots=True, kw_only=True)
class _Pending:
    number: int
    digest: str
    message: _Message


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a tunnel ended, for the facts about the operation that opened it."""

    how: Literal["finished", "abandoned", "failed"]
    """``failed``: that is recorded already."""
    reason: Reason
    refusal: Refusal | None = None


class SocketTunnel:
    """A WebSocket, from its 101 to its end.

    Args:
        hands: of the gate.
        operation: that opened it.
        event: it was asked about with.
        judges: each message of the agent is an operation; else all pass once they are recorded.
        keys: for masking.
    """

    def __init__(
        self, hands: Hands, operation: Operation, event: OperationIntercepted, *, judges: bool, keys: Keys
    ) -> None:
        assert operation.plan is not None
        assert operation.plan.body is not None
        self._hands = hands
        self._out = hands.out
        self._operation = operation
        self._event = event
        self._judges = judges
        self._keys = keys
        self._plan = operation.plan
        self._passes_unread = operation.plan.body.unread == "pass"
        self._masks = hands.bodies.masks(operation.plan, operation.unmask)
        self._agent = MessageReader(masked=True, limit_bytes=MESSAGE_LIMIT_BYTES if judges else None)
        self._upstream = MessageReader(masked=False)
        self._state = _State.OPEN
        self._gathered = bytearray()
        """Of a message of the agent that is to be judged."""
        self._coming = bytearray()
        """Of a message of the upstream that is to be masked."""
        self._waiting: deque[_Message | Close] = deque()
        self._waiting_bytes = 0
        self._pending: _Pending | None = None
        self._taped: list[bytes] = []
        self._sent: list[bytes] = []
        """Frames of the agent that pass unjudged, until the end of a step: a thousand small ones are one write."""
        self._refusal: Refusal | None = None
        self._failed = False
        self.end: End | None = None

    @property
    def wants_agent_bytes(self) -> bool:
        """Whether the agent is to be read on."""
        waiting = self._waiting_bytes + len(self._gathered)
        return self._pending is None or waiting <= self._hands.ahead_limit_bytes

    # ------------------------------------------------------------ the agent

    def agent_sent(self, data: bytes) -> None:
        """Take bytes of the agent."""
        ping: Ping | None = None
        try:
            for event in self._agent.feed(data):
                if isinstance(event, Ping):
                    self._flush()
                    self._tape("i", encode_frame(Opcode.PING, event.data))
                    ping = event
                else:
                    self._agent_says(event)
        except WebSocketError as error:
            self._flush()
            if self._state is not _State.CLOSING:
                self._agent_broke(error)
            else:
                self._over("finished", "refused")
            return
        self._flush()
        # Of several at once only the last has to be answered (section 5.5.3).
        if ping is not None and self._state in (_State.OPEN, _State.AGENT_CLOSED) and self.end is None:
            self._say(encode_frame(Opcode.PONG, ping.data))

    def _agent_says(self, event: Event) -> None:
        if self._state is _State.CLOSING:
            if isinstance(event, Close):
                self._over("finished", "refused")
            return
        match event:
            case Part():
                if self._state is _State.OPEN:
                    self._agent_part(event)
            case Close():
                self._waiting.append(event)
                self._next()
            case Pong(data=data):
                self._flush()
                self._tape("i", encode_frame(Opcode.PONG, data))
            case Ping():
                pass

    def _agent_part(self, part: Part) -> None:
        if not self._judges:
            self._operation.bytes_in += len(part.data)
            self._taped.append(encode_part(part))
            self._sent.append(encode_part(part, key=self._keys.take(4)))
            return
        self._gathered += part.data
        if part.last:
            message = _Message(text=part.text, data=bytes(self._gathered))
            self._gathered.clear()
            self._waiting.append(message)
            self._waiting_bytes += len(message.data) + _OBJECT_BYTES
            self._next()

    def _flush(self) -> None:
        if self._sent:
            self._tape("i", b"".join(self._taped))
            self._out.send_upstream(b"".join(self._sent))
            self._taped.clear()
            self._sent.clear()

    def _agent_broke(self, error: WebSocketError) -> None:
        if error.code is CloseCode.TOO_BIG:
            number = self._hands.next_number()
            refusal = Refusal(
                code=RefusalCode.TOO_LARGE,
                reason=f"A message is judged whole, and it has more than {MESSAGE_LIMIT_BYTES} bytes.",
                hint="Send it in smaller messages.",
            )
            self._hands.records.refused(number, refusal)
            self._close(refusal, CloseCode.TOO_BIG, number=number)
        else:
            reason = f"The agent's WebSocket is malformed: {error}"[:2000]
            self._fail(Refusal(code=RefusalCode.PROTOCOL, reason=reason), error.code, undial=False)
        # What comes after it cannot be read, so its Close is not waited for.
        self._over("failed" if self._failed else "finished", "refused")

    # ------------------------------------------------------------ judging

    def _next(self) -> None:
        """Go on with what waits."""
        while self._pending is None and self._waiting and self.end is None:
            one = self._waiting.popleft()
            if isinstance(one, Close):
                self._agent_closes(one)
            elif self._state is _State.OPEN:
                self._waiting_bytes -= len(one.data) + _OBJECT_BYTES
                self._ask(one)

    def _ask(self, message: _Message) -> None:
        number = self._hands.next_number()
        digest = message_digest(self._operation.digest, message.data, text=message.text)
        call = message_call(self._operation.call, message.data, text=message.text)
        self._pending = _Pending(number=number, digest=digest, message=message)
        update = {"operation": number, "call": call, "digest": digest}
        self._out.add(Ask(event=self._event.model_copy(update=update)))

    def answered(self, given: Answered) -> None:
        """A message has its answer."""
        pending = self._pending
        if pending is None or pending.number != given.operation:
            return
        match given.answer:
            case Held():
                return
            case Refused(refusal=refusal, denied=denied):
                self._pending = None
                if not denied:
                    self._hands.records.refused(pending.number, refusal)
                self._close(refusal, number=pending.number)
            case Allowed():
                self._pending = None
                refusal = unfit(given.answer, pending.digest)
                if refusal is None:
                    self._send_on(pending)
                    self._next()
                else:
                    self._hands.records.refused(pending.number, refusal)
                    self._close(refusal, number=pending.number)

    def _send_on(self, pending: _Pending) -> None:
        message = pending.message
        opcode = Opcode.TEXT if message.text else Opcode.BINARY
        size = len(message.data)
        self._operation.bytes_in += size
        self._out.add(Tape(direction="i", operation=pending.number, data=encode_frame(opcode, message.data)))
        self._out.send_upstream(encode_frame(opcode, message.data, key=self._keys.take(4)))
        self._hands.records.message_sent(pending.number, size)

    def _drop(
        self, reason: Literal["disconnected", "killed", "shutdown"], refusal: Refusal | None = None
    ) -> None:
        """Forget the message that is asked about, and those behind it."""
        pending, self._pending = self._pending, None
        self._waiting.clear()
        self._waiting_bytes = 0
        self._gathered.clear()
        if pending is None:
            return
        self._out.add(Withdraw(operation=pending.number))
        if refusal is not None:
            self._hands.records.refused(pending.number, refusal)
        else:
            self._hands.records.abandoned(pending.number, reason, sent=False)

    # ------------------------------------------------------------ the upstream

    def upstream_sent(self, data: bytes) -> None:
        """Take bytes of the upstream."""
        ping: Ping | None = None
        try:
            for event in self._upstream.feed(data):
                if self._state not in (_State.OPEN, _State.AGENT_CLOSED) or self.end is not None:
                    return
                match event:
                    case Part():
                        self._upstream_part(event)
                    case Close():
                        self._upstream_closes(event)
                    case Ping():
                        ping = event
                    case Pong():
                        pass
        except WebSocketError as error:
            if self._state in (_State.OPEN, _State.AGENT_CLOSED):
                reason = f"The upstream's WebSocket is malformed: {error}"[:2000]
                self._fail(Refusal(code=RefusalCode.PROTOCOL, reason=reason), CloseCode.BAD_GATEWAY)
            return
        if ping is not None and self._state is _State.OPEN:
            self._send_upstream(Opcode.PONG, ping.data)

    def _upstream_part(self, part: Part) -> None:
        operation = self._operation
        operation.bytes_answered += len(part.data)
        refusal = over_size(operation.limits, operation.bytes_answered)
        if refusal is not None:
            self._fail(refusal, CloseCode.POLICY)
        elif not self._masks or (not part.text and self._passes_unread):
            self._say(encode_part(part))
        elif not part.text:
            self._fail(_unreadable("a binary message"), CloseCode.UNSUPPORTED)
        elif len(self._coming) + len(part.data) > MESSAGE_LIMIT_BYTES:
            reason = (
                f"A message is masked whole, and the upstream's has more than {MESSAGE_LIMIT_BYTES} bytes."
            )
            self._fail(Refusal(code=RefusalCode.TOO_LARGE, reason=reason), CloseCode.TOO_BIG)
        else:
            self._coming += part.data
            if part.last:
                whole = bytes(self._coming)
                self._coming.clear()
                self._say_masked(whole)

    def _say_masked(self, whole: bytes) -> None:
        try:
            shown = self._masked(whole, type_of(whole, text=True))
        except Unreadable as error:
            if not self._passes_unread:
                self._fail(_unreadable(error.reason), CloseCode.UNSUPPORTED)
                return
            shown = whole
        except PlanMismatch as error:
            self._fail(_mismatch(error.reason), CloseCode.INTERNAL)
            return
        self._say(encode_frame(Opcode.TEXT, shown))

    def _masked(self, whole: bytes, type: str) -> bytes:
        unmask = self._operation.unmask
        shown, cells = masked_message(self._hands.bodies, self._plan, unmask, whole, type=type)
        self._operation.message_cells += cells
        return shown

    # ------------------------------------------------------------ closing

    def _agent_closes(self, close: Close) -> None:
        self._flush()
        if self._state is _State.OPEN:
            self._state = _State.AGENT_CLOSED
            self._closed_with(close)
            self._alarm()
        elif self._state is _State.UPSTREAM_CLOSED:
            self._closed_with(close)
            self._over("finished", "upstream")

    def _closed_with(self, close: Close) -> None:
        self._tape("i", encode_frame(Opcode.CLOSE, close.payload()))
        self._out.send_upstream(
            encode_frame(
                Opcode.CLOSE,
                (Close(close.code) if self._judges else close).payload(),
                key=self._keys.take(4),
            )
        )

    def _upstream_closes(self, close: Close) -> None:
        if self._masks and close.reason:
            try:
                reason = self._masked(close.reason.encode(), "text/plain").decode("utf-8", "replace")
            except (Unreadable, PlanMismatch):
                reason = ""
            close = Close(close.code, shortened(reason))
        self._say(encode_frame(Opcode.CLOSE, close.payload()))
        if self._state is _State.AGENT_CLOSED:
            self._over("finished", "agent")
        else:
            self._state = _State.UPSTREAM_CLOSED
            # An upstream that has said Close reads no message any more.
            said = next((one for one in self._waiting if isinstance(one, Close)), None)
            self._drop("disconnected")
            if said is not None:
                self._agent_closes(said)
            else:
                self._alarm()

    def _close(self, refusal: Refusal, code: CloseCode | None = None, *, number: int) -> None:
        """Close both ways because of a message that is not sent on."""
        self._drop("disconnected")
        told = f"{refusal.code.value}: operation {number}: {refusal.reason}"
        code = code or _CLOSE_CODES.get(refusal.code, CloseCode.POLICY)
        if self._state is _State.OPEN:
            self._send_upstream(Opcode.CLOSE, Close(CloseCode.GOING_AWAY).payload())
        self._tell_close(code, told)
        self._refusal = refusal

    def _fail(self, refusal: Refusal, code: CloseCode, *, undial: bool = True) -> None:
        """Close because what a peer sent goes no further."""
        self._drop("disconnected")
        self._failed = True
        self._refusal = refusal
        told = "" if self._state is _State.UPSTREAM_CLOSED else f"{refusal.code.value}: {refusal.reason}"
        if not undial and self._state is _State.OPEN:
            self._send_upstream(Opcode.CLOSE, Close(CloseCode.GOING_AWAY).payload())
        self._tell_close(code, told)
        self._hands.records.failed(self._operation.tally, refusal)
        if undial:
            self._hands.undial()

    def _tell_close(self, code: CloseCode, told: str) -> None:
        if self._state is not _State.UPSTREAM_CLOSED:
            self._say(encode_frame(Opcode.CLOSE, Close(code, shortened(told)).payload()))
        # Its Close may have waited behind the message that is not sent on.
        answered = self._agent.over
        self._state = _State.CLOSING
        if answered:
            self._over("finished", "refused")
        else:
            self._alarm()

    def _over(self, how: Literal["finished", "abandoned", "failed"], reason: Reason) -> None:
        if self.end is None:
            self._drop("disconnected")
            if self._failed:
                how = "failed"
            self.end = End(how=how, reason=reason, refusal=self._refusal)

    # ------------------------------------------------------------ ends that come from outside

    def closed(self, side: Side) -> None:
        """A peer's socket is closed."""
        if side is Side.AGENT:
            # Who leaves without a Close may not have had what was sent last.
            how = "abandoned" if self._state is _State.OPEN else "finished"
            self._over(how, "refused" if self._refusal is not None else "agent")
        elif self._state is _State.AGENT_CLOSED:
            self._say(encode_frame(Opcode.CLOSE, Close(CloseCode.GOING_AWAY).payload()))
            self._over("finished", "agent")
        elif self._state is _State.OPEN:
            lost = Refusal(
                code=RefusalCode.UPSTREAM_LOST,
                reason="The upstream closed the connection without a Close.",
                hint="Messages sent last may have had their effect.",
            )
            self._fail(lost, CloseCode.BAD_GATEWAY)

    def stopped(self, refusal: Refusal) -> bytes:
        """The session ends now; return the last word to the agent. Facts of the tunnel itself are the gate's."""
        if refusal.code is RefusalCode.KILLED:
            self._drop("killed")
        elif refusal.code is RefusalCode.SHUTDOWN:
            self._drop("shutdown")
        else:
            self._drop("disconnected", refusal)
        if self._state not in (_State.OPEN, _State.AGENT_CLOSED):
            return b""
        code = _CLOSE_CODES.get(refusal.code, CloseCode.POLICY)
        told = shortened(f"{refusal.code.value}: {refusal.reason}")
        return encode_frame(Opcode.CLOSE, Close(code, told).payload())

    def unanswered(self, refusal: Refusal) -> bool:
        """Say whether a stop is nothing but our own alarm; then the tunnel is over."""
        if refusal != UNANSWERED or self._state is _State.OPEN:
            return False
        if self._state is _State.AGENT_CLOSED:
            self._say(encode_frame(Opcode.CLOSE, Close(CloseCode.GOING_AWAY).payload()))
        self._over("finished", "refused" if self._refusal is not None else "agent")
        return True

    @property
    def settled(self) -> bool:
        """Whether the end of the operation is recorded already."""
        return self._failed

    # ------------------------------------------------------------ sending

    def _alarm(self) -> None:
        self._out.add(Alarm(after_s=CLOSE_DEADLINE_S, refusal=UNANSWERED))

    def _tape(self, direction: str, frame: bytes) -> None:
        self._out.add(Tape(direction=direction, operation=self._operation.number, data=frame))

    def _say(self, frame: bytes) -> None:
        self._out.say(self._operation.tally, frame)

    def _send_upstream(self, opcode: Opcode, payload: bytes) -> None:
        """Send a control frame of the gateway's own."""
        self._tape("i", encode_frame(opcode, payload))
        self._out.send_upstream(encode_frame(opcode, payload, key=self._keys.take(4)))


def _unreadable(reason: str) -> Refusal:
    return Refusal(
        code=RefusalCode.PLAN_MISMATCH,
        reason=f"The upstream sent what masking cannot look into: {reason}"[:2000],
        hint="Ask for text messages, or have the resource pass such ones ('unread: pass').",
    )


def _mismatch(reason: str) -> Refusal:
    return Refusal(
        code=RefusalCode.PLAN_MISMATCH,
        reason=f"A message of the upstream cannot be masked, so none of it is passed: {reason}"[:2000],
    )
