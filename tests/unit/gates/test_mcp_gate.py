"""MCP in the HTTP gate: each message judged, each answer judged message by message, nothing passed unasked."""

import json
from typing import Any

import pytest

from weirgate_contracts.definition import definition_digest
from weirgate_contracts.events import (
    OperationFailed,
    OperationFinished,
    OperationRefused,
    SessionClosed,
    SessionOpened,
)
from weirgate_contracts.identity import Identity
from weirgate_contracts.operation import Limits
from weirgate_contracts.refusal import RefusalCode
from weirgate_ingress.gates.core import (
    Aside,
    Ask,
    Distrust,
    Hangup,
    LoggedIn,
    Login,
    Record,
    Send,
    SendHead,
    Side,
    Tape,
    Undial,
    Withdraw,
)
from weirgate_testkit.http_story import HttpStory, request, status_of
from weirgate_testkit.mcp_story import (
    EVENTS,
    TOOLS,
    McpStory,
    answer,
    event,
    message,
    post,
    read_answer,
    result,
    stream_head,
)

CALL = message("tools/call", name="add", arguments={"a": 1})
LIST = message("tools/list", id="l1")
ADD = {"name": "add", "description": "adds", "inputSchema": {"type": "object"}, "outputSchema": {"x": 1.0}}
DROP = {"name": "drop", "description": "drops", "inputSchema": {"type": "object"}}
SAMPLING = message("sampling/createMessage", id=7, messages=[], maxTokens=5)
BEGIN = message("initialize", id=0, protocolVersion="2025-06-18", capabilities={"sampling": {}, "roots": {}, "x": {}},
                clientInfo={"name": "c", "version": "1"})  # fmt: skip
BEGUN = result(0, protocolVersion="2025-06-18", capabilities={}, serverInfo={"name": "s", "version": "1"})


def last(story: McpStory) -> dict[str, Any]:
    """The last message of the agent's one answer."""
    return read_answer(story.said)[1][-1]


# ---------------------------------------------------------------- the request


def test_a_call_is_judged_sent_to_the_endpoint_answered_and_recorded() -> None:
    one = McpStory().posts(CALL)
    assert (one.mcp.method, one.mcp.kind, one.mcp.name, one.mcp.request) == (
        "tools/call",
        "tool",
        "add",
        True,
    )
    assert one.ask is not None
    assert one.ask.event.protocol == "mcp"
    one.expect_nothing_sent_to(Side.UPSTREAM).passed()
    assert one.head.get("authorization") is None
    assert one.head.get("accept-encoding") == "identity"
    assert one.sent_body == CALL
    one.upstream_sends(answer(result(content=[]))).says(lambda raw: status_of(raw) == 200)
    one.expect(Record, OperationFinished)
    assert last(one) == result(content=[])
    one.posts(message("ping", id=2), first=False).passed(dials=False)


