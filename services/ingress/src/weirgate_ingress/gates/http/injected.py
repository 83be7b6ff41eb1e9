"""What only the gateway may say to an upstream: the fields and parameters that carry its credential.

=================  =====================================================================================================
``inject``         of an agent's request
=================  =====================================================================================================
``header:NAME``    the field is dropped, however its punctuation is written
``query:NAME``     a parameter of that name is refused: which of two counts is each upstream's own taste
``sigv4``          the fields of a signature are dropped; the parameters of a presigned address, and a body signed in
                   chunks, are refused; of a service other than S3 so is a body that streams, for its hash is not known
                   when the head is sent
=================  =====================================================================================================

``Authorization`` is the agent's own token, and never sent on. It is done before the operation is asked about, so what
is judged, what is in the events and what is sent are the same.

What an upstream answers is kept from telling a ``query:NAME`` credential: a redirect often repeats the query it was
asked with.

Source: CWE-235 (parameters that stand twice); AWS documentation, "Authenticating Requests: Using Query Parameters".
"""

import re
from dataclasses import replace
from functools import lru_cache

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.refusal import RefusalCode
from weirgate_ingress.gates.http.header import Headers
from weirgate_ingress.gates.http.request import Request, Unserved

_SIGNATURE = frozenset(
    (
        "x-amz-date",
        "x-amz-content-sha256",
        "x-amz-security-token",
        "x-amz-s3session-token",
        "x-amz-region-set",
    )
)
_PRESIGNED = frozenset(
    (
        "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires", "x-amz-signedheaders",
        "x-amz-signature", "x-amz-security-token", "awsaccesskeyid", "signature",
    )
)  # fmt: skip
_PUNCTUATION = re.compile(r"[^a-z0-9]")


def fitted(request: Request, resource: ResourceDocument) -> Request:
    """Return a request without the fields only the gateway may send.

    Raises:
        Unserved: it says otherwise what only the gateway may say, or cannot be signed.
    """
    kind, _, name = (resource.inject or "").partition(":")
    gone: frozenset[str] = frozenset()
    if kind == "header":
        gone = frozenset((_plain(name),))
    elif kind == "query":
        _refuse_parameters(request, frozenset((_spoken(name),)))
    elif kind == "sigv4":
        gone = frozenset(_plain(one) for one in _SIGNATURE)
        _refuse_parameters(request, frozenset(_spoken(one) for one in _PRESIGNED))
        _refuse_unsigned(request, resource)
    if not gone:
        return request
    kept = tuple((one, value) for one, value in request.head.headers if _plain(one) not in gone)
    if len(kept) == len(request.head.headers):
        return request
    return replace(request, head=request.head.with_headers(kept))


def undisclosed(headers: Headers, resource: ResourceDocument) -> Headers:
    """Return the fields of an answer without a credential that an upstream repeats in an address."""
    kind, _, name = (resource.inject or "").partition(":")
    if kind != "query":
        return headers
    pattern = _parameter(name)
    return tuple((one, pattern.sub(_removed, value)) for one, value in headers)


@lru_cache(maxsize=1024)
def _parameter(name: str) -> re.Pattern[str]:
    # Any character of the name may come back percent-encoded; a value ends where an address does.
    spelt = "".join(f"(?:{re.escape(char)}|%{ord(char):02x})" for char in name)
    mark = r"([?&;]|%3f|%26|%3b)"
    return re.compile(rf"{mark}{spelt}(?:=|%3d)(?:(?!%26|%23|%3b)[^&#;,\s<>\"'])*(&|%26)?", re.IGNORECASE)


def _removed(found: re.Match[str]) -> str:
    """What stood before a parameter stays where another follows it."""
    return found.group(1) if found.group(2) else ""


def _plain(name: str) -> str:
    return _PUNCTUATION.sub("-", name.lower())


def _spoken(name: str) -> str:
    """A parameter's name as the most generous framework has it: ``api.key[]`` is ``api_key`` to PHP."""
    return _plain(name.partition("[")[0].strip())


def _refuse_parameters(request: Request, names: frozenset[str]) -> None:
    for name, _ in request.target.query:
        if _spoken(name) in names:
            raise Unserved(
                RefusalCode.UNSUPPORTED,
                "The query has a parameter that only the gateway sends to this resource.",
                "Leave the credential of the upstream out: the gateway adds it.",
            )


def _refuse_unsigned(request: Request, resource: ResourceDocument) -> None:
    head = request.head
    stated = ",".join(head.all("x-amz-content-sha256")).upper()
    codings = ",".join(head.all("content-encoding")).lower()
    if "aws-chunked" in codings or stated.startswith("STREAMING-"):
        raise Unserved(
            RefusalCode.UNSUPPORTED,
            "A body signed in chunks is not let through: the gateway signs anew, and cannot sign it so.",
            "Send the plain body, without 'Content-Encoding: aws-chunked'.",
        )
    if request.framing.kind == "none" or request.read_whole:
        return
    assert resource.sigv4 is not None, "a document with 'inject: sigv4' has it"
    if resource.sigv4.service != "s3" or not resource.upstream.lower().startswith("https:"):
        raise Unserved(
            RefusalCode.UNSUPPORTED,
            "A body of this type streams, and cannot be signed for this resource.",
            "Send JSON or a form ('Content-Type: application/json'), which is read whole.",
        )
