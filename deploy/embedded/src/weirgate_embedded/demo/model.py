"""The demo upstream `models`: a scripted model provider, OpenAI-shaped and Anthropic-shaped, plain and streamed.

It has no model. It answers by what the last message says, so that tests and demos know what comes:

* ``call NAME {…}`` where such a tool is offered: a call of that tool with those arguments;
* what a tool has answered: ``The tool said: …``;
* anything else: ``You said: …``.

Streams come in pieces of three characters, so that whatever is looked for in them is cut. Run as ``python -m
weirgate_embedded.demo.model --port P --token-file F --log L``.

Source: OpenAI API reference (chat completions, models); Anthropic API reference (messages).
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from weirgate_embedded.demo.api import DemoHandler, serve

MODELS = ("demo-small", "demo-large")
ROUTES = ("/v1/messages",)
"""Besides those of the route pack for OpenAI."""
_CALL = re.compile(r"\s*call\s+([\w.-]+)\s*(\{.*\})\s*", re.DOTALL)
_PIECE = 3
_CREATED = 1_700_000_000


def _text(content: Any) -> str:
    """Return the text of a message's content, in either provider's form."""
    if isinstance(content, str):
        return content
    parts: list[str] = []
    for part in content or ():
        if part.get("type") == "tool_result":
            parts.append(_text(part.get("content")))
        else:
            parts.append(str(part.get("text", "")))
    return "".join(parts)


def _tools(asked: dict[str, Any]) -> list[str]:
    return [str(tool.get("function", tool).get("name")) for tool in asked.get("tools") or ()]


def scripted(asked: dict[str, Any]) -> tuple[str, tuple[str, str] | None]:
    """Return what is said, and the tool that is called with which arguments (JSON), if one is."""
    last = asked["messages"][-1]
    text = _text(last.get("content"))
    answered = last.get("role") == "tool" or (
        isinstance(last.get("content"), list)
        and any(part.get("type") == "tool_result" for part in last["content"])
    )
    if answered:
        return f"The tool said: {text}", None
    call = _CALL.fullmatch(text)
    if call and call[1] in _tools(asked):
        return "", (call[1], call[2])
    return f"You said: {text}", None


def _usage(asked: dict[str, Any], said: str) -> tuple[int, int]:
    """Count words: as good as tokens here, and easy to foresee."""
    return sum(len(_text(one.get("content")).split()) for one in asked["messages"]), len(said.split())


def _pieces(text: str) -> Iterator[str]:
    return (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))


class _Handler(DemoHandler):
    def answer(self, body: bytes) -> None:
        path = self.path.partition("?")[0]
        if path == "/v1/models" and self.command == "GET":
            listed = [
                {"id": name, "object": "model", "created": _CREATED, "owned_by": "demo"} for name in MODELS
            ]
            self.send_json(200, {"object": "list", "data": listed})
            return
        if path not in ("/v1/chat/completions", "/v1/messages") or self.command != "POST":
            self.send_json(404, {"error": {"message": "there is no such thing", "type": "not_found"}})
            return
        try:
            asked = json.loads(body)
            said, call = scripted(asked)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            self.send_json(400, {"error": {"message": "not a request", "type": "invalid_request_error"}})
            return
        openai = path.endswith("completions")
        if asked.get("stream"):
            self.begin_events()
            for event in (_openai_events if openai else _anthropic_events)(asked, said, call):
                self.send_event(event)
            self.end_events()
        else:
            self.send_json(200, (_openai if openai else _anthropic)(asked, said, call))


# ---------------------------------------------------------------- OpenAI's form


def _openai_usage(asked: dict[str, Any], said: str) -> dict[str, int]:
    taken, given = _usage(asked, said)
    return {"prompt_tokens": taken, "completion_tokens": given, "total_tokens": taken + given}


def _openai(asked: dict[str, Any], said: str, call: tuple[str, str] | None) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said or None}
    if call:
        function = {"name": call[0], "arguments": call[1]}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    return {
        "id": "chatcmpl-demo", "object": "chat.completion", "created": _CREATED, "model": asked.get("model"),
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if call else "stop"}],
        "usage": _openai_usage(asked, said),
    }  # fmt: skip


def _openai_events(asked: dict[str, Any], said: str, call: tuple[str, str] | None) -> Iterator[str]:
    head = {
        "id": "chatcmpl-demo",
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": asked.get("model"),
    }

    def chunk(delta: dict[str, Any], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return f"data: {json.dumps(head | {'choices': [choice]})}\n\n"

    yield chunk({"role": "assistant", "content": ""})
    if call:
        named = {
            "index": 0,
            "id": "call_1",
            "type": "function",
            "function": {"name": call[0], "arguments": ""},
        }
        yield chunk({"tool_calls": [named]})
        for piece in _pieces(call[1]):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    for piece in _pieces(said):
        yield chunk({"content": piece})
    yield chunk({}, "tool_calls" if call else "stop")
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield f"data: {json.dumps(head | {'choices': [], 'usage': _openai_usage(asked, said)})}\n\n"
    yield "data: [DONE]\n\n"


# ---------------------------------------------------------------- Anthropic's form


def _anthropic(asked: dict[str, Any], said: str, call: tuple[str, str] | None) -> dict[str, Any]:
    taken, given = _usage(asked, said)
    content: list[dict[str, Any]] = [{"type": "text", "text": said}] if said else []
    if call:
        content.append({"type": "tool_use", "id": "toolu_1", "name": call[0], "input": json.loads(call[1])})
    return {
        "id": "msg_demo", "type": "message", "role": "assistant", "model": asked.get("model"), "content": content,
        "stop_reason": "tool_use" if call else "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": taken, "output_tokens": given},
    }  # fmt: skip


def _anthropic_events(asked: dict[str, Any], said: str, call: tuple[str, str] | None) -> Iterator[str]:
    taken, given = _usage(asked, said)

    def event(type: str, **more: Any) -> str:
        return f"event: {type}\ndata: {json.dumps({'type': type} | more)}\n\n"

    begun = _anthropic(asked, "", None) | {
        "stop_reason": None,
        "usage": {"input_tokens": taken, "output_tokens": 1},
    }
    yield event("message_start", message=begun)
    if call:
        block: dict[str, Any] = {"type": "tool_use", "id": "toolu_1", "name": call[0], "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in _pieces(call[1])]
    else:
        block = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": piece} for piece in _pieces(said)]
    yield event("content_block_start", index=0, content_block=block)
    for delta in deltas:
        yield event("content_block_delta", index=0, delta=delta)
    yield event("content_block_stop", index=0)
    reason = {"stop_reason": "tool_use" if call else "end_turn", "stop_sequence": None}
    yield event("message_delta", delta=reason, usage={"output_tokens": given})
    yield event("message_stop")


if __name__ == "__main__":
    serve(__doc__, _Handler)
