"""The ingress service: configuration, questions, the listeners, and the word from the console."""

import asyncio
import secrets
from dataclasses import replace
from typing import Any

from weirgate_bus.port import Delivery, Subscription
from weirgate_chassis import log
from weirgate_chassis.config import ConfigFeed
from weirgate_chassis.seal import Sealer, read_key
from weirgate_chassis.service import Host, Service
from weirgate_chassis.settings import split_address
from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.labels import DETECTOR_LABELS
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.certificate import Certificate
from weirgate_ingress.deferral import Deferrals
from weirgate_ingress.forward import ForwardAuthority, ForwardTls, NoForwardTls
from weirgate_ingress.gates.http import HttpGate, HttpTerms, PlanBodies
from weirgate_ingress.gates.http.mcp import DefinitionMemory, SealedIds
from weirgate_ingress.gates.http.mcp.terms import McpTerms
from weirgate_ingress.gates.http.place import LivePlaces
from weirgate_ingress.gates.postgres import GateTerms, PlanMasks, PostgresGate
from weirgate_ingress.listener import Listener, ListenerLimits, MakeGate, Newcomer, Speech
from weirgate_ingress.origins import Origin, Origins
from weirgate_ingress.question import Questions
from weirgate_ingress.settings import IngressSettings
from weirgate_ingress.shell import Premises
from weirgate_ingress.socket import raise_descriptor_limit
from weirgate_ingress.token import Admission, Door, TokenVerifier, read_issuers
from weirgate_ingress.upstreams import Upstream, Upstreams
from weirgate_mask.detectors import detectors
from weirgate_mask.keys import Keyring
from weirgate_wire.postgres.startup import ALPN

_STOP_MARGIN_S = 1.0
"""Left of the stop deadline for the bus to send what is queued."""


_POSTGRES = Speech(protocol="postgres", alpn=ALPN, alpn_required=True)
_HTTP = Speech(protocol="http", alpn="http/1.1", alpn_required=False)


class Dialling:
    """Dials upstreams of every protocol."""

    def __init__(self) -> None:
        self._postgres = Upstreams()
        self._http = Origins()

    async def dial(self, admission: Admission, *, parameters: Any, minor: int = 0) -> Upstream | Origin:
        """Connect the upstream of the resource an agent was admitted to.

        Raises:
            DialError: with ``upstream_unavailable``.
        """
        dialler = self._http if admission.resource.protocol in ("http", "mcp") else self._postgres
        return await dialler.dial(admission, parameters=parameters, minor=minor)


