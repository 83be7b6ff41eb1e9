"""What the reader carries about: where a value comes from, what a relation offers, and what a statement has
done.

Plain mutable classes with slots, not frozen dataclasses: one is made for each column in sight, many times a
statement.
"""

from collections.abc import Iterable
from typing import NamedTuple

from weirgate_sql.model import ColumnRef

NONE: frozenset[ColumnRef] = frozenset()
SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})


class Value(NamedTuple):
    """Where the value of an expression can come from."""

    sources: frozenset[ColumnRef] = NONE
    direct: bool = False
    """One column, unchanged."""
    type: str | None = None
    """``format_type`` of it, where it is the catalog's word."""
    row: "Row | None" = None
    """The fields, where the value is a row whose fields are known."""
    unknown: bool = False
    """It may hold values of relations that nobody can name."""


CONSTANT = Value()


class Field(NamedTuple):
    """One column of something that stands in FROM, or of a row."""

    name: str
    value: Value
    reads: frozenset[ColumnRef] = NONE
    """What touching it counts as having read."""


class Row:
    """The columns of a relation, a subquery, a function's result or a row value, and how to find one by
    name."""

    __slots__ = ("bases", "fields", "index", "open", "relation", "traced")

    def __init__(
        self,
        fields: Iterable[Field],
        *,
        open_value: Value | None = None,
        relation: tuple[str, str] | None = None,
        traced: bool = False,
    ) -> None:
        self.fields: tuple[Field, ...] = tuple(fields)
        self.open: Value | None = open_value
        """Set where there may be more columns than ``fields``: what any of those holds."""
        self.relation: tuple[str, str] | None = relation
        """Schema and name, where it is a relation with system columns."""
        self.traced = traced
        """Whether columns nobody has listed name themselves as a source."""
        self.bases: frozenset[tuple[str, str]] = frozenset() if relation is None else frozenset({relation})
        """The relation and, for a view, those behind it."""
        self.index: dict[str, Field] | None = None

    def find(self, name: str) -> Field | None:
        """Return the column of that name; ``None`` where there is none for certain."""
        if self.index is None:
            self.index = {}
            for field in self.fields:
                known = self.index.get(field.name)
                self.index[field.name] = field if known is None else merge_fields((known, field))
        found = self.index.get(name)
        if found is None and self.open is not None:
            return self.opened(name)
        return found

    def opened(self, name: str) -> Field:
        """Return a column nobody has listed."""
        base = self.open or CONSTANT
        if self.relation is None:
            return Field(name, base)
        ref = frozenset({ColumnRef(schema=self.relation[0], table=self.relation[1], column=name)})
        traced = self.traced or base.unknown
        return Field(name, base._replace(sources=base.sources | ref) if traced else base, ref)

    def system(self, name: str) -> Field | None:
        """Return a system column such as ``ctid``, where there is one."""
        if self.relation is None or name not in SYSTEM_COLUMNS:
            return None
        ref = frozenset({ColumnRef(schema=self.relation[0], table=self.relation[1], column=name)})
        return Field(name, Value(ref, direct=True), ref)

    def whole(self) -> tuple[Value, frozenset[ColumnRef]]:
        """Return the row as one value, and what reading all of it reads."""
        value = merge([field.value for field in self.fields])
        reads = NONE.union(*(field.reads for field in self.fields)) if self.fields else NONE
        if self.open is not None:
            star = self.opened("*")
            value = merge((value, star.value))
            reads = reads | star.reads
        return value._replace(row=self), reads


class Item:
    """One name in scope: a ``Row`` under an alias, with PostgreSQL's two visibilities."""

    __slots__ = ("columns_visible", "name", "name_visible", "row", "schema")

    def __init__(
        self, name: str | None, row: Row, *, schema: str | None = None,
        name_visible: bool = True, columns_visible: bool = True,
    ) -> None:  # fmt: skip
        self.name = name
        self.row = row
        self.schema = schema
        """Set for a relation without an alias: it may be named with its schema."""
        self.name_visible = name_visible
        self.columns_visible = columns_visible


class Scope:
    """The names an expression sees; what is not found here is looked for in ``parent``."""

    __slots__ = ("ctes", "items", "lenient", "parent")

    def __init__(self, parent: "Scope | None" = None, items: Iterable[Item] = ()) -> None:
        self.parent = parent
        self.items: list[Item] = list(items)
        self.ctes: dict[str, Cte] = {}
        self.lenient: Value | None = None
        """In the body of a SQL function: what a name that is no column, so a parameter, holds."""


class Cte:
    """A common table expression: evaluated when first named, or in order."""

    __slots__ = ("row", "state")

    def __init__(self, row: Row | None = None) -> None:
        self.row = row
        self.state = "new" if row is None else "done"


class Effects:
    """What a statement has been seen to do so far. The sets of ``Touch``, still growing."""

    __slots__ = (
        "capabilities", "catalog_may_change", "flows", "functions", "named", "opaque", "path_may_change",
        "predicates", "reads", "tables", "verb", "writes",
    )  # fmt: skip

    def __init__(self) -> None:
        self.verb = ""
        self.reads: set[ColumnRef] = set()
        self.writes: set[ColumnRef] = set()
        self.tables: set[tuple[str, str, str]] = set()
        self.predicates: set[ColumnRef] = set()
        self.flows: set[ColumnRef] = set()
        self.functions: set[str] = set()
        self.capabilities: set[str] = set()
        self.opaque: set[str] = set()
        self.named: set[tuple[str, str]] = set()
        """Relations as the text names them, for the second reading."""
        self.path_may_change = False
        self.catalog_may_change = False

    def take(self, other: "Effects", *, reads: bool = True, predicates: bool = True) -> None:
        """Add what another reading found (a view, a function), ``named`` excepted: it is not of this text."""
        if reads:
            self.reads |= other.reads
        self.writes |= other.writes
        self.tables |= other.tables
        if predicates:
            self.predicates |= other.predicates
        self.flows |= other.flows
        self.functions |= other.functions
        self.capabilities |= other.capabilities
        self.opaque |= other.opaque
        self.path_may_change |= other.path_may_change
        self.catalog_may_change |= other.catalog_may_change
        self.at_least(other.verb)

    def at_least(self, verb: str) -> None:
        """Raise the verb to this one, where it weighs more."""
        if WEIGHT.get(verb, 0) > WEIGHT.get(self.verb, 0):
            self.verb = verb


WEIGHT = {"": 0, "select": 1, "lock": 2, "insert": 3, "update": 4, "delete": 5, "merge": 6}
"""Which verb a statement goes by that does several things: a SELECT with a deleting CTE is a ``delete``."""


def merge(values: Iterable[Value]) -> Value:
    """Return a value that can come from all of these."""
    sources: frozenset[ColumnRef] = NONE
    unknown = False
    for value in values:
        if value.sources:
            sources = sources | value.sources if sources else value.sources
        unknown = unknown or value.unknown
    return Value(sources, unknown=unknown) if sources or unknown else CONSTANT


def merge_fields(fields: Iterable[Field]) -> Field:
    """Return one column for several of the same name (which PostgreSQL itself would call ambiguous)."""
    taken = list(fields)
    if len(taken) == 1:
        return taken[0]
    reads = NONE.union(*(field.reads for field in taken))
    rows = [field.value.row for field in taken if field.value.row is not None]
    value = merge([field.value for field in taken])
    if rows:
        value = value._replace(row=Row((), open_value=value))
    return Field(taken[0].name, value, reads)
