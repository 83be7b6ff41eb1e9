"""One JSON-RPC message, read so strictly that no other parser could read something else in it.

What is judged must be what the other side parses. So beside the grammar these are refused: a name that stands twice in
an object (parsers take the first, or the last), names that differ only in case (Go's decoder takes either for the
same field), NaN and infinities, numbers beyond a double, text that is no Unicode, batches (which revision 2025-06-18
removed), and a message that is both a request and an answer.

Source: JSON-RPC 2.0; Model Context Protocol 2025-11-25, "Base protocol"; RFC 8259 section 4.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
REFUSED = -32003
"""Of the range JSON-RPC leaves to implementations: the gateway refused it."""

ID_LIMIT = 256
"""Characters of an id; real ones are counters or UUIDs."""
_METHOD = re.compile(r"[A-Za-z0-9_$./-]{1,256}")
_MEMBERS = ("jsonrpc", "id", "method", "params", "result", "error")

Id = str | int


class Malformed(Exception):
    """It is no message. The text names what is wrong, never a value."""

    def __init__(self, code: int, reason: str, *, id: Id | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.id = id


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as parsed."""

    kind: Literal["request", "notification", "result", "error"]
    id: Id | None = None
    """Of a request, or of the request that is answered; ``None`` of an error: the request could not be read."""
    method: str = ""
    """Empty: an answer."""
    members: Mapping[str, Any] = field(repr=False)
    raw: bytes = field(repr=False)

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters; empty where there are none."""
        return cast("Mapping[str, Any]", self.members.get("params", {}))


def read_message(raw: bytes) -> Message:
    """Read one message.

    Raises:
        Malformed: it is none, or two parsers could read two messages in it.
    """
    members = read_object(raw)
    id = _id(members)
    for name in members:
        if name not in _MEMBERS and name.casefold() in _MEMBERS:
            raise Malformed(INVALID_REQUEST, "a member whose name differs from one of JSON-RPC only in case")
    if members.get("jsonrpc") != "2.0":
        raise Malformed(INVALID_REQUEST, "'jsonrpc' is not \"2.0\"", id=id)
    if "method" not in members:
        return _answer(members, id, raw)
    method = members["method"]
    if not isinstance(method, str) or _METHOD.fullmatch(method) is None:
        raise Malformed(INVALID_REQUEST, "'method' is no name of a method", id=id)
    if "result" in members or "error" in members:
        raise Malformed(INVALID_REQUEST, "a message that is both a request and an answer", id=id)
    if not isinstance(members.get("params", {}), dict):
        raise Malformed(INVALID_REQUEST, "'params' is not an object", id=id)
    if "id" not in members:
        return Message(kind="notification", method=method, members=members, raw=raw)
    if id is None:
        raise Malformed(INVALID_REQUEST, "'id' of a request is null")
    return Message(kind="request", id=id, method=method, members=members, raw=raw)


def _answer(members: dict[str, Any], id: Id | None, raw: bytes) -> Message:
    if ("result" in members) == ("error" in members):
        raise Malformed(INVALID_REQUEST, "neither a method nor exactly one of 'result' and 'error'", id=id)
    if "params" in members:
        raise Malformed(INVALID_REQUEST, "an answer with parameters", id=id)
    if "result" in members:
        if id is None or not isinstance(members["result"], dict):
            raise Malformed(INVALID_REQUEST, "a result without an id, or that is not an object", id=id)
        return Message(kind="result", id=id, members=members, raw=raw)
    error = members["error"]
    if not isinstance(error, dict):
        raise Malformed(INVALID_REQUEST, "'error' is not an object", id=id)
    code, text = cast("dict[str, Any]", error).get("code"), cast("dict[str, Any]", error).get("message")
    if isinstance(code, bool) or not isinstance(code, int) or not isinstance(text, str):
        raise Malformed(INVALID_REQUEST, "an error without code and message", id=id)
    return Message(kind="error", id=id, members=members, raw=raw)


def _id(members: dict[str, Any]) -> Id | None:
    id = members.get("id")
    if id is None:
        return None
    if isinstance(id, bool) or not isinstance(id, str | int):
        raise Malformed(INVALID_REQUEST, "'id' is neither text nor a whole number")
    if len(str(id)) > ID_LIMIT:
        raise Malformed(INVALID_REQUEST, f"'id' has more than {ID_LIMIT} characters")
    return id


def same_id(one: Id | None, other: Id | None) -> bool:
    """Whether two ids are the same: ``1`` and ``"1"`` are not."""
    return type(one) is type(other) and one == other


# ---------------------------------------------------------------- JSON


def read_object(raw: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        Malformed: it is none, or holds what two parsers could read differently.
    """
    try:
        value: Any = json.loads(
            raw.decode(), object_pairs_hook=_members, parse_float=_number, parse_constant=_no_number
        )
    except UnicodeDecodeError as error:
        raise Malformed(PARSE_ERROR, "the body is not UTF-8") from error
    except RecursionError as error:
        raise Malformed(PARSE_ERROR, "the body is nested too deeply") from error
    except ValueError as error:
        raise Malformed(PARSE_ERROR, "the body is not JSON") from error
    if isinstance(value, list):
        raise Malformed(
            INVALID_REQUEST,
            "batches are not served (revision 2025-06-18 of MCP removed them): send one message",
        )
    if not isinstance(value, dict):
        raise Malformed(INVALID_REQUEST, "the body is not a JSON object")
    if _SURROGATE.search(raw) is not None:
        _check_text(cast("object", value))
    return cast("dict[str, Any]", value)


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""Only an escape can bring a lone surrogate in: UTF-8 has none."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed(PARSE_ERROR, "a name stands twice in one object")
    if len({name.casefold() for name in members}) != len(members):
        raise Malformed(PARSE_ERROR, "two names of one object differ only in case")
    return members


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("beyond a double")
    return number


def _no_number(_: str) -> float:
    raise ValueError("no number")


def _check_text(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise Malformed(PARSE_ERROR, "text with half a surrogate pair") from error


# ---------------------------------------------------------------- written


def write_message(members: Mapping[str, Any]) -> bytes:
    """Write a message anew."""
    return json.dumps(members, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def error_message(id: Id | None, code: int, text: str, about: Mapping[str, object] | None = None) -> bytes:
    """Return an error as the answer to a request; ``id`` ``None``: the request could not be read."""
    error: dict[str, object] = {"code": code, "message": text}
    if about is not None:
        error["data"] = about
    return write_message({"jsonrpc": "2.0", "id": id, "error": error})
