"""The server's answer in MCP, message by message.

======================  ===========================================================================================
answer to our request   passed, masked; a list is kept until it is judged (``Exchange.listing``)
notification            passed, masked
``ping`` of the server  passed
other request of it     passed where the verdict permits it, else left out and refused to the server (``Aside``)
anything else           the answer goes no further: an error is told, and the rest is not read
======================  ===========================================================================================

Nothing is passed as it came: heads and events are written anew. A message is passed in the very bytes that were read.

Invariants: nothing of a list is sent before it was judged; the agent gets at most one answer to its request, and an
error of the gateway where the server gives none; a stream of events is over with that answer, whatever the server
does (clients hang up there), so its socket is not used again.

Source: Model Context Protocol 2025-11-25, "Transports: Streamable HTTP".
"""

from http import HTTPStatus
from typing import Final

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.http import HttpResponse
from weirgate_ingress.gates.core import Aside, Tape
from weirgate_ingress.gates.http.answer import AnswerPart, Broken
from weirgate_ingress.gates.http.header import shown
from weirgate_ingress.gates.http.mcp import fault
from weirgate_ingress.gates.http.mcp.call import REVISIONS
from weirgate_ingress.gates.http.mcp.events import EVENT_LIMIT_BYTES, KEEP_ALIVE, write_event
from weirgate_ingress.gates.http.mcp.exchange import Exchange, Shape
from weirgate_ingress.gates.http.mcp.listing import read_listing, shown_listing
from weirgate_ingress.gates.http.mcp.message import (
    METHOD_NOT_FOUND,
    REFUSED,
    Malformed,
    Message,
    error_message,
    read_message,
    same_id,
)
from weirgate_ingress.gates.http.mcp.part import McpPart
from weirgate_ingress.gates.http.mcp.refusal import refusal_message
from weirgate_ingress.gates.http.mcp.session import SESSION_ID
from weirgate_ingress.gates.http.operation import Operation
from weirgate_ingress.gates.http.terms import Bodies
from weirgate_ingress.gates.outbox import Outbox
from weirgate_wire.error import PeerError
from weirgate_wire.http.framing import LAST_CHUNK, BodyReader, chunk, response_framing
from weirgate_wire.http.head import RequestHead, ResponseHead
from weirgate_wire.http.hop import persists
from weirgate_wire.http.media import read_media_type

WHOLE_LIMIT_BYTES: Final = EVENT_LIMIT_BYTES
"""Longest answer that is read whole: as long as an event."""
ASIDES_LIMIT: Final = 16
"""Requests of the server refused while one answer comes; a server that insists gets its stream ended."""
_URL_ELICITATION: Final = -32042
"""An error that asks the agent's user to open an address: elicitation by another door (revision 2025-11-25)."""
_PASSED: Final = frozenset(("retry-after",))
"""Fields of an answer that are passed, beside those the gateway makes."""
_UPSTREAM_FAULTS: Final = frozenset((401, 403, 407))
"""Of the gateway's own credential: told to an agent as they are, it would look for another token of its own."""


