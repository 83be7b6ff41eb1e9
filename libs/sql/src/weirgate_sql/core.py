"""What all parts of the reader share: the catalog, the session's names, the effects, the budget."""

from dataclasses import dataclass, field
from typing import Any

from weirgate_sql.model import Catalog, Function, Unreadable
from weirgate_sql.parse import Node
from weirgate_sql.value import NONE, Effects, Field, Row, Scope, Value

BUDGET = 150_000
"""Nodes one text may cost, views and repeated readings of recursive queries included. A 1 MiB INSERT of plain
values is not charged by the value."""
DEPTH = 24
"""Views and functions inside each other, prepared statements that execute prepared statements."""


class Unplannable(Unreadable):
    """What the output columns hold cannot be known, and it could be data of relations."""


@dataclass(slots=True)
class Session:
    """What a statement depends on beyond its text; later statements of the same text see what earlier ones
    did."""

    catalog: Catalog
    path: tuple[str, ...] | None
    """``None``: an earlier statement of this text may have changed it."""
    prepared: dict[str, str]
    cursors: dict[str, str]
    temporary: set[str] = field(default_factory=set[str])
    """Temporary relations made in this text: they hide those of the same name."""
    spent: int = 0
    stack: list[str] = field(default_factory=list[str])
    """Views, functions and prepared statements being read."""


class Out:
    """One output column while it is being worked out."""

    __slots__ = ("name", "reads", "value")

    def __init__(self, name: str, value: Value) -> None:
        self.name = name
        self.value = value


class Outs(list[Out]):
    """Output columns left to right; ``ragged`` where there may be more, or fewer, than stand here."""

    ragged: bool = False


class Core:
    """The state of one reading, and the methods its parts call across each other."""

    def __init__(self, session: Session, effects: Effects, *, path: tuple[str, ...] | None = None) -> None:
        self.session = session
        self.catalog = session.catalog
        self.effects = effects
        self._path = path
        self.strict_names = False
        """In the body of a function: a name that is not qualified must be the only one in the database."""

    @property
    def path(self) -> tuple[str, ...]:
        """The schemas unqualified names are looked for in, after ``pg_catalog`` where it is not among them.

        Raises:
            Unreadable: an earlier statement of the same text has made it unknown.
        """
        if self._path is not None:
            return self._path
        if self.session.path is None:
            raise Unreadable(
                "an earlier statement of this text may change search_path; send this statement on its own, or"
                " write schema.name"
            )
        return self.session.path

    def charge(self, nodes: int = 1) -> None:
        """Count work against the budget.

        Raises:
            Unreadable: it is spent.
        """
        self.session.spent += nodes
        if self.session.spent > BUDGET:
            raise Unreadable("the statement is too complex to be judged")

    def expr(self, node: Node, scope: Scope) -> Value:
        """Read an expression: its effects are noted, where its value can come from is returned."""
        raise NotImplementedError

    def query(self, node: Node, scope: Scope | None) -> Outs:
        """Read a SELECT, VALUES, INSERT, UPDATE, DELETE or MERGE and return its output columns."""
        raise NotImplementedError

    def select(self, fields: Node, parent: Scope | None) -> Outs:
        """Read the fields of a SelectStmt."""
        raise NotImplementedError

    def call_columns(self, fields: Node, scope: Scope) -> tuple[Value, Row | None]:
        """Read a function call that stands in FROM: its value, and its columns where it returns rows."""
        raise NotImplementedError

    def decide(self, value: Value) -> Value:
        """Note that a value decides rows, their order or number, or an error."""
        self.effects.predicates |= value.sources
        return value

    def unknown_operator(self, name: str) -> None:
        """Note an operator that is not PostgreSQL's own, so a function nobody has read."""
        self.effects.opaque.add(f"function:{name}")

    def functions_named(self, schema: str | None, name: str) -> tuple[Function, ...]:
        """Return what the catalog knows under this name, along the search_path where there is no schema."""
        known = self.catalog.functions
        if not known:
            return ()
        if schema is not None:
            return known.get(f"{schema}.{name}", ())
        found: list[Function] = []
        for place in self.path:
            found += known.get(f"{place}.{name}", ())
        return tuple(found)


def strings(nodes: list[Node]) -> list[str]:
    """Return the names in a list of String nodes; a star is ``*``."""
    return [node["String"].get("sval", "") if "String" in node else "*" for node in nodes]


def only(node: Node) -> tuple[str, Any]:
    """Return kind and fields of a node."""
    for kind, fields in node.items():
        return kind, fields
    return "", {}


def fields_of(outs: Outs, names: list[str]) -> Row:
    """Return the columns of a subquery or common table expression, renamed from the left."""
    if outs.ragged:
        # Nobody knows which name stands over which column, so any may hold what any of them holds.
        sources = NONE.union(*(out.value.sources for out in outs))
        either = Value(sources, unknown=any(out.value.unknown for out in outs))
        known = dict.fromkeys([*names, *(out.name for out in outs if out.name != "*")])
        return Row([Field(name, either) for name in known], open_value=either)
    if len(names) > len(outs):
        raise Unreadable("more column names than columns")
    return Row(
        Field(names[position] if position < len(names) else out.name, out.value)
        for position, out in enumerate(outs)
    )


def constant_text(node: Node | None) -> str | None:
    """Return the text of a string literal, a cast of one included; ``None`` where it is not a literal."""
    while node is not None and "TypeCast" in node:
        node = node["TypeCast"].get("arg")
    if node is None or "A_Const" not in node:
        return None
    constant = node["A_Const"]
    if "sval" in constant:
        return constant["sval"].get("sval", "")
    if "ival" in constant:
        return str(constant["ival"].get("ival", 0))
    if "fval" in constant:
        return constant["fval"].get("fval", "")
    if "boolval" in constant:
        return "true" if constant["boolval"].get("boolval") else "false"
    return None
