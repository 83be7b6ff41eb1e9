"""The result part: what the upstream says, checked against what it owes, masked, and said to the agent.

Per step (see ``operation``), what may come:

=====================  ==========================================================================
step                   the upstream says
=====================  ==========================================================================
query                  per statement: [RowDescription, rows] CommandComplete · COPY in or out,
                       CommandComplete; or EmptyQueryResponse; an ErrorResponse ends it;
                       at last ReadyForQuery
parse, bind, close     ParseComplete, BindComplete, CloseComplete
describe statement     ParameterDescription, then RowDescription or NoData
describe portal        RowDescription or NoData
execute                [rows] CommandComplete, PortalSuspended or EmptyQueryResponse · COPY
sync                   ReadyForQuery
poison                 ErrorResponse
=====================  ==========================================================================

An ErrorResponse to an extended message ends all steps up to the Sync. Notices, notifications and
ParameterStatus come at any time. Anything else is PeerError.

Invariants: no row passes whose columns are not known and checked against the plan; after the agent was told
that an operation failed, nothing the upstream still says of it passes.
"""

from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.postgres.operation import Operation, Phase, Step, StepKind
from weirgate_ingress.gates.postgres.question import QuestionPart
from weirgate_ingress.gates.postgres.rowpart import RowPart
from weirgate_ingress.gates.postgres.searchpath import parse_search_path
from weirgate_ingress.gates.postgres.settle import SettlePart, mismatch
from weirgate_ingress.gates.postgres.state import State
from weirgate_ingress.gates.postgres.terms import PlanMismatch
from weirgate_wire.postgres.error import FATAL_SEVERITIES, PeerError, decode_fields
from weirgate_wire.postgres.frame import Frame, Part, Run
from weirgate_wire.postgres.message import (
    CopyResponse,
    ErrorResponse,
    NoticeResponse,
    NotificationResponse,
    ParameterStatus,
    RowDescription,
    decode_row_description,
    decode_tag,
    decode_upstream,
)

_TAGS_LIMIT = 64
"""Command tags kept for the event; a batch has at most as many statements."""


