"""A dialogue with the HTTP gate; see :mod:`weirgate_testkit.story`."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.events import OperationAllowed, OperationPlanned, SessionOpened
from weirgate_contracts.masking import BodyPlan, DetectorPlan, Plan, Transform
from weirgate_contracts.operation import Limits
from weirgate_ingress.gates.core import (
    Allowed,
    Answered,
    Ask,
    Dial,
    Dialled,
    LoggedIn,
    Login,
    Record,
    Send,
    SendHead,
    Side,
    Tape,
)
from weirgate_ingress.gates.http.gate import HttpGate
from weirgate_ingress.gates.http.terms import Bodies, Body, HttpTerms, PlanMismatch, Unreadable
from weirgate_testkit.story import IDENTITY, Story
from weirgate_wire.http.head import HeadReader, RequestHead

CRM = ResourceDocument(
    name="crm", protocol="http", upstream="http://crm.test:8080/api", routes=("/v1/customers/{id}", "/v1/pay")
)


class StarBody:
    """Stars the word ``secret``, and holds the last six bytes back."""

    def __init__(self) -> None:
        self.cells_masked = 0
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """Take a piece."""
        whole = self._held + piece
        if b"BROKEN" in whole:
            raise PlanMismatch("it is broken")
        self.cells_masked += whole.count(b"secret")
        whole = whole.replace(b"secret", b"******")
        self._held = whole[-6:]
        return whole[:-6]

    def finish(self) -> bytes:
        """Return what was held back."""
        held, self._held = self._held, b""
        return held


class StarBodies:
    """Masks for stories: text is starred where a detector is left, an image cannot be read."""

    def masks(self, plan: Plan, unmask: frozenset[str]) -> bool:
        """Whether a detector is left."""
        return any(one.label not in unmask for one in plan.detectors)

    def body(
        self,
        plan: Plan,
        unmask: frozenset[str],
        *,
        type: str,
        parameters: Mapping[str, str],
        codings: tuple[str, ...],
    ) -> Body | None:
        """Return what masks a body."""
        if type.startswith("image/"):
            raise Unreadable("an image")
        return StarBody()


class HttpStory(Story):
    """One connection to the HTTP gate, told step by step."""

    def __init__(self, *, bodies: Bodies | None = None, **terms: Any) -> None:
        given: dict[str, Any] = {
            "ingress": "in1", "session": "s1", "peer": "127.0.0.1:5000", "cleartext_allowed": True,
            "seed": bytes(32),
        } | terms  # fmt: skip
        super().__init__(gate=HttpGate(HttpTerms(**given), bodies or StarBodies()))

    def request(
        self,
        method: str = "GET",
        target: str = "/crm/v1/customers/7",
        *,
        token: str = "token",
        body: bytes = b"",
        **headers: str,
    ) -> Self:
        """The agent sends a whole request."""
        return self.agent_sends(request(method, target, token=token, body=body, **headers))

    def known(self) -> Self:
        """The agent's first request is let in."""
        self.expect(Login)
        return self.feed(LoggedIn(identity=IDENTITY, resource=CRM)).expect(Record, SessionOpened)

    def sent_on(self, *, dials: bool = True, body: bytes = b"", **plan: Any) -> Self:
        """The last question is allowed, and the request reaches the upstream."""
        self.allow(**plan)
        if dials:
            self.expect(Dial).feed(Dialled(parameters={}, process_id=0, secret=b""))
        self.expect(Tape, "i").expect(SendHead)
        if body:
            self.expect(Send, Side.UPSTREAM, body)
        return self

    def allow(
        self,
        *,
        masked: bool = False,
        unread: str = "refuse",
        limits: Limits | None = None,
        digest: str | None = None,
        impossible: str | None = None,
        messages: Literal["judge", "record"] | None = None,
    ) -> Self:
        """The last question is answered: allowed."""
        assert isinstance(self.ask, Ask), "nothing was asked"
        event = self.ask.event
        common: dict[str, Any] = {
            "ingress": event.ingress, "session": event.session, "operation": event.operation,
            "intercepted": event.id, "digest": digest or event.digest, "catalog_revision": "",
        }  # fmt: skip
        transform = Transform(kind="redact")
        detectors = (DetectorPlan(label="pii.email", transform=transform),) if masked else ()
        plan = Plan(
            statements=(),
            body=BodyPlan.model_validate({"unread": unread}),
            detectors=detectors,
            impossible=impossible,
        )
        verdict = OperationAllowed(policy_revision=1, limits=limits or Limits(), messages=messages, **common)
        planned = OperationPlanned(masking_revision=1, plan=plan, **common)
        return self.feed(Answered(operation=event.operation, answer=Allowed(verdict=verdict, plan=planned)))

    @property
    def head(self) -> RequestHead:
        """The head the upstream was sent last."""
        found = [one.head for one in self.all if isinstance(one, SendHead)]
        return found[-1]


def request(
    method: str = "GET",
    target: str = "/crm/v1/customers/7",
    *,
    token: str = "token",
    body: bytes = b"",
    **headers: str,
) -> bytes:
    """Return a whole request."""
    fields = [("host", "gateway"), ("authorization", f"Bearer {token}")]
    if body:
        fields.append(("content-length", str(len(body))))
    fields += [(name.replace("_", "-"), value) for name, value in headers.items()]
    return RequestHead(method=method, target=target, headers=tuple(fields)).encode() + body


def status_of(raw: bytes) -> int:
    """Return the status of a response."""
    reader = HeadReader()
    reader.feed(raw)
    head = reader.response()
    assert head is not None
    return head.status
