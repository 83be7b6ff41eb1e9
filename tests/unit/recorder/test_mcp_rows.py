"""Messages of MCP in the read model."""

from typing import Any

import pytest

from weirgate_contracts.events import Event, OperationIntercepted, OperationPlanned
from weirgate_contracts.http import HttpCall
from weirgate_contracts.identity import Identity
from weirgate_contracts.masking import BodyPlan, EmbeddedPlan, FieldPlan, Plan, Transform
from weirgate_contracts.mcp import McpCall, McpItem
from weirgate_recorder.project import Projection
from weirgate_recorder.reading import Reading
from weirgate_testkit.audit import Scribe

WHERE: dict[str, Any] = {"ingress": "i1", "session": "s1", "operation": 1}
ITEM = McpItem(kind="tool", name="x", sha256="0" * 64)


def asked(mcp: McpCall) -> OperationIntercepted:
    return OperationIntercepted(
        **WHERE,
        protocol="mcp",
        resource="desk",
        identity=Identity(agent="bot", issuer="t", token_id="t", expires_at=0),
        call=HttpCall(method="POST", path="/", mcp=mcp),
        digest="d",
    )


def row(*of: Event) -> dict[str, Any]:
    projection, scribe = Projection(), Scribe()
    for sequence, event in enumerate(of, 1):
        projection.take(sequence, scribe.stamp(event).encoded())
    return projection.operations["s1", 1]


@pytest.mark.parametrize(
    ("mcp", "text"),
    [
        (McpCall(method="tools/call", kind="tool", name="refund"), "tools/call refund"),
        (McpCall(method="ping"), "ping"),
        (McpCall(method=""), "answer to the server"),
        (McpCall(method="tools/list", offered=(ITEM,)), "tools/list: 1 offered"),
    ],
)
def test_a_message_is_one_line_of_its_session(mcp: McpCall, text: str) -> None:
    found = row(asked(mcp))
    assert (found["text"], found["protocol"]) == (text, "mcp")


def test_labels_of_a_message_s_answer_are_told_once() -> None:
    field = FieldPlan(pattern="/email", labels=("pii.email",), transform=Transform(kind="redact"))
    embedded = EmbeddedPlan(patterns=("/result/content/*/text",), fields=(field,))
    planned = OperationPlanned(
        **WHERE, intercepted="0" * 26, digest="d", masking_revision=4, catalog_revision="",
        plan=Plan(statements=(), body=BodyPlan(fields=(field, field), embedded=embedded)),
    )  # fmt: skip
    assert row(asked(McpCall(method="ping")), planned)["masked"] == '{"pii.email"}'


def test_a_recording_of_messages_is_read_as_http() -> None:
    assert list(Reading("mcp").finish()) == []
