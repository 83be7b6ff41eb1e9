"""Held requests that do not wait for ever, as the gate sees them."""

import json
import time
from typing import Any

import pytest

from weirgate_contracts.events import (
    OperationAbandoned,
    OperationDeferred,
    OperationFinished,
    OperationRefused,
    SessionClosed,
)
from weirgate_contracts.refusal import RefusalCode
from weirgate_ingress.gates.core import (
    Answered,
    Ask,
    Dial,
    Found,
    Hangup,
    Held,
    HoldFor,
    HoldOver,
    LoggedIn,
    Login,
    LookUp,
    Record,
    Send,
    Side,
    Tape,
    Withdraw,
)
from weirgate_ingress.gates.http.deferral import Preference, read_location, read_preference
from weirgate_testkit.http_story import CRM, HttpStory, request, status_of
from weirgate_testkit.story import IDENTITY
from weirgate_wire.http.head import HeadReader

REQUEST = "01J00000000000000000000001"
PLACE = f"/.well-known/weirgate/crm/requests/{REQUEST}"


def asked(**headers: Any) -> HttpStory:
    return HttpStory().request("DELETE", **headers).known().expect(Ask)


def head_of(story: HttpStory) -> dict[str, str]:
    reader = HeadReader()
    reader.feed(story.last.data)  # type: ignore[attr-defined]
    head = reader.response()
    assert head is not None
    return dict(head.headers)


def body_of(story: HttpStory) -> dict[str, Any]:
    return json.loads(story.last.data.partition(b"\r\n\r\n")[2])  # type: ignore[attr-defined]


def deferred(story: HttpStory) -> HttpStory:
    story.expect(Withdraw).expect(Record, OperationDeferred).says(lambda raw: status_of(raw) == 202)
    return story


# ---------------------------------------------------------------- being told to come back


def test_a_held_request_waits_and_is_then_told_to_come_back() -> None:
    one = asked().held().expect(HoldFor, lambda effect: effect.wait_s == 30).expect_nothing()
    deferred(one.feed(HoldOver(operation=1)))
    fields, body = head_of(one), body_of(one)
    assert fields["location"] == PLACE == body["location"]
    assert int(fields["retry-after"]) > 0
    assert (body["status"], body["request"], body["operation"]) == ("held", REQUEST, 1)
    assert "https://console.test" in body["review"]
    one.expect_nothing_sent_to(Side.UPSTREAM)
    one.request().expect(Ask).sent_on()  # the connection goes on


def test_what_is_recorded_says_whose_and_what_it_is() -> None:
    one = deferred(asked().held().expect(HoldFor).feed(HoldOver(operation=1)))
    event = next(e.event for e in one.all if isinstance(e, Record) and isinstance(e.event, OperationDeferred))
    assert one.ask is not None
    assert (event.request, event.digest, event.identity, event.resource, event.window_s) == (
        REQUEST,
        one.ask.event.digest,
        IDENTITY,
        "crm",
        900,
    )


def test_who_prefers_it_is_told_at_once() -> None:
    one = deferred(asked(prefer="respond-async").held())
    assert head_of(one)["preference-applied"] == "respond-async"
    one = asked(prefer="wait=5, respond-async").held().expect(HoldFor, lambda effect: effect.wait_s == 5)
    deferred(one.feed(HoldOver(operation=1)))
    assert head_of(one)["preference-applied"] == "respond-async, wait=5"


def test_a_retry_that_came_too_early_is_told_at_once() -> None:
    deferred(asked().held(joined=True))


def test_a_resource_may_let_nothing_wait() -> None:
    one = HttpStory().request("DELETE").expect(Login)
    one.feed(LoggedIn(identity=IDENTITY, resource=CRM.model_copy(update={"hold_wait_s": 0})))
    deferred(one.expect(Record).expect(Ask).held())