class ResultPart:
    """Takes the upstream's messages."""

    __slots__ = ("_rows", "_settle", "_state")

    def __init__(self, state: State, question: QuestionPart) -> None:
        self._state = state
        self._rows = RowPart(state)
        self._settle = SettlePart(state, question, self._rows)

    def streams(self) -> bool:
        """Whether a long row may be handed out in parts: nobody looks into it."""
        operation = self._state.operation
        if operation is None or operation.phase is Phase.SPOILED:
            return True
        if operation.phase is Phase.PROBE:
            return False
        if operation.copying_out:
            return operation.copy_masks is None
        return self._rows.masks_of(operation) is None

    def take(self, unit: Frame | Run | Part) -> None:
        """Take one unit of the upstream's stream.

        Raises:
            PeerError: the upstream does not owe that.
        """
        state = self._state
        operation = state.operation
        if isinstance(unit, Frame):
            kind = unit.kind
            if kind in (0x4E, 0x41, 0x53):  # N A S
                self._asynchronous(unit, operation)
                return
            if operation is None or operation.phase in (Phase.ASKED, Phase.HELD):
                self._unowed(unit, operation)
            elif operation.phase is Phase.SPOILED:
                self._settle.swallow(unit, operation)
            elif kind == 0x45:  # E
                self._error(unit, operation)
            else:
                self._answer(unit, operation)
            return
        if operation is None or operation.phase in (Phase.ASKED, Phase.HELD):
            raise PeerError("rows that nobody asked for")
        if operation.phase is Phase.SPOILED:
            return
        refusal = self._rows.take(unit, operation)
        if refusal is not None:
            self._settle.fail(operation, refusal)

    def too_long(self, size_bytes: int) -> bool:
        """A row is longer than masking looks into: fail the operation that runs, if one does."""
        operation = self._state.operation
        if operation is None or operation.phase is not Phase.RUNNING:
            return False
        refusal = Refusal(
            code=RefusalCode.TOO_LARGE,
            reason=f"One row of {size_bytes} bytes is longer than what masking looks into.",
            hint="Select parts of the large value, for instance with substring().",
        )
        self._settle.fail(operation, refusal)
        return True

    # ------------------------------------------------------------ at any time

    def _asynchronous(self, unit: Frame, operation: Operation | None) -> None:
        state = self._state
        waiting = operation is None or operation.phase in (Phase.ASKED, Phase.HELD)
        tally = state.none if operation is None or waiting else operation.tally
        if unit.kind == 0x4E:  # N
            if operation is None or operation.phase is not Phase.SPOILED:
                fields = state.masks.error(decode_fields(unit.body), state.plan, state.unmask)
                state.out.say(tally, NoticeResponse(fields).encode())
            return
        message = decode_upstream(unit.kind, unit.body)
        if isinstance(message, NotificationResponse):
            payload = state.masks.error({"M": message.payload}, state.plan, state.unmask).get("M", "")
            notification = NotificationResponse(message.process_id, message.channel, payload)
            state.out.say(tally, notification.encode())
        elif isinstance(message, ParameterStatus):
            check_setting(message.name, message.value)
            if message.name == "search_path":
                state.path_reported = state.search_path = parse_search_path(message.value)
            state.out.say(tally, unit.raw)

    def _unowed(self, unit: Frame, operation: Operation | None) -> None:
        state = self._state
        if unit.kind != 0x45:
            raise PeerError("an answer that nobody asked for")
        fields = decode_fields(unit.body)
        if fields.get("V", fields.get("S")) not in FATAL_SEVERITIES:
            raise PeerError("an error that nobody asked for")
        state.fatal = True
        scrubbed = state.masks.error(fields, state.plan, state.unmask)
        state.out.say(operation.tally if operation else state.none, ErrorResponse(scrubbed).encode())

    # ------------------------------------------------------------ answers

    def _error(self, unit: Frame, operation: Operation) -> None:
        state = self._state
        fields = decode_fields(unit.body)
        if fields.get("V", fields.get("S")) in FATAL_SEVERITIES:
            state.fatal = True
        if operation.phase is Phase.PROBE and not state.fatal:
            self._settle.probe_failed(operation, fields)
            return
        operation.sqlstate = operation.sqlstate or fields.get("C", "XX000")
        scrubbed = state.masks.error(fields, state.plan, state.unmask)
        state.out.say(operation.tally, ErrorResponse(scrubbed).encode())
        state.copying_in = False
        operation.copying_out = operation.copying_in = operation.described = False
        steps = operation.steps
        if steps and steps[0].kind is StepKind.QUERY:
            return
        state.upstream_failed = True
        while steps and steps[0].kind is not StepKind.SYNC:
            steps.popleft()
        if not steps:
            state.skipping = True
            if not state.fatal:
                self._settle.finish(operation, ready=False)

    def _answer(self, unit: Frame, operation: Operation) -> None:
        state = self._state
        if not operation.steps:
            raise PeerError("an answer that nobody asked for")
        step = operation.steps[0]
        kind = unit.kind
        if kind == 0x5A:  # Z
            self._settle.ready(unit, operation, step)
        elif kind == 0x54 or kind == 0x6E:  # T n
            self._described(unit, operation, step)
        elif kind in (0x43, 0x73, 0x49):  # C s I
            self._complete(unit, operation, step)
        elif kind in (0x47, 0x48):  # G H
            self._copy_begins(unit, operation, step)
        elif kind == 0x63 and operation.copying_out:  # c
            try:
                state.out.say(operation.tally, self._rows.copied_out(operation) + unit.raw)
            except PlanMismatch as error:
                self._settle.fail(operation, mismatch(error))
        elif kind == 0x74 and step.kind is StepKind.DESCRIBE_STATEMENT:  # t
            state.out.say(operation.tally, unit.raw)
        elif kind == 0x31 and step.kind is StepKind.PARSE:  # 1
            if not step.own:
                state.names.parsed(step.name, step.text)
            self._step_done(unit, operation, step)
        elif kind == 0x32 and step.kind is StepKind.BIND:  # 2
            if not step.own:
                state.names.bound(step.name, step.text)
            self._step_done(unit, operation, step)
        elif kind == 0x33 and step.kind in (StepKind.CLOSE_STATEMENT, StepKind.CLOSE_PORTAL):  # 3
            if step.kind is StepKind.CLOSE_STATEMENT:
                state.names.dropped_statement(step.name)
            else:
                state.names.dropped_portal(step.name)
            self._step_done(unit, operation, step)
        else:
            raise PeerError(f"message {chr(kind)!r} is not what the upstream owes")

    def _step_done(self, unit: Frame, operation: Operation, step: Step) -> None:
        if not step.own:
            self._state.out.say(operation.tally, unit.raw)
        operation.steps.popleft()
        if not operation.steps:
            self._settle.finish(operation, ready=False)

    def _described(self, unit: Frame, operation: Operation, step: Step) -> None:
        rows = unit.kind == 0x54
        description = decode_row_description(unit.body) if rows else RowDescription(())
        try:
            if step.kind is StepKind.QUERY and rows:
                self._rows.described(operation, description)
                self._state.out.say(operation.tally, unit.raw)
                return
            if step.kind is StepKind.DESCRIBE_PORTAL:
                self._rows.portal_described(operation, step, description if rows else None)
            elif step.kind is not StepKind.DESCRIBE_STATEMENT:
                raise PeerError("a description that nobody asked for")
        except PlanMismatch as error:
            self._settle.fail(operation, mismatch(error))
            return
        self._step_done(unit, operation, step)

    def _complete(self, unit: Frame, operation: Operation, step: Step) -> None:
        state = self._state
        if unit.kind == 0x43:
            tag = decode_tag(unit.raw)
            if not step.own and len(operation.tags) < _TAGS_LIMIT:
                operation.tags.append(tag)
        if operation.copying_out:
            raise PeerError("a statement completes inside its COPY")
        if step.kind is StepKind.QUERY:
            if unit.kind == 0x73:
                raise PeerError("a simple query has no portal to suspend")
            if unit.kind == 0x43:
                if operation.results >= len(operation.plan.statements):
                    self._settle.fail(operation, mismatch(PlanMismatch("more results than planned")))
                    return
                self._define(operation, operation.results, operation.statements[0].text)
                operation.results += 1
            operation.described = False
            operation.masks = None
            state.out.say(operation.tally, unit.raw)
        elif step.kind is StepKind.EXECUTE:
            if unit.kind == 0x43 and not step.own:
                self._define(operation, step.statement, operation.statements[step.statement].text)
            self._step_done(unit, operation, step)
        else:
            raise PeerError("a completion that nobody asked for")

    def _define(self, operation: Operation, number: int, text: str) -> None:
        verdict = operation.verdict
        if verdict is None or not verdict.defines:
            return
        for definition in verdict.defines:
            if definition.number == number:
                # Said anywhere in the text: then it may outlive its transaction, and is kept for longer.
                self._state.names.defined(definition, outlives="hold" in text.lower())

    # ------------------------------------------------------------ COPY

    def _copy_begins(self, unit: Frame, operation: Operation, step: Step) -> None:
        state = self._state
        message = decode_upstream(unit.kind, unit.body)
        assert isinstance(message, CopyResponse)
        if step.own or step.kind not in (StepKind.QUERY, StepKind.EXECUTE):
            raise PeerError("a COPY that nobody asked for")
        if message.direction == "in":
            if step.kind is StepKind.EXECUTE:
                # While it copies in, PostgreSQL ignores the Sync that came with the batch; the agent sends
                # another.
                owed = list(operation.steps)[1:]
                if [one.kind for one in owed] == [StepKind.SYNC]:
                    operation.steps.pop()
                elif owed:
                    raise PeerError("COPY with other messages behind it in its batch")
                operation.ends = "flush"
            operation.copying_in = state.copying_in = True
            state.out.say(operation.tally, unit.raw)
            return
        try:
            self._rows.copy_out_begins(operation, step, message)
        except PlanMismatch as error:
            self._settle.fail(operation, mismatch(error))
            return
        state.out.say(operation.tally, unit.raw)


def check_setting(name: str, value: str) -> None:
    """Check a setting the upstream reports: text must stay UTF-8, and strings must end where the judge
    thinks.

    Raises:
        PeerError: it has moved.
    """
    if name == "client_encoding" and value.upper() != "UTF8":
        raise PeerError("client_encoding is no longer UTF8: what is judged would not be what runs")
    if name == "standard_conforming_strings" and value != "on":
        raise PeerError("standard_conforming_strings is off: what is judged would not be what runs")
