"""The facts every gate records about its operations, whatever it speaks."""

from typing import Literal

from weirgate_contracts.events import OperationAbandoned, OperationFailed, OperationRefused
from weirgate_contracts.refusal import Refusal
from weirgate_ingress.gates.core import Record
from weirgate_ingress.gates.outbox import Outbox, Tally

Abandoned = Literal["cancelled", "disconnected", "killed", "shutdown"]


class Records:
    """Adds facts to the effects, after all that was said.

    Args:
        ingress: name of this ingress.
        session: id of the session.
        out: the effects.
    """

    __slots__ = ("_ingress", "_out", "_session")

    def __init__(self, ingress: str, session: str, out: Outbox) -> None:
        self._ingress = ingress
        self._session = session
        self._out = out

    def failed(self, tally: Tally, refusal: Refusal, *, rows: int = 0) -> None:
        """An operation was sent on and did not end well."""
        self._out.flush()
        self._out.add(
            Record(
                event=OperationFailed(
                    ingress=self._ingress,
                    session=self._session,
                    operation=tally.number,
                    refusal=refusal,
                    rows=rows,
                    bytes_out=tally.bytes_out,
                )
            )
        )

    def refused(self, number: int, refusal: Refusal) -> None:
        """The gate refused an operation."""
        self._out.add(
            Record(
                event=OperationRefused(
                    ingress=self._ingress, session=self._session, operation=number, refusal=refusal
                )
            )
        )

    def abandoned(self, number: int, reason: Abandoned, *, sent: bool) -> None:
        """The agent no longer wants an operation, or nobody waits for it any more."""
        self._out.add(
            Record(
                event=OperationAbandoned(
                    ingress=self._ingress, session=self._session, operation=number, reason=reason, sent=sent
                )
            )
        )
