"""A person's yes or no: recorded, then waited on until approval says what became of it."""

from weirgate_bus.port import Bus, BusError
from weirgate_chassis.clock import now
from weirgate_chassis.config import ConfigFeed
from weirgate_chassis.ids import new_id
from weirgate_console.login import Person
from weirgate_console.problem import Answer, log_away
from weirgate_console.requests import Request, Requests
from weirgate_contracts.events import ApprovalGranted, ApprovalRefused, DecisionMade
from weirgate_contracts.review import Ineligible, same_person, spoken_for


class Decisions:
    """Takes decisions."""

    def __init__(self, bus: Bus, requests: Requests, feed: ConfigFeed, *, deadline_s: float) -> None:
        self._bus = bus
        self._requests = requests
        self._feed = feed
        self._deadline_s = deadline_s

    async def find(self, id: str) -> Request:
        """Return a request.

        Raises:
            Answer: 404, or the log does not answer.
        """
        try:
            found = await self._requests.find(id)
        except BusError as error:
            raise log_away() from error
        if found is None:
            raise Answer(
                404, "not_found", f"There is no approval request {id}.", "List them: GET /v1/approvals."
            )
        return found

    async def decide(self, id: str, person: Person, grant: bool, reason: str | None) -> tuple[Request, str]:
        """Record a decision and say what came of it: ``granted``, ``endorsed``, ``refused`` or ``recorded``.

        ``recorded``: the log holds the decision, approval has not answered in time; it will.

        Raises:
            Answer: 404, 403 with why, 409 when it was already over or somebody else was first, 503.
        """
        request = await self.find(id)
        if (problem := self._requests.problem() or self._feed.problem()) is not None:
            raise Answer(
                503, "behind", f"The console is behind the log: {problem}.", "Try again in a moment."
            )
        self._check_open(request)
        proved = self._check_eligible(request, person)
        before = request.sequence
        mine = any(same_person(one.by, person.name) for one in request.endorsements)
        if grant and mine:
            raise Answer(409, "already_agreed", f"{person.name} has agreed already; others must.", None)
        event = DecisionMade(
            request=request.asked.request,
            decision="grant" if grant else "refuse",
            by=person.name,
            groups=proved,
            reason=reason,
        ).stamped(id=new_id(), at=now(), trace=request.asked.trace)
        try:
            await self._bus.publish(event.subject, event.encoded(), id=event.id)
        except BusError as error:
            raise log_away() from error
        return await self._outcome(request.asked.request, before, person)

    async def _outcome(self, id: str, sequence: int, person: Person) -> tuple[Request, str]:
        while True:
            found = await self._requests.after(id, sequence, self._deadline_s)
            if found is None:
                return await self.find(id), "recorded"
            sequence = found.sequence
            match found.ending:
                case ApprovalGranted(by=by) if any(same_person(one, person.name) for one in by):
                    return found, "granted"
                case ApprovalRefused(by=by) if same_person(by, person.name):
                    return found, "refused"
                case _:
                    self._check_open(found)
            if any(same_person(one.by, person.name) for one in found.endorsements):
                return found, "endorsed"

    def _check_open(self, request: Request) -> None:
        if request.state == "open":
            return
        by = ""
        match request.ending:
            case ApprovalGranted(by=people):
                by = f" by {', '.join(people)}"
            case ApprovalRefused(by=one):
                by = f" by {one}"
            case _:
                pass
        message = f"The request is already {request.state}{by}; nothing changed."
        raise Answer(409, "already_decided", message, None, state=request.state)

    def _check_eligible(self, request: Request, person: Person) -> tuple[str, ...]:
        reviewers = {name: one.groups for name, one in self._feed.reviewers.items()}
        named = frozenset(group for groups in reviewers.values() for group in groups)
        proved = person.proved(named)
        try:
            spoken_for(
                by=person.name,
                proved=proved,
                identity=request.asked.identity,
                asked=request.asked.groups,
                reviewers=reviewers,
            )
        except Ineligible as error:
            raise Answer(403, "not_eligible", f"{str(error)[0].upper()}{str(error)[1:]}.", _ASK) from error
        return proved


_ASK = "Somebody in one of the groups the request asks for decides; it shows them."
