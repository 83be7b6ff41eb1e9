"""Which sessions may just have changed a catalog, so that it is read again when they are done.

A statement that changes the catalog counts when its transaction ends, and the log tells only when each
operation ends. So from the verdict that allowed it until the session is seen outside a transaction, the end
of every operation of that session asks for a read.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from weirgate_policy.memory import Lru

SESSIONS_LIMIT = 10_000
FOREIGN_S = 120.0
"""How long a session is followed whose operations another instance judges: this one cannot see it end."""

Session = tuple[str, str]
"""Ingress and session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Changing:
    resource: str | None
    until: float
    running: bool = True
    """Whether the end of its operation has not been heard."""


class Changing:
    """The sessions whose operations are followed."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: Lru[Session, _Changing] = Lru(SESSIONS_LIMIT)

    def __contains__(self, session: Session) -> bool:
        return self._sessions.get(session) is not None

    def allowed(self, session: Session, resource: str | None) -> None:
        """A statement was allowed that may change the catalog; ``None``: another instance knows of which
        resource."""
        if resource is None and session in self:
            return
        until = float("inf") if resource is not None else self._clock() + FOREIGN_S
        self._sessions[session] = _Changing(resource=resource, until=until)

    def intercepted(self, session: Session, *, idle: bool) -> tuple[bool, str | None]:
        """The session sends an operation: say whether to read first, because the end of its last was not
        heard.

        Args:
            session: Whose.
            idle: Outside a transaction: what it changed has taken effect, or never will.
        """
        found = self._sessions.get(session)
        if found is None:
            return False, None
        if idle:
            self._sessions.drop(session)
        return found.running, found.resource

    def closed(self, session: Session) -> None:
        """The session is over."""
        self._sessions.drop(session)

    def ended(self, session: Session) -> tuple[bool, str | None]:
        """An operation has ended: say whether to read a catalog again, and which (``None``: all)."""
        found = self._sessions.get(session)
        if found is None:
            return False, None
        if self._clock() > found.until:
            self._sessions.drop(session)
        else:
            self._sessions[session] = _Changing(resource=found.resource, until=found.until, running=False)
        return True, found.resource