class McpAnswerPart(AnswerPart):
    """Takes what an MCP server sends.

    Args:
        bodies: masks.
        out: effects.
        part: the request side.
        resource: the server.
    """

    __slots__ = ("_part", "_resource")

    def __init__(self, bodies: Bodies, out: Outbox, part: McpPart, resource: ResourceDocument) -> None:
        super().__init__(bodies, out)
        self._part = part
        self._resource = resource

    def take(self, operation: Operation, data: bytes, resource: ResourceDocument) -> bool:
        """Take bytes of the upstream; say whether the answer is complete."""
        exchange = _of(operation)
        try:
            over = super().take(operation, data, resource)
            if not over and exchange.answered and exchange.shape is Shape.EVENTS:
                self._complete(operation)
                over = True
        except (Broken, PeerError) as error:
            self._last_word(operation, error)
            raise
        if exchange.shape is Shape.EVENTS:
            operation.upstream_stays = False
        return over

    def closed(self, operation: Operation) -> bool:
        """The upstream's socket is closed; say whether that completes the answer."""
        try:
            return super().closed(operation)
        except PeerError:
            self._last_word(operation, Broken(fault.unanswered()))
            raise
        except Broken as error:
            self._last_word(operation, error)
            raise

    def show(self, operation: Operation) -> None:
        """Send the agent what it may see of a list.

        Raises:
            Broken: it must not be passed on.
        """
        listing, visible = _of(operation).shows, _of(operation).visible
        assert listing is not None
        assert visible is not None
        self._part.offered(listing)
        body = shown_listing(listing, visible)
        if listing.events:
            self._open(operation, 200, "text/event-stream", None)
            self._say_all(operation, [write_event(one) for one in (*listing.before, body)])
        else:
            self._open(operation, 200, "application/json", len(body))
            self._say_all(operation, [body])
        super()._complete(operation)

    # ------------------------------------------------------------ head

    def _begin_body(self, operation: Operation, head: ResponseHead, resource: ResourceDocument) -> None:
        exchange = _of(operation)
        framing = response_framing(head, method=operation.method)
        operation.answer = BodyReader(framing)
        if not persists(head) or framing.kind == "close":
            operation.upstream_stays = False
        kind = head.get("content-type")
        type, parameters = read_media_type(kind) if kind else ("", {})
        operation.response = HttpResponse(status=head.status, type=type[:256])
        if 300 <= head.status < 400:
            raise Broken(fault.moved())
        exchange.status = 502 if head.status in _UPSTREAM_FAULTS else head.status
        exchange.shape = self._shape(exchange, head, type)
        if exchange.shape is Shape.NOTHING:
            return
        _check_form(head, parameters)
        if exchange.shape is Shape.EVENTS and not exchange.lists:
            self._open(operation, 200, type, None, head)
        elif exchange.shape is Shape.WHOLE:
            exchange.head = head

    @staticmethod
    def _shape(exchange: Exchange, head: ResponseHead, type: str) -> Shape:
        if head.status >= 400:
            return Shape.WHOLE
        if not exchange.wants_answer and not exchange.listens:
            return Shape.NOTHING
        if type == "text/event-stream":
            return Shape.EVENTS
        if type == "application/json" and exchange.wants_answer:
            return Shape.WHOLE
        if not exchange.wants_answer:
            raise PeerError("the answer to GET is no stream of events")
        raise PeerError("the answer to a request is neither JSON nor a stream of events")

    def _open(
        self,
        operation: Operation,
        status: int,
        type: str,
        length: int | None,
        head: ResponseHead | None = None,
    ) -> None:
        """Send the head of the answer, written anew, with what masks the body behind it."""
        headers = [("content-type", type), ("cache-control", "no-store")]
        headers.append(
            ("transfer-encoding", "chunked") if length is None else ("content-length", str(length))
        )
        if head is not None:
            headers += [(name, value) for name, value in head.headers if name in _PASSED]
            headers += self._session(operation, head)
        made = ResponseHead(status=status, reason=_phrase(status), headers=tuple(headers))
        stays, answer, response = operation.upstream_stays, operation.answer, operation.response
        super()._begin_body(operation, made, self._resource)
        # That was about the answer as the agent gets it; the upstream's goes on by its own framing.
        operation.upstream_stays, operation.answer = stays, answer
        operation.response = response or operation.response

    def _session(self, operation: Operation, head: ResponseHead) -> list[tuple[str, str]]:
        message, id = _of(operation).message, head.get("mcp-session-id")
        if id is None or message is None or message.method != "initialize":
            return []
        if SESSION_ID.fullmatch(id) is None:
            raise PeerError("a session id that is no visible ASCII, or too long")
        return [("mcp-session-id", self._part.seal(id))]

    # ------------------------------------------------------------ body

    def _pass(self, operation: Operation, pieces: list[bytes]) -> None:
        exchange = _of(operation)
        if exchange.shape is Shape.EVENTS:
            self._say_all(operation, self._events(operation, exchange, pieces))
            return
        if any(size > WHOLE_LIMIT_BYTES for size in exchange.gather(pieces)):
            raise PeerError(f"more than {WHOLE_LIMIT_BYTES} bytes")

    def _events(self, operation: Operation, exchange: Exchange, pieces: list[bytes]) -> list[bytes]:
        found: list[bytes] = []
        for payload in (one for piece in pieces for one in exchange.reader.feed(piece)):
            if exchange.answered:
                break
            if not payload:
                if not exchange.lists:
                    found.append(KEEP_ALIVE)
                continue
            message = _read(payload)
            if not self._passes(operation, exchange, message, whole=False):
                continue
            if exchange.lists and exchange.answered:
                # An error in place of a list: there is nothing to judge.
                self._open(operation, 200, "text/event-stream", None)
                found += [write_event(one) for one in exchange.before]
            if not exchange.lists or exchange.answered:
                found.append(write_event(self._shown(operation, exchange, message)))
                continue
            exchange.before.append(payload)
            if sum(map(len, exchange.before)) > WHOLE_LIMIT_BYTES:
                raise PeerError(f"more than {WHOLE_LIMIT_BYTES} bytes before a list")
        return found

    def _complete(self, operation: Operation) -> None:
        exchange = _of(operation)
        match exchange.shape:
            case Shape.EVENTS:
                if exchange.wants_answer and not exchange.answered:
                    raise Broken(fault.unanswered())
                if exchange.listing is not None:
                    return
            case Shape.WHOLE:
                if not self._whole(operation, exchange):
                    return
            case Shape.NOTHING | Shape.NONE:
                self._open(operation, 202 if operation.method == "POST" else 200, "application/json", 0)
        super()._complete(operation)

    def _whole(self, operation: Operation, exchange: Exchange) -> bool:
        """Judge an answer that was read whole; say whether it goes to the agent now."""
        raw = b"".join(exchange.gathered)
        head = exchange.head
        if exchange.status >= 400:
            # Not even a message, often: of those that are none the agent is told the status alone.
            body = self._fault(operation, exchange, raw)
            status = exchange.status
        else:
            message = _read(raw)
            if message.kind not in ("result", "error"):
                raise PeerError("the answer to a request is none")
            self._passes(operation, exchange, message, whole=True)
            if exchange.listing is not None:
                return False
            body, status = self._shown(operation, exchange, message), 200
        self._open(operation, status, "application/json", len(body), head)
        self._say_all(operation, [body])
        return True

    @staticmethod
    def _fault(operation: Operation, exchange: Exchange, raw: bytes) -> bytes:
        id = exchange.message.id if exchange.message is not None else None
        try:
            message = read_message(raw)
        except Malformed:
            message = None
        if message is not None and message.kind == "error" and _asks(message) is None:
            return message.raw
        assert operation.response is not None
        return error_message(id, REFUSED, f"The server answered with status {operation.response.status}.")

    def _say_all(self, operation: Operation, pieces: list[bytes]) -> None:
        super()._pass(operation, [piece for piece in pieces if piece])

    # ------------------------------------------------------------ messages

    def _passes(self, operation: Operation, exchange: Exchange, message: Message, *, whole: bool) -> bool:
        """Take one message of the server; say whether the agent is to see it."""
        if message.kind == "notification":
            return True
        if message.kind == "request":
            if message.method == "ping" or message.method in exchange.permits:
                return True
            self._refuse_aside(operation, exchange, message)
            return False
        asked = exchange.message
        if asked is None or not same_id(message.id, asked.id):
            raise PeerError("an answer to a request that was not made here")
        exchange.answered = True
        if asked.method == "initialize" and not _agreed(message):
            raise Broken(fault.revision())
        if message.kind == "result" and exchange.lists:
            exchange.listing = read_listing(
                asked.method, message, tuple(exchange.before), events=not whole
            )  # fmt: skip
            return False
        return True

    def _shown(self, operation: Operation, exchange: Exchange, message: Message) -> bytes:
        """Return a message as the agent is sent it."""
        asks = _asks(message)
        if asks is None or asks in exchange.permits:
            return message.raw
        assert exchange.message is not None
        return refusal_message(fault.elicitation(), exchange.message, operation.number)

    def _refuse_aside(self, operation: Operation, exchange: Exchange, message: Message) -> None:
        exchange.asides += 1
        if exchange.asides > ASIDES_LIMIT:
            raise PeerError("it asks more and more of the agent, although it is refused")
        text = "Refused by the gateway: what a server may ask of this agent is for a rule to permit."
        body = error_message(message.id, METHOD_NOT_FOUND, text)
        kept = [
            (name, value)
            for name, value in operation.sent.headers
            if name in ("mcp-session-id", "mcp-protocol-version", "cookie", "user-agent")
        ]
        head = RequestHead(
            method="POST",
            target=operation.sent.target,
            headers=(
                *kept,
                ("accept", "application/json, text/event-stream"),
                ("accept-encoding", "identity"),
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ),
        )
        taped = head.with_headers(shown(head.headers)).encode() + body
        self._out.add(Tape(direction="i", operation=operation.number, data=taped))
        self._out.add(Aside(head=head, body=body))

    # ------------------------------------------------------------ the end of it

    def _last_word(self, operation: Operation, error: Broken | PeerError) -> None:
        """Tell an agent that has seen the beginning of a stream what became of it: it would wait for ever."""
        exchange = _of(operation)
        if not operation.answering or exchange.shape is not Shape.EVENTS or exchange.lists:
            return
        if not exchange.wants_answer or exchange.message is None:
            return
        refusal = error.refusal if isinstance(error, Broken) else fault.malformed(error)
        word = write_event(refusal_message(refusal, exchange.message, operation.number))
        self._out.say(operation.tally, chunk(word) + LAST_CHUNK if operation.chunks_out else word)