def test_what_else_uses_one_thing_names_it() -> None:
    for body, kind, name in (
        (message("prompts/get", name="p"), "prompt", "p"),
        (message("resources/read", uri="file:///x"), "resource", "file:///x"),
        (message("completion/complete", ref={"type": "ref/prompt", "name": "p"}), "prompt", "p"),
        (message("completion/complete", ref={"type": "ref/resource", "uri": "a/{b}"}), "template", "a/{b}"),
        (message("tools/list"), None, None),
        (message("notifications/cancelled", id=None, requestId=3), None, None),
    ):
        one = McpStory().posts(body)
        assert (one.mcp.kind, one.mcp.name) == (kind, name)
    one = McpStory().posts(result(5, action="accept"))
    assert (one.mcp.method, one.mcp.request) == ("", False)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"Method":"tools/call","params":{"name":"a"}}', -32600),
        (b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1e999}}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\\ud800"}}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', -32700),
        (b"[" * 100_000 + b"]" * 100_000, -32700),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600),
        (b'"ping"', -32600),
        (b'{"id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', -32600),
        (b'{"jsonrpc":"2.0","id":1}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"x"}}}', -32602),
    ],
)  # fmt: skip
def test_a_body_that_is_no_message_is_refused_unasked(body: bytes, code: int) -> None:
    one = McpStory().agent_sends(post(body)).expect(Login)
    one.feed(LoggedIn(identity=one.identity, resource=TOOLS)).expect(Record, SessionOpened)
    one.expect(Record, OperationRefused).says(lambda raw: status_of(raw) == 400)
    one.expect(Record, SessionClosed).expect(Hangup).expect_nothing_sent_to(Side.UPSTREAM)
    told = last(one)
    assert told["error"]["code"] == code
    assert told["error"]["data"]["code"] == "protocol"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (post(CALL, target="/tools/mcp"), 404),
        (post(CALL, target="/tools?x=1"), 404),
        (post(CALL, content_type="text/plain"), 415),
        (post(CALL, content_type="application/json; charset=utf-16"), 415),
        (post(CALL, content_encoding="gzip"), 415),
        (post(CALL, mcp_protocol_version="2024-11-05"), 400),
        (post(CALL, mcp_session_id="someone-elses"), 404),
        (request("PUT", "/tools", body=b"{}", content_type="application/json"), 405),
        (request("GET", "/tools"), 406),
        (request("GET", "/tools", accept=EVENTS, body=b"{}"), 400),
        (request("DELETE", "/tools"), 400),
        (request("POST", "/tools", content_type="application/json"), 400),
    ],
)
def test_what_the_transport_has_not_is_refused_unasked(raw: bytes, status: int) -> None:
    one = McpStory().agent_sends(raw).expect(Login)
    one.feed(LoggedIn(identity=one.identity, resource=TOOLS)).expect(Record, SessionOpened)
    one.expect(Record, OperationRefused).says(lambda said: status_of(said) == status)
    one.expect(Record, SessionClosed).expect(Hangup)


def test_a_message_over_a_mebibyte_is_refused_unread() -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"' + b"x" * (1 << 20) + b'"}}'
    one = McpStory().agent_sends(post(body)).expect(Login)
    one.feed(LoggedIn(identity=one.identity, resource=TOOLS)).expect(Record, SessionOpened)
    one.expect(Record, OperationRefused).says(lambda said: status_of(said) == 413)
    one.expect(Record, SessionClosed).expect(Hangup)


def test_capabilities_that_are_not_permitted_are_taken_off_and_the_tape_holds_what_was_sent() -> None:
    one = McpStory().posts(BEGIN)
    assert one.ask is not None
    assert one.ask.event.call is not None
    assert one.ask.event.call.body is not None
    assert json.loads(one.ask.event.call.body.text or "") == BEGIN
    one.passed(permits=("roots/list",))
    assert one.sent_body["params"]["capabilities"] == {"roots": {}, "x": {}}
    taped = next(e for e in one.all if isinstance(e, Tape) and e.direction == "i")
    assert not taped.covered
    assert b"sampling" not in taped.data
    odd = {
        **BEGIN,
        "params": {"protocolVersion": "2099-01-01", "Capabilities": {"Sampling": {}, "tasks": {}}},
    }
    two = McpStory().posts(odd).passed()
    assert two.sent_body["params"] == {"protocolVersion": "2025-11-25", "Capabilities": {}}


# ---------------------------------------------------------------- refusals


def test_a_refused_call_is_a_result_the_model_can_read() -> None:
    one = McpStory().posts(CALL).refused(rules=("p/1",)).says(lambda raw: status_of(raw) == 200)
    told = last(one)
    assert told["id"] == 1
    assert told["result"]["isError"] is True
    text = told["result"]["content"][0]["text"]
    assert "Ask for less." in text
    assert "[denied, operation 1]" in text
    one.expect_nothing_sent_to(Side.UPSTREAM)
    one.posts(CALL, first=False)  # the connection goes on


def test_another_refused_request_is_an_error_and_a_refused_notification_a_problem() -> None:
    one = McpStory().posts(message("prompts/get", id="p1", name="p")).refused()
    one.says(lambda raw: status_of(raw) == 200)
    told = last(one)
    assert (told["id"], told["error"]["code"], told["error"]["data"]["code"]) == ("p1", -32003, "denied")
    two = McpStory().posts(message("notifications/cancelled", id=None)).refused()
    two.says(lambda raw: status_of(raw) == 403 and b"problem+json" in raw)


