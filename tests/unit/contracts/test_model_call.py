"""What is asked of a model, read from the body of a call: in one way only, or not at all."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.document import BadDocument, read_document
from weirgate_contracts.http import HttpBody, HttpCall, HttpHeader
from weirgate_contracts.model import ModelApi, ModelCall
from weirgate_contracts.modelapi import routes_of
from weirgate_contracts.modelcall import read_model
from weirgate_contracts.route import match_route

OPENAI = ResourceDocument(name="llm", protocol="http", upstream="https://api.test", api="openai")
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"


def asked(
    body: Any,
    path: str = CHAT,
    *,
    api: ModelApi = "openai",
    method: str = "POST",
    type: str = "application/json",
    **headers: str,
) -> ModelCall | None:
    resource = OPENAI.model_copy(update={"api": api})
    found = match_route(routes_of(resource), path)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = [HttpHeader(name="content-type", value=type)]
    fields += [HttpHeader(name=name.replace("_", "-"), value=value) for name, value in headers.items()]
    call = HttpCall(
        method=method,
        path=path,
        route=found[0] if found else None,
        headers=tuple(fields),
        body=HttpBody(type=type.partition(";")[0], whole=True, size_bytes=len(raw)),
    )
    return read_model(api, call, raw)


def test_a_chat_is_read_with_its_tools_and_limits() -> None:
    parts = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    found = asked(
        {
            "model": "gpt-x", "stream": True, "max_tokens": 10, "max_completion_tokens": 500,
            "messages": [{"role": "system", "content": "a"}, {"role": "user", "content": parts}],
            "tools": [
                {"type": "function", "function": {"name": "weather"}}, {"type": "custom", "custom": {"name": "sh"}},
            ],
            "functions": [{"name": "old"}, {"name": "weather"}],
        }
    )  # fmt: skip
    assert found == ModelCall(
        api="openai", shape="chat", name="gpt-x", stream=True, tools=("old", "sh", "weather"), max_tokens=500,
        messages=2, images=True, files=False,
    )  # fmt: skip


def test_responses_and_messages_are_read_alike() -> None:
    found = asked(
        {
            "model": "m", "input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}],
            "max_output_tokens": 7,
            "tools": [
                {"type": "function", "name": "a"}, {"type": "web_search"}, {"type": "mcp", "server_label": "crm"},
            ],
        },
        RESPONSES,
    )  # fmt: skip
    assert found is not None
    assert (found.shape, found.tools, found.max_tokens, found.files) == (
        "response", ("a", "mcp:crm", "web_search"), 7, True,
    )  # fmt: skip
    found = asked(
        {
            "model": "claude", "max_tokens": 9, "system": [{"type": "text", "text": "x"}],
            "messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "image"}]}]}],
            "tools": [{"name": "a", "input_schema": {}}, {"type": "bash_20250124", "name": "bash"}],
            "mcp_servers": [{"type": "url", "name": "crm"}],
        },
        MESSAGES,
        api="anthropic",
    )  # fmt: skip
    assert found is not None
    assert (found.shape, found.tools, found.images, found.messages) == (
        "message",
        ("a", "bash", "mcp:crm"),
        True,
        1,
    )
    for body, count in (({"input": "x"}, 1), ({"input": ["a", "b"]}, 2), ({}, 0)):
        embedded = asked({"model": "e"} | body, "/v1/embeddings")
        assert embedded is not None
        assert embedded.messages == count


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "a", "model": "b"}', b'{"model": "a", "Model": "b"}', b'{"MODEL": "b"}', b'{"model": 7}',
        b'{"model": ["a"]}', b'{"model": "a", "stream": "yes"}', b'{"model": "a", "stream": 1}',
        b'{"model": "a", "max_tokens": "9"}', b'{"model": "a", "max_tokens": -1}', b'{"model": "a", "max_tokens": 1e3}',
        b'{"model": "a", "max_tokens": true}', b'{"model": "a", "max_tokens": 99999999999999999999}',
        b'{"model": "a", "tools": {}}', b'{"model": "a", "tools": ["x"]}', b'{"model": "a", "tools": [{}]}',
        b'{"model": "a", "tools": [{"type": "function", "name": "x", "function": {"name": "y"}}]}',
        b'{"model": "a", "tools": [{"type": "function", "function": {"name": ""}}]}',
        b'{"model": "a", "n": NaN}', b'{"model": "\\ud800"}', b'{"model": "\xff"}', b'[{"model": "a"}]', b"", b"{",
        b'\xef\xbb\xbf{"model": "a"}', b'{"model": "' + b"x" * 300 + b'"}', b'{"m": ' + b"[" * 300 + b"]" * 300 + b"}",
        json.dumps({"model": "a", "tools": [{"name": f"t{n}"} for n in range(600)]}).encode(),
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_two_readers_could_read_differently_is_not_read(body: bytes) -> None:
    assert asked(body) is None


def test_only_calls_that_ask_a_model_are_read() -> None:
    body = {"model": "m", "messages": []}
    assert asked(body) is not None
    assert asked(body, type="application/json; charset=utf-8") is not None
    for more in (
        {"path": "/v1/models"}, {"path": CHAT + "/"}, {"path": "/v1/batches"}, {"method": "PUT"},
        {"type": "text/plain"}, {"type": "application/json; charset=utf-16"}, {"content_encoding": "gzip"},
        {"api": "anthropic"},
    ):  # fmt: skip
        assert asked(body, **more) is None, more  # type: ignore[arg-type]


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["model", "tools", "messages", "type", "name", "input", "function"]), inner
            )
        ),
    )
)
def test_any_json_is_read_or_not_and_nothing_is_raised(body: Any) -> None:
    found = asked(body)
    assert found is None or (isinstance(body, dict) and found.name == (body.get("model") or ""))


def test_a_pack_comes_before_the_routes_a_resource_lists_itself() -> None:
    own = OPENAI.model_copy(update={"routes": ("/v1/extra", "/v1/models")})
    assert routes_of(own)[0] == CHAT
    assert routes_of(own)[-1] == "/v1/extra"
    assert routes_of(own).count("/v1/models") == 1
    assert match_route(routes_of(own), "/v1/models/gpt-x") == ("/v1/models/{model}", {"model": "gpt-x"})
    assert routes_of(OPENAI.model_copy(update={"api": None})) == ()


@pytest.mark.parametrize(
    ("change", "path", "what", "right"),
    [
        ({"api": "opnai"}, ("api",), "'opnai' is not known", "did you mean 'openai'?"),
        ({"mask_requests": "sometimes"}, ("mask_requests",), "mask_requests", "write 'mask_requests: true'"),
        ({"api": "openai", "protocol": "postgres", "upstream": "postgresql://a@b/c"}, ("api",),
         "'api' is for 'protocol: http'", "leave it out"),
        ({"mask_requests": True, "protocol": "postgres", "upstream": "postgresql://a@b/c"}, ("mask_requests",),
         "'mask_requests' is for 'protocol: http'", "leave it out"),
        ({"api": "openai", "protocol": "mcp"}, ("api",), "'api' is for 'protocol: http'", "leave it out"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_fields_for_models_is_said(
    change: dict[str, Any], path: tuple[str, ...], what: str, right: str | None
) -> None:
    body: dict[str, Any] = {"name": "llm", "protocol": "http", "upstream": "https://api.test"} | change
    with pytest.raises(BadDocument) as raised:
        read_document("resource", body)
    (found,) = [one for one in raised.value.complaints if one.path == path]
    assert what in found.what
    assert right is None or (found.right is not None and right in found.right)


def test_labels_of_requests_are_read_like_those_of_answers() -> None:
    read_document("labels", {"resource": "llm", "request_fields": {"* /messages/*/name": "pii.name"}})
    with pytest.raises(BadDocument) as raised:
        read_document("labels", {"resource": "llm", "request_fields": {"/v1/x": "pii.name"}})
    assert raised.value.complaints[0].path == ("request_fields", "/v1/x")
