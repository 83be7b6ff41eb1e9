"""The upstream's answer: read by its own framing, masked, framed anew, passed on.

Where a body is masked its length is not known beforehand: it goes to the agent in chunks, or, for an agent that speaks
HTTP/1.0, until the connection ends.

Source: RFC 9112 sections 6 and 7; RFC 9110 section 15.2.
"""

from urllib.parse import urlsplit

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.http import HttpResponse
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.http.answerfacts import AnswerFacts
from weirgate_ingress.gates.http.handshake import switch
from weirgate_ingress.gates.http.header import Headers, answered
from weirgate_ingress.gates.http.injected import undisclosed
from weirgate_ingress.gates.http.limit import over_size, unwanted
from weirgate_ingress.gates.http.operation import Operation
from weirgate_ingress.gates.http.terms import Bodies, PlanMismatch, Unreadable
from weirgate_ingress.gates.outbox import Outbox
from weirgate_wire.error import PeerError
from weirgate_wire.http.coding import read_codings
from weirgate_wire.http.framing import LAST_CHUNK, BodyReader, Framing, chunk, response_framing
from weirgate_wire.http.head import HeadReader, ResponseHead
from weirgate_wire.http.hop import persists
from weirgate_wire.http.media import read_media_type

_SWITCHING = 101
_FINAL = 200


