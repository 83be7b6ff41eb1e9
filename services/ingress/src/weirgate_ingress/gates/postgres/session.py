"""A logged-in session: takes turns between the agent's stream, the operation under way and the upstream's
stream.

=========  ==============================
===================================================================== operation  takes
   does
=========  ==============================
===================================================================== none       a segment of the agent
   Ask → asked; or sends bookkeeping → running; or refuses asked      Answered(Held)                  a
   notice → held
held       Answered(Allowed)               Tape, Send upstream → running
           Answered(Refused)               Record, ErrorResponse → none or spoiled
           Cancelled                       Withdraw, Record(abandoned), ErrorResponse 57014 → none or spoiled
running    the upstream's last answer      Record(finished) → none
           a limit, a plan that misfits    Record(failed), ErrorResponse, CancelUpstream → spoiled
           Cancelled                       CancelUpstream
spoiled    ReadyForQuery (or an error)     → none; what comes before is swallowed
any        Closed, Stop, PeerError         the operation is recorded as over, Record(SessionClosed), Hangup
=========  ==============================
=====================================================================

Invariants: at most one operation is under way; the next one is started when the upstream owes nothing more.
What the agent sends meanwhile waits, within a bound, then unread. COPY data goes straight through while the
upstream has asked for it, and waits or is dropped otherwise (as PostgreSQL drops it after a COPY that
failed).
"""

from typing import Literal

from weirgate_contracts.events import SessionClosed
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.core import Answered, CancelUpstream, Hangup, Record, Side, Tape, Withdraw
from weirgate_ingress.gates.postgres.operation import Operation, Phase
from weirgate_ingress.gates.postgres.question import QuestionPart
from weirgate_ingress.gates.postgres.result import ResultPart
from weirgate_ingress.gates.postgres.segment import SegmentReader
from weirgate_ingress.gates.postgres.state import State
from weirgate_ingress.gates.record import Abandoned
from weirgate_ingress.gates.sqlstate import refusal_fields
from weirgate_wire.postgres.error import FrameTooLong, PeerError
from weirgate_wire.postgres.frame import Frame, Part, Run, Splitter
from weirgate_wire.postgres.limit import AGENT_RUN_KINDS, UPSTREAM_RUN_KINDS, agent_limits, upstream_limits
from weirgate_wire.postgres.message import ErrorResponse, Flush, Terminate

_COPY_KINDS = frozenset(b"dcf")
_FLUSH = Flush().encode()
Reason = Literal["agent", "upstream", "refused", "killed", "shutdown", "expired", "error"]
_STOP_REASONS: dict[RefusalCode, Reason] = {
    RefusalCode.KILLED: "killed",
    RefusalCode.SHUTDOWN: "shutdown",
    RefusalCode.TOKEN_EXPIRED: "expired",
}


def _always() -> bool:
    return True


