"""One rule of a published policy, and what can be said of it without asking Cedar.

A rule's *scope* (the head, before ``when``) is decided before its conditions are evaluated. So leaving a rule
out because its principal or action cannot match changes no decision and no error; that is what makes slices
sound.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from cedarpy import pst

from weirgate_policy.obligation import Obligation
from weirgate_policy.tag import TagRead
from weirgate_policy.vocabulary import TAGS, ancestry

SAME_FOR_A_TABLE = frozenset({"table", "schema"})
"""Attributes with one value for every column of a table."""
WHOLE_CONTEXT = "*"
"""Stands for every attribute of the context, where a rule uses it other than by attribute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One compiled rule."""

    id: str
    """``<policy>/<@id>``, or ``<policy>/<n>`` counting from 1."""
    policy: str
    number: int
    """Counts the rules of its policy from 0, as Cedar does."""
    tree: pst.Template
    obligation: Obligation
    context: frozenset[str]
    """Attributes of the context it reads, or ``*``."""
    tags: frozenset[TagRead]
    """Names it reads of attributes that are tags."""
    by_column: bool
    """Whether two columns of one table can fare differently under it."""
    by_label: bool

    @property
    def permits(self) -> bool:
        """Whether it is a permit; a forbid otherwise."""
        return self.tree.effect == "permit"

    @property
    def principal(self) -> str:
        """Name of the agent or group in its head; empty: none."""
        match self.tree.principal:
            case (
                pst.ScopeEq(entity=pst.EntityUid(id=name))
                | pst.ScopeIn(entity=pst.EntityUid(id=name))
                | pst.ScopeIsIn(entity=pst.EntityUid(id=name))
            ):
                return name
            case _:
                return ""

    def may_match(self, agent: str, groups: frozenset[str], action: str) -> bool:
        """Say whether its scope leaves room for this principal and action."""
        return _principal_fits(self.tree.principal, agent, groups) and _action_fits(self.tree.action, action)

    def may_match_route(self, route: str, resource: str) -> bool:
        """Say whether its scope leaves room for this Route of this Resource, both by their ids."""
        match self.tree.resource:
            case pst.ScopeEq(entity=pst.EntityUid(type=kind, id=name)):
                return str(kind) == "Route" and name == route
            case (
                pst.ScopeIn(entity=pst.EntityUid(type=kind, id=name))
                | pst.ScopeIsIn(entity=pst.EntityUid(type=kind, id=name))
            ):
                return (str(kind), name) in (("Route", route), ("Resource", resource))
            case pst.ScopeIs(entity_type=kind):
                return str(kind) == "Route"
            case _:
                return True


def read_rule(*, policy: str, name: str, number: int, tree: pst.Template, obligation: Obligation) -> Rule:
    """Make a rule of its syntax tree."""
    context: set[str] = set()
    tags: set[TagRead] = set()
    by_column = by_label = False
    for node in walk(tree):
        match node:
            case pst.EntityUid(type=kind):
                by_column |= str(kind) == "Column"
                by_label |= str(kind) == "Label"
            case pst.EntityType():
                by_column |= str(node) == "Column"
            case _:
                pass
    for clause in tree.clauses:
        used, named, columns = _uses(clause)
        context |= used
        tags |= named
        by_column |= columns
    return Rule(
        id=f"{policy}/{name}", policy=policy, number=number, tree=tree, obligation=obligation,
        context=frozenset(context), tags=frozenset(tags), by_column=by_column, by_label=by_label,
    )  # fmt: skip


def walk(node: object) -> Iterator[object]:
    """Yield every node of a syntax tree."""
    stack: list[Any] = [node]
    while stack:
        value = stack.pop()
        if isinstance(value, tuple):
            stack.extend(value)
        elif isinstance(value, pst.FrozenMap | dict):
            stack.extend(value.values())
        elif is_dataclass(value) and not isinstance(value, type):
            yield value
            stack.extend(getattr(value, field.name) for field in fields(value))


def _uses(clause: object) -> tuple[set[str], set[TagRead], bool]:
    """Return the attributes of the context that conditions read, the names they read of tags, and whether they
    can tell columns apart."""
    context: set[str] = set()
    tags: set[TagRead] = set()
    by_column = False
    stack: list[Any] = [clause]
    while stack:
        value = stack.pop()
        match value:
            case pst.BinaryOp(
                op="has_tag" | "get_tag",
                left=pst.GetAttr(base=pst.Var(name="context"), attr=attr),
                right=pst.StringLit(value=name),
            ):
                context.add(attr)
                tags.add((attr, name))
            case pst.GetAttr(base=pst.Var(name="context"), attr=attr):
                context.add(attr)
                tags |= {(attr, None)} if attr in TAGS else set()
            case pst.HasAttr(base=pst.Var(name="context"), attrs=attrs):
                context.add(attrs[0])
            case pst.GetAttr(base=pst.Var(name="resource"), attr=attr):
                by_column |= attr not in SAME_FOR_A_TABLE
            case pst.Var(name="context"):
                context.add(WHOLE_CONTEXT)
                tags |= {(name, None) for name in TAGS}
            case pst.Var(name="resource"):
                by_column = True
            case _:
                if isinstance(value, tuple):
                    stack.extend(value)
                elif isinstance(value, pst.FrozenMap | dict):
                    stack.extend(value.values())
                elif is_dataclass(value) and not isinstance(value, type):
                    stack.extend(getattr(value, field.name) for field in fields(value))
    return context, tags, by_column


def _principal_fits(scope: pst.PrincipalOrResourceConstraint, agent: str, groups: frozenset[str]) -> bool:
    match scope:
        case pst.ScopeAny():
            return True
        case pst.ScopeEq(entity=pst.EntityUid(type=kind, id=name)):
            return str(kind) == "Agent" and name == agent
        case pst.ScopeIn(entity=pst.EntityUid(type=kind, id=name)):
            return _is_or_is_in(str(kind), name, agent, groups)
        case pst.ScopeIs(entity_type=kind):
            return str(kind) == "Agent"
        case pst.ScopeIsIn(entity_type=kind, entity=pst.EntityUid(type=of, id=name)):
            return str(kind) == "Agent" and _is_or_is_in(str(of), name, agent, groups)
        case _:
            return True


def _is_or_is_in(kind: str, name: str, agent: str, groups: frozenset[str]) -> bool:
    return (kind == "Agent" and name == agent) or (kind == "Group" and name in groups)


def _action_fits(scope: pst.ActionConstraint, action: str) -> bool:
    match scope:
        case pst.ActionEq(entity=one):
            return one.id == action
        case pst.ActionIn(entities=several):
            family = ancestry(action)
            return any(one.id in family for one in several)
        case pst.ScopeAny():
            return True
