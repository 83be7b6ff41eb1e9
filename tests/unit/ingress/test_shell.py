"""The shell carries out effects in order, and nothing that the log did not take."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest
import uvloop

from weirgate_contracts.events import (
    ApprovalGranted,
    OperationFinished,
    OperationIntercepted,
    OperationRefused,
    SessionClosed,
    SessionOpened,
)
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_contracts.subjects import RECORDING_STREAM
from weirgate_ingress.gates.core import (
    Alarm,
    Allowed,
    Answered,
    Ask,
    Bytes,
    Cancelled,
    CancelOther,
    Closed,
    Dial,
    Dialled,
    Effect,
    Hangup,
    Held,
    Input,
    LoggedIn,
    Login,
    LoginRefused,
    Record,
    Refused,
    Send,
    Side,
    Stop,
    Tape,
    Withdraw,
)
from weirgate_ingress.listener import ListenerLimits
from weirgate_testkit.shell import DIGEST, House, Judges, ScriptedGate, house, intercepted

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    """The loop the service runs on."""
    return uvloop.EventLoopPolicy()


def to_agent(data: bytes) -> Send:
    return Send(side=Side.AGENT, data=data)


def to_upstream(data: bytes) -> Send:
    return Send(side=Side.UPSTREAM, data=data)


def closed(gate: ScriptedGate) -> Record:
    return Record(event=SessionClosed(ingress="one", session=gate.session, reason="agent"))


def refused(gate: ScriptedGate) -> Record:
    refusal = Refusal(code=RefusalCode.DENIED, reason="no")
    return Record(event=OperationRefused(ingress="one", session=gate.session, operation=1, refusal=refusal))


def finished(gate: ScriptedGate, number: int = 1) -> Record:
    return Record(
        event=OperationFinished(ingress="one", session=gate.session, operation=number, outcome="ok")
    )


def relay(gate: ScriptedGate, given: Input) -> list[Effect]:
    """A gate that logs in at once, dials, and relays both ways with tapes."""
    match given:
        case Bytes(side=Side.AGENT, data=b"hello"):
            return [Login(agent="reader", resource="shop", token="t", application=None)]
        case Bytes(side=Side.AGENT, data=data):
            return [Tape(direction="i", operation=1, data=data), to_upstream(data)]
        case Bytes(side=Side.UPSTREAM, data=data):
            return [Tape(direction="o", operation=1, data=data), to_agent(data)]
        case LoggedIn(identity=identity):
            opened = SessionOpened(
                ingress="one",
                session=gate.session,
                protocol="postgres",
                resource="shop",
                identity=identity,
                peer="p",
                tls=None,
            )
            return [Record(event=opened), Dial(parameters={})]
        case Dialled():
            return [to_agent(b"ready")]
        case Answered(answer=Allowed()):
            return [to_upstream(b"go")]
        case Answered(answer=Refused()):
            return [refused(gate), to_agent(b"no")]
        case Answered(answer=Held(notice=notice)):
            return [to_agent(notice.encode())]
        case Closed():
            return [closed(gate), Hangup()]
        case Stop(refusal=refusal):
            return [to_agent(b"last:" + refusal.code.encode()), closed(gate), Hangup()]
        case LoginRefused():
            return [to_agent(b"out"), Hangup()]
        case _:
            return []


async def logged_in(made: House) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await made.connect()
    writer.write(b"hello")
    assert await asyncio.wait_for(reader.readexactly(5), 5) == b"ready"
    return reader, writer


def asking(gate: ScriptedGate, given: Input) -> list[Effect]:
    """Like ``relay``, but the word "ask" becomes an operation."""
    if given == Bytes(side=Side.AGENT, data=b"ask"):
        return [
            Tape(direction="i", operation=1, data=b"ask"),
            Ask(event=intercepted(gate.session)),
        ]
    return relay(gate, given)


async def test_bytes_go_both_ways_once_recorded() -> None:
    async with house(relay) as made:
        reader, writer = await logged_in(made)
        writer.write(b"question")
        await made.far.until(lambda: bytes(made.far.received) == b"question")
        assert made.far.writer is not None
        made.far.writer.write(b"answer")
        assert await reader.readexactly(6) == b"answer"
        assert made.tape() == b"answer"
        writer.close()
        await made.far.until(lambda: made.far.closed)
        assert [event.kind for event in made.events()] == ["session.opened", "session.closed"]


async def test_nothing_is_sent_while_the_tape_before_it_is_not_on_disk() -> None:
    async with house(relay, deadline_s=5) as made:
        reader, writer = await logged_in(made)
        made.log.stall()
        writer.write(b"question")
        assert made.far.writer is not None
        made.far.writer.write(b"answer")
        await asyncio.sleep(0.1)
        assert bytes(made.far.received) == b""
        made.log.resume()
        assert await reader.readexactly(6) == b"answer"
        await made.far.until(lambda: bytes(made.far.received) == b"question")


async def test_effects_after_a_record_wait_for_it_and_those_after_finished_do_not() -> None:
    def react(gate: ScriptedGate, given: Input) -> list[Effect]:
        match given:
            case Bytes(data=b"a"):
                return [to_agent(b"1"), refused(gate), to_agent(b"2")]
            case Bytes(data=b"b"):
                return [to_agent(b"3"), finished(gate), to_agent(b"4")]
            case _:
                return relay(gate, given)

    async with house(react, deadline_s=5) as made:
        reader, writer = await logged_in(made)
        made.log.stall()
        writer.write(b"a")
        assert await reader.readexactly(1) == b"1"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.1)
        made.log.resume()
        assert await reader.readexactly(1) == b"2"
        made.log.stall()
        writer.write(b"b")
        assert await reader.readexactly(2) == b"34"
        made.log.resume()


async def test_hangup_waits_until_everything_is_recorded() -> None:
    def react(gate: ScriptedGate, given: Input) -> list[Effect]:
        if given == Bytes(side=Side.AGENT, data=b"bye"):
            return [to_agent(b"bye"), finished(gate), Hangup()]
        return relay(gate, given)

    async with house(react, deadline_s=5) as made:
        reader, writer = await logged_in(made)
        made.log.stall()
        writer.write(b"bye")
        assert await reader.readexactly(3) == b"bye"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(), 0.1)
        made.log.resume()
        assert await reader.read() == b""
        assert [event.kind for event in made.events()][-1:] == ["operation.finished"]


async def test_an_alarm_stops_the_session_and_the_first_one_counts() -> None:
    def react(gate: ScriptedGate, given: Input) -> list[Effect]:
        if given == Bytes(side=Side.AGENT, data=b"close"):
            soon = Refusal(code=RefusalCode.LIMIT_EXCEEDED, reason="Not answered.")
            late = Refusal(code=RefusalCode.KILLED, reason="Never.")
            return [Alarm(after_s=0.05, refusal=soon), Alarm(after_s=0, refusal=late)]
        return relay(gate, given)

    async with house(react) as made:
        reader, writer = await logged_in(made)
        writer.write(b"close")
        assert await asyncio.wait_for(reader.read(), 5) == b"last:limit_exceeded"


async def test_an_agent_that_is_answered_and_does_not_read_ends_its_session() -> None:
    def react(gate: ScriptedGate, given: Input) -> list[Effect]:
        gate.protocol = "http"  # type: ignore[assignment]
        match given:
            case Bytes(side=Side.AGENT, data=data) if b"ping" in data:
                return [to_agent(bytes(1 << 20))]
            case Stop():
                stopped.append(given.refusal)
                return [Hangup()]
            case _:
                return relay(gate, given)

    stopped: list[Refusal] = []
    async with house(react) as made:
        _, writer = await logged_in(made)
        async with asyncio.timeout(20):
            while not stopped:
                writer.write(b"ping")
                await asyncio.sleep(0.002)
        assert stopped[0].code is RefusalCode.LIMIT_EXCEEDED
        assert "agent does not read" in stopped[0].reason


async def test_a_full_log_stops_the_session_before_the_byte_is_sent() -> None:
    async with house(relay) as made:
        reader, _ = await logged_in(made)
        made.log.limit_bytes = 0
        assert made.far.writer is not None
        made.far.writer.write(b"secret answer")
        assert await reader.read() == b"last:log_full"
        await made.far.until(lambda: made.far.closed)


async def test_a_log_that_is_away_stops_the_session_before_anything_goes_upstream() -> None:
    async with house(relay, deadline_s=0.1) as made:
        reader, writer = await logged_in(made)
        made.log.go_away()
        writer.write(b"question")
        assert await reader.read() == b"last:log_unavailable"
        assert bytes(made.far.received) == b""
        made.log.come_back()
        async with asyncio.timeout(5):
            while made.events()[-1].kind != "session.closed":
                await asyncio.sleep(0.01)


async def test_an_allowed_operation_goes_upstream_only_once_its_own_event_is_on_disk() -> None:
    async with house(asking) as made:
        judges = await Judges(made.others).start()
        _, writer = await logged_in(made)
        writer.write(b"ask")
        await made.far.until(lambda: bytes(made.far.received) == b"go")
        kinds = [event.kind for event in made.events()]
        assert kinds == ["session.opened", "operation.intercepted", "operation.allowed", "operation.planned"]
        assert len(judges.asked) == 1


async def test_a_silent_policy_refuses_and_is_named() -> None:
    async with house(asking, deadline_s=0.1) as made:
        judges = await Judges(made.others).start()
        judges.verdicts = ["nothing"]
        reader, writer = await logged_in(made)
        writer.write(b"ask")
        assert await reader.readexactly(2) == b"no"
        answer = made.gates[0].fed[-1]
        assert isinstance(answer, Answered)
        assert isinstance(answer.answer, Refused)
        assert answer.answer.refusal.code is RefusalCode.VERDICT_TIMEOUT
        assert "policy" in answer.answer.refusal.reason
        assert bytes(made.far.received) == b""


async def test_a_silent_masking_refuses_and_is_named() -> None:
    async with house(asking, deadline_s=0.1) as made:
        judges = await Judges(made.others).start()
        judges.plans = False
        reader, writer = await logged_in(made)
        writer.write(b"ask")
        assert await reader.readexactly(2) == b"no"
        assert "plan_timeout" in repr(made.gates[0].fed[-1]) or "PLAN_TIMEOUT" in repr(made.gates[0].fed[-1])


async def test_a_denial_is_passed_on_as_recorded_by_policy() -> None:
    async with house(asking) as made:
        judges = await Judges(made.others).start()
        judges.verdicts = ["denied"]
        reader, writer = await logged_in(made)
        writer.write(b"ask")
        assert await reader.readexactly(2) == b"no"
        answer = made.gates[0].fed[-1]
        assert isinstance(answer, Answered)
        assert isinstance(answer.answer, Refused)
        assert answer.answer.denied


async def test_a_verdict_about_other_bytes_refuses() -> None:
    async with house(asking) as made:
        judges = await Judges(made.others).start()
        judges.verdicts = ["foreign"]
        reader, writer = await logged_in(made)
        writer.write(b"ask")
        assert await reader.readexactly(2) == b"no"
        assert bytes(made.far.received) == b""


async def test_catalogs_that_differ_are_asked_about_once_more_and_then_refused() -> None:
    async with house(asking) as made:
        judges = await Judges(made.others).start()
        judges.catalogs = ["c0", "c1"]
        _, writer = await logged_in(made)
        writer.write(b"ask")
        await made.far.until(lambda: bytes(made.far.received) == b"go")
        assert len(judges.asked) == 2
        assert judges.asked[0].id != judges.asked[1].id
    async with house(asking) as made:
        judges = await Judges(made.others).start()
        judges.catalogs = ["c0"]
        reader, writer = await logged_in(made)
        writer.write(b"ask")
        assert await reader.readexactly(2) == b"no"
        assert len(judges.asked) == 2


def granted(event: OperationIntercepted) -> ApprovalGranted:
    return ApprovalGranted(
        ingress="one",
        session=event.session,
        request=event.id,
        operation=1,
        digest=event.digest,
        by=("ann",),
        expires_at="2027-01-01T00:00:00.000000Z",
    )


async def test_a_held_operation_is_asked_again_with_the_grant() -> None:
    async with house(asking) as made:
        judges = await Judges(made.others).start()
        judges.verdicts = ["held", "allowed"]
        reader, writer = await logged_in(made)
        writer.write(b"ask")
        notice = await reader.readuntil(b"writes")
        assert b"dba" in notice
        held = made.gates[0].fed[-1]
        assert isinstance(held, Answered)
        assert isinstance(held.answer, Held)
        assert f"weirgate approvals grant {judges.asked[0].id}" in held.answer.hint
        assert bytes(made.far.received) == b""
        judges.publish(granted(judges.asked[0]))
        await made.far.until(lambda: bytes(made.far.received) == b"go")
        again = judges.asked[1]
        assert again.grant is not None
        assert again.grant.request == judges.asked[0].id
        stored = made.log.messages()[again.grant.sequence - 1]
        assert stored.subject.startswith("audit.approval.granted.")
        assert again.digest == DIGEST


async def test_a_grant_given_while_the_log_was_away_is_found() -> None:
    async with house(asking, margin_s=5) as made:
        judges = await Judges(made.others).start()
        judges.verdicts = ["held", "allowed"]
        reader, writer = await logged_in(made)
        writer.write(b"ask")
        await reader.readuntil(b"writes")
        hearing = [each for each in made.log.hearing if each.bus is made.bus and "approval" in each.pattern]
        for each in hearing:
            made.log.hearing.remove(each)
        judges.publish(granted(judges.asked[0]))
        await asyncio.sleep(0.05)
        assert bytes(made.far.received) == b""
        made.log.go_away()
        made.log.come_back()
        await made.far.until(lambda: bytes(made.far.received) == b"go")


async def test_a_hold_ends_with_its_window_even_when_approval_is_silent() -> None:
    async with house(asking) as made:
        judges = await Judges(made.others).start()
        judges.verdicts = ["held"]
        reader, writer = await logged_in(made)
        writer.write(b"ask")
        await reader.readuntil(b"writes")
        assert await asyncio.wait_for(reader.readexactly(2), 5) == b"no"


async def test_a_withdrawn_question_is_never_answered() -> None:
    def react(gate: ScriptedGate, given: Input) -> list[Effect]:
        if isinstance(given, Cancelled):
            return [Withdraw(operation=1), to_agent(b"cancelled")]
        if isinstance(given, Bytes) and given.data == b"key":
            return [CancelOther(process_id=key.process_id, secret=key.secret)]
        return asking(gate, given)

    async with house(react) as made:
        judges = await Judges(made.others).start()
        judges.verdicts = ["held", "allowed"]
        reader, writer = await logged_in(made)
        key = next(each for each in made.gates[0].fed if isinstance(each, Dialled))
        writer.write(b"ask")
        await reader.readuntil(b"writes")
        _, other = await made.connect()
        other.write(b"key")
        assert await reader.readexactly(9) == b"cancelled"
        judges.publish(granted(judges.asked[0]))
        await asyncio.sleep(0.05)
        assert bytes(made.far.received) == b""
        assert len(judges.asked) == 1
        other.close()


async def test_a_cancel_with_a_wrong_secret_reaches_nobody() -> None:
    def react(gate: ScriptedGate, given: Input) -> list[Effect]:
        if isinstance(given, Bytes) and given.data == b"key":
            return [CancelOther(process_id=key.process_id, secret=b"\0\0\0\0"), Hangup()]
        return relay(gate, given)

    async with house(react) as made:
        await logged_in(made)
        key = next(each for each in made.gates[0].fed if isinstance(each, Dialled))
        reader, other = await made.connect()
        other.write(b"key")
        assert await reader.read() == b""
        assert not any(isinstance(each, Cancelled) for each in made.gates[0].fed)


async def test_a_slow_agent_stops_the_reading_of_the_upstream_and_loses_no_byte() -> None:
    total = 64 * 1024 * 1024
    async with house(relay, deadline_s=30) as made:
        reader, writer = await made.connect()
        writer.transport.set_write_buffer_limits(high=0)
        writer.write(b"hello")
        await reader.readexactly(5)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        assert made.far.writer is not None
        block = bytes(range(256)) * 4096
        sent = 0

        async def pour() -> None:
            nonlocal sent
            assert made.far.writer is not None
            while sent < total:
                made.far.writer.write(block)
                sent += len(block)
                await made.far.writer.drain()

        pouring = asyncio.create_task(pour())
        await asyncio.sleep(1)
        held_back = sent
        assert held_back < total // 2, "the upstream was read although the agent does not read"
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        got = 0
        async with asyncio.timeout(60):
            while got < total:
                piece = await reader.read(1 << 20)
                assert piece == (block * 3)[got % 256 : got % 256 + len(piece)]
                got += len(piece)
        await pouring


async def test_rows_that_wait_for_the_log_are_merged_into_few_messages() -> None:
    def react(gate: ScriptedGate, given: Input) -> list[Effect]:
        if isinstance(given, Bytes) and given.data == b"rows":
            effects: list[Effect] = []
            for number in range(100):
                raw = b"%03d" % number * 1000
                effects += [Tape(direction="o", operation=1, data=raw), to_agent(raw)]
            return effects
        return relay(gate, given)

    async with house(react) as made:
        reader, writer = await logged_in(made)
        writer.write(b"rows")
        got = await reader.readexactly(300_000)
        assert got == made.tape()
        assert len(made.log.messages(RECORDING_STREAM)) == 1


async def test_a_refused_login_is_recorded_before_the_agent_is_told() -> None:
    async with house(relay) as made:
        made.door.refusal = Refusal(code=RefusalCode.TOKEN_INVALID, reason="no")
        reader, writer = await made.connect()
        writer.write(b"hello")
        assert await reader.read() == b"out"
        assert [event.kind for event in made.events()] == ["session.refused"]


async def test_a_killed_session_is_told_and_closed() -> None:
    async with house(relay) as made:
        reader, _ = await logged_in(made)
        assert made.listener is not None
        refusal = Refusal(code=RefusalCode.KILLED, reason="killed")
        assert made.listener.stop_session(made.gates[0].session, refusal)
        assert await reader.read() == b"last:killed"


async def test_a_login_that_takes_too_long_is_ended() -> None:
    async with house(relay, limits=ListenerLimits(login_deadline_s=0.1)) as made:
        reader, writer = await made.connect()
        writer.write(b"h")
        assert await reader.read() == b"last:login_timeout"


async def test_a_gate_that_breaks_closes_both_sides() -> None:
    def react(gate: ScriptedGate, given: Input) -> list[Effect]:
        if isinstance(given, Bytes) and given.data == b"bug":
            raise RuntimeError("bug")
        return relay(gate, given)

    async with house(react) as made:
        reader, writer = await logged_in(made)
        writer.write(b"bug")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        await made.far.until(lambda: made.far.closed)


async def test_a_thousand_silent_sockets_cost_nobody_else_a_place() -> None:
    limits = ListenerLimits(unauthenticated=200, login_deadline_s=30)
    async with house(relay, limits=limits) as made:
        silent = [await made.connect() for _ in range(400)]
        assert made.listener is not None
        _, writer = await logged_in(made)
        assert made.listener.unauthenticated_count <= 200
        assert not made.gates[1:], "a socket that says nothing has no gate"
        writer.write(b"question")
        await made.far.until(lambda: bytes(made.far.received) == b"question")
        for _, each in silent:
            each.close()


async def test_an_agent_that_leaves_takes_its_upstream_along() -> None:
    async with house(relay) as made:
        _, writer = await logged_in(made)
        writer.close()
        await made.far.until(lambda: made.far.closed)
        assert made.listener is not None
        await until(lambda: not made.listener.sessions)  # type: ignore[union-attr]


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not done():
            await asyncio.sleep(0.01)
