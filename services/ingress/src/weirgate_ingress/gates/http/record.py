"""The facts an HTTP gate records about its session and its operations."""

import hashlib
from typing import Literal

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.events import (
    OperationDeferred,
    OperationFinished,
    SessionClosed,
    SessionOpened,
    SessionRefused,
)
from weirgate_contracts.identity import Identity
from weirgate_contracts.refusal import Refusal
from weirgate_ingress.gates.core import Held, Record
from weirgate_ingress.gates.http.operation import Operation
from weirgate_ingress.gates.http.terms import HttpTerms
from weirgate_ingress.gates.outbox import Outbox
from weirgate_ingress.gates.record import Records

Reason = Literal["agent", "upstream", "refused", "killed", "shutdown", "expired", "error"]
_ERROR_FROM = 500
_NOTHING = hashlib.sha256().hexdigest()


class HttpRecords(Records):
    """Those only HTTP has, besides."""

    __slots__ = ("_terms",)

    def __init__(self, terms: HttpTerms, out: Outbox) -> None:
        super().__init__(terms.ingress, terms.session, out)
        self._terms = terms

    def opened(
        self, identity: Identity, resource: ResourceDocument, *, tls: str | None, application: str | None
    ) -> None:
        """The agent is let in."""
        self._out.add(
            Record(
                event=SessionOpened(
                    ingress=self._ingress,
                    session=self._session,
                    protocol="mcp" if resource.protocol == "mcp" else "http",
                    resource=resource.name,
                    identity=identity,
                    peer=self._terms.peer,
                    tls=tls,
                    application=application[:256] if application else None,
                )
            )
        )

    def turned_away(self, refusal: Refusal, resource: str | None) -> None:
        """Somebody was not let in, or did not even ask for anything."""
        self._out.add(
            Record(
                event=SessionRefused(
                    ingress=self._ingress,
                    session=self._session,
                    protocol="http",
                    peer=self._terms.peer,
                    claimed_resource=resource[:256] if resource else None,
                    refusal=refusal,
                )
            )
        )

    def closed(self, reason: Reason, refusal: Refusal | None, *, operations: int, bytes_in: int) -> None:
        """The session is over."""
        self._out.flush()
        self._out.add(
            Record(
                event=SessionClosed(
                    ingress=self._ingress,
                    session=self._session,
                    reason=reason,
                    refusal=refusal,
                    operations=operations,
                    bytes_in=bytes_in,
                    bytes_out=self._out.bytes_out,
                )
            )
        )

    def deferred(
        self, operation: Operation, held: Held, identity: Identity, resource: ResourceDocument
    ) -> None:
        """The agent is told to come back."""
        self._out.add(
            Record(
                event=OperationDeferred(
                    ingress=self._ingress,
                    session=self._session,
                    operation=operation.number,
                    request=held.request,
                    resource=resource.name,
                    identity=identity,
                    digest=operation.digest,
                    window_s=held.window_s,
                )
            )
        )

    def finished(self, operation: Operation) -> None:
        """It was answered in full."""
        self._out.flush()
        response = operation.response
        self._out.add(
            Record(
                event=OperationFinished(
                    ingress=self._ingress,
                    session=self._session,
                    operation=operation.number,
                    outcome="error" if response is not None and response.status >= _ERROR_FROM else "ok",
                    response=response,
                    bytes_in=operation.bytes_in,
                    bytes_out=operation.tally.bytes_out,
                    cells_masked=operation.cells_masked,
                    sha256=operation.tally.sha256.hexdigest(),
                )
            )
        )

    def message_sent(self, number: int, size_bytes: int) -> None:
        """A message of the agent was sent on whole: nothing answers it by itself."""
        self._out.add(
            Record(
                event=OperationFinished(
                    ingress=self._ingress,
                    session=self._session,
                    operation=number,
                    outcome="ok",
                    bytes_in=size_bytes,
                    sha256=_NOTHING,
                )
            )
        )
