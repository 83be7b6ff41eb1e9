"""One request on its way, from its head to the last byte of its answer."""

from dataclasses import dataclass, field
from enum import Enum, auto

from weirgate_contracts.http import HttpCall, HttpResponse
from weirgate_contracts.masking import Plan
from weirgate_contracts.operation import Limits
from weirgate_ingress.gates.core import Held
from weirgate_ingress.gates.http.answerfacts import AnswerFacts
from weirgate_ingress.gates.http.handshake import Offer
from weirgate_ingress.gates.http.mcp.exchange import Exchange
from weirgate_ingress.gates.http.terms import Body
from weirgate_ingress.gates.outbox import Tally
from weirgate_wire.http.framing import BodyReader
from weirgate_wire.http.head import RequestHead


class Phase(Enum):
    """Where an operation stands."""

    BODY = auto()
    """Its body is read whole before it is judged."""
    ASKED = auto()
    HELD = auto()
    DIALLING = auto()
    RUNNING = auto()
    """It was sent on."""


@dataclass(slots=True, kw_only=True)
class Operation:
    """What the gate knows of the request it serves. Agents that pipeline are served one after the other."""

    number: int
    call: HttpCall
    sent: RequestHead
    """As it is sent on: without credentials and framing."""
    asked: RequestHead
    """As the agent asked, for its own framing and persistence."""
    body: BodyReader
    """Of the request."""
    whole: bytes | None
    """The body, once it was read whole, as it is sent on; ``None``: it streams."""
    chunked: bool
    """A body that streams is sent on in chunks, its length not being known."""
    continues: bool
    """The agent waits for ``100 Continue``."""
    phase: Phase
    digest: str = ""
    held: Held | None = None
    """What people are asked, while they are."""
    plan: Plan | None = None
    unmask: frozenset[str] = frozenset()
    limits: Limits = field(default_factory=Limits)
    """On the answer."""
    hosted: bool = False
    own: bool = False
    """How the agent writes paths; see ``Entry``."""
    bytes_in: int = 0
    tally: Tally = field(default_factory=lambda: Tally(0))
    answering: bool = False
    """The head of the answer was sent to the agent."""
    response: HttpResponse | None = None
    answer: BodyReader | None = None
    mask: Body | None = None
    request_mask: Body | None = None
    """Masks the body of the request; set where it is masked."""
    facts: AnswerFacts | None = None
    """Reads what a model's answer says of itself."""
    chunks_out: bool = False
    """The answer's body is framed in chunks by the gate."""
    agent_stays: bool = True
    """The agent's connection goes on after the answer."""
    upstream_stays: bool = True
    bytes_answered: int = 0
    """Body bytes of the answer as the upstream sent them."""
    mcp: Exchange | None = None
    """Of MCP: the message and what is known of its answer."""
    offer: Offer | None = None
    """It asks for a WebSocket."""
    key: str = ""
    """What the upstream was sent as ``Sec-WebSocket-Key``."""
    judges: bool = True
    """Each message over it is to be judged."""
    early: bytes | None = None
    """What came of the upstream behind its 101; ``None``: it has not switched."""
    message_cells: int = 0
    """Values changed in messages of a WebSocket."""

    @property
    def cells_masked(self) -> int:
        """Values changed, of the request and of the answer."""
        bodies = sum(one.cells_masked for one in (self.request_mask, self.mask) if one is not None)
        return bodies + self.message_cells

    @property
    def method(self) -> str:
        """The method."""
        return self.call.method
