"""Shapes: one expression for all objects that are built alike, learned from the first of them.

Bodies are mostly long arrays of objects with the same keys in the same order. Once some were read step by
step, their shape becomes one expression with a group for every value: an object it fits is valid, has no key
twice, and shows its values without a Python step for each. What it does not fit is read step by step again,
so a shape can be missed and never be wrong.
"""

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from weirgate_mask.jsontoken import PLAIN, PLAIN_SCALAR, WS

if TYPE_CHECKING:
    from weirgate_mask.fields import Node
    from weirgate_mask.found import Found
    from weirgate_mask.jsonscalar import Scalar

SHAPES_LIMIT = 6
"""Shapes kept of one place."""
_GROUPS_LIMIT = 96
_TEXT_LIMIT = 16 * 1024
_ARRAY = rb"(\[" + WS + rb"(?:" + PLAIN_SCALAR + WS + rb"(?:," + WS + PLAIN_SCALAR + WS + rb")*+)?+\])"


class Shape:
    """How an object is built: an expression, and what its groups are."""

    __slots__ = ("arrays", "depth", "groups", "last", "masked", "match")

    def __init__(self) -> None:
        self.match: Callable[[bytes, int], re.Match[bytes] | None] = re.compile(b"").match
        self.masked: list[tuple[int, Scalar | None]] = []
        """Groups of values that a field pattern covers, left to right."""
        self.groups: list[tuple[int, Scalar | None]] = []
        """Groups of these and of the other scalars, which detectors look at, left to right."""
        self.arrays: list[int] = []
        """Groups of arrays of scalars, which this expression cannot take apart."""
        self.depth = 0
        self.last = 0
        """Group that fits where another object follows in the array; group 1 is the object itself."""


class _Pairs(list[tuple[str, Any]]):
    pass


def learn(text: bytes, node: "Node", found: "Found | None") -> Shape | None:
    """Learn the shape of a valid object at a place; ``None``: it has none that would do."""
    if len(text) > _TEXT_LIMIT or b"\\u" in text:
        return None
    learner = _Learner(found)
    written = learner.written(json.loads(text, object_pairs_hook=_Pairs), node, 1)
    if written is None or learner.groups > _GROUPS_LIMIT:
        return None
    another = WS + rb"(," + WS + rb"(?=\{))?+"
    learner.shape.match = re.compile(rb"(" + written + rb")" + another).match
    learner.shape.last = learner.groups + 1
    return learner.shape


class _Learner:
    def __init__(self, found: "Found | None") -> None:
        self.shape = Shape()
        self.groups = 1
        self._found = found

    def written(self, value: Any, node: "Node", depth: int) -> bytes | None:
        if node.taken:
            return None
        if isinstance(value, _Pairs):
            return self._object(value, node, depth)
        self.groups += 1
        if isinstance(value, list):
            items = cast("list[object]", value)
            nested = any(isinstance(item, list) for item in items)
            if nested or node.scalar is not None or node.by_index:
                return None
            if node.other.scalar is not None or node.other.taken:
                return None
            self.shape.arrays.append(self.groups)
            self.shape.depth = max(self.shape.depth, depth)
            return _ARRAY
        self.shape.groups.append((self.groups, node.scalar))
        if node.scalar is not None:
            self.shape.masked.append((self.groups, node.scalar))
        return rb"(" + PLAIN_SCALAR + rb")"

    def _object(self, pairs: _Pairs, node: "Node", depth: int) -> bytes | None:
        self.shape.depth = max(self.shape.depth, depth)
        members: list[bytes] = []
        for name, value in pairs:
            key = name.encode()
            if not PLAIN.fullmatch(key):
                return None
            if self._found is not None and self._found.key(key) is not None:
                return None
            written = self.written(value, node[key], depth + 1)
            if written is None:
                return None
            members.append(rb'"' + re.escape(key) + rb'"' + WS + rb":" + WS + written + WS)
        return rb"\{" + WS + (rb"," + WS).join(members) + rb"\}"
