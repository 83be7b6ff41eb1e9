"""An HTTP/2 upstream that looks to the session like an HTTP/1.1 one.

The gate judges, sends and reads HTTP/1.1. Here the judged head and the framed body become one stream, and what comes
back becomes one HTTP/1.1 answer: with the ``content-length`` it has, else in chunks. One stream is open at a time.

Invariants:

1. An answer is complete only with END_STREAM: what would complete it by its own framing is held back until then. A
   reset, a GOAWAY that leaves our stream out, a broken rule or a lost socket before it is a lost upstream.
2. What the session cannot send on is not acknowledged, so at most ``WINDOW_BYTES`` of it are on their way; what the
   upstream does not take waits here, and the session is told to stop reading its agent.
3. Nothing that is pushed is taken, no field of one hop crosses, trailers are dropped.
4. Fields that carry a credential are in no compression table (RFC 7541 section 7.1.3).

Source: RFC 9113, RFC 7541.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    PushedStreamReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import H2Error, StreamClosedError
from h2.settings import SettingCodes, Settings
from hpack import HeaderTuple, NeverIndexedHeaderTuple

from weirgate_chassis import log
from weirgate_ingress.http2_frame import FRAME_LIMIT_BYTES, PER_REQUEST, PER_SENT, FrameMeter
from weirgate_ingress.upstreams import Link, Sink
from weirgate_wire.error import PeerError, UsageError
from weirgate_wire.http.framing import LAST_CHUNK, BodyReader, chunk, request_framing
from weirgate_wire.http.head import HEAD_LIMIT_BYTES, RequestHead, ResponseHead
from weirgate_wire.http.hop import HOP_BY_HOP

ALPN: Final = "h2"
WINDOW_BYTES: Final = 1024 * 1024
"""Most that an upstream may send ahead of what was passed on."""
_SWITCHING: Final = 101
_NO_BODY: Final = (204, 304)


@dataclass(slots=True, kw_only=True)
class _Exchange:
    """One request and its answer."""

    number: int
    """Of the stream."""
    method: str
    body: BodyReader
    """Of the request, out of the framing the gate gave it."""
    pending: deque[bytes] = field(default_factory=deque[bytes])
    pending_bytes: int = 0
    closed_out: bool = False
    """END_STREAM was sent."""
    left: int | None = None
    """Bytes of the answer's body that are still to come, where its length is known."""
    bodiless: bool = False
    chunked: bool = False
    held: bytes = b""
    """What would complete the answer."""


