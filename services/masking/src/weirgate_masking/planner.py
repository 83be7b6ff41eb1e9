"""The planner: an intercepted operation in, a mask plan out. No clock, no randomness, nothing read or
written.

What is not certain is masked, and what cannot be known makes the plan impossible, which ingress refuses:

====================================================  =================================================
a label no rule matches                               ``redact``
an output of several labels                           the strictest of their transforms
a relation of statistics, which quotes values         every output of the statement has every label
an output that lineage cannot follow (a function      impossible, where the resource has labels at all;
whose inside cannot be seen, say), a relation the     the labels at stake are named, since who may see
catalog does not know                                 all of them in clear needs no plan
no catalog                                            impossible
====================================================  =================================================
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from weirgate_contracts.events import OperationIntercepted
from weirgate_contracts.masking import (
    CopyOptions,
    LabelledColumn,
    MaskingRule,
    OutputPlan,
    Plan,
    StatementPlan,
)
from weirgate_contracts.operation import SessionContext, Statement
from weirgate_masking.copying import copy_options
from weirgate_masking.labels import Labels
from weirgate_masking.rules import Rules
from weirgate_sql.model import Catalog, Output, Touch, Unreadable
from weirgate_sql.parse import Parsed, split
from weirgate_sql.touch import after

Lineage = Callable[[str, Catalog, SessionContext], Sequence[Sequence[Output] | None]]
"""``weirgate_sql.lineage.outputs``: one entry for each statement of the text. Raises Unreadable."""
Reader = Callable[[str, Catalog, SessionContext], Sequence[Touch]]
"""``weirgate_sql.touch.touch``: one entry for each statement of the text. Raises Unreadable."""

STATEMENTS_LIMIT = 10_000
_READING = frozenset(("select", "copy.out"))
_QUOTING = frozenset(
    ("pg_stats", "pg_stats_ext", "pg_stats_ext_exprs", "pg_statistic", "pg_statistic_ext_data")
)
"""Relations of pg_catalog that quote the commonest values of other tables' columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanningState:
    """Everything beside the operation that its plan depends on."""

    lineage: Lineage
    touch: Reader
    rules: tuple[MaskingRule, ...] = ()
    labels: Labels | None = None
    """Labels of the resource against its catalog; ``None``: the resource has none."""
    problem: str | None = None
    """Why nothing can be planned on this resource at present."""


def plan(operation: OperationIntercepted, state: PlanningState) -> Plan:
    """Plan what of the answer to an operation must be masked, whatever the verdict unmasks."""
    if state.problem is not None:
        return Plan(statements=(), impossible=state.problem)
    try:
        return _Planning(operation, state).plan()
    except Unreadable as error:
        return _impossible(operation, state, str(error))


def _impossible(operation: OperationIntercepted, state: PlanningState, reason: str) -> Plan:
    """Say why, and what is at stake: who may see all of that in clear needs no plan."""
    try:
        count = sum(len(split(statement.text)) for statement in operation.statements)
    except Unreadable:
        return Plan(statements=(), impossible=reason)
    detectors = Rules(state.rules, operation.identity.groups).detectors
    at_stake = {one.label for one in detectors} | set(state.labels.names if state.labels else ())
    return Plan(
        statements=(StatementPlan(outputs=None),) * count, impossible=reason, at_stake=tuple(sorted(at_stake))
    )


