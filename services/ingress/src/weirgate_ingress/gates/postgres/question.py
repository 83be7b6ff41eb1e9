"""The query part: an operation is asked about, then sent on, or refused.

Invariants: nothing of an operation is sent upstream before it was ``Allowed``; nothing of a refused one ever
is; what is refused is recorded before the agent is told.

After a refusal the agent and the upstream agree on the transaction, as if PostgreSQL itself had raised the
error:

=====================================
========================================================================== the upstream is
    the gate
=====================================
========================================================================== idle, nothing of the batch was
sent    sends nothing; answers Sync (or ends the Query) with ReadyForQuery ``I`` in a failed transaction
          the same, with ``E`` in a transaction, or in a batch that   sends *poison*, a Parse that is a
          syntax error: the transaction fails without
was sent in part                       anything being looked up; its ErrorResponse is swallowed
=====================================
==========================================================================
"""

from collections import deque
from typing import assert_never

from weirgate_contracts.events import OperationIntercepted
from weirgate_contracts.operation import PARAMETERS_LIMIT_BYTES
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.core import Allowed, Ask, CancelUpstream, Held, Refused, Tape, Withdraw
from weirgate_ingress.gates.postgres.compile import Unsendable, compile_batch, compile_query
from weirgate_ingress.gates.postgres.name import OWN_NAME
from weirgate_ingress.gates.postgres.operation import Operation, Phase, Step, StepKind, align
from weirgate_ingress.gates.postgres.segment import Segment
from weirgate_ingress.gates.postgres.state import State
from weirgate_ingress.gates.postgres.terms import PlanMismatch
from weirgate_ingress.gates.sqlstate import cancelled_fields, notice_fields, refusal_fields
from weirgate_wire.postgres.error import ErrorFields
from weirgate_wire.postgres.message import (
    Bind,
    Close,
    ErrorResponse,
    Execute,
    Flush,
    NoticeResponse,
    Parse,
    Query,
    ReadyForQuery,
    Sync,
)

POISON = Parse(
    OWN_NAME, "/* weirgate: an operation was refused, so its transaction fails */ weirgate refused"
).encode()
_SYNC = Sync().encode()
_PROBE = (
    Parse(OWN_NAME, "SHOW search_path").encode()
    + Bind(OWN_NAME, OWN_NAME).encode()
    + Execute(OWN_NAME).encode()
    + Close("P", OWN_NAME).encode()
    + Close("S", OWN_NAME).encode()
)
_PROBE_STEPS = (
    StepKind.PARSE,
    StepKind.BIND,
    StepKind.EXECUTE,
    StepKind.CLOSE_PORTAL,
    StepKind.CLOSE_STATEMENT,
)


