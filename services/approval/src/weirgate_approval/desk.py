"""The desk: what becomes of each request that waits for people. Pure.

One request is in one of these states; what the log stores is the only thing that moves it::

                     held                 enough people agree
    (unknown) ──▶ requested ─┬──────────────────────────────▶ granted ─┐
                     ▲       ├── an eligible person refuses ─▶ refused  │
        one agrees,  │       ├── the window is over ─────────▶ expired  ├─ ended: nothing moves it again
        more must:   └───────┤                                          │
        endorsed             └── agent cancels or leaves ────▶ withdrawn┘
                             (not once its operation was deferred)

Invariants:

* The desk never moves by itself. Facts give *proposals*; a proposal becomes true only when the log has stored
  it, and comes back as ``Stored``. Two desks on one log therefore agree, however they are interleaved.
* Each proposal carries the sequence of the last event of its request as the desk knows it. The log refuses it
  when another desk was first: so a request is opened once, and decided once.
* What the desk cannot read, or hears of in the wrong order, ends a request; it never grants one.
* A proposal past the window is never a grant: the clock that is given counts, not the hand that decided.
* A deferred operation is over, and its agent was told to come back: its request waits on without it. That it was
  deferred stands in the log before the end of its session does, so every desk reads the two in that order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypedDict, assert_never

from weirgate_contracts.events import (
    ApprovalEndorsed,
    ApprovalEvent,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRefused,
    ApprovalRequested,
    ApprovalWithdrawn,
    DecisionMade,
    OperationHeld,
)
from weirgate_contracts.review import Ineligible, is_quorate, person_key, spoken_for

ENDED_LIMIT = 100_000
"""Ended requests remembered. The log itself catches an older one: opening expects nothing before it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# ---------------------------------------------------------------- inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewing:
    """Who speaks for what, from now on: the name a rule asks for, to groups of people."""

    reviewers: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Policy holds an operation."""

    event: OperationHeld


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A person has said yes or no at the console."""

    event: DecisionMade


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """The agent cancelled one operation, or the whole session is over (``operation`` is ``None``)."""

    ingress: str
    session: str
    operation: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """The agent was told to come back: from now on nobody's leaving withdraws this request."""

    ingress: str
    session: str
    operation: int
    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The log holds this event of a request, ours or another desk's."""

    event: ApprovalEvent
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """The log holds an event of this request that cannot be read: the request is never granted here."""

    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time has passed."""


Input = Reviewing | Held | Decided | Left | Deferred | Stored | Unreadable | Tick


# ---------------------------------------------------------------- output


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Publish this, if the last event on ``family`` still has this sequence (0: there is none)."""

    event: ApprovalEvent
    family: str
    sequence: int


def family(ingress: str, session: str, request: str) -> str:
    """Every subject of one request."""
    return f"audit.approval.*.{ingress}.{session}.{request}"


