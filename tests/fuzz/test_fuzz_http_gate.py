"""The HTTP gate under cuts and noise: where streams are cut changes nothing, and nothing is sent on unasked."""

import gzip
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from weirgate_contracts.events import OperationIntercepted
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.core import (
    Answered,
    Ask,
    Bytes,
    Closed,
    Dial,
    Dialled,
    Effect,
    Found,
    Hangup,
    Held,
    HoldFor,
    HoldOver,
    Input,
    LoggedIn,
    Login,
    LookUp,
    Record,
    Refused,
    Renew,
    Send,
    SendHead,
    Side,
    Tape,
)
from weirgate_ingress.gates.http.gate import HttpGate
from weirgate_ingress.gates.http.terms import HttpTerms
from weirgate_testkit.http_story import CRM, HttpStory, StarBodies, request
from weirgate_testkit.story import IDENTITY
from weirgate_wire.http.framing import LAST_CHUNK, BodyReader, response_framing
from weirgate_wire.http.head import HeadReader

CODED = gzip.compress(b'{"amount": 2}', mtime=0)
AGENT = (
    request()
    + request("POST", "/crm/v1/pay", body=b'{"amount": 1}', content_type="application/json")
    + request("POST", "/crm/v1/pay", body=CODED, content_type="application/json", content_encoding="gzip")
    + request("PUT", "/crm/v1/pay", content_type="image/png", transfer_encoding="chunked")
    + b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
    + request("HEAD")
)
ABOUT = "01J00000000000000000000001"
HOLDS = (
    request()
    + request("POST", "/crm/v1/pay", body=b'{"amount": 1}', content_type="application/json", prefer="wait=1")
    + request("GET", f"/.well-known/weirgate/crm/requests/{ABOUT}")
    + request("DELETE", prefer="respond-async")
)
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 15\r\n\r\nthis is secret.",
    b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'6\r\n{"a": \r\n9\r\n"secret"}\r\n0\r\n\r\n',
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\ntwo",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
)


class World:
    """Everything around a gate: it logs in, judges, dials and answers, at once."""

    def __init__(self, cuts: list[int], *, allow: bool = True, hold: bool = False) -> None:
        self.gate = HttpGate(
            HttpTerms(ingress="in1", session="s1", peer="p", cleartext_allowed=True), StarBodies()
        )
        self.story = HttpStory()
        self.cuts = cuts
        self.allow = allow
        self.hold = hold
        self.allowed: set[int] = set()
        self.said = b""
        self.upstream = b""
        self.taped = b""
        self.events: list[str] = []
        self.answers: list[bytes] = list(ANSWERS)
        self.over = False

    def feed(self, given: Input) -> None:
        waiting = [given]
        while waiting and not self.over:
            for effect in self.gate.feed(waiting.pop(0)):
                waiting += self.carry_out(effect)

    def carry_out(self, effect: Effect) -> list[Input]:
        match effect:
            case Login():
                return [LoggedIn(identity=IDENTITY, resource=CRM)]
            case Ask(event=event):
                self.events.append(f"asked {event.call.method if event.call else ''} {event.digest}")
                return [self.answer(event)]
            case Dial():
                return [Dialled(parameters={}, process_id=0, secret=b"")]
            case SendHead(head=head):
                assert self.allowed
                self.upstream += head.encode()
                return [] if head.all("transfer-encoding") else self.answered()
            case Send(side=side, data=data):
                if side is Side.AGENT:
                    self.said += data
                else:
                    assert self.allowed
                    self.upstream += data
                    # An upstream that answers before it has read everything is another story.
                    return self.answered() if data == LAST_CHUNK else []
            case Tape(direction="o", data=data):
                self.taped += data
            case Record(event=event):
                self.events.append(event.kind)
            case HoldFor(operation=operation):
                return [HoldOver(operation=operation)]
            case LookUp(request=about):
                return [Found(request=about, state="open")]
            case Hangup() | Renew():
                self.over = True
            case _:
                pass
        return []

    def answered(self) -> list[Input]:
        return self.pieces(Side.UPSTREAM, self.answers.pop(0)) if self.answers else []

    def answer(self, event: OperationIntercepted) -> Answered:
        if self.hold:
            held = Held(request=ABOUT, notice="n", detail="d", hint="h", window_s=9)
            return Answered(operation=event.operation, answer=held)
        if not self.allow:
            refusal = Refusal(code=RefusalCode.DENIED, reason="No.")
            return Answered(operation=event.operation, answer=Refused(refusal=refusal, denied=True))
        self.allowed.add(event.operation)
        made: list[Any] = []
        story = HttpStory()
        story.ask = Ask(event=event)
        story.feed = lambda given: (made.append(given), story)[1]  # type: ignore[method-assign]
        story.allow(masked=True)
        return made[0]

    def pieces(self, side: Side, data: bytes) -> list[Input]:
        at, found = 0, list[Input]()
        for cut in [*self.cuts, len(data)]:
            end = min(len(data), at + cut)
            if data[at:end]:
                found.append(Bytes(side=side, data=data[at:end]))
            at = end
        return found


