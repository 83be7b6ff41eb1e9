"""Documents of servers of MCP, and the digest of a tool's definition."""

from typing import Any

import pytest

from weirgate_contracts.config import LabelsDocument, ResourceDocument, ToolsDocument
from weirgate_contracts.definition import definition_digest
from weirgate_contracts.document import BadDocument, Complaint, name_of, read_document
from weirgate_contracts.mcp import message_text

DESK: dict[str, Any] = {
    "name": "desk", "protocol": "mcp", "upstream": "https://desk.internal/mcp",
    "credential": "env:DESK_TOKEN", "inject": "bearer",
}  # fmt: skip
A = "a" * 64


def wrong(kind: Any, body: dict[str, Any]) -> list[Complaint]:
    with pytest.raises(BadDocument) as raised:
        read_document(kind, body)
    return list(raised.value.complaints)


def test_a_server_its_labels_and_its_tools_are_read_and_read_again_as_published() -> None:
    resource = read_document("resource", DESK)
    assert isinstance(resource, ResourceDocument)
    fields = {"lookup_customer /email": "pii.email", "a.b-c /x/*/y": "pii.x", "* /**/ssn": "pii.ssn"}
    labels = read_document("labels", {"resource": "desk", "fields": fields})
    assert isinstance(labels, LabelsDocument)
    tools = read_document("tools", {"resource": "desk", "tools": {"lookup": A}})
    assert isinstance(tools, ToolsDocument)
    assert tools.reviewers == ("tools",)
    assert name_of(tools) == "desk"
    for kind, document in (("resource", resource), ("labels", labels), ("tools", tools)):
        assert read_document(kind, document.model_dump(mode="json")) == document  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "path", "what", "right"),
    [
        ({"upstream": "postgresql://a@db/x"}, ("upstream",), "a postgresql:// address", "https://host:port/mcp"),
        ({"upstream": "https://a@desk/mcp"}, ("upstream",), "an upstream of mcp has no user", "inject: basic"),
        ({"routes": ["/a"]}, ("routes",), "'routes' is for 'protocol: http'", "leave it out"),
        ({"catalog": "postgresql://a@b/c"}, ("catalog",), "'catalog' is for 'protocol: postgres'", "leave it out"),
        ({"inject": None}, ("credential",), "'credential' stands without 'inject'", "write 'inject: bearer'"),
        ({"upstream": "http://h", "ca": "/ca.pem"}, ("ca",), "'ca' is for an https:// upstream", "https"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_server_is_said_at_its_place(
    change: dict[str, Any], path: tuple[str, ...], what: str, right: str
) -> None:
    complaints = wrong("resource", DESK | change)
    assert [complaint.path for complaint in complaints] == [path], complaints
    assert what in complaints[0].what
    assert right in (complaints[0].right or "")


@pytest.mark.parametrize(
    ("change", "path", "what"),
    [
        ({"tools": {"a": "ABC"}}, ("tools", "a"), "'a' has no digest"),
        ({"tools": {"a": 7}}, ("tools", "a"), "'a' has no digest"),
        ({"tools": {"": A}}, ("tools", ""), "1 to 2048 characters"),
        ({"tools": {"x" * 2049: A}}, ("tools", "x" * 2049), "1 to 2048 characters"),
        ({"tools": None}, ("tools",), "tools"),
        ({"reviewers": []}, ("reviewers",), "'reviewers' is empty"),
        ({"reviewers": ["The DBAs"]}, ("reviewers", 0), "cannot stand here"),
        ({"resource": "Desk"}, ("resource",), "cannot stand here"),
    ],
)
def test_what_is_wrong_with_approved_tools_is_said_at_its_place(
    change: dict[str, Any], path: tuple[str | int, ...], what: str
) -> None:
    complaints = wrong("tools", {"resource": "desk", "tools": {"lookup": A}} | change)
    assert [complaint.path for complaint in complaints] == [path], complaints
    assert what in complaints[0].what


def test_a_server_without_tools_can_be_pinned_to_that() -> None:
    assert read_document("tools", {"resource": "desk", "tools": {}})


# ---------------------------------------------------------------- definitions


def test_a_digest_is_of_the_whole_definition_and_not_of_how_it_is_written() -> None:
    one = {"name": "refund", "description": "für", "inputSchema": {"type": "object", "properties": {}}}
    other = {"inputSchema": {"properties": {}, "type": "object"}, "description": "f\u00fcr", "name": "refund"}
    assert definition_digest(one) == definition_digest(other)
    for change in (
        {"description": "f\u00fcr "},
        {"annotations": {}},
        {"inputSchema": {}},
        {"name": "Refund"},
    ):
        assert definition_digest(one | change) != definition_digest(one)


def test_the_digest_of_a_definition_never_changes() -> None:
    expected = "864bde462224a74bf2e2758a00395fd32ab2237eabcc78698eaa84d4fbd1eddb"
    assert definition_digest({"name": "a", "n": 1, "x": [1.5, None, "\u00e9"]}) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1, 2}, b"x"])
def test_what_is_no_json_has_no_digest(value: object) -> None:
    with pytest.raises(ValueError):
        definition_digest({"x": value})


def test_what_nests_too_deeply_has_no_digest() -> None:
    deep: dict[str, object] = {}
    for _ in range(100_000):
        deep = {"x": deep}
    with pytest.raises(ValueError):
        definition_digest(deep)


def test_a_message_on_one_line() -> None:
    assert message_text("tools/call", "refund") == "tools/call refund"
    assert message_text("tools/list", None) == "tools/list"
    assert message_text("", None) == "answer to the server"
