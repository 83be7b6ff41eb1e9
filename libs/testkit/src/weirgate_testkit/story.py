"""A dialogue with a gate: what happens, and what the gate must then do, step by step, in order.

Every effect must be expected before the story goes on, and before it ends: one that nobody looked at fails
the test (call :func:`check_stories` from an autouse fixture).
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self, runtime_checkable

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.events import (
    OperationAllowed,
    OperationIntercepted,
    OperationPlanned,
    SessionEvent,
    SessionOpened,
)
from weirgate_contracts.identity import Identity
from weirgate_contracts.masking import Plan, StatementPlan
from weirgate_contracts.operation import Definition, Limits
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.core import (
    Allowed,
    Answered,
    Ask,
    Bytes,
    Cancelled,
    Closed,
    Dial,
    Dialled,
    Effect,
    Gate,
    Held,
    Input,
    LoggedIn,
    Login,
    Record,
    Refused,
    Send,
    Side,
    Stop,
    Tape,
)
from weirgate_ingress.gates.postgres import GateTerms, Masks, PlanMismatch, PostgresGate
from weirgate_wire.postgres.error import ErrorFields
from weirgate_wire.postgres.message import (
    AUTH_CLEARTEXT,
    AUTH_OK,
    Authentication,
    BackendKeyData,
    FieldDescription,
    ParameterStatus,
    PasswordMessage,
    ReadyForQuery,
)
from weirgate_wire.postgres.row import each_frame, join_row, split_row
from weirgate_wire.postgres.startup import PROTOCOL_3_0, StartupMessage

IDENTITY = Identity(agent="bot", issuer="https://issuer.test", token_id="t1", expires_at=4_000_000_000)
SHOP = ResourceDocument(name="shop", protocol="postgres", upstream="postgresql://app@db/shop")
PARAMETERS = {
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "search_path": '"$user", public',
}


@runtime_checkable
class Message(Protocol):
    """Whatever encodes itself."""

    def encode(self) -> bytes:
        """Return the whole frame."""
        ...


Detail = Side | type[SessionEvent] | str | bytes | Message | Callable[[Any], bool]
"""What an effect can be held to."""


def encoded(*messages: Message | bytes) -> bytes:
    """Join messages into the bytes of a stream."""
    return b"".join(one if isinstance(one, bytes) else one.encode() for one in messages)


class StarRows:
    """Replaces some cells by ``***``."""

    def __init__(self, columns: Sequence[bool]) -> None:
        self._columns = columns
        self.cells_masked = 0

    def mask_rows(self, block: bytes) -> bytes:
        """Mask a block; a row of another width is a mismatch."""
        rows: list[bytes] = []
        for at, end in each_frame(block):
            cells = split_row(block, at, end)
            if len(cells) != len(self._columns):
                raise PlanMismatch("another number of cells")
            for number, (cell, hidden) in enumerate(zip(cells, self._columns, strict=True)):
                if hidden and cell is not None:
                    cells[number] = b"***"
                    self.cells_masked += 1
            rows.append(join_row(cells))
        return b"".join(rows)


class StarCopy:
    """Upper-cases a COPY stream, and holds its last word back."""

    def __init__(self) -> None:
        self.cells_masked = 0

    def feed(self, block: bytes) -> bytes:
        """Mask whole CopyData frames."""
        parts: list[bytes] = []
        for at, end in each_frame(block):
            self.cells_masked += 1
            parts.append(block[at - 5 : at] + block[at:end].upper())
        return b"".join(parts)

    def finish(self) -> bytes:
        """Nothing is held back."""
        return b""


class StarMasks:
    """Masks for stories: an output with labels becomes ``***`` unless all of them are unmasked."""

    def rows(
        self, plan: StatementPlan, whole: Plan, unmask: frozenset[str], fields: Sequence[FieldDescription]
    ) -> StarRows | None:
        """Mask rows; another number of columns, or an unplanned labelled one, is a mismatch."""
        outputs = plan.outputs
        if outputs is None:
            return None
        if len(outputs) != len(fields):
            raise PlanMismatch("another number of columns")
        hidden = [not unmask.issuperset(one.labels) for one in outputs]
        return StarRows(hidden) if any(hidden) else None

    def copy(
        self, plan: StatementPlan, whole: Plan, unmask: frozenset[str], formats: Sequence[int], overall: int
    ) -> StarCopy | None:
        """Mask COPY."""
        outputs = plan.outputs or ()
        return StarCopy() if any(not unmask.issuperset(one.labels) for one in outputs) else None

    def error(self, fields: ErrorFields, whole: Plan, unmask: frozenset[str]) -> ErrorFields:
        """Drop details, and hide what is secret."""
        return {code: text.replace("secret", "***") for code, text in fields.items() if code != "D"}


_stories: list["Story"] = []


def check_stories() -> None:
    """Fail if any story told since the last call left an effect unchecked."""
    told = list(_stories)
    _stories.clear()
    for story in told:
        story.expect_nothing()


class Story:
    """One connection, told step by step. Every method returns the story."""

    def __init__(self, *, masks: Masks | None = None, gate: Gate | None = None, **terms: Any) -> None:
        given: dict[str, Any] = {
            "ingress": "in1",
            "session": "s1",
            "peer": "127.0.0.1:5000",
            "cleartext_allowed": True,
        } | terms
        self.gate: Any = gate or PostgresGate(GateTerms(**given), masks or StarMasks())
        self.left: list[Effect] = []
        """Effects nobody has looked at yet."""
        self.all: list[Effect] = []
        self.ask: Ask | None = None
        """The last question."""
        _stories.append(self)

    # ------------------------------------------------------------ what happens

    def feed(self, given: Input) -> Self:
        """Something happens."""
        self.expect_nothing()
        self.left = list(self.gate.feed(given))
        self.all += self.left
        return self

    def agent_sends(self, *messages: Message | bytes) -> Self:
        """Bytes of the agent come in."""
        return self.feed(Bytes(side=Side.AGENT, data=encoded(*messages)))

    def upstream_sends(self, *messages: Message | bytes) -> Self:
        """Bytes of the upstream come in."""
        return self.feed(Bytes(side=Side.UPSTREAM, data=encoded(*messages)))

    def agent_cancels(self) -> Self:
        """A CancelRequest comes in."""
        return self.feed(Cancelled())

    def agent_leaves(self) -> Self:
        """The agent's socket closes."""
        return self.feed(Closed(side=Side.AGENT))

    def upstream_leaves(self) -> Self:
        """The upstream's socket closes."""
        return self.feed(Closed(side=Side.UPSTREAM))

    def stopped(self, code: RefusalCode) -> Self:
        """The session is to end."""
        return self.feed(Stop(refusal=Refusal(code=code, reason="The session must end.")))

    def logged_in(self, parameters: dict[str, str] | None = None, **startup: str) -> Self:
        """The whole of start-up, checked on the way."""
        asked = {"user": "bot", "database": "shop"} | startup
        self.agent_sends(StartupMessage(version=PROTOCOL_3_0, parameters=asked))
        self.expect(Send, Side.AGENT, Authentication(AUTH_CLEARTEXT))
        self.agent_sends(PasswordMessage(b"token")).expect(Login)
        self.feed(LoggedIn(identity=IDENTITY, resource=SHOP)).expect(Record, SessionOpened).expect(Dial)
        reported = PARAMETERS if parameters is None else parameters
        self.feed(Dialled(parameters=reported, process_id=7, secret=b"keys"))
        said: list[Message] = [Authentication(AUTH_OK)]
        said += [ParameterStatus(name, value) for name, value in reported.items()]
        said += [BackendKeyData(7, b"keys"), ReadyForQuery("I")]
        return self.expect(Send, Side.AGENT, encoded(*said))

    # ------------------------------------------------------------ answers

    def allowed(
        self,
        *plans: StatementPlan,
        unmask: tuple[str, ...] = (),
        limits: Limits | None = None,
        defines: tuple[Definition, ...] = (),
        path: bool = False,
        impossible: str | None = None,
    ) -> Self:
        """The last question is answered: allowed. Without plans, each statement has one that masks
        nothing."""
        assert self.ask is not None, "nothing was asked"
        event = self.ask.event
        answer = verdict_for(
            event, *plans, unmask=unmask, limits=limits, defines=defines, path=path, impossible=impossible
        )
        return self.feed(Answered(operation=event.operation, answer=answer))

    def refused(
        self, code: RefusalCode = RefusalCode.DENIED, *, rules: tuple[str, ...] = (), denied: bool = True
    ) -> Self:
        """The last question is answered: refused."""
        assert self.ask is not None, "nothing was asked"
        refusal = Refusal(code=code, reason="Not for you.", rules=rules, hint="Ask for less.")
        return self.feed(
            Answered(operation=self.ask.event.operation, answer=Refused(refusal=refusal, denied=denied))
        )

    def held(self, *, request: str = "01J00000000000000000000001", joined: bool = False) -> Self:
        """The last question is answered: a person decides."""
        assert self.ask is not None, "nothing was asked"
        held = Held(
            request=request, notice="A person decides.", detail="dba", hint="https://console.test",
            window_s=900, joined=joined,
        )  # fmt: skip
        return self.feed(Answered(operation=self.ask.event.operation, answer=held))

    # ------------------------------------------------------------ what must have been done

    def expect(self, kind: type[Effect], *details: Detail) -> Self:
        """The next effect is of this class, and fits every detail.

        A detail is a :class:`Side`, an event class, a direction, bytes or a message (the whole of ``data``),
        or a function that takes the effect and returns whether it fits.
        """
        assert self.left, f"expected {kind.__name__}, but nothing more is done"
        effect = self.left.pop(0)
        assert isinstance(effect, kind), f"expected {kind.__name__}, got {effect!r}"
        for detail in details:
            assert _fits(effect, detail), f"{effect!r} does not fit {detail!r}"
        if isinstance(effect, Ask):
            self.ask = effect
        return self

    def asks(self, *texts: str) -> Self:
        """The next effect asks about statements of these texts."""
        self.expect(Ask)
        assert self.ask is not None
        asked = tuple(one.text for one in self.ask.event.statements)
        assert not texts or asked == texts, f"asked about {asked!r}"
        return self

    def says(self, *messages: Message | bytes | Callable[[bytes], bool]) -> Self:
        """The next two effects record some bytes and then send the same bytes to the agent."""
        self.expect(Tape, "o")
        taped = self.last
        self.expect(Send, Side.AGENT)
        sent = self.last
        assert isinstance(taped, Tape)
        assert isinstance(sent, Send)
        assert taped.data == sent.data, "what is sent is not what was recorded"
        if len(messages) == 1 and callable(messages[0]):
            assert messages[0](sent.data), f"{sent.data!r} does not fit"
        elif messages:
            whole = encoded(*[one for one in messages if not callable(one)])
            assert sent.data == whole, f"said {sent.data!r}, expected {whole!r}"
        return self

    def sends_on(self, *messages: Message | bytes, taped: Message | bytes | None = None) -> Self:
        """What the agent sent is recorded, then these bytes go upstream."""
        whole = encoded(*messages)
        self.expect(Tape, "i", whole if taped is None else encoded(taped))
        return self.expect(Send, Side.UPSTREAM, whole)

    def expect_nothing(self) -> Self:
        """Every effect so far has been looked at."""
        assert not self.left, f"unchecked effects: {self.left!r}"
        return self

    def expect_nothing_sent_to(self, side: Side) -> Self:
        """In the whole story not one byte went to that side."""
        sent = [one for one in self.all if isinstance(one, Send) and one.side is side]
        assert not sent, f"sent to {side.value}: {sent!r}"
        return self

    @property
    def last(self) -> Effect:
        """The effect looked at last."""
        return self.all[len(self.all) - len(self.left) - 1]