def test_a_log_that_is_away_is_a_problem_with_its_status() -> None:
    one = McpStory().posts(CALL).stopped(RefusalCode.LOG_UNAVAILABLE)
    one.expect(Withdraw).expect(Record, OperationRefused).expect(
        Send, Side.AGENT, lambda e: status_of(e.data) == 503
    )
    one.expect(Record, SessionClosed).expect(Hangup)


# ---------------------------------------------------------------- sessions


def test_the_servers_session_id_is_sealed_for_one_identity_and_resource() -> None:
    one = McpStory().posts(BEGIN).passed()
    one.upstream_sends(answer(BEGUN, mcp_session_id="srv-1")).says().expect(Record, OperationFinished)
    head, _ = read_answer(one.said)
    sealed = head.get("mcp-session-id")
    assert sealed is not None
    assert "srv-1" not in sealed
    one.posts(CALL, first=False, mcp_session_id=sealed).passed(dials=False)
    assert one.head.get("mcp-session-id") == "srv-1"
    assert b"srv-1" not in b"".join(e.data for e in one.all if isinstance(e, Tape))
    assert "srv-1" not in repr([e.event for e in one.all if isinstance(e, Ask)])
    # Another agent, or the same for another person, has no such session.
    for other in ({"agent": "eve"}, {"user": "eve"}, {"issuer": "https://other.test"}):
        identity = Identity.model_validate(one.identity.model_dump() | other)
        two = McpStory(mcp=one.terms, identity=identity).agent_sends(post(CALL, mcp_session_id=sealed))
        two.expect(Login).feed(LoggedIn(identity=identity, resource=TOOLS)).expect(Record, SessionOpened)
        two.expect(Record, OperationRefused).says(lambda raw: status_of(raw) == 404)
        two.expect(Record, SessionClosed).expect(Hangup)


def test_an_answer_to_anything_else_has_no_session_id() -> None:
    one = McpStory().posts(CALL).passed()
    one.upstream_sends(answer(result(content=[]), mcp_session_id="srv-2")).says().expect(
        Record, OperationFinished
    )
    assert b"mcp-session-id" not in one.said


# ---------------------------------------------------------------- answers


def test_a_stream_is_passed_message_by_message_and_ends_with_the_answer() -> None:
    one = McpStory().posts(CALL).passed()
    one.upstream_sends(stream_head()).says(lambda raw: status_of(raw) == 200)
    progress = message("notifications/progress", id=None, progress=1)
    one.upstream_sends(b": ping secret\r\nid: 5\r\nretry: 3\r\n" + event(progress)).says(
        lambda raw: b": \n" in raw and b"progress" in raw and b"id: 5" not in raw and b"secret" not in raw
    )
    one.upstream_sends(event(result(content=[]))).says(lambda raw: raw.endswith(b"0\r\n\r\n"))
    one.expect(Record, OperationFinished).expect(Undial)
    assert read_answer(one.said)[1] == [progress, result(content=[])]


def test_answers_are_masked_in_both_forms() -> None:
    for raw in (answer(result(text="secret")), answer([result(text="secret")], EVENTS)):
        one = McpStory().posts(CALL).passed(masked=True).upstream_sends(raw)
        one.says().expect(Record, OperationFinished)
        if b"event-stream" in raw:
            one.expect(Undial)
        assert last(one)["result"]["text"] == "******"


def test_a_request_of_the_server_passes_only_where_it_is_permitted() -> None:
    one = McpStory().posts(CALL).passed(permits=("sampling/createMessage",))
    one.upstream_sends(answer([SAMPLING, message("ping", id=8), result()], EVENTS)).says()
    one.expect(Record, OperationFinished).expect(Undial)
    assert [each.get("method") for each in read_answer(one.said)[1]] == [
        "sampling/createMessage",
        "ping",
        None,
    ]

    two = McpStory().posts(CALL, mcp_protocol_version="2025-06-18").passed(permits=())
    two.upstream_sends(stream_head()).says()
    two.upstream_sends(event(SAMPLING)).expect(Tape, "i").expect(Aside)
    aside = next(e for e in two.all if isinstance(e, Aside))
    told = json.loads(aside.body)
    assert (told["id"], told["error"]["code"]) == (7, -32601)
    assert "refused by the gateway" in told["error"]["message"].lower()
    assert aside.head.get("mcp-protocol-version") == "2025-06-18"
    two.upstream_sends(event(result())).says().expect(Record, OperationFinished).expect(Undial)
    assert b"sampling" not in two.said


