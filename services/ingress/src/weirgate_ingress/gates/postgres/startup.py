"""The start-up part: from the first byte to the upstream being there.

=========  ============================  ===================================================================
state      takes                         does
=========  ============================  ===================================================================
packet     SSLRequest                    ``S`` and StartTls, or ``N`` (once); bytes behind it are refused
           GSSENCRequest                 ``N`` (once)
           CancelRequest                 CancelOther, Hangup; says nothing
           StartupMessage 3.x            [NegotiateProtocolVersion] AuthenticationCleartextPassword → password
           anything else                 refused
tls        TlsStarted                    → packet
password   PasswordMessage (64 KiB)      Login → login
login      LoggedIn                      Record(SessionOpened), Dial → dial
           LoginRefused                  the refusal, Hangup (the shell has recorded it)
dial       Dialled                       AuthenticationOk, ParameterStatus…, BackendKeyData, ReadyForQuery
           DialRefused                   Record(SessionClosed), the refusal, Hangup
=========  ============================  ===================================================================

Invariants: a token is asked for only inside TLS, or in clear where the terms allow it; it is in no effect
but Login; nothing is dialled before SessionOpened is recorded; while a login or a dial is under way the
agent is not read.
"""

from enum import Enum

from weirgate_contracts.events import SessionClosed, SessionOpened, SessionRefused
from weirgate_contracts.identity import Identity
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.core import CancelOther, Dial, Dialled, Hangup, Login, Record, StartTls
from weirgate_ingress.gates.outbox import Outbox
from weirgate_ingress.gates.postgres.parameter import ParameterRefused, check_parameters
from weirgate_ingress.gates.postgres.result import check_setting
from weirgate_ingress.gates.postgres.terms import GateTerms
from weirgate_ingress.gates.sqlstate import refusal_fields
from weirgate_wire.postgres.error import PeerError
from weirgate_wire.postgres.frame import Frame, Splitter
from weirgate_wire.postgres.limit import login_limits
from weirgate_wire.postgres.message import (
    AUTH_CLEARTEXT,
    AUTH_OK,
    Authentication,
    BackendKeyData,
    ErrorResponse,
    ParameterStatus,
    ReadyForQuery,
    decode_password,
)
from weirgate_wire.postgres.startup import (
    PROTOCOL_3_2,
    CancelRequest,
    GssEncRequest,
    SslRequest,
    StartupMessage,
    UnsupportedVersion,
    negotiate_protocol_version,
    split_startup,
)


class Stage(Enum):
    """Where a start-up stands."""

    PACKET = "packet"
    TLS = "tls"
    PASSWORD = "password"  # noqa: S105
    LOGIN = "login"
    DIAL = "dial"
    DONE = "done"
    ENDED = "ended"


