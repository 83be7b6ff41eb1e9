"""Checking rules on HTTP calls before they are published, cases of them, and judging a log of them again."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from weirgate_contracts.events import ConfigPublished, Event, OperationAllowed, OperationDenied, decode
from weirgate_contracts.modelapi import joined
from weirgate_policy import wording
from weirgate_policy.bundle import Known, check, compile_policies
from weirgate_policy.case import BadCases, Case, call_state_of, operation_of
from weirgate_policy.judge import deny, judge
from weirgate_policy.testing import Replayed, replay, run_cases

ROUTES = ("/v1/customers", "/v1/customers/{id}", "/v1/payments")
KNOWN = Known(resources={"shop", "crm"}, labels={"pii.email"}, routes={"crm": ROUTES})
HEAD = 'permit(principal, action in Action::"http", resource)'


# ---------------------------------------------------------------- check


@pytest.mark.parametrize(
    ("text", "at", "message", "suggestion"),
    [
        (
            'permit(principal, action,\nresource == Route::"crm/v1/customer/{id}");',
            '"crm', "crm lists no route /v1/customer/{id}", "crm/v1/customers/{id}",
        ),
        ('permit(principal, action, resource == Route::"crm/x");', '"crm', "lists no route", "crm/v1/customers"),
        ('permit(principal, action, resource == Route::"shop/v1");', '"shop', "shop is no resource of HTTP", "Table"),
        ('permit(principal, action, resource == Route::"cmr/v1/payments");', '"cmr', "no resource 'cmr'", "crm"),
        ('permit(principal, action, resource == Route::"crm");', '"crm', "can be no Route", "crm/v1/customers/{id}"),
        ('permit(principal, action, resource == Route::"crm/a b");', '"crm', "can be no Route", "{id}"),
        ('permit(principal, action, resource == Route::"crm/v1?x=1");', '"crm', "can be no Route", "{id}"),
        ('permit(principal, action, resource in Table::"crm/public.x");', '"crm', "is a resource of HTTP", "Route"),
        ('permit(principal, action, resource in Schema::"crm/public");', '"crm', "has no Schema", "Route"),
        ('permit(principal, action == Action::"http.get", resource is Table);', "permit", "no action is ever", None),
        (
            'permit(principal, action == Action::"http.get", resource in Table::"shop/public.x");',
            "permit", "no action is ever asked", None,
        ),
        ('permit(principal, action == Action::"select", resource is Route);', "permit", "no action is ever", None),
        ('permit(principal, action == Action::"http.fetch", resource);', '"http.fetch', "no Action", None),
        (f'{HEAD} when {{ context.protocol == "postgres" }};', "when", "always false", None),
        (f'{HEAD} when {{ context.protocol == "htttp" }};', "when", "always false", None),
        (
            'permit(principal, action == Action::"select", resource) when { context.protocol == "http" };',
            "when", "always false", None,
        ),
        (f'{HEAD} when {{ context.method == "post" }};', "when", "always false", None),
        (
            'permit(principal, action in Action::"http.read", resource) when { context.method == "POST" };',
            "when", "always false", None,
        ),
        (f'{HEAD} when {{ context.query.getTag("limit") == "1" }};', '"limit"', "may not stand there", "hasTag"),
        (f'{HEAD} when {{ context.query.limit == "1" }};', ".limit", "not found", 'getTag("limit")'),
        (f'{HEAD} when {{ context.route == "/v1" }};', ".route", "may be absent", "context has route"),
        (f"{HEAD} when {{ context.bodySize < 5 }};", ".bodySize", "may be absent", "context has bodySize"),
        (f'{HEAD} when {{ context.verb == "x" }};', ".verb", "not found", "name the action"),
        (f'{HEAD} when {{ context.headers.hasTag("Content-Type") }};', '"Content', "no call has", '"content-type"'),
        (f'{HEAD} when {{ context.body.hasTag("amount") }};', '"amount"', "no call has", '"/amount"'),
        (f'{HEAD} when {{ context.numbers.hasTag("amount") }};', '"amount"', "no call has", '"/amount"'),
        (
            'permit(principal, action in Action::"http", resource == Route::"crm/v1/customers/{id}") '
            'when { context.arguments.hasTag("ident") };',
            '"ident"', "no call has 'ident' in its arguments", "id",
        ),
        (f"{HEAD} when {{ context has body }};", "has", "lets a call pass", "leave it out"),
        (f"{HEAD} when {{ context has numbers && true }};", "has", "lets a call pass", "hasTag"),
        (f'{HEAD} when {{ context.query == Values::"x" }};', '"x"', "can be no Values", "hasTag"),
        (f'@limit("rows=5") {HEAD};', "@limit", "has no rows", "bytes"),
    ],
)  # fmt: skip
def test_a_rule_on_calls_that_cannot_fire_is_named_with_its_place_and_a_remedy(
    text: str, at: str, message: str, suggestion: str | None
) -> None:
    found = [one for one in check({"p": text}, KNOWN) if one.severity == "error"]
    named = [one for one in found if message in one.message]
    assert named, found
    first = named[0]
    assert text.split("\n")[first.line - 1][first.column - 1 :].startswith(at), first
    if suggestion is not None:
        assert suggestion in (first.suggestion or ""), first


@pytest.mark.parametrize(
    "text",
    [
        'permit(principal, action, resource == Route::"crm/v1/customers/{id}");',
        'permit(principal, action, resource == Route::"crm/<unlisted>");',
        'permit(principal, action, resource in Resource::"crm");',
        f'{HEAD} when {{ context.protocol == "http" && context.method == "POST" }};',
        f'{HEAD} when {{ context.method == "PROPFIND" }};',
        f'{HEAD} when {{ context.query.hasTag("a b") && context.query.getTag("a b") like "x*" }};',
        f'{HEAD} when {{ context.numbers.hasTag("/a/0/b") && context.numbers.getTag("/a/0/b") > 5 }};',
        f'{HEAD} unless {{ context.headers.hasTag("x-team") }};',
        f"{HEAD} when {{ context has bodySize && context.bodySize < 5 && !context.bodyWhole }};",
        'permit(principal, action == Action::"connect", resource) when { context.protocol == "http" };',
        'permit(principal, action == Action::"connect", resource) when { resource.protocol == "http" };',
        'permit(principal, action in Action::"http", resource == Route::"crm/v1/customers/{id}") '
        'when { context.arguments.hasTag("id") && context.arguments.getTag("id") == "7" };',
        'permit(principal, action, resource) when { context.database == "shop" };',
        'permit(principal, action, resource) when { resource.name == "shop" };',
        '@limit("rows=5") permit(principal, action, resource);',
    ],
)
def test_a_rule_on_calls_that_holds_has_no_problem(text: str) -> None:
    assert check({"p": text}, KNOWN) == []


def test_without_knowing_routes_nothing_is_said_of_them() -> None:
    text = 'permit(principal, action, resource == Route::"crm/v9");'
    assert check({"p": text}) == []
    assert check({"p": text}, Known(resources={"crm"})) == []


# ---------------------------------------------------------------- cases

RULES = {
    "p": """
