"""The HTTP gate: nothing is sent on before it is allowed, nothing is seen before it is masked and recorded."""

import json
from typing import Any

import pytest

from weirgate_contracts.events import (
    OperationAbandoned,
    OperationFailed,
    OperationFinished,
    OperationRefused,
    SessionClosed,
    SessionRefused,
)
from weirgate_contracts.operation import AnswerLimit, Limits
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.core import (
    Ask,
    Dial,
    Dialled,
    Hangup,
    LoginRefused,
    Record,
    Renew,
    Send,
    SendHead,
    Side,
    Tape,
    Undial,
    Withdraw,
)
from weirgate_ingress.gates.http.terms import Body
from weirgate_testkit.http_story import HttpStory, StarBodies, StarBody, request, status_of

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"


def story() -> HttpStory:
    return HttpStory().request().known().expect(Ask)


def test_a_request_is_judged_then_sent_then_answered_and_recorded() -> None:
    one = story()
    assert one.ask is not None
    assert one.ask.event.call is not None
    call = one.ask.event.call
    assert (call.method, call.path, call.route, call.arguments) == (
        "GET", "/v1/customers/7", "/v1/customers/{id}", {"id": "7"},
    )  # fmt: skip
    one.expect_nothing_sent_to(Side.UPSTREAM).sent_on()
    assert one.head.target == "/v1/customers/7"
    assert one.head.get("authorization") is None
    one.upstream_sends(OK).says(lambda raw: status_of(raw) == 200 and raw.endswith(b"\r\n\r\nhello"))
    one.expect(Record, lambda e: isinstance(e.event, OperationFinished) and e.event.response is not None)
    # The next one goes on the same two sockets.
    one.request(target="/crm/v1/customers/8").expect(Ask).sent_on(dials=False)
    one.upstream_sends(OK).says().expect(Record, OperationFinished)


def test_a_credential_is_in_no_event_no_recording_and_not_sent_on() -> None:
    one = HttpStory().request(token="s3cr3t", cookie="sid=1").known().expect(Ask).sent_on()
    assert "s3cr3t" not in repr(one.all)
    assert one.head.get("cookie") == "sid=1"
    assert b"sid=1" not in b"".join(e.data for e in one.all if isinstance(e, Tape))


def test_a_refusal_is_a_problem_and_nothing_is_sent_on() -> None:
    one = story().refused(rules=("p/1",))
    one.says(lambda raw: status_of(raw) == 403)
    body = json.loads(one.last.data.partition(b"\r\n\r\n")[2])  # type: ignore[attr-defined]
    assert (body["code"], body["rules"], body["hint"], body["operation"]) == (
        "denied",
        ["p/1"],
        "Ask for less.",
        1,
    )
    one.expect_nothing_sent_to(Side.UPSTREAM)
    one.request().expect(Ask)  # the connection goes on
    one.agent_leaves().expect(Withdraw).expect(Record, OperationAbandoned).expect(Record, SessionClosed)
    one.expect(Hangup)


@pytest.mark.parametrize("digest", ["00" * 32])
def test_an_answer_about_something_else_is_not_acted_on(digest: str) -> None:
    one = story().allow(digest=digest)
    one.expect(Record, OperationRefused).says(lambda raw: status_of(raw) == 502)
    one.expect_nothing_sent_to(Side.UPSTREAM)


def test_a_body_that_rules_can_read_is_judged_whole() -> None:
    body = b'{"amount": 5}'
    whole = request("POST", "/crm/v1/pay", body=body, content_type="application/json")
    one = HttpStory().agent_sends(whole[:-4]).known().agent_sends(whole[-4:]).expect(Ask)
    assert one.ask is not None
    assert one.ask.event.call is not None
    assert one.ask.event.call.body is not None
    assert one.ask.event.call.body.text == body.decode()
    assert one.ask.event.call.body.whole
    one.sent_on(body=body)
    assert one.head.get("content-length") == str(len(body))


