"""What is said of a rule that parses: that it does not fit the schema, or can never fire."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Literal

from cedarpy import pst, validate_policies

from weirgate_policy import calladvice
from weirgate_policy.mcpmethod import action_of
from weirgate_policy.problem import Problem
from weirgate_policy.rule import Rule, walk
from weirgate_policy.source import RuleText, find_token, place_of
from weirgate_policy.vocabulary import (
    ACTIONS,
    APPLIES,
    ATTRIBUTES,
    CONTEXT_VALUES,
    CONTEXTS,
    ENTITY_TYPES,
    PROTOCOL_OF,
    ancestry,
    schema,
)

_UNKNOWN_TYPE = re.compile(r"unrecognized entity type `([^`]+)`")
_UNKNOWN_ACTION = re.compile(r'unrecognized action `Action::"([^`]*)"`')
_NO_ACTION = "unable to find an applicable action"
_UNGUARDED = re.compile(r"optional attribute `([^`]+)`(.*)")
_NO_TAG = re.compile(r"access to tag `([^`]+)`")
_NO_MEMBER = re.compile(r"attribute `([^`]+)` on entity type `(?:Values|Numbers)` not found")
_NO_ATTRIBUTE = re.compile(r"attribute `([^`]+)`.* not found")


def schema_problems(policy: str, text: str, rules: Sequence[RuleText]) -> list[Problem]:
    """Say where rules do not fit the schema, in Cedar's words and with what would be right."""
    problems: list[Problem] = []
    named: set[int] = set()
    for error in sorted(validate_policies(text, schema()).errors, key=lambda one: _NO_ACTION in one.error):
        number = int(error.policy_id.removeprefix("policy") or 0)
        message = error.error.removeprefix(f"for policy `{error.policy_id}`, ")
        if _NO_ACTION in message and number in named:
            continue  # Cedar says it of every rule with an unknown name in its head: once is enough
        named.add(number)
        offset, message, suggestion = _explain(message, rules[number])
        problems.append(problem_at(policy, text, offset, message, suggestion))
    return problems


def _explain(message: str, rule: RuleText) -> tuple[int, str, str | None]:
    if found := _UNKNOWN_TYPE.search(message):
        known = ", ".join(sorted(ENTITY_TYPES))
        return (
            find_token(rule, found[1]),
            f"there is no entity type {found[1]}, so the rule can never fire",
            nearest(found[1], ENTITY_TYPES) or f"known are {known}",
        )
    if found := _UNKNOWN_ACTION.search(message):
        return (
            find_token(rule, f'"{found[1]}"'),
            f'there is no Action::"{found[1]}", so the rule can never fire',
            nearest(found[1], ACTIONS) or "docs/policy.md lists the actions",
        )
    if _NO_ACTION in message:
        return (
            rule.start,
            "no action is ever asked for such a principal and such a resource, so the rule can never fire",
            "docs/policy.md lists what each action is asked on",
        )
    if found := _UNGUARDED.search(message):
        return (
            find_token(rule, ".", found[1]),
            f"`{found[1]}` may be absent, and an absent attribute is an error that denies",
            f"guard it: context has {found[1]} && context.{found[1]} …",
        )
    if found := _NO_TAG.search(message):
        return (
            find_token(rule, found[1]),
            f"{found[1]} may not stand there, and reading what is absent is an error that denies",
            f"guard it: context.query.hasTag({found[1]}) && context.query.getTag({found[1]}) …",
        )
    if found := _NO_MEMBER.search(message):
        return (
            find_token(rule, ".", found[1]),
            message,
            f'read it by its name: context.query.hasTag("{found[1]}") && context.query.getTag("{found[1]}") …',
        )
    if found := _NO_ATTRIBUTE.search(message):
        return (
            find_token(rule, ".", found[1]),
            message,
            "name the action in the head of the rule, or guard it with has",
        )
    return rule.start, message, None


def never_fires(rule: Rule, text: str, rule_text: RuleText) -> list[Problem]:
    """Say that conditions can never hold, or that an entity id cannot be one."""
    problems: list[Problem] = []
    for clause in rule.tree.clauses:
        value = _fold(clause.expr, rule)
        if value is (not isinstance(clause, pst.When)):
            word = "when" if isinstance(clause, pst.When) else "unless"
            problems.append(
                problem_at(
                    rule.policy,
                    text,
                    find_token(rule_text, word),
                    f"this `{word}` is always {str(value).lower()}, so the rule can never fire",
                    "remove the rule, or compare with a value that occurs",
                )
            )
    problems += [
        problem_at(
            rule.policy,
            text,
            find_token(rule_text, f'"{node.id}"'),
            f"{node} can be no {node.type}, so the rule can never fire",
            wanted,
        )
        for node in walk(rule.tree)
        if isinstance(node, pst.EntityUid) and (wanted := _misshapen(str(node.type), node.id))
    ]
    for words, message, suggestion in calladvice.of_rule(rule, _actions(rule)):
        offset = find_token(rule_text, *words)
        problems.append(problem_at(rule.policy, text, offset, message, suggestion))
    if (trap := _only_the_table(rule)) is not None:
        problems.append(
            problem_at(
                rule.policy,
                text,
                find_token(rule_text, "resource", "=="),
                f"`resource == {trap}` leaves out its columns",
                f"write resource in {trap}",
                "warning",
            )
        )
    return problems


