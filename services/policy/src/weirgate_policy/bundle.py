"""All published policies as one set of rules, and the check of them before they are published.

:func:`compile_policies` is what the service and every offline tool judge with; it takes no policy it cannot
keep to in full. :func:`check` says everything that is wrong, with line and column, and is what publishing
asks first.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from cedarpy import PolicySet, policies_to_json_str, policies_to_pst

from weirgate_policy import advice
from weirgate_policy.known import Known, unknown_names
from weirgate_policy.memory import Lru
from weirgate_policy.obligation import BadAnnotation, Obligation, read_annotations
from weirgate_policy.possible import loosened
from weirgate_policy.problem import Problem
from weirgate_policy.rule import WHOLE_CONTEXT, Rule, read_rule
from weirgate_policy.source import RuleText, find_token, place_of, split_rules, syntax_error
from weirgate_policy.tag import TagRead

__all__ = ["Bundle", "BundleError", "Known", "Problem", "Slice", "check", "compile_policies"]

SLICES_LIMIT = 4096
"""Slices kept: one for each agent, set of groups and action seen."""


class BundleError(ValueError):
    """The policies cannot be judged with; ``problems`` says why."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The rules whose scope leaves room for one principal and one action: all that can decide there."""

    policies: PolicySet
    rules: Mapping[str, Rule]
    permits: bool
    """Whether there is a permit among them; where not, the answer is no without asking."""
    forbids: bool
    context: frozenset[str]
    whole_context: bool
    tags: frozenset[TagRead]
    """Names that any of them reads of tags."""
    by_column: bool
    by_label: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Every rule there is, parsed once."""

    rules: Mapping[str, Rule]
    sources: Mapping[str, Any]
    """Rule id to Cedar's own JSON of it."""
    broken: tuple[Problem, ...] = ()
    """Why nothing may be judged with it; then every verdict is a refusal."""
    context: frozenset[str] = frozenset()
    """Attributes of the context that any rule reads."""
    named: frozenset[str] = frozenset()
    """Every name of an agent or a group that stands in the head of a rule."""
    slices: Lru[tuple[str, frozenset[str], str], Slice] = field(default_factory=lambda: Lru(SLICES_LIMIT))
    possibles: Lru[tuple[str, frozenset[str], str, bool], PolicySet] = field(
        default_factory=lambda: Lru(SLICES_LIMIT)
    )

    def slice(self, agent: str, groups: frozenset[str], action: str) -> Slice:
        """Return the rules that can decide for a principal and an action; the answer is kept."""
        # Agents and groups that no rule names cannot be told apart: they share a slice.
        key = (agent if agent in self.named else "", groups & self.named, action)
        found = self.slices.get(key)
        if found is None:
            found = self.slices[key] = self._cut(*key)
        return found

    def _cut(self, agent: str, groups: frozenset[str], action: str) -> Slice:
        rules = {id: rule for id, rule in self.rules.items() if rule.may_match(agent, groups, action)}
        context = frozenset(name for rule in rules.values() for name in rule.context)
        return Slice(
            policies=_policy_set({id: self.sources[id] for id in rules}),
            rules=rules,
            permits=any(rule.permits for rule in rules.values()),
            forbids=any(not rule.permits for rule in rules.values()),
            context=context,
            whole_context=WHOLE_CONTEXT in context,
            tags=frozenset(read for rule in rules.values() for read in rule.tags),
            by_column=any(rule.by_column for rule in rules.values()),
            by_label=any(rule.by_label for rule in rules.values()),
        )

    def possible(self, agent: str, groups: frozenset[str], action: str, *, resource_known: bool) -> PolicySet:
        """Return the rules of a slice, loosened to what could be permitted; see :mod:`possible`. It is kept."""
        key = (agent if agent in self.named else "", groups & self.named, action, resource_known)
        found = self.possibles.get(key)
        if found is None:
            rules = self.slice(agent, groups, action).rules
            loose = {id: loosened(self.sources[id], resource_known=resource_known) for id in rules}
            found = self.possibles[key] = _policy_set(loose)
        return found

    def uses(self, attribute: str) -> bool:
        """Say whether any rule can tell two values of an attribute of the context apart."""
        return attribute in self.context or WHOLE_CONTEXT in self.context

    @classmethod
    def refusing(cls, problems: Sequence[Problem]) -> "Bundle":
        """Return a bundle under which nothing is allowed, with the reason why."""
        return cls(rules={}, sources={}, broken=tuple(problems))


