"""Checking rules on messages of MCP before they are published, cases of them, and judging a log of them again."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from weirgate_contracts.config import ToolsDocument
from weirgate_contracts.events import ConfigPublished, Event, decode
from weirgate_policy.bundle import Known, check, compile_policies
from weirgate_policy.case import BadCases, Case, call_state_of, operation_of
from weirgate_policy.judge import judge
from weirgate_policy.mcpmethod import OFFERS, REQUESTS, USES, action_of
from weirgate_policy.testing import replay, run_cases
from weirgate_policy.vocabulary import APPLIES, ATTRIBUTES, CONTEXTS, ancestry

KNOWN = Known(
    resources={"shop", "crm", "desk", "loose"},
    labels={"pii.email"},
    reviewers={"dba"},
    routes={"crm": ("/v1/customers",)},
    tools={"desk": {"lookup_customer", "refund"}, "loose": None},
)
CALL = 'permit(principal, action == Action::"mcp.call", resource)'
A = "a" * 64


def test_every_action_of_a_message_is_one_of_the_schema() -> None:
    for use in (*USES.values(), *(use for _, use in OFFERS.values())):
        assert use.entity in APPLIES[use.action]
    assert {CONTEXTS[action_of(method)] for method in ("ping", "x", "tools/call")} == {"Message"}
    assert {CONTEXTS[action] for action in REQUESTS} == {"Session"}
    assert {"resource", "method", "arguments", "numbers", "user"} <= ATTRIBUTES["Message"]
    assert "mcp" not in ancestry("mcp.other")
    assert "mcp" not in ancestry("mcp.sampling")


@pytest.mark.parametrize(
    ("text", "at", "message", "suggestion"),
    [
        ('permit(principal, action, resource == Tool::"dsk/refund");', '"dsk', "no resource 'dsk'", "desk"),
        ('permit(principal, action, resource == Tool::"crm/refund");', '"crm', "is no resource of MCP", "Route"),
        ('permit(principal, action, resource == Prompt::"shop/x");', '"shop', "is no resource of MCP", "Route"),
        ('permit(principal, action, resource == Tool::"desk/refnd");', '"desk', "not among the approved", "refund"),
        ('permit(principal, action, resource in Table::"desk/public.x");', '"desk', "has no Table", "Tool"),
        ('permit(principal, action, resource == Route::"desk/v1");', '"desk', "has no Route", "Tool"),
        ('permit(principal, action, resource == Tool::"desk");', '"desk', "can be no Tool", 'Tool::"desk/'),
        ('permit(principal, action, resource == McpResource::"desk/");', '"desk', "can be no McpResource", "the name"),
        ('permit(principal, action == Action::"mcp.call", resource is Prompt);', "permit", "no action is ever", None),
        ('permit(principal, action == Action::"mcp.cal", resource);', '"mcp.cal', "no Action", "mcp.call"),
        (f'{CALL} when {{ context.method == "tools/list" }};', "when", "always false", None),
        (f'{CALL} when {{ context.method == "POST" }};', "when", "always false", None),
        (f'{CALL} when {{ context.protocol == "http" }};', "when", "always false", None),
        (f'{CALL} when {{ context has arguments }};', "has", "cannot be read", "leave it out"),
        (f'{CALL} when {{ context.arguments.hasTag("amount") }};', '"amount"', "no call has", '"/amount"'),
        (f'{CALL} when {{ context.numbers.hasTag("amount") }};', '"amount"', "no call has", '"/amount"'),
        (f'{CALL} when {{ context.arguments.getTag("/a") == "1" }};', '"/a"', "may not stand there", "hasTag"),
        (f'@limit("rows=5") {CALL};', "@limit", "has no rows", "bytes"),
        (f'@hold("legal") {CALL};', "@hold", "no reviewers called legal", None),
    ],
)  # fmt: skip
def test_a_rule_that_can_never_fire_is_said_with_its_place(
    text: str, at: str, message: str, suggestion: str | None
) -> None:
    problems = check({"p": text}, KNOWN)
    assert len(problems) == 1, problems
    assert message in problems[0].message
    assert problems[0].column == text.index(at) + 1
    assert suggestion is None or suggestion in (problems[0].suggestion or "")


@pytest.mark.parametrize(
    "text",
    [
        'permit(principal, action, resource == Tool::"desk/refund");',
        'permit(principal, action, resource == Tool::"loose/whatever");',
        'permit(principal, action, resource == McpResource::"desk/file:///a/b");',
        'permit(principal, action in Action::"mcp", resource in Resource::"desk");',
        'permit(principal, action == Action::"mcp.session", resource) when { context.method == "tools/list" };',
        'permit(principal, action == Action::"mcp.other", resource) when { context.method == "tasks/list" };',
        'permit(principal, action == Action::"mcp.sampling", resource == Resource::"desk");',
        f'{CALL} when {{ context.arguments.hasTag("/a/0/b") && context.arguments.getTag("/a/0/b") like "x*" }};',
        'permit(principal, action == Action::"connect", resource) when { resource.protocol == "mcp" };',
        'forbid(principal, action == Action::"mcp.read", resource) unless { resource.scheme == "file" };',
    ],
)
def test_a_rule_that_can_fire_is_taken(text: str) -> None:
    assert check({"p": text}, KNOWN) == []


# ---------------------------------------------------------------- cases

RULES = {
    "p": """
