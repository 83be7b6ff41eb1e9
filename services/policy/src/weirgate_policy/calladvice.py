"""What is said of a rule on HTTP calls that parses: that it reads what no call has, or names no route. Pure."""

import difflib
import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from cedarpy import pst

from weirgate_contracts.config import ROUTE
from weirgate_contracts.http import MESSAGE_METHOD
from weirgate_policy.entity import UNLISTED
from weirgate_policy.rule import Rule, walk
from weirgate_policy.vocabulary import CONTEXTS, METHODS, TAGS

Advice = tuple[tuple[str, ...], str, str | None]
"""Words that stand where it is wrong, what is wrong, and what would be right."""

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def of_rule(rule: Rule, actions: AbstractSet[str]) -> Iterator[Advice]:
    """Say what of a rule can never hold on a call, or would let a call pass that was not read.

    Args:
        rule: Any rule.
        actions: Those it can be asked for.
    """
    kinds = {CONTEXTS[name] for name in actions}
    if rule.obligation.rows is not None and kinds and kinds <= {"Call", "Message"}:
        yield ("@", "limit"), "@limit: an answer of HTTP has no rows", 'write @limit("bytes=1MB")'
    if rule.obligation.answers and actions and all(CONTEXTS[name] != "Call" for name in actions):
        yield ("@", "answer"), "@answer: only answers of HTTP have a status and a type", "leave it out"
    for node in walk(rule.tree):
        match node:
            case pst.HasAttr(base=pst.Var(name="context"), attrs=attrs) if attrs[0] in TAGS:
                yield (
                    ("has", attrs[0]),
                    f"`context has {attrs[0]}` lets a call pass this rule by whose {attrs[0]} cannot be read",
                    f"leave it out: what cannot be read denies; of one value ask context.{attrs[0]}.hasTag(…)",
                )
            case pst.BinaryOp(
                op="has_tag",
                left=pst.GetAttr(base=pst.Var(name="context"), attr=attr),
                right=pst.StringLit(value=name),
            ) if (wanted := _never_there(attr, name, rule, kinds)) is not None:
                yield (f'"{name}"',), f"no call has {name!r} in its {attr}", wanted
            case _:
                continue


def _never_there(attribute: str, name: str, rule: Rule, kinds: AbstractSet[str]) -> str | None:
    match attribute:
        case "headers" if _HEADER.fullmatch(name) is None:
            return f'names of headers stand in lower case: write "{name.lower()}"'
        case "body" | "numbers" if _POINTER.fullmatch(name) is None:
            return f'write a JSON pointer: "/{name.lstrip("/")}"'
        case "arguments" if "Message" in kinds:
            # Of a tool they are named by pointers, of a route by the names of its template.
            fits = _POINTER.fullmatch(name) is not None or kinds != {"Message"}
            return None if fits else f'write a JSON pointer: "/{name.lstrip("/")}"'
        case "arguments":
            route = _route_of(rule)
            names = _NAME.findall(route) if route is not None else [name]
            return None if name in names else f"the route has {', '.join(names) or 'no names'}"
        case _:
            return None


def _route_of(rule: Rule) -> str | None:
    """Return the id of the one route a rule is about."""
    match rule.tree.resource:
        case pst.ScopeEq(entity=pst.EntityUid() as one) | pst.ScopeIn(entity=pst.EntityUid() as one):
            return one.id if str(one.type) == "Route" else None
        case _:
            return None


def misshapen_route(name: str) -> str | None:
    """Say how to write the id of a Route; ``None``: it can be one."""
    resource, slash, rest = name.partition("/")
    fits = rest == UNLISTED or ROUTE.fullmatch(f"/{rest}") is not None
    return None if resource and slash and fits else 'write Route::"crm/v1/customers/{id}"'


def may_be_method(method: str, actions: AbstractSet[str]) -> bool:
    """Say whether a call that one of these actions is asked for can have a method."""
    if {"GET": "http.upgrade", MESSAGE_METHOD: "http.message"}.get(method) in actions:
        return True
    if method in METHODS:
        return METHODS[method] in actions
    return "http.other" in actions and method == method.upper()


def unlisted(
    kind: str, name: str, routes: Sequence[str] | None, of_a_database: bool
) -> tuple[str, str | None] | None:
    """Say that an entity cannot be one of its resource, and what would be right.

    Args:
        kind: Of the entity.
        name: Its id.
        routes: Templates of the resource; ``None``: it is not of HTTP.
        of_a_database: Whether only databases have entities of this kind.
    """
    resource, _, rest = name.partition("/")
    if routes is not None and of_a_database:
        return f"{resource} is a resource of HTTP and has no {kind}, so the rule can never fire", (
            f'write Route::"{resource}/…"'
        )
    if kind != "Route":
        return None
    if routes is None:
        return f"{resource} is no resource of HTTP, so the rule can never fire", "name a Table or a Column"
    if rest == UNLISTED or f"/{rest}" in routes:
        return None
    known = [f"{resource}{route}" for route in routes]
    near = difflib.get_close_matches(name, known, n=1)
    listed = ", ".join(known[:5]) or "none"
    return (
        f"{resource} lists no route /{rest}, so the rule can never fire",
        f"did you mean {near[0]}?" if near else f"put it into the resource's routes; it lists {listed}",
    )
