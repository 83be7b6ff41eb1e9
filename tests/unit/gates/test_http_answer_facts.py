"""What a model's answer says of itself: counted while it streams past, and nothing where it cannot be read."""

import gzip
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.events import OperationFinished
from weirgate_contracts.http import HttpResponse
from weirgate_contracts.model import ModelUsage
from weirgate_ingress.gates.core import Ask, LoggedIn, Login, Record
from weirgate_ingress.gates.http.answerfacts import DOCUMENT_LIMIT_BYTES, AnswerFacts
from weirgate_testkit.http_story import HttpStory
from weirgate_testkit.story import IDENTITY

LLM = ResourceDocument(name="crm", protocol="http", upstream="http://llm.test", api="openai")
RESPONSE = HttpResponse(status=200, type="application/json")


def told(
    raw: bytes, *codings: str, type: str = "application/json", step: int = 1 << 20
) -> tuple[ModelUsage | None, tuple[str, ...] | None]:
    facts = AnswerFacts(type=type, codings=codings)
    for at in range(0, len(raw), step):
        facts.feed(raw[at : at + step])
    found = facts.told(RESPONSE)
    return found.usage, found.tools


def events(*payloads: Any, ending: str = "\n") -> bytes:
    return "".join(f"event: x{ending}data: {json.dumps(one)}{ending}{ending}" for one in payloads).encode()


def tool_call(name: str) -> dict[str, Any]:
    return {"index": 0, "type": "function", "function": {"name": name, "arguments": ""}}