def run(cuts: list[int], data: bytes = AGENT, *, allow: bool = True, hold: bool = False) -> World:
    world = World(cuts, allow=allow, hold=hold)
    for each in world.pieces(Side.AGENT, data):
        world.feed(each)
    return world


def answers_in(raw: bytes, methods: list[str]) -> list[tuple[int, object, bytes]]:
    """What an agent reads: status, fields and body of each answer, wherever its chunks were cut."""
    found: list[tuple[int, object, bytes]] = []
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


@settings(max_examples=300)
@given(st.lists(st.integers(1, 40), max_size=60))
def test_where_the_streams_are_cut_changes_nothing(cuts: list[int]) -> None:
    whole, cut = run([]), run(cuts)
    assert cut.events == whole.events
    assert cut.said == cut.taped
    assert cut.upstream == whole.upstream
    assert b'{"amount": 2}' in cut.upstream
    assert CODED not in cut.upstream
    assert b"secret" not in cut.said
    methods = ["GET", "POST", "POST", "PUT", "HEAD"]
    assert answers_in(cut.said, methods) == answers_in(whole.said, methods)


@settings(max_examples=300)
@given(st.lists(st.integers(1, 40), max_size=60))
def test_where_held_requests_are_cut_changes_nothing(cuts: list[int]) -> None:
    whole, cut = run([], HOLDS, hold=True), run(cuts, HOLDS, hold=True)
    assert cut.events == whole.events
    assert cut.events.count("operation.deferred") == 3
    assert cut.said == cut.taped
    assert not cut.upstream
    methods = ["GET", "POST", "GET", "DELETE"]
    answers = answers_in(cut.said, methods)
    assert answers == answers_in(whole.said, methods)
    assert {status for status, _, _ in answers} == {202}


@settings(max_examples=300)
@given(st.binary(max_size=300), st.integers(0, len(HOLDS)))
def test_noise_among_held_requests_sends_nothing_on(noise: bytes, at: int) -> None:
    world = run([], HOLDS[:at] + noise + HOLDS[at:], hold=True)
    assert not world.upstream
    world.feed(Closed(side=Side.AGENT))


@settings(max_examples=500)
@given(st.binary(max_size=300), st.integers(0, len(AGENT)), st.booleans())
def test_noise_is_refused_or_judged_and_nothing_goes_on_unasked(noise: bytes, at: int, allow: bool) -> None:
    world = run([], AGENT[:at] + noise + AGENT[at:], allow=allow)
    if not allow:
        assert not world.upstream
    world.feed(Closed(side=Side.AGENT))


@settings(max_examples=300)
@given(st.binary(max_size=200), st.integers(0, 80))
def test_noise_of_an_upstream_is_never_taken_for_an_answer_it_is_not(noise: bytes, at: int) -> None:
    world = World([])
    world.answers[0] = ANSWERS[0][:at] + noise + ANSWERS[0][at:]
    world.feed(Bytes(side=Side.AGENT, data=request()))
    world.feed(Closed(side=Side.UPSTREAM))
    assert b"secret" not in world.said
    assert sum(kind in ("operation.finished", "operation.failed") for kind in world.events) <= 1
