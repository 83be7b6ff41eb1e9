"""What only the gateway may say to an upstream cannot be said by an agent, nor told to it."""

import hashlib
from typing import Any

import pytest

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.events import (
    OperationFailed,
    OperationFinished,
    OperationRefused,
    SessionClosed,
    SessionOpened,
)
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.core import (
    Ask,
    DialRefused,
    Distrust,
    Hangup,
    LoggedIn,
    Login,
    Record,
    Send,
    SendHead,
    Side,
    Tape,
    Undial,
)
from weirgate_ingress.gates.http.injected import undisclosed
from weirgate_testkit.http_story import CRM, HttpStory, request, status_of
from weirgate_testkit.story import IDENTITY


def resource(**given: Any) -> ResourceDocument:
    return ResourceDocument.model_validate(CRM.model_dump() | {"credential": "env:KEY"} | given)


HEADER = resource(inject="header:X-Crm-Key")
QUERY = resource(inject="query:api_key")
OAUTH2 = resource(inject="oauth2", oauth2={"token_url": "https://login.test/token", "client_id": "gate"})
S3 = resource(
    inject="sigv4",
    upstream="https://s3.test",
    sigv4={"region": "eu-central-1", "service": "s3", "access_key_id": "AKIDEXAMPLE"},
)
LAMBDA = resource(
    inject="sigv4",
    upstream="https://api.test",
    sigv4={"region": "eu-central-1", "service": "execute-api", "access_key_id": "AKIDEXAMPLE"},
)


def begun(of: ResourceDocument, *given: Any, **more: Any) -> HttpStory:
    one = HttpStory()
    one.agent_sends(request(*given, **more))
    one.expect(Login)
    return one.feed(LoggedIn(identity=IDENTITY, resource=of))


def asked(of: ResourceDocument, *given: Any, **more: Any) -> HttpStory:
    return begun(of, *given, **more).expect(Record, SessionOpened).expect(Ask)


def refused(one: HttpStory) -> Refusal:
    """Nobody was asked, and the connection ends with it."""
    one.expect(Record, SessionOpened)
    found: list[OperationRefused] = []
    one.expect(Record, lambda e: not found.append(e.event)).expect(Tape, "o").expect(Send, Side.AGENT)
    one.expect(Record, SessionClosed).expect(Hangup)
    assert isinstance(found[0], OperationRefused)
    return found[0].refusal


def fields(one: HttpStory) -> dict[str, str]:
    """What is judged; what is sent on has the same."""
    assert one.ask is not None
    assert one.ask.event.call is not None
    return {each.name: each.value for each in one.ask.event.call.headers}


def test_a_field_the_gateway_fills_is_dropped_however_it_is_written() -> None:
    raw = request().replace(
        b"\r\n\r\n", b"\r\nX-Crm-Key: a\r\nX_Crm_Key: b\r\nx.crm.key: c\r\nX-Other: d\r\n\r\n"
    )
    one = HttpStory()
    one.agent_sends(raw).expect(Login)
    one.feed(LoggedIn(identity=IDENTITY, resource=HEADER)).expect(Record).expect(Ask)
    assert set(fields(one)) == {"accept-encoding", "x-other"}
    one.sent_on()
    assert set(dict(one.head.headers)) == {"accept-encoding", "x-other"}


@pytest.mark.parametrize(
    "name", ["api_key", "API_KEY", "api%5Fkey", "api.key", "api-key", "api_key%5B%5D", "+api_key"]
)
def test_a_parameter_the_gateway_adds_is_refused(name: str) -> None:
    one = begun(QUERY, target=f"/crm/v1/pay?x=1&{name}=mine")
    assert refused(one).code is RefusalCode.UNSUPPORTED


def test_other_parameters_pass() -> None:
    asked(QUERY, target="/crm/v1/pay?api=1&key=2&x=api_key")


def test_the_fields_of_a_signature_are_dropped_and_others_of_its_family_are_judged() -> None:
    one = asked(
        S3, x_amz_date="20150830T123600Z", x_amz_security_token="t", x_amz_content_sha256="UNSIGNED-PAYLOAD",
        x_amz_target="DynamoDB_20120810.GetItem",
    )  # fmt: skip
    assert set(fields(one)) == {"accept-encoding", "x-amz-target"}