class Http2Line(asyncio.Transport):
    """The socket to an HTTP/2 upstream: a transport to the session, a sink to the link.

    Args:
        link: connected, TLS with ``h2`` chosen.
        transport: of the link.
        secret: names of fields that carry a credential, besides ``authorization``.
    """

    def __init__(self, link: Link, transport: asyncio.Transport, *, secret: Iterable[str] = ()) -> None:
        super().__init__()
        self._link = link
        self._transport = transport
        self._secret = frozenset(("authorization", "cookie", "x-amz-security-token", *secret))
        self._meter = FrameMeter(asyncio.get_running_loop().time)
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._sink: Sink | None = None
        self._exchange: _Exchange | None = None
        self._closed = self._lost = False
        self._paused = False
        self._unacknowledged: dict[int, int] = {}
        self._link_full = self._told_full = False
        self._high, self._low = 512 * 1024, 128 * 1024

    def start(self) -> None:
        """Send the preface and our settings, and hear the upstream."""
        self._h2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES,
                SettingCodes.MAX_FRAME_SIZE: FRAME_LIMIT_BYTES,
                SettingCodes.MAX_HEADER_LIST_SIZE: HEAD_LIMIT_BYTES,
            },
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(WINDOW_BYTES - 65_535)
        self._flush()
        self._link.attach(self, b"")

    # ------------------------------------------------------------ for the session

    def attach(self, sink: Sink, rest: bytes) -> None:
        """Deliver to a session from now on. ``rest`` is empty: the link has been read from the first byte."""
        self._sink = sink
        self._signal()
        if self._lost:
            sink.upstream_lost()

    def detach(self) -> None:
        """Hear nothing more of it, and close it at once."""
        self._sink = None
        self._closed = True
        self._link.detach()

    def send_head(self, head: RequestHead) -> None:
        """Begin a stream. The head is final, its framing as HTTP/1.1 has it."""
        if self.is_closing():
            return
        if self._exchange is not None:
            raise UsageError("a request before the answer to the last is complete")
        body = BodyReader(request_framing(head))
        try:
            number = self._h2.get_next_available_stream_id()
            self._h2.send_headers(number, self._fields(head), end_stream=body.done)
        except H2Error as error:
            # Not from within a call of the session: it is in the middle of something.
            self._break("no stream can be begun", error, later=True)
            return
        self._meter.earn(PER_REQUEST)
        self._exchange = _Exchange(number=number, method=head.method, body=body, closed_out=body.done)
        self._flush()

    def write(self, data: Any) -> None:
        """Send a part of the body, framed as HTTP/1.1 has it."""
        exchange = self._exchange
        if exchange is None or self.is_closing():
            return
        for piece in exchange.body.feed(bytes(data)):
            exchange.pending.append(piece)
            exchange.pending_bytes += len(piece)
        self._pump(later=True)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Say when the session is told that the upstream reads slowly, and when that it has caught up, in bytes."""
        self._high = self._high if high is None else high
        self._low = self._low if low is None else low
        self._transport.set_write_buffer_limits(high=high, low=low)

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be sent."""
        waiting = self._exchange.pending_bytes if self._exchange is not None else 0
        return waiting + self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Acknowledge nothing more. Frames are read on, so that pings are answered."""
        self._paused = True

    def resume_reading(self) -> None:
        """Acknowledge again, what has come meanwhile included."""
        self._paused = False
        waiting, self._unacknowledged = self._unacknowledged, {}
        if self.is_closing():
            return
        try:
            for number, size in waiting.items():
                self._h2.acknowledge_received_data(size, number)
        except H2Error as error:
            self._break("it breaks HTTP/2", error, later=True)
            return
        self._flush()

    def is_reading(self) -> bool:
        """Whether data is acknowledged."""
        return not self._paused and not self._closed

    def is_closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self._closed or self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As of the socket."""
        return self._transport.get_extra_info(name, default)

    def close(self) -> None:
        """Say goodbye and close once that is sent."""
        if not self.is_closing():
            with contextlib.suppress(H2Error):
                self._h2.close_connection()
            self._flush()
        self._closed = True
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._closed = True
        self._transport.abort()

    # ------------------------------------------------------------ for the link

    def upstream_sent(self, data: bytes) -> None:
        """The upstream sent frames."""
        if self._closed:
            return
        out: list[bytes] = []
        try:
            kept = self._meter.feed(data)
            for event in self._h2.receive_data(kept) if kept else ():
                self._take(event, out)
        except (H2Error, PeerError, UsageError) as error:
            # What came before it is no end of an answer: nothing of this turn is passed on.
            self._break("it breaks HTTP/2", error)
            return
        self._flush()
        if out and self._sink is not None:
            self._sink.upstream_sent(b"".join(out))
        if not self._closed:
            self._pump()
        gone = self._meter.gone
        if (
            not self._closed
            and gone is not None
            and (self._exchange is None or self._exchange.number > gone.last)
        ):
            self._break("it takes no more streams", None)

    def upstream_lost(self) -> None:
        """The socket is closed."""
        self._closed = True
        if not self._lost:
            self._lost = True
            if self._sink is not None:
                self._sink.upstream_lost()

    def upstream_full(self) -> None:
        """The socket takes no more."""
        self._link_full = True
        self._signal()

    def upstream_drained(self) -> None:
        """The socket takes more."""
        self._link_full = False
        if not self._closed:
            self._pump()

    # ------------------------------------------------------------ the request

    def _fields(self, head: RequestHead) -> list[HeaderTuple]:
        found = [
            HeaderTuple(b":method", head.method.encode()),
            HeaderTuple(b":scheme", b"https"),
            HeaderTuple(b":authority", "".join(head.all("host")).encode()),
            # The query may carry a credential.
            NeverIndexedHeaderTuple(b":path", head.target.encode()),
        ]
        for name, value in head.headers:
            if name in HOP_BY_HOP or name == "host":
                continue
            kind = NeverIndexedHeaderTuple if name in self._secret else HeaderTuple
            found.append(kind(name.encode(), value.encode("latin-1")))
        return found

    def _pump(self, *, later: bool = False) -> None:
        """Send of the body what may be sent now."""
        exchange = self._exchange
        if exchange is not None and not exchange.closed_out:
            try:
                self._send_pending(exchange)
            except H2Error as error:
                self._break("it breaks HTTP/2", error, later=later)
                return
        self._signal()

    def _send_pending(self, exchange: _Exchange) -> None:
        pending, number = exchange.pending, exchange.number
        while pending and not self._link_full:
            room = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
            if room <= 0:
                return
            piece = pending.popleft()
            if len(piece) > room:
                pending.appendleft(piece[room:])
                piece = piece[:room]
            exchange.pending_bytes -= len(piece)
            exchange.closed_out = exchange.body.done and not pending
            self._h2.send_data(number, piece, end_stream=exchange.closed_out)
            self._meter.earn(PER_SENT)
            self._flush()
        if exchange.body.done and not pending and not exchange.closed_out:
            exchange.closed_out = True
            self._h2.end_stream(number)
            self._flush()

    def _signal(self) -> None:
        waiting = self._exchange.pending_bytes if self._exchange is not None else 0
        full = self._link_full or waiting > (self._low if self._told_full else self._high)
        if full != self._told_full and self._sink is not None:
            self._told_full = full
            if full:
                self._sink.upstream_full()
            else:
                self._sink.upstream_drained()

    # ------------------------------------------------------------ the answer

    def _take(self, event: Event, out: list[bytes]) -> None:
        exchange = self._exchange
        if isinstance(event, DataReceived):
            self._acknowledge(event)
        if isinstance(event, PushedStreamReceived):
            raise PeerError("a pushed answer")
        if exchange is None or getattr(event, "stream_id", None) != exchange.number:
            return
        match event:
            case InformationalResponseReceived():
                head = _head(event.headers or ())
                if head.status == _SWITCHING:
                    raise PeerError("it switches protocols, which HTTP/2 has not")
                out.append(head.encode())
            case ResponseReceived():
                self._answer(
                    exchange, _head(event.headers or ()), ended=event.stream_ended is not None, out=out
                )
            case DataReceived():
                self._pass(exchange, event.data or b"", out)
            case StreamEnded():
                self._complete(exchange, out)
            case StreamReset():
                raise PeerError(f"the stream was reset with code {int(event.error_code or 0)}")
            case _:
                pass

    def _acknowledge(self, event: DataReceived) -> None:
        size, number = event.flow_controlled_length or 0, event.stream_id or 0
        if not size:
            return
        if self._paused:
            self._unacknowledged[number] = self._unacknowledged.get(number, 0) + size
        else:
            self._h2.acknowledge_received_data(size, number)

    def _answer(self, exchange: _Exchange, head: ResponseHead, *, ended: bool, out: list[bytes]) -> None:
        exchange.bodiless = exchange.method == "HEAD" or head.status in _NO_BODY
        length = head.get("content-length")
        headers = list(head.headers)
        if not exchange.bodiless:
            if length is not None:
                if not length.isdecimal():
                    raise PeerError("a content-length that is not a plain decimal number")
                exchange.left = int(length)
            elif ended:
                headers.append(("content-length", "0"))
                exchange.left = 0
            else:
                headers.append(("transfer-encoding", "chunked"))
                exchange.chunked = True
        if self._meter.gone is not None:
            headers.append(("connection", "close"))
        written = head.with_headers(headers).encode()
        if exchange.bodiless or exchange.left == 0:
            exchange.held = written
        else:
            out.append(written)

    def _pass(self, exchange: _Exchange, data: bytes, out: list[bytes]) -> None:
        if not data:
            return
        if exchange.bodiless:
            raise PeerError("a body where there is none")
        if exchange.chunked:
            out.append(chunk(data))
            return
        assert exchange.left is not None, "a body comes after its head, which h2 sees to"
        exchange.left -= len(data)
        if exchange.left > 0:
            out.append(data)
        else:
            exchange.held = data

    def _complete(self, exchange: _Exchange, out: list[bytes]) -> None:
        if exchange.left:
            raise PeerError("an answer that ends before its length")
        out.append(exchange.held)
        if exchange.chunked:
            out.append(LAST_CHUNK)
        if not exchange.closed_out:
            # It needs no more of the request; neither is it sent more.
            with contextlib.suppress(StreamClosedError):
                self._h2.reset_stream(exchange.number, ErrorCodes.CANCEL)
        self._exchange = None

    # ------------------------------------------------------------ the end

    def _break(self, why: str, error: Exception | None, *, later: bool = False) -> None:
        """Hang up on the upstream, and tell the session."""
        if self._closed:
            return
        self._closed = True
        if self._exchange is not None or error is not None:
            # The text of h2's exceptions may quote what it read.
            reason = str(error) if isinstance(error, PeerError) else type(error).__name__
            log.warning("HTTP/2 upstream hung up on", what=why, reason=reason)
        self._flush()
        self._transport.abort()
        if later:
            asyncio.get_running_loop().call_soon(self.upstream_lost)
        else:
            self.upstream_lost()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)


def _head(fields: Iterable[Any]) -> ResponseHead:
    """Return the head of an answer as HTTP/1.1 has it.

    Raises:
        PeerError: there is no such status.
    """
    status = 0
    headers: list[tuple[str, str]] = []
    for name, value in fields:
        if name == b":status":
            if len(value) != 3 or not value.isdigit():
                raise PeerError("a malformed status")
            status = int(value)
        elif not name.startswith(b":"):
            headers.append((name.decode("latin-1"), value.decode("latin-1").strip(" \t")))
    if not 100 <= status <= 599:
        raise PeerError("a malformed status")
    if any(name in HOP_BY_HOP for name, _ in headers):
        raise PeerError("a field of one hop, which HTTP/2 has not")
    return ResponseHead(status=status, headers=tuple(headers))