def test_a_server_that_insists_gets_its_stream_ended_and_the_agent_an_error() -> None:
    one = McpStory().posts(CALL).passed()
    one.upstream_sends(stream_head()).says()
    one.upstream_sends(b"".join(event({**SAMPLING, "id": n}) for n in range(40)))
    asides = 0
    while isinstance(one.left[0], Tape) and one.left[0].direction == "i":
        one.expect(Tape, "i").expect(Aside)
        asides += 1
    assert asides == 16
    one.says().expect(Record, OperationFailed).expect(Undial).expect(Record, SessionClosed).expect(Hangup)
    assert last(one)["result"]["isError"] is True


@pytest.mark.parametrize(
    "raw",
    [
        answer(b"not json"),
        answer(b'{"jsonrpc":"2.0","id":1,"result":{},"result":{"x":1}}'),
        answer([BEGUN, BEGUN]),
        answer(result(2)),
        answer(result("1")),
        answer(SAMPLING),
        answer(b"<html>", "text/html"),
        answer(result(), content_encoding="gzip"),
        answer(b"", "text/plain", 307, location="http://away.test/"),
    ],
)
def test_an_answer_that_is_none_goes_no_further(raw: bytes) -> None:
    one = McpStory().posts(CALL).passed().upstream_sends(raw)
    one.expect(Record, OperationFailed).expect(Undial).says(lambda said: status_of(said) == 200)
    assert last(one)["result"]["isError"] is True
    assert b"away.test" not in one.said


@pytest.mark.parametrize(
    "bad",
    [
        event(b"not json"),
        event(result(2)),
        b"event: endpoint\ndata: /elsewhere\n\n",
        event(b'{"jsonrpc":"2.0","method":"notifications/x","Method":"y"}'),
        b"data: " + b"x" * (4 * 1024 * 1024 + 1),
    ],
)
def test_a_stream_that_turns_bad_ends_with_an_error_and_the_connection(bad: bytes) -> None:
    one = McpStory().posts(CALL).passed().upstream_sends(stream_head()).says().upstream_sends(bad)
    one.says(lambda raw: raw.endswith(b"0\r\n\r\n")).expect(Record, OperationFailed).expect(Undial)
    one.expect(Record, SessionClosed).expect(Hangup)
    assert last(one)["result"]["isError"] is True


def test_a_server_that_dies_in_its_answer_is_told_to_the_agent() -> None:
    one = McpStory().posts(CALL).passed().upstream_sends(stream_head()).says().upstream_leaves()
    one.says().expect(Record, OperationFailed, lambda e: e.event.refusal.code is RefusalCode.UPSTREAM_LOST)
    one.expect(Record, SessionClosed).expect(Hangup)
    assert "operation 1" in last(one)["result"]["content"][0]["text"]
    two = McpStory().posts(CALL).passed().upstream_leaves()
    two.expect(Record, OperationFailed).says(lambda raw: status_of(raw) == 200)


def test_accepted_has_no_body_and_a_fault_of_the_server_keeps_its_status() -> None:
    one = McpStory().posts(message("notifications/initialized", id=None)).passed()
    one.upstream_sends(answer(b"whatever", status=202)).says(lambda raw: status_of(raw) == 202)
    one.expect(Record, OperationFinished)
    assert b"whatever" not in one.said
    for status, shown in ((404, 404), (401, 502), (500, 500)):
        two = McpStory().posts(CALL).passed()
        two.upstream_sends(answer(b"<h1>key=1</h1>", "text/html", status, www_authenticate="Bearer"))
        two.says(lambda raw, shown=shown: status_of(raw) == shown).expect(Record, OperationFinished)
        if status == 401:
            two.expect(Distrust)
        assert b"key=1" not in two.said
        assert b"www-authenticate" not in two.said
        assert last(two)["id"] == 1


