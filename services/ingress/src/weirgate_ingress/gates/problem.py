"""What an HTTP agent is told: one status per refusal code, and the problem details around it.

Source: RFC 9457; RFC 9110 section 15.
"""

import json

from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_wire.http.coding import CODINGS
from weirgate_wire.http.head import ResponseHead

STATUSES: dict[RefusalCode, int] = {
    RefusalCode.DENIED: 403,
    RefusalCode.LATERAL: 403,
    RefusalCode.MASKED_PREDICATE: 403,
    RefusalCode.HELD_REFUSED: 403,
    RefusalCode.HELD_EXPIRED: 403,
    RefusalCode.HELD_WITHDRAWN: 403,
    RefusalCode.UNPARSABLE: 400,
    RefusalCode.OPAQUE: 403,
    RefusalCode.UNSUPPORTED: 501,
    RefusalCode.CODING_UNKNOWN: 415,
    RefusalCode.TOO_LARGE: 413,
    RefusalCode.PROTOCOL: 400,
    RefusalCode.VERDICT_TIMEOUT: 503,
    RefusalCode.PLAN_TIMEOUT: 503,
    RefusalCode.PLAN_MISMATCH: 502,
    RefusalCode.PLAN_IMPOSSIBLE: 403,
    RefusalCode.CATALOG_CHANGED: 503,
    RefusalCode.LIMIT_EXCEEDED: 403,
    RefusalCode.CREDENTIAL_ECHOED: 502,
    RefusalCode.LOG_UNAVAILABLE: 503,
    RefusalCode.LOG_FULL: 507,
    RefusalCode.UPSTREAM_UNAVAILABLE: 502,
    RefusalCode.UPSTREAM_LOST: 502,
    RefusalCode.TOKEN_INVALID: 401,
    RefusalCode.TOKEN_EXPIRED: 401,
    RefusalCode.RESOURCE_UNKNOWN: 404,
    RefusalCode.TLS_REQUIRED: 403,
    RefusalCode.MISDIRECTED: 421,
    RefusalCode.LOGIN_TIMEOUT: 408,
    RefusalCode.TOO_MANY: 429,
    RefusalCode.KILLED: 403,
    RefusalCode.SHUTDOWN: 503,
}
"""Exhaustive (a test holds it to the enum)."""

REASONS = {
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    407: "Proxy Authentication Required", 408: "Request Timeout", 413: "Content Too Large",
    415: "Unsupported Media Type", 421: "Misdirected Request", 429: "Too Many Requests", 501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable", 507: "Insufficient Storage",
}  # fmt: skip
_CHALLENGE = 'Bearer realm="weirgate"'
_PROXY_CHALLENGES = ('Basic realm="weirgate"', 'Bearer realm="weirgate"')
"""Basic first: most clients know no other way to a proxy, and some look at the first line alone."""
_PROXIED = {401: 407, 404: 403}
"""What a proxy says instead: 401 and 404 would be the word of whom the agent means to reach."""


def problem(
    refusal: Refusal,
    *,
    operation: int | None,
    close: bool,
    bodiless: bool = False,
    upstream: bool = False,
    metadata: str | None = None,
    proxied: bool = False,
) -> bytes:
    """Return the whole response that tells a refusal.

    Args:
        refusal: what is refused.
        operation: its number within the session, where it has one.
        close: whether the connection ends with it.
        bodiless: the agent asked with HEAD: the same head, and no body.
        upstream: it is the upstream that broke the protocol, not the agent.
        metadata: address at which an agent without a good token reads where to get one (RFC 9728 section 5.1).
        proxied: the agent asks the gateway as a proxy.
    """
    status = 502 if upstream and refusal.code is RefusalCode.PROTOCOL else STATUSES[refusal.code]
    if proxied:
        status = _PROXIED.get(status, status)
    details: dict[str, object] = {
        "type": f"urn:weirgate:refusal:{refusal.code.value}",
        "title": REASONS[status],
        "status": status,
        "detail": refusal.reason,
        "code": refusal.code.value,
    }
    if refusal.rules:
        details["rules"] = list(refusal.rules)
    if refusal.hint:
        details["hint"] = refusal.hint
    if operation is not None:
        details["operation"] = operation
    body = json.dumps(details, ensure_ascii=False).encode()
    headers = [
        ("content-type", "application/problem+json"),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
    ]
    if status == 401:
        more = f', resource_metadata="{metadata}"' if metadata is not None else ""
        headers.append(("www-authenticate", _CHALLENGE + more))
    if refusal.code is RefusalCode.CODING_UNKNOWN:
        # It was the coding and not the type: RFC 9110, 15.5.16.
        headers.append(("accept-encoding", ", ".join(CODINGS)))
    if status == 407:
        headers += [("proxy-authenticate", one) for one in _PROXY_CHALLENGES]
    if close:
        headers.append(("connection", "close"))
    head = ResponseHead(status=status, reason=REASONS[status], headers=tuple(headers))
    return head.encode() if bodiless else head.encode() + body
