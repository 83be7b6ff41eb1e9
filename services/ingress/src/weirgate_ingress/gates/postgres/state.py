"""What a logged-in session knows, shared by its query part and its result part."""

from collections import deque
from collections.abc import Mapping

from weirgate_contracts.events import OperationFinished
from weirgate_contracts.identity import Identity
from weirgate_contracts.masking import Plan
from weirgate_contracts.operation import SessionContext, Statement
from weirgate_ingress.gates.core import Record
from weirgate_ingress.gates.outbox import Outbox, Tally
from weirgate_ingress.gates.postgres.name import Names
from weirgate_ingress.gates.postgres.operation import NO_PLAN, Operation
from weirgate_ingress.gates.postgres.searchpath import parse_search_path
from weirgate_ingress.gates.postgres.segment import Segment
from weirgate_ingress.gates.postgres.terms import GateTerms, Masks
from weirgate_ingress.gates.record import Records
from weirgate_wire.postgres.message import Status


class State:
    """One logged-in session."""

    __slots__ = (
        "copying_in",
        "count",
        "fatal",
        "identity",
        "masks",
        "names",
        "none",
        "operation",
        "out",
        "path_dirty",
        "path_reported",
        "plan",
        "probe_due",
        "queue",
        "queued_bytes",
        "records",
        "resource",
        "search_path",
        "skipping",
        "status",
        "terms",
        "unmask",
        "unsynced",
        "upstream_failed",
    )

    def __init__(
        self,
        terms: GateTerms,
        masks: Masks,
        out: Outbox,
        identity: Identity,
        resource: str,
        parameters: Mapping[str, str],
    ) -> None:
        self.terms = terms
        self.masks = masks
        self.out = out
        self.records = Records(terms.ingress, terms.session, out)
        self.identity = identity
        self.resource = resource
        self.names = Names(terms.names_limit_bytes)
        self.none = Tally(0)
        """What belongs to no operation."""
        self.operation: Operation | None = None
        self.queue: deque[Segment] = deque()
        self.queued_bytes = 0
        self.count = 0
        """Operations so far."""
        self.status: Status = "I"
        """Transaction status of the upstream's last ReadyForQuery."""
        self.unsynced = False
        """The upstream was sent extended messages that no Sync followed yet."""
        self.upstream_failed = False
        """The upstream ignores everything until Sync."""
        self.skipping = False
        """The agent was told of an error in its batch: its messages are dropped until Sync."""
        self.copying_in = False
        """CopyData of the agent goes to the upstream."""
        self.fatal = False
        """The upstream has said it closes."""
        self.plan: Plan = NO_PLAN
        self.unmask: frozenset[str] = frozenset()
        """Of the last operation: for notices and notifications between operations."""
        reported = parameters.get("search_path")
        self.path_reported = None if reported is None else parse_search_path(reported)
        """As the upstream's ParameterStatus says (PostgreSQL 18), ``None``: it does not report it."""
        self.search_path = self.path_reported
        self.path_dirty = False
        """It may have changed within a transaction that has not ended."""
        self.probe_due = False

    def context(self, statements: tuple[Statement, ...]) -> SessionContext:
        """Return what the session knows that changes the meaning of these statements."""
        prepared: dict[str, str] = {}
        cursors: dict[str, str] = {}
        for statement in statements:
            more = self.names.prepared_for(statement.text)
            if more:
                # What an EXECUTE runs may itself name cursors.
                prepared |= more
                for text in more.values():
                    cursors |= self.names.cursors_for(text)
            cursors |= self.names.cursors_for(statement.text)
        return SessionContext(
            database=self.resource,
            search_path=self.search_path,
            transaction=self.status,
            prepared=prepared,
            cursors=cursors,
        )

    def record_finished(self, operation: Operation) -> None:
        """Record that an operation was answered in full."""
        out = self.out
        out.flush()
        tally = operation.tally
        out.add(
            Record(
                event=OperationFinished(
                    ingress=self.terms.ingress,
                    session=self.terms.session,
                    operation=operation.number,
                    outcome="ok" if operation.sqlstate is None else "error",
                    sqlstate=operation.sqlstate,
                    tags=tuple(operation.tags),
                    rows=operation.rows,
                    bytes_in=len(operation.raw) + operation.copied_in_bytes,
                    bytes_out=tally.bytes_out,
                    cells_masked=operation.cells_masked(),
                    sha256=tally.sha256.hexdigest(),
                )
            )
        )
