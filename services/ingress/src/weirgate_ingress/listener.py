"""Takes agents in: accepts, tells direct TLS from the rest by the first byte, bounds who has not logged in.

A socket that says nothing costs a file descriptor and a timer: no gate, no task, no buffer. Above the limit
of sockets that have not logged in, the oldest of them goes: a login takes milliseconds, so whoever is oldest
is the least likely to be one.
"""

import asyncio
import contextlib
import errno
import socket
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol, cast

from weirgate_chassis import log
from weirgate_chassis.clock import now
from weirgate_chassis.ids import new_id
from weirgate_contracts.events import SessionRefused
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.shell import PacedGate, Premises, Session
from weirgate_ingress.socket import on_loopback, tune_socket

BACKLOG: Final = 1024
ACCEPTS_AT_ONCE: Final = 64
"""Then the loop turns, so that a storm of connections does not stop the sessions there are."""
PAUSE_S: Final = 0.1
"""Pause after the system has refused a socket (out of descriptors)."""
TLS_RECORD: Final = 0x16
"""First byte of a ClientHello. No start-up packet begins with it: its length would be over 369 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerLimits:
    """Limits that protect us."""

    login_deadline_s: float = 10.0
    unauthenticated: int = 2000
    """Sockets that have not logged in."""
    sessions: int = 10_000
    """Sockets in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """What a gate is made for."""

    session: str
    peer: str
    loopback: bool
    direct_tls: bool


