"""How operations end: finished, failed, or swallowed; and what the gate then asks for itself.

Invariant: when an operation is over, agent and upstream agree on the transaction. Where the agent was told
of a failure the upstream knows nothing of, the upstream's transaction is made to fail before ReadyForQuery
is passed on.
"""

from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.core import CancelUpstream
from weirgate_ingress.gates.postgres.operation import Operation, Phase, Step, StepKind
from weirgate_ingress.gates.postgres.question import QuestionPart
from weirgate_ingress.gates.postgres.rowpart import RowPart
from weirgate_ingress.gates.postgres.state import State
from weirgate_ingress.gates.postgres.terms import PlanMismatch
from weirgate_ingress.gates.sqlstate import CANCELLED_STATE, refusal_fields
from weirgate_wire.postgres.error import FATAL_SEVERITIES, ErrorFields, PeerError, decode_fields
from weirgate_wire.postgres.frame import Frame
from weirgate_wire.postgres.message import CopyFail, ErrorResponse, Status, Sync, decode_status


class SettlePart:
    """Ends operations."""

    __slots__ = ("_question", "_rows", "_state")

    def __init__(self, state: State, question: QuestionPart, rows: RowPart) -> None:
        self._state = state
        self._question = question
        self._rows = rows

    def fail(self, operation: Operation, refusal: Refusal) -> None:
        """Stop an operation that runs: the agent is told, the rest is swallowed, its transaction fails."""
        state = self._state
        state.records.failed(operation.tally, refusal, rows=operation.rows)
        state.out.say(operation.tally, ErrorResponse(refusal_fields(refusal)).encode())
        state.out.add(CancelUpstream())
        operation.phase = Phase.SPOILED
        state.copying_in = False
        if not operation.waits_for_ready:
            # Whichever error comes first, that of the cancel or that of the poison, the upstream then skips
            # to Sync.
            state.skipping = True
            operation.steps.clear()
            self._question.poison(operation, sync=False)

    def swallow(self, unit: Frame, operation: Operation) -> None:
        """Take what the upstream still says of an operation the agent was told is over."""
        state = self._state
        kind = unit.kind
        steps = operation.steps
        if kind == 0x45:  # E
            fields = decode_fields(unit.body)
            if fields.get("V", fields.get("S")) in FATAL_SEVERITIES:
                state.fatal = True
            state.upstream_failed = True
            if steps and steps[0].kind is StepKind.POISON:
                steps.popleft()
                if not steps:
                    state.operation = None
        elif kind == 0x47:  # G: it waits for rows that will never come
            extended = steps and steps[0].kind is not StepKind.QUERY
            again = Sync().encode() if extended and operation.waits_for_ready else b""
            state.out.send_upstream(CopyFail("refused by the gateway").encode() + again)
        elif kind == 0x5A:  # Z
            status = decode_status(unit.raw)
            self._synced(status)
            if status == "T":
                if operation.poisoned:
                    raise PeerError("the upstream's transaction did not fail")
                steps.clear()
                self._question.poison(operation, sync=True)
                return
            state.out.say(operation.tally, unit.raw)
            state.operation = None
            self._path_after(ready=True)

    def ready(self, unit: Frame, operation: Operation, step: Step) -> None:
        """Take the ReadyForQuery of an operation."""
        state = self._state
        if step.kind not in (StepKind.SYNC, StepKind.QUERY) or len(operation.steps) != 1:
            raise PeerError("ReadyForQuery too early")
        self._synced(decode_status(unit.raw))
        if not step.own:
            state.out.say(operation.tally, unit.raw)
        self.finish(operation, ready=True)

    def _synced(self, status: Status) -> None:
        state = self._state
        state.status = status
        state.unsynced = state.upstream_failed = False
        state.copying_in = False
        if status == "I":
            state.names.transaction_ended()
        if state.path_reported is not None:
            # What a probe saw inside a batch may have been rolled back since; what is reported here has not.
            state.search_path = state.path_reported

    def probe_failed(self, operation: Operation, fields: ErrorFields) -> None:
        """The gate's own question failed: only a late cancel between transactions is survived, by asking
        again.

        Raises:
            PeerError: anything else; without the search_path nothing more can be judged.
        """
        state = self._state
        if fields.get("C") != CANCELLED_STATE or state.status != "I" or operation.ends != "sync":
            raise PeerError("the upstream would not tell its search_path")
        while operation.steps and operation.steps[0].kind is not StepKind.SYNC:
            operation.steps.popleft()
        operation.sqlstate = CANCELLED_STATE

    def finish(self, operation: Operation, *, ready: bool) -> None:
        """The upstream owes nothing more for an operation."""
        state = self._state
        state.operation = None
        if operation.phase is Phase.PROBE:
            if operation.sqlstate is not None:
                state.probe_due = True
                return
            state.search_path = self._rows.probed(operation)
            if state.status == "I" and ready:
                state.path_dirty = False
            return
        if operation.number:
            state.record_finished(operation)
            if operation.verdict is not None and operation.verdict.search_path_may_change:
                state.path_dirty = True
        self._path_after(ready=ready)

    def _path_after(self, *, ready: bool) -> None:
        """After an operation: must the upstream be asked for its search_path before the next one?"""
        state = self._state
        if not state.path_dirty or state.upstream_failed or state.status == "E":
            return
        if ready and state.path_reported is not None:
            # It was reported before ReadyForQuery.
            state.path_dirty = state.status != "I"
            return
        state.probe_due = True


def mismatch(error: PlanMismatch) -> Refusal:
    """Return what the agent is told when an answer and its plan do not fit."""
    return Refusal(
        code=RefusalCode.PLAN_MISMATCH,
        reason=f"The answer is not what the mask plan covers, so none of it is passed: {error.reason}"[:2000],
        hint="It may have had its effect upstream. If the schema has just changed, send it again.",
    )
