"""Plans of messages of MCP: which fields of what answers are masked, and where they are put."""

import json
from typing import Any, Literal

import pytest

from weirgate_bus.memory import MemoryBus, MemoryLog
from weirgate_chassis.config import ConfigFeed
from weirgate_chassis.ids import new_id
from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.events import ConfigPublished, OperationIntercepted, OperationPlanned, decode
from weirgate_contracts.http import HttpCall
from weirgate_contracts.identity import Identity
from weirgate_contracts.masking import MaskingRule, Plan, Transform
from weirgate_contracts.mcp import McpCall, McpItem
from weirgate_contracts.operation import Statement
from weirgate_mask.body import body_masker
from weirgate_mask.keys import Keyring
from weirgate_masking.call import CallState
from weirgate_masking.message import plan_message
from weirgate_masking.service import PlanningDesk

NOW = "2026-01-01T00:00:00.000000Z"
KEYS = Keyring(b"k" * 32)
DESK: dict[str, Any] = {"name": "desk", "protocol": "mcp", "upstream": "https://desk/mcp"}
FIELDS = {"lookup /email": "pii.email", "orders /items/*/card": "payment.card", "* /**/ssn": "pii.ssn"}
RULES = (MaskingRule(label="pii.ssn", transform=Transform(kind="null")),)


def message(
    method: str = "tools/call",
    name: str | None = "lookup",
    *,
    protocol: Literal["postgres", "http", "mcp"] = "mcp",
    offered: tuple[McpItem, ...] | None = None,
    **more: Any,
) -> OperationIntercepted:
    kind = "tool" if method == "tools/call" else None
    mcp = McpCall(method=method, kind=kind, name=name if kind else None, offered=offered)
    given: dict[str, Any] = {"call": HttpCall(method="POST", path="/", mcp=mcp)} | more
    identity = Identity(agent="bot", issuer="test", token_id="t", expires_at=0)
    return OperationIntercepted(
        ingress="i", session="s", operation=1, protocol=protocol, resource="desk", identity=identity,
        digest="d", **given,
    )  # fmt: skip


def planned(operation: OperationIntercepted, fields: dict[str, str] | None = None, **resource: Any) -> Plan:
    document = ResourceDocument.model_validate(DESK | resource)
    found = FIELDS if fields is None else fields
    return plan_message(operation, CallState(resource=document, fields=found, rules=RULES))


def labels_of(plan: Plan) -> set[str]:
    assert plan.body is not None
    assert plan.body.embedded is not None
    return {label for field in plan.body.embedded.fields for label in field.labels}


def masked(plan: Plan, answer: object) -> Any:
    made = body_masker(plan, frozenset(), type="application/json", parameters={}, keys=KEYS)
    assert made is not None
    return json.loads(made.feed(json.dumps(answer).encode()) + made.finish())


def test_a_call_of_a_tool_has_the_labels_of_that_tool_and_of_every_tool() -> None:
    assert labels_of(planned(message())) == {"pii.email", "pii.ssn"}
    assert labels_of(planned(message(name="orders"))) == {"payment.card", "pii.ssn"}
    assert labels_of(planned(message(name="unheard"))) == {"pii.ssn"}


@pytest.mark.parametrize(
    "method", ["resources/read", "prompts/get", "notifications/stream", "", "tasks/result", "tools/call"]
)
def test_what_may_carry_the_answer_of_any_tool_has_every_label(method: str) -> None:
    operation = message(method, None)
    assert labels_of(planned(operation)) == {"pii.email", "payment.card", "pii.ssn"}


@pytest.mark.parametrize("method", ["tools/list", "prompts/list", "resources/list", "initialize"])
def test_definitions_keep_their_fields_so_that_a_schema_stays_one(method: str) -> None:
    plan = planned(message(method, None))
    assert labels_of(plan) == set()
    assert plan.body is not None
    assert plan.body.fields == ()
    assert plan.detectors


def test_the_question_about_a_list_has_the_plan_of_a_list() -> None:
    item = McpItem(kind="tool", name="lookup", sha256="0" * 64)
    assert labels_of(planned(message("tools/list", None, offered=(item,)))) == set()


def test_an_answer_is_masked_where_its_data_stands_and_its_frame_stays() -> None:
    data = {"email": "a@b.cd", "ssn": "x", "name": "Ann", "id": 5}
    result = {"structuredContent": data, "content": [{"type": "text", "text": json.dumps(data)}]}
    out = masked(
        planned(message(), {**FIELDS, "* /**/id": "pii.id"}), {"jsonrpc": "2.0", "id": 5, "result": result}
    )
    structured, text = out["result"]["structuredContent"], json.loads(out["result"]["content"][0]["text"])
    assert structured == text
    assert structured["email"].startswith("[pii.email:")
    assert (structured["ssn"], structured["name"], out["id"]) == (None, "Ann", 5)
    assert structured["id"] is None or str(structured["id"]).startswith("[pii.id:")


