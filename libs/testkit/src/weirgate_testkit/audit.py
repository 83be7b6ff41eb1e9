"""A believable log: sessions, operations, verdicts, plans and approvals as the services write them."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from weirgate_contracts.events import (
    ApprovalEndorsed,
    ApprovalGranted,
    ApprovalRequested,
    Event,
    Grant,
    OperationAbandoned,
    OperationAllowed,
    OperationDenied,
    OperationFailed,
    OperationFinished,
    OperationHeld,
    OperationIntercepted,
    OperationPlanned,
    SessionClosed,
    SessionOpened,
    SessionRefused,
)
from weirgate_contracts.identity import Identity
from weirgate_contracts.masking import OutputPlan, Plan, StatementPlan, Transform
from weirgate_contracts.operation import SessionContext, Statement, Touched
from weirgate_contracts.refusal import Refusal, RefusalCode

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def numbered_id(number: int, prefix: str = "01J") -> str:
    """Return an event id that counts."""
    digits = ""
    while number:
        number, digit = divmod(number, 32)
        digits = _CROCKFORD[digit] + digits
    return prefix + digits.rjust(26 - len(prefix), "0")


@dataclass
class Scribe:
    """Makes stamped events, with ids and times that count, so that two scribes write the same log."""

    ingress: str = "i1"
    count: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    sessions: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def stamp(self, event: Event) -> Event:
        """Give an event the next id and the next millisecond."""
        number = next(self.count)
        minute, rest = divmod(number, 60_000)
        second, milli = divmod(rest, 1000)
        hour, minute = divmod(minute, 60)
        at = f"2026-03-{1 + hour // 24:02}T{hour % 24:02}:{minute:02}:{second:02}.{milli:03}000Z"
        return event.stamped(id=numbered_id(number), at=at)

    def stamp_all(self, events: Iterable[Event]) -> list[Event]:
        """Stamp events in order."""
        return [self.stamp(event) for event in events]

    def new_session(self) -> str:
        """Return the name of a session."""
        return numbered_id(next(self.sessions), "01S")

    def opened(self, session: str, *, agent: str = "analyst", resource: str = "shop") -> Event:
        """An agent came in."""
        return self.stamp(
            SessionOpened(
                ingress=self.ingress,
                session=session,
                protocol="postgres",
                resource=resource,
                identity=identity(agent),
                peer="127.0.0.1:40000",
                tls="TLSv1.3",
                application="psql",
            )
        )

    def refused(self, session: str) -> Event:
        """Somebody was not let in."""
        return self.stamp(
            SessionRefused(
                ingress=self.ingress,
                session=session,
                protocol="postgres",
                peer="127.0.0.1:40001",
                claimed_agent="stranger",
                claimed_resource="shop",
                refusal=Refusal(code=RefusalCode.TOKEN_INVALID, reason="the token is not one of ours"),
            )
        )

    def closed(self, session: str, *, operations: int) -> Event:
        """The agent left."""
        return self.stamp(
            SessionClosed(
                ingress=self.ingress,
                session=session,
                reason="agent",
                operations=operations,
                bytes_in=100,
                bytes_out=900,
            )
        )

    def intercepted(
        self, session: str, operation: int, text: str, *, agent: str = "analyst", grant: Grant | None = None
    ) -> OperationIntercepted:
        """An operation came in."""
        event = self.stamp(
            OperationIntercepted(
                ingress=self.ingress,
                session=session,
                operation=operation,
                protocol="postgres",
                resource="shop",
                identity=identity(agent),
                statements=(Statement(text=text, phase="run", simple=True),),
                context=SessionContext(database="shop", search_path=("public",)),
                digest=sha256(text.encode()).hexdigest(),
                grant=grant,
            )
        )
        assert isinstance(event, OperationIntercepted)
        return event

    def finished_operation(
        self, session: str, operation: int, *, text: str = "select email from customers"
    ) -> list[Event]:
        """The five events of an operation that went well, with one masked column."""
        asked = self.intercepted(session, operation, text)
        planned = OperationPlanned(
            ingress=self.ingress,
            session=session,
            operation=operation,
            intercepted=asked.id,
            digest=asked.digest,
            masking_revision=2,
            catalog_revision="0123456789abcdef",
            plan=Plan(
                statements=(
                    StatementPlan(
                        outputs=(
                            OutputPlan(
                                name="email", labels=("pii.email",), transform=Transform(kind="redact")
                            ),
                        )
                    ),
                )
            ),
        )
        finished = OperationFinished(
            ingress=self.ingress,
            session=session,
            operation=operation,
            outcome="ok",
            tags=("SELECT 3",),
            rows=3,
            bytes_in=len(text),
            bytes_out=120,
            cells_masked=3,
            duration_us=1500,
            sha256=sha256(b"answer").hexdigest(),
        )
        return [asked, self.stamp(planned), self.allowed(asked), self.stamp(finished)]

    def allowed(self, asked: OperationIntercepted, *, request: str | None = None) -> Event:
        """A rule permits it."""
        return self.stamp(
            OperationAllowed(
                ingress=asked.ingress,
                session=asked.session,
                operation=asked.operation,
                intercepted=asked.id,
                digest=asked.digest,
                policy_revision=1,
                catalog_revision="0123456789abcdef",
                rules=("analysts.read",),
                touched=(Touched(verb="select", reads=("public.customers.email",)),),
                request=request,
            )
        )

    def denied_operation(self, session: str, operation: int) -> list[Event]:
        """An operation no rule permits."""
        asked = self.intercepted(session, operation, "drop table customers")
        return [
            asked,
            self.stamp(
                OperationDenied(
                    ingress=self.ingress,
                    session=session,
                    operation=operation,
                    intercepted=asked.id,
                    digest=asked.digest,
                    policy_revision=1,
                    catalog_revision="0123456789abcdef",
                    touched=(Touched(verb="ddl.drop_table", writes=("public.customers",)),),
                    refusal=Refusal(code=RefusalCode.DENIED, reason='no rule permits "ddl.drop_table"'),
                )
            ),
        ]

    def granted_operation(self, session: str, operation: int) -> list[Event]:
        """An operation that two people were asked for, that was asked again, and then went well."""
        text = "update customers set email = 'x' where id = 1"
        asked = self.intercepted(session, operation, text)
        held = OperationHeld(
            ingress=self.ingress,
            session=session,
            operation=operation,
            intercepted=asked.id,
            digest=asked.digest,
            policy_revision=1,
            catalog_revision="0123456789abcdef",
            rules=("writers.hold",),
            touched=(Touched(verb="update", writes=("public.customers.email",)),),
            resource="shop",
            identity=asked.identity,
            groups=("dba",),
            quorum=2,
            window_s=600,
            reason="writes are looked at",
            text=text,
        )
        common: dict[str, Any] = {
            "ingress": self.ingress,
            "session": session,
            "request": asked.id,
            "operation": operation,
            "digest": asked.digest,
        }
        requested = ApprovalRequested(
            **common,
            resource="shop",
            identity=asked.identity,
            groups=("dba",),
            quorum=2,
            expires_at="2026-03-01T01:00:00.000000Z",
            reason="writes are looked at",
            text=text,
        )
        endorsed = ApprovalEndorsed(**common, by="ann", groups=("dba",))
        granted = ApprovalGranted(**common, by=("ann", "bob"), expires_at="2026-03-01T01:00:00.000000Z")
        events: list[Event] = [asked, *self.stamp_all([held, requested, endorsed, granted])]
        again = self.intercepted(
            session, operation, text, grant=Grant(request=asked.id, granted=events[-1].id, sequence=1)
        )
        finished = OperationFinished(
            ingress=self.ingress,
            session=session,
            operation=operation,
            outcome="ok",
            tags=("UPDATE 1",),
            rows=1,
        )
        return [*events, again, self.allowed(again, request=asked.id), self.stamp(finished)]

    def ended_operations(self, session: str, first: int) -> list[Event]:
        """One operation that failed on our side and one the agent left."""
        common: dict[str, Any] = {"ingress": self.ingress, "session": session}
        return [
            self.intercepted(session, first, "select 1"),
            self.stamp(
                OperationFailed(
                    **common,
                    operation=first,
                    refusal=Refusal(code=RefusalCode.UPSTREAM_LOST, reason="the upstream went away"),
                )
            ),
            self.intercepted(session, first + 1, "select pg_sleep(9)"),
            self.stamp(OperationAbandoned(**common, operation=first + 1, reason="cancelled", sent=True)),
        ]

    def whole_session(self, *, operations: int = 3) -> list[Event]:
        """A session with some of everything."""
        session = self.new_session()
        events = [self.opened(session)]
        for number in range(1, operations + 1):
            events += self.finished_operation(session, number)
        events += self.denied_operation(session, operations + 1)
        events += self.granted_operation(session, operations + 2)
        events += self.ended_operations(session, operations + 3)
        return [*events, self.closed(session, operations=operations + 4), self.refused(self.new_session())]

    def log(self, sessions: int = 3, *, operations: int = 3) -> list[Event]:
        """Several whole sessions, one after another."""
        return [event for _ in range(sessions) for event in self.whole_session(operations=operations)]


def identity(agent: str = "analyst", *, groups: Sequence[str] = ("analysts",)) -> Identity:
    """Return who an agent is."""
    return Identity(
        agent=agent,
        user="ann@example.com",
        groups=tuple(groups),
        issuer="https://issuer.example",
        token_id="token-1",
        expires_at=1_900_000_000,
    )
