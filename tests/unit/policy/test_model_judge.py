"""The judge on calls of a model: what rules read of it, and what becomes of a call nobody could read."""

import json
from typing import Any

import pytest

from weirgate_contracts.events import OperationAllowed, OperationDenied, OperationHeld
from weirgate_contracts.modelapi import joined
from weirgate_contracts.refusal import RefusalCode
from weirgate_policy.bundle import Known, check, compile_policies
from weirgate_policy.case import BadCases, Case, call_state_of, operation_of
from weirgate_policy.judge import Judgement, judge
from weirgate_policy.testing import run_cases

CONNECT = '@id("connect") permit(principal, action == Action::"connect", resource);\n'
POST = 'permit(principal, action == Action::"http.post", resource in Resource::"llm")'
CHAT = "/v1/chat/completions"


def verdict(
    rules: str, body: Any, path: str = CHAT, *, resource: str = "llm", api: Any = "openai"
) -> Judgement:
    call: dict[str, Any] = {"method": "POST", "path": path, "body": body}
    if isinstance(body, str):
        call["headers"] = {"content-type": "application/json"}
    case = Case.model_validate({"agent": "bot", "resource": resource, "call": call, "expect": "allow"})
    routes = joined(api, ())
    bundle = compile_policies({"p": CONNECT + rules})
    state = call_state_of(resource, bundle=bundle, routes=routes, labels={}, api=api)
    operation = operation_of(case, routes, api)
    first = judge(operation, state)
    assert judge(operation, state) == first
    return first


@pytest.mark.parametrize(
    ("condition", "permitted"),
    [
        ('context.model.name == "small"', True),
        ('context.model.name like "sm*"', True),
        ('context.model.name == "large"', False),
        ('["small", "tiny"].contains(context.model.name)', True),
        ('context.model.api == "openai" && context.model.shape == "chat"', True),
        ('context.model.tools.contains("weather")', True),
        ('context.model.tools.contains("shell")', False),
        ('context.model.tools.containsAny(["shell", "news"])', True),
        ('["weather", "news", "mail"].containsAll(context.model.tools)', True),
        ("context.model.tools.isEmpty()", False),
        ("context.model.stream", True),
        ("context.model has maxTokens && context.model.maxTokens <= 100", True),
        ("context.model has maxTokens && context.model.maxTokens > 100", False),
        ("context.model.messages == 2 && !context.model.images && !context.model.files", True),
    ],
)
def test_rules_read_what_is_asked_of_a_model(condition: str, permitted: bool) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("weather", "news")]
    body = {"model": "small", "stream": True, "max_tokens": 100, "messages": [{}, {}], "tools": tools}
    found = verdict(f"{POST} when {{ context has model && {condition} }};", body)
    assert isinstance(found, OperationAllowed) is permitted, found


def test_two_models_are_two_questions_and_a_hold_can_read_one() -> None:
    rules = (
        f'{POST} when {{ context has model && context.model.name == "small" }};\n'
        f'@hold("dba") {POST} when {{ context has model && context.model.name == "large" }};'
    )
    assert isinstance(verdict(rules, {"model": "small"}), OperationAllowed)
    assert isinstance(verdict(rules, {"model": "large"}), OperationHeld)
    assert isinstance(verdict(rules, {"model": "other"}), OperationDenied)
    short = f"{POST} when {{ context has model.maxTokens && context.model.maxTokens <= 9 }};"
    assert isinstance(verdict(short, {"model": "x", "max_tokens": 9}), OperationAllowed)
    assert isinstance(verdict(short, {"model": "x"}), OperationDenied)


UNREAD = ('{"model": "small", "model": "large"}', '{"Model": "large"}', '{"model": 1}', "[]", '{"model": ')