def compile_policies(policies: Mapping[str, str]) -> Bundle:
    """Compile every published policy into one bundle.

    Args:
        policies: Name to Cedar text.

    Raises:
        BundleError: a policy does not parse, does not fit the schema, or carries an annotation nobody can
        keep to.
            A policy is never left out: it might hold the forbid that counts.
    """
    rules, sources, problems = _read(policies)
    serious = [problem for problem in problems if problem.severity == "error"]
    if serious:
        raise BundleError(serious)
    return Bundle(
        rules=rules,
        sources=sources,
        context=frozenset(name for rule in rules.values() for name in rule.context),
        named=frozenset(rule.principal for rule in rules.values()) - {""},
    )


def check(policies: Mapping[str, str], known: Known | None = None) -> list[Problem]:
    """Say everything that is wrong with policies, before they are published.

    Args:
        policies: Name to Cedar text, of every policy that would be published, old and new.
        known: Names that exist, where they are known: a rule that names another can never fire.

    Returns:
        Problems by policy, line and column; empty where there is none. Those of severity ``warning`` stop
        nothing.
    """
    rules, _, problems = _read(policies)
    if known is not None:
        for rule in rules.values():
            text = policies[rule.policy]
            problems += unknown_names(rule, text, split_rules(text)[rule.number], known)
    return sorted(
        problems, key=lambda problem: (problem.policy, problem.line, problem.column, problem.message)
    )


def _policy_set(sources: Mapping[str, Any]) -> PolicySet:
    return PolicySet.from_json_str(
        json.dumps({"templates": {}, "staticPolicies": dict(sources), "templateLinks": []})
    )


def _read(policies: Mapping[str, str]) -> tuple[dict[str, Rule], dict[str, Any], list[Problem]]:
    rules: dict[str, Rule] = {}
    sources: dict[str, Any] = {}
    problems: list[Problem] = []
    for policy, text in sorted(policies.items()):
        found = _reading(policy, text)
        problems += found.problems
        rules |= found.rules
        sources |= found.sources
    return rules, sources, problems


@lru_cache(maxsize=1024)
def _reading(policy: str, text: str) -> "_PolicyReading":
    """Read one policy, once: a rule costs 3 to 5 ms to validate, and one policy of many changes at a time."""
    return _PolicyReading(policy, text)


class _PolicyReading:
    """One policy text, read as far as it can be, with everything that is wrong with it."""

    def __init__(self, policy: str, text: str) -> None:
        self.policy = policy
        self.text = text
        self.rules: dict[str, Rule] = {}
        self.sources: dict[str, Any] = {}
        self.problems: list[Problem] = []
        self._texts: tuple[RuleText, ...] = split_rules(text)
        bad = syntax_error(text)
        if bad is not None:
            self._say(bad[0], f"this is not Cedar: {bad[1]}", _SYNTAX_HINTS.get(bad[1]))
            return
        try:
            tree = policies_to_pst(text)
            sources = json.loads(policies_to_json_str(text))
        except ValueError as error:
            self._say(0, f"this cannot be judged with: {error}", "write it in simpler terms")
            return
        if tree.templates:
            for name in tree.templates:
                text_of = self._texts[int(name.removeprefix("policy"))]
                self._say(
                    text_of.start, "a template (?principal, ?resource) never fires here", "write the rule out"
                )
        for name, one in tree.static_policies.items():
            self._take(int(name.removeprefix("policy")), one, sources["staticPolicies"][name])
        self.problems += advice.schema_problems(policy, text, self._texts)

    def _take(self, number: int, tree: Any, source: Any) -> None:
        text = self._texts[number]
        obligation = Obligation()
        try:
            obligation = read_annotations(tree.effect, tree.annotations)
        except BadAnnotation as error:
            self._say(find_token(text, "@", error.name), str(error), error.suggestion)
        name = tree.annotations.get("id") or str(number + 1)
        rule = read_rule(policy=self.policy, name=name, number=number, tree=tree, obligation=obligation)
        if rule.id in self.rules:
            self._say(find_token(text, "@", "id"), f"two rules are called {rule.id}", "give each @id once")
            return
        self.rules[rule.id] = rule
        self.sources[rule.id] = source
        self.problems += advice.never_fires(rule, self.text, text)

    def _say(
        self,
        offset: int,
        message: str,
        suggestion: str | None,
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        place = place_of(self.text, offset)
        self.problems.append(
            Problem(
                policy=self.policy,
                line=place.line,
                column=place.column,
                message=message,
                suggestion=suggestion,
                severity=severity,
            )
        )


_SYNTAX_HINTS = {
    "unexpected end of input": "a rule ends in a semicolon, and every bracket and quote is closed",
    "invalid token": "strings stand in double quotes",
}