def _of(operation: Operation) -> Exchange:
    assert operation.mcp is not None, "an operation of MCP has an exchange"
    return operation.mcp


def _read(raw: bytes) -> Message:
    try:
        return read_message(raw)
    except Malformed as error:
        raise PeerError(f"no message: {error.reason}") from error


def _agreed(message: Message) -> bool:
    """Whether a server that lets a session begin speaks a revision that is served."""
    return message.kind == "error" or message.members["result"].get("protocolVersion") in REVISIONS


def _asks(message: Message) -> str | None:
    """Return what an answer asks of the agent instead of answering it; ``None``: it answers.

    Revision 2026-07-28 has such results (``inputRequests``). It is not served, so nothing permits them, and a client
    that knows it is not to act on one that slips in.
    """
    if message.kind == "error":
        return "elicitation/create" if message.members["error"]["code"] == _URL_ELICITATION else None
    members = message.members.get("result", {})
    return "inputRequests" if any(name.casefold() == "inputrequests" for name in members) else None


def _check_form(head: ResponseHead, parameters: dict[str, str]) -> None:
    codings = {one.strip().lower() for value in head.all("content-encoding") for one in value.split(",")}
    if codings - {"identity", ""}:
        raise PeerError("it is compressed, and nobody asked for that")
    if parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise PeerError("it is not UTF-8")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
