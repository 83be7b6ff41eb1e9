"""One HTTP exchange as a judged thing: what an agent asks for, in the one form that is also sent on."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal
from urllib.parse import quote

from pydantic import Field

from weirgate_contracts.mcp import McpCall
from weirgate_contracts.model import ModelCall, ModelName, ModelUsage
from weirgate_contracts.value import Value, is_absent

BODY_LIMIT_BYTES = 1024 * 1024
"""Longest body that is read whole before it is judged; a longer one of a type that is read is refused."""
BODY_TEXT_LIMIT_BYTES = 64 * 1024
"""Body text kept in an event; a longer one is kept as size and digest (the recording has it whole)."""
READ_TYPES = ("application/json", "application/x-www-form-urlencoded")
"""Media types of bodies that are read whole, and so can be judged by their fields. ``+json`` counts as JSON."""


MESSAGE_METHOD = "MESSAGE"
"""Stands as the method of a call that is one message of an agent over a connection it has upgraded."""
_QUERY_CLEAR = "/?:@!$'()*,;-._~"
"""What stands as it is in a query written out, beside letters and digits."""


def call_text(method: str, path: str, query: Iterable[Sequence[str]]) -> str:
    """Return a call on one line, as people read it: ``GET /v1/customers/7?x=1``.

    Args:
        method: Upper case.
        path: In normal form.
        query: Decoded names and values.
    """
    written = "&".join(
        "=".join(quote(part, safe=_QUERY_CLEAR, errors="replace") for part in pair) for pair in query
    )
    return f"{method} {path}?{written}" if written else f"{method} {path}"


class HttpHeader(Value):
    """One header field; never one that carries a credential of the agent or of the upstream."""

    name: str
    """Lower case."""
    value: str


class HttpBody(Value):
    """The body of a request, as far as it was read before it was judged."""

    type: str
    """Media type without parameters, lower case; empty: none was given."""
    whole: bool
    """True: read whole, and bound by the digest. False: it streams past, and only its head is bound."""
    size_bytes: int | None = None
    """As read, or as announced; ``None``: not announced."""
    sha256: str | None = None
    """Of the whole body, hexadecimal."""
    text: str | None = None
    """The whole body, where it is text of at most 64 KiB."""


class HttpCall(Value):
    """A request, its path in the one normal form that is judged and sent."""

    method: str
    """Upper case."""
    path: str
    """Normal form: begins with ``/``, no dot segment, no empty segment but the last, percent-encoding only where
    needed and in upper case."""
    query: tuple[tuple[str, str], ...] = ()
    """Decoded names and values, in order."""
    route: str | None = None
    """Template of the resource document that the path matches (``/v1/customers/{id}``); ``None``: none."""
    arguments: dict[str, str] = Field(default_factory=dict)
    """Decoded values of the template's names."""
    headers: tuple[HttpHeader, ...] = ()
    body: HttpBody | None = None
    """``None``: it has none."""
    mcp: McpCall | None = Field(default=None, exclude_if=is_absent)
    """Of a resource of protocol ``mcp``: the message its body is."""
    model: ModelCall | None = Field(default=None, exclude_if=is_absent)
    """Of a resource with an ``api``: what is asked of a model, where that can be read in one way only."""
    upgrade: Literal["websocket"] | None = Field(default=None, exclude_if=is_absent)
    """What the connection is to become, of the ``GET`` that asks for it; or what it has become, of each message
    (``MESSAGE_METHOD``) that is judged after it: of the same route and query, the message its body."""


class HttpResponse(Value):
    """What came back, for ``operation.finished``."""

    status: int
    type: str = ""
    """Media type without parameters, lower case."""
    usage: ModelUsage | None = Field(default=None, exclude_if=is_absent)
    """Of a call of a model: what the answer says it cost."""
    tools: tuple[ModelName, ...] | None = Field(default=None, exclude_if=is_absent)
    """Of a call of a model: names of the tools the answer asks to be called, sorted."""


_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\";\s]*)", re.I)
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})


def is_json(type: str) -> bool:
    """Say whether a media type is JSON."""
    return type == "application/json" or type.endswith("+json")


def is_plain(call: HttpCall) -> bool:
    """Say whether the body of a call stands there in UTF-8, without content coding, by what its head says."""
    types = [one.value for one in call.headers if one.name == "content-type"]
    coded = any(
        one.name == "content-encoding" and one.value.strip().lower() not in ("", "identity")
        for one in call.headers
    )
    charsets = [found.lower() for type in types for found in _CHARSET.findall(type)]
    return not coded and len(types) < 2 and all(one in _CHARSETS for one in charsets)
