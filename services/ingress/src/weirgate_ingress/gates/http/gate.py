"""The HTTP gate: a pure state machine between an agent and an upstream, for HTTP/1.1 on both sides.

A session is one identity and one resource on one connection. A request with another token or for another
resource ends the session and begins a new one on the same socket (``Renew``). How a request says which
resource it is for, and where its token stands: :mod:`weirgate_ingress.gates.http.entry`.

=========  =============================================  ==================================================
waits for  on                                             does
=========  =============================================  ==================================================
a head     whole head, first of the session               ``Login``; then as below
a head     ``CONNECT``                                    ``Login``, then 200 and ``StartTls``: what comes next
                                                          is a head again, inside the tunnel
a head     whole head                                     reads the body whole, where rules can read its type,
                                                          else asks at once
the body   its end                                        ``Ask``
an answer  ``Allowed``                                    ``Dial`` where no upstream is connected, then runs
an answer  ``Refused``                                    tells the refusal as a problem (RFC 9457)
an answer  ``Held``, then ``HoldOver``                    tells it to come back (202): see ``deferral``
upstream   head and body of the answer                    masks, tapes, sends; records ``finished``
upstream   101, where the request asked for a WebSocket   a ``SocketTunnel`` takes both sides over, to the end
=========  =============================================  ==================================================

Of a resource of MCP (``mcp/``) a request is one message, its answer is judged message by message, and a list makes a
second operation: what the server has answered is asked about before the agent is shown any of it.

Invariants, held by tests and by fuzzing:

1. Nothing of an operation is in ``SendHead`` or ``Send(UPSTREAM)`` before ``Answered(Allowed)`` with its number
   and digest.
2. What the upstream is sent is written anew from what was judged; no head is passed on as it came. A body goes as it
   was judged, or masked as the plan says.
3. Nothing is in ``Send(AGENT)`` as part of an operation that the ``Tape`` right before it does not hold.
4. Exactly one of finished, failed, abandoned, refused, deferred (or the policy's denied) is recorded for each
   operation.
5. Where the streams are cut changes nothing but how effects are grouped.
6. An upstream's socket is used again only after an answer that ended by its own framing, with nothing behind it.
7. ``Hangup`` or ``Renew`` is the last effect ever.
8. Not one byte is passed on unread: what follows a CONNECT is TLS that ends here. What comes between it and
   ``TlsStarted`` came in clear, and ends the session.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from functools import partial
from typing import Literal, assert_never

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.events import OperationIntercepted
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
    Distrust,
    Effect,
    Found,
    Hangup,
    Held,
    HoldOver,
    Input,
    LoggedIn,
    Login,
    LoginRefused,
    Refused,
    Renew,
    SendHead,
    Side,
    StartTls,
    Stop,
    Tape,
    TlsStarted,
    Undial,
    Withdraw,
)
from weirgate_ingress.gates.http import requestmask
from weirgate_ingress.gates.http.answer import AnswerPart, Broken
from weirgate_ingress.gates.http.entry import (
    CONNECTED,
    Entrance,
    Tunnel,
    explained,
    is_hosted,
    is_proxied,
)
from weirgate_ingress.gates.http.handshake import Keys
from weirgate_ingress.gates.http.header import shown
from weirgate_ingress.gates.http.injected import fitted
from weirgate_ingress.gates.http.later import LaterPart
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
    unserved_upgrade,
)
from weirgate_ingress.gates.http.requestmask import RequestBroken
from weirgate_ingress.gates.http.socket import Hands, SocketTunnel
from weirgate_ingress.gates.http.terms import Bodies, HttpTerms
from weirgate_ingress.gates.http.whole import WholeBody
from weirgate_ingress.gates.outbox import Outbox, Tally
from weirgate_ingress.gates.problem import problem
from weirgate_ingress.gates.record import Abandoned
from weirgate_wire.error import PeerError
from weirgate_wire.http.framing import LAST_CHUNK, BodyReader, Framing, chunk
from weirgate_wire.http.head import HeadReader, ResponseHead
from weirgate_wire.http.hop import persists

_CONTINUE = ResponseHead(status=100, reason="Continue", headers=()).encode()
_UNAUTHORIZED = 401
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
        self._later = LaterPart(self._records, self._out)
        self._mcp: McpPart | None = None
        self._metadata: str | None = None
        """Where who is refused for want of a token may read about them (RFC 9728)."""
        self._tls: str | None = None
        self._socket: SocketTunnel | None = None
        """Opened by the CONNECT this session began with."""
        self._securing = False
        """It is opened, and TLS inside it has not begun."""
        self._proxied = False
        """The request that was read last asks the gateway as a proxy."""
        self._head = HeadReader()
        self._raw = bytearray()
        """What came of the head that is being read, as it came: a new session reads it again."""
        self._ahead = bytearray()
        """What the agent sent beyond what can be taken in now."""
        self._agent_left = False
        self._request: Request | None = None
        self._reading = BodyReader(Framing(kind="none"))
        self._whole: WholeBody | None = None
        self._identity: Identity | None = None
        self._resource: ResourceDocument | None = None
        self._credential = b""
        self._operation: Operation | None = None
        self._asked: OperationIntercepted | None = None
        self._tunnel: Tunnel | None = None
        self._count = 0
        self._dialled = False
        self._bytes_in = 0
        self.ended = False

    @property
    def wants_agent_bytes(self) -> bool:
        """Whether the shell is to read the agent now."""
        if self._socket is not None and not self._socket.wants_agent_bytes:
            return False
        # Until a CONNECT is answered its agent has nothing to say; what it says anyway stays in the socket.
        connecting = self._securing or (self._request is not None and self._request.connect is not None)
        return not self.ended and not connecting and len(self._ahead) <= self._terms.ahead_limit_bytes

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
                self._securing = False
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
                elif self._operation is not None and self._operation.phase is Phase.RUNNING:
                    # The socket was there, and a credential for this head was not: the shell sent nothing.
                    self._fail(self._operation, refusal)
            case Answered():
                self._answered(given)
            case HoldOver(operation=number):
                if self._operation is not None and self._operation.number == number:
                    self._defer(self._operation)
            case Found():
                self._found(given)
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
        if self._later.is_looking:
            return False
        if self._securing:
            if self._ahead:
                raise PeerError("bytes in clear where TLS belongs")
            return False
        operation = self._operation
        if self._socket is not None:
            if self._ahead:
                data, self._ahead = bytes(self._ahead), bytearray()
                self._in_socket(self._socket, partial(self._socket.agent_sent, data))
            return False
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
        self._proxied = is_proxied(head)
        terms = self._terms
        entrance = Entrance(
            places=terms.places, token_header=terms.token_header, tunnels=terms.tunnels,
            secure=self._tls is not None, tunnel=self._tunnel,
        )  # fmt: skip
        self._metadata = None if is_hosted(head, entrance) else metadata_url(head, tls=self._tls is not None)
        word = metadata_asked(head, self._metadata, terms.authorization_servers)
        if word is not None:
            self._end("agent", None, word)
            return False
        self._begin(read_request(head, entrance), raw)
        return True

    def _begin(self, request: Request, raw: bytes) -> None:
        credential = hashlib.sha256(f"{request.resource}\0{request.token}".encode()).digest()
        if self._tls is None and not self._terms.cleartext_allowed:
            raise Unserved(
                RefusalCode.TLS_REQUIRED, "A token must not travel without TLS.", "Connect with https."
            )
        if request.offer is not None and not self._terms.seed:
            raise unserved_upgrade("WebSocket is not let through this gateway.")
        if self._resource is None:
            if request.connect is not None and self._ahead:
                raise PeerError("bytes behind a CONNECT that is not answered")
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
        elif request.inside or (
            request.connect is None and hmac.compare_digest(credential, self._credential)
        ):
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
        assert self._resource is not None
        if request.connect is not None:
            self._open_tunnel(request.connect)
            return
        if request.looks_up is not None:
            self._request = None
            self._count += 1
            self._later.look_up(request, request.looks_up, self._count)
            return
        request = fitted(request, self._resource)
        if self._request is not None:
            self._request = request
        if self._mcp is not None:
            if request.offer is not None:
                raise unserved_upgrade("MCP is spoken in plain HTTP requests.")
            self._mcp.admit(request)
        if not request.read_whole:
            self._ask(request, None)
            return
        self._whole = WholeBody(request)
        if request.continues:
            # Nobody but the gateway sees the body before the verdict, so it is taken in at once.
            self._out.say(Tally(0), _CONTINUE)

    def _open_tunnel(self, tunnel: Tunnel) -> None:
        self._request = None
        if self._ahead:
            raise PeerError("bytes behind a CONNECT that is not answered")
        self._tunnel, self._securing = tunnel, True
        self._out.tell(CONNECTED)
        self._out.add(StartTls(host=tunnel.host))

    def _pieces(self, reader: BodyReader) -> list[bytes]:
        data, self._ahead = bytes(self._ahead), bytearray()
        pieces = reader.feed(data)
        if reader.done:
            self._ahead += reader.rest()
        return pieces

    def _gather(self, request: Request) -> bool:
        if self._whole is None or not (self._ahead or self._reading.done):
            return False
        for piece in self._pieces(self._reading):
            self._whole.feed(piece)
        if not self._reading.done:
            return False
        self._ask(request, self._whole.finish())
        return True

    # ------------------------------------------------------------ asking

    def _ask(self, request: Request, whole: bytes | None) -> None:
        assert self._resource is not None
        assert self._identity is not None
        call, sent = make_call(request, self._resource, whole)
        read = self._mcp.read(request, whole, call, sent) if self._mcp is not None else None
        if read is not None:
            call, sent = read.call, read.sent
        self._request = None
        self._whole = None
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
            offer=request.offer,
            hosted=request.hosted,
            own=request.own,
        )
        self._ask_about(operation)

    def _ask_about(self, operation: Operation) -> None:
        assert self._resource is not None
        assert self._identity is not None
        self._operation = operation
        self._asked = OperationIntercepted(
            ingress=self._terms.ingress,
            session=self._terms.session,
            operation=operation.number,
            protocol="mcp" if self._mcp is not None else self.protocol,
            resource=self._resource.name,
            identity=self._identity,
            call=operation.call,
            digest=operation.digest,
        )
        self._out.add(Ask(event=self._asked))

    def _answered(self, given: Answered) -> None:
        operation = self._operation
        if self._socket is not None:
            self._in_socket(self._socket, partial(self._socket.answered, given))
            return
        if (
            operation is None
            or operation.number != given.operation
            or operation.phase not in (Phase.ASKED, Phase.HELD)
        ):
            return
        match given.answer:
            case Held():
                assert self._resource is not None
                if self._later.hold(operation, given.answer, self._resource):
                    self._defer(operation)
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
                else:
                    self._dial(operation)
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
        operation.limits = verdict.limits
        operation.judges = verdict.messages != "record"
        assert self._resource is not None
        if operation.mcp is not None:
            refusal = operation.mcp.agree(verdict)
            if refusal is not None:
                return refusal
            operation.whole = operation.mcp.body_to_send()
        return requestmask.prepare(operation, self._answer.bodies, self._resource)

    def _dial(self, operation: Operation) -> None:
        if operation.offer is not None:
            # A WebSocket is opened over HTTP/1.1, and the socket there is may speak HTTP/2.
            self._undial()
        if self._dialled:
            self._send_on(operation)
        else:
            operation.phase = Phase.DIALLING
            self._out.add(Dial(parameters={} if operation.offer is None else {"http": "1.1"}))

    # ------------------------------------------------------------ held, and not for ever

    def _defer(self, operation: Operation) -> None:
        """Tell the agent to come back; its connection goes on."""
        if operation.phase is not Phase.HELD or operation.held is None:
            return
        assert self._identity is not None
        assert self._resource is not None
        self._operation = None
        if self._later.defer(operation, operation.held, self._identity, self._resource):
            self._end("agent", None)

    def _found(self, found: Found) -> None:
        if self._resource is not None and self._later.found(found, self._resource):
            self._end("agent", None)

    # ------------------------------------------------------------ sending on

    def _send_on(self, operation: Operation) -> None:
        out = self._out
        operation.phase = Phase.RUNNING
        sent, headers = operation.sent, operation.sent.headers
        taped = sent.with_headers(shown(headers)).encode()
        body = operation.whole
        if body is not None:
            framed = (*headers, ("content-length", str(len(body))))
        elif operation.chunked:
            framed = (*headers, ("transfer-encoding", "chunked"))
        elif operation.call.body is not None:
            framed = (*headers, ("content-length", str(operation.call.body.size_bytes)))
        else:
            framed = headers
        if operation.offer is not None:
            operation.key = base64.b64encode(self._keys(operation).take(16)).decode()
            framed = (*framed, ("sec-websocket-key", operation.key))
        call_body = operation.call.body
        told = call_body.text.encode() if call_body is not None and call_body.text is not None else None
        covered = body is None or body == told
        out.add(Tape(direction="i", operation=operation.number, data=taped + (body or b""), covered=covered))
        self._answer.begin(operation)
        streams = body is None and operation.call.body is not None
        digest = None if streams else hashlib.sha256(body or b"").hexdigest()
        out.add(SendHead(head=sent.with_headers(framed), body_sha256=digest))
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
        try:
            pieces = requestmask.masked(operation, pieces)
        except RequestBroken as broken:
            self._fail(operation, broken.refusal)
            return
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
        if self._socket is not None:
            self._in_socket(self._socket, partial(self._socket.upstream_sent, data))
            return
        self._answering(
            operation,
            partial(self._answer.take, operation, data, self._resource),
            lambda error: Refusal(
                code=RefusalCode.PROTOCOL, reason=f"The upstream's answer is malformed: {error}"[:2000]
            ),
        )
        if operation.early is not None:
            self._open_socket(operation, operation.early)

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
        self._distrust(operation)
        self._operation = None
        unread = not operation.body.done
        if unread or not operation.upstream_stays:
            self._undial()
        if unread or not operation.agent_stays:
            self._end("agent", None)

    # ------------------------------------------------------------ a WebSocket

    def _keys(self, operation: Operation, use: bytes = b"") -> Keys:
        return Keys(self._terms.seed + use, operation.number)

    def _open_socket(self, operation: Operation, early: bytes) -> None:
        assert self._asked is not None
        hands = Hands(
            out=self._out,
            records=self._records,
            bodies=self._answer.bodies,
            next_number=self._next_number,
            undial=self._undial,
            ahead_limit_bytes=self._terms.ahead_limit_bytes,
        )
        keys = self._keys(operation, b"frames")
        self._socket = SocketTunnel(hands, operation, self._asked, judges=operation.judges, keys=keys)
        self._in_socket(self._socket, partial(self._socket.upstream_sent, early))

    def _next_number(self) -> int:
        self._count += 1
        return self._count

    def _in_socket(self, tunnel: SocketTunnel, step: Callable[[], object]) -> None:
        """Take a step in a tunnel, and see whether it was the last."""
        step()
        operation, end = self._operation, tunnel.end
        if operation is None or end is None:
            return
        self._socket = self._operation = None
        if end.how == "finished":
            self._records.finished(operation)
        elif end.how == "abandoned":
            self._abandon(operation, "disconnected")
        self._end(end.reason, end.refusal)

    def _fail(self, operation: Operation, refusal: Refusal) -> None:
        """End an operation that was sent on and cannot be answered as the upstream would have it."""
        self._records.failed(operation.tally, refusal)
        self._distrust(operation)
        self._undial()
        if operation.answering:
            # The agent has seen the beginning of an answer: only a broken connection says that it has no end.
            self._operation = None
            self._end("error", refusal)
        else:
            self._tell(operation, refusal)

    def _distrust(self, operation: Operation) -> None:
        if operation.response is not None and operation.response.status == _UNAUTHORIZED:
            self._out.add(Distrust())

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
            proxied=self._proxied,
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
        if not self._securing:
            made = problem(refusal, operation=self._count, close=True, proxied=self._proxied)
            self._out.say(tally, word(self._count) if word is not None else made)
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
                word = problem(refusal, operation=operation.number, close=True, proxied=self._proxied)
                self._out.say(operation.tally, word)
                self._end("refused", refusal)
                return
            self._refuse_unasked(refusal)
            return
        if not recorded:
            self._records.turned_away(refusal, self._request.resource if self._request is not None else None)
        self.ended = True
        if self._request is not None:
            refusal = explained(refusal, self._request.resource)
        self._out.tell(
            problem(refusal, operation=None, close=True, metadata=self._metadata, proxied=self._proxied)
        )
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
            if self._socket is not None:
                self._in_socket(self._socket, partial(self._socket.closed, side))
                return
            lost = Refusal(
                code=RefusalCode.UPSTREAM_LOST,
                reason="The upstream closed the connection before its answer was complete.",
                hint="The request may have had its effect.",
            )
            self._answering(operation, partial(self._answer.closed, operation), lambda _: lost)
            return
        if self._socket is not None:
            self._in_socket(self._socket, partial(self._socket.closed, side))
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
        operation, tunnel, word = self._operation, self._socket, b""
        if tunnel is not None:
            self._in_socket(tunnel, partial(tunnel.unanswered, refusal))
            if self.ended:
                return
            word = tunnel.stopped(refusal)
        if tunnel is not None and tunnel.settled:
            self._operation = None
        elif operation is not None:
            self._withdraw(operation)
            if refusal.code in (RefusalCode.KILLED, RefusalCode.SHUTDOWN):
                self._abandon(operation, "killed" if refusal.code is RefusalCode.KILLED else "shutdown")
            elif operation.phase is Phase.RUNNING:
                self._records.failed(operation.tally, refusal)
            else:
                self._records.refused(operation.number, refusal)
            self._operation = None
        if operation is not None and not operation.answering:
            word = problem(refusal, operation=operation.number, close=True, proxied=self._proxied)
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
