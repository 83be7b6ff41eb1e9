"""Bodies of requests, masked before they are sent on: by the plan, for every label, and never half."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weirgate_contracts.events import (
    OperationAllowed,
    OperationFailed,
    OperationFinished,
    OperationPlanned,
    OperationRefused,
)
from weirgate_contracts.masking import BodyPlan, DetectorPlan, FieldPlan, Plan, Transform
from weirgate_ingress.gates.core import (
    Allowed,
    Answered,
    Ask,
    Dial,
    Dialled,
    LoggedIn,
    Login,
    Record,
    Send,
    SendHead,
    Side,
    Tape,
    Undial,
)
from weirgate_ingress.gates.http.mask import PlanBodies
from weirgate_mask.keys import Keyring
from weirgate_testkit.http_story import CRM, HttpStory, StarBodies, status_of
from weirgate_testkit.story import IDENTITY

REDACT = Transform(kind="redact")
CARD = "4111111111111111"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"


def plan(*, unread: str = "refuse", fields: tuple[FieldPlan, ...] = (), detectors: bool = True) -> Plan:
    found = (DetectorPlan(label="payment.card", transform=REDACT),) if detectors else ()
    request = BodyPlan.model_validate({"fields": fields, "unread": unread})
    return Plan(statements=(), body=BodyPlan(unread="pass"), request=request, detectors=found)


def allowed(story: HttpStory, made: Plan, *unmask: str) -> HttpStory:
    """Answer the last question: allowed, with this plan."""
    assert isinstance(story.ask, Ask)
    event = story.ask.event
    common: dict[str, Any] = {
        "ingress": event.ingress, "session": event.session, "operation": event.operation,
        "intercepted": event.id, "digest": event.digest, "catalog_revision": "",
    }  # fmt: skip
    verdict = OperationAllowed(policy_revision=1, unmask=unmask, **common)
    planned = OperationPlanned(masking_revision=1, plan=made, **common)
    return story.feed(Answered(operation=event.operation, answer=Allowed(verdict=verdict, plan=planned)))


def dialled(story: HttpStory) -> HttpStory:
    return story.expect(Dial).feed(Dialled(parameters={}, process_id=0, secret=b""))


def looked(story: HttpStory) -> HttpStory:
    """What there is so far is looked at by other means."""
    story.left.clear()
    return story


def asked(body: bytes, **headers: str) -> HttpStory:
    one = HttpStory(bodies=PlanBodies(Keyring(b"k" * 32)))
    return one.request("POST", "/crm/v1/pay", body=body, **headers).known().expect(Ask)


def upstream(story: HttpStory) -> bytes:
    return b"".join(one.data for one in story.all if isinstance(one, Send) and one.side is Side.UPSTREAM)


def test_what_is_judged_is_what_was_sent_and_what_is_sent_on_is_masked() -> None:
    body = json.dumps({"name": "Ann", "note": f"pay {CARD}"}).encode()
    hidden = FieldPlan(pattern="/name", labels=("pii.name",), transform=REDACT)
    one = asked(body, content_type="application/json", content_digest="sha-256=:abc=:")
    assert one.ask is not None
    assert one.ask.event.call is not None
    assert one.ask.event.call.body is not None
    assert one.ask.event.call.body.text == body.decode()
    # What the agent may see in clear does not count: the receiver is the upstream.
    dialled(allowed(one, plan(fields=(hidden,)), "payment.card", "pii.name"))
    one.expect(Tape, "i").expect(SendHead).expect(Send, Side.UPSTREAM)
    sent = upstream(one)
    assert set(json.loads(sent)) == {"name", "note"}
    assert CARD.encode() not in sent
    assert b"Ann" not in sent
    assert one.head.get("content-length") == str(len(sent))
    assert one.head.get("content-digest") is None
    (tape,) = [e for e in one.all if isinstance(e, Tape)]
    # The recording holds what the upstream got, which no event does: so it is on disk before it is sent.
    assert tape.data.endswith(sent)
    assert not tape.covered
    one.upstream_sends(OK).says()
    one.expect(Record, lambda e: isinstance(e.event, OperationFinished) and e.event.cells_masked == 2)


def test_without_a_plan_for_requests_or_a_find_a_body_goes_as_it_came() -> None:
    body = b'{"a":1.0,   "b": "x"}'
    for made in (plan(), plan(detectors=False), Plan(statements=(), body=BodyPlan())):
        one = dialled(allowed(asked(body, content_type="application/json"), made))
        one.expect(Tape, "i").expect(SendHead).expect(Send, Side.UPSTREAM, body)
    for type in ("application/json", "image/png"):
        one = HttpStory(bodies=PlanBodies(Keyring(b"k" * 32)))
        one.request("POST", "/crm/v1/pay", content_type=type, content_length="0").known().expect(Ask)
        dialled(allowed(one, plan())).expect(Tape, "i").expect(SendHead)
        assert one.head.get("transfer-encoding") is None


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\x89PNG", {"content_type": "image/png"}, 501),
        (b"--x\r\n\r\n4111111111111111\r\n--x--", {"content_type": "multipart/form-data; boundary=x"}, 501),
        (b"{}", {}, 501),
        (b"{}", {"content_type": "application/json; charset=utf-16"}, 501),
        (b"{}", {"content_type": "text/csv", "content_encoding": "gzip"}, 501),
        (b'{"a": ', {"content_type": "application/json"}, 400),
        (b'{"a": "\xff"}', {"content_type": "application/json"}, 400),
        (b"[" * 100_000, {"content_type": "application/json"}, 400),
    ],
)
def test_what_cannot_be_masked_is_refused_before_anything_is_sent(
    body: bytes, headers: dict[str, str], status: int
) -> None:
    one = allowed(asked(body, **headers), plan())
    one.expect(Record, OperationRefused).says(lambda raw: status_of(raw) == status)
    looked(one).expect_nothing_sent_to(Side.UPSTREAM)
    assert not any(isinstance(e, Dial | SendHead) for e in one.all)


def test_what_cannot_be_read_passes_where_the_resource_says_so() -> None:
    one = asked(b"\x89PNG", content_type="image/png")
    looked(dialled(allowed(one, plan(unread="pass"))))
    assert upstream(one) == b"\x89PNG"
    assert one.head.get("content-length") == "4"


def test_a_body_that_streams_is_masked_in_chunks_across_its_pieces() -> None:
    text = f"one {CARD} two\n" * 50
    one = HttpStory(bodies=PlanBodies(Keyring(b"k" * 32)))
    one.request("POST", "/crm/v1/pay", content_type="text/plain", content_length=str(len(text)))
    one.known().expect(Ask)
    looked(dialled(allowed(one, plan())))
    assert one.head.get("transfer-encoding") == "chunked"
    assert one.head.get("content-length") is None
    for at in range(0, len(text), 7):
        looked(one.agent_sends(text[at : at + 7].encode()))
    sent = upstream(one)
    assert CARD.encode() not in sent
    assert sent.count(b"payment.card") == 50
    assert sent.endswith(b"0\r\n\r\n")
    taped = b"".join(e.data for e in one.all if isinstance(e, Tape))
    assert CARD.encode() not in taped


def test_a_streamed_body_that_breaks_off_is_no_request_to_the_upstream() -> None:
    one = HttpStory(bodies=StarBodies())
    one.request("POST", "/crm/v1/pay", content_type="text/plain", content_length="400").known().expect(Ask)
    looked(looked(dialled(allowed(one, plan()))).agent_sends(b"x" * 100))
    looked(one.agent_sends(b"BROKEN"))
    recorded = [e.event for e in one.all if isinstance(e, Record)]
    assert any(isinstance(event, OperationFailed) for event in recorded)
    assert any(isinstance(e, Undial) for e in one.all)
    assert b"0\r\n\r\n" not in upstream(one)
    assert b"BROKEN" not in upstream(one)
    said = b"".join(e.data for e in one.all if isinstance(e, Send) and e.side is Side.AGENT)
    assert status_of(said) == 400
    assert one.gate.ended


@settings(deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(1, 40), max_size=20))
def test_no_body_brings_a_card_through_however_it_is_cut(noise: bytes, cuts: list[int]) -> None:
    body = noise + b" " + CARD.encode() + b" " + noise
    one = HttpStory(bodies=PlanBodies(Keyring(b"k" * 32)))
    one.request("POST", "/crm/v1/pay", content_type="text/plain", content_length=str(len(body)))
    one.known().expect(Ask)
    looked(dialled(allowed(one, plan())))
    at = 0
    for size in [*cuts, len(body)]:
        if not one.gate.ended:
            looked(one.agent_sends(body[at : at + size]))
        at += size
    assert b" " + CARD.encode() + b" " not in upstream(one)


def test_a_plan_that_says_nothing_of_requests_is_not_enough_where_they_are_masked() -> None:
    masking = CRM.model_copy(update={"mask_requests": True})
    for body, refused in ((b'{"a": 1}', True), (b"", False)):
        one = HttpStory().request("POST", "/crm/v1/pay", body=body, content_type="application/json")
        one.expect(Login).feed(LoggedIn(identity=IDENTITY, resource=masking)).expect(Record).expect(Ask)
        looked(allowed(one, Plan(statements=(), body=BodyPlan())))
        assert (
            any(isinstance(e, Record) and isinstance(e.event, OperationRefused) for e in one.all) is refused
        )
        assert any(isinstance(e, Dial) for e in one.all) is not refused
