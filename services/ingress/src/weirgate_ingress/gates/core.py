"""The two closed vocabularies every gate speaks: inputs from the shell, effects for the shell.

The shell carries out the effects of one ``feed`` strictly in list order, and those of a later ``feed`` after
them.
``Record``, ``Tape`` and ``Ask`` are durable before the next effect runs (``Ask`` only starts: its answer is
an input). So the order of a list *is* the audit guarantee:

* ``[Tape(out, x), Send(AGENT, x)]``: nothing reaches the agent that the recording has not accepted;
* a gate sends to ``UPSTREAM`` nothing of an operation before ``Answered`` with an ``Allowed`` for it.

A core never sees a clock, an id or a key it could leak: the shell stamps events and owns the credentials.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.events import (
    OperationAllowed,
    OperationIntercepted,
    OperationPlanned,
    SessionEvent,
)
from weirgate_contracts.identity import Identity
from weirgate_contracts.refusal import Refusal
from weirgate_wire.http.head import RequestHead


class Side(Enum):
    """Our two peers."""

    AGENT = "agent"
    UPSTREAM = "upstream"


# ---------------------------------------------------------------- inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """Some bytes a peer sent. ``data`` may be cut anywhere."""

    side: Side
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsStarted:
    """TLS with the agent is up (after ``StartTls``, or at once for direct TLS)."""

    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedIn:
    """The token is good and the resource exists."""

    identity: Identity
    resource: ResourceDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginRefused:
    """The token is not good, or the resource is not for it. ``SessionRefused`` is already recorded by the
    shell."""

    refusal: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialled:
    """The upstream is connected, logged in and idle.

    ``parameters`` are its ParameterStatus values; ``process_id`` and ``secret`` are *ours*, made by the
    shell for the agent's BackendKeyData (``secret`` is 4 bytes, longer only when the agent negotiated
    protocol 3.2).
    """

    parameters: Mapping[str, str]
    process_id: int
    secret: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DialRefused:
    """The upstream is not to be had; the reason names no secret."""

    refusal: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """Verdict and plan, both durable, both for this digest, and agreeing on the catalog."""

    verdict: OperationAllowed
    plan: OperationPlanned


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A person decides; ``notice`` says what waits and how it gets approved. Another ``Answered`` follows."""

    request: str
    notice: str
    detail: str
    hint: str
    window_s: int = 0
    """How long the request stays open."""
    joined: bool = False
    """It is the retry of one that was deferred, and its people have not decided yet: no ``Answered`` follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Denied, timed out, expired, log away …: nothing of it may be sent on."""

    refusal: Refusal
    denied: bool
    """True: the log holds ``operation.denied`` for it; False: the gate records ``operation.refused``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The answer to the ``Ask`` of one operation."""

    operation: int
    answer: Allowed | Held | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOver:
    """The time of ``HoldFor`` is over and nobody has decided; the question is forgotten already."""

    operation: int


RequestState = Literal["open", "granted", "used", "refused", "expired", "withdrawn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What ``LookUp`` found. ``state`` is ``None`` where there is no such request, or it is somebody else's."""

    request: str
    state: RequestState | None = None
    detail: str = ""
    until: str = ""
    """Until when the state holds, RFC 3339; empty: for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """A CancelRequest with this session's key has come in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A peer closed its socket, or it broke."""

    side: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End the session now, with this refusal as the last word: killed, expired, shutdown, login deadline,
    log lost."""

    refusal: Refusal


Input = (
    Bytes
    | TlsStarted
    | LoggedIn
    | LoginRefused
    | Dialled
    | DialRefused
    | Answered
    | HoldOver
    | Found
    | Cancelled
    | Closed
    | Stop
)

# ---------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send bytes to a peer. Back-pressure is the shell's: it feeds no more while this has not drained."""

    side: Side
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SendHead:
    """Send the head of an HTTP request to the upstream, as judged; the shell adds host, base path and
    credential."""

    head: RequestHead
    body_sha256: str | None = None
    """Of the body, hexadecimal, of none too; ``None``: it streams and is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tape:
    """Record bytes of the session. ``direction`` is ``i`` (from the agent) or ``o`` (to the agent)."""

    direction: str
    operation: int
    data: bytes
    covered: bool = False
    """True: an event that is durable already holds all of it, so that what follows need not wait; it is published
    with what comes after it in the recording."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Record a fact; the shell stamps it (id, time, trace, ``duration_us`` where the event has one)."""

    event: SessionEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Publish the intercepted operation and gather verdict and plan; ``Answered`` follows, once or more."""

    event: OperationIntercepted


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """Forget the question about this operation: its answer is no longer wanted."""

    operation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldFor:
    """Let a held operation wait in flight for so long; then ``HoldOver`` follows, unless it was answered before."""

    operation: int
    wait_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUp:
    """Look up the state of a deferred request for who is logged in; ``Found`` follows."""

    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTls:
    """Start TLS on the agent's socket; what announces it has been sent. No byte that came before is kept."""

    host: str | None = None
    """Be this host, by a certificate of our own authority, for who asks for it by SNI; ``None``: be the gateway.
    Where it cannot be started after the login, ``Stop`` follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Check the token for an agent and a resource. ``token`` is in no event, log or repr."""

    agent: str
    resource: str
    token: str
    application: str | None

    def __repr__(self) -> str:
        return f"Login(agent={self.agent!r}, resource={self.resource!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """Connect the upstream for the identity that logged in. ``parameters`` go into its start-up message."""

    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """Send the upstream a request on a connection of its own, as far as it can be done in time; what it answers is not
    heard, and nothing waits for it. For what an upstream must be told while the answer of another request comes."""

    head: RequestHead
    """Framing included; the shell adds host, base path and credential."""
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Undial:
    """Close the upstream's socket, at once; what still comes from it is not heard. The next operation dials anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distrust:
    """The upstream did not take the credential it was sent (401): where another can be had, the next operation gets
    it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelUpstream:
    """Ask the upstream to cancel what it is doing for this session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOther:
    """A CancelRequest came in on this socket; the shell finds whose it is (constant time) and tells
    nobody."""

    process_id: int
    secret: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Feed ``Stop`` with this refusal in so many seconds, unless the session is over by then. The first counts."""

    after_s: float
    refusal: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Hangup:
    """Close both sockets, once what was sent has drained (bounded). Nothing follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """The session is over and the agent's socket is not: a new session begins on it with these bytes, which the agent
    sent already. Carried out when everything is on disk; nothing follows."""

    data: bytes


Effect = (
    Send
    | SendHead
    | Aside
    | Undial
    | Distrust
    | Renew
    | Tape
    | Record
    | Ask
    | Withdraw
    | HoldFor
    | LookUp
    | StartTls
    | Login
    | Dial
    | CancelUpstream
    | CancelOther
    | Alarm
    | Hangup
)


class Gate(Protocol):
    """A pure state machine between an agent and an upstream."""

    def feed(self, given: Input) -> list[Effect]:
        """Take one input, return what must now be done, in order."""
        ...