CHAT = {
    "model": "gpt-x",
    "choices": [{"message": {"content": "hi", "tool_calls": [tool_call("weather"), tool_call("news")]}}],
    "usage": {
        "prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 1},
    },
}  # fmt: skip
CHAT_STREAM = (
    {"model": "gpt-x", "choices": [{"delta": {"content": "hi"}}], "usage": None},
    {"model": "gpt-x", "choices": [{"delta": {"tool_calls": [tool_call("weather")]}}]},
    {
        "model": "gpt-x",
        "choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}}],
    },
    {"model": "gpt-x", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}},
)
RESPONSES_STREAM = (
    {"type": "response.created", "response": {"model": "gpt-x", "usage": None}},
    {"type": "response.output_item.added", "item": {"type": "function_call", "name": "weather"}},
    {"type": "response.completed", "response": {
        "model": "gpt-x", "output": [{"type": "function_call", "name": "weather"}],
        "usage": {"input_tokens": 9, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 2}}}},
)  # fmt: skip
ANTHROPIC = {
    "model": "claude-x", "content": [{"type": "tool_use", "name": "weather"}, {"type": "text", "text": "x"}],
    "usage": {"input_tokens": 2, "cache_creation_input_tokens": 4, "cache_read_input_tokens": 3, "output_tokens": 4},
}  # fmt: skip
ANTHROPIC_STREAM = (
    {
        "type": "message_start",
        "message": {"model": "claude-x", "usage": {"input_tokens": 9, "output_tokens": 1}},
    },
    {"type": "content_block_start", "content_block": {"type": "tool_use", "name": "weather"}},
    {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": '{"usage"'}},
    {"type": "message_delta", "usage": {"output_tokens": 4}},
)


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("raw", "type", "model", "cached", "tools"),
    [
        (json.dumps(CHAT).encode(), "application/json", "gpt-x", 3, ("news", "weather")),
        (json.dumps(ANTHROPIC).encode(), "application/json", "claude-x", 3, ("weather",)),
        (events(*CHAT_STREAM) + b"data: [DONE]\n\n", "text/event-stream", "gpt-x", None, ("weather",)),
        (events(*RESPONSES_STREAM), "text/event-stream", "gpt-x", 2, ("weather",)),
        (events(*ANTHROPIC_STREAM, ending="\r\n"), "text/event-stream", "claude-x", None, ("weather",)),
        (events(*ANTHROPIC_STREAM, ending="\r")[:-2], "text/event-stream", "claude-x", None, ("weather",)),
    ],
)
def test_tokens_and_tools_are_read_however_the_answer_is_cut(
    raw: bytes, type: str, model: str, cached: int | None, tools: tuple[str, ...], step: int
) -> None:
    usage, called = told(raw, type=type, step=step)
    assert usage is not None
    assert (usage.model, usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (
        model,
        9,
        4,
        cached,
    )
    assert called == tools


def test_a_coded_answer_is_read_decoded() -> None:
    assert told(gzip.compress(json.dumps(CHAT).encode(), mtime=0), "gzip")[0] is not None


@pytest.mark.parametrize(
    ("raw", "codings", "type"),
    [
        (b'{"usage": ', (), "application/json"),
        (b"[" * 100_000, (), "application/json"),
        (b'{"usage": {"prompt_tokens": true, "completion_tokens": "9"}}', (), "application/json"),
        (b'{"usage": {"prompt_tokens": -1, "completion_tokens": 1e3}}', (), "application/json"),
        (b'{"usage": [1], "choices": {"a": 1}}', (), "application/json"),
        (
            json.dumps({"x": "y" * DOCUMENT_LIMIT_BYTES, "usage": CHAT["usage"]}).encode(),
            (),
            "application/json",
        ),
        (b"not gzip", ("gzip",), "application/json"),
        (gzip.compress(b" " * (64 << 20), mtime=0), ("gzip",), "application/json"),
        (b"anything", ("br",), "application/json"),
        (json.dumps(CHAT).encode(), (), "text/plain"),
    ],
)
def test_what_cannot_be_read_has_no_facts_and_does_no_harm(
    raw: bytes, codings: tuple[str, ...], type: str
) -> None:
    assert told(raw, *codings, type=type) == (None, None)


def test_an_event_that_is_too_long_is_skipped_and_the_next_one_is_read() -> None:
    long = events({"usage": {"prompt_tokens": 1}, "x": "y" * DOCUMENT_LIMIT_BYTES})
    usage, _ = told(long + events(*CHAT_STREAM), type="text/event-stream", step=65536)
    assert usage is not None
    assert usage.input_tokens == 9


def test_a_million_empty_lines_cost_next_to_nothing() -> None:
    began = time.process_time()
    packed = gzip.compress(b"\n" * (15 << 20) + b"data: 1\n", mtime=0)
    assert told(packed + b"", "gzip", type="text/event-stream") == (None, None)
    assert time.process_time() - began < 1.0


def test_a_name_that_is_none_is_no_fact() -> None:
    calls = [tool_call("ann@corp.example.com and so on"), tool_call("x" * 300), tool_call("ok_1")]
    said = {**CHAT, "model": "a b", "choices": [{"message": {"tool_calls": calls}}]}
    usage, called = told(json.dumps(said).encode())
    assert usage is not None
    assert usage.model == ""
    assert called == ("ok_1",)


@settings(deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["application/json", "text/event-stream"]))
def test_noise_raises_nothing(noise: bytes, type: str) -> None:
    told(noise, type=type, step=13)
    told(b'data: {"usage":' + noise + b"\n\n", type=type)


def test_the_finished_event_holds_them_and_the_answer_passes_untouched() -> None:
    body = json.dumps({"model": "small", "messages": [{"role": "user", "content": "x"}]}).encode()
    one = HttpStory().request("POST", "/crm/v1/chat/completions", body=body, content_type="application/json")
    one.expect(Login).feed(LoggedIn(identity=IDENTITY, resource=LLM)).expect(Record).expect(Ask)
    assert one.ask is not None
    assert one.ask.event.call is not None
    assert one.ask.event.call.model is not None
    assert one.ask.event.call.model.name == "small"
    one.sent_on(body=body)
    raw = json.dumps(CHAT).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(raw)
    one.upstream_sends(head + raw).says(lambda said: said.endswith(raw))
    one.expect(Record, OperationFinished)
    assert isinstance(one.last, Record)
    finished = one.last.event
    assert isinstance(finished, OperationFinished)
    assert finished.response is not None
    assert finished.response.usage is not None
    assert finished.response.usage.total_tokens == 13
    assert finished.response.tools == ("news", "weather")
