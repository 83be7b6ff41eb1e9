"""The part of the gate that lets an agent come back later: how long it waits, the 202, and the state of a request.

It adds effects and keeps what is being looked up. What becomes of the connection is the gate's to say: where a method
returns whether the connection is to close, everything was said.
"""

from weirgate_contracts.config import HOLD_WAIT_S, ResourceDocument
from weirgate_contracts.identity import Identity
from weirgate_ingress.gates.core import Found, Held, HoldFor, LookUp, Tape, Withdraw
from weirgate_ingress.gates.http.deferral import read_preference, told_state, told_to_wait
from weirgate_ingress.gates.http.header import sent_on, shown
from weirgate_ingress.gates.http.operation import Operation, Phase
from weirgate_ingress.gates.http.record import HttpRecords
from weirgate_ingress.gates.http.request import Request
from weirgate_ingress.gates.outbox import Outbox, Tally
from weirgate_wire.http.head import RequestHead
from weirgate_wire.http.hop import persists


class LaterPart:
    """Tells agents to come back, and what became of it."""

    __slots__ = ("_looking", "_out", "_records")

    def __init__(self, records: HttpRecords, out: Outbox) -> None:
        self._records = records
        self._out = out
        self._looking: tuple[Request, Tally] | None = None

    @property
    def is_looking(self) -> bool:
        """Whether the state of a request is being looked up: until it is found nothing else is served."""
        return self._looking is not None

    def hold(self, operation: Operation, held: Held, resource: ResourceDocument) -> bool:
        """Hold an operation; say whether its agent is to be told at once."""
        operation.phase, operation.held = Phase.HELD, held
        if operation.mcp is not None:
            # To its clients 202 says that a message wants no answer: a held call waits in flight.
            return False
        usual_s = HOLD_WAIT_S if resource.hold_wait_s is None else resource.hold_wait_s
        wait_s = read_preference(operation.asked.all("prefer")).hold_wait_s(usual_s)
        if held.joined or not wait_s:
            return True
        self._out.add(HoldFor(operation=operation.number, wait_s=wait_s))
        return False

    def defer(self, operation: Operation, held: Held, identity: Identity, resource: ResourceDocument) -> bool:
        """Tell the agent to come back; say whether its connection closes with that."""
        close = not operation.body.done or not operation.agent_stays
        self._out.add(Withdraw(operation=operation.number))
        self._records.deferred(operation, held, identity, resource)
        word = told_to_wait(
            held,
            resource=resource.name,
            operation=operation.number,
            preference=read_preference(operation.asked.all("prefer")),
            asked=operation.asked,
            close=close,
        )
        self._out.say(operation.tally, word)
        return close

    def look_up(self, request: Request, about: str, number: int) -> None:
        """Look up the state of a request. The exchange is recorded; nobody is asked, nothing is sent on."""
        self._looking = (request, Tally(number))
        head = request.head
        taken = RequestHead(method=head.method, target=head.target, headers=shown(sent_on(head)))
        self._out.add(Tape(direction="i", operation=number, data=taken.encode()))
        self._out.add(LookUp(request=about))

    def found(self, found: Found, resource: ResourceDocument) -> bool:
        """Tell the state; say whether the connection closes with that."""
        if self._looking is None or self._looking[0].looks_up != found.request:
            return False
        (request, tally), self._looking = self._looking, None
        close = not persists(request.head)
        self._out.say(tally, told_state(found, resource=resource.name, asked=request.head, close=close))
        return close
