"""Rows and COPY blocks of the running operation: counted, limited, masked, passed on."""

from weirgate_contracts.masking import StatementPlan
from weirgate_contracts.operation import Limits
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.postgres.operation import Operation, Phase, Step, StepKind
from weirgate_ingress.gates.postgres.searchpath import parse_search_path
from weirgate_ingress.gates.postgres.state import State
from weirgate_ingress.gates.postgres.terms import PlanMismatch, Rows
from weirgate_wire.postgres.error import PeerError
from weirgate_wire.postgres.frame import HEADER_BYTES, Part, Run
from weirgate_wire.postgres.message import CopyResponse, RowDescription
from weirgate_wire.postgres.row import cut_block, split_row

_NO_LIMITS = Limits()


class RowPart:
    """Takes blocks."""

    __slots__ = ("_state",)

    def __init__(self, state: State) -> None:
        self._state = state

    def masks_of(self, operation: Operation) -> Rows | None:
        """Return what masks the rows of the running statement."""
        if operation.steps and operation.steps[0].kind is StepKind.EXECUTE:
            return operation.portal_masks.get(operation.steps[0].name)
        return operation.masks

    # ------------------------------------------------------------ descriptions

    def described(self, operation: Operation, description: RowDescription) -> None:
        """A statement of a simple query returns these columns.

        Raises:
            PlanMismatch: the plan does not cover them.
        """
        if operation.described:
            # A rewrite rule (DO ALSO SELECT) adds a result that nobody judged.
            raise PlanMismatch("a statement returns two results")
        if operation.results >= len(operation.plan.statements):
            raise PlanMismatch("more results than the statement was read to have")
        operation.masks = self._masks(operation, operation.plan.statements[operation.results], description)
        operation.described = True

    def portal_described(self, operation: Operation, step: Step, description: RowDescription | None) -> None:
        """A portal returns these columns, or no rows.

        Raises:
            PlanMismatch: the plan does not cover them.
        """
        operation.portal_masks.pop(step.name, None)
        if description is not None:
            plan = operation.plan_of[step.statement]
            operation.portal_masks[step.name] = self._masks(operation, plan, description)

    def _masks(self, operation: Operation, plan: StatementPlan, description: RowDescription) -> Rows | None:
        masks = self._state.masks.rows(plan, operation.plan, operation.unmask, description.fields)
        if masks is not None:
            operation.made.append(masks)
        return masks

    def copy_out_begins(self, operation: Operation, step: Step, message: CopyResponse) -> None:
        """COPY TO STDOUT begins.

        Raises:
            PlanMismatch: the plan does not cover it.
        """
        if step.kind is StepKind.QUERY:
            if operation.results >= len(operation.plan.statements):
                raise PlanMismatch("more results than the statement was read to have")
            plan = operation.plan.statements[operation.results]
        else:
            plan = operation.plan_of[step.statement]
        masks = self._state.masks.copy(
            plan, operation.plan, operation.unmask, message.column_formats, message.format
        )
        if masks is not None:
            operation.made.append(masks)
        operation.copy_masks = masks
        operation.copying_out = True

    def copied_out(self, operation: Operation) -> bytes:
        """COPY TO STDOUT is complete: return what was held back.

        Raises:
            PlanMismatch: it ends inside a row.
        """
        masks = operation.copy_masks
        operation.copying_out = False
        operation.copy_masks = None
        return masks.finish() if masks is not None else b""

    # ------------------------------------------------------------ blocks

    def take(self, unit: Run | Part, operation: Operation) -> Refusal | None:
        """Take a block of rows; a refusal means it must go no further.

        Raises:
            PeerError: rows nobody asked for, or whose columns were never described.
        """
        step = operation.steps[0] if operation.steps else None
        copied = unit.kind == 0x64
        if step is None or not self._owed(operation, step, copied):
            raise PeerError("rows that nobody asked for")
        if operation.phase is Phase.PROBE:
            if isinstance(unit, Run):
                operation.captured.append(unit.block)
            return None
        if isinstance(unit, Part):
            return self._pass_part(unit, operation)
        limits = operation.verdict.limits if operation.verdict is not None else _NO_LIMITS
        block, count = unit.block, unit.count
        over = _exceeds(limits, operation.rows + count, operation.size_bytes + len(block))
        if over is not None:
            rows = None if limits.rows is None else limits.rows - operation.rows
            size = None if limits.size_bytes is None else limits.size_bytes - operation.size_bytes
            end, count = cut_block(block, rows=rows, size_bytes=size)
            block = block[:end]
        operation.rows += count
        operation.size_bytes += len(block)
        try:
            if copied:
                masks = operation.copy_masks
                shown = block if masks is None else masks.feed(block)
            else:
                rows_masks = self.masks_of(operation)
                shown = block if rows_masks is None or not block else rows_masks.mask_rows(block)
        except PlanMismatch as error:
            return Refusal(
                code=RefusalCode.PLAN_MISMATCH,
                reason=f"A row is not what the mask plan covers: {error.reason}"[:2000],
            )
        self._state.out.say(operation.tally, shown)
        return over

    def _owed(self, operation: Operation, step: Step, copied: bool) -> bool:
        if step.own:
            return operation.phase is Phase.PROBE and step.kind is StepKind.EXECUTE and not copied
        if copied:
            return operation.copying_out
        if step.kind is StepKind.QUERY:
            return operation.described
        return step.kind is StepKind.EXECUTE and step.name in operation.portal_masks

    def _pass_part(self, unit: Part, operation: Operation) -> Refusal | None:
        """Pass a piece of one long row that nobody looks into; its size counts when it begins."""
        if unit.first:
            limits = operation.verdict.limits if operation.verdict is not None else _NO_LIMITS
            over = _exceeds(limits, operation.rows + 1, operation.size_bytes + unit.size_bytes)
            if over is not None:
                return over
            operation.rows += 1
            operation.size_bytes += unit.size_bytes
        self._state.out.say(operation.tally, unit.piece)
        return None

    def probed(self, operation: Operation) -> tuple[str, ...]:
        """Return the search_path the gate's own question brought back.

        Raises:
            PeerError: it brought back something else.
        """
        if len(operation.captured) != 1:
            raise PeerError("the upstream would not tell its search_path")
        cells = split_row(operation.captured[0], HEADER_BYTES)
        if len(cells) != 1 or cells[0] is None:
            raise PeerError("the upstream would not tell its search_path")
        try:
            return parse_search_path(cells[0].decode())
        except UnicodeDecodeError as error:
            raise PeerError("search_path is not UTF-8") from error


def _exceeds(limits: Limits, rows: int, size_bytes: int) -> Refusal | None:
    if limits.rows is not None and rows > limits.rows:
        what = f"more than the {limits.rows} rows"
        hint = "Ask for fewer rows: add a LIMIT, or aggregate."
    elif limits.size_bytes is not None and size_bytes > limits.size_bytes:
        what = f"more than the {limits.size_bytes} bytes"
        hint = "Ask for fewer columns or rows."
    else:
        return None
    return Refusal(
        code=RefusalCode.LIMIT_EXCEEDED,
        reason=f"The answer has {what} this agent may take at once.",
        hint=hint,
    )
