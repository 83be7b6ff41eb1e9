"""The HTTP gate: a pure state machine between an agent and an upstream, for HTTP/1.1 on both sides.

A session is one identity and one resource on one connection. A request with another token or for another
resource ends the session and begins a new one on the same socket (``Renew``).

=========  =============================================  ==================================================
waits for  on                                             does
=========  =============================================  ==================================================
a head     whole head, first of the session               ``Login``; then as below
a head     whole head                                     reads the body whole, where rules can read its type,
                                                          else asks at once
the body   its end                                        ``Ask``
an answer  ``Allowed``                                    ``Dial`` where no upstream is connected, then runs
an answer  ``Refused``                                    tells the refusal as a problem (RFC 9457)
upstream   head and body of the answer                    masks, tapes, sends; records ``finished``
=========  =============================================  ==================================================

Of a resource of MCP (``mcp/``) a request is one message, its answer is judged message by message, and a list makes a
second operation: what the server has answered is asked about before the agent is shown any of it.

Invariants, held by tests and by fuzzing:

1. Nothing of an operation is in ``SendHead`` or ``Send(UPSTREAM)`` before ``Answered(Allowed)`` with its number
   and digest.
2. What the upstream is sent is written anew from what was judged; no head is passed on as it came.
3. Nothing is in ``Send(AGENT)`` as part of an operation that the ``Tape`` right before it does not hold.
4. Exactly one of finished, failed, abandoned, refused (or the policy's denied) is recorded for each operation.
5. Where the streams are cut changes nothing but how effects are grouped.
6. An upstream's socket is used again only after an answer that ended by its own framing, with nothing behind it.
7. ``Hangup`` or ``Renew`` is the last effect ever.
"""

import hashlib
import hmac
from collections.abc import Callable
from functools import partial
from typing import Literal, assert_never

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.events import OperationIntercepted
from weirgate_contracts.http import BODY_LIMIT_BYTES
from weirgate_contracts.identity import Identity
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.core import (
    Allowed,
    Answered,
    Ask,
    Bytes,
    Cancelled,
    Closed,
    Dial,
    Dialled,
    DialRefused,
    Effect,
    Hangup,
    Held,
    Input,
    LoggedIn,
    Login,
    LoginRefused,
    Refused,
    Renew,
    SendHead,
    Side,
    Stop,
    Tape,
    TlsStarted,
    Undial,
    Withdraw,
)
from weirgate_ingress.gates.http.answer import AnswerPart, Broken
from weirgate_ingress.gates.http.header import shown
from weirgate_ingress.gates.http.mcp.answer import McpAnswerPart
from weirgate_ingress.gates.http.mcp.metadata import metadata_asked, metadata_url
from weirgate_ingress.gates.http.mcp.part import McpPart
from weirgate_ingress.gates.http.mcp.refusal import McpRefused
from weirgate_ingress.gates.http.mcp.showing import showing
from weirgate_ingress.gates.http.operation import Operation, Phase
from weirgate_ingress.gates.http.record import HttpRecords, Reason
from weirgate_ingress.gates.http.request import (
    Request,
    Unserved,
    digest_of,
    make_call,
    read_request,
    too_long,
)
from weirgate_ingress.gates.http.terms import Bodies, HttpTerms
from weirgate_ingress.gates.outbox import Outbox, Tally
from weirgate_ingress.gates.problem import problem
from weirgate_ingress.gates.record import Abandoned
from weirgate_wire.error import PeerError
from weirgate_wire.http.framing import LAST_CHUNK, BodyReader, Framing, chunk
from weirgate_wire.http.head import HeadReader, ResponseHead
from weirgate_wire.http.hop import persists

_CONTINUE = ResponseHead(status=100, reason="Continue", headers=()).encode()
_BODILESS = ("GET", "HEAD", "DELETE", "OPTIONS")
_STOP_REASONS: dict[RefusalCode, Literal["killed", "shutdown", "expired"]] = {
    RefusalCode.KILLED: "killed",
    RefusalCode.SHUTDOWN: "shutdown",
    RefusalCode.TOKEN_EXPIRED: "expired",
}


