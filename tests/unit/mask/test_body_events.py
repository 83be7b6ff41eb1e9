"""Event streams: payloads masked, a model's deltas across events, order and names intact."""

import json
from typing import Any

import pytest

from weirgate_contracts.labels import DETECTOR_LABELS
from weirgate_contracts.masking import BodyPlan, DetectorPlan, FieldPlan, Plan, Transform
from weirgate_mask.body import BodyMasker, body_masker
from weirgate_mask.keys import Keyring
from weirgate_wire.error import PeerError

KEYS = Keyring(b"k" * 32)
ALL = tuple(DetectorPlan(label=label, transform=Transform(kind="redact")) for label in DETECTOR_LABELS)


def masker(*fields: FieldPlan) -> BodyMasker:
    plan = Plan(statements=(), body=BodyPlan(fields=fields), detectors=ALL)
    made = body_masker(plan, frozenset(), type="text/event-stream", parameters={}, keys=KEYS)
    assert made is not None
    return made


def masked(stream: str, *fields: FieldPlan, size: int = 1 << 20) -> str:
    made = masker(*fields)
    body = stream.encode()
    out = b"".join([made.feed(body[at : at + size]) for at in range(0, len(body), size)]) + made.finish()
    return out.decode()


def events(*payloads: Any, name: str = "") -> str:
    head = f"event: {name}\n" if name else ""
    return "".join(f"{head}data: {one if isinstance(one, str) else json.dumps(one)}\n\n" for one in payloads)


def payloads(stream: str) -> list[Any]:
    data = [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data: ")]
    return [one if one == "[DONE]" else json.loads(one) for one in data]


def chat(text: str, index: int = 0, finish: str | None = None) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]}


@pytest.mark.parametrize("size", [1, 9, 1 << 20])
def test_what_holds_nothing_comes_out_byte_for_byte(size: int) -> None:
    stream = ': hi\r\n\r\nretry: 10\n\nid: 4111111111111111\nevent:t\ndata:plain\ndata: two\n\n\ndata: {"a": 1.0}\r\r'
    assert masked(stream, size=size) == stream


def test_payloads_are_masked_as_json_or_as_text() -> None:
    hidden = FieldPlan(pattern="/user/name", labels=("pii.x",), transform=Transform(kind="null"))
    out = masked(
        'event: e\nid: 7\ndata: {"user":\ndata: {"name":"s"}}\n\ndata: to ann@corp.example.com\n\n', hidden
    )
    assert out.startswith('event: e\nid: 7\ndata: {"user":\ndata: {"name":null}}\n\ndata: to [pii.email:')


def test_a_payload_that_only_begins_like_json_is_refused_where_a_field_is_hidden() -> None:
    hidden = FieldPlan(pattern="/n", labels=("pii.x",), transform=Transform(kind="null"))
    with pytest.raises(PeerError):
        masked('data: {"n": 1\n\n', hidden)
    assert masked('data: {"n": 1\n\n') == 'data: {"n": 1\n\n'


def test_a_value_streamed_in_deltas_is_masked() -> None:
    stream = events(
        *(chat(text) for text in ("mail ann", "@corp.", "example", ".com", " now")),
        chat("", finish="stop"),
        "[DONE]",
    )
    out = payloads(masked(stream))
    said = "".join(one["choices"][0]["delta"]["content"] for one in out[:-1])
    assert said.startswith("mail [pii.email:")
    assert said.endswith("] now")
    assert len(out) == 7
    assert out[-1] == "[DONE]"


def test_held_text_comes_out_in_an_event_of_its_own_before_the_end() -> None:
    stop = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    out = payloads(masked(events(chat("hello wor"), chat("ld"), stop, "[DONE]")))
    texts = [one["choices"][0]["delta"].get("content") for one in out[:-1]]
    assert texts == ["hello", "", " world", None]
    assert out[2]["id"] == "c"
    assert out[3]["choices"][0]["finish_reason"] == "stop"


def test_held_text_comes_out_where_the_stream_just_ends() -> None:
    assert [
        one["choices"][0]["delta"]["content"] for one in payloads(masked(events(chat("by"), chat("e"))))
    ] == ["", "", "bye"]
    out = masked(events(chat("a b")) + "data: " + json.dumps(chat(" c")))
    assert [one["choices"][0]["delta"]["content"] for one in payloads(out)] == ["a", " b", " c"]