def test_an_address_to_be_opened_is_not_passed_as_an_error() -> None:
    error = {"code": -32042, "message": "open", "data": {"elicitations": [{"url": "https://evil.test"}]}}
    raw = answer({"jsonrpc": "2.0", "id": 1, "error": error})
    one = McpStory().posts(CALL).passed().upstream_sends(raw).says().expect(Record, OperationFinished)
    assert b"evil" not in one.said
    two = McpStory().posts(CALL).passed(permits=("elicitation/create",)).upstream_sends(raw).says()
    two.expect(Record, OperationFinished)
    assert b"evil" in two.said
    asking = result(1, resultType="input_required", inputRequests={"a": {"method": "elicitation/create"}})
    three = (
        McpStory().posts(CALL).passed(permits=("elicitation/create",)).upstream_sends(answer(asking)).says()
    )
    three.expect(Record, OperationFinished)
    assert b"input" not in three.said.partition(b"\r\n\r\n")[2]


def test_a_server_of_an_unknown_revision_is_refused() -> None:
    one = McpStory().posts(BEGIN).passed()
    one.upstream_sends(answer({**BEGUN, "result": {"protocolVersion": "2099-01-01"}}))
    one.expect(Record, OperationFailed).expect(Undial).says()
    assert last(one)["error"]["data"]["code"] == "unsupported"


def test_the_limit_of_an_answer_holds() -> None:
    one = McpStory().posts(CALL).passed(limits=Limits(size_bytes=50))
    one.upstream_sends(answer(result(text="x" * 100)))
    one.expect(Record, OperationFailed).expect(Undial).says(lambda raw: status_of(raw) == 200)
    assert "50 bytes" in last(one)["result"]["content"][0]["text"]


# ---------------------------------------------------------------- listening


def test_an_agent_listens_and_gets_no_answers_there() -> None:
    one = (
        McpStory().agent_sends(request("GET", "/tools", accept=EVENTS, last_event_id="9")).known().expect(Ask)
    )
    assert (one.mcp.method, one.mcp.request) == ("notifications/stream", False)
    one.passed(body=False)
    assert one.head.get("last-event-id") is None
    one.upstream_sends(stream_head()).says()
    changed = message("notifications/tools/list_changed", id=None)
    one.upstream_sends(event(changed)).says(lambda raw: b"list_changed" in raw)
    one.upstream_sends(event(result(1, content="of another operation")))
    one.expect(Record, OperationFailed).expect(Undial).expect(Record, SessionClosed).expect(Hangup)
    assert b"another operation" not in one.said


def test_an_agent_ends_its_session() -> None:
    story = McpStory()
    sealed = story.terms.ids.seal("srv", story.identity, TOOLS)
    story.agent_sends(request("DELETE", "/tools", mcp_session_id=sealed)).known().expect(Ask)
    assert story.mcp.method == "session/end"
    story.passed(body=False)
    assert story.head.get("mcp-session-id") == "srv"
    story.upstream_sends(b"HTTP/1.1 204 No Content\r\n\r\n").says(lambda raw: status_of(raw) == 200)
    story.expect(Record, OperationFinished)


# ---------------------------------------------------------------- lists


@pytest.mark.parametrize("events", [False, True])
def test_of_a_list_an_agent_sees_what_the_verdict_names(events: bool) -> None:
    listed = result("l1", tools=[ADD, DROP], nextCursor="c2")
    note = message("notifications/message", id=None, data="x")
    raw = answer([note, listed], EVENTS) if events else answer(listed)
    one = McpStory().posts(LIST).passed().upstream_sends(raw)
    one.expect(Record, OperationFinished)
    if events:
        one.expect(Undial)
    one.expect(Ask)
    assert one.ask is not None
    assert one.ask.event.operation == 2
    assert one.mcp.offered is not None
    assert [(o.kind, o.name, o.sha256) for o in one.mcp.offered] == [
        ("tool", "add", definition_digest(ADD)),
        ("tool", "drop", definition_digest(DROP)),
    ]
    assert not one.said
    one.allow_mcp(visible=("add",)).says(lambda raw: status_of(raw) == 200).expect(Record, OperationFinished)
    messages = read_answer(one.said)[1]
    assert messages[-1] == result("l1", tools=[ADD], nextCursor="c2")
    assert len(messages) == 1 + events
    # What was offered is known when it is used, on whatever connection, and whether it was shown or not.
    two = McpStory(mcp=one.terms).posts(message("tools/call", name="add"))
    assert two.mcp.definition == definition_digest(ADD)
    three = McpStory(mcp=one.terms).posts(message("tools/call", name="drop"))
    assert three.mcp.definition == definition_digest(DROP)


