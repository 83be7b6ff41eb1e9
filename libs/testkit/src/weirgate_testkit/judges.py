"""Policy, masking and approval as one scripted process: what ingress hears, without the real services.

Run as ``python -m weirgate_testkit.judges NATS_URL SEEDS_DIRECTORY``. A text that holds ``deny me`` is denied, one
with ``hold me`` is held for group ``dba`` until ``approve`` is called on it, ``say nothing`` gets no verdict, ``plan
nothing`` no plan; everything else is allowed, and nothing is masked. What they say of MCP stands in
:mod:`weirgate_testkit.mcp_judges`.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import uvloop

from weirgate_bus.jetstream import JetStreamBus
from weirgate_bus.port import Bus, Delivery
from weirgate_chassis.clock import now
from weirgate_chassis.ids import new_id
from weirgate_contracts.events import (
    Event,
    OperationAllowed,
    OperationDenied,
    OperationHeld,
    OperationIntercepted,
    OperationPlanned,
)
from weirgate_contracts.masking import CopyOptions, Plan, StatementPlan
from weirgate_contracts.operation import Statement
from weirgate_contracts.subjects import INTERCEPTED
from weirgate_testkit.mcp_judges import PLAN as MCP_PLAN
from weirgate_testkit.mcp_judges import mcp_verdict

CATALOG = "c" * 16


class ScriptedJudges:
    """Answers every intercepted operation by what its text asks for."""

    def __init__(self, policy: Bus, masking: Bus) -> None:
        self._policy = policy
        self._masking = masking

    async def start(self) -> None:
        """Hear what is intercepted."""
        await self._policy.subscribe(INTERCEPTED, self._judge, queue="policy")
        await self._masking.subscribe(INTERCEPTED, self._plan, queue="masking")

    def _judge(self, delivery: Delivery) -> None:
        asked = OperationIntercepted.model_validate_json(delivery.body)
        text = " ".join(each.text for each in asked.statements)
        common = _common(asked) | {"policy_revision": 1, "catalog_revision": CATALOG}
        if asked.call is not None and asked.call.mcp is not None:
            _publish(self._policy, mcp_verdict(asked, asked.call.mcp, common))
            return
        if "say nothing" in text:
            return
        if "deny me" in text:
            refusal = {"code": "denied", "reason": "The text asks for it.", "rules": ["r1"]}
            _publish(self._policy, OperationDenied.model_validate(common | {"refusal": refusal}))
        elif "hold me" in text and asked.grant is None:
            more = {
                "resource": asked.resource,
                "identity": asked.identity,
                "groups": ("dba",),
                "window_s": 30,
                "reason": "the text asks for it",
                "text": text,
            }
            _publish(self._policy, OperationHeld.model_validate(common | more))
        else:
            _publish(self._policy, OperationAllowed.model_validate(common))

    def _plan(self, delivery: Delivery) -> None:
        asked = OperationIntercepted.model_validate_json(delivery.body)
        if asked.call is not None and asked.call.mcp is not None:
            made = {"masking_revision": 1, "catalog_revision": CATALOG, "plan": MCP_PLAN}
            _publish(self._masking, OperationPlanned.model_validate(_common(asked) | made))
            return
        if any("plan nothing" in each.text for each in asked.statements):
            return
        statements = tuple(plan for each in asked.statements for plan in _statement_plans(each))
        more = {"masking_revision": 1, "catalog_revision": CATALOG, "plan": Plan(statements=statements)}
        _publish(self._masking, OperationPlanned.model_validate(_common(asked) | more))


def _common(asked: OperationIntercepted) -> dict[str, Any]:
    return {
        "ingress": asked.ingress,
        "session": asked.session,
        "operation": asked.operation,
        "intercepted": asked.id,
        "digest": asked.digest,
    }


def _statement_plans(statement: Statement) -> list[StatementPlan]:
    texts = [each for each in statement.text.split(";") if each.strip()] if statement.simple else ["one"]
    copies = CopyOptions() if "copy" in statement.text.lower() else None
    return [StatementPlan(outputs=None, cell_text=False, copy_options=copies) for _ in texts or [""]]


def _publish(bus: Bus, event: Event) -> None:
    stamped = event.stamped(id=new_id(), at=now())
    bus.publish(stamped.subject, stamped.encoded(), id=stamped.id).add_done_callback(
        lambda done: done.exception()
    )


async def _main(url: str, seeds: Path) -> None:
    policy = await JetStreamBus.connect(url, seeds / "policy.nk", "policy")
    masking = await JetStreamBus.connect(url, seeds / "masking.nk", "masking")
    await ScriptedJudges(policy, masking).start()
    print("ready", flush=True)
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1], Path(sys.argv[2])))
