"""One operation under way: what it says, what is sent for it, and what the upstream owes for it.

A *step* is one answer the upstream owes. ``own`` steps answer messages the gate put in itself (its Describe
of a portal, the Parse that fails a transaction): the agent sees nothing of them.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from weirgate_contracts.events import OperationAllowed
from weirgate_contracts.masking import Plan, StatementPlan
from weirgate_contracts.operation import Statement
from weirgate_ingress.gates.postgres.outbox import Tally
from weirgate_ingress.gates.postgres.segment import Ending
from weirgate_ingress.gates.postgres.terms import Copy, PlanMismatch, Rows


class StepKind(Enum):
    """What a step answers."""

    QUERY = "query"
    PARSE = "parse"
    BIND = "bind"
    DESCRIBE_STATEMENT = "describe statement"
    DESCRIBE_PORTAL = "describe portal"
    EXECUTE = "execute"
    CLOSE_STATEMENT = "close statement"
    CLOSE_PORTAL = "close portal"
    SYNC = "sync"
    POISON = "poison"
    """A Parse that always fails: it brings the upstream's transaction to where the agent was told it is."""


@dataclass(frozen=True, slots=True)
class Step:
    """One answer the upstream owes."""

    kind: StepKind
    name: str = ""
    """Of the statement or portal."""
    text: str = ""
    """SQL behind it, for Parse and Bind."""
    statement: int = -1
    """Number of the ``Statement`` of the operation whose rows or description this is; -1: of none."""
    own: bool = False


class Phase(Enum):
    """Where an operation stands."""

    ASKED = "asked"
    HELD = "held"
    RUNNING = "running"
    SPOILED = "spoiled"
    """Refused or failed: the agent has been told, what the upstream still says of it is swallowed."""
    PROBE = "probe"
    """A question of the gate itself."""


@dataclass(slots=True, kw_only=True)
class Operation:
    """One operation. Number 0: bookkeeping (Sync, Close alone) and the gate's own questions, which nobody
    judges."""

    number: int
    ends: Ending
    raw: bytes
    """What the agent sent."""
    wire: bytes
    """What is sent on for it: the agent's bytes, and the gate's own messages among them."""
    digest: str = ""
    statements: tuple[Statement, ...] = ()
    steps: deque[Step] = field(default_factory=deque[Step])
    phase: Phase = Phase.ASKED
    tally: Tally = field(init=False)
    poisoned: bool = False

    verdict: OperationAllowed | None = None
    plan: Plan = field(default_factory=lambda: Plan(statements=()))
    plan_of: tuple[StatementPlan, ...] = ()
    """One per statement of an extended batch."""
    unmask: frozenset[str] = frozenset()

    results: int = 0
    """Statements of a simple query that are complete."""
    described: bool = False
    """The running statement's columns are known."""
    masks: Rows | None = None
    portal_masks: dict[str, Rows | None] = field(default_factory=dict[str, "Rows | None"])
    """Portals whose columns are known; a missing one returns no rows."""
    made: list[Rows | Copy] = field(default_factory=list["Rows | Copy"])
    copying_in: bool = False
    copying_out: bool = False
    copy_masks: Copy | None = None

    rows: int = 0
    size_bytes: int = 0
    """Bytes of rows as the upstream sent them: what a limit counts."""
    copied_in_bytes: int = 0
    tags: list[str] = field(default_factory=list[str])
    sqlstate: str | None = None
    captured: list[bytes] = field(default_factory=list[bytes])
    """Rows of the gate's own question."""

    def __post_init__(self) -> None:
        self.tally = Tally(self.number)

    @property
    def waits_for_ready(self) -> bool:
        """Whether the upstream owes a ReadyForQuery for it."""
        return any(step.kind in (StepKind.SYNC, StepKind.QUERY) for step in self.steps)

    @property
    def sent(self) -> bool:
        """Whether any of it has reached the upstream."""
        return self.phase in (Phase.RUNNING, Phase.SPOILED)

    def cells_masked(self) -> int:
        """Return how many cells were changed for it."""
        return sum(one.cells_masked for one in self.made)


def align(statements: tuple[Statement, ...], plan: Plan) -> tuple[StatementPlan, ...]:
    """Give each statement of an extended batch its plan. A plan has one entry per *inner* statement: a text
    of blanks and comments has none.

    Raises:
        PlanMismatch: the plan has more or fewer entries than there are statements.
    """
    if len(plan.statements) == len(statements):
        return plan.statements
    nothing = StatementPlan(outputs=())
    entries = iter(plan.statements)
    aligned: list[StatementPlan] = []
    for statement in statements:
        one = nothing if is_blank(statement.text) else next(entries, None)
        if one is None:
            raise PlanMismatch("the mask plan has fewer statements than the operation")
        aligned.append(one)
    if next(entries, None) is not None:
        raise PlanMismatch("the mask plan has more statements than the operation")
    return tuple(aligned)


def is_blank(text: str) -> bool:
    """Say whether a text holds no statement: only blanks, comments and semicolons.

    Source: PostgreSQL manual, "Lexical Structure": ``--`` to the end of the line, ``/* */`` nested.
    """
    at = 0
    size = len(text)
    while at < size:
        if text[at] in " \t\n\r\f\v;":
            at += 1
        elif text.startswith("--", at):
            ends = [end for end in (text.find("\n", at), text.find("\r", at)) if end >= 0]
            at = min(ends) if ends else size
        elif text.startswith("/*", at):
            depth = 1
            at += 2
            while depth and at < size:
                if text.startswith("/*", at):
                    depth, at = depth + 1, at + 2
                elif text.startswith("*/", at):
                    depth, at = depth - 1, at + 2
                else:
                    at += 1
        else:
            return False
    return True
