"""One message of an agent and its answer, from the request's head to the end of the answer."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from weirgate_contracts.events import OperationAllowed
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.http.mcp import refusal as words
from weirgate_ingress.gates.http.mcp.call import LISTS, body_to_send
from weirgate_ingress.gates.http.mcp.events import EventReader
from weirgate_ingress.gates.http.mcp.listing import Listing
from weirgate_ingress.gates.http.mcp.message import Message
from weirgate_wire.http.head import ResponseHead


class Shape(Enum):
    """What the upstream's answer is."""

    NONE = auto()
    """Its head has not come yet."""
    EVENTS = auto()
    """A stream of messages."""
    WHOLE = auto()
    """One message, or the body of an error: read whole."""
    NOTHING = auto()
    """Accepted: there is nothing in it for the agent."""


@dataclass(slots=True, kw_only=True)
class Exchange:
    """What the gate knows of one message and its answer."""

    message: Message | None
    """``None``: the agent listens (GET), or ends its session (DELETE)."""
    method: str
    """HTTP method."""
    permits: frozenset[str] = frozenset()
    """What the server may ask of the agent meanwhile."""
    visible: frozenset[str] | None = None
    """What of a list may be shown; ``None``: the verdict did not say."""
    shows: Listing | None = None
    """This operation is about showing a list, and not about a message that is sent on."""
    shape: Shape = Shape.NONE
    status: int = 0
    """Of the answer, as the agent gets it."""
    head: ResponseHead | None = field(default=None, repr=False)
    """Of an answer that is read whole, as the upstream sent it."""
    reader: EventReader = field(default_factory=EventReader)
    gathered: list[bytes] = field(default_factory=list[bytes], repr=False)
    gathered_bytes: int = 0
    before: list[bytes] = field(default_factory=list[bytes], repr=False)
    """Of a list: payloads that came before it."""
    listing: Listing | None = None
    """The list that has come, before anybody was asked about it."""
    answered: bool = False
    """The answer to the request has come."""
    asides: int = 0
    """Requests of the server that were refused."""

    @property
    def wants_answer(self) -> bool:
        """Whether the agent waits for the answer to a request."""
        return self.message is not None and self.message.kind == "request"

    @property
    def lists(self) -> bool:
        """Whether it asks for a list, which is judged before it is shown."""
        return self.wants_answer and self.message is not None and self.message.method in LISTS

    @property
    def listens(self) -> bool:
        """Whether it is the stream of what the server says of its own accord."""
        return self.method == "GET"

    def agree(self, verdict: OperationAllowed) -> Refusal | None:
        """Take what a verdict says about it; return why it cannot be acted on."""
        self.permits = frozenset(verdict.permits or ())
        self.visible = frozenset(verdict.visible) if verdict.visible is not None else None
        if self.shows is not None and self.visible is None:
            return Refusal(
                code=RefusalCode.PLAN_MISMATCH,
                reason="The verdict does not say what of the list may be shown.",
            )
        return None

    def body_to_send(self) -> bytes | None:
        """Return the body the server is sent."""
        return None if self.message is None else body_to_send(self.message, self.permits)

    def told(self, refusal: Refusal, *, operation: int, close: bool, upstream: bool) -> bytes:
        """Return the answer that tells a refusal."""
        return words.told(refusal, self.message, operation=operation, close=close, upstream=upstream)

    def gather(self, pieces: list[bytes]) -> Iterator[int]:
        """Keep pieces; give the size so far after each."""
        for piece in pieces:
            self.gathered.append(piece)
            self.gathered_bytes += len(piece)
            yield self.gathered_bytes
