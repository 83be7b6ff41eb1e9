"""Streams of the model APIs, shape by shape: what is cut across deltas is masked, and the rest comes as it was."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from weirgate_contracts.labels import DETECTOR_LABELS
from weirgate_contracts.masking import BodyPlan, DetectorPlan, Plan, Transform
from weirgate_mask.body import body_masker
from weirgate_mask.keys import Keyring
from weirgate_mask.sse import DELTA_HOLD_BYTES

MAIL = "ann.smith@corp.example.com"
CARD = "4111 1111 1111 1111"
Event = dict[str, Any]
Read = Callable[[Event], str | None]


def masked(stream: str, *, step: int = 1 << 20) -> str:
    detectors = tuple(DetectorPlan(label=one, transform=Transform(kind="redact")) for one in DETECTOR_LABELS)
    plan = Plan(statements=(), body=BodyPlan(), detectors=detectors)
    made = body_masker(plan, frozenset(), type="text/event-stream", parameters={}, keys=Keyring(b"k" * 32))
    assert made is not None
    raw = stream.encode()
    return (
        b"".join(made.feed(raw[at : at + step]) for at in range(0, len(raw), step)) + made.finish()
    ).decode()


def written(events: list[Event]) -> str:
    return "".join(f"data: {json.dumps(one)}\n\n" for one in events)


def read(stream: str) -> Iterator[Event]:
    for line in stream.splitlines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


def choice(delta: Event, finish: str | None = None) -> Event:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def content(text: str) -> Event:
    return choice({"content": text})


def arguments(text: str) -> Event:
    return choice({"tool_calls": [{"index": 1, "function": {"arguments": text}}]})


def custom(text: str) -> Event:
    return choice({"tool_calls": [{"index": 0, "type": "custom", "custom": {"input": text}}]})


def block(kind: str, name: str) -> Callable[[str], Event]:
    return lambda text: {"type": "content_block_delta", "index": 2, "delta": {"type": kind, name: text}}


def response(kind: str) -> Callable[[str], Event]:
    return lambda text: {"type": f"response.{kind}.delta", "item_id": "i", "output_index": 0, "delta": text}


def at(*path: str | int) -> Read:
    def look(event: Event) -> str | None:
        found: Any = event
        for step in path:
            if isinstance(found, list):
                found = found[step] if isinstance(step, int) and step < len(found) else None
            else:
                found = found.get(step) if isinstance(found, dict) else None
        return found if isinstance(found, str) else None

    return look


CALL = ("choices", 0, "delta", "tool_calls", 0)
BLOCK_END: Event = {"type": "content_block_stop", "index": 2}
SHAPES: list[tuple[str, Callable[[str], Event], Event, Read]] = [
    ("chat", content, choice({}, "stop"), at("choices", 0, "delta", "content")),
    ("refusal", lambda t: choice({"refusal": t}), choice({}, "stop"), at("choices", 0, "delta", "refusal")),
    ("reasoning", lambda t: choice({"reasoning_content": t}), choice({}, "stop"),
     at("choices", 0, "delta", "reasoning_content")),
    ("arguments", arguments, choice({}, "tool_calls"), at(*CALL, "function", "arguments")),
    ("custom tool", custom, choice({}, "tool_calls"), at(*CALL, "custom", "input")),
    ("transcript", lambda t: choice({"audio": {"transcript": t}}), choice({}, "stop"),
     at("choices", 0, "delta", "audio", "transcript")),
    ("completions", lambda t: {"choices": [{"index": 0, "text": t}]},
     {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}, at("choices", 0, "text")),
    ("responses", response("output_text"), {"type": "response.output_text.done", "item_id": "i"}, at("delta")),
    ("responses, arguments", response("function_call_arguments"), {"type": "response.completed"}, at("delta")),
    ("responses, reasoning", response("reasoning_summary_text"), {"type": "response.completed"}, at("delta")),
    ("messages", block("text_delta", "text"), BLOCK_END, at("delta", "text")),
    ("messages, tool", block("input_json_delta", "partial_json"), BLOCK_END, at("delta", "partial_json")),
    ("messages, thinking", block("thinking_delta", "thinking"), BLOCK_END, at("delta", "thinking")),
    ("complete", lambda t: {"type": "completion", "completion": t}, {"type": "error"}, at("completion")),
]  # fmt: skip


@pytest.mark.parametrize("size", [1, 3, 40])
@pytest.mark.parametrize(("said", "end", "look"), [one[1:] for one in SHAPES], ids=[one[0] for one in SHAPES])
def test_a_value_cut_across_deltas_is_masked(
    said: Callable[[str], Event], end: Event, look: Read, size: int
) -> None:
    text = f"Dear {MAIL}, your card {CARD} was charged; thank you."
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    out = masked(written([*(said(piece) for piece in pieces), end]), step=11)
    grown = "".join(look(event) or "" for event in read(out))
    assert "Dear [pii.email:" in grown
    assert "[payment.card:" in grown
    assert grown.endswith(" was charged; thank you.")
    assert MAIL not in grown
    assert CARD not in grown


@pytest.mark.parametrize(
    ("said", "look"), [(one[1], one[3]) for one in SHAPES], ids=[one[0] for one in SHAPES]
)
def test_no_more_is_held_back_than_a_value_can_be_long(said: Callable[[str], Event], look: Read) -> None:
    text = "x" * 4000
    detectors = (DetectorPlan(label="pii.email", transform=Transform(kind="redact")),)
    plan = Plan(statements=(), body=BodyPlan(), detectors=detectors)
    made = body_masker(plan, frozenset(), type="text/event-stream", parameters={}, keys=Keyring(b"k" * 32))
    assert made is not None
    out = "".join(made.feed(written([said(text[n : n + 5])]).encode()).decode() for n in range(0, 4000, 5))
    grown = "".join(look(event) or "" for event in read(out))
    assert len(text) - len(grown) <= DELTA_HOLD_BYTES + 5


def test_two_tool_calls_that_stream_in_turn_do_not_mix() -> None:
    def both(index: int, text: str) -> Event:
        return choice({"tool_calls": [{"index": index, "function": {"arguments": text}}]})

    events = [
        both(index, piece)
        for piece in ('{"to": "', "ann.smith", "@corp.exam", 'ple.com"}')
        for index in (0, 1)
    ]
    out = list(read(masked(written([*events, choice({}, "tool_calls")]))))
    for index in (0, 1):
        grown = "".join(
            call["function"]["arguments"]
            for event in out
            for call in event["choices"][0]["delta"].get("tool_calls", [])
            if call["index"] == index
        )
        assert grown.startswith('{"to": "')
        assert grown.endswith('"}')