class HttpGate:
    """One agent's connection. Raises nothing but what is our own bug."""

    protocol: Literal["http"] = "http"
    secret_size_bytes = 4

    def __init__(self, terms: HttpTerms, bodies: Bodies) -> None:
        self._terms = terms
        self._out = Outbox()
        self._records = HttpRecords(terms, self._out)
        self._bodies = bodies
        self._answer = AnswerPart(bodies, self._out)
        self._mcp: McpPart | None = None
        self._metadata: str | None = None
        """Where who is refused for want of a token may read about them (RFC 9728)."""
        self._tls: str | None = None
        self._head = HeadReader()
        self._raw = bytearray()
        """What came of the head that is being read, as it came: a new session reads it again."""
        self._ahead = bytearray()
        """What the agent sent beyond what can be taken in now."""
        self._agent_left = False
        self._request: Request | None = None
        self._reading = BodyReader(Framing(kind="none"))
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._identity: Identity | None = None
        self._resource: ResourceDocument | None = None
        self._credential = b""
        self._operation: Operation | None = None
        self._count = 0
        self._dialled = False
        self._bytes_in = 0
        self.ended = False

    @property
    def wants_agent_bytes(self) -> bool:
        """Whether the shell is to read the agent now."""
        return not self.ended and len(self._ahead) <= self._terms.ahead_limit_bytes

    def feed(self, given: Input) -> list[Effect]:
        """Take one input, return what must now be done, in order."""
        if self.ended:
            return []
        match given:
            case Bytes(side=side, data=data):
                if side is Side.AGENT:
                    self._bytes_in += len(data)
                    self._ahead += data
                else:
                    self._upstream_sent(data)
            case TlsStarted(version=version):
                self._tls = version
            case LoggedIn(identity=identity, resource=resource):
                self._guarded(partial(self._logged_in, identity, resource))
            case LoginRefused(refusal=refusal):
                self._turn_away(refusal, recorded=True)
            case Dialled():
                self._dialled = True
                if self._operation is not None and self._operation.phase is Phase.DIALLING:
                    self._send_on(self._operation)
            case DialRefused(refusal=refusal):
                if self._operation is not None and self._operation.phase is Phase.DIALLING:
                    self._records.refused(self._operation.number, refusal)
                    self._tell(self._operation, refusal)
            case Answered():
                self._answered(given)
            case Closed(side=side):
                self._closed(side)
            case Stop(refusal=refusal):
                self._stop(refusal)
            case Cancelled():
                pass
            case _:
                assert_never(given)
        self._turn()
        return self._out.take()

    # ------------------------------------------------------------ the agent's stream

    def _turn(self) -> None:
        """Take in what the agent sent, as far as it can be taken in now."""
        self._guarded(self._take_in_all)

    def _take_in_all(self) -> None:
        while not self.ended and self._take_in():
            pass

    def _guarded(self, step: Callable[[], None]) -> None:
        """Take a step in reading the agent; what is wrong with what it sent is a refusal."""
        try:
            step()
        except PeerError as error:
            reason = f"The request is malformed: {error}"[:2000]
            hint = "Send it as RFC 9112 has it, with the path in its plain form and one way to say where the body ends."
            self._turn_away(Refusal(code=RefusalCode.PROTOCOL, reason=reason, hint=hint))
        except Unserved as error:
            self._turn_away(error.refusal)
        except McpRefused as error:
            self._refuse_unasked(error.refusal, error.word)

    def _take_in(self) -> bool:
        """Take one step; say whether there may be another."""
        operation = self._operation
        if operation is not None:
            if not self._ahead or operation.body.done:
                return False
            if operation.phase is Phase.RUNNING:
                self._stream_on(operation, self._pieces(operation.body))
                return operation.body.done
            return False
        if self._request is not None:
            # Its body is read whole; until the agent has logged in it waits.
            return self._identity is not None and self._gather(self._request)
        if not self._ahead:
            return False
        data, self._ahead = bytes(self._ahead), bytearray()
        self._head.feed(data)
        self._raw += data
        head = self._head.request()
        if head is None:
            return False
        rest = self._head.rest()
        raw = bytes(self._raw[: len(self._raw) - len(rest)])
        self._ahead += rest
        self._head, self._raw = HeadReader(), bytearray()
        self._metadata = metadata_url(head, tls=self._tls is not None)
        word = metadata_asked(head, self._metadata, self._terms.authorization_servers)
        if word is not None:
            self._end("agent", None, word)
            return False
        self._begin(read_request(head), raw)
        return True

    def _begin(self, request: Request, raw: bytes) -> None:
        credential = hashlib.sha256(f"{request.resource}\0{request.token}".encode()).digest()
        if self._tls is None and not self._terms.cleartext_allowed:
            raise Unserved(
                RefusalCode.TLS_REQUIRED, "A token must not travel without TLS.", "Connect with https."
            )
        if self._resource is None:
            self._credential = credential
            self._request = request
            self._reading = BodyReader(request.framing)
            agent = request.head.all("user-agent")
            self._out.add(
                Login(
                    agent="", resource=request.resource, token=request.token,
                    application=agent[0][:256] if agent else None,
                )
            )  # fmt: skip
        elif hmac.compare_digest(credential, self._credential):
            self._request = request
            self._reading = BodyReader(request.framing)
            self._serve(request)
        else:
            self._renew(raw + bytes(self._ahead))

    def _logged_in(self, identity: Identity, resource: ResourceDocument) -> None:
        request = self._request
        if request is None or self._identity is not None:
            return
        self._identity, self._resource = identity, resource
        agent = request.head.all("user-agent")
        self._records.opened(identity, resource, tls=self._tls, application=agent[0] if agent else None)
        if resource.protocol == "mcp":
            terms = self._terms.mcp
            if terms is None:
                raise Unserved(RefusalCode.UNSUPPORTED, "MCP is not served here.")
            self._mcp = McpPart(identity, resource, terms.ids, terms.definitions)
            self._answer = McpAnswerPart(self._bodies, self._out, self._mcp, resource)
        self._serve(request)

    def _serve(self, request: Request) -> None:
        """Go on with a request whose agent is known."""
        if self._mcp is not None:
            self._mcp.admit(request)
        if not request.read_whole:
            self._ask(request, None)
            return
        if request.framing.kind == "length" and request.framing.length > BODY_LIMIT_BYTES:
            self._refuse_unasked(too_long(request.framing.length))
            return
        if request.continues:
            # Nobody but the gateway sees the body before the verdict, so it is taken in at once.
            self._out.say(Tally(0), _CONTINUE)

    def _pieces(self, reader: BodyReader) -> list[bytes]:
        data, self._ahead = bytes(self._ahead), bytearray()
        pieces = reader.feed(data)
        if reader.done:
            self._ahead += reader.rest()
        return pieces

    def _gather(self, request: Request) -> bool:
        if not request.read_whole or not (self._ahead or self._reading.done):
            return False
        for piece in self._pieces(self._reading):
            self._gathered.append(piece)
            self._gathered_bytes += len(piece)
        if self._gathered_bytes > BODY_LIMIT_BYTES:
            self._refuse_unasked(too_long(0))
            return False
        if not self._reading.done:
            return False
        whole = b"".join(self._gathered)
        self._ask(request, whole)
        return True

    # ------------------------------------------------------------ asking

    def _ask(self, request: Request, whole: bytes | None) -> None:
        assert self._resource is not None
        assert self._identity is not None
        call, sent = make_call(request, self._resource.routes, whole)
        read = self._mcp.read(request, whole, call, sent) if self._mcp is not None else None
        if read is not None:
            call, sent = read.call, read.sent
        self._request = None
        self._gathered, self._gathered_bytes = [], 0
        self._count += 1
        streams = whole is None and request.framing.kind != "none"
        operation = Operation(
            number=self._count,
            call=call,
            sent=sent,
            asked=request.head,
            body=self._reading,
            whole=whole,
            chunked=streams and request.framing.kind == "chunked",
            continues=request.continues and streams,
            phase=Phase.ASKED,
            digest=digest_of(sent, None if streams else whole or b""),
            tally=Tally(self._count),
            agent_stays=persists(request.head),
            mcp=read.exchange if read is not None else None,
        )
        self._ask_about(operation)

    def _ask_about(self, operation: Operation) -> None:
        assert self._resource is not None
        assert self._identity is not None
        self._operation = operation
        self._out.add(
            Ask(
                event=OperationIntercepted(
                    ingress=self._terms.ingress,
                    session=self._terms.session,
                    operation=operation.number,
                    protocol="mcp" if self._mcp is not None else self.protocol,
                    resource=self._resource.name,
                    identity=self._identity,
                    call=operation.call,
                    digest=operation.digest,
                )
            )
        )

    def _answered(self, given: Answered) -> None:
        operation = self._operation
        if (
            operation is None
            or operation.number != given.operation
            or operation.phase not in (Phase.ASKED, Phase.HELD)
        ):
            return
        match given.answer:
            case Held():
                operation.phase = Phase.HELD
            case Refused(refusal=refusal, denied=denied):
                if not denied:
                    self._records.refused(operation.number, refusal)
                self._tell(operation, refusal)
            case Allowed():
                refusal = self._check(operation, given.answer)
                if refusal is not None:
                    self._records.refused(operation.number, refusal)
                    self._tell(operation, refusal)
                elif operation.mcp is not None and operation.mcp.shows is not None:
                    self._show(operation)
                elif self._dialled:
                    self._send_on(operation)
                else:
                    operation.phase = Phase.DIALLING
                    self._out.add(Dial(parameters={}))
            case _:
                assert_never(given.answer)

    def _check(self, operation: Operation, answer: Allowed) -> Refusal | None:
        verdict, plan = answer.verdict, answer.plan.plan
        if verdict.digest != operation.digest or answer.plan.digest != operation.digest:
            return Refusal(
                code=RefusalCode.PLAN_MISMATCH,
                reason="The verdict or the mask plan is about another operation.",
                hint="Send the request again.",
            )
        if plan.impossible is not None or plan.body is None:
            reason = plan.impossible or "it is not a plan for HTTP"
            return Refusal(
                code=RefusalCode.PLAN_IMPOSSIBLE,
                reason=f"No mask plan can be made for this request: {reason}"[:2000],
            )
        operation.plan = plan
        operation.unmask = frozenset(verdict.unmask)
        operation.size_limit_bytes = verdict.limits.size_bytes
        return operation.mcp.agree(verdict) if operation.mcp is not None else None

    # ------------------------------------------------------------ sending on

    def _send_on(self, operation: Operation) -> None:
        out = self._out
        operation.phase = Phase.RUNNING
        sent, headers = operation.sent, operation.sent.headers
        taped = sent.with_headers(shown(headers)).encode()
        body = operation.whole if operation.mcp is None else operation.mcp.body_to_send()
        if body is not None:
            framed = (*headers, ("content-length", str(len(body))))
        elif operation.chunked:
            framed = (*headers, ("transfer-encoding", "chunked"))
        elif operation.call.body is not None:
            framed = (*headers, ("content-length", str(operation.call.body.size_bytes)))
        else:
            framed = headers
        call_body = operation.call.body
        held = body is operation.whole and call_body is not None and call_body.text is not None
        covered = body is None or held
        out.add(Tape(direction="i", operation=operation.number, data=taped + (body or b""), covered=covered))
        self._answer.begin(operation)
        out.add(SendHead(head=sent.with_headers(framed)))
        if operation.call.body is not None and operation.method in _BODILESS:
            # An upstream that expects no body may read it as the next request: nothing follows it on that socket.
            operation.upstream_stays = False
        if body:
            operation.bytes_in += len(body)
            out.send_upstream(body)
        if operation.continues and not self._ahead:
            out.say(operation.tally, _CONTINUE)

    def _stream_on(self, operation: Operation, pieces: list[bytes]) -> None:
        out = self._out
        for piece in pieces:
            operation.bytes_in += len(piece)
            out.add(Tape(direction="i", operation=operation.number, data=piece))
            out.send_upstream(chunk(piece) if operation.chunked else piece)
        if operation.body.done and operation.chunked:
            out.send_upstream(LAST_CHUNK)

    # ------------------------------------------------------------ the upstream's stream

    def _upstream_sent(self, data: bytes) -> None:
        operation = self._operation
        if operation is None or operation.phase is not Phase.RUNNING:
            # Nothing was asked of it: what it says belongs to no answer, and its socket is not used again.
            self._undial()
            return
        assert self._resource is not None
        self._answering(
            operation,
            partial(self._answer.take, operation, data, self._resource),
            lambda error: Refusal(
                code=RefusalCode.PROTOCOL, reason=f"The upstream's answer is malformed: {error}"[:2000]
            ),
        )

    def _answering(
        self, operation: Operation, step: Callable[[], bool], refusal_of: Callable[[PeerError], Refusal]
    ) -> None:
        """Take a step in reading the answer: it goes on, is complete, or goes no further."""
        try:
            over = step()
        except Broken as broken:
            self._fail(operation, broken.refusal)
        except PeerError as error:
            self._fail(operation, refusal_of(error))
        else:
            if over and operation.mcp is not None and operation.mcp.listing is not None:
                self._ask_listed(operation)
            elif over:
                self._finish(operation)

    def _ask_listed(self, operation: Operation) -> None:
        """Ask what of a list may be shown: an operation of its own, that the agent is answered by."""
        self._records.finished(operation)
        if not operation.upstream_stays:
            self._undial()
        self._count += 1
        self._ask_about(showing(operation, self._count))

    def _show(self, operation: Operation) -> None:
        assert isinstance(self._answer, McpAnswerPart)
        try:
            self._answer.show(operation)
        except Broken as broken:
            # Nothing of it was sent on, the list came before it.
            self._records.refused(operation.number, broken.refusal)
            self._tell(operation, broken.refusal)
        else:
            self._finish(operation)

    def _finish(self, operation: Operation) -> None:
        self._records.finished(operation)
        self._operation = None
        unread = not operation.body.done
        if unread or not operation.upstream_stays:
            self._undial()
        if unread or not operation.agent_stays:
            self._end("agent", None)

    def _fail(self, operation: Operation, refusal: Refusal) -> None:
        """End an operation that was sent on and cannot be answered as the upstream would have it."""
        self._records.failed(operation.tally, refusal)
        self._undial()
        if operation.answering:
            # The agent has seen the beginning of an answer: only a broken connection says that it has no end.
            self._operation = None
            self._end("error", refusal)
        else:
            self._tell(operation, refusal)

    def _undial(self) -> None:
        if self._dialled:
            self._dialled = False
            self._out.add(Undial())

    # ------------------------------------------------------------ refusing

    def _tell(self, operation: Operation, refusal: Refusal) -> None:
        """Tell the agent; its connection goes on where nothing of the request is left to read."""
        close = not operation.body.done or not operation.agent_stays
        if operation.mcp is not None:
            upstream = operation.phase is Phase.RUNNING
            word = operation.mcp.told(refusal, operation=operation.number, close=close, upstream=upstream)
            self._said(operation, refusal, word, close=close)
            return
        word = problem(
            refusal,
            operation=operation.number,
            close=close,
            bodiless=operation.method == "HEAD",
            upstream=operation.phase is Phase.RUNNING,
        )
        self._said(operation, refusal, word, close=close)

    def _said(self, operation: Operation, refusal: Refusal, word: bytes, *, close: bool) -> None:
        self._operation = None
        self._out.say(operation.tally, word)
        if close:
            self._end("refused", refusal)

    def _refuse_unasked(self, refusal: Refusal, word: Callable[[int], bytes] | None = None) -> None:
        """Refuse a request that nobody is asked about; the rest of it is not read."""
        self._request = None
        self._count += 1
        tally = Tally(self._count)
        self._records.refused(self._count, refusal)
        made = word(self._count) if word is not None else problem(refusal, operation=self._count, close=True)
        self._out.say(tally, made)
        self._end("refused", refusal)

    def _turn_away(self, refusal: Refusal, *, recorded: bool = False) -> None:
        """Refuse what is not even a request of an agent we know, and close."""
        if self._identity is not None:
            if self._operation is not None and self._operation.phase is Phase.RUNNING:
                self._fail(self._operation, refusal)
                if not self.ended:
                    self._end("error", refusal)
                return
            if self._operation is not None:
                self._withdraw(self._operation)
                self._records.refused(self._operation.number, refusal)
                operation, self._operation = self._operation, None
                self._out.say(operation.tally, problem(refusal, operation=operation.number, close=True))
                self._end("refused", refusal)
                return
            self._refuse_unasked(refusal)
            return
        if not recorded:
            self._records.turned_away(refusal, self._request.resource if self._request is not None else None)
        self.ended = True
        self._out.tell(problem(refusal, operation=None, close=True, metadata=self._metadata))
        self._out.add(Hangup())

    def _abandon(self, operation: Operation, reason: Abandoned) -> None:
        self._records.abandoned(operation.number, reason, sent=operation.phase is Phase.RUNNING)

    def _withdraw(self, operation: Operation) -> None:
        if operation.phase in (Phase.ASKED, Phase.HELD):
            self._out.add(Withdraw(operation=operation.number))

    # ------------------------------------------------------------ the end

    def _closed(self, side: Side) -> None:
        operation = self._operation
        if side is Side.UPSTREAM:
            self._dialled = False
            if operation is None or operation.phase is not Phase.RUNNING:
                return
            lost = Refusal(
                code=RefusalCode.UPSTREAM_LOST,
                reason="The upstream closed the connection before its answer was complete.",
                hint="The request may have had its effect.",
            )
            self._answering(operation, partial(self._answer.closed, operation), lambda _: lost)
            return
        if operation is not None:
            self._withdraw(operation)
            self._abandon(operation, "disconnected")
            self._operation = None
        self._end("agent", None)

    def _stop(self, refusal: Refusal) -> None:
        if self._identity is None:
            self._turn_away(refusal)
            return
        operation = self._operation
        if operation is not None:
            self._withdraw(operation)
            if refusal.code in (RefusalCode.KILLED, RefusalCode.SHUTDOWN):
                self._abandon(operation, "killed" if refusal.code is RefusalCode.KILLED else "shutdown")
            elif operation.phase is Phase.RUNNING:
                self._records.failed(operation.tally, refusal)
            else:
                self._records.refused(operation.number, refusal)
            self._operation = None
        word = b""
        if operation is not None and not operation.answering:
            word = problem(refusal, operation=operation.number, close=True)
        self._end(_STOP_REASONS.get(refusal.code, "error"), refusal, word)

    def _renew(self, data: bytes) -> None:
        self._undial()
        self._record_closed("agent", None)
        self.ended = True
        self._out.add(Renew(data=data))

    def _end(self, reason: Reason, refusal: Refusal | None, word: bytes = b"") -> None:
        if self.ended:
            return
        self.ended = True
        # When the log is away the record cannot be made: then the last word goes first.
        lost = refusal is not None and refusal.code in (RefusalCode.LOG_UNAVAILABLE, RefusalCode.LOG_FULL)
        if word and lost:
            self._out.tell(word)
        if self._identity is not None:
            self._record_closed(reason, refusal)
        if word and not lost:
            self._out.tell(word)
        self._out.add(Hangup())

    def _record_closed(self, reason: Reason, refusal: Refusal | None) -> None:
        self._records.closed(reason, refusal, operations=self._count, bytes_in=self._bytes_in)