def rfc3339(at_us: int) -> str:
    """Write microseconds since 1970 as RFC 3339, UTC."""
    return (_EPOCH + timedelta(microseconds=at_us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def microseconds(at: str) -> int:
    """Read RFC 3339 into microseconds since 1970.

    Raises:
        ValueError: not a time, or without a zone.
    """
    read = datetime.fromisoformat(at)
    if read.tzinfo is None:
        raise ValueError(f"a time without a zone: {at!r}")
    return (read - _EPOCH) // timedelta(microseconds=1)


@dataclass(slots=True)
class _Open:
    """One request that waits."""

    asked: ApprovalRequested
    sequence: int
    expires_at_us: int
    endorsed: dict[str, ApprovalEndorsed] = field(default_factory=dict[str, ApprovalEndorsed])
    """By what makes a person one person, in the order they agreed."""

    @property
    def family(self) -> str:
        return family(self.asked.ingress, self.asked.session, self.asked.request)

    def propose(self, event: ApprovalEvent) -> Proposal:
        return Proposal(event=event, family=self.family, sequence=self.sequence)


class Desk:
    """Every open request, and what follows from a fact."""

    def __init__(self) -> None:
        self._reviewers: Mapping[str, frozenset[str]] = {}
        self._open: dict[str, _Open] = {}
        self._ended: dict[str, None] = {}
        self._deferred: set[str] = set()
        """Open requests whose agent may leave. Kept when a request is told again: its own events do not say it."""

    @property
    def open_requests(self) -> tuple[str, ...]:
        """Ids of the requests that wait."""
        return tuple(self._open)

    @property
    def next_expiry_us(self) -> int | None:
        """When the first open request expires."""
        return min((request.expires_at_us for request in self._open.values()), default=None)

    def session_of(self, request: str) -> tuple[str, str]:
        """Return ingress and session of an open request."""
        asked = self._open[request].asked
        return asked.ingress, asked.session

    def asks_for(self, ingress: str, session: str) -> bool:
        """Whether an open request is of this session."""
        return any(
            (one.asked.ingress, one.asked.session) == (ingress, session) for one in self._open.values()
        )

    def is_ended(self, request: str) -> bool:
        """Whether a request is known to be over."""
        return request in self._ended

    def feed(self, given: Input, now_us: int) -> list[Proposal]:
        """Take one fact, return what should be published, in order. Only ``Stored`` changes a request."""
        match given:
            case Reviewing(reviewers=reviewers):
                self._reviewers = dict(reviewers)
                return []
            case Held(event=event):
                return self._held(event)
            case Decided(event=event):
                return self._decided(event, now_us)
            case Left():
                return self._left(given)
            case Deferred():
                self._defer(given)
                return []
            case Stored(event=event, sequence=sequence):
                self._stored(event, sequence)
                return []
            case Unreadable(request=request):
                self._end(request)
                return []
            case Tick():
                return [
                    request.propose(ApprovalExpired(**_of(request.asked)))
                    for request in self._open.values()
                    if now_us >= request.expires_at_us
                ]
            case _:
                assert_never(given)

    def forget(self, request: str) -> None:
        """Drop what is known of one request, before it is told again from the log."""
        self._open.pop(request, None)
        self._ended.pop(request, None)

    # ------------------------------------------------------------ facts

    def _held(self, held: OperationHeld) -> list[Proposal]:
        if held.joins is not None or held.intercepted in self._open or held.intercepted in self._ended:
            # A retry that came before its request was decided waits for that one: nobody is asked twice.
            return []
        # From the moment policy held it, not from now: while approval was away, the agent's window went on.
        expires_at_us = microseconds(held.at) + held.window_s * 1_000_000
        asked = ApprovalRequested(
            ingress=held.ingress,
            session=held.session,
            request=held.intercepted,
            operation=held.operation,
            digest=held.digest,
            resource=held.resource,
            identity=held.identity,
            groups=held.groups,
            quorum=held.quorum,
            expires_at=rfc3339(expires_at_us),
            window_s=held.window_s,
            reason=held.reason,
            text=held.text,
            touched=held.touched,
            trace=held.trace,
        )
        return [
            Proposal(event=asked, family=family(held.ingress, held.session, held.intercepted), sequence=0)
        ]

    def _decided(self, decision: DecisionMade, now_us: int) -> list[Proposal]:
        request = self._open.get(decision.request)
        if request is None:
            return []
        asked = request.asked
        if now_us >= request.expires_at_us:
            return [request.propose(ApprovalExpired(**_of(asked)))]
        try:
            groups = spoken_for(
                by=decision.by,
                proved=decision.groups,
                identity=asked.identity,
                asked=asked.groups,
                reviewers=self._reviewers,
            )
        except Ineligible:
            return []
        if decision.decision == "refuse":
            return [
                request.propose(ApprovalRefused(**_of(asked), by=decision.by, reason=decision.reason)),
            ]
        person = person_key(decision.by)
        if person in request.endorsed:
            return []
        sides = [*(one.groups for one in request.endorsed.values()), groups]
        if is_quorate(asked=asked.groups, quorum=asked.quorum, endorsed=sides):
            return [
                request.propose(
                    ApprovalGranted(
                        **_of(asked),
                        by=(*(one.by for one in request.endorsed.values()), decision.by),
                        reason=decision.reason,
                        expires_at=rfc3339(now_us + asked.window_s * 1_000_000),
                    )
                )
            ]
        return [
            request.propose(
                ApprovalEndorsed(**_of(asked), by=decision.by, groups=groups, reason=decision.reason)
            )
        ]

    def _left(self, left: Left) -> list[Proposal]:
        return [
            request.propose(ApprovalWithdrawn(**_of(request.asked), reason=left.reason))
            for request in self._open.values()
            if request.asked.request not in self._deferred
            and request.asked.ingress == left.ingress
            and request.asked.session == left.session
            and left.operation in (None, request.asked.operation)
        ]

    def _defer(self, deferred: Deferred) -> None:
        request = self._open.get(deferred.request)
        if request is not None and (
            request.asked.ingress,
            request.asked.session,
            request.asked.operation,
        ) == (
            deferred.ingress,
            deferred.session,
            deferred.operation,
        ):
            self._deferred.add(deferred.request)

    # ------------------------------------------------------------ what the log holds

    def _stored(self, event: ApprovalEvent, sequence: int) -> None:
        if event.request in self._ended:
            return
        request = self._open.get(event.request)
        if isinstance(event, ApprovalRequested):
            if request is None:
                self._open[event.request] = _Open(
                    asked=event, sequence=sequence, expires_at_us=microseconds(event.expires_at)
                )
            return
        if request is None:
            # An event of a request that was never seen opening: not to be trusted with a grant.
            self._end(event.request)
            return
        if sequence <= request.sequence:
            return
        if isinstance(event, ApprovalEndorsed):
            request.sequence = sequence
            request.endorsed.setdefault(person_key(event.by), event)
            return
        self._end(event.request)

    def _end(self, request: str) -> None:
        self._open.pop(request, None)
        self._deferred.discard(request)
        self._ended[request] = None
        if len(self._ended) > ENDED_LIMIT:
            del self._ended[next(iter(self._ended))]


class _Shared(TypedDict):
    ingress: str
    session: str
    request: str
    operation: int
    digest: str
    trace: str | None


def _of(asked: ApprovalRequested) -> _Shared:
    """Return the fields every event of a request shares."""
    return {
        "ingress": asked.ingress,
        "session": asked.session,
        "request": asked.request,
        "operation": asked.operation,
        "digest": asked.digest,
        "trace": asked.trace,
    }