def test_a_body_the_event_does_not_hold_is_on_disk_before_it_is_sent_on() -> None:
    for body, covered in (
        (b'{"a": 1}', True),
        (b'{"a": "\xff"}', False),
        (b'"' + b"x" * 70_000 + b'"', False),
    ):
        one = HttpStory().request("POST", "/crm/v1/pay", body=body, content_type="application/json").known()
        one.expect(Ask).allow().expect(Dial).feed(Dialled(parameters={}, process_id=0, secret=b""))
        one.expect(Tape, lambda e, covered=covered: e.covered is covered).expect(SendHead)
        one.expect(Send, Side.UPSTREAM, body)


class Unending(StarBodies):
    """Masks that cannot end."""

    def body(self, *_: Any, **__: Any) -> Body:
        made = StarBody()
        made.finish = lambda: made.feed(b"BROKEN")  # type: ignore[method-assign]
        return made


def test_what_cannot_be_masked_to_its_end_is_told_from_an_upstream_that_was_lost() -> None:
    one = HttpStory(bodies=Unending()).request().known().expect(Ask).sent_on(masked=True)
    one.upstream_sends(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nthe beginning").says()
    one.upstream_leaves().expect(
        Record,
        lambda e: isinstance(e.event, OperationFailed) and e.event.refusal.code is RefusalCode.PLAN_MISMATCH,
    )
    one.expect(Record, SessionClosed).expect(Hangup)


def test_another_body_is_another_digest() -> None:
    digests: set[str] = set()
    for body in (b"{}", b"[]", b""):
        one = HttpStory().request("POST", "/crm/v1/pay", body=body, content_type="application/json").known()
        one.expect(Ask)
        assert one.ask is not None
        digests.add(one.ask.event.digest)
        one.left.clear()
    assert len(digests) == 3


def test_a_body_too_long_to_be_read_is_refused() -> None:
    one = HttpStory()
    one.agent_sends(
        request("POST", "/crm/v1/pay", content_type="application/json", content_length=str(2**21))
    ).known()
    one.expect(Record, OperationRefused).says(lambda raw: status_of(raw) == 413)
    one.expect(Record, SessionClosed).expect(Hangup)
    one.expect_nothing_sent_to(Side.UPSTREAM)


def test_a_body_of_another_type_streams_once_it_is_allowed() -> None:
    head = request("PUT", "/crm/v1/pay", content_type="image/png", transfer_encoding="chunked")
    one = HttpStory().agent_sends(head + b"3\r\nabc\r\n").known().expect(Ask)
    one.expect_nothing_sent_to(Side.UPSTREAM).sent_on().expect(Tape, "i", b"abc")
    one.expect(Send, Side.UPSTREAM, b"3\r\nabc\r\n")
    one.agent_sends(b"2\r\nde\r\n0\r\n\r\n").expect(Tape, "i", b"de").expect(
        Send, Side.UPSTREAM, b"2\r\nde\r\n"
    )
    one.expect(Send, Side.UPSTREAM, b"0\r\n\r\n")
    one.upstream_sends(OK).says().expect(Record, OperationFinished)


def test_an_agent_that_waits_for_100_is_told_once_it_is_allowed() -> None:
    head = request("PUT", "/crm/v1/pay", content_type="image/png", content_length="3", expect="100-continue")
    one = HttpStory().agent_sends(head).known().expect(Ask).sent_on()
    one.says(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert one.head.get("expect") is None
    one.agent_sends(b"abc").expect(Tape, "i", b"abc").expect(Send, Side.UPSTREAM, b"abc")


def test_a_path_parameter_hides_no_route() -> None:
    one = HttpStory().request(target="/crm/v1/customers/7;x=1").known()
    one.expect(Record, OperationRefused).says(lambda raw: status_of(raw) == 501)
    one.expect(Record, SessionClosed).expect(Hangup)
    one = HttpStory().request(target="/crm/v1/%63ustomers/a%3Ab").known().expect(Ask)
    assert one.ask is not None
    assert one.ask.event.call is not None
    assert one.ask.event.call.arguments == {"id": "a:b"}


def test_after_a_body_nobody_expects_the_upstream_is_dialled_anew() -> None:
    one = HttpStory().request("DELETE", body=b"abc", content_type="text/plain").known().expect(Ask)
    one.sent_on(body=b"").expect(Tape, "i", b"abc").expect(Send, Side.UPSTREAM, b"abc")
    one.upstream_sends(OK).says().expect(Record, OperationFinished).expect(Undial)


def test_requests_in_a_pipeline_are_served_one_after_the_other() -> None:
    one = (
        HttpStory()
        .agent_sends(request() + request(target="/crm/v1/customers/8"))
        .known()
        .expect(Ask)
        .sent_on()
    )
    one.upstream_sends(OK).says().expect(Record, OperationFinished).expect(Ask)
    assert one.ask is not None
    assert one.ask.event.operation == 2


def test_another_token_on_the_same_connection_is_another_session() -> None:
    one = story().sent_on()
    one.upstream_sends(OK).says().expect(Record, OperationFinished)
    other = request(token="other")
    one.agent_sends(other).expect(Undial).expect(Record, SessionClosed)
    one.expect(Renew, lambda e: e.data == other)


def test_another_resource_on_the_same_connection_is_another_session_too() -> None:
    one = story().sent_on()
    one.upstream_sends(OK).says().expect(Record, OperationFinished)
    other = request(target="/other/x") + b"GET /crm"
    one.agent_sends(other).expect(Undial).expect(Record, SessionClosed)
    one.expect(Renew, lambda e: e.data == other)


def test_who_is_not_let_in_is_told_and_the_connection_ends() -> None:
    one = HttpStory().request()
    one.left.clear()
    refusal = Refusal(code=RefusalCode.TOKEN_EXPIRED, reason="The token has expired.")
    one.feed(LoginRefused(refusal=refusal)).expect(Send, Side.AGENT, lambda e: status_of(e.data) == 401)
    assert b"www-authenticate: Bearer" in one.last.data  # type: ignore[attr-defined]
    one.expect(Hangup)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: g\r\n\r\n", 404),
        (b"GET /crm/x HTTP/1.1\r\nHost: g\r\n\r\n", 401),
        (b"GET /crm/x HTTP/1.1\r\nHost: g\r\nAuthorization: Negotiate x\r\n\r\n", 401),
        (
            b"GET /crm/x HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
            400,
        ),
        (b"GET /crm/x HTTP/1.1\r\nHost: g\r\nHost: h\r\nAuthorization: Bearer a\r\n\r\n", 400),
        (b"GET /crm/../x HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer a\r\n\r\n", 400),
        (b"CONNECT crm:443 HTTP/1.1\r\nHost: crm:443\r\n\r\n", 501),
        (b"GET /crm/x HTTP/1.1\r\nHost: g\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", 501),
        (b"\x16\x03\x01\x00", 400),
    ],
)
def test_what_is_no_request_of_ours_is_refused_and_recorded(raw: bytes, status: int) -> None:
    one = HttpStory().agent_sends(raw)
    one.expect(Record, SessionRefused).expect(Send, Side.AGENT, lambda e: status_of(e.data) == status)
    one.expect(Hangup)


