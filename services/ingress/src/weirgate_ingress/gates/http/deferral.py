"""What an agent is told that need not wait: 202 for a held request, and the state of it later.

=====================  =========================================================================================
held, told to wait     202 with ``Location`` and ``Retry-After``; the same request sent again goes through once,
                       when people have agreed
``GET`` the location   202 while people decide, 200 with the state when they have, 404 for everybody else
=====================  =========================================================================================

The location stands under ``/.well-known/weirgate/`` of the gateway itself, before any resource: names of resources
begin with a letter or digit, so no path of an upstream can ever be reached there, nor hidden by it.

Source: RFC 9110 sections 10.2.2, 10.2.3 and 15.3.3; RFC 7240 (Prefer); RFC 8615 (well-known).
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.core import Found, Held
from weirgate_ingress.gates.problem import problem
from weirgate_wire.http.head import RequestHead, ResponseHead

RETRY_AFTER_S: Final = 15
"""Hint for who comes back: people take minutes, and each retry is an operation that is judged and recorded."""
_WAIT_LIMIT_DIGITS: Final = 9
_PLACE: Final = "/.well-known/"
_OWN = re.compile(r"/\.well-known/weirgate/([a-z0-9-]{1,63})/requests/([0-9A-HJKMNP-TV-Z]{26})")
_PREFERENCE = re.compile(
    r"[ \t]*+([!#$%&'*+\-.^_`|~0-9A-Za-z]++)(?:[ \t]*+=[ \t]*+(?:\"((?:[^\"\\]|\\.)*+)\"|([^\s,;\"]*+)))?"
    r"(?:[ \t]*+;(?:[^,\"]|\"(?:[^\"\\]|\\.)*+\")*+)?[ \t]*+(?:,|$)"
)
"""One preference of a list. Possessive throughout, so that no field can make it try twice."""
_PREFER_LIMIT: Final = 1024
"""Characters of a field that are read; nobody asks for more in earnest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """What an agent would rather have. Source: RFC 7240 sections 4.1 and 4.3."""

    at_once: bool = False
    """``respond-async``."""
    wait_s: int | None = None
    """``wait``."""

    def hold_wait_s(self, usual_s: int) -> int:
        """Return how long a held request waits in flight: never longer than is usual for its resource."""
        if self.wait_s is not None:
            return min(self.wait_s, usual_s)
        return 0 if self.at_once else usual_s

    @property
    def applied(self) -> str:
        """What was gone by, for ``Preference-Applied``; empty: nothing was asked."""
        words = ["respond-async"] if self.at_once else []
        if self.wait_s is not None:
            words.append(f"wait={self.wait_s}")
        return ", ".join(words)


def read_preference(fields: Iterable[str]) -> Preference:
    """Read ``Prefer``. Of one that is given twice the first counts; what cannot be read was not asked for."""
    at_once, wait_s = False, None
    seen: set[str] = set()
    for field in fields:
        at = 0
        while at < len(field) <= _PREFER_LIMIT:
            found = _PREFERENCE.match(field, at)
            if found is None or found.end() == at:
                break
            at = found.end()
            name, value = found[1].lower(), (found[2] if found[2] is not None else found[3]) or ""
            if name in seen:
                continue
            seen.add(name)
            if name == "respond-async":
                at_once = True
            elif name == "wait" and value.isascii() and value.isdigit() and len(value) <= _WAIT_LIMIT_DIGITS:
                wait_s = int(value)
    return Preference(at_once=at_once, wait_s=wait_s)


def location(resource: str, request: str) -> str:
    """Return where the state of a request is told."""
    return f"/.well-known/weirgate/{resource}/requests/{request}"


def is_own(path: str) -> bool:
    """Say whether a path is the gateway's own, whether or not anything is there."""
    return path.startswith(_PLACE)


def read_location(path: str) -> tuple[str, str] | None:
    """Return resource and request of a path that ``location`` gave; ``None``: it is none."""
    found = _OWN.fullmatch(path)
    return (found[1], found[2]) if found is not None else None


def told_to_wait(
    held: Held, *, resource: str, operation: int, preference: Preference, asked: RequestHead, close: bool
) -> bytes:
    """Return the 202 for a held request."""
    where = location(resource, held.request)
    details: dict[str, object] = {
        "status": "held",
        "title": "Accepted, and held for approval",
        "detail": f"{held.notice}. {held.detail}",
        "hint": f"Nothing was sent on. Send the same request again, unchanged, after {RETRY_AFTER_S} s or more: "
        "it goes through once when people have agreed.",
        "request": held.request,
        "location": where,
        "review": held.hint,
        "operation": operation,
    }
    more = [("location", where), ("retry-after", str(RETRY_AFTER_S))]
    if preference.applied:
        more.append(("preference-applied", preference.applied))
    return _answer(202, details, more, close=close, bodiless=asked.method == "HEAD")


_HINTS: Final = {
    "open": f"Look again after {RETRY_AFTER_S} s or more.",
    "granted": "Send the same request again, unchanged: it goes through once.",
    "used": "It went through, or was on its way when something failed; sent again, it asks people anew.",
}


def told_state(found: Found, *, resource: str, asked: RequestHead, close: bool) -> bytes:
    """Return the answer about the state of a request, or a 404 that says nothing of it."""
    if found.state is None:
        refusal = Refusal(code=RefusalCode.RESOURCE_UNKNOWN, reason="There is no such request.")
        return problem(refusal, operation=None, close=close, bodiless=asked.method == "HEAD")
    state = "pending" if found.state == "open" else found.state
    details: dict[str, object] = {
        "status": state,
        "request": found.request,
        "hint": _HINTS.get(found.state, "Sent again, the request asks people anew."),
    }
    if found.detail:
        details["detail"] = found.detail
    if found.until:
        details["until"] = found.until
    more: list[tuple[str, str]] = []
    if found.state == "open":
        more = [("location", location(resource, found.request)), ("retry-after", str(RETRY_AFTER_S))]
    status = 202 if found.state == "open" else 200
    return _answer(status, details, more, close=close, bodiless=asked.method == "HEAD")


def _answer(
    status: int, details: dict[str, object], more: list[tuple[str, str]], *, close: bool, bodiless: bool
) -> bytes:
    body = json.dumps(details, ensure_ascii=False).encode()
    headers = [
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
        *more,
    ]
    if close:
        headers.append(("connection", "close"))
    head = ResponseHead(status=status, reason="Accepted" if status == 202 else "OK", headers=tuple(headers))
    return head.encode() if bodiless else head.encode() + body
