"""One connection to NATS that comes back by itself.

States: *away* (dialling, with a jittered pause between attempts) → *greeting* (INFO, CONNECT, PONG) →
*catching up* (every subscription is made again, PONG proves that they are in force) → *connected* → away …

Invariants:

* A message is handed to its handler straight from the socket, in order: there is no queue that could
  overflow, so none is ever dropped here. A server that cannot keep us fed closes the connection, which is a
  reconnect, which tells everybody who must read again.
* A message is handed over only if its *subject* matches what was subscribed to. JetStream lets whoever may
  make a consumer choose the subject its deliveries are routed on; the subject on the message stays that of
  the stored message, so nobody can pass off an old message as a fresh one elsewhere.
* A handler that raises, and a subscription that the server does not permit (any more), end ``watch``.
* Silence is noticed: without a byte for ``_PING_S`` we ask, after ``_SILENCE_S`` the connection counts as
  lost.
"""

import asyncio
import json
import random
import re
import ssl
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast
from urllib.parse import urlsplit

from weirgate_bus import wire
from weirgate_bus.nkey import Signer
from weirgate_bus.port import BusDenied, BusError, BusUnavailable
from weirgate_bus.subject import matches

_PING_S = 1.0
_SILENCE_S = 3.0
_BUSY_S = 0.05
_DIAL_S = 2.0
_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5)
_VIOLATION = re.compile(rb"permissions violation for (publish|subscription) to \"([^\"]+)\"", re.IGNORECASE)

Handler = Callable[[str, str, bytes, bytes], None]
"""Takes subject, reply, header block, body."""


@dataclass(slots=True, eq=False)
class Route:
    """One subscription as the connection keeps it."""

    sid: bytes
    pattern: str
    queue: str | None
    handle: Handler
    exact: bool
    """Refuse messages whose subject does not match the pattern."""
    denied: bool = False