def test_without_tls_no_token_is_taken_where_that_is_not_allowed() -> None:
    one = HttpStory(cleartext_allowed=False).request()
    one.expect(Record, SessionRefused).expect(Send, Side.AGENT, lambda e: status_of(e.data) == 403).expect(
        Hangup
    )


def test_a_masked_answer_is_framed_anew_and_a_value_cut_in_two_is_still_masked() -> None:
    one = story().sent_on(masked=True)
    one.upstream_sends(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 16\r\nETag: x\r\n\r\nit is a sec"
    )
    one.says(
        lambda raw: (
            b"transfer-encoding: chunked" in raw and b"content-length" not in raw and b"etag" not in raw
        )
    )
    one.upstream_sends(b"ret !").says()
    said = b"".join(e.data for e in one.all if isinstance(e, Send) and e.side is Side.AGENT)
    assert b"secret" not in said
    assert said.endswith(b"0\r\n\r\n")
    one.expect(Record, lambda e: isinstance(e.event, OperationFinished) and e.event.cells_masked == 1)


def test_an_answer_masking_cannot_read_is_refused_or_passed_as_the_plan_says() -> None:
    image = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 3\r\n\r\npng"
    one = story().sent_on(masked=True).upstream_sends(image)
    one.expect(Record, OperationFailed).expect(Undial).says(
        lambda raw: status_of(raw) == 502 and b"png" not in raw[-3:]
    )
    one = story().sent_on(masked=True, unread="pass").upstream_sends(image)
    one.says(lambda raw: raw.endswith(b"png")).expect(Record, OperationFinished)