@id("session") permit(principal, action in Action::"basic", resource in Resource::"desk");
@id("small") permit(principal, action == Action::"mcp.call", resource == Tool::"desk/refund")
when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") <= 100 };
@id("lookup") @hold("dba") permit(principal, action == Action::"mcp.call", resource == Tool::"desk/lookup");
@id("files") permit(principal, action == Action::"mcp.read", resource) when { resource.scheme == "file" };
@id("roots") permit(principal, action == Action::"mcp.roots", resource == Resource::"desk");
"""
}
CASES: list[dict[str, Any]] = [
    {"mcp": {"method": "initialize"}, "expect": "allow", "rule": "p/session", "permits": ["roots/list"]},
    {
        "mcp": {"call": "refund", "arguments": {"amount": 100}},
        "expect": "allow",
        "rule": "p/small",
        "unmask": [],
    },
    {"mcp": {"call": "refund", "arguments": {"amount": 101}}, "expect": "deny", "code": "denied"},
    {"mcp": {"call": "lookup"}, "expect": "hold", "rule": "p/lookup"},
    {"mcp": {"call": "refund", "arguments": {"amount": 1}, "definition": "b" * 64}, "expect": "hold"},
    {"mcp": {"offers": ["refund", "lookup", "other"]}, "expect": "allow", "visible": ["refund"]},
    {"mcp": {"read": "file:///a"}, "expect": "allow"},
    {"mcp": {"read": "file:///a/../b"}, "expect": "deny", "code": "unparsable"},
    {"mcp": {"prompt": "p", "arguments": {"x": "1"}}, "expect": "deny"},
]


def cases(tmp_path: Path, *several: dict[str, Any], **more: Any) -> Path:
    file = tmp_path / "cases.yaml"
    written = [{"agent": "a", "resource": "desk"} | one for one in several]
    file.write_text(yaml.safe_dump({"cases": written, **more}, sort_keys=False))
    return file


def test_cases_of_messages_are_judged_as_the_gateway_would(tmp_path: Path) -> None:
    outcomes = run_cases([cases(tmp_path, *CASES, tools={"refund": A})], policies=RULES)
    assert [one.problem for one in outcomes] == [None] * len(CASES)


def test_what_is_not_as_a_case_expects_is_said(tmp_path: Path) -> None:
    wrong = [
        {"mcp": {"offers": ["refund"]}, "expect": "allow", "visible": []},
        {"mcp": {"method": "ping"}, "expect": "allow", "permits": []},
    ]
    outcomes = run_cases([cases(tmp_path, *wrong)], policies=RULES)
    assert [one.problem for one in outcomes] == [
        "expected () to be shown, got ('refund',)",
        "expected the server may ask (), got ('roots/list',)",
    ]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"mcp": {}, "expect": "allow"}, "write one of call, read, prompt, offers, method"),
        ({"mcp": {"call": "a", "read": "b:c"}, "expect": "allow"}, "write one of call"),
        ({"mcp": {"read": "b:c", "arguments": {"x": 1}}, "expect": "allow"}, "'arguments' are those of"),
        (
            {"mcp": {"call": "a"}, "sql": "select 1", "expect": "allow"},
            "write one of 'sql', 'call' and 'mcp'",
        ),
    ],
)
def test_a_case_that_cannot_be_read_is_named(tmp_path: Path, case: dict[str, Any], message: str) -> None:
    with pytest.raises(BadCases, match=re.escape(message)):
        run_cases([cases(tmp_path, case)], policies=RULES)


def test_approved_tools_that_are_no_digests_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadCases, match="64 digits"):
        run_cases([cases(tmp_path, CASES[0], tools={"refund": "x"})], policies=RULES)


def test_what_the_documentation_shows_is_right(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "protocols" / "mcp.md").read_text()
    shown = re.findall(r"```cedar\n(.*?)```", text, re.S)
    assert shown
    assert [check({"p": one}, KNOWN) for one in shown] == [[]] * len(shown)
    (file,) = re.findall(r"```yaml\n(tools:.*?)```", text, re.S)
    (tmp_path / "cases.yaml").write_text(file)
    policies = {f"p{number}": one for number, one in enumerate(shown)}
    outcomes = run_cases([tmp_path / "cases.yaml"], policies=policies)
    assert outcomes
    assert [one.problem for one in outcomes] == [None] * len(outcomes)


# ---------------------------------------------------------------- replay


def test_every_verdict_on_a_message_comes_out_byte_for_byte_the_same() -> None:
    desk = {"name": "desk", "protocol": "mcp", "upstream": "http://h/mcp"}
    tools: dict[str, Any] = {"resource": "desk", "tools": {"refund": A}, "reviewers": ["dba"]}
    events: list[Event] = [
        ConfigPublished(config="resource", name="desk", body=desk, by="x"),
        ConfigPublished(config="policy", name="p", body={"name": "p", "cedar": RULES["p"]}, by="x"),
        ConfigPublished(config="tools", name="desk", body=tools, by="x"),
    ]
    pinned = ToolsDocument.model_validate(tools)
    state = call_state_of(
        "desk", bundle=compile_policies(RULES), labels={}, protocol="mcp", tools=pinned, revision=3
    )
    for number, one in enumerate(CASES, start=1):
        case = Case.model_validate({"agent": "a", "resource": "desk"} | one)
        asked = operation_of(case, tools=pinned.tools)
        asked = asked.stamped(id=f"01J{number:023d}", at="2026-01-01T00:00:00.000000Z")
        events += [asked, judge(asked, state)]
    stamped = [
        event if event.id else event.stamped(id=f"01K{at:023d}", at="2026-01-01T00:00:00.000000Z")
        for at, event in enumerate(events)
    ]
    log = [(sequence, decode(event.encoded())) for sequence, event in enumerate(stamped, start=1)]
    found = list(replay(log))
    assert len(found) == len(CASES)
    assert all(one.identical for one in found)
    strict = {"p": RULES["p"].replace('@id("small") permit', '@id("small") forbid')}
    assert [one.flipped for one in replay(log, strict)].count(("allow", "deny")) == 1
