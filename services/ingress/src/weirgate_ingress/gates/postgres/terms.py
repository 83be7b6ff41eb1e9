"""What a PostgreSQL gate is made with: its place, its limits, and the masks it applies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from weirgate_contracts.masking import Plan, StatementPlan
from weirgate_wire.postgres.error import ErrorFields
from weirgate_wire.postgres.message import FieldDescription


@dataclass(frozen=True, slots=True, kw_only=True)
class GateTerms:
    """What is known before the first byte, and the limits that protect us."""

    ingress: str
    """Name of this ingress, a subject token."""
    session: str
    """Id of the session, a subject token."""
    peer: str
    """Address and port of the agent's socket."""
    tls_available: bool = True
    """Whether ``StartTls`` can be carried out; else SSLRequest is answered ``N``."""
    cleartext_allowed: bool = False
    """A token may come in clear: the setting says so *and* the agent's socket is on loopback."""
    operation_limit_bytes: int = 64 * 1024 * 1024
    """Longest Query, Parse or Bind: it is held whole before it is judged."""
    batch_limit_bytes: int = 512 * 1024
    """A batch without Sync or Flush is cut into several operations once it is this long …"""
    batch_limit_statements: int = 64
    """… or has this many statements, so that an event stays of a size the log takes."""
    pipeline_limit_bytes: int = 1024 * 1024
    """Operations read ahead while one is judged or runs; past it ``wants_agent_bytes`` is false."""
    whole_frame_limit_bytes: int = 64 * 1024 * 1024
    """Longest row masking looks into; without a mask a row streams through, up to 1 GiB."""
    names_limit_bytes: int = 16 * 1024 * 1024
    """SQL kept for prepared statements and cursors, in all."""


class PlanMismatch(Exception):
    """What came back is not what the mask plan covers. The reason is fit for an agent: names, never
    values."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Rows(Protocol):
    """Masks blocks of DataRow frames."""

    @property
    def cells_masked(self) -> int:
        """Cells changed so far."""
        ...

    def mask_rows(self, block: bytes) -> bytes:
        """Return the block with cells masked.

        Raises:
            PlanMismatch: a row is not what was described.
        """
        ...


class Copy(Protocol):
    """Masks blocks of CopyData frames."""

    @property
    def cells_masked(self) -> int:
        """Cells changed so far."""
        ...

    def feed(self, block: bytes) -> bytes:
        """Take whole CopyData frames, return those that can be let go."""
        ...

    def finish(self) -> bytes:
        """Return what was held back, as CopyData frames."""
        ...


class Masks(Protocol):
    """Applies plans. ``None`` everywhere means: nothing to mask, pass untouched."""

    def rows(
        self, plan: StatementPlan, whole: Plan, unmask: frozenset[str], fields: Sequence[FieldDescription]
    ) -> Rows | None:
        """Return what masks the rows described by ``fields``.

        Raises:
            PlanMismatch: the plan does not cover them.
        """
        ...

    def copy(
        self, plan: StatementPlan, whole: Plan, unmask: frozenset[str], formats: Sequence[int], overall: int
    ) -> Copy | None:
        """Return what masks a COPY stream of these formats.

        Raises:
            PlanMismatch: the plan does not cover it.
        """
        ...

    def error(self, fields: ErrorFields, whole: Plan, unmask: frozenset[str]) -> ErrorFields:
        """Return the fields of an error, notice or notification without values that must be masked."""
        ...