def _misshapen(kind: str, name: str) -> str | None:
    match kind:
        case "Resource" if "/" in name:
            return 'write Resource::"shop"'
        case "Schema" if not re.fullmatch(r"[^/]+/.+", name):
            return 'write Schema::"shop/public"'
        case "Table" | "Function" if not re.fullmatch(r"[^/]+/.+", name):
            return f'write {kind}::"shop/public.name"'
        case "Column" if not re.fullmatch(r"[^/]+/.+\..+\..+", name, re.S):
            return 'write Column::"shop/public.customers.email"'
        case "Route":
            return calladvice.misshapen_route(name)
        case "Tool" | "McpResource" | "Prompt" if not re.fullmatch(r"[^/]+/.+", name, re.S):
            return f'write {kind}::"desk/…": the resource, a slash and the name'
        case "Values" | "Numbers":
            return 'read one value: context.query.hasTag("limit") && context.query.getTag("limit") == "10"'
        case _:
            return None


def _only_the_table(rule: Rule) -> str | None:
    match rule.tree.resource, rule.tree.action:
        case pst.ScopeEq(entity=pst.EntityUid() as one), action if str(one.type) == "Table":
            actions = action.entities if isinstance(action, pst.ActionIn) else ()
            if isinstance(action, pst.ActionEq):
                actions = (action.entity,)
            reached = {
                name for name in ACTIONS for wanted in actions if wanted.id in ancestry(name)
            } or ACTIONS
            return str(one) if any("Column" in APPLIES.get(name, ()) for name in reached) else None
        case _:
            return None


def _fold(node: pst.Expr, rule: Rule) -> bool | None:
    """Return what an expression always is; ``None`` where that depends on the operation."""
    match node:
        case pst.BoolLit(value=value):
            return value
        case pst.UnaryOp(op="not", arg=arg):
            inner = _fold(arg, rule)
            return None if inner is None else not inner
        case pst.BinaryOp(op="and", left=left, right=right):
            sides = (_fold(left, rule), _fold(right, rule))
            return False if False in sides else (True if sides == (True, True) else None)
        case pst.BinaryOp(op="or", left=left, right=right):
            sides = (_fold(left, rule), _fold(right, rule))
            return True if True in sides else (False if sides == (False, False) else None)
        case pst.BinaryOp(op="eq", left=pst.GetAttr(base=pst.Var(name="context"), attr=name), right=right):
            return _fold_equal(name, right, rule)
        case pst.BinaryOp(op="eq", left=left, right=pst.GetAttr(base=pst.Var(name="context"), attr=name)):
            return _fold_equal(name, left, rule)
        case pst.HasAttr(base=pst.Var(name=variable), attrs=attrs):
            return None if attrs[0] in _attributes(variable, rule) else False
        case pst.Is(base=pst.Var(name=variable), entity_type=kind):
            return None if str(kind) in _types(variable, rule) else False
        case _:
            return None


def _fold_equal(name: str, value: pst.Expr, rule: Rule) -> bool | None:
    if not isinstance(value, pst.StringLit) or name not in (*CONTEXT_VALUES, "method"):
        return None
    actions = _actions(rule)
    if name == "method":
        may = calladvice.may_be_method(value.value, actions) or action_of(value.value) in actions
        return None if may else False
    known = CONTEXT_VALUES[name]
    if name == "protocol" and actions:
        # A statement is of one protocol and a call of the other; who connects may speak either.
        kinds = {CONTEXTS[action] for action in actions}
        known = tuple({PROTOCOL_OF[kind] for kind in kinds}) if kinds <= PROTOCOL_OF.keys() else known
    return None if value.value in known else False


def _actions(rule: Rule) -> set[str]:
    return {name for name, kinds in APPLIES.items() if kinds and _in_scope(rule, name)}


def _in_scope(rule: Rule, action: str) -> bool:
    match rule.tree.action:
        case pst.ActionEq(entity=one):
            return one.id == action
        case pst.ActionIn(entities=several):
            return any(one.id in ancestry(action) for one in several)
        case pst.ScopeAny():
            return True


def _types(variable: str, rule: Rule) -> set[str]:
    if variable == "principal":
        return {"Agent"}
    return {kind for name in _actions(rule) for kind in APPLIES[name]}


def _attributes(variable: str, rule: Rule) -> set[str]:
    if variable == "context":
        kinds = {CONTEXTS[name] for name in _actions(rule)}
    else:
        kinds = _types(variable, rule)
    return {name for kind in kinds for name in ATTRIBUTES[kind]}


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return a question that names what was probably meant."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"did you mean {near[0]}?" if near else None


def problem_at(
    policy: str, text: str, offset: int, message: str, suggestion: str | None,
    severity: Literal["error", "warning"] = "error",
) -> Problem:  # fmt: skip
    """Return a problem at a place of a policy's text."""
    place = place_of(text, offset)
    return Problem(
        policy=policy,
        line=place.line,
        column=place.column,
        message=message,
        suggestion=suggestion,
        severity=severity,
    )
