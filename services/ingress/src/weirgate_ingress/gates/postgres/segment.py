"""Read what the agent sends into segments: what is judged, sent and answered together.

=============  ====================================================================================
ends with      holds
=============  ====================================================================================
``query``      one simple Query
``sync``       extended messages (perhaps none), then Sync
``flush``      extended messages, then Flush
``cut``        extended messages only: a Query follows, or they are enough to be judged on their own
``function``   one FunctionCall (refused)
``terminate``  Terminate
=============  ====================================================================================

Reading gives no meaning to names: that waits until the segments before it are answered.
"""

from dataclasses import dataclass, field
from typing import Literal

from weirgate_ingress.gates.postgres.terms import GateTerms
from weirgate_wire.postgres.error import PeerError
from weirgate_wire.postgres.frame import Frame
from weirgate_wire.postgres.message import (
    Bind,
    Close,
    Describe,
    Execute,
    Flush,
    FunctionCall,
    Parse,
    Query,
    Sync,
    Terminate,
    decode_agent,
)

Ending = Literal["query", "sync", "flush", "cut", "function", "terminate"]
Extended = Parse | Bind | Describe | Execute | Close


@dataclass(slots=True)
class Segment:
    """Messages of the agent that belong together."""

    ends: Ending = "cut"
    messages: list[tuple[Extended | Query, bytes]] = field(
        default_factory=list[tuple[Extended | Query, bytes]]
    )
    """Each with its whole frame; Sync, Flush and Terminate are only in ``ends``."""
    size_bytes: int = 0
    statements: int = 0


class SegmentReader:
    """Gathers frames into segments, in order."""

    __slots__ = ("_building", "_terms")

    def __init__(self, terms: GateTerms) -> None:
        self._terms = terms
        self._building = Segment()

    @property
    def building_bytes(self) -> int:
        """Bytes of the segment that is not complete."""
        return self._building.size_bytes

    def take(self, unit: Frame) -> list[Segment]:
        """Take one message, return the segments it completes.

        Raises:
            PeerError: a message that cannot be read, or that has no place here.
        """
        message = decode_agent(unit.kind, unit.body)
        match message:
            case Query():
                segment = Segment("query", [(message, unit.raw)], len(unit.raw), 1)
                return [*self._cut(), segment]
            case Sync():
                return self._end("sync")
            case Flush():
                return self._end("flush") if self._building.messages else []
            case Terminate():
                # Extended messages that no Sync followed are rolled back with the session: they need no
                # answer.
                self._building = Segment()
                return [Segment("terminate")]
            case FunctionCall():
                return [*self._cut(), Segment("function", size_bytes=len(unit.raw))]
            case Parse() | Bind() | Describe() | Execute() | Close():
                return self._extended(message, unit.raw)
            case _:
                raise PeerError("a COPY message where no COPY is under way")

    def _extended(self, message: Extended, raw: bytes) -> list[Segment]:
        terms = self._terms
        building = self._building
        done: list[Segment] = []
        full = (
            building.size_bytes + len(raw) > terms.batch_limit_bytes
            or building.statements >= terms.batch_limit_statements
        )
        # Cut only where a statement begins, so that Bind and Execute mostly stay with what they belong to.
        if full and isinstance(message, (Parse, Bind)):
            done = self._cut()
            building = self._building
        if len(building.messages) >= 16 * terms.batch_limit_statements:
            done += self._cut()
            building = self._building
        building.messages.append((message, raw))
        building.size_bytes += len(raw)
        if isinstance(message, (Parse, Bind)):
            building.statements += 1
        return done

    def _cut(self) -> list[Segment]:
        return self._end("cut") if self._building.messages else []

    def _end(self, ends: Ending) -> list[Segment]:
        segment, self._building = self._building, Segment()
        segment.ends = ends
        return [segment]
