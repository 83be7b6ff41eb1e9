"""A plan, applied to one answer: what ingress calls once it knows the columns that come back."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from weirgate_contracts.masking import CopyOptions, OutputPlan, Plan, StatementPlan, Transform
from weirgate_mask.cell import CellMasker, cell_masker
from weirgate_mask.content import Content
from weirgate_mask.copies import CopyMasker, WrittenRows
from weirgate_mask.copybinary import BinaryRows
from weirgate_mask.keys import Keyring
from weirgate_mask.kind import OPAQUE, Kind, kind_of, kind_of_name
from weirgate_mask.mismatch import PlanMismatch
from weirgate_mask.rows import RowMasker, hidden_from_scan
from weirgate_mask.scrub import scrub_error, scrub_text
from weirgate_mask.strictness import REDACT
from weirgate_mask.substitute import Substitute

__all__ = [
    "CopyMasker",
    "Field",
    "Keyring",
    "PlanMismatch",
    "RowMasker",
    "copy_masker",
    "row_masker",
    "scrub_error",
    "scrub_text",
    "statement_plan",
]


def statement_plan(whole: Plan, number: int) -> StatementPlan:
    """Return the plan of one statement of an operation, counted from 0.

    Raises:
        PlanMismatch: the plan does not have it; what it answers may not be let through.
    """
    _check_possible(whole)
    if not 0 <= number < len(whole.statements):
        raise PlanMismatch(f"statement {number + 1} is not in the plan")
    return whole.statements[number]


class Field(Protocol):
    """One column of a RowDescription, as ``weirgate_wire.postgres`` reads it."""

    @property
    def name(self) -> str: ...
    @property
    def table_oid(self) -> int: ...
    @property
    def column_number(self) -> int: ...
    @property
    def type_oid(self) -> int: ...
    @property
    def format(self) -> int: ...


def row_masker(
    plan: StatementPlan, whole: Plan, unmask: frozenset[str], fields: Sequence[Field], keys: Keyring
) -> RowMasker | None:
    """Return what masks the rows of one answer; ``None``: there is nothing to mask in it.

    Args:
        plan: The plan of the statement whose rows these are.
        whole: The plan of the operation.
        unmask: Labels the verdict lets this agent see in clear.
        fields: The columns as they come, with the formats they come in.
        keys: The mask key.

    Raises:
        PlanMismatch: the plan does not cover what comes back. Nothing of the answer may be let through.
        DetectorsUnusable: the detectors do not work.
    """
    _check_possible(whole)
    outputs = _outputs(plan, len(fields))
    for number, (field, output) in enumerate(zip(fields, outputs, strict=True), start=1):
        if field.format not in (0, 1):
            raise PlanMismatch(f"output {number} comes in a format that cannot be masked")
        if output.name is not None and output.name != field.name:
            raise PlanMismatch(f"output {number} has another name than planned")
    _check_labelled(whole, unmask, fields, outputs)
    content = _content(plan, whole, unmask, keys)
    kinds = tuple(
        (kind_of(field.type_oid, output.type), field.format == 1)
        for field, output in zip(fields, outputs, strict=True)
    )
    columns, found = _maskers(outputs, kinds, unmask, content, keys)
    if not columns and not found:
        return None
    return RowMasker(kinds, columns, found, content.detectors if content else None)


def copy_masker(
    plan: StatementPlan,
    whole: Plan,
    unmask: frozenset[str],
    *,
    format: Literal["text", "csv", "binary"],
    columns: int,
    keys: Keyring,
    options: CopyOptions | None = None,
) -> CopyMasker | None:
    """Return what masks ``COPY … TO STDOUT``; ``None``: there is nothing to mask in it.

    Args:
        plan: The plan of the COPY statement.
        whole: The plan of the operation.
        unmask: Labels the verdict lets this agent see in clear.
        format: ``binary`` as CopyOutResponse says; else what the plan's options say (``text`` will do for
        both). columns: Number of columns in CopyOutResponse.
        keys: The mask key.
        options: How rows are written; ``None``: as the plan says.

    Raises:
        PlanMismatch: the plan does not cover what comes back. Nothing of the answer may be let through.
        DetectorsUnusable: the detectors do not work.
    """
    _check_possible(whole)
    written = options or plan.copy_options
    outputs = _outputs(plan, columns)
    content = _content(plan, whole, unmask, keys)
    masks = any(_hidden(output, unmask) for output in outputs)
    if not masks and content is None:
        return None
    if written is None:
        raise PlanMismatch("COPY comes back, and the plan does not know how its rows are written")
    if (format == "binary") != (written.format == "binary"):
        raise PlanMismatch("COPY comes back in another format than planned")
    binary = format == "binary"
    kinds = tuple((_copied(output, binary), binary) for output in outputs)
    masked, found = _maskers(outputs, kinds, unmask, content, keys)
    if not masked and not found:
        return None
    scan = content.detectors if content else None
    if binary:
        return CopyMasker(BinaryRows(columns, RowMasker(kinds, masked, found, scan)))
    unscanned = frozenset(column for column in found if hidden_from_scan(kinds[column][0], False))
    return CopyMasker(WrittenRows(written, columns, masked, found, scan, unscanned))


def _copied(output: OutputPlan, binary: bool) -> Kind:
    # COPY tells no types. What the plan does not know is masked as the text it is written as, or, where the
    # bytes mean something by type, not at all: it becomes NULL.
    if output.type is None:
        return OPAQUE if binary else kind_of_name("text")
    return kind_of_name(output.type)


def _check_possible(whole: Plan) -> None:
    if whole.impossible is not None:
        raise PlanMismatch(f"no plan can be made: {whole.impossible}")


def _outputs(plan: StatementPlan, columns: int) -> tuple[OutputPlan, ...]:
    if plan.outputs is None:
        return (OutputPlan(name=None),) * columns
    if len(plan.outputs) != columns:
        raise PlanMismatch(f"{columns} outputs come back, {len(plan.outputs)} are planned")
    return plan.outputs


def _hidden(output: OutputPlan, unmask: frozenset[str]) -> bool:
    return not unmask.issuperset(output.labels)


def _check_labelled(
    whole: Plan, unmask: frozenset[str], fields: Sequence[Field], outputs: Sequence[OutputPlan]
) -> None:
    labels: dict[tuple[int, int], set[str]] = {}
    for column in whole.labelled:
        if column.label not in unmask:
            labels.setdefault((column.table_oid, column.column_number), set()).add(column.label)
    for number, (field, output) in enumerate(zip(fields, outputs, strict=True), start=1):
        known = labels.get((field.table_oid, field.column_number)) if field.table_oid else None
        if known and not known.issubset(output.labels):
            raise PlanMismatch(f"output {number} is a labelled column that the plan does not mask")


def _content(plan: StatementPlan, whole: Plan, unmask: frozenset[str], keys: Keyring) -> Content | None:
    transforms: Mapping[str, Transform] = {
        one.label: one.transform for one in whole.detectors if one.label not in unmask
    }
    return Content(transforms, keys) if transforms and plan.cell_text else None


def _maskers(
    outputs: Sequence[OutputPlan],
    kinds: Sequence[tuple[Kind, bool]],
    unmask: frozenset[str],
    content: Content | None,
    keys: Keyring,
) -> tuple[dict[int, CellMasker], dict[int, CellMasker]]:
    columns: dict[int, CellMasker] = {}
    found: dict[int, CellMasker] = {}
    for number, (output, (kind, binary)) in enumerate(zip(outputs, kinds, strict=True)):
        if _hidden(output, unmask):
            label = min(set(output.labels) - unmask)
            substitute = Substitute(label, output.transform or REDACT, keys)
            columns[number] = cell_masker(kind, binary, substitute)
        elif content is not None and (by_type := content.whole(kind)) is not None:
            columns[number] = cell_masker(kind, binary, by_type)
        elif content is not None and content.looks_at(kind):
            found[number] = content.masker(kind, binary)
    return columns, found
