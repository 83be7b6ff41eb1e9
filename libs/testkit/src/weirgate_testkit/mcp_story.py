"""A dialogue with the HTTP gate where the upstream is an MCP server; see :mod:`weirgate_testkit.story`."""

import json
from typing import Any, Self

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.events import OperationAllowed, OperationPlanned, SessionOpened
from weirgate_contracts.identity import Identity
from weirgate_contracts.masking import BodyPlan, DetectorPlan, Plan, Transform
from weirgate_contracts.mcp import McpCall
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
from weirgate_ingress.gates.http.mcp import DefinitionMemory, SealedIds
from weirgate_ingress.gates.http.mcp.events import EventReader
from weirgate_ingress.gates.http.mcp.terms import McpTerms
from weirgate_ingress.gates.http.terms import Bodies
from weirgate_testkit.http_story import HttpStory, request
from weirgate_testkit.story import IDENTITY
from weirgate_wire.http.framing import BodyReader, response_framing
from weirgate_wire.http.head import HeadReader, ResponseHead

TOOLS = ResourceDocument(name="tools", protocol="mcp", upstream="http://tools.test:9000/mcp")
ACCEPT = "application/json, text/event-stream"
JSON = "application/json"
EVENTS = "text/event-stream"


def message(method: str, id: int | str | None = 1, **params: Any) -> dict[str, Any]:
    """Return a request, or with ``id=None`` a notification."""
    made: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if id is not None:
        made["id"] = id
    return made | ({"params": params} if params else {})


def result(id: int | str = 1, **members: Any) -> dict[str, Any]:
    """Return an answer."""
    return {"jsonrpc": "2.0", "id": id, "result": members}


def post(body: object, *, token: str = "token", target: str = "/tools", **headers: str) -> bytes:
    """Return a whole POST."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content_type": JSON, "accept": ACCEPT} | headers
    return request("POST", target, token=token, body=raw, **headers)


def answer(body: object, type: str = JSON, status: int = 200, **headers: str) -> bytes:
    """Return a whole answer of the server; of a list of messages a stream of events."""
    if type == EVENTS:
        parts = body if isinstance(body, list) else [body]
        raw = b"".join(event(one) for one in parts)
    else:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = [("content-type", type), ("content-length", str(len(raw)))]
    fields += [(name.replace("_", "-"), value) for name, value in headers.items()]
    return ResponseHead(status=status, reason="X", headers=tuple(fields)).encode() + raw


def stream_head(**headers: str) -> bytes:
    """Return the head of a stream that ends with its connection."""
    fields = (("content-type", EVENTS), *((name.replace("_", "-"), value) for name, value in headers.items()))
    return ResponseHead(status=200, reason="OK", headers=fields).encode()


def event(body: object) -> bytes:
    """Return an event, as servers write them."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"event: message\r\ndata: " + raw + b"\r\n\r\n"


def read_answer(raw: bytes, method: str = "POST") -> tuple[ResponseHead, list[dict[str, Any]]]:
    """Return head and messages of what an agent was sent."""
    reader = HeadReader()
    reader.feed(raw)
    head = reader.response()
    assert head is not None
    body = BodyReader(response_framing(head, method=method))
    whole = b"".join(body.feed(reader.rest()))
    if (head.get("content-type") or "").startswith(EVENTS):
        payloads = EventReader().feed(whole)
    else:
        payloads = [whole] if whole else []
    return head, [json.loads(one) for one in payloads if one]


class McpStory(HttpStory):
    """One connection of an MCP client, told step by step."""

    def __init__(
        self, *, bodies: Bodies | None = None, mcp: McpTerms | None = None, identity: Identity = IDENTITY
    ) -> None:
        self.terms = mcp or McpTerms(ids=SealedIds(b"k" * 32), definitions=DefinitionMemory())
        self.identity = identity
        super().__init__(bodies=bodies, mcp=self.terms)

    def known(self) -> Self:
        """The agent's first request is let in."""
        self.expect(Login)
        self.feed(LoggedIn(identity=self.identity, resource=TOOLS))
        return self.expect(Record, SessionOpened)

    def posts(self, body: object, *, first: bool = True, **headers: str) -> Self:
        """The agent sends a message, which is asked about."""
        self.agent_sends(post(body, **headers))
        if first:
            self.known()
        return self.expect(Ask)

    def passed(self, *, dials: bool = True, body: bool = True, **allowed: Any) -> Self:
        """The last question is allowed, and the message reaches the server."""
        self.allow_mcp(**allowed)
        if dials:
            self.expect(Dial).feed(Dialled(parameters={}, process_id=0, secret=b""))
        self.expect(Tape, "i").expect(SendHead)
        return self.expect(Send, Side.UPSTREAM) if body else self

    def allow_mcp(
        self,
        *,
        permits: tuple[str, ...] | None = None,
        visible: tuple[str, ...] | None = None,
        masked: bool = False,
        limits: Limits | None = None,
    ) -> Self:
        """The last question is answered: allowed."""
        assert isinstance(self.ask, Ask), "nothing was asked"
        asked = self.ask.event
        common: dict[str, Any] = {
            "ingress": asked.ingress, "session": asked.session, "operation": asked.operation,
            "intercepted": asked.id, "digest": asked.digest, "catalog_revision": "",
        }  # fmt: skip
        detector = DetectorPlan(label="pii.email", transform=Transform(kind="redact"))
        plan = Plan(statements=(), body=BodyPlan(), detectors=(detector,) if masked else ())
        verdict = OperationAllowed(
            policy_revision=1, permits=permits, visible=visible, limits=limits or Limits(), **common
        )
        planned = OperationPlanned(masking_revision=1, plan=plan, **common)
        return self.feed(Answered(operation=asked.operation, answer=Allowed(verdict=verdict, plan=planned)))

    @property
    def mcp(self) -> McpCall:
        """What was asked about last."""
        assert self.ask is not None
        assert self.ask.event.call is not None
        assert self.ask.event.call.mcp is not None
        return self.ask.event.call.mcp

    @property
    def sent_body(self) -> Any:
        """The message the server was sent last."""
        found = [one.data for one in self.all if isinstance(one, Send) and one.side is Side.UPSTREAM]
        return json.loads(found[-1])

    @property
    def said(self) -> bytes:
        """All the agent was sent."""
        return b"".join(one.data for one in self.all if isinstance(one, Send) and one.side is Side.AGENT)