def verdict_for(
    event: OperationIntercepted,
    *plans: StatementPlan,
    unmask: tuple[str, ...] = (),
    limits: Limits | None = None,
    defines: tuple[Definition, ...] = (),
    path: bool = False,
    impossible: str | None = None,
) -> Allowed:
    """Return an allowing verdict and a plan for a question; without plans, nothing is masked."""
    envelope: dict[str, Any] = {
        "ingress": event.ingress,
        "session": event.session,
        "operation": event.operation,
        "intercepted": "",
        "digest": event.digest,
        "catalog_revision": "c1",
    }
    verdict = OperationAllowed(
        **envelope,
        policy_revision=1,
        unmask=unmask,
        limits=limits or Limits(),
        defines=defines,
        search_path_may_change=path,
    )
    statements = plans or tuple(StatementPlan(outputs=None) for _ in event.statements)
    plan = Plan(statements=statements, impossible=impossible)
    return Allowed(verdict=verdict, plan=OperationPlanned(**envelope, masking_revision=1, plan=plan))


def _fits(effect: Effect, detail: Detail) -> bool:
    match detail:
        case Side():
            return getattr(effect, "side", None) is detail
        case type():
            return isinstance(getattr(effect, "event", None), detail)
        case str():
            return getattr(effect, "direction", None) == detail
        case bytes():
            return getattr(effect, "data", None) == detail
        case Message():
            return getattr(effect, "data", None) == detail.encode()
        case _:
            return bool(detail(effect))