@id("connect") permit(principal, action == Action::"connect", resource in Resource::"crm");
@id("read") permit(principal, action in Action::"http.read", resource in Resource::"crm")
unless { context.query.hasTag("limit") && context.query.getTag("limit") == "1000" };
@id("pay") permit(principal, action == Action::"http.post", resource == Route::"crm/v1/payments")
when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") <= 100 };
@id("more") @hold("dba") permit(principal, action == Action::"http.post", resource == Route::"crm/v1/payments");
@id("mail") permit(principal in Group::"support", action == Action::"unmask", resource == Label::"pii.email");
"""
}


def cases(directory: Path, *several: dict[str, Any], **more: Any) -> Path:
    """A file of cases on the resource crm."""
    path = directory / "cases.yaml"
    given = [{"agent": "a", "resource": "crm"} | one for one in several]
    path.write_text(yaml.safe_dump({"routes": list(ROUTES), "cases": given} | more))
    return path


def test_cases_of_calls_are_judged_without_a_catalog(tmp_path: Path) -> None:
    file = cases(
        tmp_path,
        {"call": {"path": "/v1/customers/7"}, "expect": "allow", "rule": "p/read", "unmask": []},
        {"call": {"path": "/v1/customers/7"}, "groups": ["support"], "expect": "allow", "unmask": ["pii.email"]},
        {"call": {"path": "/v1/customers", "query": {"limit": 1000}}, "expect": "deny", "code": "denied"},
        {"call": {"path": "/v1/customers", "query": {"limit": [1, 2]}}, "expect": "deny", "code": "unparsable"},
        {"call": {"method": "POST", "path": "/v1/payments", "body": {"amount": 5}}, "expect": "hold", "rule": "p/pay"},
        {"call": {"method": "POST", "path": "/v1/payments", "body": [1]}, "expect": "hold"},
        {
            "call": {"method": "POST", "path": "/v1/payments", "body": "amount=5",
                     "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
            "expect": "hold", "rule": "p/pay",
        },
        {"call": {"method": "POST", "path": "/v1/payments", "body": "x"}, "expect": "deny", "code": "unsupported"},
        {"call": {"method": "POST", "path": "/v1/elsewhere"}, "expect": "deny", "code": "denied"},
        labels={"* /**/email": "pii.email"},
    )  # fmt: skip
    outcomes = run_cases([file], policies=RULES)
    assert [(one.line, one.problem) for one in outcomes if not one.passed] == []


def test_a_case_that_does_not_pass_says_why(tmp_path: Path) -> None:
    (outcome,) = run_cases(
        [cases(tmp_path, {"call": {"method": "DELETE", "path": "/v1/payments"}, "expect": "allow"})],
        policies=RULES,
    )
    assert outcome.problem == (
        "expected allow, got deny: DELETE /v1/payments on crm (http.delete) is refused: no rule permits it."
    )


def test_routes_may_be_given_beside_the_file(tmp_path: Path) -> None:
    file = tmp_path / "cases.yaml"
    case = {
        "agent": "a",
        "resource": "crm",
        "call": {"method": "POST", "path": "/v1/payments"},
        "expect": "hold",
    }
    file.write_text(yaml.safe_dump({"cases": [case]}))
    assert run_cases([file], policies=RULES, routes={"crm": ROUTES})[0].passed
    assert run_cases([file], policies=RULES)[0].got == "deny"


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"expect": "allow"}, "write one of 'sql', 'call' and 'mcp'"),
        (
            {"sql": "select 1", "call": {"path": "/"}, "expect": "allow"},
            "write one of 'sql', 'call' and 'mcp'",
        ),
        ({"call": {"path": "v1"}, "expect": "allow"}, "begins with '/'"),
        ({"call": {"path": "/v1?limit=5"}, "expect": "allow"}, "under 'query'"),
        ({"call": {"path": "/a/%2e%2e/b"}, "expect": "allow"}, "dot segments"),
        ({"call": {"method": "get", "path": "/"}, "expect": "allow"}, "upper case"),
        ({"call": {"path": "/", "query": ["a"]}, "expect": "allow"}, "call.query"),
        ({"call": {"path": "/", "sort": 1}, "expect": "allow"}, "call.sort"),
    ],
)
def test_a_case_that_cannot_be_read_is_named_with_its_line(
    tmp_path: Path, case: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadCases, match=r"cases.yaml:2: ") as refused:
        run_cases([cases(tmp_path, case)], policies=RULES)
    assert message in str(refused.value)


@pytest.mark.parametrize("routes", ["/v1/x", [{"/v1/": None}], ["v1"], None])
def test_templates_that_are_none_are_named(tmp_path: Path, routes: Any) -> None:
    file = cases(tmp_path, {"call": {"path": "/v1/x"}, "expect": "allow"}, routes=routes)
    if routes == "/v1/x":
        assert run_cases([file], policies=RULES)[0].passed
        return
    with pytest.raises(BadCases, match="is no template"):
        run_cases([file], policies=RULES)


def test_what_the_documentation_shows_is_right(tmp_path: Path) -> None:
    repository = Path(__file__).parents[3]
    text = (repository / "docs" / "policy.md").read_text()
    shown = re.findall(r"```cedar\n(.*?)```", text, re.S)
    assert len(shown) >= 3
    routes = {"crm": ROUTES, "llm": joined("openai", ())}
    known = Known(resources={"shop", *routes}, labels={"pii.email"}, routes=routes)
    assert [found for one in shown for found in check({"p": one}, known)] == []
    (file,) = re.findall(r"```yaml\n(routes:.*?)```", text, re.S)
    (tmp_path / "cases.yaml").write_text(file)
    starter = (repository / "deploy" / "packs" / "starter").glob("*.cedar")
    policies = {path.stem: path.read_text() for path in starter}
    assert [one.problem for one in run_cases([tmp_path / "cases.yaml"], policies=policies)] == [None, None]


# ---------------------------------------------------------------- replay

NARROW = '@id("r") permit(principal, action in [Action::"connect", Action::"http.read"], resource);'
CALLS = (
    {"path": "/v1/customers/7"},
    {"method": "POST", "path": "/v1/payments", "body": {"amount": 5}},
    {"method": "DELETE", "path": "/v1/customers/7"},
    {"path": "/v1/customers", "query": {"limit": "1000"}},
)
OPEN = {"p": RULES["p"].replace('@id("more") @hold("dba")', '@id("more")')}


def log(routes: Sequence[str] = ROUTES) -> list[tuple[int, Event]]:
    """A log in which some calls were judged."""
    crm = {"name": "crm", "protocol": "http", "upstream": "http://h", "routes": list(routes)}
    labels = {"* /**/email": "pii.email"}
    events: list[Event] = [
        ConfigPublished(config="resource", name="crm", body=crm, by="x"),
        ConfigPublished(config="policy", name="p", body={"name": "p", "cedar": OPEN["p"]}, by="x"),
        ConfigPublished(config="labels", name="crm", body={"resource": "crm", "fields": labels}, by="x"),
    ]
    state = call_state_of("crm", bundle=compile_policies(OPEN), routes=routes, labels=labels, revision=3)
    for number, one in enumerate(CALLS, start=1):
        case = Case.model_validate({"agent": "a", "resource": "crm", "call": one, "expect": "allow"})
        asked = operation_of(case, routes).stamped(id=f"01J{number:023d}", at="2026-01-01T00:00:00.000000Z")
        events += [asked, judge(asked, state)]
    stamped = [
        event if event.id else event.stamped(id=f"01K{at:023d}", at="2026-01-01T00:00:00.000000Z")
        for at, event in enumerate(events)
    ]
    return [(sequence, decode(event.encoded())) for sequence, event in enumerate(stamped, start=1)]


def words(found: Sequence[Replayed]) -> list[str]:
    """What each verdict was."""
    return [one.recorded.kind.rpartition(".")[2] for one in found]


def test_every_verdict_on_a_call_comes_out_byte_for_byte_the_same() -> None:
    found = list(replay(log()))
    assert words(found) == ["allowed", "allowed", "denied", "denied"]
    assert [one.identical for one in found] == [True] * 4


def test_other_rules_show_which_verdicts_on_calls_would_flip() -> None:
    found = list(replay(log(), {"p": NARROW}))
    assert [one.flipped for one in found] == [None, ("allow", "deny"), None, ("deny", "allow")]


def test_a_verdict_on_a_call_is_judged_under_the_routes_and_labels_of_its_revision() -> None:
    events = log()
    late = ConfigPublished(
        config="resource",
        name="crm",
        body={"name": "crm", "protocol": "http", "upstream": "http://h"},
        by="x",
    )
    events.insert(3, (4, late))  # the verdicts say they were judged under revision 3
    assert all(one.identical for one in replay(events))


def test_a_refusal_that_no_rule_gave_is_left_out() -> None:
    events = log()
    sequence, asked = events[3]
    verdict = events[4][1]
    assert asked.kind == "operation.intercepted"
    assert isinstance(verdict, OperationAllowed)
    state = call_state_of("crm", bundle=compile_policies(OPEN), routes=ROUTES, labels={}, revision=3)
    for refusal in (wording.configuration_unknown(), wording.overloaded(), wording.grant_refused("x")):
        other = deny(asked, state, refusal)  # type: ignore[arg-type]
        assert isinstance(other, OperationDenied)
        events[4] = (sequence + 1, other)
        assert len(list(replay(events))) == 3
    events[4] = (sequence + 1, deny(asked, None, wording.judge_failed()))  # type: ignore[arg-type]
    assert len(list(replay(events))) == 3
