"""Names that exist, and what is said of a rule that names another."""

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal

from cedarpy import pst

from weirgate_contracts.labels import DETECTOR_LABELS
from weirgate_policy import calladvice, mcpadvice
from weirgate_policy.advice import nearest, problem_at
from weirgate_policy.entity import column_id, function_id, table_id
from weirgate_policy.problem import Problem
from weirgate_policy.rule import Rule, walk
from weirgate_policy.source import RuleText, find_token
from weirgate_sql.model import Catalog

_SYSTEM_NAME = re.compile(r"/(pg_catalog|information_schema)\.")
_OF_A_DATABASE = ("Schema", "Table", "Column", "Function")
_OF_A_RESOURCE = ("Resource", "Route", *mcpadvice.OFFERED, *_OF_A_DATABASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Names that exist; ``None`` where they are not known, and then nothing is said about them."""

    resources: AbstractSet[str] | None = None
    reviewers: AbstractSet[str] | None = None
    labels: AbstractSet[str] | None = None
    """Labels put on columns or named by masking rules; those of detectors need not be among them."""
    catalogs: Mapping[str, Catalog] = field(default_factory=dict[str, Catalog])
    """By resource. A table that is not in it may still be made, so that is a warning only."""
    routes: Mapping[str, Sequence[str]] | None = None
    """Templates of every HTTP resource; any other resource is a database or a server of MCP."""
    tools: Mapping[str, AbstractSet[str] | None] = field(default_factory=dict[str, AbstractSet[str] | None])
    """By resource of MCP the tools people approved; ``None``: none is pinned. Read where ``routes`` are known."""


def unknown_names(rule: Rule, text: str, rule_text: RuleText, known: Known) -> list[Problem]:
    """Say which names of a rule do not exist."""
    problems: list[Problem] = []

    def say(
        word: str, message: str, suggestion: str | None, severity: Literal["error", "warning"] = "error"
    ) -> None:
        offset = find_token(rule_text, f'"{word}"')
        problems.append(problem_at(rule.policy, text, offset, message, suggestion, severity))

    if known.reviewers is not None:
        for group in rule.obligation.hold:
            if group not in known.reviewers:
                offset = find_token(rule_text, "@", "hold")
                hint = (
                    nearest(group, known.reviewers) or f"publish a document: kind: reviewers, name: {group}"
                )
                problems.append(
                    problem_at(rule.policy, text, offset, f"there are no reviewers called {group}", hint)
                )
    labels = None if known.labels is None else known.labels | set(DETECTOR_LABELS)
    for node in walk(rule.tree):
        if not isinstance(node, pst.EntityUid):
            continue
        kind, name = str(node.type), node.id
        if kind in _OF_A_RESOURCE and known.resources is not None:
            resource = name.partition("/")[0]
            if resource not in known.resources:
                hint = nearest(resource, known.resources) or "publish the resource first"
                say(name, f"there is no resource {resource!r}, so the rule can never fire", hint)
                continue
            if known.routes is not None:
                amiss = mcpadvice.unoffered(kind, name, known.tools)
                if amiss is not None:
                    say(name, *amiss)
                    continue
                if resource in known.tools:
                    continue
                wrong = calladvice.unlisted(kind, name, known.routes.get(resource), kind in _OF_A_DATABASE)
                if wrong is not None:
                    say(name, *wrong)
                    continue
        if kind == "Label" and labels is not None and not _label_known(name, labels):
            hint = (
                nearest(name, _families(labels)) or "put the label on a column or into a masking rule first"
            )
            say(name, f"there is no label {name!r}, so the rule can never fire", hint)
        catalog = known.catalogs.get(name.partition("/")[0])
        names = _names_of(kind, name.partition("/")[0], catalog) if catalog is not None else None
        if names is not None and name not in names and not _SYSTEM_NAME.search(name):
            say(name, f"{kind} {name} is not in the catalog at present", nearest(name, names), "warning")
    return problems


def _names_of(kind: str, resource: str, catalog: Catalog) -> set[str] | None:
    match kind:
        case "Table":
            return {table_id(resource, one.schema, one.name) for one in catalog.relations.values()}
        case "Column":
            return {
                column_id(resource, one.schema, one.name, column.name)
                for one in catalog.relations.values()
                for column in one.columns
            }
        case "Function":
            return {
                function_id(resource, one.schema, one.name)
                for all in catalog.functions.values()
                for one in all
            }
        case _:
            return None


def _families(labels: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for label in labels:
        parts = label.split(".")
        found |= {".".join(parts[: length + 1]) for length in range(len(parts))}
    return found


def _label_known(name: str, labels: AbstractSet[str]) -> bool:
    return name in labels or any(label.startswith(f"{name}.") for label in labels)
