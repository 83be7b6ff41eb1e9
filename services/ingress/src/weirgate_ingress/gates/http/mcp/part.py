"""The request side of MCP in the HTTP gate: from a request to a judged call, or to a refusal nobody is asked about.

Source: Model Context Protocol 2025-03-26, 2025-06-18, 2025-11-25, "Transports: Streamable HTTP".
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.http import HttpCall
from weirgate_contracts.identity import Identity
from weirgate_contracts.mcp import McpCall
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.http.mcp.call import END, REVISIONS, STREAM, read_call
from weirgate_ingress.gates.http.mcp.exchange import Exchange
from weirgate_ingress.gates.http.mcp.listing import Listing
from weirgate_ingress.gates.http.mcp.message import Malformed, Message, read_message
from weirgate_ingress.gates.http.mcp.refusal import McpRefused, malformed
from weirgate_ingress.gates.http.mcp.terms import Definitions, SessionIds
from weirgate_ingress.gates.http.request import Request
from weirgate_wire.http.head import RequestHead
from weirgate_wire.http.media import read_media_type

_SESSION: Final = "mcp-session-id"
_REVISION: Final = "mcp-protocol-version"
_EVENTS: Final = "text/event-stream"
_ENDPOINT: Final = "Use http(s)://<gateway>/<resource> as the server's address, with nothing behind it."
_MADE_ANEW: Final = ("accept", "accept-encoding", "content-encoding", "last-event-id")


@dataclass(frozen=True, slots=True, kw_only=True)
class McpRequest:
    """A request, read."""

    call: HttpCall
    sent: RequestHead
    exchange: Exchange


class McpPart:
    """Reads the requests of one agent to one server.

    Args:
        identity: of the agent.
        resource: the server.
        ids: seals session ids.
        definitions: what was offered.
    """

    __slots__ = ("_definitions", "_identity", "_ids", "_resource")

    def __init__(
        self, identity: Identity, resource: ResourceDocument, ids: SessionIds, definitions: Definitions
    ) -> None:
        self._identity = identity
        self._resource = resource
        self._ids = ids
        self._definitions = definitions

    def admit(self, request: Request) -> None:
        """Check what the head of a request says.

        Raises:
            McpRefused: it is not served.
        """
        head = request.head
        if request.path != "/" or request.target.raw_query is not None:
            raise _refused(HTTPStatus.NOT_FOUND, "An MCP server has one address.", _ENDPOINT)
        if head.method not in ("GET", "POST", "DELETE"):
            raise _refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{head.method} is not of MCP.", "Use POST.")
        if head.method != "POST" and request.framing.kind != "none":
            raise _refused(HTTPStatus.BAD_REQUEST, f"{head.method} has no body in MCP.", "Use POST.")
        if head.method == "POST":
            self._admit_post(request)
        elif head.method == "GET" and _EVENTS not in ",".join(head.all("accept")).lower():
            raise _refused(
                HTTPStatus.NOT_ACCEPTABLE,
                "GET opens a stream of events.",
                f"Accept '{_EVENTS}', or use POST.",
            )
        elif head.method == "DELETE" and not head.all(_SESSION):
            raise _refused(HTTPStatus.BAD_REQUEST, "DELETE names no session.", "Send 'Mcp-Session-Id'.")
        revision = head.get(_REVISION)
        if revision is not None and revision not in REVISIONS:
            raise _refused(
                HTTPStatus.BAD_REQUEST,
                "This revision of MCP is not served.",
                f"Send one of these as 'MCP-Protocol-Version': {', '.join(REVISIONS)}.",
            )
        self._session_of(head)

    @staticmethod
    def _admit_post(request: Request) -> None:
        if request.type != "application/json":
            raise _refused(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "A message is JSON.", "Send it as 'application/json'."
            )
        codings = {
            one.strip().lower() for value in request.head.all("content-encoding") for one in value.split(",")
        }
        if codings - {"identity", ""}:
            raise _refused(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "A message is read before it is judged, and this one is compressed.",
                "Send it without 'Content-Encoding'.",
            )
        parameters = read_media_type(request.head.get("content-type") or "")[1]
        if parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
            # A server that goes by it would read another message than the one that is judged.
            raise _refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "A message is UTF-8.", "Leave 'charset' out.")
        if request.framing.kind == "none":
            raise _refused(HTTPStatus.BAD_REQUEST, "A POST without a message.", "Send one JSON-RPC message.")

    def read(self, request: Request, whole: bytes | None, call: HttpCall, sent: RequestHead) -> McpRequest:
        """Read a request whose body has come.

        Args:
            request: as admitted.
            whole: its body; ``None``: it has none.
            call: as an HTTP call.
            sent: as the upstream would be sent it.

        Raises:
            McpRefused: its body is no message.
        """
        try:
            message = read_message(whole) if whole is not None else None
            mcp = self._call(request, message)
        except Malformed as error:
            raise malformed(error) from error
        session = self._session_of(request.head)
        headers = [
            (name, value)
            for name, value in sent.headers
            if name not in _MADE_ANEW and (not name.startswith("mcp-") or name == _REVISION)
        ]
        accepted = _EVENTS if message is None else f"application/json, {_EVENTS}"
        headers += [("accept", accepted), ("accept-encoding", "identity")]
        if session is not None:
            headers.append((_SESSION, session))
        # In the event stands nothing that tells of the server's own id.
        return McpRequest(
            call=call.model_copy(update={"mcp": mcp}),
            sent=sent.with_headers(headers),
            exchange=Exchange(message=message, method=request.head.method),
        )

    def _call(self, request: Request, message: Message | None) -> McpCall:
        if message is None:
            return STREAM if request.head.method == "GET" else END
        call = read_call(message)
        if call.kind == "tool" and call.name is not None:
            known = self._definitions.find(self._identity, self._resource.name, call.name)
            if known is not None:
                return call.model_copy(update={"definition": known})
        return call

    def offered(self, listing: Listing) -> None:
        """The server has answered with this list. What of it the agent is not shown counts, too: a tool that is hidden
        because it has changed is still the one that would be called."""
        self._definitions.offered(self._identity, self._resource.name, listing.offered)

    def seal(self, id: str) -> str:
        """Return what the agent is told for a session id of the server."""
        return self._ids.seal(id, self._identity, self._resource)

    def _session_of(self, head: RequestHead) -> str | None:
        given = head.all(_SESSION)
        if not given:
            return None
        opened = self._ids.open(given[0], self._identity, self._resource) if len(given) == 1 else None
        if opened is None:
            raise McpRefused(
                Refusal(
                    code=RefusalCode.RESOURCE_UNKNOWN,
                    reason="There is no such session for this agent at this resource.",
                    hint="Begin a new one with 'initialize', without 'Mcp-Session-Id'.",
                ),
                HTTPStatus.NOT_FOUND,
            )
        return opened


def _refused(status: HTTPStatus, reason: str, hint: str) -> McpRefused:
    code = RefusalCode.UNSUPPORTED if status is not HTTPStatus.BAD_REQUEST else RefusalCode.PROTOCOL
    return McpRefused(Refusal(code=code, reason=reason, hint=hint), status)
