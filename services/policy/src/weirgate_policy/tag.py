"""Values that rules read by a name only the call knows: of its query, its headers, its body.

Cedar has no open records, but entities carry *tags*. So ``context.query`` is an entity that stands for the query
of this one call, and ``context.query.getTag("limit")`` a value of it. Only names that some rule reads are handed
to Cedar: that keeps a question small, and lets its ruling be remembered.

A tag holds one value. A name that stands more than once in a query or a form has no single one, and which the
upstream takes nobody knows (some take ``LIMIT`` for ``limit``, so those count as one): where a rule reads such a
name the whole attribute is left out, reading it is an error, and an error denies.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

TagRead = tuple[str, str | None]
"""An attribute of the context and the name a rule reads of it; ``None``: any name."""


class Tags(NamedTuple):
    """Names and values as one question holds them, sorted by name."""

    values: tuple[tuple[str, str | int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """Everything one part of a call says."""

    values: Mapping[str, str | int] = field(default_factory=dict[str, str | int])
    twice: frozenset[str] = frozenset()
    """Names that stand there more than once; not among ``values``."""

    def narrowed(self, names: frozenset[str] | None) -> Tags | None:
        """Return what is read of it; ``None``: it cannot be said.

        Args:
            names: Those that rules read; ``None``: any.
        """
        if self.twice if names is None else self.twice & names:
            return None
        kept = self.values if names is None else self.values.keys() & names
        return Tags(tuple(sorted((name, self.values[name]) for name in kept)))

    def doubted(self, reads: Iterable[TagRead], attribute: str) -> bool:
        """Say whether some rule reads a name that stands there more than once."""
        return any(
            of == attribute and (self.twice if name is None else name in self.twice) for of, name in reads
        )


def tagged(pairs: Iterable[tuple[str, str]]) -> Tagged:
    """Make one of names and values in order."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, value in pairs:
        found.setdefault(name.casefold(), []).append((name, value))
    return Tagged(
        values=dict(several[0] for several in found.values() if len(several) == 1),
        twice=frozenset(name for several in found.values() if len(several) > 1 for name, _ in several),
    )


def names_of(reads: frozenset[TagRead], attribute: str) -> frozenset[str] | None:
    """Return the names rules read of an attribute; ``None``: any."""
    names = frozenset(name for of, name in reads if of == attribute)
    return None if None in names else frozenset(name for name in names if name is not None)