def test_an_answer_that_cannot_be_masked_to_its_end_breaks_off() -> None:
    one = story().sent_on(masked=True)
    one.upstream_sends(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 99\r\n\r\nfirst part "
    ).says()
    one.upstream_sends(b"BROKEN").expect(Record, OperationFailed).expect(Undial)
    one.expect(Record, SessionClosed).expect(Hangup)


def test_an_answer_over_the_limit_is_refused_before_its_first_byte() -> None:
    one = story().sent_on(limits=Limits(size_bytes=4)).upstream_sends(OK)
    one.expect(Record, OperationFailed).expect(Undial).says(lambda raw: status_of(raw) == 403)


@pytest.mark.parametrize(
    ("limit", "head", "passed"),
    [
        (AnswerLimit(statuses=("2xx",)), "200 OK", True),
        (AnswerLimit(statuses=("2xx",)), "500 No", False),
        (AnswerLimit(statuses=("404", "500")), "500 No", True),
        (
            AnswerLimit(types=("application/json", "text/*")),
            "200 OK\r\nContent-Type: TEXT/csv; charset=utf-8",
            True,
        ),
        (AnswerLimit(types=("text/*",)), "200 OK\r\nContent-Type: application/zip", False),
        (AnswerLimit(types=("text/*",)), "200 OK", False),
    ],
)
def test_an_answer_the_rules_do_not_let_through_is_not_shown(
    limit: AnswerLimit, head: str, passed: bool
) -> None:
    answer = f"HTTP/1.1 {head}\r\nContent-Length: 2\r\n\r\nOK".encode()
    one = story().sent_on(limits=Limits(answers=(AnswerLimit(), limit))).upstream_sends(answer)
    if passed:
        one.says(lambda raw: raw.endswith(b"OK")).expect(Record, OperationFinished)
    else:
        one.expect(Record, OperationFailed).expect(Undial)
        one.says(lambda raw: status_of(raw) == 403 and b"the rules let through only" in raw)


def test_an_answer_without_a_body_has_no_type_to_keep_to() -> None:
    one = story().sent_on(limits=Limits(answers=(AnswerLimit(types=("text/*",)),)))
    one.upstream_sends(b"HTTP/1.1 204 No Content\r\n\r\n").says(lambda raw: status_of(raw) == 204)
    one.expect(Record, OperationFinished)


def test_an_upstream_that_is_away_is_a_bad_gateway() -> None:
    one = story().allow().expect(Dial)
    one.upstream_leaves().expect_nothing()
    one = story().allow().expect(Dial).feed(Dialled(parameters={}, process_id=0, secret=b""))
    one.expect(Tape, "i").expect(SendHead)
    one.upstream_leaves().expect(Record, OperationFailed).says(lambda raw: status_of(raw) == 502)


