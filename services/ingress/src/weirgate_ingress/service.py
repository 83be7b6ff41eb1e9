"""The ingress service: configuration, questions, the PostgreSQL listener, and the word from the console."""

from weirgate_bus.port import Delivery, Subscription
from weirgate_chassis import log
from weirgate_chassis.config import ConfigFeed
from weirgate_chassis.seal import Sealer, read_key
from weirgate_chassis.service import Host, Service
from weirgate_chassis.settings import split_address
from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.certificate import Certificate
from weirgate_ingress.gates.postgres import GateTerms, PlanMasks, PostgresGate
from weirgate_ingress.listener import Listener, ListenerLimits, Newcomer
from weirgate_ingress.question import Questions
from weirgate_ingress.settings import IngressSettings
from weirgate_ingress.shell import Premises
from weirgate_ingress.socket import raise_descriptor_limit
from weirgate_ingress.token import Door, TokenVerifier, read_issuers
from weirgate_ingress.upstreams import Upstreams
from weirgate_mask.keys import Keyring

_STOP_MARGIN_S = 1.0
"""Left of the stop deadline for the bus to send what is queued."""


class IngressService(Service[IngressSettings]):
    """Reads operations off the wire, asks about them, and acts on the answers."""

    name = "ingress"

    def __init__(self, settings: IngressSettings, host: Host) -> None:
        super().__init__(settings, host)
        self.feed = ConfigFeed(host.bus, catalogs=False)
        self.port = 0
        """Where PostgreSQL agents connect, once started."""
        self._verifier = TokenVerifier(read_issuers(settings.issuers_file))
        self._masks = PlanMasks(Keyring(read_key(settings.mask_key_file)))
        self._certificate: Certificate | None = None
        if settings.tls_cert_file is not None and settings.tls_key_file is not None:
            self._certificate = Certificate(settings.tls_cert_file, settings.tls_key_file)
        self._questions = Questions(
            host.bus,
            settings.name,
            spawn=host.spawn,
            deadline_s=settings.verdict_deadline_s,
            approvals_url=settings.approvals_url,
        )
        self._premises = Premises(
            bus=host.bus,
            ingress=settings.name,
            sealer=Sealer(read_key(settings.recording_key_file)),
            questions=self._questions,
            door=Door(self._verifier, self._resource, self.feed.problem),
            upstreams=Upstreams(),
            spawn=host.spawn,
            tls=lambda: None if self._certificate is None else self._certificate.context(),
        )
        self._listener = Listener(
            self._premises,
            self._gate,
            ListenerLimits(
                login_deadline_s=settings.login_deadline_s,
                unauthenticated=settings.unauthenticated_limit,
                sessions=settings.sessions_limit,
            ),
        )
        self._kills: Subscription | None = None

    async def start(self) -> None:
        """Read the configuration, hear verdicts and kills, then listen."""
        raise_descriptor_limit()
        host, settings, listener = self.host, self.settings, self._listener
        await self.feed.start()
        self.feed.on_change(self._resources_changed)
        host.health.check("config", self.feed.problem)
        await self._questions.start()
        self._kills = await host.bus.subscribe(f"control.session.kill.{settings.name}.*", self._killed)
        host.spawn(self._verifier.keep_fresh(), "issuer keys")
        host.metrics.gauge(
            "weirgate_ingress_sessions", "Open sockets of agents.", lambda: len(listener.sessions)
        )
        host.metrics.gauge(
            "weirgate_ingress_unauthenticated",
            "Sockets that have not logged in.",
            lambda: listener.unauthenticated_count,
        )
        host.metrics.gauge(
            "weirgate_ingress_turned_away",
            "Sockets closed for want of a place.",
            lambda: listener.refused_count,
        )
        host.metrics.gauge(
            "weirgate_ingress_held", "Operations that wait for a person.", lambda: self._questions.held_count
        )
        self.port = await listener.start(*split_address(settings.postgres_listen))
        log.info("listening", protocol="postgres", port=self.port, tls=self._certificate is not None)

    async def stop(self) -> None:
        """Tell every session that it is over, and wait for their last records."""
        await self._listener.stop(max(0.5, self.settings.stop_deadline_s - 2 * _STOP_MARGIN_S))
        await self._questions.stop()
        if self._kills is not None:
            await self._kills.stop()
        await self.feed.stop()

    def _turned_away(self) -> int:
        return self._listener.refused_count

    def _gate(self, newcomer: Newcomer) -> PostgresGate:
        terms = GateTerms(
            ingress=self.settings.name,
            session=newcomer.session,
            peer=newcomer.peer,
            tls_available=self._certificate is not None,
            cleartext_allowed=self.settings.cleartext_loopback and newcomer.loopback,
        )
        return PostgresGate(terms, self._masks)

    def _resource(self, name: str) -> ResourceDocument | None:
        return self.feed.resources.get(name)

    def _resources_changed(self) -> None:
        """A resource that is withdrawn or points elsewhere ends the sessions that stand on the old one."""
        for session in list(self._listener.sessions.values()):
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
        found = self._listener.stop_session(session, refusal)
        log.info("session kill", session=session, found=found)