@pytest.mark.parametrize("name", ["X-Amz-Signature", "x-amz-credential", "X-Amz-Algorithm", "AWSAccessKeyId"])
def test_a_presigned_address_is_refused(name: str) -> None:
    assert refused(begun(S3, target=f"/crm/key?{name}=x")).code is RefusalCode.UNSUPPORTED


@pytest.mark.parametrize(
    "more",
    [{"content_encoding": "aws-chunked"}, {"x_amz_content_sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}],
)
def test_a_body_signed_in_chunks_is_refused(more: dict[str, str]) -> None:
    assert refused(begun(S3, "PUT", body=b"x", **more)).code is RefusalCode.UNSUPPORTED


def test_a_streamed_body_is_refused_before_anybody_is_asked_but_for_s3_over_tls() -> None:
    assert (
        refused(begun(LAMBDA, "POST", body=b"x", content_type="text/plain")).code is RefusalCode.UNSUPPORTED
    )
    clear = resource(**S3.model_dump() | {"upstream": "http://s3.test"})
    assert refused(begun(clear, "PUT", body=b"x", content_type="text/plain")).code is RefusalCode.UNSUPPORTED
    asked(S3, "PUT", body=b"x", content_type="text/plain")


def sent(one: HttpStory) -> SendHead:
    return next(each for each in one.all if isinstance(each, SendHead))


def test_a_head_goes_with_the_hash_of_its_body() -> None:
    body = b'{"amount": 1}'
    one = asked(LAMBDA, "POST", body=body, content_type="application/json").sent_on(body=body)
    assert sent(one).body_sha256 == hashlib.sha256(body).hexdigest()
    assert sent(asked(LAMBDA).sent_on()).body_sha256 == hashlib.sha256(b"").hexdigest()
    streams = asked(S3, "PUT", body=b"abc", content_type="text/plain").sent_on()
    streams.expect(Tape, "i").expect(Send, Side.UPSTREAM, b"abc")
    assert sent(streams).body_sha256 is None


def test_a_401_makes_the_credential_doubtful_and_other_answers_do_not() -> None:
    one = asked(OAUTH2).sent_on()
    one.upstream_sends(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").says()
    one.expect(Record, OperationFinished).expect(Distrust)
    other = asked(OAUTH2).sent_on()
    other.upstream_sends(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").says()
    other.expect(Record, OperationFinished)


def test_a_credential_that_is_not_to_be_had_anew_fails_the_operation() -> None:
    one = asked(OAUTH2).sent_on()
    refusal = Refusal(code=RefusalCode.UPSTREAM_UNAVAILABLE, reason="away")
    one.feed(DialRefused(refusal=refusal))
    one.expect(Record, lambda e: isinstance(e.event, OperationFailed) and e.event.refusal == refusal)
    one.expect(Undial).says(lambda raw: status_of(raw) == 502)
    # The agent's connection goes on.
    one.request().expect(Ask)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/crm/a?api_key=SECRET", "/crm/a"),
        ("/crm/a?api_key=SECRET&x=1", "/crm/a?x=1"),
        ("/crm/a?x=1&api_key=SECRET#top", "/crm/a?x=1#top"),
        ("/crm/a?x=1&API%5Fkey=SECRET&y=2", "/crm/a?x=1&y=2"),
        ("https://login.test/?next=%2Fa%3Fapi_key%3DSECRET%26y%3D1", "https://login.test/?next=%2Fa%3Fy%3D1"),
        ("https://login.test/?next=%2Fa%3Fx%3D1%26api_key%3DSECRET", "https://login.test/?next=%2Fa%3Fx%3D1"),
        ("<https://api.test/a?page=2&api_key=SECRET>; rel=next", "<https://api.test/a?page=2>; rel=next"),
        ("0;url=/a?api_key=SECRET", "0;url=/a"),
        ("/crm/a?my_api_key=1", "/crm/a?my_api_key=1"),
    ],
)
def test_an_address_in_an_answer_tells_no_credential(value: str, shown: str) -> None:
    assert undisclosed((("location", value),), QUERY) == (("location", shown),)
    assert undisclosed((("location", value),), HEADER) == (("location", value),)
