"""One operation under way: what it says, what is sent for it, and what the upstream owes for it.

A *step* is one answer the upstream owes. ``own`` steps answer messages the gate put in itself (its Describe
of a portal, the Parse that fails a transaction): the agent sees nothing of them.
"""

from collections import deque
from enum import Enum
from typing import NamedTuple

from weirgate_contracts.events import OperationAllowed
from weirgate_contracts.masking import Plan, StatementPlan
from weirgate_contracts.operation import Statement
from weirgate_ingress.gates.outbox import Tally
from weirgate_ingress.gates.postgres.segment import Ending
from weirgate_ingress.gates.postgres.terms import Copy, PlanMismatch, Rows

NO_PLAN = Plan(statements=())


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


class Step(NamedTuple):
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


class Operation:
    """One operation. Number 0: bookkeeping (Sync, Close alone) and the gate's own questions, which nobody
    judges.

    What most operations never touch stands in the class as a default: thousands of these are made a second.
    """

    verdict: OperationAllowed | None = None
    plan: Plan = NO_PLAN
    plan_of: tuple[StatementPlan, ...] = ()
    """One per statement of an extended batch."""
    unmask: frozenset[str] = frozenset()
    poisoned: bool = False
    results: int = 0
    """Statements of a simple query that are complete."""
    described: bool = False
    """The running statement's columns are known."""
    masks: Rows | None = None
    copying_in: bool = False
    copying_out: bool = False
    copy_masks: Copy | None = None
    rows: int = 0
    size_bytes: int = 0
    """Bytes of rows as the upstream sent them: what a limit counts."""
    copied_in_bytes: int = 0
    sqlstate: str | None = None

    def __init__(
        self,
        *,
        number: int,
        ends: Ending,
        raw: bytes,
        wire: bytes,
        digest: str = "",
        statements: tuple[Statement, ...] = (),
        steps: deque[Step] | None = None,
        phase: Phase = Phase.ASKED,
    ) -> None:
        self.number = number
        self.ends: Ending = ends
        self.raw = raw
        """What the agent sent."""
        self.wire = wire
        """What is sent on for it: the agent's bytes, and the gate's own messages among them."""
        self.digest = digest
        self.statements = statements
        self.steps: deque[Step] = deque() if steps is None else steps
        self.phase = phase
        self.tally = Tally(number)
        self.portal_masks: dict[str, Rows | None] = {}
        """Portals whose columns are known; a missing one returns no rows."""
        self.made: list[Rows | Copy] = []
        self.tags: list[str] = []
        self.captured: list[bytes] = []
        """Rows of the gate's own question."""

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
