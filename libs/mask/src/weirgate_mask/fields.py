"""Field patterns, compiled: from the path of a value to what masks it, one dictionary look a step.

A pattern is a JSON pointer (RFC 6901) whose steps may be ``*``; one step ``**`` stands for any number of steps.
All patterns are walked at once: a node is a set of (pattern, steps that fitted so far), made when a document
first gets there. A masked node is the end: everything below it is masked in the same way.
"""

from collections.abc import Iterable, Sequence

from weirgate_contracts.masking import FieldPlan
from weirgate_mask.jsonscalar import Scalar
from weirgate_mask.jsonshape import Shape
from weirgate_mask.keys import Keyring
from weirgate_mask.mismatch import PlanMismatch
from weirgate_mask.strictness import strictest
from weirgate_mask.substitute import Substitute

ANY = None
"""The step ``*``."""
Position = tuple[int, int]


def steps_of(pattern: str) -> tuple[int | None, tuple[bytes | None, ...]]:
    """Read a pattern: how many steps stand before its ``**`` (``None``: it has none), and its other steps.

    Raises:
        PlanMismatch: it is no such pattern, so nobody knows what it should have masked.
    """
    if pattern == "":
        return None, ()
    if not pattern.startswith("/"):
        raise PlanMismatch("a field pattern does not begin with a slash")
    written = pattern[1:].split("/")
    deep = written.index("**") if "**" in written else None
    steps = [step for number, step in enumerate(written) if number != deep]
    if "**" in steps:
        raise PlanMismatch("a field pattern has ** twice")
    if any("~" in step.replace("~0", "").replace("~1", "") for step in steps):
        raise PlanMismatch("a field pattern has a ~ that is neither ~0 nor ~1")
    return deep, tuple(
        ANY if step == "*" else step.replace("~1", "/").replace("~0", "~").encode() for step in steps
    )


class Node(dict[bytes, "Node"]):
    """A place in a document, whose items are the places below it that some pattern names."""

    __slots__ = ("_other", "_positions", "_tree", "by_index", "read", "scalar", "shapes", "taken")

    def __init__(self, tree: "FieldTree", positions: frozenset[Position]) -> None:
        super().__init__()
        self._tree = tree
        self._positions = positions
        self._other: Node | None = None
        self.scalar: Scalar | None = tree.scalar(positions)
        """What masks the value here, and every scalar below it."""
        self.taken = self.scalar is None and tree.takes(positions)
        """Strings here are given to somebody else."""
        self.by_index = tree.by_index and self.scalar is None
        """Elements of an array here may be named by number."""
        self.shapes: list[Shape] = []
        self.read = 0
        """Objects read here step by step."""

    @property
    def other(self) -> "Node":
        """Where a step leads that no pattern names."""
        if self._other is None:
            self._other = self if self.scalar is not None else self._tree.after(self._positions, None)
        return self._other

    def __missing__(self, key: bytes) -> "Node":
        if self.scalar is not None or key not in self._tree.named:
            return self.other
        node = self[key] = self._tree.after(self._positions, key)
        return node


class FieldTree:
    """The patterns of one plan."""

    def __init__(self, patterns: Sequence[str], scalars: Sequence[Scalar | None]) -> None:
        """Take the patterns; with each what masks its values, or ``None`` for one whose strings are taken."""
        read = [steps_of(pattern) for pattern in patterns]
        self._deep = [deep for deep, _ in read]
        self._steps = [steps for _, steps in read]
        self._scalars = scalars
        self._nodes: dict[frozenset[Position], Node] = {}
        self.named = frozenset(step for steps in self._steps for step in steps if step is not None)
        self.by_index = any(step.isdigit() for step in self.named)
        self.root = self._node((pattern, 0) for pattern in range(len(read)))

    def _node(self, positions: Iterable[Position]) -> Node:
        key = frozenset(positions)
        known = self._nodes.get(key)
        if known is None:
            known = self._nodes[key] = Node(self, key)
        return known

    def after(self, positions: frozenset[Position], key: bytes | None) -> Node:
        """Return the place one step on; ``None``: a step that no pattern names."""
        following: set[Position] = set()
        for pattern, fitted in positions:
            if self._deep[pattern] == fitted:
                following.add((pattern, fitted))
            steps = self._steps[pattern]
            if fitted < len(steps) and steps[fitted] in (ANY, key):
                following.add((pattern, fitted + 1))
        return self._node(following)

    def _ended(self, positions: frozenset[Position]) -> list[Scalar | None]:
        ended = sorted(pattern for pattern, fitted in positions if fitted == len(self._steps[pattern]))
        return [self._scalars[pattern] for pattern in ended]

    def scalar(self, positions: frozenset[Position]) -> Scalar | None:
        """Return the strictest mask of the patterns that end here."""
        masks = [one for one in self._ended(positions) if one is not None]
        if len(masks) < 2:
            return masks[0] if masks else None
        transform = strictest(one.to.transform for one in masks)
        return next(one for one in masks if one.to.transform == transform)

    def takes(self, positions: frozenset[Position]) -> bool:
        """Say whether a pattern ends here whose strings are taken."""
        return None in self._ended(positions)

    def last_steps(self) -> list[tuple[bytes | None, Scalar]]:
        """Return the last step of each masking pattern: for bodies without nesting. ``None``: any name."""
        return [
            (steps[-1] if steps else ANY, scalar)
            for steps, scalar in zip(self._steps, self._scalars, strict=True)
            if scalar is not None
        ]


def field_tree(
    fields: Sequence[FieldPlan], unmask: frozenset[str], keys: Keyring, taken: Sequence[str] = ()
) -> FieldTree:
    """Compile the fields that are hidden from somebody who may see these labels.

    Args:
        fields: The plan's.
        unmask: Labels the verdict lets this agent see in clear.
        keys: The mask key.
        taken: Patterns of strings that are given to somebody else.

    Raises:
        PlanMismatch: a pattern cannot be read.
    """
    hidden = [field for field in fields if not unmask.issuperset(field.labels)]
    scalars: list[Scalar | None] = [
        Scalar(Substitute(min(set(field.labels) - unmask), field.transform, keys)) for field in hidden
    ]
    return FieldTree([field.pattern for field in hidden] + list(taken), scalars + [None] * len(taken))
