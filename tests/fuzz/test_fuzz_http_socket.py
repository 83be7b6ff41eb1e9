"""A WebSocket through the gate under cuts and noise: cutting changes nothing, nothing passes unjudged or unmasked."""

from typing import Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.core import (
    Answered,
    Ask,
    Bytes,
    Closed,
    Dialled,
    Effect,
    Hangup,
    Input,
    Record,
    Refused,
    Send,
    SendHead,
    Side,
    Tape,
)
from weirgate_testkit.socket_story import SocketStory, close, frame, handshake_fields, messages_in, plain
from weirgate_wire.error import PeerError
from weirgate_wire.websocket import Opcode

Mode = Literal["judge", "record"]

AGENT = (
    frame('{"a": 1}') + frame("two ", final=False) + frame(b"", opcode=Opcode.PING)
    + frame("parts é", opcode=Opcode.CONTINUATION) + frame(bytes(300)) + frame("forbidden") + frame("last")
    + close(1000, "bye", of_agent=True)
)  # fmt: skip
UPSTREAM = (
    plain("a secret") + plain("in sec", final=False) + plain(b"p", opcode=Opcode.PING)
    + plain("ret parts", opcode=Opcode.CONTINUATION) + plain("é" * 100) + close(1000, "secret")
)  # fmt: skip


class World:
    """The shell, upstream, policy and masking, as small as can be: ``forbidden`` is what they forbid."""

    def __init__(self, mode: Mode, *, masked: bool, forbids: bool = False) -> None:
        self.story = SocketStory()
        self.mode: Mode = mode
        self.masked = masked
        self.forbids = forbids
        self.kinds: list[str] = []
        self.asked: list[str] = []
        self.allowed = 0
        self.upstream, self.said, self.taped = b"", b"", b""
        self.over = False
        fields = handshake_fields()
        self.story.request(**fields).known().expect(Ask)
        self.feed(self._answer())

    def feed(self, given: Input) -> None:
        waiting = [given]
        while waiting and not self.over:
            for effect in self.story.gate.feed(waiting.pop(0)):
                waiting += self.carry_out(effect)

    def carry_out(self, effect: Effect) -> list[Input]:
        match effect:
            case Ask(event=event):
                self.story.ask = effect
                assert event.call is not None
                assert event.call.body is not None
                self.asked.append(f"{event.call.body.sha256} {event.digest}")
                if self.forbids and event.call.body.text == "forbidden":
                    refusal = Refusal(code=RefusalCode.DENIED, reason="No.")
                    return [Answered(operation=event.operation, answer=Refused(refusal=refusal, denied=True))]
                return [self._answer()]
            case SendHead():
                self.story.all.append(effect)
                return [Bytes(side=Side.UPSTREAM, data=self.story.switching())]
            case Send(side=Side.AGENT, data=data):
                assert self.taped.endswith(data) or self.over or not data
                self.said += data
            case Send(data=data):
                self.upstream += data
            case Tape(direction="o", data=data):
                self.taped += data
            case Record(event=event):
                self.kinds.append(event.kind)
            case Hangup():
                self.over = True
            case _:
                if type(effect).__name__ == "Dial":
                    return [Dialled(parameters={}, process_id=0, secret=b"")]
        return []

    def _answer(self) -> Answered:
        self.allowed += 1
        made: list[Any] = []
        feed, self.story.feed = self.story.feed, lambda given: (made.append(given), self.story)[1]  # type: ignore[method-assign]
        self.story.allow(masked=self.masked, messages=self.mode)
        self.story.feed = feed  # type: ignore[method-assign]
        return made[0]

    @property
    def told(self) -> list[bytes]:
        return messages_in(self.said.partition(b"\r\n\r\n")[2], masked=False)


def run(world: World, side: Side, data: bytes, cuts: list[int]) -> World:
    at = 0
    for cut in [*cuts, len(data)]:
        if data[at : at + cut]:
            world.feed(Bytes(side=side, data=data[at : at + cut]))
        at += cut
    return world


CUTS = st.lists(st.integers(1, 30), max_size=60)
MODES = st.sampled_from(("judge", "record"))


@settings(max_examples=150)
@given(CUTS, MODES, st.booleans())
def test_where_the_agent_is_cut_changes_nothing(cuts: list[int], mode: Mode, forbids: bool) -> None:
    whole, cut = (
        run(World(mode, masked=False, forbids=forbids), Side.AGENT, AGENT, each) for each in ([], cuts)
    )
    assert (cut.asked, cut.kinds) == (whole.asked, whole.kinds)
    sent = messages_in(cut.upstream, masked=True)
    assert sent == messages_in(whole.upstream, masked=True)
    if mode == "judge":
        assert (b"last" in sent, b"forbidden" in sent) == (not forbids, not forbids)


@settings(max_examples=150)
@given(CUTS, st.booleans())
def test_where_the_upstream_is_cut_changes_nothing(cuts: list[int], masked: bool) -> None:
    whole, cut = (run(World("record", masked=masked), Side.UPSTREAM, UPSTREAM, each) for each in ([], cuts))
    assert cut.told == whole.told
    assert len(cut.told) == 3
    assert (b"secret" in cut.said) is not masked
    assert cut.said == cut.taped


@settings(max_examples=300)
@given(st.binary(max_size=60), st.integers(0, 60), MODES)
def test_noise_of_the_agent_passes_only_as_messages_that_were_judged(
    noise: bytes, at: int, mode: Mode
) -> None:
    world = run(World(mode, masked=False), Side.AGENT, AGENT[:at] + noise + AGENT[at:], [])
    sent = messages_in(world.upstream, masked=True)  # what goes upstream can always be read
    assert mode == "record" or len(sent) <= len(world.asked)
    world.feed(Closed(side=Side.AGENT))
    assert sum(kind == "session.closed" for kind in world.kinds) == 1
    assert world.over


@settings(max_examples=300)
@given(st.binary(max_size=60), st.integers(0, 60))
def test_noise_of_the_upstream_never_passes_unmasked(noise: bytes, at: int) -> None:
    world = run(World("record", masked=True), Side.UPSTREAM, UPSTREAM[:at] + noise + UPSTREAM[at:], [])
    assert b"secret" not in world.said
    try:
        _ = world.told
    except PeerError as error:
        raise AssertionError("what the agent is sent cannot be read") from error
    world.feed(Closed(side=Side.UPSTREAM))
    world.feed(Closed(side=Side.AGENT))
    ends = ("operation.finished", "operation.failed", "operation.abandoned")
    assert sum(kind in ends for kind in world.kinds) == 1
