"""MCP under cuts and noise: where streams are cut changes nothing, and nothing passes that was not judged."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from weirgate_contracts.events import OperationIntercepted
from weirgate_ingress.gates.core import (
    Answered,
    Aside,
    Ask,
    Bytes,
    Closed,
    Dial,
    Dialled,
    Effect,
    Hangup,
    Input,
    LoggedIn,
    Login,
    Record,
    Renew,
    Send,
    SendHead,
    Side,
    Tape,
)
from weirgate_ingress.gates.http.gate import HttpGate
from weirgate_ingress.gates.http.mcp import DefinitionMemory, SealedIds
from weirgate_ingress.gates.http.mcp.message import Malformed, read_message
from weirgate_ingress.gates.http.mcp.terms import McpTerms
from weirgate_ingress.gates.http.terms import HttpTerms
from weirgate_testkit.http_story import StarBodies, request
from weirgate_testkit.mcp_story import EVENTS, TOOLS, McpStory, answer, message, post, result
from weirgate_testkit.story import IDENTITY
from weirgate_wire.http.framing import BodyReader, response_framing
from weirgate_wire.http.head import HeadReader

BEGIN = message("initialize", id=0, protocolVersion="2025-06-18", capabilities={"sampling": {}})
BEGUN = result(0, protocolVersion="2025-06-18", capabilities={}, serverInfo={})
SAMPLING = message("sampling/createMessage", id=9)
ASKED = (
    post(BEGIN),
    post(message("tools/list", id="l")),
    post(message("tools/call", name="add")),
    post(message("notifications/cancelled", id=None)),
    post(message("tools/call", id=5, name="add")),
    request("GET", "/tools", accept=EVENTS),
)
ANSWERS = (
    answer(BEGUN, mcp_session_id="srv-1"),
    answer(
        [message("notifications/message", id=None), result("l", tools=[{"name": "add"}, {"name": "drop"}])],
        EVENTS,
    ),
    answer(
        [SAMPLING, message("notifications/message", id=None, data="secret"), result(1, text="secret")], EVENTS
    ),
    answer(b"", status=202),
    answer(result(5, text="secret")),
    answer([message("notifications/message", id=None), SAMPLING], EVENTS),
)


class World:
    """Everything around a gate: it logs in, judges, dials and answers, at once."""

    def __init__(self, cuts: list[int], answers: tuple[bytes, ...] = ANSWERS) -> None:
        mcp = McpTerms(ids=SealedIds(b"k" * 32), definitions=DefinitionMemory())
        terms = HttpTerms(ingress="in1", session="s1", peer="p", cleartext_allowed=True, mcp=mcp)
        self.gate = HttpGate(terms, StarBodies())
        self.story = McpStory()
        self.cuts = cuts
        self.answers = list(answers)
        self.allowed = 0
        self.said = self.taped = b""
        self.events: list[str] = []
        self.asides: list[bytes] = []
        self.upstream: list[bytes] = []
        self.over = False

    def feed(self, given: Input) -> None:
        waiting = [given]
        while waiting and not self.over:
            for effect in self.gate.feed(waiting.pop(0)):
                waiting += self.carry_out(effect)

    def carry_out(self, effect: Effect) -> list[Input]:
        match effect:
            case Login():
                return [LoggedIn(identity=IDENTITY, resource=TOOLS)]
            case Ask(event=event):
                return [self.judged(event)]
            case Dial():
                return [Dialled(parameters={}, process_id=0, secret=b"")]
            case SendHead(head=head):
                assert self.allowed
                self.upstream.append(head.encode())
                return [] if head.method == "POST" else self.answered()
            case Send(side=side, data=data):
                if side is Side.AGENT:
                    self.said += data
                    return []
                self.upstream.append(data)
                return self.answered()
            case Tape(direction="o", data=data):
                self.taped += data
            case Aside(body=body):
                self.asides.append(body)
            case Record(event=event):
                self.events.append(event.kind)
            case Hangup() | Renew():
                self.over = True
            case _:
                pass
        return []

    def answered(self) -> list[Input]:
        return self.pieces(Side.UPSTREAM, self.answers.pop(0)) if self.answers else []

    def judged(self, event: OperationIntercepted) -> Answered:
        assert event.call is not None
        assert event.call.mcp is not None
        self.events.append(f"asked {event.operation} {event.call.mcp.method} {event.digest}")
        self.allowed += 1
        made: list[Any] = []
        story = McpStory()
        story.ask = Ask(event=event)
        story.feed = lambda given: (made.append(given), story)[1]  # type: ignore[method-assign]
        visible = ("add",) if event.call.mcp.offered is not None else None
        story.allow_mcp(masked=True, visible=visible)
        return made[0]

    def pieces(self, side: Side, data: bytes) -> list[Input]:
        at, found = 0, list[Input]()
        for cut in [*self.cuts, len(data)]:
            end = min(len(data), at + cut)
            if data[at:end]:
                found.append(Bytes(side=side, data=data[at:end]))
            at = end
        return found


def run(cuts: list[int], asked: bytes = b"".join(ASKED), answers: tuple[bytes, ...] = ANSWERS) -> World:
    world = World(cuts, answers)
    for each in world.pieces(Side.AGENT, asked):
        world.feed(each)
    return world


def bodies_in(raw: bytes, methods: list[str]) -> list[tuple[object, object, bytes]]:
    found: list[tuple[object, object, bytes]] = []
    for method in methods:
        reader = HeadReader()
        reader.feed(raw)
        head = reader.response()
        assert head is not None
        body = BodyReader(response_framing(head, method=method))
        whole = b"".join(body.feed(reader.rest()))
        assert body.done
        raw = body.rest()
        found.append((head.status, head.headers, whole))
    assert not raw
    return found


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 60), max_size=60))
def test_where_the_streams_are_cut_changes_nothing(cuts: list[int]) -> None:
    whole, cut = run([]), run(cuts)
    assert cut.events == whole.events
    assert cut.asides == whole.asides
    assert len(cut.asides) == 2
    assert cut.said == cut.taped
    methods = ["POST"] * 5 + ["GET"]
    assert bodies_in(cut.said, methods) == bodies_in(whole.said, methods)
    assert sum(kind == "operation.finished" for kind in cut.events) == 7
    for never in (b"secret", b"srv-1", b"sampling", b"drop"):
        assert never not in cut.said
    assert b"sampling" not in b"".join(cut.upstream[:2])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 5))
def test_noise_of_a_server_never_passes_for_a_message(noise: bytes, at: int, which: int) -> None:
    bad = ANSWERS[which][:at] + noise + ANSWERS[which][at:]
    answers = (*ANSWERS[:which], bad, *ANSWERS[which + 1 :])
    world = run([], answers=answers)
    world.feed(Closed(side=Side.UPSTREAM))
    world.feed(Closed(side=Side.AGENT))
    assert b"secret" not in world.said
    assert world.said.count(b'"method": "sampling') == 0
    ended = ("operation.finished", "operation.failed", "operation.abandoned", "operation.refused")
    asked = sum(kind.startswith("asked") for kind in world.events)
    assert sum(kind in ended for kind in world.events) == asked


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_what_is_read_as_a_message_is_one(raw: bytes) -> None:
    try:
        found = read_message(b'{"jsonrpc":"2.0",' + raw)
    except Malformed:
        return
    assert isinstance(json.loads(b'{"jsonrpc":"2.0",' + raw), dict)
    assert (found.method != "") == (found.kind in ("request", "notification"))
