"""The words of a mask plan: made by masking, carried on the bus, applied by ingress."""

from typing import Literal

from pydantic import Field

from weirgate_contracts.value import LabelName, LabelPattern, Value, is_absent

TransformKind = Literal["redact", "partial", "null", "generalise", "pseudonym", "format"]


class Transform(Value):
    """How a value is masked.

    ``redact``: a placeholder; ``partial``: all but some characters starred; ``null``: NULL;
    ``generalise``: a coarser value (year, number range, e-mail domain); ``pseudonym``: keyed, equal in
    gives equal out; ``format``: digits by digits and letters by letters, keyed, separators kept.
    """

    kind: TransformKind
    keep_first: int = Field(default=0, ge=0, le=64)
    keep_last: int = Field(default=0, ge=0, le=64)
    step: int | None = Field(default=None, ge=1)
    """Width of a number range for ``generalise``."""


class MaskingRule(Value):
    """One rule: of several that match a label, the first in order counts."""

    label: LabelPattern
    transform: Transform
    groups: tuple[str, ...] = ()
    """Applies to agents in any of these groups; empty: to all."""


class OutputPlan(Value):
    """What happens to one output column, left to right."""

    name: str | None
    """As it must stand in RowDescription; ``None`` where it cannot be known."""
    labels: tuple[LabelName, ...] = ()
    """Labels of every column this output is derived from."""
    transform: Transform | None = None
    """Strictest transform of those labels; set exactly when ``labels`` is not empty."""
    type: str | None = None
    """``format_type`` output of the column this is, unchanged; ``None`` for an expression. COPY tells no
    types."""


class CopyOptions(Value):
    """How ``COPY … TO STDOUT`` writes its rows, as the statement says. Each of the characters is one byte."""

    format: Literal["text", "csv", "binary"] = "text"
    delimiter: str = "\t"
    null: str = "\\N"
    quote: str = '"'
    escape: str = '"'
    header: bool = False


class LabelledColumn(Value):
    """A labelled column by catalog number, to check lineage against RowDescription."""

    table_oid: int
    column_number: int
    label: LabelName
    transform: Transform


class DetectorPlan(Value):
    """A content detector that is on: what it finds is masked as its label says."""

    label: LabelName
    transform: Transform


class StatementPlan(Value):
    """The plan for the answer of one statement."""

    outputs: tuple[OutputPlan, ...] | None
    """``None``: the statement returns no rows of relations (SHOW, EXPLAIN, utility); only detectors apply."""
    cell_text: bool = True
    """``False`` only where no cell can hold free text (a row count, for instance)."""
    copy_options: CopyOptions | None = None
    """Set exactly for ``COPY … TO STDOUT``."""


class FieldPlan(Value):
    """Values of a structured body that are masked wherever the pattern fits."""

    pattern: str
    """A JSON pointer whose steps may be ``*`` (any one step); one step ``**`` stands for any number of them:
    ``/items/*/email``, ``/**/email``, ``/result/**/email``."""
    labels: tuple[LabelName, ...]
    transform: Transform


class EmbeddedPlan(Value):
    """Strings of a body that may themselves be JSON, and what is masked in those."""

    patterns: tuple[str, ...]
    """Where such strings stand, as ``FieldPlan.pattern``: ``/result/content/*/text``."""
    fields: tuple[FieldPlan, ...]
    """Their patterns begin at the outermost value of the JSON in the string."""


class BodyPlan(Value):
    """The plan for the body of an HTTP answer; detectors apply to all text in it besides."""

    fields: tuple[FieldPlan, ...] = ()
    unread: Literal["pass", "refuse"] = "refuse"
    """What becomes of a body of a type that cannot be read."""
    embedded: EmbeddedPlan | None = Field(default=None, exclude_if=is_absent)
    """Of MCP: JSON written into a string, as servers answer with their text."""


class Plan(Value):
    """The plan for one operation: what must be masked, whatever the verdict unmasks."""

    statements: tuple[StatementPlan, ...]
    body: BodyPlan | None = Field(default=None, exclude_if=is_absent)
    """Set exactly for HTTP."""
    request: BodyPlan | None = Field(default=None, exclude_if=is_absent)
    """Set where the body of the request is masked before it is sent on, whatever the verdict unmasks."""
    labelled: tuple[LabelledColumn, ...] = ()
    """Every labelled column of the relations the operation can reach."""
    detectors: tuple[DetectorPlan, ...] = ()
    impossible: str | None = None
    """Why no plan can be made; ingress refuses with ``plan_impossible``, unless all of ``at_stake`` is unmasked."""
    at_stake: tuple[LabelName, ...] | None = None
    """Of an impossible plan: every label that could be in the answer. ``None``: that is not known either."""