class StartupPart:
    """One start-up."""

    __slots__ = (
        "_asked_gss",
        "_asked_tls",
        "_buffer",
        "_out",
        "_passwords",
        "_terms",
        "agent",
        "application",
        "identity",
        "minor",
        "parameters",
        "resource",
        "stage",
        "tls",
    )

    def __init__(self, terms: GateTerms, out: Outbox) -> None:
        self._terms = terms
        self._out = out
        self._buffer = b""
        self._passwords = Splitter(login_limits())
        self._asked_tls = False
        self._asked_gss = False
        self.stage = Stage.PACKET
        self.tls: str | None = None
        self.minor = 0
        """Minor protocol version agreed on."""
        self.agent: str | None = None
        self.resource: str | None = None
        self.application: str | None = None
        self.parameters: dict[str, str] = {}
        self.identity: Identity | None = None

    @property
    def wants_agent_bytes(self) -> bool:
        """Whether the agent is to be read."""
        return self.stage in (Stage.PACKET, Stage.PASSWORD)

    def rest(self) -> bytes:
        """Return what the agent sent behind its password."""
        return self._passwords.rest()

    # ------------------------------------------------------------ inputs

    def take(self, data: bytes) -> None:
        """Take bytes of the agent.

        Raises:
            PeerError: they are no start-up.
        """
        if self.stage is Stage.PACKET:
            self._buffer += data
            while self.stage is Stage.PACKET and (split := split_startup(self._buffer)) is not None:
                packet, size = split
                self._buffer = self._buffer[size:]
                self._packet(packet)
        elif self.stage is Stage.TLS:
            raise PeerError("bytes in clear between SSLRequest and TLS")
        else:
            self._passwords.feed(data)
            if self._passwords.buffered_bytes > self._terms.pipeline_limit_bytes + len(data):
                raise PeerError("too much before the login is through")
        self._password()

    def tls_started(self, version: str) -> None:
        """TLS is up.

        Raises:
            PeerError: it started where it must not.
        """
        if self.stage not in (Stage.TLS, Stage.PACKET) or self._buffer or self.tls is not None:
            raise PeerError("TLS started in the middle of a start-up")
        self.tls = version
        self._asked_tls = True
        self.stage = Stage.PACKET

    def logged_in(self, identity: Identity) -> None:
        """The token is good."""
        assert self.resource is not None
        self.identity = identity
        self.stage = Stage.DIAL
        terms = self._terms
        opened = SessionOpened(
            ingress=terms.ingress,
            session=terms.session,
            protocol="postgres",
            resource=self.resource,
            identity=identity,
            peer=terms.peer,
            tls=self.tls,
            application=self.application,
        )
        self._out.add(Record(event=opened))
        self._out.add(Dial(parameters=self.parameters))

    def dialled(self, given: Dialled) -> None:
        """The upstream is there: the agent is let in.

        Raises:
            PeerError: its settings are not ones the judge can read.
        """
        for name, value in given.parameters.items():
            check_setting(name, value)
        said = [Authentication(AUTH_OK).encode()]
        said += [ParameterStatus(name, value).encode() for name, value in given.parameters.items()]
        said.append(BackendKeyData(given.process_id, given.secret).encode())
        said.append(ReadyForQuery("I").encode())
        self._out.tell(b"".join(said))
        self.stage = Stage.DONE

    def refuse(self, refusal: Refusal, *, sqlstate: str | None = None, recorded: bool = False) -> None:
        """Let nobody in: record it (unless the shell has), say it, hang up."""
        terms = self._terms
        if self.identity is not None:
            self._out.add(
                Record(
                    event=SessionClosed(
                        ingress=terms.ingress, session=terms.session, reason="refused", refusal=refusal
                    )
                )
            )
        elif not recorded:
            self._out.add(
                Record(
                    event=SessionRefused(
                        ingress=terms.ingress,
                        session=terms.session,
                        protocol="postgres",
                        peer=terms.peer,
                        claimed_agent=None if self.agent is None else self.agent[:256],
                        claimed_resource=None if self.resource is None else self.resource[:256],
                        refusal=refusal,
                    )
                )
            )
        # In the middle of a TLS handshake there is nothing an agent could read.
        if self.stage is not Stage.TLS:
            self._out.tell(ErrorResponse(refusal_fields(refusal, fatal=True, sqlstate=sqlstate)).encode())
        self._out.add(Hangup())
        self.stage = Stage.ENDED

    def left(self) -> None:
        """The agent is gone."""
        if self.identity is not None:
            self._out.add(
                Record(
                    event=SessionClosed(
                        ingress=self._terms.ingress, session=self._terms.session, reason="agent"
                    )
                )
            )
        self._out.add(Hangup())
        self.stage = Stage.ENDED

    # ------------------------------------------------------------ packets

    def _packet(
        self, packet: StartupMessage | SslRequest | GssEncRequest | CancelRequest | UnsupportedVersion
    ) -> None:
        match packet:
            case SslRequest():
                if self._asked_tls:
                    raise PeerError("TLS was asked for already")
                self._asked_tls = True
                if not self._terms.tls_available:
                    self._out.tell(b"N")
                    return
                if self._buffer:
                    # Whoever can write into the clear line would have these bytes taken for the agent's own.
                    raise PeerError("bytes in clear behind SSLRequest")
                self._out.tell(b"S")
                self._out.add(StartTls())
                self.stage = Stage.TLS
            case GssEncRequest():
                if self._asked_gss:
                    raise PeerError("GSSAPI encryption was asked for already")
                self._asked_gss = True
                self._out.tell(b"N")
            case CancelRequest():
                self._out.add(CancelOther(process_id=packet.process_id, secret=packet.secret))
                self._out.add(Hangup())
                self.stage = Stage.ENDED
            case UnsupportedVersion():
                self._refuse_plainly(
                    RefusalCode.UNSUPPORTED,
                    f"Protocol version {packet.dotted} is not spoken here; 3.0 to 3.2 are.",
                    "Use a driver that speaks protocol 3.0.",
                )
            case StartupMessage():
                self._startup(packet)

    def _startup(self, packet: StartupMessage) -> None:
        options = [name for name in packet.parameters if name.startswith("_pq_.")]
        asked = {name: value for name, value in packet.parameters.items() if not name.startswith("_pq_.")}
        self.agent = asked.get("user") or None
        self.resource = asked.get("database") or None
        self.application = (asked.get("application_name") or "")[:256] or None
        if self.tls is None and not self._terms.cleartext_allowed:
            self._refuse_plainly(
                RefusalCode.TLS_REQUIRED,
                "A token is taken inside TLS only.",
                "Connect with sslmode=require (or verify-full).",
            )
            return
        if self.agent is None:
            self._refuse_plainly(
                RefusalCode.PROTOCOL,
                "The start-up message names no user.",
                "Connect as the agent's name.",
                "28000",
            )
            return
        if self.resource is None:
            self._refuse_plainly(
                RefusalCode.RESOURCE_UNKNOWN,
                "The start-up message names no database.",
                "Name the resource as the database.",
            )
            return
        try:
            self.parameters = check_parameters(asked)
        except ParameterRefused as error:
            self.refuse(error.refusal)
            return
        newest = min(packet.version, PROTOCOL_3_2)
        self.minor = newest & 0xFFFF
        if newest != packet.version or options:
            self._out.tell(negotiate_protocol_version(newest, options))
        self._out.tell(Authentication(AUTH_CLEARTEXT).encode())
        self._passwords.feed(self._buffer)
        self._buffer = b""
        self.stage = Stage.PASSWORD

    def _password(self) -> None:
        if self.stage is not Stage.PASSWORD:
            return
        unit = self._passwords.next()
        if not isinstance(unit, Frame):
            return
        assert self.agent is not None
        assert self.resource is not None
        try:
            token = decode_password(unit.body).password.decode()
        except UnicodeDecodeError as error:
            raise PeerError("a password that is not UTF-8") from error
        self.stage = Stage.LOGIN
        self._out.add(
            Login(agent=self.agent, resource=self.resource, token=token, application=self.application)
        )

    def _refuse_plainly(self, code: RefusalCode, reason: str, hint: str, sqlstate: str | None = None) -> None:
        self.refuse(Refusal(code=code, reason=reason, hint=hint), sqlstate=sqlstate)
