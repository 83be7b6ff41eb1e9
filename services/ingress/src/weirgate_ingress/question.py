"""Ask about an operation: publish it, and gather the verdict, the plan, and a person's decision.

::

    ask ─▶ posed ──(stored, verdict, plan)──▶ Allowed
             │ ├─ denied ───────────────────▶ Refused(denied)
             │ ├─ nothing within the deadline▶ Refused(verdict_timeout | plan_timeout)
             │ ├─ catalogs differ ──────────▶ posed again, once, then Refused(catalog_changed)
             │ └─ held ─▶ Held ─▶ granted ──▶ posed again with the grant
             │                  └ refused, expired, withdrawn, window over ─▶ Refused
             ├─ held, and it joins a deferred request ─▶ Held(joined), or Refused as that one ended
             └─ not stored ─────────────────▶ the asker's log is lost

Invariants: a question is answered only once its own event is on disk; a verdict or plan counts only when it
names the event, the session, the operation and the digest of the question; verdicts are heard where the
stream republishes what it has stored, so each is on disk, too. What is forgotten is never answered.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol

from pydantic import ValidationError

from weirgate_bus.port import Bus, BusError, BusTooLarge, BusUnavailable, Delivery, Stored, Subscription
from weirgate_chassis import log
from weirgate_chassis.clock import now
from weirgate_chassis.ids import new_id
from weirgate_contracts.events import (
    ApprovalEvent,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRefused,
    ApprovalWithdrawn,
    Grant,
    OperationAllowed,
    OperationDeferred,
    OperationDenied,
    OperationHeld,
    OperationIntercepted,
    OperationPlanned,
    Undecodable,
    Verdict,
    decode,
)
from weirgate_contracts.identity import Identity
from weirgate_contracts.masking import Plan
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_contracts.subjects import AUDIT_STREAM, STORED_PREFIX
from weirgate_ingress.deferral import Deferrals, Known
from weirgate_ingress.gates.core import Allowed, Found, Held, Refused

MARGIN_S: Final = 5.0
"""Approval's own expiry is to come first; ours is for when it is away."""
_LOOK_AGAIN_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0)
_ANSWERS: Final[dict[str, type[Verdict] | type[OperationPlanned]]] = {
    "allowed": OperationAllowed,
    "denied": OperationDenied,
    "held": OperationHeld,
    "planned": OperationPlanned,
}
Spawn = Callable[[Coroutine[Any, Any, None], str], object]


class Asker(Protocol):
    """Who asked: the shell of a session."""

    def answered(self, operation: int, answer: Allowed | Held | Refused) -> None:
        """The question has an answer; after ``Held`` another follows."""
        ...

    def log_lost(self, error: BusError) -> None:
        """The log did not take the question."""
        ...


class Question:
    """One question, from ``ask`` until it is answered or forgotten."""

    __slots__ = (
        "again",
        "asker",
        "comes_back",
        "event",
        "grant",
        "held",
        "id",
        "over",
        "planned",
        "stored",
        "timer",
        "trace",
        "verdict",
    )

    def __init__(self, event: OperationIntercepted, asker: Asker, trace: str) -> None:
        self.event = event
        self.asker = asker
        self.trace = trace
        self.id = ""
        self.stored = False
        self.verdict: Verdict | None = None
        self.planned: OperationPlanned | None = None
        self.grant: Grant | None = None
        self.held: OperationHeld | None = None
        self.again = False
        self.comes_back: Known | None = None
        """The deferred request it is the retry of."""
        self.over = False
        self.timer: asyncio.TimerHandle | None = None


