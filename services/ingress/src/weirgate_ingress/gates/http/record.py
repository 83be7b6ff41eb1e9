"""The facts an HTTP gate records about its operations."""

from typing import Literal

from weirgate_contracts.events import OperationAbandoned, OperationFailed, OperationFinished, OperationRefused
from weirgate_contracts.refusal import Refusal
from weirgate_ingress.gates.core import Record
from weirgate_ingress.gates.http.operation import Operation, Phase
from weirgate_ingress.gates.http.terms import HttpTerms
from weirgate_ingress.gates.outbox import Outbox

_ERROR_FROM = 500


class Records:
    """Adds facts to the effects, after all that was said."""

    __slots__ = ("_out", "_terms")

    def __init__(self, terms: HttpTerms, out: Outbox) -> None:
        self._terms = terms
        self._out = out

    def finished(self, operation: Operation) -> None:
        """It was answered in full."""
        self._out.flush()
        response = operation.response
        self._out.add(
            Record(
                event=OperationFinished(
                    ingress=self._terms.ingress,
                    session=self._terms.session,
                    operation=operation.number,
                    outcome="error" if response is not None and response.status >= _ERROR_FROM else "ok",
                    response=response,
                    bytes_in=operation.bytes_in,
                    bytes_out=operation.tally.bytes_out,
                    cells_masked=operation.mask.cells_masked if operation.mask is not None else 0,
                    sha256=operation.tally.sha256.hexdigest(),
                )
            )
        )

    def failed(self, operation: Operation, refusal: Refusal) -> None:
        """It was sent on and did not end well."""
        self._out.flush()
        self._out.add(
            Record(
                event=OperationFailed(
                    ingress=self._terms.ingress,
                    session=self._terms.session,
                    operation=operation.number,
                    refusal=refusal,
                    bytes_out=operation.tally.bytes_out,
                )
            )
        )

    def refused(self, number: int, refusal: Refusal) -> None:
        """The gate refused it."""
        self._out.add(
            Record(
                event=OperationRefused(
                    ingress=self._terms.ingress,
                    session=self._terms.session,
                    operation=number,
                    refusal=refusal,
                )
            )
        )

    def abandoned(self, operation: Operation, reason: Literal["disconnected", "killed", "shutdown"]) -> None:
        """Nobody waits for it any more."""
        self._out.flush()
        self._out.add(
            Record(
                event=OperationAbandoned(
                    ingress=self._terms.ingress,
                    session=self._terms.session,
                    operation=operation.number,
                    reason=reason,
                    sent=operation.phase is Phase.RUNNING,
                )
            )
        )
