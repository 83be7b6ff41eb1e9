"""The PostgreSQL gate under noise, cuts and any interleaving: it never sends unjudged bytes and never
raises."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from weirgate_contracts.events import OperationIntercepted, SessionClosed
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.core import (
    Allowed,
    Answered,
    Ask,
    Bytes,
    Cancelled,
    Closed,
    Effect,
    Hangup,
    Held,
    Input,
    Record,
    Refused,
    Send,
    Side,
    Stop,
    Tape,
    Withdraw,
)
from weirgate_testkit.story import Message, Story, encoded, verdict_for
from weirgate_wire.postgres.message import (
    BIND_COMPLETE,
    CLOSE_COMPLETE,
    COPY_DONE,
    EMPTY_QUERY_RESPONSE,
    NO_DATA,
    PARSE_COMPLETE,
    PORTAL_SUSPENDED,
    Bind,
    Close,
    CommandComplete,
    CopyData,
    CopyDone,
    CopyFail,
    CopyResponse,
    DataRow,
    Describe,
    ErrorResponse,
    Execute,
    FieldDescription,
    Flush,
    FunctionCall,
    NoticeResponse,
    ParameterStatus,
    Parse,
    Query,
    ReadyForQuery,
    RowDescription,
    Sync,
    Terminate,
)

MARK = "zqx"
"""Stands in every text and parameter of the agent, and in nothing the gate says for itself."""
AGENT: list[Message] = [
    Query(f"select {MARK}"),
    Parse("", f"select {MARK}"),
    Parse("s", f"select {MARK}"),
    Parse("", f"deallocate {MARK}"),
    Bind("", "", (MARK.encode(),)),
    Bind("p", "s"),
    Describe("S", "s"),
    Describe("P", ""),
    Execute(""),
    Execute("p", 1),
    Close("S", "s"),
    Flush(),
    Sync(),
    Sync(),
    FunctionCall(1),
    CopyData(MARK.encode()),
    CopyDone(),
    CopyFail("x"),
]
UPSTREAM: list[Message] = [
    RowDescription((FieldDescription("n"),)),
    DataRow((b"1",)),
    CommandComplete("SELECT 1"),
    CommandComplete("SELECT 1"),
    ReadyForQuery("I"),
    ReadyForQuery("I"),
    ReadyForQuery("T"),
    ReadyForQuery("E"),
    ErrorResponse({"S": "ERROR", "V": "ERROR", "C": "22012", "M": "m"}),
    NoticeResponse({"S": "NOTICE", "M": "m"}),
    ParameterStatus("TimeZone", "UTC"),
    PARSE_COMPLETE,
    BIND_COMPLETE,
    CLOSE_COMPLETE,
    NO_DATA,
    EMPTY_QUERY_RESPONSE,
    PORTAL_SUSPENDED,
    CopyResponse("in", 0, (0,)),
    CopyResponse("out", 0, (0,)),
    CopyData(b"x\n"),
    COPY_DONE,
]
Step = tuple[str, object]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("agent"), st.lists(st.sampled_from(AGENT), min_size=1, max_size=6)),
        st.tuples(st.just("upstream"), st.lists(st.sampled_from(UPSTREAM), min_size=1, max_size=4)),
        st.tuples(st.just("owed"), st.booleans()),
        st.tuples(st.just("answer"), st.sampled_from(["allow", "allow", "allow", "path", "hold", "refuse"])),
        st.tuples(st.just("cancel"), st.none()),
    ),
    max_size=30,
)
ENDS = st.sampled_from(["agent", "upstream", "kill", "terminate", "noise", "nothing"])


class Watch:
    """Feeds a gate and holds every effect to the invariants."""

    def __init__(self) -> None:
        self.story = Story(pipeline_limit_bytes=500, batch_limit_statements=3).logged_in()
        self.ask: OperationIntercepted | None = None
        self.allowed = False
        self.effects: list[Effect] = []
        self.seen: set[int] = set()
        self.over: dict[int, str] = {}
        self.denied: set[int] = set()

    def feed(self, given: Input) -> None:
        effects = self.story.gate.feed(given)
        self.check(effects)
        self.effects += effects

    def check(self, effects: Sequence[Effect]) -> None:
        before: Effect | None = None
        for effect in effects:
            match effect:
                case Ask(event=event):
                    assert event.operation not in self.seen, "asked twice"
                    self.seen.add(event.operation)
                    self.ask, self.allowed = event, False
                case Withdraw():
                    self.ask = None
                case Send(side=Side.UPSTREAM, data=sent):
                    if MARK.encode() in sent:
                        assert self.allowed, "bytes of an operation nobody allowed"
                        assert isinstance(before, Tape)
                        assert before.direction == "i"
                case Send(side=Side.AGENT, data=sent):
                    last_word = b"SFATAL\0" in sent
                    assert last_word or (isinstance(before, Tape) and before.data == sent)
                case Record(event=event) if event.kind.startswith("operation."):
                    number = getattr(event, "operation", 0)
                    assert number not in self.over, (
                        f"{number} is over twice: {self.over[number]}, {event.kind}"
                    )
                    assert number not in self.denied
                    self.over[number] = event.kind
                case Hangup():
                    assert effect is effects[-1]
                case _:
                    pass
            before = effect

    def answer(self, how: str) -> None:
        if self.ask is None:
            return
        event = self.ask
        answer: Allowed | Held | Refused
        if how == "hold":
            answer = Held(request="r", notice="n", detail="", hint="")
        elif how == "refuse":
            self.ask = None
            self.denied.add(event.operation)
            answer = Refused(refusal=Refusal(code=RefusalCode.DENIED, reason="No."), denied=True)
        else:
            self.ask, self.allowed = None, True
            answer = verdict_for(event, path=how == "path")
        self.feed(Answered(operation=event.operation, answer=answer))

    def owed(self, well: bool) -> None:
        """Let the upstream say what it owes, well or not."""
        self.feed(Bytes(side=Side.UPSTREAM, data=owed(self.story, well=well)))


def owed(story: Story, *, well: bool) -> bytes:
    session = story.gate._session  # pyright: ignore[reportPrivateUsage]
    assert session is not None
    operation = session._state.operation  # pyright: ignore[reportPrivateUsage]
    if operation is None or not operation.steps or operation.phase.value in ("asked", "held"):
        return b""
    answers = {
        "query": CommandComplete("X"),
        "parse": PARSE_COMPLETE,
        "bind": BIND_COMPLETE,
        "describe statement": NO_DATA,
        "describe portal": NO_DATA,
        "execute": CommandComplete("X"),
        "close statement": CLOSE_COMPLETE,
        "close portal": CLOSE_COMPLETE,
        "sync": ReadyForQuery("I"),
        "poison": ErrorResponse({"S": "ERROR", "M": "m"}),
    }
    kind = operation.steps[0].kind.value
    message = answers[kind] if well else ErrorResponse({"S": "ERROR", "V": "ERROR", "C": "22012", "M": "m"})
    return encoded(message, ReadyForQuery("T")) if kind == "query" else encoded(message)


def play(watch: Watch, steps: Sequence[Step], cut: int = 0) -> None:
    for what, detail in steps:
        if watch.story.gate.ended:
            return
        match what:
            case "agent" | "upstream":
                assert isinstance(detail, list)
                raw = encoded(*detail)
                side = Side.AGENT if what == "agent" else Side.UPSTREAM
                for piece in [raw[:cut], raw[cut:]] if cut else [raw]:
                    watch.feed(Bytes(side=side, data=piece))
            case "owed":
                watch.owed(bool(detail))
            case "answer":
                watch.answer(str(detail))
            case _:
                watch.feed(Cancelled())


@settings(max_examples=300, deadline=None)
@given(STEPS, ENDS)
def test_no_interleaving_sends_what_nobody_allowed(steps: list[Step], end: str) -> None:
    watch = Watch()
    play(watch, steps)
    match end:
        case "agent":
            watch.feed(Closed(side=Side.AGENT))
        case "upstream":
            watch.feed(Closed(side=Side.UPSTREAM))
        case "kill":
            watch.feed(Stop(refusal=Refusal(code=RefusalCode.KILLED, reason="Killed.")))
        case "terminate":
            watch.feed(Bytes(side=Side.AGENT, data=Terminate().encode()))
        case "noise":
            watch.feed(Bytes(side=Side.AGENT, data=b"\xff" * 9))
        case _:
            pass
    if end in ("agent", "upstream", "kill"):
        assert watch.story.gate.ended
    if watch.story.gate.ended:
        closed = [
            one for one in watch.effects if isinstance(one, Record) and isinstance(one.event, SessionClosed)
        ]
        assert len(closed) == 1
        assert isinstance(watch.effects[-1], Hangup)
        # Every operation that was asked about is over, one way or another.
        assert watch.seen <= set(watch.over) | watch.denied


def sent(effects: Sequence[Effect]) -> tuple[bytes, bytes, bytes, list[str]]:
    """What went to each side and into the recording, whatever its grouping."""
    agent = b"".join(one.data for one in effects if isinstance(one, Send) and one.side is Side.AGENT)
    upstream = b"".join(one.data for one in effects if isinstance(one, Send) and one.side is Side.UPSTREAM)
    taped = b"".join(one.data for one in effects if isinstance(one, Tape) and one.direction == "o")
    facts = [repr(one) for one in effects if isinstance(one, (Record, Ask, Withdraw, Hangup))]
    return agent, upstream, taped, facts


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 60))
def test_where_the_streams_are_cut_changes_nothing(steps: list[Step], cut: int) -> None:
    whole, cut_up = Watch(), Watch()
    play(whole, steps)
    play(cut_up, steps, cut)
    assert sent(whole.effects) == sent(cut_up.effects)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=60)), max_size=10))
def test_noise_is_refused_or_waits(noise: list[tuple[bool, bytes]]) -> None:
    watch = Watch()
    for upstream, raw in noise:
        watch.feed(Bytes(side=Side.UPSTREAM if upstream else Side.AGENT, data=raw))
    fresh = Story()
    for _, raw in noise:
        effects = fresh.gate.feed(Bytes(side=Side.AGENT, data=raw))
        assert not any(isinstance(one, Send) and one.side is Side.UPSTREAM for one in effects)