@pytest.mark.parametrize("body", UNREAD)
@pytest.mark.parametrize(
    "rules",
    [
        f'{POST} when {{ context has model && context.model.name == "small" }};',
        POST + ';\n@id("f") forbid(principal, action, resource in Resource::"llm") when '
        '{ context has model && context.model.name == "large" };',
        POST + ';\n@id("f") forbid(principal, action == Action::"http.post", resource == '
        'Route::"llm/v1/chat/completions") unless { context has model && context.model.name == "small" };',
    ],
)
def test_a_call_whose_model_cannot_be_known_is_refused_by_rules_that_read_it(rules: str, body: str) -> None:
    found = verdict(rules, body)
    assert isinstance(found, OperationDenied)
    assert found.refusal.code is RefusalCode.UNPARSABLE
    assert "which model is asked" in found.refusal.reason
    assert found.refusal.rules
    assert "large" not in found.model_dump_json()


def test_rules_that_read_no_model_or_stand_elsewhere_are_in_no_calls_way() -> None:
    elsewhere = 'forbid(principal, action, resource in Resource::"other") when {{ context has model }};'
    route = 'forbid(principal, action, resource == Route::"llm/v1/responses") when { context has model };'
    for rules in (
        f"{POST};",
        f"{POST};\n{elsewhere.replace('{{', '{').replace('}}', '}')}",
        f"{POST};\n{route}",
    ):
        assert isinstance(verdict(rules, UNREAD[0]), OperationAllowed), rules
    # A resource that speaks no model API has no model to be known.
    everywhere = (
        'forbid(principal, action, resource) when { context has model && context.model.name == "large" };'
    )
    anyone = f'permit(principal, action == Action::"http.post", resource);\n{everywhere}'
    assert isinstance(verdict(anyone, {"amount": 1}, "/v1/pay", resource="crm", api=None), OperationAllowed)
    assert isinstance(verdict(anyone, {"amount": 1}, "/v1/batches"), OperationDenied)


def test_a_call_of_another_api_than_is_registered_now_is_refused() -> None:
    bundle = compile_policies({"p": CONNECT + POST + ";"})
    call = {"method": "POST", "path": "/v1/completions", "body": {"model": "x"}}
    case = Case.model_validate({"agent": "bot", "resource": "llm", "call": call, "expect": "allow"})
    routes = joined("openai", ())
    state = call_state_of("llm", bundle=bundle, routes=routes, labels={}, api="anthropic")
    found = judge(operation_of(case, routes, "openai"), state)
    assert isinstance(found, OperationDenied)
    assert found.refusal.code is RefusalCode.CATALOG_CHANGED


@pytest.mark.parametrize(
    ("rule", "message", "suggestion"),
    [
        (f'{POST} when {{ context.model.name == "x" }};', "may be absent", "context has model"),
        (
            f"{POST} when {{ context has model && context.model.maxTokens < 5 }};",
            "may be absent",
            "context has model.maxTokens",
        ),
        (f'{POST} when {{ context has model && context.model.nme == "x" }};', "not found", None),
        (
            POST.replace("llm", "llm") + ' when { resource == Route::"llm/v1/chat" };',
            "lists no route",
            "did you mean llm/v1/",
        ),
    ],
)
def test_what_is_wrong_with_a_rule_on_models_is_said(rule: str, message: str, suggestion: str | None) -> None:
    known = Known(resources={"llm"}, labels=frozenset(), routes={"llm": joined("openai", ())})
    problems = check({"p": rule}, known)
    assert any(message in one.message for one in problems), problems
    assert suggestion is None or any(suggestion in (one.suggestion or "") for one in problems), problems


def test_a_file_of_cases_names_the_api(tmp_path: Any) -> None:
    file = tmp_path / "a.yaml"
    case = {
        "agent": "b",
        "resource": "llm",
        "call": {"method": "POST", "path": CHAT, "body": {"model": "small"}},
    }
    file.write_text(json.dumps({"api": "openai", "cases": [case | {"expect": "allow"}]}))
    policies = {"p": CONNECT + f'{POST} when {{ context has model && context.model.name == "small" }};'}
    assert [one.problem for one in run_cases([file], policies=policies)] == [None]
    file.write_text(json.dumps({"cases": [case | {"expect": "allow"}]}))
    assert [one.problem for one in run_cases([file], policies=policies, apis={"llm": "openai"})] == [None]
    file.write_text(json.dumps({"api": "acme", "cases": [case | {"expect": "allow"}]}))
    with pytest.raises(BadCases, match="write one of openai, anthropic"):
        run_cases([file], policies=policies)