def test_a_batch_an_error_a_notification_and_a_resource_are_masked_too() -> None:
    plan = planned(message())
    data = {"email": "a@b.cd", "ssn": "x"}
    batch = masked(plan, [{"id": 1, "result": {"structuredContent": data}}])
    assert batch[0]["result"]["structuredContent"]["email"].startswith("[pii.email:")
    error = masked(plan, {"id": 1, "error": {"code": -1, "message": "no", "data": data}})
    assert error["error"]["data"]["email"].startswith("[pii.email:")
    assert error["error"]["code"] == -1
    told = masked(plan, {"method": "notifications/message", "params": {"data": json.dumps(data)}})
    assert json.loads(told["params"]["data"])["ssn"] is None
    embedded = {"type": "resource", "resource": {"uri": "x:y", "text": json.dumps(data)}}
    read = masked(plan, {"id": 1, "result": {"content": [embedded]}})
    assert json.loads(read["result"]["content"][0]["resource"]["text"])["email"].startswith("[pii.email:")


@pytest.mark.parametrize(
    ("unread", "fields", "clear"),
    [(None, FIELDS, False), ("refuse", FIELDS, False), ("pass", FIELDS, True), (None, {}, True), ("refuse", {}, False)],
)  # fmt: skip
def test_base64_is_masked_whole_as_the_resource_says(
    unread: str | None, fields: dict[str, str], clear: bool
) -> None:
    plan = planned(message(), fields, unread=unread)
    picture = {"type": "image", "mimeType": "image/png", "data": "iVBORw0KGgo="}
    blob = {"uri": "x:y", "blob": "iVBORw0KGgo="}
    made = masked(plan, {"id": 1, "result": {"content": [picture], "contents": [blob]}})["result"]
    assert [made["content"][0]["data"] == picture["data"], made["contents"][0]["blob"] == blob["blob"]] == [
        clear
    ] * 2


def test_who_may_see_all_of_it_gets_pictures_too() -> None:
    plan = planned(message(), {"lookup /email": "pii.email"})
    assert plan.body is not None
    assert all(field.labels == ("pii.email",) for field in plan.body.fields)


def test_another_resource_and_what_is_no_message_have_no_plan() -> None:
    assert plan_message(message(), CallState(resource=None, fields=FIELDS)).impossible
    crm = ResourceDocument(name="desk", protocol="http", upstream="https://h")
    assert plan_message(message(), CallState(resource=crm, fields=FIELDS)).impossible
    assert planned(message(protocol="http")).impossible
    assert planned(message(call=None)).impossible
    assert planned(message(call=HttpCall(method="POST", path="/"))).impossible
    assert planned(message(statements=(Statement(text="select 1", phase="run"),))).impossible


async def test_the_service_plans_messages_and_tells_tools_apart_that_labels_name() -> None:
    bus = MemoryBus(MemoryLog())
    desk = PlanningDesk(ConfigFeed(bus), 100)
    labels: dict[str, Any] = {"resource": "desk", "fields": {"lookup /email": "pii.email"}}
    for config, body in (("resource", DESK), ("labels", labels)):
        event = ConfigPublished(config=config, name="desk", body=body, by="t").stamped(id=new_id(), at=NOW)  # type: ignore[arg-type]
        await bus.publish(event.subject, event.encoded(), id=event.id)
    await desk.feed.start()

    def ask(operation: OperationIntercepted) -> set[str]:
        answer = desk.answer(operation.stamped(id=new_id(), at=NOW, trace="0" * 32).encoded())
        assert answer is not None
        event = decode(answer.body)
        assert isinstance(event, OperationPlanned)
        assert event.catalog_revision == ""
        return labels_of(event.plan)

    for _ in range(2):
        assert ask(message()) == {"pii.email"}
        assert ask(message(name="other")) == set()
        assert ask(message("resources/read", None)) == {"pii.email"}
        assert ask(message("tools/list", None)) == set()
    broken = message(call=None).stamped(id=new_id(), at=NOW, trace="0" * 32)
    answer = desk.answer(broken.encoded())
    assert answer is not None
    assert decode(answer.body).plan.impossible  # type: ignore[attr-defined, union-attr]
    await desk.feed.stop()
