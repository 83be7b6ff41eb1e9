"""A model API behind the gateway, asked with the provider's own client: judged by model, masked both ways, counted."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from weirgate_testkit.gateway import RunningGateway, eventually

CARD, MAIL = "4111111111111111", "ann.smith@corp.example.com"
PIECES = ("Write to ", "ann.smith", "@corp.exa", "mple.com", " today.")
USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}


class Provider(ThreadingHTTPServer):
    """A scripted provider: it says the same to everybody, and keeps what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.got: list[dict[str, Any]] = []


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._whole(
            {"object": "list", "data": [{"id": "small-1", "object": "model", "created": 1, "owned_by": "x"}]}
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert isinstance(self.server, Provider)
        self.server.got.append({"path": self.path, "key": self.headers["authorization"], "body": body})
        if self.path == "/v1/messages":
            self._events(list(anthropic()), named=True)
        elif body.get("stream"):
            self._events([*(chunk({"content": piece}) for piece in PIECES), chunk({}, "stop"), chunk(None)])
        else:
            said = {"role": "assistant", "content": "".join(PIECES)}
            choice = {"index": 0, "message": said, "finish_reason": "stop"}
            head = {"id": "c", "object": "chat.completion", "created": 1, "model": "small-1-2026"}
            self._whole({**head, "choices": [choice], "usage": USAGE})

    def _whole(self, said: object) -> None:
        raw = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _events(self, said: list[dict[str, Any]], *, named: bool = False) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        lines = [
            (f"event: {one['type']}\n" if named else "") + f"data: {json.dumps(one)}\n\n" for one in said
        ]
        for line in lines if named else [*lines, "data: [DONE]\n\n"]:
            self.wfile.write(f"{len(line):x}\r\n{line}\r\n".encode())
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


def chunk(delta: dict[str, Any] | None, finish: str | None = None) -> dict[str, Any]:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "small-1-2026"}
    if delta is None:
        return {**head, "choices": [], "usage": USAGE}
    return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def anthropic() -> Iterator[dict[str, Any]]:
    usage = {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 1}
    yield {"type": "message_start", "message": {"model": "claude-small", "content": [], "usage": usage}}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for piece in PIECES:
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
    yield {"type": "content_block_stop", "index": 0}
    yield {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}
    yield {"type": "message_stop"}


RULES = """
@id("session")
permit (principal in Group::"chatters", action == Action::"connect", resource);
@id("look")
permit (principal in Group::"chatters", action in Action::"http.read", resource in Resource::"llm");
@id("small")
permit (principal in Group::"chatters", action == Action::"http.post", resource in Resource::"llm")
when { context has model && context.model.name == "small-1" && !context.model.tools.contains("shell") };
@id("claude")
permit (principal in Group::"chatters", action == Action::"http.post", resource in Resource::"claude");
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as serving:
        Thread(target=serving.serve_forever, daemon=True).start()
        yield serving
        serving.shutdown()


@pytest.fixture(scope="module")
def token(gateway: RunningGateway, provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Register the provider under two names; return the token of one who may ask it."""
    directory: Path = tmp_path_factory.mktemp("llm")
    key = directory / "key"
    key.write_text("sk-upstream-key\n")
    (directory / "llm.cedar").write_text(RULES)
    common = (
        f"protocol: http\nupstream: http://127.0.0.1:{provider.server_port}\n"
        f"credential: file:{key}\ninject: bearer\nmask_requests: true\n"
    )
    (directory / "llm.yaml").write_text(
        f"kind: resource\nname: llm\napi: openai\n{common}---\n"
        f"kind: resource\nname: claude\napi: anthropic\n{common}---\n"
        "kind: labels\nresource: llm\nrequest_fields: {'* /messages/*/name': pii.name}\n---\n"
        "kind: policy\nname: llm\nfile: llm.cedar\n"
    )
    applied = gateway.weirgate("apply", "-f", str(directory), check=False)
    assert applied.returncode == 0, applied.stderr
    return gateway.mint("chatter", "chatters")


@pytest.fixture
def client(gateway: RunningGateway, token: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.http_url('llm')}/v1", api_key=token, max_retries=0) as made:
        yield made


def ask(mark: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "name": "Ann Smith", "content": f"{mark}: charge {CARD}, tell {MAIL}"}]