class Broken(Exception):
    """The answer must go no further."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class AnswerPart:
    """Takes what the upstream sends."""

    __slots__ = ("_head", "_out", "bodies")

    def __init__(self, bodies: Bodies, out: Outbox) -> None:
        self.bodies = bodies
        self._out = out
        self._head = HeadReader()

    def begin(self, operation: Operation) -> None:
        """An operation is sent on: the next bytes of the upstream are its answer."""
        self._head = HeadReader()
        operation.answer = None

    def take(self, operation: Operation, data: bytes, resource: ResourceDocument) -> bool:
        """Take bytes of the upstream; say whether the answer is complete.

        Raises:
            PeerError: it is malformed.
            Broken: it must not be passed on.
        """
        while operation.answer is None:
            self._head.feed(data)
            head = self._head.response()
            if head is None:
                return False
            data = self._head.rest()
            self._head = HeadReader()
            if head.status == _SWITCHING:
                self._switch(operation, head, data, resource)
                return False
            if head.status >= _FINAL:
                self._begin_body(operation, head, resource)
        self._pass(operation, operation.answer.feed(data))
        if not operation.answer.done:
            return False
        if operation.answer.rest():
            operation.upstream_stays = False
        self._complete(operation)
        return True

    def closed(self, operation: Operation) -> bool:
        """The upstream's socket is closed; say whether that completes the answer.

        Raises:
            PeerError: it does not.
            Broken: what was held back must not be passed on.
        """
        if operation.answer is None:
            raise PeerError("no answer")
        operation.answer.eof()
        operation.upstream_stays = False
        self._complete(operation)
        return True

    # ------------------------------------------------------------ head

    def _switch(
        self, operation: Operation, head: ResponseHead, rest: bytes, resource: ResourceDocument
    ) -> None:
        if operation.offer is None:
            raise PeerError("it switches protocols, and nobody asked it to")
        headers = self._passed(operation, head, resource, masked=False)
        told = switch(head, offer=operation.offer, key=operation.key, headers=headers)
        operation.response = HttpResponse(status=head.status)
        operation.early = rest
        operation.answering = True
        operation.agent_stays = operation.upstream_stays = False
        self._out.say(operation.tally, told.encode())

    @staticmethod
    def _passed(
        operation: Operation, head: ResponseHead, resource: ResourceDocument, *, masked: bool
    ) -> Headers:
        parts = urlsplit(resource.upstream)
        kept = answered(
            head,
            resource=resource.name,
            origin=f"{parts.scheme}://{parts.netloc}".lower(),
            base="" if operation.own else parts.path.rstrip("/"),
            masked=masked,
            hosted=operation.hosted,
        )
        return undisclosed(kept, resource)

    def _begin_body(self, operation: Operation, head: ResponseHead, resource: ResourceDocument) -> None:
        framing = response_framing(head, method=operation.method)
        kind = head.get("content-type")
        type, parameters = read_media_type(kind) if kind else ("", {})
        operation.response = HttpResponse(status=head.status, type=type[:256])
        operation.answer = BodyReader(framing)
        has_body = framing.kind != "none" and not (framing.kind == "length" and framing.length == 0)
        refusal = unwanted(operation.limits, status=head.status, type=type, has_body=has_body)
        if refusal is None and framing.kind == "length":
            refusal = over_size(operation.limits, framing.length)
        if refusal is not None:
            raise Broken(refusal)
        assert operation.plan is not None
        masked = self.bodies.masks(operation.plan, operation.unmask)
        codings = read_codings(head.all("content-encoding"))
        if operation.call.model is not None:
            operation.facts = AnswerFacts(type=type, codings=codings)
        if masked and has_body:
            try:
                operation.mask = self.bodies.body(
                    operation.plan, operation.unmask, type=type, parameters=parameters, codings=codings
                )
            except Unreadable as error:
                assert operation.plan.body is not None
                if operation.plan.body.unread == "refuse":
                    raise Broken(_unreadable(error.reason)) from error
            except PlanMismatch as error:
                raise Broken(_mismatch(error.reason)) from error
        if not persists(head) or framing.kind == "close":
            operation.upstream_stays = False
        self._send_head(operation, head, framing, resource, masked=masked)

    def _send_head(
        self,
        operation: Operation,
        head: ResponseHead,
        framing: Framing,
        resource: ResourceDocument,
        *,
        masked: bool,
    ) -> None:
        headers = list(self._passed(operation, head, resource, masked=operation.mask is not None))
        if framing.kind == "none":
            # Of HEAD and 304 the length tells of a body that is not there, and that masking may change.
            length = head.get("content-length")
            if length is not None and (not masked or length == "0"):
                headers.append(("content-length", length))
            elif head.status >= _FINAL and head.status not in (204, 304) and operation.method != "HEAD":
                headers.append(("content-length", "0"))
        elif operation.mask is None and framing.kind == "length":
            headers.append(("content-length", str(framing.length)))
        elif operation.asked.minor == 1:
            operation.chunks_out = True
            headers.append(("transfer-encoding", "chunked"))
        else:
            operation.agent_stays = False
        if not operation.agent_stays:
            headers.append(("connection", "close"))
        operation.answering = True
        self._out.say(
            operation.tally,
            ResponseHead(status=head.status, reason=head.reason, headers=tuple(headers)).encode(),
        )

    # ------------------------------------------------------------ body

    def _pass(self, operation: Operation, pieces: list[bytes]) -> None:
        for piece in pieces:
            operation.bytes_answered += len(piece)
            refusal = over_size(operation.limits, operation.bytes_answered)
            if refusal is not None:
                raise Broken(refusal)
            if operation.facts is not None:
                operation.facts.feed(piece)
            if operation.mask is None:
                self._say(operation, piece)
                continue
            try:
                self._say(operation, operation.mask.feed(piece))
            except PlanMismatch as error:
                raise Broken(_mismatch(error.reason)) from error

    def _complete(self, operation: Operation) -> None:
        if operation.mask is not None:
            try:
                self._say(operation, operation.mask.finish())
            except PlanMismatch as error:
                raise Broken(_mismatch(error.reason)) from error
        if operation.facts is not None and operation.response is not None:
            operation.response = operation.facts.told(operation.response)
        if operation.chunks_out:
            self._out.say(operation.tally, LAST_CHUNK)

    def _say(self, operation: Operation, piece: bytes) -> None:
        if piece:
            self._out.say(operation.tally, chunk(piece) if operation.chunks_out else piece)


def _mismatch(reason: str) -> Refusal:
    return Refusal(
        code=RefusalCode.PLAN_MISMATCH,
        reason=f"The answer cannot be masked, so none of it is passed: {reason}"[:2000],
        hint="The request may have had its effect upstream.",
    )


def _unreadable(reason: str) -> Refusal:
    return Refusal(
        code=RefusalCode.PLAN_MISMATCH,
        reason=f"The answer is of a kind masking cannot look into: {reason}"[:2000],
        hint="Ask for JSON or text with 'Accept', or have the resource pass such types ('unread: pass').",
    )