def test_an_upstream_that_closes_between_two_requests_is_dialled_anew() -> None:
    one = story().sent_on()
    one.upstream_sends(OK).says().expect(Record, OperationFinished)
    one.upstream_leaves().request().expect(Ask).sent_on(dials=True)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"garbage\r\n\r\n",
    ],
)
def test_a_malformed_answer_is_not_passed_on(answer: bytes) -> None:
    one = story().sent_on().upstream_sends(answer)
    one.expect(Record, OperationFailed).expect(Undial).says(lambda raw: status_of(raw) == 502)


def test_what_an_upstream_says_unasked_ends_its_connection() -> None:
    one = story().sent_on().upstream_sends(OK + b"HTTP/1.1 200 OK\r\n\r\n")
    one.says(lambda raw: raw.endswith(b"hello")).expect(Record, OperationFinished).expect(Undial)
    one.request().expect(Ask).sent_on(dials=True)
    one.upstream_sends(OK).says().expect(Record, OperationFinished)
    one.upstream_sends(b"HTTP/1.1 200 OK\r\n\r\n").expect(Undial)


def test_an_answer_that_ends_with_its_connection_ends_the_operation() -> None:
    one = story().sent_on().upstream_sends(b"HTTP/1.0 200 OK\r\n\r\nto the ")
    one.says(lambda raw: b"transfer-encoding: chunked" in raw)
    one.upstream_sends(b"end").says(b"3\r\nend\r\n").upstream_leaves().says(b"0\r\n\r\n")
    one.expect(Record, OperationFinished)


def test_head_and_204_have_no_body() -> None:
    one = HttpStory().request("HEAD").known().expect(Ask).sent_on(masked=True)
    one.upstream_sends(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n")
    one.says(lambda raw: b"content-length" not in raw and raw.endswith(b"\r\n\r\n")).expect(
        Record, OperationFinished
    )
    one.request("DELETE").expect(Ask).sent_on(dials=False)
    one.upstream_sends(b"HTTP/1.1 204 No Content\r\n\r\n").says(lambda raw: b"content-length" not in raw)
    one.expect(Record, OperationFinished)


def test_places_and_cookies_stay_within_the_resource() -> None:
    one = story().sent_on()
    one.upstream_sends(
        b"HTTP/1.1 302 Found\r\nLocation: http://crm.test:8080/api/v1/x?y=1\r\n"
        b"Set-Cookie: sid=1; Domain=crm.test; Path=/api; HttpOnly\r\nContent-Length: 0\r\n\r\n"
    )
    one.says(
        lambda raw: (
            b"location: /crm/v1/x?y=1\r\n" in raw and b"set-cookie: sid=1; HttpOnly; Path=/crm/\r\n" in raw
        )
    )
    one.expect(Record, OperationFinished)


def test_an_agent_that_speaks_1_0_gets_an_answer_that_ends_with_its_connection() -> None:
    raw = b"GET /crm/v1/customers/7 HTTP/1.0\r\nAuthorization: Bearer token\r\n\r\n"
    one = HttpStory().agent_sends(raw).known().expect(Ask).sent_on(masked=True).upstream_sends(OK)
    one.says(lambda said: b"chunked" not in said and b"connection: close" in said and said.endswith(b"hello"))
    one.expect(Record, OperationFinished).expect(Record, SessionClosed).expect(Hangup)


def test_a_session_that_is_stopped_says_why_where_it_still_can() -> None:
    one = story().stopped(RefusalCode.KILLED)
    one.expect(Withdraw).expect(Record, OperationAbandoned).expect(Record, SessionClosed)
    one.expect(Send, Side.AGENT, lambda e: status_of(e.data) == 403).expect(Hangup)


def test_an_agent_that_leaves_while_it_runs_leaves_an_abandoned_operation() -> None:
    one = story().sent_on().agent_leaves()
    one.expect(Record, lambda e: isinstance(e.event, OperationAbandoned) and e.event.sent)
    one.expect(Record, SessionClosed).expect(Hangup)
