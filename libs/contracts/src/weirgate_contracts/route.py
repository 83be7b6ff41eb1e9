"""Which template of a resource a path fits. Pure; policy, masking and ingress must see the same one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote


@dataclass(slots=True)
class _Node:
    """Where templates that begin alike part ways, segment by segment."""

    literal: "dict[str, _Node]" = field(default_factory=dict[str, "_Node"])
    name: "_Node | None" = None
    route: str | None = None
    """Ends here; of several that differ in their names only, the first."""


def match_route(routes: Sequence[str], path: str) -> tuple[str, dict[str, str]] | None:
    """Return the template a path fits, and the decoded values of its names; ``None``: none.

    A name stands for exactly one segment that is not empty. Of several templates that fit, the one whose literal
    segments come first counts, left to right.

    Args:
        routes: templates, as in ``ResourceDocument.routes``.
        path: in normal form, percent-encoded.
    """
    segments = path.split("/")
    route = _find(_tree(tuple(routes)), segments, 0)
    if route is None:
        return None
    parts = zip(_parts(route), segments, strict=True)
    return route, {name: unquote(segment) for (_, name), segment in parts if name is not None}


def _find(node: _Node, segments: Sequence[str], at: int) -> str | None:
    if at == len(segments):
        return node.route
    segment = segments[at]
    literal = node.literal.get(segment)
    found = _find(literal, segments, at + 1) if literal is not None else None
    if found is None and node.name is not None and segment:
        found = _find(node.name, segments, at + 1)
    return found


@lru_cache(maxsize=256)
def _tree(routes: tuple[str, ...]) -> _Node:
    root = _Node()
    for route in routes:
        node = root
        for literal, name in _parts(route):
            if name is None:
                node = node.literal.setdefault(literal, _Node())
            else:
                node.name = node = node.name or _Node()
        node.route = node.route or route
    return root


@lru_cache(maxsize=4096)
def _parts(route: str) -> tuple[tuple[str, str | None], ...]:
    return tuple(
        (part, part[1:-1] if part.startswith("{") and part.endswith("}") else None)
        for part in route.split("/")
    )
