"""A held operation's wait in the shell: it ends once, one way or the other, and nothing is asked about twice."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from weirgate_contracts.events import (
    ApprovalGranted,
    OperationAllowed,
    OperationDeferred,
    OperationIntercepted,
)
from weirgate_ingress.gates.core import (
    Allowed,
    Answered,
    Ask,
    Bytes,
    Closed,
    Dialled,
    Effect,
    Found,
    Hangup,
    Held,
    HoldFor,
    HoldOver,
    Input,
    Login,
    LookUp,
    Record,
    Send,
    Side,
    Withdraw,
)
from weirgate_ingress.gates.core import Dial as DialEffect
from weirgate_ingress.gates.core import LoggedIn as LoggedInInput
from weirgate_testkit.shell import DIGEST, IDENTITY, House, Judges, ScriptedGate, house, intercepted

WAIT_S = 1


def to_agent(data: bytes) -> Send:
    return Send(side=Side.AGENT, data=data)


def holding(wait_s: int) -> Callable[[ScriptedGate, Input], list[Effect]]:
    """A gate whose one operation is held for so long and then deferred; 0: at once."""

    def defer(gate: ScriptedGate, request: str) -> list[Effect]:
        told = OperationDeferred(
            ingress="one", session=gate.session, operation=1, request=request, resource="shop", identity=IDENTITY,
            digest=DIGEST, window_s=9,
        )  # fmt: skip
        return [Withdraw(operation=1), Record(event=told), to_agent(b"later")]

    def react(gate: ScriptedGate, given: Input) -> list[Effect]:
        match given:
            case Bytes(side=Side.AGENT, data=b"hello"):
                return [Login(agent="reader", resource="shop", token="t", application=None)]
            case LoggedInInput():
                return [DialEffect(parameters={})]
            case Dialled():
                return [to_agent(b"ready")]
            case Bytes(side=Side.AGENT, data=b"ask"):
                return [Ask(event=intercepted(gate.session))]
            case Bytes(side=Side.AGENT, data=b"look"):
                return [LookUp(request="01J00000000000000000000001")]
            case Found():
                return [to_agent(b"found")]
            case Answered(answer=Held(request=request)):
                return defer(gate, request) if not wait_s else [HoldFor(operation=1, wait_s=wait_s)]
            case Closed(side=Side.AGENT):
                return [Withdraw(operation=1), Hangup()]
            case HoldOver():
                return defer(gate, "01J00000000000000000000001")
            case Answered(answer=Allowed()):
                return [to_agent(b"went!")]
            case _:
                return []

    return react


async def ready(made: House, *verdicts: str) -> tuple[Judges, asyncio.StreamReader, asyncio.StreamWriter]:
    judges = await Judges(made.others).start()
    judges.verdicts = list(verdicts)
    reader, writer = await made.connect()
    writer.write(b"hello")
    assert await asyncio.wait_for(reader.readexactly(5), 5) == b"ready"
    writer.write(b"ask")
    return judges, reader, writer


async def until(made: House, kind: type[Any]) -> None:
    async with asyncio.timeout(5):
        while not any(isinstance(one, kind) for one in made.gates[0].fed):
            await asyncio.sleep(0.005)


def granted(event: OperationIntercepted) -> ApprovalGranted:
    return ApprovalGranted(
        ingress="one", session=event.session, request=event.id, operation=1, digest=event.digest, by=("ann",),
        expires_at="2027-01-01T00:00:00.000000Z",
    )  # fmt: skip


async def test_a_wait_that_is_over_defers_on_disk_before_the_agent_is_told() -> None:
    async with house(holding(WAIT_S), margin_s=5) as made:
        _, reader, _ = await ready(made, "held")
        assert await asyncio.wait_for(reader.readexactly(5), 5) == b"later"
        assert made.events()[-1].kind == "operation.deferred"


async def test_a_decision_while_it_waits_is_the_end_of_the_wait() -> None:
    async with house(holding(WAIT_S), margin_s=5) as made:
        judges, reader, _ = await ready(made, "held", "allowed")
        await until(made, Answered)
        judges.publish(granted(judges.asked[0]))
        assert await asyncio.wait_for(reader.readexactly(5), 5) == b"went!"
        await asyncio.sleep(WAIT_S + 0.1)
        assert not any(isinstance(one, HoldOver) for one in made.gates[0].fed)


async def test_a_wait_does_not_end_while_a_grant_is_being_judged() -> None:
    async with house(holding(WAIT_S), deadline_s=5, margin_s=5) as made:
        judges, reader, _ = await ready(made, "held", "nothing")
        await until(made, Answered)
        await asyncio.sleep(WAIT_S - 0.2)
        judges.publish(granted(judges.asked[0]))
        await asyncio.sleep(0.5)
        assert len(judges.asked) == 2
        assert not any(isinstance(one, HoldOver) for one in made.gates[0].fed)
        common = {"ingress": "one", "session": made.gates[0].session, "operation": 1, "digest": DIGEST}
        judged = common | {"intercepted": judges.asked[1].id, "policy_revision": 1, "catalog_revision": "c1"}
        judges.publish(OperationAllowed.model_validate(judged))
        assert await asyncio.wait_for(reader.readexactly(5), 5) == b"went!"


@pytest.mark.parametrize("wait_s", [0, WAIT_S])
async def test_a_decision_while_the_202_is_on_its_way_asks_about_nothing(wait_s: int) -> None:
    async with house(holding(wait_s), deadline_s=5, margin_s=5) as made:
        judges, reader, _ = await ready(made, "held", "allowed")
        if wait_s:
            await until(made, Answered)
            made.log.stall()
            await until(made, HoldOver)
        else:
            await until(made, Answered)
            made.log.stall()
        judges.publish(granted(judges.asked[0]))
        await asyncio.sleep(0.05)
        made.log.resume()
        assert await asyncio.wait_for(reader.readexactly(5), 5) == b"later"
        await asyncio.sleep(0.05)
        # The grant is left for the retry: nobody posed the operation again for an agent that was told to leave.
        assert len(judges.asked) == 1
        assert bytes(made.far.received) == b""


async def test_an_agent_that_leaves_while_it_waits_leaves_no_timer() -> None:
    async with house(holding(WAIT_S), margin_s=5) as made:
        _, _, writer = await ready(made, "held")
        await until(made, Answered)
        writer.close()
        await asyncio.sleep(WAIT_S + 0.2)
        assert not any(isinstance(one, HoldOver) for one in made.gates[0].fed)


async def test_a_log_that_is_away_when_the_wait_is_over_tells_nothing_that_is_not_stored() -> None:
    async with house(holding(WAIT_S), deadline_s=0.5, margin_s=5) as made:
        _, reader, _ = await ready(made, "held")
        await until(made, Answered)
        made.log.stall()
        await until(made, HoldOver)
        got = await asyncio.wait_for(reader.read(), 5)
        assert b"later" not in got
        made.log.resume()


async def test_what_is_looked_up_is_found_for_who_logged_in() -> None:
    async with house(holding(0), margin_s=5) as made:
        _, reader, writer = await ready(made, "held")
        assert await asyncio.wait_for(reader.readexactly(5), 5) == b"later"
        writer.write(b"look")
        assert await asyncio.wait_for(reader.readexactly(5), 5) == b"found"