def finished(gateway: RunningGateway, mark: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what was asked and how it ended, once it has."""

    def found() -> tuple[dict[str, Any], dict[str, Any]] | None:
        events = gateway.events(last=400)
        asked = [one for one in events if one["kind"] == "operation.intercepted" and mark in json.dumps(one)]
        for one in events:
            same = asked and all(one.get(key) == asked[0][key] for key in ("session", "operation"))
            if same and one["kind"] == "operation.finished":
                return asked[0], one
        return None

    return eventually(found, 10) or ({}, {})


def test_a_prompt_is_masked_towards_the_model_and_its_answer_towards_the_agent(
    gateway: RunningGateway, provider: Provider, client: openai.OpenAI
) -> None:
    assert [model.id for model in client.models.list()] == ["small-1"]
    answer = client.chat.completions.create(model="small-1", messages=ask("plainly"), max_tokens=64)
    said = answer.choices[0].message.content or ""
    assert said.startswith("Write to ")
    assert said.endswith(" today.")
    assert MAIL not in said
    sent = provider.got[-1]
    assert sent["key"] == "Bearer sk-upstream-key"
    message = sent["body"]["messages"][0]
    assert message["content"].startswith("plainly: charge ")
    assert CARD not in json.dumps(sent)
    assert MAIL not in json.dumps(sent)
    assert "Ann Smith" not in json.dumps(sent)
    asked, done = finished(gateway, "plainly")
    assert asked["call"]["route"] == "/v1/chat/completions"
    model = asked["call"]["model"]
    assert (model["name"], model["stream"], model["max_tokens"], model["messages"]) == (
        "small-1",
        False,
        64,
        1,
    )
    assert done["response"]["usage"] == {
        "model": "small-1-2026", "input_tokens": 11, "output_tokens": 5, "total_tokens": 16,
    }  # fmt: skip
    assert done["cells_masked"] == 3  # a name and a text that were sent, a text that came back
    page = eventually(
        lambda: (
            out
            if "small-1-2026" in (out := gateway.weirgate("sessions", "show", asked["session"]).stdout)
            else ""
        ),
        10,
    )
    assert "11 tokens in, 5 tokens out" in page


def test_a_streamed_answer_is_masked_across_its_pieces_and_counted(
    gateway: RunningGateway, client: openai.OpenAI
) -> None:
    stream = client.chat.completions.create(
        model="small-1", messages=ask("in pieces"), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    said = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert said.startswith("Write to [pii.email:") or "corp.example.com" not in said
    assert "ann.smith" not in said
    assert said.endswith(" today.")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 16
    _, done = finished(gateway, "in pieces")
    assert done["response"]["type"] == "text/event-stream"
    assert done["response"]["usage"]["output_tokens"] == 5


def test_a_rule_on_the_model_or_its_tools_refuses_before_anything_is_sent(
    provider: Provider, client: openai.OpenAI
) -> None:
    before = len(provider.got)
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client.chat.completions.create(model="large-1", messages=ask("dear"))
    assert refused.value.response.json()["code"] == "denied"
    with pytest.raises(openai.PermissionDeniedError):
        client.chat.completions.create(
            model="small-1",
            messages=ask("tools"),
            tools=[{"type": "function", "function": {"name": "shell", "parameters": {}}}],
        )
    twice = b'{"model": "small-1", "model": "large-1", "messages": []}'
    headers = {"Authorization": f"Bearer {client.api_key}", "Content-Type": "application/json"}
    unread = httpx.post(f"{client.base_url}chat/completions", content=twice, headers=headers)
    assert (unread.status_code, unread.json()["code"]) == (400, "unparsable")
    assert len(provider.got) == before


def test_messages_of_the_other_provider_are_masked_and_counted_too(
    gateway: RunningGateway, provider: Provider, token: str
) -> None:
    body = {"model": "claude-small", "max_tokens": 9, "stream": True, "messages": ask("other one")}
    answer = httpx.post(
        f"{gateway.http_url('claude')}/v1/messages", json=body, headers={"Authorization": f"Bearer {token}"}
    )
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    said = "".join(json.loads(line).get("delta", {}).get("text", "") for line in lines)
    assert said.startswith("Write to ")
    assert "ann.smith" not in said
    assert CARD not in json.dumps(provider.got[-1])
    asked, done = finished(gateway, "other one")
    assert asked["call"]["model"]["shape"] == "message"
    usage = done["response"]["usage"]
    assert (usage["model"], usage["input_tokens"], usage["cached_tokens"], usage["output_tokens"]) == (
        "claude-small", 10, 3, 9,
    )  # fmt: skip