class IngressService(Service[IngressSettings]):
    """Reads operations off the wire, asks about them, and acts on the answers."""

    name = "ingress"

    def __init__(self, settings: IngressSettings, host: Host) -> None:
        super().__init__(settings, host)
        self.feed = ConfigFeed(host.bus, catalogs=False)
        self.port = 0
        """Where PostgreSQL agents connect, once started."""
        self.http_port = 0
        """Where HTTP agents connect, once started; 0: HTTP is not served."""
        issuers = read_issuers(settings.issuers_file)
        self._verifier = TokenVerifier(issuers)
        self._servers = tuple(one.issuer for one in issuers if one.issuer.startswith(("https://", "http://")))
        mask_key = read_key(settings.mask_key_file)
        keys = Keyring(mask_key)
        self._mcp = McpTerms(ids=SealedIds(mask_key), definitions=DefinitionMemory())
        self._masks = PlanMasks(keys)
        self._bodies = PlanBodies(keys)
        self._deferrals = Deferrals(host.bus, spawn=host.spawn)
        self._questions = Questions(
            host.bus,
            settings.name,
            spawn=host.spawn,
            deadline_s=settings.verdict_deadline_s,
            approvals_url=settings.approvals_url,
            deferrals=self._deferrals,
        )
        self._places = LivePlaces(lambda: self.feed.resources)
        self._forward: ForwardTls = NoForwardTls()
        if settings.forward_ca_cert_file is not None and settings.forward_ca_key_file is not None:
            self._forward = ForwardAuthority(settings.forward_ca_cert_file, settings.forward_ca_key_file)
        self._premises = Premises(
            bus=host.bus,
            ingress=settings.name,
            sealer=Sealer(read_key(settings.recording_key_file)),
            questions=self._questions,
            door=Door(self._verifier, self._resource, self.feed.problem),
            upstreams=Dialling(),
            spawn=host.spawn,
            forward=self._forward,
        )
        self._listener = self._made(_POSTGRES, self._gate)
        self._http_listener = self._made(_HTTP, self._http_gate)
        self._listeners = (self._listener, self._http_listener)
        self._kills: Subscription | None = None

    async def start(self) -> None:
        """Read the configuration, hear verdicts and kills, then listen."""
        raise_descriptor_limit()
        host, settings, listeners = self.host, self.settings, self._listeners
        await self.feed.start()
        self.feed.on_change(self._resources_changed)
        host.health.check("config", self.feed.problem)
        await self._deferrals.start()
        await self._questions.start()
        # Compiling takes a quarter of a second, and would make every session wait when the first needs it.
        await asyncio.to_thread(detectors, frozenset(DETECTOR_LABELS))
        self._kills = await host.bus.subscribe(f"control.session.kill.{settings.name}.*", self._killed)
        host.spawn(self._verifier.keep_fresh(), "issuer keys")
        host.metrics.gauge(
            "weirgate_ingress_sessions",
            "Open sockets of agents.",
            lambda: sum(len(one.sessions) for one in listeners),
        )
        host.metrics.gauge(
            "weirgate_ingress_unauthenticated",
            "Sockets that have not logged in.",
            lambda: sum(one.unauthenticated_count for one in listeners),
        )
        host.metrics.gauge(
            "weirgate_ingress_turned_away",
            "Sockets closed for want of a place.",
            lambda: sum(one.refused_count for one in listeners),
        )
        host.metrics.gauge(
            "weirgate_ingress_held", "Operations that wait for a person.", lambda: self._questions.held_count
        )
        host.metrics.gauge(
            "weirgate_ingress_deferred",
            "Requests an agent may come back for.",
            lambda: self._deferrals.count,
        )
        tls = settings.tls_cert_file is not None
        self.port = await self._listener.start(*split_address(settings.postgres_listen))
        log.info("listening", protocol="postgres", port=self.port, tls=tls)
        if settings.http_listen is not None:
            self.http_port = await self._http_listener.start(*split_address(settings.http_listen))
            log.info("listening", protocol="http", port=self.http_port, tls=tls)

    async def stop(self) -> None:
        """Tell every session that it is over, and wait for their last records."""
        deadline_s = max(0.5, self.settings.stop_deadline_s - 2 * _STOP_MARGIN_S)
        await asyncio.gather(*(one.stop(deadline_s) for one in self._listeners))
        await self._questions.stop()
        await self._deferrals.stop()
        if self._kills is not None:
            await self._kills.stop()
        await self.feed.stop()

    def _made(self, speech: Speech, gate: MakeGate) -> Listener:
        settings = self.settings
        certificate: Certificate | None = None
        if settings.tls_cert_file is not None and settings.tls_key_file is not None:
            certificate = Certificate(settings.tls_cert_file, settings.tls_key_file, alpn=speech.alpn)
        limits = ListenerLimits(
            login_deadline_s=settings.login_deadline_s,
            unauthenticated=settings.unauthenticated_limit,
            sessions=settings.sessions_limit,
        )
        premises = replace(self._premises, tls=lambda: None if certificate is None else certificate.context())
        return Listener(premises, gate, speech, limits)

    def _http_gate(self, newcomer: Newcomer) -> HttpGate:
        terms = HttpTerms(
            ingress=self.settings.name,
            session=newcomer.session,
            peer=newcomer.peer,
            cleartext_allowed=self.settings.cleartext_loopback and newcomer.loopback,
            mcp=self._mcp,
            authorization_servers=self._servers,
            seed=secrets.token_bytes(32),
            places=self._places,
            token_header=(self.settings.http_token_header or "").lower() or None,
            tunnels=self._forward.served,
        )
        return HttpGate(terms, self._bodies)

    def _gate(self, newcomer: Newcomer) -> PostgresGate:
        terms = GateTerms(
            ingress=self.settings.name,
            session=newcomer.session,
            peer=newcomer.peer,
            tls_available=self.settings.tls_cert_file is not None,
            cleartext_allowed=self.settings.cleartext_loopback and newcomer.loopback,
        )
        return PostgresGate(terms, self._masks)

    def _resource(self, name: str) -> ResourceDocument | None:
        return self.feed.resources.get(name)

    def _resources_changed(self) -> None:
        """A resource that is withdrawn or points elsewhere ends the sessions that stand on the old one."""
        for session in [session for one in self._listeners for session in one.sessions.values()]:
            admission = session.admission
            if admission is not None and self._resource(admission.resource.name) != admission.resource:
                session.stop(
                    Refusal(
                        code=RefusalCode.KILLED,
                        reason=f"Resource {admission.resource.name!r} was changed or withdrawn.",
                        hint="Connect again.",
                    )
                )

    def _killed(self, delivery: Delivery) -> None:
        session = delivery.subject.rsplit(".", 1)[-1]
        refusal = Refusal(code=RefusalCode.KILLED, reason="A person ended this session.")
        found = any(one.stop_session(session, refusal) for one in self._listeners)
        log.info("session kill", session=session, found=found)
