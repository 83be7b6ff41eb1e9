"""How a refusal is told in MCP.

==============================  ====================================================================================
a ``tools/call``                200 and a result with ``isError``: the model reads it, and can do something else
another request                 200 and a JSON-RPC error, the problem (RFC 9457) as its data
a body that is no message       400 and a JSON-RPC error
a notification, GET, DELETE     the problem, with its status
no token, log away, shut down   the problem, with its status: it is not about the message
==============================  ====================================================================================

A request is answered 200, for clients take any other status for a broken connection and give up the whole session.

Source: Model Context Protocol 2025-11-25, "Transports", "Tools: Error handling"; JSON-RPC 2.0 section 5.1.
"""

import json
from http import HTTPStatus
from typing import Any, Final, cast

from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.http.mcp.message import (
    REFUSED,
    Id,
    Malformed,
    Message,
    error_message,
    write_message,
)
from weirgate_ingress.gates.problem import problem
from weirgate_wire.http.head import ResponseHead

_ABOUT_THE_CONNECTION: Final = frozenset(
    (
        RefusalCode.TOKEN_INVALID, RefusalCode.TOKEN_EXPIRED, RefusalCode.TLS_REQUIRED, RefusalCode.LOG_UNAVAILABLE,
        RefusalCode.LOG_FULL, RefusalCode.LOGIN_TIMEOUT, RefusalCode.KILLED, RefusalCode.SHUTDOWN,
    )
)  # fmt: skip


class McpRefused(Exception):
    """A request that is refused before anybody is asked.

    Args:
        refusal: what is recorded.
        status: of the answer.
        error: JSON-RPC code, where the body is what is wrong; ``None``: a problem is told.
        id: of the request, as far as it could be read.
    """

    def __init__(
        self, refusal: Refusal, status: HTTPStatus, *, error: int | None = None, id: Id | None = None
    ) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal
        self._status = status
        self._error = error
        self._id = id

    def word(self, number: int) -> bytes:
        """Return the whole answer; the connection ends with it.

        Args:
            number: of the operation.
        """
        about = details(self.refusal, number, self._status)
        if self._error is None:
            return _answer(self._status, "application/problem+json", _json(about), close=True)
        body = error_message(self._id, self._error, self.refusal.reason, about)
        return _answer(self._status, "application/json", body, close=True)


def malformed(error: Malformed) -> McpRefused:
    """Return the refusal of a body that is no message."""
    refusal = Refusal(
        code=RefusalCode.PROTOCOL,
        reason=f"The body is no message of MCP that is served: {error.reason}."[:2000],
        hint="Send one JSON-RPC 2.0 message in each POST.",
    )
    return McpRefused(refusal, HTTPStatus.BAD_REQUEST, error=error.code, id=error.id)


def told(refusal: Refusal, message: Message | None, *, operation: int, close: bool, upstream: bool) -> bytes:
    """Return the whole answer that tells a refusal.

    Args:
        refusal: what is refused.
        message: of the agent; ``None``: GET or DELETE.
        operation: its number.
        close: whether the connection ends with it.
        upstream: it is the upstream that broke the protocol.
    """
    if message is None or message.kind != "request" or refusal.code in _ABOUT_THE_CONNECTION:
        return problem(refusal, operation=operation, close=close, upstream=upstream)
    body = refusal_message(refusal, message, operation)
    return _answer(HTTPStatus.OK, "application/json", body, close=close)


def refusal_message(refusal: Refusal, message: Message, operation: int) -> bytes:
    """Return the JSON-RPC answer to a request that tells a refusal."""
    if message.method != "tools/call":
        about = details(refusal, operation, None)
        return error_message(message.id, REFUSED, refusal.reason, about)
    parts = [refusal.reason, refusal.hint or "", f"[{refusal.code.value}, operation {operation}]"]
    text = " ".join(part for part in parts if part)
    result = {"content": [{"type": "text", "text": text}], "isError": True}
    return write_message({"jsonrpc": "2.0", "id": message.id, "result": result})


def details(refusal: Refusal, operation: int, status: int | None) -> dict[str, object]:
    """Return the problem (RFC 9457) of a refusal; ``status`` ``None``: that of its code."""
    raw = problem(refusal, operation=operation, close=False).partition(b"\r\n\r\n")[2]
    about = cast("dict[str, Any]", json.loads(raw))
    if status is not None:
        about["status"] = int(status)
        about["title"] = HTTPStatus(status).phrase
    return about


def _answer(status: HTTPStatus, type: str, body: bytes, *, close: bool) -> bytes:
    headers = [("content-type", type), ("content-length", str(len(body))), ("cache-control", "no-store")]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append(("allow", "GET, POST, DELETE"))
    if close:
        headers.append(("connection", "close"))
    head = ResponseHead(status=status.value, reason=status.phrase, headers=tuple(headers))
    return head.encode() + body


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