def test_a_decision_in_time_is_acted_on_and_the_end_of_the_wait_is_nothing_then() -> None:
    one = asked().held().expect(HoldFor).sent_on()
    one.feed(HoldOver(operation=1)).expect_nothing()
    one = asked().held().expect(HoldFor).refused(RefusalCode.HELD_REFUSED, denied=False)
    one.expect(Record, OperationRefused).says(lambda raw: status_of(raw) == 403)
    one.feed(HoldOver(operation=1)).expect_nothing()


def test_a_decision_after_the_202_changes_nothing() -> None:
    one = deferred(asked().held().expect(HoldFor).feed(HoldOver(operation=1)))
    one.allow().expect_nothing()
    one.refused().expect_nothing()
    one.feed(HoldOver(operation=1)).expect_nothing()


def test_the_end_of_another_operations_wait_is_nothing() -> None:
    one = asked().held().expect(HoldFor).feed(HoldOver(operation=2)).expect_nothing()
    asked().feed(HoldOver(operation=1)).expect_nothing()  # asked, and not held
    deferred(one.feed(HoldOver(operation=1)))


def test_an_agent_that_leaves_while_it_waits_withdraws_and_one_that_was_told_does_not() -> None:
    one = asked().held().expect(HoldFor).agent_leaves()
    one.expect(Withdraw).expect(Record, OperationAbandoned).expect(Record, SessionClosed).expect(Hangup)
    one = deferred(asked(prefer="respond-async").held()).agent_leaves()
    one.expect(Record, SessionClosed).expect(Hangup).expect_nothing()


def test_an_agent_that_means_to_close_is_told_and_let_go() -> None:
    one = deferred(asked(prefer="respond-async", connection="close").held())
    assert head_of(one)["connection"] == "close"
    one.expect(Record, SessionClosed).expect(Hangup)


def test_what_was_pipelined_behind_a_held_request_is_served_after_the_202() -> None:
    one = HttpStory().agent_sends(request("DELETE", prefer="respond-async") + request()).known().expect(Ask)
    deferred(one.held()).expect(Ask).sent_on()


def test_a_head_request_gets_the_head_only() -> None:
    one = HttpStory().request("HEAD", prefer="respond-async").known().expect(Ask).held()
    deferred(one)
    assert one.last.data.endswith(b"\r\n\r\n")  # type: ignore[attr-defined]


@pytest.mark.parametrize("code", [RefusalCode.KILLED, RefusalCode.SHUTDOWN])
def test_a_session_that_ends_while_one_waits_tells_it(code: RefusalCode) -> None:
    one = asked().held().expect(HoldFor).stopped(code).expect(Withdraw)
    one.expect(Record, OperationAbandoned).expect(Record, SessionClosed).expect(Send, Side.AGENT).expect(
        Hangup
    )


# ---------------------------------------------------------------- looking at it


def looks(target: str = PLACE, method: str = "GET", **headers: Any) -> HttpStory:
    return HttpStory().request(method, target, **headers).known()


def test_the_state_of_a_request_is_told_by_the_gateway_itself() -> None:
    one = looks().expect(Tape, "i").expect(LookUp, lambda effect: effect.request == REQUEST).expect_nothing()
    one.feed(Found(request=REQUEST, state="open", until="2026-01-01T00:00:00Z"))
    one.says(lambda raw: status_of(raw) == 202)
    assert head_of(one)["retry-after"]
    assert body_of(one)["status"] == "pending"
    one.request("GET", PLACE).expect(Tape, "i").expect(LookUp).feed(Found(request=REQUEST, state="granted"))
    one.says(lambda raw: status_of(raw) == 200)
    assert body_of(one)["status"] == "granted"
    one.request().expect(Ask).sent_on()
    assert not any(isinstance(e, Dial) for e in one.all[:6])


@pytest.mark.parametrize("state", ["refused", "expired", "withdrawn", "used"])
def test_how_it_ended_is_told(state: Any) -> None:
    one = looks().expect(Tape).expect(LookUp).feed(Found(request=REQUEST, state=state, detail="ann: no"))
    one.says(lambda raw: status_of(raw) == 200)
    assert body_of(one)["status"] == state
    assert body_of(one)["detail"] == "ann: no"