class QuestionPart:
    """Starts segments, takes answers, sends or refuses."""

    __slots__ = ("_state",)

    def __init__(self, state: State) -> None:
        self._state = state

    # ------------------------------------------------------------ starting

    def start(self, segment: Segment) -> None:
        """Start a segment; there is no operation under way. Terminate is not for here."""
        state = self._state
        if segment.ends == "query" or segment.ends == "function":
            if not state.skipping:
                self._start_simple(segment)
        elif state.skipping:
            if segment.ends == "sync":
                state.skipping = False
                self._sync_after_error()
        else:
            self._start_batch(segment)

    def _start_simple(self, segment: Segment) -> None:
        state = self._state
        state.count += 1
        if not segment.messages:
            self._refuse_unasked(
                "query",
                Unsendable(
                    Refusal(
                        code=RefusalCode.UNSUPPORTED,
                        reason="Calling a function by its number is not let through the gateway.",
                        hint="Call the function by name in a SELECT.",
                    )
                ),
            )
            return
        message, raw = segment.messages[0]
        assert isinstance(message, Query)
        try:
            operation = compile_query(message, raw, state.count)
        except Unsendable as error:
            self._refuse_unasked("query", error)
            return
        self._ask(operation)

    def _start_batch(self, segment: Segment) -> None:
        state = self._state
        try:
            operation, rest = compile_batch(segment, state.names, state.count + 1)
        except Unsendable as error:
            state.count += 1
            self._refuse_unasked("sync" if segment.ends == "sync" else "flush", error)
            return
        if rest is not None:
            state.queue.appendleft(rest)
            state.queued_bytes += rest.size_bytes
        if operation.statements:
            state.count += 1
            self._ask(operation)
        else:
            self._send(operation)

    def _ask(self, operation: Operation) -> None:
        state = self._state
        state.operation = operation
        event = OperationIntercepted(
            ingress=state.terms.ingress,
            session=state.terms.session,
            operation=operation.number,
            protocol="postgres",
            resource=state.resource,
            identity=state.identity,
            statements=operation.statements,
            context=state.context(operation.statements),
            digest=operation.digest,
        )
        state.out.add(Ask(event=event))

    def probe(self) -> None:
        """Ask the upstream for its search_path, between operations."""
        state = self._state
        state.probe_due = False
        synced = not state.unsynced
        steps = deque(Step(kind, OWN_NAME, own=True) for kind in _PROBE_STEPS)
        if synced:
            steps.append(Step(StepKind.SYNC, own=True))
        operation = Operation(
            number=0,
            ends="sync" if synced else "flush",
            raw=b"",
            wire=_PROBE + (_SYNC if synced else Flush().encode()),
            steps=steps,
            phase=Phase.PROBE,
        )
        state.operation = operation
        state.unsynced = True
        state.out.send_upstream(operation.wire)

    # ------------------------------------------------------------ answers

    def answered(self, operation: Operation, answer: Allowed | Held | Refused) -> None:
        """Take the answer about the operation that is asked or held."""
        state = self._state
        match answer:
            case Held():
                operation.phase = Phase.HELD
                fields = notice_fields(answer.notice, answer.detail, answer.hint)
                state.out.say(operation.tally, NoticeResponse(fields).encode())
            case Refused():
                if not answer.denied:
                    state.records.refused(operation.number, answer.refusal)
                self._refuse(operation, refusal_fields(answer.refusal))
            case Allowed():
                refusal = self._check_allowed(operation, answer)
                if refusal is None:
                    self._send(operation)
                else:
                    state.records.refused(operation.number, refusal)
                    self._refuse(operation, refusal_fields(refusal))
            case _:
                assert_never(answer)

    def _check_allowed(self, operation: Operation, answer: Allowed) -> Refusal | None:
        verdict, plan = answer.verdict, answer.plan.plan
        if verdict.digest != operation.digest or answer.plan.digest != operation.digest:
            return Refusal(
                code=RefusalCode.PLAN_MISMATCH,
                reason="The verdict or the mask plan is about another operation.",
                hint="Send the statement again.",
            )
        if plan.impossible is not None:
            return Refusal(
                code=RefusalCode.PLAN_IMPOSSIBLE,
                reason=f"No mask plan can be made for this statement: {plan.impossible}"[:2000],
                hint="Name the columns you need, from tables rather than from expressions over whole rows.",
            )
        if operation.ends != "query":
            try:
                operation.plan_of = align(operation.statements, plan)
            except PlanMismatch as error:
                return Refusal(code=RefusalCode.PLAN_MISMATCH, reason=error.reason)
        operation.verdict = verdict
        operation.plan = plan
        operation.unmask = frozenset(verdict.unmask)
        return None

    def _send(self, operation: Operation) -> None:
        state = self._state
        out = state.out
        state.operation = operation
        operation.phase = Phase.RUNNING
        if operation.verdict is not None:
            state.plan, state.unmask = operation.plan, operation.unmask
        if operation.ends == "query":
            state.names.simple_query_begins()
        else:
            state.unsynced = True
        if operation.raw:
            # The intercepted event has its texts whole, and its parameters up to the limit.
            covered = operation.verdict is not None and len(operation.raw) <= PARAMETERS_LIMIT_BYTES
            out.add(Tape(direction="i", operation=operation.number, data=operation.raw, covered=covered))
        out.send_upstream(operation.wire)

    # ------------------------------------------------------------ refusing

    def cancelled(self, operation: Operation) -> None:
        """The agent cancels."""
        state = self._state
        if operation.phase in (Phase.ASKED, Phase.HELD):
            state.out.add(Withdraw(operation=operation.number))
            state.records.abandoned(operation.number, "cancelled", sent=operation.sent)
            self._refuse(operation, cancelled_fields())
        elif operation.phase is Phase.RUNNING:
            state.out.add(CancelUpstream())

    def _refuse_unasked(self, ends: str, error: Unsendable) -> None:
        state = self._state
        operation = Operation(
            number=state.count,
            ends="query" if ends == "query" else "sync" if ends == "sync" else "flush",
            raw=b"",
            wire=b"",
        )
        state.operation = operation
        state.records.refused(operation.number, error.refusal)
        self._refuse(operation, refusal_fields(error.refusal, sqlstate=error.sqlstate))

    def _refuse(self, operation: Operation, fields: ErrorFields) -> None:
        """Tell the agent, and bring both sides to the same state. Nothing of the operation was sent."""
        state = self._state
        state.out.say(operation.tally, ErrorResponse(fields).encode())
        operation.steps.clear()
        operation.phase = Phase.SPOILED
        complete = operation.ends in ("query", "sync")
        if (state.status == "T" or state.unsynced) and not state.upstream_failed:
            self.poison(operation, sync=complete)
        elif complete and state.unsynced:
            operation.steps.append(Step(StepKind.SYNC))
            state.out.send_upstream(_SYNC)
        else:
            if complete:
                state.out.say(operation.tally, ReadyForQuery(state.status).encode())
            state.operation = None
        state.skipping = not complete

    def poison(self, operation: Operation, *, sync: bool) -> None:
        """Make the upstream's transaction fail, and wait until it has."""
        state = self._state
        operation.poisoned = True
        operation.steps.append(Step(StepKind.POISON, own=True))
        if sync:
            operation.steps.append(Step(StepKind.SYNC))
        state.unsynced = True
        state.out.send_upstream(POISON + _SYNC if sync else POISON)

    def _sync_after_error(self) -> None:
        """The agent's Sync ends a batch that failed."""
        state = self._state
        if not state.unsynced:
            state.out.say(state.none, ReadyForQuery(state.status).encode())
            return
        self._send(Operation(number=0, ends="sync", raw=b"", wire=_SYNC, steps=deque((Step(StepKind.SYNC),))))
