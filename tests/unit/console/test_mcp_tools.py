"""Approved tools that would protect nothing are refused, from whichever side they come."""

from typing import Any

import pytest

from weirgate_bus.memory import MemoryBus, MemoryLog
from weirgate_console.check import Found, Sent, check_together, names_in, read_sent
from weirgate_console.problem import Answer
from weirgate_console.publish import Publisher

DESK: dict[str, Any] = {"name": "desk", "protocol": "mcp", "upstream": "https://desk/mcp"}
CRM: dict[str, Any] = {"name": "crm", "protocol": "http", "upstream": "https://crm"}
DBA: dict[str, Any] = {"name": "dba", "groups": ["dbas"]}
TOOLS: dict[str, Any] = {"resource": "desk", "tools": {"lookup": "a" * 64}, "reviewers": ["dba"]}
STANDING = {("resource", "desk"): DESK, ("resource", "crm"): CRM, ("reviewers", "dba"): DBA}


def checked(*sent: Sent, standing: Any = STANDING) -> list[Found]:
    documents, problems = read_sent(sent)
    assert not problems, problems
    return check_together(documents, standing, {})


def tools(**change: Any) -> Sent:
    return Sent(kind="tools", body=TOOLS | change, file="t.yaml", lines={"resource": 2, "reviewers": 3})


def test_tools_of_a_server_with_reviewers_are_taken() -> None:
    assert checked(tools()) == []
    assert checked(Sent(kind="resource", body=DESK), tools()) == []


def test_tools_of_another_resource_or_of_none_are_refused() -> None:
    (found,) = checked(tools(resource="crm"))
    assert (found.line, found.what) == (2, "'crm' is a resource of 'protocol: http' and has no tools")
    (found,) = checked(tools(resource="dsk"))
    assert (found.what, found.right) == ("there is no resource 'dsk'", "did you mean 'desk'?")


def test_reviewers_that_nobody_is_are_refused() -> None:
    (found,) = checked(tools(reviewers=["dba", "legal"]))
    assert (found.line, found.what) == (3, "there are no reviewers called legal")
    left_out = {name: value for name, value in TOOLS.items() if name != "reviewers"}
    (found,) = checked(Sent(kind="tools", body=left_out))
    assert found.what == "there are no reviewers called tools"


def test_a_server_without_approved_tools_is_published_with_a_warning() -> None:
    (found,) = checked(Sent(kind="resource", body=DESK))
    assert found.severity == "warning"
    assert "weirgate tools pin desk" in (found.right or "")


def test_a_server_that_would_leave_its_approved_tools_behind_is_refused() -> None:
    standing = STANDING | {("tools", "desk"): TOOLS}
    (found,) = checked(Sent(kind="resource", body=DESK | {"protocol": "http"}), standing=standing)
    assert found.severity == "error"
    assert "withdraw tools desk first" in (found.right or "")


def test_labels_of_a_server_name_tools_and_no_routes() -> None:
    fields = {"lookup /email": "pii.email", "* /**/ssn": "pii.ssn"}
    assert checked(Sent(kind="labels", body={"resource": "desk", "fields": fields})) == []
    (found,) = checked(Sent(kind="labels", body={"resource": "desk", "fields": {"/v1 /email": "pii.email"}}))
    assert "has no routes" in found.what
    (found,) = checked(Sent(kind="labels", body={"resource": "desk", "columns": {"a.b.c": "pii.email"}}))
    assert "has no columns" in found.what
    (found,) = checked(
        Sent(kind="labels", body={"resource": "crm", "fields": {"lookup /email": "pii.email"}})
    )
    assert "has no route 'lookup'" in found.what


def test_checkers_are_told_of_servers_and_their_approved_tools() -> None:
    assert names_in(STANDING).tools == {"desk": None}
    assert names_in(STANDING | {("tools", "desk"): TOOLS}).tools == {"desk": frozenset({"lookup"})}


async def test_what_approved_tools_need_is_not_withdrawn_before_them() -> None:
    publisher = Publisher(MemoryBus(MemoryLog(), "console"), {})
    await publisher.publish([Sent(kind="reviewers", body=DBA)], by="t")
    sent = [Sent(kind="resource", body=DESK), Sent(kind="tools", body=TOOLS)]
    done = await publisher.publish(sent, by="t")
    assert [one.kind for one in done.published] == ["tools", "resource"]
    assert (await publisher.publish(sent, by="t")).published == ()
    for kind, name in (("resource", "desk"), ("reviewers", "dba")):
        with pytest.raises(Answer, match="approved tools of desk") as refused:
            await publisher.withdraw(kind, name, by="t")  # type: ignore[arg-type]
        assert refused.value.status == 409
    for kind, name in (("tools", "desk"), ("resource", "desk"), ("reviewers", "dba")):
        await publisher.withdraw(kind, name, by="t")  # type: ignore[arg-type]