class Questions:
    """All open questions of one ingress process.

    Args:
        bus: the connected bus.
        ingress: name of this ingress.
        spawn: runs a coroutine in the service's task group.
        deadline_s: longest wait for verdict and plan.
        approvals_url: shown in hold notices; empty: not shown.
        margin_s: how long after its window a held operation still waits to hear of its end.
        deferrals: requests that agents may come back for; ``None``: nobody is told to.
    """

    def __init__(
        self,
        bus: Bus,
        ingress: str,
        *,
        spawn: Spawn,
        deadline_s: float = 2.0,
        approvals_url: str = "",
        margin_s: float = MARGIN_S,
        deferrals: Deferrals | None = None,
    ) -> None:
        self._bus = bus
        self._ingress = ingress
        self._spawn = spawn
        self._deadline_s = deadline_s
        self._approvals_url = approvals_url.rstrip("/")
        self._margin_s = margin_s
        self._deferrals = deferrals
        self._open: dict[str, Question] = {}
        self._held: dict[str, Question] = {}
        self._hearing: list[Subscription] = []

    async def start(self) -> None:
        """Begin to hear answers. Our own events are not asked for, so they do not come back."""
        for kind in _ANSWERS:
            subject = f"{STORED_PREFIX}audit.operation.{kind}.{self._ingress}.*"
            self._hearing.append(await self._bus.subscribe(subject, self._heard_answer))
        subject = f"{STORED_PREFIX}audit.approval.*.{self._ingress}.*.*"
        self._hearing.append(await self._bus.subscribe(subject, self._heard_decision))
        self._bus.on_reconnect(self._reconnected)

    async def stop(self) -> None:
        """Hear no more; open questions are not answered."""
        for each in self._hearing:
            await each.stop()

    @property
    def held_count(self) -> int:
        """Questions that wait for a person."""
        return len(self._held)

    def ask(self, event: OperationIntercepted, asker: Asker, *, trace: str) -> Question:
        """Ask about an operation (an event not yet stamped). The asker is answered later, never from here."""
        question = Question(event, asker, trace)
        if self._deferrals is not None:
            known = question.comes_back = self._deferrals.find(event)
            question.grant = known.grant if known is not None else None
        self._pose(question)
        return question

    def waits(self, question: Question) -> bool:
        """Whether people are still asked about it; once they agreed it is on its way and answered soon."""
        return self._held.get(question.id) is question

    def deferred(self, event: OperationDeferred) -> None:
        """Hear at once of an agent that is told to come back."""
        if self._deferrals is not None:
            self._deferrals.deferred(event)

    def state_of(self, request: str, identity: Identity, resource: str) -> Found:
        """Tell the state of a deferred request to the party whose it is."""
        if self._deferrals is None:
            return Found(request=request)
        return self._deferrals.state_of(request, identity, resource)

    def forget(self, question: Question) -> None:
        """The answer is no longer wanted."""
        question.over = True
        self._open.pop(question.id, None)
        self._held.pop(question.id, None)
        if question.timer is not None:
            question.timer.cancel()
            question.timer = None

    # ------------------------------------------------------------ posing

    def _pose(self, question: Question) -> None:
        self.forget(question)
        question.over = False
        question.id = new_id()
        question.stored = False
        question.verdict = question.planned = None
        known = question.comes_back
        joins = known.request if known is not None and question.grant is None else None
        stamped = question.event.stamped(
            id=question.id, at=now(), trace=question.trace, grant=question.grant, joins=joins
        )
        self._open[question.id] = question
        question.timer = asyncio.get_running_loop().call_later(self._deadline_s, self._late, question)
        future = self._bus.publish(
            stamped.subject, stamped.encoded(), id=question.id, deadline_s=self._deadline_s
        )
        future.add_done_callback(partial(self._published, question, question.id))

    def _published(self, question: Question, id: str, future: asyncio.Future[Stored]) -> None:
        error = BusUnavailable("cancelled") if future.cancelled() else future.exception()
        if question.over or question.id != id:
            return
        if error is None:
            question.stored = True
            self._settle(question)
        elif isinstance(error, BusTooLarge):
            self._refuse(
                question,
                RefusalCode.TOO_LARGE,
                "The operation is too large to be recorded in one piece.",
                hint="Send it in smaller pieces.",
            )
        else:
            self.forget(question)
            question.asker.log_lost(error if isinstance(error, BusError) else BusUnavailable(str(error)))

    def _late(self, question: Question) -> None:
        question.timer = None
        seconds = f"{self._deadline_s:g} s"
        if not question.stored:
            self.forget(question)
            question.asker.log_lost(BusUnavailable("not stored within the deadline"))
        elif question.verdict is None:
            self._refuse(
                question, RefusalCode.VERDICT_TIMEOUT, f"No verdict within {seconds}: policy is silent."
            )
        else:
            self._refuse(
                question, RefusalCode.PLAN_TIMEOUT, f"No mask plan within {seconds}: masking is silent."
            )

    # ------------------------------------------------------------ verdicts and plans

    def _heard_answer(self, delivery: Delivery) -> None:
        parts = delivery.subject.split(".")
        try:
            event = _ANSWERS[parts[3]].model_validate_json(delivery.body)
        except ValidationError:
            # It answers a question we cannot tell: that one ends by its deadline, refused.
            log.warning("answer cannot be read", subject=delivery.subject, sequence=delivery.sequence)
            return
        question = self._open.get(event.intercepted)
        if question is None:
            return
        asked = question.event
        if (
            event.digest != asked.digest
            or event.session != asked.session
            or event.session != parts[5]
            or event.ingress != self._ingress
            or event.operation != asked.operation
        ):
            log.error("answer does not fit its question", subject=delivery.subject, event=event.id)
            who = "Masking's plan" if isinstance(event, OperationPlanned) else "Policy's verdict"
            code = RefusalCode.PLAN_MISMATCH if isinstance(event, OperationPlanned) else RefusalCode.DENIED
            self._refuse(question, code, f"{who} is not about this operation.")
            return
        if isinstance(event, OperationPlanned):
            question.planned = question.planned or event
        else:
            question.verdict = question.verdict or event
        self._settle(question)

    def _settle(self, question: Question) -> None:
        verdict, planned = question.verdict, question.planned
        if verdict is None or not question.stored:
            return
        if isinstance(verdict, OperationDenied):
            self._answer(question, Refused(refusal=verdict.refusal, denied=True))
        elif isinstance(verdict, OperationHeld):
            self._hold(question, verdict)
        elif isinstance(verdict, OperationAllowed) and planned is not None:
            self._allow(question, verdict, planned)

    def _allow(self, question: Question, verdict: OperationAllowed, planned: OperationPlanned) -> None:
        if planned.catalog_revision != verdict.catalog_revision:
            if question.again:
                self._refuse(
                    question,
                    RefusalCode.CATALOG_CHANGED,
                    "Policy and masking saw different versions of the catalog.",
                    hint="Send the same statement again.",
                )
            else:
                question.again = True
                self._pose(question)
        elif planned.plan.impossible is not None:
            at_stake = planned.plan.at_stake
            if at_stake is None or not set(at_stake) <= set(verdict.unmask):
                self._refuse(question, RefusalCode.PLAN_IMPOSSIBLE, planned.plan.impossible)
                return
            # Everything that could be in the answer may be seen in clear: there is nothing to plan.
            clear = Plan(statements=planned.plan.statements)
            self._answer(question, Allowed(verdict=verdict, plan=planned.model_copy(update={"plan": clear})))
        else:
            self._answer(question, Allowed(verdict=verdict, plan=planned))

    # ------------------------------------------------------------ people

    def _hold(self, question: Question, verdict: OperationHeld) -> None:
        known = question.comes_back
        if known is not None and known.grant is None and verdict.joins == known.request:
            self._join(question, verdict, known)
            return
        if known is not None:
            # Its grant covers it no more, and the rules ask other people: they are asked, as of any other.
            question.comes_back = question.grant = None
        if question.grant is not None:
            self._refuse(
                question,
                RefusalCode.HELD_REFUSED,
                "The approval does not cover the operation any more.",
            )
            return
        self.forget(question)
        question.over = False
        question.held = verdict
        self._held[question.id] = question
        question.timer = asyncio.get_running_loop().call_later(
            verdict.window_s + self._margin_s, self._window_over, question
        )
        question.asker.answered(question.event.operation, self._notice(question.id, verdict))

    def _join(self, question: Question, verdict: OperationHeld, known: Known) -> None:
        """It came back before people decided, or is told how they did: nobody is asked again for it."""
        question.held = verdict
        match known.state:
            case "refused":
                self._refuse(question, RefusalCode.HELD_REFUSED, known.detail)
            case "expired":
                self._refuse(question, RefusalCode.HELD_EXPIRED, known.detail)
            case "withdrawn":
                self._refuse(question, RefusalCode.HELD_WITHDRAWN, known.detail)
            case _:
                self.forget(question)
                joined = replace(self._notice(known.request, verdict), joined=True)
                question.asker.answered(question.event.operation, joined)

    def _notice(self, request: str, verdict: OperationHeld) -> Held:
        groups = " and ".join(verdict.groups)
        people = "one person" if verdict.quorum == 1 else f"{verdict.quorum} people"
        hint = f"A reviewer can decide with: weirgate approvals grant {request}"
        if self._approvals_url:
            hint += f" , or at {self._approvals_url}/{request}"
        return Held(
            request=request,
            notice=f"held for approval by {groups}: {verdict.reason}"[:2000],
            detail=f"Request {request} needs {people} of {groups}; it stays open for {verdict.window_s} s.",
            hint=hint,
            window_s=verdict.window_s,
        )

    def _heard_decision(self, delivery: Delivery) -> None:
        parts = delivery.subject.removeprefix(STORED_PREFIX).split(".")
        question = self._held.get(parts[5])
        if question is None:
            return
        try:
            event = decode(delivery.body)
        except Undecodable:
            log.warning("decision cannot be read", subject=delivery.subject, sequence=delivery.sequence)
            return
        asked = question.event
        if not isinstance(event, ApprovalEvent) or (
            event.request != question.id
            or event.digest != asked.digest
            or event.session != asked.session
            or event.operation != asked.operation
        ):
            log.error("decision does not fit its request", subject=delivery.subject)
            return
        self._decided(question, event, delivery.sequence)

    def _decided(self, question: Question, event: ApprovalEvent, sequence: int) -> None:
        match event:
            case ApprovalGranted():
                question.grant = Grant(request=event.request, granted=event.id, sequence=sequence)
                self._pose(question)
            case ApprovalRefused():
                why = f": {event.reason}" if event.reason else "."
                self._refuse(question, RefusalCode.HELD_REFUSED, f"{event.by} refused it{why}"[:2000])
            case ApprovalExpired():
                self._refuse(question, RefusalCode.HELD_EXPIRED, "Nobody decided within the window.")
            case ApprovalWithdrawn():
                self._refuse(question, RefusalCode.HELD_WITHDRAWN, "The request was withdrawn.")
            case _:
                pass  # asked, or one of several people agrees: not decided yet

    def _window_over(self, question: Question) -> None:
        question.timer = None
        self._spawn(self._look_up_last(question), "held: window over")

    def _reconnected(self) -> None:
        # What was decided while the connection was away was not heard.
        if self._held:
            self._spawn(self._look_up_all(), "held: look up")

    async def _look_up_all(self) -> None:
        for question in list(self._held.values()):
            for pause_s in _LOOK_AGAIN_S:
                if question.id not in self._held or await self._look_up(question):
                    break
                await asyncio.sleep(pause_s)

    async def _look_up_last(self, question: Question) -> None:
        await self._look_up(question)
        if question.id in self._held and not question.over:
            self._refuse(question, RefusalCode.HELD_EXPIRED, "Nobody decided within the window.")

    async def _look_up(self, question: Question) -> bool:
        """Read what the log holds about a request; returns whether it could be read."""
        subject = f"audit.approval.*.{self._ingress}.{question.event.session}.{question.id}"
        try:
            async with asyncio.timeout(self._margin_s):
                async for delivery in self._bus.read(AUDIT_STREAM, subjects=[subject]):
                    self._heard_decision(delivery)
        except (BusError, TimeoutError):
            return False
        return True

    # ------------------------------------------------------------ answering

    def _refuse(
        self, question: Question, code: RefusalCode, reason: str, *, hint: str | None = "Try again."
    ) -> None:
        if code in (RefusalCode.HELD_REFUSED, RefusalCode.DENIED, RefusalCode.PLAN_IMPOSSIBLE):
            hint = None
        rules = question.held.rules if question.held is not None else ()
        self._answer(
            question, Refused(refusal=Refusal(code=code, reason=reason, rules=rules, hint=hint), denied=False)
        )

    def _answer(self, question: Question, answer: Allowed | Refused) -> None:
        self.forget(question)
        question.asker.answered(question.event.operation, answer)