def test_a_list_that_is_refused_or_not_decided_is_not_shown() -> None:
    raw = answer(result("l1", tools=[ADD]))
    one = McpStory().posts(LIST).passed().upstream_sends(raw).expect(Record, OperationFinished).expect(Ask)
    one.refused().says()
    assert last(one)["error"]["code"] == -32003
    two = McpStory().posts(LIST).passed().upstream_sends(raw).expect(Record, OperationFinished).expect(Ask)
    two.allow_mcp(visible=None).expect(Record, OperationRefused).says()
    assert "adds" not in two.said.decode()
    three = McpStory().posts(LIST).passed().upstream_sends(raw).expect(Record, OperationFinished).expect(Ask)
    three.agent_leaves().expect(Withdraw).expect(Record).expect(Record, SessionClosed).expect(Hangup)


def test_a_list_is_masked_and_an_error_in_its_place_is_passed() -> None:
    one = (
        McpStory()
        .posts(LIST)
        .passed()
        .upstream_sends(answer(result("l1", tools=[ADD | {"description": "secret"}])))
    )
    one.expect(Record, OperationFinished).expect(Ask).allow_mcp(visible=("add",), masked=True).says()
    one.expect(Record, OperationFinished)
    assert last(one)["result"]["tools"][0]["description"] == "******"
    error = {"jsonrpc": "2.0", "id": "l1", "error": {"code": -1, "message": "no"}}
    two = (
        McpStory().posts(LIST).passed().upstream_sends(answer(error)).says().expect(Record, OperationFinished)
    )
    three = McpStory().posts(LIST).passed().upstream_sends(answer([error], EVENTS)).says()
    three.expect(Record, OperationFinished).expect(Undial)
    assert last(two) == last(three) == error


@pytest.mark.parametrize(
    "body",
    [
        result("l1"),
        result("l1", tools={}),
        result("l1", tools=[{"name": ""}]),
        result("l1", tools=["add"]),
        result("l1", tools=[ADD, ADD]),
        result("l1", tools=[ADD | {"name": f"t{n}"} for n in range(1001)]),
    ],
)
def test_a_list_that_cannot_be_read_is_not_shown(body: dict[str, Any]) -> None:
    one = McpStory().posts(LIST).passed().upstream_sends(answer(body))
    one.expect(Record, OperationFailed).expect(Undial).says()
    assert last(one)["error"]["data"]["code"] == "protocol"


# ---------------------------------------------------------------- metadata


def test_who_has_no_token_is_told_where_to_read_about_it() -> None:
    raw = b"POST /tools HTTP/1.1\r\nHost: gw.test:8080\r\nContent-Length: 2\r\n\r\n{}"
    one = HttpStory().agent_sends(raw).expect(Record)
    url = "http://gw.test:8080/.well-known/oauth-protected-resource/tools"
    one.expect(Send, Side.AGENT, lambda e: f'resource_metadata="{url}"'.encode() in e.data).expect(Hangup)


@pytest.mark.parametrize(
    "path", ["/.well-known/oauth-protected-resource/tools", "/tools/.well-known/oauth-protected-resource"]
)
def test_metadata_is_served_without_a_token(path: str) -> None:
    one = HttpStory(authorization_servers=("https://issuer.test",))
    one.agent_sends(f"GET {path} HTTP/1.1\r\nHost: gw.test\r\n\r\n".encode()).expect(Send, Side.AGENT).expect(
        Hangup
    )
    _, found = read_answer(b"".join(e.data for e in one.all if isinstance(e, Send)), "GET")
    assert found[0]["resource"] == "http://gw.test/tools"
    assert found[0]["authorization_servers"] == ["https://issuer.test"]
    assert found[0]["bearer_methods_supported"] == ["header"]
    assert not [e for e in one.all if isinstance(e, SendHead)]