MakeGate = Callable[[Newcomer], PacedGate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """What is spoken on one port."""

    protocol: Literal["postgres", "http"]
    alpn: str
    alpn_required: bool
    """Whether who connects by TLS must offer it. Without that a browser could be made to speak to us (cross-protocol
    attack) where it would not by itself."""


class _Evictable(Protocol):
    def evict(self) -> None: ...


class _Silent:
    """A socket that has sent nothing yet."""

    __slots__ = ("_listener", "peer", "since", "sock", "ticket", "timer")

    def __init__(
        self, listener: "Listener", ticket: int, sock: socket.socket, peer: str, loopback: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        self.ticket = ticket
        self._listener = listener
        self.sock = sock
        self.peer = (peer, loopback)
        self.since = loop.time()
        self.timer = loop.call_later(listener.limits.login_deadline_s, self.evict)
        loop.add_reader(sock.fileno(), self._readable)

    def evict(self) -> None:
        """Close it. Nobody claimed anything, so there is nothing to record."""
        self._leave()
        self._listener.forget(self)
        self.sock.close()

    def _readable(self) -> None:
        try:
            first = self.sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            first = b""
        if not first:
            self.evict()
            return
        self._leave()
        self._listener.speaks(self, direct_tls=first[0] == TLS_RECORD)

    def _leave(self) -> None:
        self.timer.cancel()
        asyncio.get_running_loop().remove_reader(self.sock.fileno())


class Listener:
    """Listens on one address and runs a session for each agent.

    Args:
        premises: what all sessions share.
        make_gate: makes the core of a session.
        speech: what is spoken.
        limits: see there.
    """

    def __init__(
        self,
        premises: Premises,
        make_gate: MakeGate,
        speech: Speech,
        limits: ListenerLimits | None = None,
    ) -> None:
        self.speech = speech
        self.limits = limits or ListenerLimits()
        self.sessions: dict[str, Session] = {}
        self._premises = premises
        self._make_gate = make_gate
        self._sockets: list[socket.socket] = []
        self._waiting: OrderedDict[int, _Evictable] = OrderedDict()
        self._tickets: dict[Session, int] = {}
        self._newcomers: dict[Session, Newcomer] = {}
        self._last_ticket = 0
        self._empty = asyncio.Event()
        self._stopping = False
        self.refused_count = 0
        """Sockets closed for want of a place."""

    @property
    def unauthenticated_count(self) -> int:
        """Sockets that have not logged in."""
        return len(self._waiting)

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, which with port 0 is any free one.

        Raises:
            OSError: the address cannot be had.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            self._sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setblocking(False)
            sock.bind(address)
            sock.listen(BACKLOG)
            loop.add_reader(sock.fileno(), self._accept, sock)
            port = port or sock.getsockname()[1]
        return port

    def stop_accepting(self) -> None:
        """Take nobody new in."""
        self._stopping = True
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.remove_reader(sock.fileno())
            sock.close()
        self._sockets.clear()

    async def stop(self, deadline_s: float) -> None:
        """Take nobody new in, tell every session that it is over, and wait until all are gone."""
        self.stop_accepting()
        refusal = Refusal(
            code=RefusalCode.SHUTDOWN, reason="The gateway is shutting down.", hint="Connect again."
        )
        for each in list(self._waiting.values()):
            if isinstance(each, _Silent):
                each.evict()
        for session in list(self.sessions.values()):
            session.stop(refusal)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                while self.sessions:
                    self._empty.clear()
                    await self._empty.wait()
        for session in list(self.sessions.values()):
            session.evict()

    def stop_session(self, session: str, refusal: Refusal) -> bool:
        """End one session; returns whether there is one with this id."""
        found = self.sessions.get(session)
        if found is not None:
            found.stop(refusal)
        return found is not None

    # ------------------------------------------------------------ what a session tells

    def logged_in(self, session: Session) -> None:
        """It is no longer among those that may be evicted."""
        ticket = self._tickets.pop(session, None)
        if ticket is not None:
            self._waiting.pop(ticket, None)

    def gone(self, session: Session) -> None:
        """Its sockets are closed."""
        self.logged_in(session)
        self._newcomers.pop(session, None)
        self.sessions.pop(session.id, None)
        if not self.sessions:
            self._empty.set()

    def renew(self, session: Session, agent: asyncio.Transport, data: bytes) -> None:
        """It is over, and its agent's socket goes on in a new session that begins with these bytes."""
        before = self._newcomers[session]
        self.gone(session)
        if self._stopping:
            agent.close()
            return
        newcomer = replace(before, session=new_id())
        self._last_ticket += 1
        fresh = self._enter(newcomer, self._last_ticket, self.limits.login_deadline_s)
        agent.set_protocol(fresh)
        fresh.connection_made(agent)
        fresh.data_received(data)

    def _enter(self, newcomer: Newcomer, ticket: int, login_deadline_s: float) -> Session:
        session = Session(
            self._premises,
            self._make_gate(newcomer),
            id=newcomer.session,
            peer=newcomer.peer,
            watcher=self,
            login_deadline_s=login_deadline_s,
            direct_tls=newcomer.direct_tls,
        )
        self._waiting[ticket] = session
        self._tickets[session] = ticket
        self._newcomers[session] = newcomer
        self.sessions[session.id] = session
        return session

    def forget(self, silent: _Silent) -> None:
        """It said nothing and is closed."""
        if self._waiting.get(silent.ticket) is silent:
            del self._waiting[silent.ticket]

    def speaks(self, silent: _Silent, *, direct_tls: bool) -> None:
        """Its first byte is there: it becomes a session."""
        self._premises.spawn(self._adopt(silent, direct_tls), "adopt")

    # ------------------------------------------------------------ taking in

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._pause(listening, error)
                    return
                raise
            sock.setblocking(False)
            tune_socket(sock)
            host, port = address[0], address[1]
            peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            self._make_room()
            if len(self.sessions) >= self.limits.sessions:
                self.refused_count += 1
                sock.close()
                continue
            self._last_ticket += 1
            self._waiting[self._last_ticket] = _Silent(self, self._last_ticket, sock, peer, on_loopback(host))

    def _make_room(self) -> None:
        while len(self._waiting) >= self.limits.unauthenticated:
            _, oldest = self._waiting.popitem(last=False)
            self.refused_count += 1
            oldest.evict()

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        log.error("no socket for a newcomer", reason=error.strerror)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening.fileno())
        loop.call_later(PAUSE_S, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        if not self._stopping:
            asyncio.get_running_loop().add_reader(listening.fileno(), self._accept, listening)

    async def _adopt(self, silent: _Silent, direct_tls: bool) -> None:
        loop = asyncio.get_running_loop()
        left_s = max(0.1, self.limits.login_deadline_s - (loop.time() - silent.since))
        context = self._premises.tls() if direct_tls else None
        evicted = self._waiting.get(silent.ticket) is not silent
        if evicted or self._stopping or (direct_tls and context is None):
            self.forget(silent)
            silent.sock.close()
            return
        peer, loopback = silent.peer
        newcomer = Newcomer(session=new_id(), peer=peer, loopback=loopback, direct_tls=direct_tls)
        # Its first byte does not make it the newest: it keeps its place in the line.
        session = self._enter(newcomer, silent.ticket, left_s)
        holder = _Doorway(session, self.speech) if direct_tls else session
        try:
            await loop.connect_accepted_socket(
                lambda: holder,
                silent.sock,
                ssl=context,
                ssl_handshake_timeout=left_s if context is not None else None,
            )
        except Exception as error:  # noqa: BLE001  (the outermost for this socket: nobody else pays for it)
            if not isinstance(error, OSError):
                log.error("socket not taken over", reason=log.describe(error))
            self.gone(session)
            silent.sock.close()
            return
        if isinstance(holder, _Doorway) and not holder.adopted:
            self.gone(session)
            self._refuse(newcomer)

    def _refuse(self, newcomer: Newcomer) -> None:
        event = SessionRefused(
            ingress=self._premises.ingress,
            session=newcomer.session,
            protocol=self.speech.protocol,
            peer=newcomer.peer,
            refusal=Refusal(
                code=RefusalCode.PROTOCOL,
                reason=f"Direct TLS without ALPN '{self.speech.alpn}'.",
                hint=f"Offer ALPN {self.speech.alpn}"
                + (
                    ", or connect with sslnegotiation=postgres."
                    if self.speech.protocol == "postgres"
                    else "."
                ),
            ),
        ).stamped(id=new_id(), at=now())
        stored = self._premises.bus.publish(event.subject, event.encoded(), id=event.id)
        stored.add_done_callback(lambda done: None if done.cancelled() else done.exception())


class _Doorway(asyncio.Protocol):
    """Lets a direct TLS connection in only where ALPN says what is spoken here; who offers none, only where that
    is allowed.

    Source: PostgreSQL manual, "SSL Session Encryption"; RFC 7301.
    """

    def __init__(self, session: Session, speech: Speech) -> None:
        self._session = session
        self._speech = speech
        self.adopted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        agent = cast("asyncio.Transport", transport)
        tls = transport.get_extra_info("ssl_object")
        chosen = tls.selected_alpn_protocol() if tls is not None else ""
        if chosen != self._speech.alpn and (self._speech.alpn_required or chosen is not None):
            agent.abort()
            return
        self.adopted = True
        agent.set_protocol(self._session)
        self._session.connection_made(agent)
