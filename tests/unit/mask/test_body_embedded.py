"""JSON written into strings of JSON: its fields are masked as if it stood there by itself."""

import json
from typing import Any

import pytest

from weirgate_contracts.labels import DETECTOR_LABELS
from weirgate_contracts.masking import BodyPlan, DetectorPlan, EmbeddedPlan, FieldPlan, Plan, Transform
from weirgate_mask.body import BodyMasker, body_masker
from weirgate_mask.keys import Keyring
from weirgate_mask.placeholder import is_placeholder
from weirgate_wire.error import PeerError

KEYS = Keyring(b"k" * 32)
ALL = tuple(DetectorPlan(label=label, transform=Transform(kind="redact")) for label in DETECTOR_LABELS)
TEXT = "/result/content/*/text"


def masker(
    *patterns: str,
    detectors: tuple[DetectorPlan, ...] = (),
    unmask: frozenset[str] = frozenset(),
    type: str = "application/json",
) -> BodyMasker | None:
    redact = Transform(kind="redact")
    inside = tuple(FieldPlan(pattern=one, labels=("pii.x",), transform=redact) for one in patterns)
    body = BodyPlan(embedded=EmbeddedPlan(patterns=(TEXT,), fields=inside))
    plan = Plan(statements=(), body=body, detectors=detectors)
    return body_masker(plan, unmask, type=type, parameters={}, keys=KEYS)


def answer(*texts: object) -> bytes:
    """What a tool answers: texts, those that are no text as JSON."""
    content = [{"type": "text", "text": one if isinstance(one, str) else json.dumps(one)} for one in texts]
    return json.dumps({"jsonrpc": "2.0", "id": 7, "result": {"content": content}}).encode()


def texts(body: bytes) -> list[str]:
    return [one["text"] for one in json.loads(body)["result"]["content"]]


def masked(body: bytes, *patterns: str, **how: Any) -> bytes:
    made = masker(*patterns, **how)
    assert made is not None
    return made.feed(body) + made.finish()


def test_a_field_of_json_in_a_string_is_masked_and_written_back() -> None:
    out = masked(answer({"email": "a\u00e9@x", "name": 'say "hi"\n', "in": [{"email": "b"}]}), "/email")
    (text,) = texts(out)
    found = json.loads(text)
    assert is_placeholder(found["email"], KEYS)
    assert found["name"] == 'say "hi"\n'
    assert found["in"] == [{"email": "b"}]
    assert json.loads(out)["id"] == 7


def test_every_text_is_a_document_of_its_own_and_what_is_not_masked_stays_to_the_byte() -> None:
    body = answer({"email": "one"}, "no JSON", {"other": 1.50}, [{"email": "two"}])
    made = masker("/**/email")
    assert made is not None
    out = texts(made.feed(body) + made.finish())
    assert out[1:3] == texts(body)[1:3]
    assert is_placeholder(json.loads(out[0])["email"], KEYS)
    assert is_placeholder(json.loads(out[3])[0]["email"], KEYS)
    assert made.cells_masked == 2


@pytest.mark.parametrize("cut", range(0, 120, 7))
def test_where_the_body_is_cut_changes_nothing(cut: int) -> None:
    body = answer({"email": "one", "more": ["x"] * 5}, {"email": "two"})
    made = masker("/email")
    assert made is not None
    out = made.feed(body[:cut]) + made.feed(body[cut:]) + made.finish()
    assert out == masked(body, "/email")


def test_byte_by_byte_it_comes_out_the_same() -> None:
    body = answer({"email": "one"}, "plain")
    made = masker("/email")
    assert made is not None
    out = b"".join(made.feed(body[at : at + 1]) for at in range(len(body))) + made.finish()
    assert out == masked(body, "/email")


@pytest.mark.parametrize(
    "text", ['{"email": "secret"', '{"email": "a", "email": "secret"}', '[{"email": "secret"}] tail']
)
def test_what_begins_like_json_and_cannot_be_read_is_masked_whole(text: str) -> None:
    (out,) = texts(masked(answer(text), "/email"))
    assert is_placeholder(out, KEYS)


def test_prose_that_begins_with_a_bracket_is_text() -> None:
    for text in ("[link](https://x.test)", "{curly} words", "[2026-01-01] log", ""):
        assert texts(masked(answer(text), "/email")) == [text]


def test_who_may_see_the_label_gets_it_in_clear() -> None:
    assert masker("/email", unmask=frozenset({"pii.x"})) is None


def test_detectors_look_into_json_in_a_string_behind_its_escapes() -> None:
    inner = '{"note": "write to jane.doe\\u0040example.com now"}'
    (out,) = texts(masked(answer(inner), detectors=ALL))
    assert "example.com" not in json.loads(out)["note"]
    assert json.loads(out)["note"].startswith("write to [pii.email:")


def test_detectors_look_at_other_texts_and_at_broken_json_where_no_field_is_hidden() -> None:
    out = texts(masked(answer("mail jane.doe@example.com", '{"mail jane.doe@example.com'), detectors=ALL))
    assert all("example.com" not in one for one in out)
    assert out[0].startswith("mail [pii.email:")
    assert out[1].startswith('{"mail [pii.email:')


def test_a_text_too_long_to_be_looked_into_is_refused() -> None:
    with pytest.raises(PeerError):
        masked(answer("x" * (1 << 20) + "y"), "/email")


def test_json_nested_too_deeply_in_a_string_is_masked_whole() -> None:
    (out,) = texts(masked(answer("[" * 5000 + "]" * 5000), "/email"))
    assert is_placeholder(out, KEYS)


def test_an_event_stream_of_messages_is_masked_likewise() -> None:
    stream = b"event: message\nid: 4\ndata: " + answer({"email": "one"}) + b"\n\n: keep\n\n"
    out = masked(stream, "/email", type="text/event-stream")
    assert out.startswith(b"event: message\nid: 4\ndata: ")
    assert out.endswith(b"\n\n: keep\n\n")
    assert is_placeholder(json.loads(texts(out.split(b"data: ")[1].split(b"\n")[0])[0])["email"], KEYS)


def test_a_payload_that_is_not_json_ends_an_event_stream_of_messages() -> None:
    with pytest.raises(PeerError):
        masked(b'data: {"result": {"content": [\n\n', "/email", type="text/event-stream")


def test_an_answer_of_another_text_type_that_is_json_is_masked_likewise() -> None:
    (out,) = texts(masked(answer({"email": "one"}), "/email", type="text/plain"))
    assert is_placeholder(json.loads(out)["email"], KEYS)


def test_any_depth_may_begin_below_the_top() -> None:
    redact = Transform(kind="redact")
    field = FieldPlan(pattern="/result/**/id", labels=("pii.x",), transform=redact)
    plan = Plan(statements=(), body=BodyPlan(fields=(field,)))
    made = body_masker(plan, frozenset(), type="application/json", parameters={}, keys=KEYS)
    assert made is not None
    out = json.loads(made.feed(b'{"id": 7, "result": {"id": "a", "x": [{"id": "b"}]}}') + made.finish())
    assert out["id"] == 7
    assert is_placeholder(out["result"]["id"], KEYS)
    assert is_placeholder(out["result"]["x"][0]["id"], KEYS)
