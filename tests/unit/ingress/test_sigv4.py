"""Signature Version 4 is what botocore signs, whatever the request."""

from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from weirgate_ingress.sigv4 import UNSIGNED, SigningKey, sign
from weirgate_wire.error import UsageError
from weirgate_wire.http.head import RequestHead

AT = datetime(2015, 8, 30, 12, 36, 0, tzinfo=UTC)
HOST = "bucket.example.amazonaws.com"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def key(**given: Any) -> SigningKey:
    return SigningKey(
        **(
            {"access_key_id": "AKIDEXAMPLE", "secret": SECRET, "region": "us-east-1", "service": "service"}
            | given
        )
    )


def ours(head: RequestHead, used: SigningKey, body_sha256: str | None = EMPTY) -> dict[str, str]:
    return dict(sign(head, used, body_sha256=body_sha256, at=AT).headers)


def theirs(head: RequestHead, used: SigningKey, body: bytes = b"", **context: Any) -> dict[str, str]:
    request = AWSRequest(method=head.method, url=f"https://{HOST}{head.target}", data=body or None)
    for name, value in head.headers:
        request.headers[name] = value
    request.context.update(context)
    kind = S3SigV4Auth if used.service == "s3" else SigV4Auth
    signer = kind(Credentials(used.access_key_id, used.secret, used.session_token), used.service, used.region)
    with patch("botocore.auth.get_current_datetime", return_value=AT.replace(tzinfo=None)):
        signer.add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


_SEGMENT = st.text(min_size=1, max_size=12).filter(lambda text: text.strip("./ \x00") and "/" not in text)
_TEXT = st.text(max_size=12)
_VALUE = st.text(alphabet=[chr(code) for code in range(0x20, 0x7F)] + ["\t"], max_size=30).map(str.strip)
_NAME = st.sampled_from(
    ["x-amz-target", "x-amz-meta-a", "x-amz-meta-b", "content-type", "accept", "x-other", "cookie", "user-agent",
     "accept-encoding", "traceparent", "expect"]
)  # fmt: skip


def coded(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="~")


@settings(max_examples=400, deadline=None)
@given(
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"]),
    segments=st.lists(_SEGMENT, max_size=4),
    query=st.lists(st.tuples(st.sampled_from(["a", "b", "A", "a b", "ä", "list-type"]), _TEXT), max_size=5),
    fields=st.lists(st.tuples(_NAME, _VALUE), max_size=5),
    service=st.sampled_from(["s3", "execute-api", "dynamodb"]),
    token=st.sampled_from([None, "FQoGZXIvYXdzE//session=="]),
)
def test_any_request_is_signed_as_botocore_signs_it(
    method: str,
    segments: list[str],
    query: list[tuple[str, str]],
    fields: list[tuple[str, str]],
    service: str,
    token: str | None,
) -> None:
    target = "/" + "/".join(coded(one) for one in segments)
    if query:
        target += "?" + "&".join(f"{coded(name)}={coded(value)}" for name, value in query)
    head = RequestHead(method=method, target=target, headers=(("host", HOST), *fields))
    used = key(service=service, session_token=token)
    found, expected = ours(head, used), theirs(head, used)
    for name in ("authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"):
        assert found.get(name) == expected.get(name), name


def test_a_parameter_without_a_value_is_signed_as_one_with_an_empty_one() -> None:
    for target in ("/?acl", "/?acl=", "/?b&a&a=1&a=0"):
        head = RequestHead(method="GET", target=target, headers=(("host", HOST),))
        assert ours(head, key())["authorization"] == theirs(head, key())["authorization"]


def test_a_body_is_signed_by_its_hash() -> None:
    body = b'{"amount": 12}'
    head = RequestHead(
        method="POST", target="/v1", headers=(("host", HOST), ("content-length", str(len(body))))
    )
    import hashlib

    digest = hashlib.sha256(body).hexdigest()
    assert ours(head, key(), digest)["authorization"] != ours(head, key())["authorization"]
    assert ours(head, key(), digest)["authorization"] == theirs(head, key(), body)["authorization"]


def test_a_streamed_body_is_unsigned_for_s3_and_impossible_for_others() -> None:
    head = RequestHead(method="PUT", target="/big", headers=(("host", HOST),))
    found = ours(head, key(service="s3"), None)
    assert found["x-amz-content-sha256"] == UNSIGNED
    request = theirs(
        head.with_headers((*head.headers, ("content-md5", "x"))),
        key(service="s3"),
        b"x",
        has_streaming_input=True,
    )
    assert request["x-amz-content-sha256"] == UNSIGNED
    with pytest.raises(UsageError):
        sign(head, key(), body_sha256=None, at=AT)


def test_the_published_example_has_the_published_signature() -> None:
    # "get-vanilla-query-order-key-case" of the suite AWS published.
    head = RequestHead(
        method="GET", target="/?Param2=value2&Param1=value1", headers=(("host", "example.amazonaws.com"),)
    )
    used = key(secret="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    assert ours(head, used)["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=host;x-amz-date, "
        "Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"
    )


def test_what_an_agent_could_claim_is_replaced() -> None:
    claimed = ("authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256")
    head = RequestHead(
        method="GET", target="/", headers=(("host", HOST), *((name, "claimed") for name in claimed))
    )
    signed = sign(head, key(service="s3", session_token="t"), body_sha256=EMPTY, at=AT)
    assert "claimed" not in dict(signed.headers).values()
    assert len(dict(signed.headers)) == len(signed.headers)


def test_a_sub_delimiter_in_a_path_of_s3_is_signed_as_the_service_reads_it() -> None:
    plain = RequestHead(method="GET", target="/a+b(c)", headers=(("host", HOST),))
    encoded = RequestHead(method="GET", target="/a%2Bb%28c%29", headers=(("host", HOST),))
    used = key(service="s3")
    assert ours(plain, used)["authorization"] == theirs(encoded, used)["authorization"]


def test_a_key_shows_no_secret() -> None:
    assert SECRET not in repr(key())
    assert "tok" not in repr(key(session_token="tok"))