@dataclass(slots=True, eq=False)
class Answer:
    """What came back to a request."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        """Status of the header line; 503: nobody answers on that subject."""
        return wire.status_of(self.head)[0] if self.head else 0

    def object(self) -> dict[str, Any]:
        """Read the body as a JSON object.

        Raises:
            BusUnavailable: it is none.
        """
        try:
            read = json.loads(self.body)
        except ValueError as error:
            raise BusUnavailable("an answer that is no JSON") from error
        if not isinstance(read, dict):
            raise BusUnavailable("an answer that is no object")
        return cast("dict[str, Any]", read)


class _Socket(asyncio.Protocol):
    """The protocol object of one TCP connection."""

    def __init__(self, owner: "Connection") -> None:
        self._owner = owner
        self._parser = wire.Parser(self)
        self.transport: asyncio.Transport | None = None
        self.hello: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pongs: deque[asyncio.Future[None]] = deque()
        self.heard_at = asyncio.get_running_loop().time()
        self.refused: BusDenied | None = None
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        try:
            self._parser.feed(data)
        except wire.WireError:
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.hello, self.lost, *self.pongs):
            if not future.done():
                if future is self.lost:
                    self.lost.set_result(None)
                else:
                    future.set_exception(BusUnavailable("the connection was lost"))
                    future.exception()  # nobody may be waiting any more; that is fine
        self.pongs.clear()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def drop(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def message(self, sid: bytes, subject: str, reply: str, head: bytes, body: bytes) -> None:
        self._owner.deliver(sid, subject, reply, head, body)

    def control(self, line: bytes) -> None:
        kind = line[:4].upper()
        if kind == b"PING":
            if self.transport is not None:
                self.transport.write(b"PONG\r\n")
        elif kind == b"PONG":
            if self.pongs:
                future = self.pongs.popleft()
                if not future.done():
                    future.set_result(None)
        elif kind == b"INFO":
            try:
                self._owner.informed(json.loads(line[5:]))
            except ValueError as error:
                raise wire.WireError("an INFO that is no JSON") from error
            if not self.hello.done():
                self.hello.set_result(self._owner.info)
        elif kind == b"-ERR":
            self._complained(line[5:].strip(b"' "))
        else:
            raise wire.WireError("an unknown line")

    def _complained(self, text: bytes) -> None:
        violation = _VIOLATION.search(text)
        if violation is not None:
            self._owner.denied(violation.group(1).lower() == b"publish", violation.group(2).decode())
        elif b"authorization" in text.lower() or b"authentication" in text.lower():
            self.refused = BusDenied("the server does not know this key")
        # Whatever else it complains about, it closes the connection itself.


class Connection:
    """A connection as one NKey user. Make it with :meth:`open`."""

    def __init__(self, urls: str, seed: bytes, name: str, inbox: str) -> None:
        self._urls = [part.strip() for part in urls.split(",") if part.strip()]
        self._signer = Signer(seed)
        self._name = name
        self.inbox = f"{inbox}.{random.getrandbits(60):x}"
        self.info: Mapping[str, Any] = {}
        self.closed = False
        self._up = asyncio.Event()
        self._socket: _Socket | None = None
        self._routes: dict[bytes, Route] = {}
        self._answers: dict[str, Callable[[Answer], None]] = {}
        self._sids = 0
        self._tokens = 0
        self._out: list[bytes] = []
        self._flushing = False
        self._on_connect: list[Callable[[], None]] = []
        self._on_lost: list[Callable[[], None]] = []
        self._on_denied: list[Callable[[str], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._failure: asyncio.Future[NoReturn] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._first: asyncio.Future[None] = self._loop.create_future()
        self._last_refusal: BusError | None = None

    @classmethod
    async def open(
        cls, urls: str, seed: bytes, name: str, *, inbox: str, deadline_s: float = 10.0
    ) -> "Connection":
        """Connect, trying until the deadline.

        Raises:
            BusUnavailable: nobody answers.
            BusDenied: the server does not know this key.
        """
        made = cls(urls, seed, name, inbox)
        made.route(f"{made.inbox}.*", made._answered, exact=True)
        made._task = made._loop.create_task(made._live(), name="nats connection")
        try:
            async with asyncio.timeout(deadline_s):
                await asyncio.shield(made._first)
        except TimeoutError:
            reason = made._last_refusal
            await made.close()
            raise reason or BusUnavailable(f"no NATS server answers at {urls}") from None
        return made

    @property
    def connected(self) -> bool:
        """Whether there is a connection right now, with every subscription in force."""
        return self._up.is_set()

    # ------------------------------------------------------------ what callers do

    def on_connect(self, callback: Callable[[], None]) -> None:
        """Call back after every connect but the first, subscriptions in force."""
        self._on_connect.append(callback)

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call back when the connection is lost."""
        self._on_lost.append(callback)

    def forget_lost(self, callback: Callable[[], None]) -> None:
        """Call that one back no more."""
        self._on_lost.remove(callback)

    async def until_connected(self) -> None:
        """Wait, for ever, until there is a connection."""
        await self._up.wait()

    def unique(self) -> str:
        """Return a subject of our inbox that nothing else uses."""
        self._tokens += 1
        return f"{self.inbox}.s.{self._tokens:x}"

    async def gather(self, subject: str, body: bytes, *, wait_s: float, deadline_s: float) -> list[Answer]:
        """Ask everybody: wait for the first answer until the deadline, for others ``wait_s`` after the last.

        Raises:
            BusDenied: this user may not ask that.
            BusUnavailable: not connected.
        """
        answers: list[Answer] = []
        first = await self.request(subject, body, deadline_s=deadline_s)
        answers.append(first)
        reply = self.expect_answer(answers.append)
        answers.clear()
        self.send(wire.plain(subject, reply, body))
        limit = self._loop.time() + deadline_s
        seen = -1
        while self._loop.time() < limit and (not answers or seen != len(answers)):
            seen = len(answers)
            await asyncio.sleep(wait_s)
        self.forget_answer(reply)
        return answers or [first]

    def on_denied(self, callback: Callable[[str], None]) -> None:
        """Call back with the subject of a publish that the server did not permit."""
        self._on_denied.append(callback)

    @property
    def payload_limit_bytes(self) -> int:
        """Longest message the server takes, headers included."""
        return int(self.info.get("max_payload", 1024 * 1024))

    def send(self, written: bytes) -> None:
        """Send what is written in protocol form; several in one turn of the loop go in one write."""
        self._out.append(written)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def route(self, pattern: str, handle: Handler, *, queue: str | None = None, exact: bool = True) -> Route:
        """Subscribe. In force at once, or as soon as there is a connection."""
        self._sids += 1
        made = Route(str(self._sids).encode(), pattern, queue, handle, exact)
        self._routes[made.sid] = made
        if self.connected:
            self.send(_sub(made))
        return made

    def unroute(self, route: Route) -> None:
        """Unsubscribe."""
        if self._routes.pop(route.sid, None) is not None and self.connected:
            self.send(b"UNSUB %b\r\n" % route.sid)

    def expect_answer(self, handle: Callable[[Answer], None]) -> str:
        """Make a reply subject for one answer. Forget it with :meth:`forget_answer`."""
        self._tokens += 1
        token = f"{self._tokens:x}"
        self._answers[token] = handle
        return f"{self.inbox}.{token}"

    def forget_answer(self, reply: str) -> None:
        """Take no answer on that reply subject any more."""
        self._answers.pop(reply[len(self.inbox) + 1 :], None)

    async def request(self, subject: str, body: bytes = b"", *, deadline_s: float = 5.0) -> Answer:
        """Ask and wait for one answer.

        Raises:
            BusUnavailable: not connected, nobody there, or no answer in time.
            BusDenied: this user may not ask that.
        """
        if not self.connected:
            raise BusUnavailable("not connected")
        future: asyncio.Future[Answer] = self._loop.create_future()

        def take(answer: Answer) -> None:
            if not future.done():
                future.set_result(answer)

        def denied(violated: str) -> None:
            if violated == subject and not future.done():
                future.set_exception(BusDenied(f"this user may not publish on {subject}"))

        reply = self.expect_answer(take)
        self._on_denied.append(denied)
        try:
            async with asyncio.timeout(deadline_s):
                self.send(wire.plain(subject, reply, body))
                answer = await future
        except TimeoutError:
            raise BusUnavailable(f"no answer on {subject}") from None
        finally:
            self._on_denied.remove(denied)
            self.forget_answer(reply)
        if answer.status == 503:
            raise BusUnavailable(f"nobody answers on {subject}")
        return answer

    async def settled(self, deadline_s: float = 5.0) -> None:
        """Wait until the server has seen everything sent so far.

        Raises:
            BusUnavailable: the connection was lost, or it took too long.
        """
        socket = self._socket
        if socket is None or socket.transport is None or not self.connected:
            raise BusUnavailable("not connected")
        self._flush()
        pong: asyncio.Future[None] = self._loop.create_future()
        socket.pongs.append(pong)
        socket.transport.write(b"PING\r\n")
        try:
            async with asyncio.timeout(deadline_s):
                await pong
        except TimeoutError:
            raise BusUnavailable("the server does not answer") from None

    async def watch(self) -> NoReturn:
        """Wait for a failure that must not go unnoticed, and raise it."""
        await asyncio.shield(self._failure)
        raise AssertionError("unreachable")

    def fail(self, error: BaseException) -> None:
        """Let ``watch`` raise."""
        if not self._failure.done():
            self._failure.set_exception(error)
            self._failure.exception()  # read: ``watch`` may not be waiting yet

    async def close(self) -> None:
        """Disconnect, for good."""
        self.closed = True
        if self._socket is not None and self.connected:
            self._flush()
        self._up.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._socket is not None and self._socket.transport is not None:
            self._socket.transport.close()

    # ------------------------------------------------------------ what the socket tells

    def deliver(self, sid: bytes, subject: str, reply: str, head: bytes, body: bytes) -> None:
        """Hand one message to its handler."""
        route = self._routes.get(sid)
        if route is None:
            return  # unsubscribed meanwhile
        if route.exact and not matches(route.pattern, subject):
            self.fail(BusError(f"a message for {subject} was routed to {route.pattern}"))
            return
        try:
            route.handle(subject, reply, head, body)
        except Exception as error:  # noqa: BLE001  (raised again by watch, which stops the service)
            self.fail(error)

    def informed(self, info: Mapping[str, Any]) -> None:
        """The server told about itself."""
        self.info = info

    def denied(self, publishing: bool, subject: str) -> None:
        """The server did not permit something."""
        if publishing:
            for callback in list(self._on_denied):
                callback(subject)
            return
        for route in self._routes.values():
            if route.pattern == subject:
                route.denied = True
        if self._first.done() and self.connected:
            return  # ``subscribe`` waits for a PONG and then looks at ``denied``
        self.fail(BusDenied(f"this user may not subscribe to {subject}"))

    # ------------------------------------------------------------ inside

    def _answered(self, subject: str, reply: str, head: bytes, body: bytes) -> None:
        handle = self._answers.get(subject[len(self.inbox) + 1 :])
        if handle is not None:
            handle(Answer(head, body))

    def _flush(self) -> None:
        self._flushing = False
        out, self._out = self._out, []
        if out and self.connected and self._socket is not None and self._socket.transport is not None:
            self._socket.transport.write(out[0] if len(out) == 1 else b"".join(out))
        # What was to be sent while away is not kept: whoever sent it knows from on_lost, and sends again if
        # need be.

    async def _live(self) -> None:
        attempt = 0
        while True:
            url = self._urls[attempt % len(self._urls)]
            try:
                socket = await self._dial(url)
            except (OSError, BusError, TimeoutError, ssl.SSLError) as error:
                if isinstance(error, BusDenied):
                    self._last_refusal = error
                pause = _PAUSES_S[min(attempt // len(self._urls), len(_PAUSES_S) - 1)]
                attempt += 1
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  (jitter)
                continue
            attempt = 0
            self._socket = socket
            self._out = []
            self._up.set()
            if not self._first.done():
                self._first.set_result(None)
            else:
                self._call(self._on_connect)
            await self._until_lost(socket)
            self._up.clear()
            self._call(self._on_lost)

    async def _until_lost(self, socket: _Socket) -> None:
        while not socket.lost.done():
            await asyncio.wait((socket.lost,), timeout=_PING_S)
            silence = self._loop.time() - socket.heard_at
            if silence >= _SILENCE_S:
                # If it was we who were busy, what came meanwhile is only now read from the socket.
                await asyncio.sleep(_BUSY_S)
                if self._loop.time() - socket.heard_at >= _SILENCE_S:
                    socket.drop()
                    return
                continue
            if silence >= _PING_S and socket.transport is not None and not socket.lost.done():
                socket.pongs.append(self._loop.create_future())
                socket.transport.write(b"PING\r\n")

    async def _dial(self, url: str) -> _Socket:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        host, port = parts.hostname or "127.0.0.1", parts.port or 4222
        async with asyncio.timeout(_DIAL_S):
            _, socket = await self._loop.create_connection(lambda: _Socket(self), host, port)
            try:
                await self._greet(socket, parts.scheme == "tls", host)
            except BaseException:
                socket.drop()
                if socket.refused is not None:
                    raise socket.refused from None
                raise
        return socket

    async def _greet(self, socket: _Socket, tls: bool, host: str) -> None:
        info = await asyncio.shield(socket.hello)
        if tls or info.get("tls_required"):
            assert socket.transport is not None
            context = ssl.create_default_context()
            made = await self._loop.start_tls(socket.transport, socket, context, server_hostname=host)
            if made is None:
                raise BusUnavailable("TLS could not be started")
            socket.transport = made
        hello = {
            "verbose": False, "pedantic": False, "lang": "python", "version": "weirgate", "protocol": 1,
            "headers": True, "no_responders": True, "echo": False, "name": self._name,
            "nkey": self._signer.public,
            "sig": self._signer.sign(str(info.get("nonce", ""))),
        }  # fmt: skip
        await self._ask(socket, b"CONNECT %b\r\n" % json.dumps(hello).encode())
        await self._ask(socket, b"".join(map(_sub, self._routes.values())))

    async def _ask(self, socket: _Socket, written: bytes) -> None:
        assert socket.transport is not None
        pong: asyncio.Future[None] = self._loop.create_future()
        socket.pongs.append(pong)
        socket.transport.write(written + b"PING\r\n")
        await pong

    def _call(self, callbacks: Sequence[Callable[[], None]]) -> None:
        for callback in list(callbacks):
            try:
                callback()
            except Exception as error:  # noqa: BLE001  (raised again by watch, which stops the service)
                self.fail(error)


def _sub(route: Route) -> bytes:
    queue = f" {route.queue}" if route.queue else ""
    return f"SUB {route.pattern}{queue} {route.sid.decode()}\r\n".encode()