class _Planning:
    """The planning of one operation."""

    def __init__(self, operation: OperationIntercepted, state: PlanningState) -> None:
        self.operation = operation
        self.state = state
        self.rules = Rules(state.rules, operation.identity.groups)
        self.session = operation.context
        self.statements: list[StatementPlan] = []
        self.reached: set[str] | None = set()
        """``schema.table`` of what can be reached; ``None``: it may be anything."""

    def plan(self) -> Plan:
        for statement in self.operation.statements:
            self._text(statement, split(statement.text))
            if len(self.statements) > STATEMENTS_LIMIT:
                raise Unreadable(f"more than {STATEMENTS_LIMIT} statements in one operation")
        return Plan(
            statements=tuple(self.statements), labelled=self._labelled(), detectors=self.rules.detectors
        )

    def _text(self, statement: Statement, parsed: Sequence[Parsed]) -> None:
        options = [copy_options(one) for one in parsed]
        labels = self.state.labels
        if labels is None:
            self.statements += [StatementPlan(outputs=None, copy_options=one) for one in options]
            return
        # Read as one text: a statement sees what those before it in the text have done to the session.
        outputs = self.state.lineage(statement.text, labels.catalog, self.session)
        touches = self.state.touch(statement.text, labels.catalog, self.session)
        if not len(outputs) == len(touches) == len(parsed):
            raise Unreadable("two readings of the text disagree on its statements")
        for found, touch, option in zip(outputs, touches, options, strict=True):
            self._reach(touch)
            if statement.phase != "prepare":
                self._remember(touch)
            self.statements.append(self._statement(found, touch, labels, option))

    def _statement(
        self, found: Sequence[Output] | None, touch: Touch, labels: Labels, options: CopyOptions | None
    ) -> StatementPlan:
        quoting = _quotes_values(touch)
        if found is None:
            if (quoting or options is not None) and "explain" not in touch.capabilities:
                raise Unreadable("which columns the statement returns cannot be known")
            return StatementPlan(outputs=None, copy_options=options)
        return StatementPlan(
            outputs=tuple(self._output(output, labels, everything=quoting) for output in found),
            copy_options=options,
        )

    def _output(self, output: Output, labels: Labels, *, everything: bool) -> OutputPlan:
        carried = labels.names if everything else labels.of(output.sources)
        return OutputPlan(
            name=output.name,
            labels=carried,
            transform=self.rules.strictest(carried) if carried else None,
            type=labels.type_of(output),
        )

    def _reach(self, touch: Touch) -> None:
        if touch.verb not in _READING or touch.opaque or self.reached is None:
            # A trigger, a rule or a function may read what the text does not name, and an error may quote it.
            self.reached = None
            return
        self.reached.update(f"{schema}.{table}" for schema, table, _ in touch.tables)

    def _labelled(self) -> tuple[LabelledColumn, ...]:
        if self.state.labels is None:
            return ()
        return tuple(
            LabelledColumn(
                table_oid=column.table_oid,
                column_number=column.number,
                label=label,
                transform=self.rules.transform(label),
            )
            for column in self.state.labels.columns
            if self.reached is None or column.relation in self.reached
            for label in column.labels
        )

    def _remember(self, touch: Touch) -> None:
        """Carry over what this statement changes for those after it."""
        self.session = after(self.session, (touch,))


def _quotes_values(touch: Touch) -> bool:
    """Say whether a statement reads relations that quote values of other tables' columns."""
    unknown = sorted(one for one in touch.opaque if one.startswith("relation:"))
    if unknown:
        raise Unreadable(f"the catalog does not know {unknown[0].partition(':')[2]}")
    return any(schema == "pg_catalog" and table in _QUOTING for schema, table, _ in touch.tables)


def state_of(
    *,
    columns: Mapping[str, str],
    rules: tuple[MaskingRule, ...],
    catalog: Catalog | None,
    lineage: Lineage,
    touch: Reader,
) -> PlanningState:
    """Make the state of one resource; done once for a revision of configuration and catalog.

    Args:
        columns: ``schema.table.column`` to label.
        rules: Masking rules in order.
        catalog: Of the resource, where it is known.
        lineage: Reader of outputs.
        touch: Reader of what a statement touches.
    """
    if not columns:
        return PlanningState(lineage=lineage, touch=touch, rules=rules)
    if catalog is None:
        return PlanningState(
            lineage=lineage, touch=touch, rules=rules, problem="the catalog of this resource is not known yet"
        )
    labels = Labels(catalog, columns, lineage)
    return PlanningState(lineage=lineage, touch=touch, rules=rules, labels=labels)
