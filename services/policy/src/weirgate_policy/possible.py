"""Rules loosened to what could be permitted: for lists, where the operation is not known yet. Pure.

What an agent is shown of a list is what it could use with *some* arguments. So of each rule the parts that only
the operation will tell are taken for what serves the agent best, and Cedar decides over the rest:

===============================  =====================================================================
Such a part in a condition of    counts as
===============================  =====================================================================
a permit                         true: some arguments might meet it
a forbid                         false: some arguments might not
within ``!`` or ``unless``       the other way round
===============================  =====================================================================

Each part is loosened by itself. ``x == 1 && x == 2`` thus counts as possible: more may be shown than can be
used, never less. A forbid that hangs on nothing but who asks and what for still hides.

Source: Cedar policy language, "JSON policy format".
"""

from collections.abc import Mapping
from typing import Any, cast

UNKNOWN = frozenset(("arguments", "numbers"))
"""Attributes of the context that only an operation tells."""

Expr = dict[str, Any]


def loosened(source: Mapping[str, Any], *, resource_known: bool = True) -> Expr:
    """Return a rule in which nothing reads what is not known yet.

    Args:
        source: The rule in Cedar's JSON.
        resource_known: ``False``: nothing is known of the resource but its kind and what it is in.
    """
    permits = source["effect"] == "permit"
    conditions = [
        {
            "kind": one["kind"],
            "body": _bound(one["body"], permits == (one["kind"] == "when"), resource_known),
        }
        for one in source["conditions"]
    ]
    return {**source, "conditions": conditions}


def _bound(expr: Expr, high: bool, known: bool) -> Expr:
    """Return an expression that is true wherever the given one could be (``high``), or false wherever."""
    if not _unsure(expr, known):
        return expr
    operator, parts = next(iter(expr.items()))
    match operator:
        case "&&" | "||":
            left, right = (_bound(parts[side], high, known) for side in ("left", "right"))
            return {operator: {"left": left, "right": right}}
        case "!":
            return {"!": {"arg": _bound(parts["arg"], not high, known)}}
        case "if-then-else":
            then, other = (_bound(parts[part], high, known) for part in ("then", "else"))
            if not _unsure(parts["if"], known):
                return {"if-then-else": {"if": parts["if"], "then": then, "else": other}}
            return {"||" if high else "&&": {"left": then, "right": other}}
        case _:
            return {"Value": high}


_CONTEXT, _RESOURCE = {"Var": "context"}, {"Var": "resource"}


def _unsure(expr: object, known: bool) -> bool:
    """Say whether an expression reads what is not known."""
    stack: list[object] = [expr]
    while stack:
        match stack.pop():
            case {".": {"left": {"Var": "context"}, "attr": attr}} | {
                "has": {"left": {"Var": "context"}, "attr": attr}
            }:
                if attr in UNKNOWN:
                    return True
            case dict() as found:
                if found == _CONTEXT or (found == _RESOURCE and not known):
                    return True
                stack.extend(cast("dict[str, object]", found).values())
            case list() as found:
                stack.extend(cast("list[object]", found))
            case _:
                pass
    return False
