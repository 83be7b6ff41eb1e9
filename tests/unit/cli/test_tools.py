"""`weirgate tools pin`: a document of approved tools, made of the newest list in the log."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from weirgate_cli import history
from weirgate_cli.apply import Documents, load
from weirgate_cli.main import make_app
from weirgate_cli.tools import newest_tools
from weirgate_contracts.events import Event, OperationIntercepted
from weirgate_contracts.http import HttpBody, HttpCall
from weirgate_contracts.identity import Identity
from weirgate_contracts.mcp import McpCall, McpItem

A, B, C = "a" * 64, "b" * 64, "1" * 64


def listed(
    *tools: tuple[str, str],
    session: str = "s1",
    cursor: str | None = None,
    resource: str = "desk",
    at: str = "t",
) -> OperationIntercepted:
    items = tuple(McpItem(kind="tool", name=name, sha256=digest) for name, digest in tools)
    params = {} if cursor is None else {"cursor": cursor}
    body = HttpBody(type="application/json", whole=True, text=json.dumps({"params": params}))
    mcp = McpCall(method="tools/list", offered=items)
    return OperationIntercepted(
        ingress="i", session=session, operation=1, protocol="mcp", resource=resource, digest="d", at=at,
        identity=Identity(agent="a", issuer="t", token_id="t", expires_at=0),
        call=HttpCall(method="POST", path="/", body=body, mcp=mcp),
    )  # fmt: skip


def newest(*events: Event) -> dict[str, set[str]] | None:
    found = newest_tools("desk", events)
    return None if found is None else found[0]


def test_the_newest_list_counts_with_all_its_pages() -> None:
    pages = [listed(("a", A)), listed(("b", B), cursor="2"), listed(("c", C), cursor="3")]
    assert newest(*pages) == {"a": {A}, "b": {B}, "c": {C}}
    assert newest(*pages, listed(("a", B))) == {"a": {B}}
    assert newest(*pages, listed(("a", B), session="s2")) == {"a": {B}}
    assert newest(*pages, listed(("x", A), session="s2", cursor="9")) == {"x": {A}}


def test_lists_of_others_and_other_messages_do_not_count() -> None:
    plain = listed().model_copy(update={"call": HttpCall(method="GET", path="/")})
    asked = listed().model_copy(
        update={"call": HttpCall(method="POST", path="/", mcp=McpCall(method="tools/list"))}
    )
    assert newest(listed(("a", A), resource="other"), plain, asked) is None
    assert newest(listed(("a", A)), plain, asked) == {"a": {A}}


def run(monkeypatch: pytest.MonkeyPatch, events: list[Event], *arguments: str) -> Any:
    def read_log(*_: object, **__: object) -> list[tuple[int, Event]]:
        return list(enumerate(events, start=1))

    monkeypatch.setattr(history, "read_log", read_log)
    return CliRunner().invoke(make_app(), ["tools", "pin", *arguments])


def test_what_it_prints_can_be_applied_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    events: list[Event] = [listed(("no", C), ("lookup: customer\n", A), ("7", B))]
    done = run(monkeypatch, events, "desk", "--reviewers", "dba")
    assert done.exit_code == 0, done.output
    (tmp_path / "tools.yaml").write_text(done.stdout)
    loaded = load(tmp_path)
    assert isinstance(loaded, Documents), loaded
    (document,) = loaded.documents
    assert (document.kind, document.name) == ("tools", "desk")
    assert document.body["tools"] == {"no": C, "lookup: customer\n": A, "7": B}
    assert document.body["reviewers"] == ["dba"]
    assert "3 tools as listed at t" in done.stderr


def test_it_says_why_there_is_nothing_to_print(monkeypatch: pytest.MonkeyPatch) -> None:
    none = run(monkeypatch, [], "desk")
    assert none.exit_code == 1
    assert "has seen no list of tools of desk" in none.output
    twice = run(monkeypatch, [listed(("a", A), ("a", B))], "desk")
    assert twice.exit_code == 1
    assert "offers 'a' more than once" in twice.output
    assert json.loads(run(monkeypatch, [listed(("a", A))], "desk", "--json").stdout)["tools"] == {"a": A}


def test_policies_are_tried_on_messages_with_the_tools_that_are_approved(tmp_path: Path) -> None:
    (tmp_path / "p.cedar").write_text('@id("all") permit(principal, action, resource);')
    resource = "kind: resource\nname: desk\nprotocol: mcp\nupstream: https://desk.test/mcp\n"
    policy = "---\nkind: policy\nname: p\nfile: p.cedar\n"
    (tmp_path / "all.yaml").write_text(resource + policy)
    cases = tmp_path / "cases" / "mcp"
    cases.parent.mkdir()
    cases.write_text(
        "cases:\n"
        "  - {agent: a, resource: desk, mcp: {call: lookup, arguments: {x: 1}}, expect: allow}\n"
        "  - {agent: a, resource: desk, mcp: {offers: [lookup, other]}, expect: allow, visible: [lookup]}\n"
    )
    app, told = make_app(), CliRunner()
    checked = told.invoke(app, ["policy", "check", str(tmp_path)])
    assert checked.exit_code == 0, checked.output
    assert "note: no tool of desk is pinned" in checked.output
    loose = told.invoke(app, ["policy", "test", str(tmp_path), "--cases", str(cases)])
    assert loose.exit_code == 1
    assert "expected ('lookup',) to be shown, got ('lookup', 'other')" in loose.output
    (tmp_path / "tools.yaml").write_text(f"kind: tools\nresource: desk\ntools: {{lookup: {A}}}\n")
    assert "note" not in told.invoke(app, ["policy", "check", str(tmp_path)]).output
    pinned = told.invoke(app, ["policy", "test", str(tmp_path), "--cases", str(cases), "--json"])
    assert pinned.exit_code == 0, pinned.output
    assert [one["mcp"] for one in json.loads(pinned.stdout)] == ["tools/call lookup", "tools/list"]