class Session:
    """One logged-in session."""

    __slots__ = (
        "_agent",
        "_blocked",
        "_question",
        "_reader",
        "_result",
        "_state",
        "_upstream",
        "bytes_in",
        "ended",
    )

    def __init__(self, state: State, *, bytes_in: int) -> None:
        terms = state.terms
        self._state = state
        self._question = QuestionPart(state)
        self._result = ResultPart(state, self._question)
        self._reader = SegmentReader(terms)
        self._agent = Splitter(agent_limits(terms.operation_limit_bytes), run_kinds=AGENT_RUN_KINDS)
        self._agent.streams = _always
        self._upstream = Splitter(
            upstream_limits(terms.whole_frame_limit_bytes), run_kinds=UPSTREAM_RUN_KINDS
        )
        self._upstream.streams = self._result.streams
        self._blocked = False
        self.bytes_in = bytes_in
        self.ended = False

    @property
    def wants_agent_bytes(self) -> bool:
        """Whether more of the agent can be taken in."""
        return not self._blocked and not self.ended

    # ------------------------------------------------------------ inputs

    def take(self, side: Side, data: bytes) -> None:
        """Take bytes of a peer."""
        try:
            if side is Side.AGENT:
                self.bytes_in += len(data)
                self._agent.feed(data)
            else:
                self._upstream.feed(data)
                self._take_upstream()
        except PeerError as error:
            self._broken("upstream", error)
        self.turn()

    def answered(self, given: Answered) -> None:
        """Take an answer; one that is no longer waited for is forgotten."""
        operation = self._state.operation
        if (
            operation is not None
            and operation.number == given.operation
            and operation.phase in (Phase.ASKED, Phase.HELD)
        ):
            self._question.answered(operation, given.answer)
        self.turn()

    def cancelled(self) -> None:
        """The agent cancels what is under way; nothing may be."""
        if self._state.operation is not None:
            self._question.cancelled(self._state.operation)
        self.turn()

    def closed(self, side: Side) -> None:
        """A peer is gone."""
        if side is Side.AGENT:
            self._abandon("disconnected")
            self._end("agent", None)
            return
        refusal = Refusal(
            code=RefusalCode.UPSTREAM_LOST,
            reason="The upstream closed the connection.",
            hint="Connect again. What was under way may have had its effect.",
        )
        self._give_up(refusal)
        self._end("upstream", refusal, say=not self._state.fatal)

    def stop(self, refusal: Refusal) -> None:
        """End the session with this as the last word."""
        code = refusal.code
        if code is RefusalCode.KILLED:
            self._abandon("killed")
        elif code is RefusalCode.SHUTDOWN:
            self._abandon("shutdown")
        else:
            self._give_up(refusal)
        self._end(_STOP_REASONS.get(code, "error"), refusal)

    def turn(self) -> None:
        """Go on with whatever can go on."""
        state = self._state
        try:
            while not self.ended:
                moved = self._read_agent()
                if state.operation is None and not state.fatal:
                    if state.probe_due:
                        self._question.probe()
                        continue
                    if state.queue:
                        self._start_next()
                        continue
                if not moved:
                    return
        except PeerError as error:
            self._broken("agent", error)

    # ------------------------------------------------------------ the agent's stream

    def _start_next(self) -> None:
        state = self._state
        segment = state.queue.popleft()
        state.queued_bytes -= segment.size_bytes
        if segment.ends == "terminate":
            state.out.send_upstream(Terminate().encode())
            self._end("agent", None)
        else:
            self._question.start(segment)

    def _read_agent(self) -> bool:
        """Read what can be read now; say whether anything was."""
        state = self._state
        moved = False
        self._blocked = False
        while True:
            if state.copying_in:
                if not self._copy_in():
                    return moved
                moved = True
                continue
            if state.queue and state.queued_bytes > state.terms.pipeline_limit_bytes:
                self._blocked = True
                return moved
            if (state.operation is not None or state.queue) and self._agent.peek() in _COPY_KINDS:
                # It may be for a COPY that is still being judged, or about to begin.
                self._blocked = True
                return moved
            unit = self._agent.next()
            if unit is None:
                return moved
            moved = True
            if unit.kind in _COPY_KINDS:
                continue
            if isinstance(unit, Frame):
                for segment in self._reader.take(unit):
                    state.queue.append(segment)
                    state.queued_bytes += segment.size_bytes

    def _copy_in(self) -> bool:
        state = self._state
        operation = state.operation
        assert operation is not None
        self._forget_syncs()
        unit = self._agent.next()
        if unit is None:
            return False
        if isinstance(unit, Run):
            self._copy_on(operation, unit.block)
        elif isinstance(unit, Part):
            self._copy_on(operation, unit.piece)
        elif unit.kind in b"cf":
            # The upstream answers only when asked to; the Sync that came with the batch it has ignored.
            self._copy_on(operation, unit.raw + (b"" if operation.ends == "query" else _FLUSH))
            state.copying_in = operation.copying_in = False
        elif unit.kind not in b"HS":
            raise PeerError("a message that is not COPY's, inside a COPY")
        return True

    def _forget_syncs(self) -> None:
        """Drop Sync and Flush that came behind the COPY: PostgreSQL ignores them while it copies in."""
        state = self._state
        while state.queue:
            segment = state.queue.popleft()
            state.queued_bytes -= segment.size_bytes
            if segment.messages or segment.ends in ("terminate", "function"):
                raise PeerError("a message that is not COPY's, inside a COPY")
        if self._reader.building_bytes:
            raise PeerError("a message that is not COPY's, inside a COPY")

    def _copy_on(self, operation: Operation, raw: bytes) -> None:
        out = self._state.out
        operation.copied_in_bytes += len(raw)
        out.add(Tape(direction="i", operation=operation.number, data=raw))
        out.send_upstream(raw)

    # ------------------------------------------------------------ the upstream's stream

    def _take_upstream(self) -> None:
        state, upstream, result = self._state, self._upstream, self._result
        while not self.ended:
            try:
                unit = upstream.next()
            except FrameTooLong as error:
                if chr(error.kind) not in "Dd" or not result.too_long(error.size_bytes):
                    raise
                continue
            if unit is None:
                return
            result.take(unit)
            if state.operation is None:
                # The next operation begins here and not at the end of the chunk, whose end means nothing.
                self.turn()

    # ------------------------------------------------------------ the end

    def _abandon(self, reason: Abandoned) -> None:
        state = self._state
        operation = state.operation
        if operation is None or not operation.number or operation.phase is Phase.SPOILED:
            return
        self._stop_operation(operation)
        state.records.abandoned(operation.number, reason, sent=operation.sent)

    def _give_up(self, refusal: Refusal) -> None:
        state = self._state
        operation = state.operation
        if operation is None or not operation.number or operation.phase is Phase.SPOILED:
            return
        self._stop_operation(operation, lost=refusal.code is RefusalCode.UPSTREAM_LOST)
        if operation.phase is Phase.RUNNING:
            state.records.failed(operation.tally, refusal, rows=operation.rows)
        else:
            state.records.refused(operation.number, refusal)

    def _stop_operation(self, operation: Operation, *, lost: bool = False) -> None:
        if operation.phase is not Phase.RUNNING:
            self._state.out.add(Withdraw(operation=operation.number))
        elif not lost:
            self._state.out.add(CancelUpstream())

    def _broken(self, who: str, error: PeerError) -> None:
        code = RefusalCode.TOO_LARGE if isinstance(error, FrameTooLong) else RefusalCode.PROTOCOL
        refusal = Refusal(code=code, reason=f"The {who} broke the protocol: {error}"[:2000])
        self._give_up(refusal)
        self._end("error", refusal)

    def _end(self, reason: Reason, refusal: Refusal | None, *, say: bool = True) -> None:
        state = self._state
        out = state.out
        if self.ended:
            return
        self.ended = True
        word = b""
        if refusal is not None and say:
            word = ErrorResponse(refusal_fields(refusal, fatal=True)).encode()
        # When the log is away the record cannot be made: then the last word goes first.
        log_lost = refusal is not None and refusal.code in (RefusalCode.LOG_UNAVAILABLE, RefusalCode.LOG_FULL)
        out.flush()
        if word and log_lost:
            out.tell(word)
        closed = SessionClosed(
            ingress=state.terms.ingress,
            session=state.terms.session,
            reason=reason,
            refusal=refusal,
            operations=state.count,
            bytes_in=self.bytes_in,
            bytes_out=out.bytes_out + (0 if log_lost else len(word)),
        )
        out.add(Record(event=closed))
        if word and not log_lost:
            out.tell(word)
        out.add(Hangup())