def test_choices_do_not_mix() -> None:
    stream = events(
        chat("ann@co", 0), chat("bob@co", 1), chat("rp.example.com", 0), chat("rp.example.com", 1), "[DONE]"
    )
    out = payloads(masked(stream))
    for index in (0, 1):
        said = "".join(
            c["delta"]["content"] for one in out[:-1] for c in one["choices"] if c["index"] == index
        )
        assert said.startswith("[pii.email:")
        assert "corp" not in said


def tool(arguments: str, index: int = 0) -> dict[str, Any]:
    return {
        "choices": [
            {"index": 0, "delta": {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}}
        ]
    }


def test_arguments_of_tools_are_masked_and_one_ends_where_the_next_begins() -> None:
    stream = events(tool('{"to":"ann@co'), tool('rp.example.com"}'), tool("{}", 1), "[DONE]")
    out = payloads(masked(stream))
    calls = [one["choices"][0]["delta"]["tool_calls"][0] for one in out[:-1]]
    assert [call["index"] for call in calls] == sorted(call["index"] for call in calls)
    first = "".join(call["function"]["arguments"] for call in calls if call["index"] == 0)
    assert json.loads(first)["to"].startswith("[pii.email:")


def test_messages_in_blocks_are_masked_before_the_block_stops() -> None:
    def block(text: str, kind: str = "text", index: int = 0) -> str:
        return events(
            {"type": "content_block_delta", "index": index, "delta": {"type": kind, kind: text}},
            name="content_block_delta",
        )

    stream = block("ann@corp") + events({"type": "ping"}, name="ping") + block(".example.com")
    stream += events({"type": "content_block_stop", "index": 0}, name="content_block_stop")
    stream += block('{"a":"bob@corp', "partial_json", 1) + block('.example.com"}', "partial_json", 1)
    out = masked(stream + events({"type": "message_stop"}, name="message_stop"))
    assert "corp" not in out
    names = [line.removeprefix("event: ") for line in out.splitlines() if line.startswith("event: ")]
    assert names == ["content_block_delta", "ping", "content_block_delta", "content_block_delta", "content_block_stop",
                     "content_block_delta", "content_block_delta", "content_block_delta", "message_stop"]  # fmt: skip
    assert all("data: " in one for one in out.split("\n\n")[:-1])


def test_deltas_of_responses_are_masked() -> None:
    def delta(text: str) -> dict[str, Any]:
        return {
            "type": "response.output_text.delta",
            "item_id": "i",
            "output_index": 0,
            "content_index": 0,
            "delta": text,
        }

    done = {"type": "response.output_text.done", "item_id": "i", "text": "ann@corp.example.com"}
    out = payloads(masked(events(delta("so ann@"), delta("corp.example.com"), done)))
    assert [one["type"] for one in out] == [delta("")["type"]] * 3 + [done["type"]]
    assert "".join(one["delta"] for one in out[:-1]).startswith("so [pii.email:")
    assert "corp" not in json.dumps(out)


def test_the_text_of_a_stream_is_held_back_by_few_characters() -> None:
    made = masker()
    said = 0
    for _ in range(200):
        out = made.feed(events(chat("x1y2z3w4")).encode()).decode()
        said += sum(len(one["choices"][0]["delta"]["content"]) for one in payloads(out))
    assert 200 * 8 - said <= 256


def test_a_hidden_delta_is_masked_by_its_field() -> None:
    hidden = FieldPlan(pattern="/**/content", labels=("pii.x",), transform=Transform(kind="null"))
    out = payloads(masked(events(chat("a b"), "[DONE]"), hidden))
    assert out[0]["choices"][0]["delta"]["content"] is None
    assert len(out) == 2


def test_an_event_without_end_is_refused() -> None:
    made = masker()
    with pytest.raises(PeerError):
        for _ in range(300):
            made.feed(b"data: " + b"x" * 4096)


def test_finds_in_deltas_are_counted() -> None:
    made = masker()
    made.feed(events(chat("ann@corp.example.com and "), chat("bob@corp.example.com"), "[DONE]").encode())
    made.finish()
    assert made.cells_masked == 2
