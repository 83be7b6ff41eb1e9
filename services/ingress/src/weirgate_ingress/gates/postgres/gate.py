"""The PostgreSQL gate: a pure state machine between an agent and an upstream.

It has three parts. *Start-up* (``startup``) takes an agent from its first byte to a dialled upstream. Then a
*session* (``session``) takes turns between the *query part* (``segment``, ``compile``, ``question``), which
reads what the agent sends into operations and has each judged, and the *result part* (``result``,
``rowpart``, ``settle``), which checks, masks and passes on what comes back. Each of these files opens with
its own table.

Invariants of the whole, held by tests and by fuzzing:

1. Nothing of an operation is in ``Send(UPSTREAM)`` before ``Answered(Allowed)`` with its number and digest.
2. Nothing is in ``Send(AGENT)`` as part of an operation that the ``Tape`` right before it does not hold.
3. ``SessionOpened`` is recorded before ``Dial``; a refusal is recorded before the agent is told of it.
4. Exactly one of finished, failed, abandoned, refused (or the policy's denied) is recorded for each
operation asked. 5. Where the streams are cut changes nothing but how effects are grouped.
6. ``Hangup`` is the last effect ever. Right before it, or before the last word, ``SessionClosed`` is
recorded (if
   ``SessionOpened`` was).
"""

from typing import Literal, assert_never

from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.core import (
    Answered,
    Bytes,
    Cancelled,
    Closed,
    Dialled,
    DialRefused,
    Effect,
    Found,
    HoldOver,
    Input,
    LoggedIn,
    LoginRefused,
    Side,
    Stop,
    TlsStarted,
)
from weirgate_ingress.gates.outbox import Outbox
from weirgate_ingress.gates.postgres.session import Session
from weirgate_ingress.gates.postgres.startup import Stage, StartupPart
from weirgate_ingress.gates.postgres.state import State
from weirgate_ingress.gates.postgres.terms import GateTerms, Masks
from weirgate_wire.postgres.error import PeerError

_CANCEL_SECRET_BYTES = 4
_CANCEL_SECRET_3_2_BYTES = 32


class PostgresGate:
    """One agent's connection. Raises nothing but what is our own bug."""

    protocol: Literal["postgres"] = "postgres"

    __slots__ = ("_bytes_in", "_masks", "_out", "_session", "_startup", "_terms")

    def __init__(self, terms: GateTerms, masks: Masks) -> None:
        self._terms = terms
        self._masks = masks
        self._out = Outbox()
        self._startup = StartupPart(terms, self._out)
        self._session: Session | None = None
        self._bytes_in = 0

    @property
    def wants_agent_bytes(self) -> bool:
        """Whether the shell is to read the agent now; look again after each ``feed``."""
        if self._session is not None:
            return self._session.wants_agent_bytes
        return self._startup.wants_agent_bytes

    @property
    def secret_size_bytes(self) -> int:
        """Length of the cancel secret for ``Dialled``: 32 bytes where protocol 3.2 was agreed on, else 4."""
        return _CANCEL_SECRET_3_2_BYTES if self._startup.minor >= 2 else _CANCEL_SECRET_BYTES

    @property
    def ended(self) -> bool:
        """Whether ``Hangup`` was given: every further input is ignored."""
        if self._session is not None:
            return self._session.ended
        return self._startup.stage is Stage.ENDED

    def feed(self, given: Input) -> list[Effect]:
        """Take one input, return what must now be done, in order."""
        if not self.ended:
            if self._session is not None:
                self._feed_session(self._session, given)
            else:
                self._feed_startup(given)
        return self._out.take()

    def _feed_session(self, session: Session, given: Input) -> None:
        match given:
            case Bytes(side=side, data=data):
                session.take(side, data)
            case Answered():
                session.answered(given)
            case HoldOver() | Found():
                pass  # never asked for: what waits for people waits in flight, the protocol knows no later
            case Cancelled():
                session.cancelled()
            case Closed(side=side):
                session.closed(side)
            case Stop(refusal=refusal):
                session.stop(refusal)
            case TlsStarted() | LoggedIn() | LoginRefused() | Dialled() | DialRefused():
                pass
            case _:
                assert_never(given)

    def _feed_startup(self, given: Input) -> None:
        startup = self._startup
        try:
            match given:
                case Bytes(side=side, data=data):
                    if side is Side.AGENT:
                        self._bytes_in += len(data)
                        startup.take(data)
                case TlsStarted(version=version):
                    startup.tls_started(version)
                case LoggedIn(identity=identity):
                    if startup.stage is Stage.LOGIN:
                        startup.logged_in(identity)
                case LoginRefused(refusal=refusal):
                    if startup.stage is Stage.LOGIN:
                        startup.refuse(refusal, recorded=True)
                case Dialled():
                    if startup.stage is Stage.DIAL:
                        self._open(given)
                case DialRefused(refusal=refusal):
                    if startup.stage is Stage.DIAL:
                        startup.refuse(refusal)
                case Closed(side=side):
                    if side is Side.AGENT:
                        startup.left()
                case Stop(refusal=refusal):
                    startup.refuse(refusal)
                case Answered() | Cancelled() | HoldOver() | Found():
                    pass
                case _:
                    assert_never(given)
        except PeerError as error:
            startup.refuse(Refusal(code=RefusalCode.PROTOCOL, reason=f"The start-up failed: {error}"[:2000]))

    def _open(self, given: Dialled) -> None:
        startup = self._startup
        identity, resource = startup.identity, startup.resource
        assert identity is not None
        assert resource is not None
        state = State(self._terms, self._masks, self._out, identity, resource, given.parameters)
        startup.dialled(given)
        # Where the upstream does not report its search_path, one the agent chose must be asked for.
        state.probe_due = "search_path" in startup.parameters and state.path_reported is None
        left = startup.rest()
        self._session = Session(state, bytes_in=self._bytes_in - len(left))
        self._session.take(Side.AGENT, left)