def test_what_is_not_there_is_not_found() -> None:
    one = looks().expect(Tape).expect(LookUp).feed(Found(request=REQUEST))
    one.says(lambda raw: status_of(raw) == 404)
    one.request().expect(Ask)


def test_no_credential_is_in_what_is_recorded_of_it() -> None:
    one = looks(token="s3cr3t", cookie="sid=1").expect(Tape).expect(LookUp)
    assert "s3cr3t" not in repr(one.all)
    assert b"sid=1" not in b"".join(e.data for e in one.all if isinstance(e, Tape))


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("POST", PLACE, 501),
        ("GET", PLACE + "?x=1", 501),
        ("GET", PLACE + "/more", 404),
        ("GET", PLACE[:-1], 404),
        ("GET", "/.well-known/", 404),
        ("GET", "/.well-known/weirgate/CRM/requests/" + REQUEST, 404),
        ("GET", "/.well-known/weirgate/crm/requests/" + REQUEST.replace("J", "U"), 404),
    ],
)
def test_nothing_else_is_there(method: str, target: str, status: int) -> None:
    one = HttpStory().request(method, target)
    one.expect(Record).expect(Send, lambda effect: status_of(effect.data) == status).expect(Hangup)


def test_a_found_nobody_asked_for_is_nothing() -> None:
    looks().expect(Tape).expect(LookUp).feed(Found(request=REQUEST[:-1] + "2", state="open")).expect_nothing()
    asked().feed(Found(request=REQUEST, state="open")).expect_nothing()


def test_a_location_is_read_back_only_as_it_was_written() -> None:
    assert read_location(PLACE) == ("crm", REQUEST)
    assert read_location(f"/crm{PLACE}") is None


def test_an_agent_that_looks_and_leaves_ends_its_session() -> None:
    looks().expect(Tape).expect(LookUp).agent_leaves().expect(Record, SessionClosed).expect(Hangup)


def test_a_finished_operation_is_none_of_a_look() -> None:
    one = looks().expect(Tape).expect(LookUp).feed(Found(request=REQUEST, state="open")).says()
    assert not any(isinstance(e, Record) and isinstance(e.event, OperationFinished) for e in one.all)


# ---------------------------------------------------------------- preferences


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ([], Preference()),
        (["respond-async"], Preference(at_once=True)),
        (["Respond-Async, wait=10"], Preference(at_once=True, wait_s=10)),
        (['wait="10"; x=1, respond-async; y'], Preference(at_once=True, wait_s=10)),
        (["return=minimal", "wait = 5"], Preference(wait_s=5)),
        (["wait=5, wait=9"], Preference(wait_s=5)),
        (["wait=-1, respond-async"], Preference(at_once=True)),
        (["wait=99999999999"], Preference()),
        (["wait=５"], Preference()),
        (['x="respond-async, ', "wait=3"], Preference(wait_s=3)),
        (['x="a\\",respond-async", wait=3'], Preference(wait_s=3)),
        (["@@@, respond-async"], Preference()),
    ],
)
def test_preferences_are_read(fields: list[str], wanted: Preference) -> None:
    assert read_preference(fields) == wanted


@pytest.mark.parametrize(
    "field", ["a;" + " " * 900 + '"', "a " * 500, 'a="' + "\\" * 900, "a=" + "b" * 60_000]
)
def test_no_preference_takes_long_to_read(field: str) -> None:
    began = time.perf_counter()
    read_preference([field])
    assert time.perf_counter() - began < 0.05


def test_nobody_waits_longer_than_is_usual_for_the_resource() -> None:
    assert Preference(wait_s=600).hold_wait_s(30) == 30
    assert Preference(wait_s=600, at_once=True).hold_wait_s(0) == 0
    assert Preference(at_once=True).hold_wait_s(30) == 0
    assert Preference().hold_wait_s(7) == 7


def test_held_answers_twice_wait_once() -> None:
    one = asked().held().expect(HoldFor)
    answer = Held(request=REQUEST, notice="n", detail="d", hint="h", window_s=1, joined=True)
    deferred(one.feed(Answered(operation=1, answer=answer)))
