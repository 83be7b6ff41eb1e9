"""What stands in FROM, and what a relation's name means."""

from weirgate_sql.builtin import RELATIONS, SENSITIVE, SYSTEM_SCHEMAS, VALUES, VERSION
from weirgate_sql.core import BUDGET, DEPTH, Core
from weirgate_sql.model import ColumnRef, Relation, Unreadable
from weirgate_sql.parse import Node, split
from weirgate_sql.value import (
    CONSTANT,
    NONE,
    Effects,
    Field,
    Row,
    Scope,
    Value,
)

_SEQUENCE = ("last_value", "log_cnt", "is_called")
_TEMPORARY = ("pg_temp", "pg_toast")


class ViewReading:
    """What reading a view does: once for its rows, and for each column that is asked for."""

    __slots__ = ("columns", "effects", "outputs")

    def __init__(self, effects: Effects, columns: dict[str, Value], outputs: frozenset[ColumnRef]) -> None:
        self.effects = effects
        self.columns = columns
        self.outputs = outputs


class Relations(Core):
    """Relations by name, and the items of a FROM clause."""

    # ------------------------------------------------------------------ names

    def cte(self, name: str, scope: Scope | None) -> Row | None:
        """Return the columns of the common table expression of that name, where one is in sight."""
        while scope is not None:
            found = scope.ctes.get(name)
            if found is not None and found.row is not None:
                return found.row
            scope = scope.parent
        return None

    def locate(self, variable: Node) -> tuple[str | None, str]:
        """Return schema and name of the relation a RangeVar means; no schema where it is not to be found.

        Raises:
            Unreadable: it names another database.
        """
        name: str = variable.get("relname", "")
        schema: str | None = variable.get("schemaname")
        database = variable.get("catalogname")
        if database is not None and database != self.catalog.database:
            raise Unreadable(f'relation "{database}.{schema}.{name}" is in another database')
        self.effects.named.add((schema or "", name))
        if schema is not None:
            return schema, name
        if name in self.session.temporary and self._path is None:
            return "pg_temp", name
        path = self.path
        if "pg_catalog" not in path and f"pg_catalog.{name}" in RELATIONS:
            return "pg_catalog", name
        for place in path:
            qualified = f"{place}.{name}"
            if qualified in self.catalog.relations or (place in SYSTEM_SCHEMAS and qualified in RELATIONS):
                if self.strict_names:
                    self._only_one(name)
                return place, name
        return None, name

    def _only_one(self, name: str) -> None:
        if sum(1 for known in self.catalog.relations.values() if known.name == name) > 1:
            raise Unreadable(f'"{name}" in the body of a function could be one of several relations')

    # ------------------------------------------------------------------ relations

    def relation(self, variable: Node, how: str) -> Row:
        """Note that a relation is touched, and return its columns.

        Args:
            variable: Fields of a RangeVar.
            how: ``read insert update delete truncate lock ddl``.
        """
        schema, name = self.locate(variable)
        if schema is None:
            if name.startswith("pg_stat_statements"):
                self.effects.capabilities.add("system.sensitive")
            self.effects.opaque.add(f"relation:{name}")
            self.effects.tables.add(("", name, how))
            return Row((), open_value=Value(unknown=True), relation=("", name))
        return self.known(schema, name, how)

    def known(self, schema: str, name: str, how: str) -> Row:
        """As ``relation``, for a name already found."""
        self.effects.tables.add((schema, name, how))
        key = f"{schema}.{name}"
        if name.startswith("pg_stat_statements"):
            # The extension's view: other sessions' SQL, whichever schema it was put in.
            self.effects.capabilities.add("system.sensitive")
        if schema in SYSTEM_SCHEMAS:
            return self._system(schema, name, key)
        found = self.catalog.relations.get(key)
        if found is None or schema.startswith(_TEMPORARY):
            self.effects.opaque.add(f"relation:{key}")
            if schema.startswith("pg_toast"):
                self.effects.capabilities.add("system.sensitive")
            return Row((), open_value=Value(unknown=True), relation=(schema, name))
        if found.kind in ("v", "m") and how != "ddl":
            return self._view(found, how)
        if found.parents:
            return self._child(found, how)
        row: Row | None = self.catalog.memo.get(("table", key))
        if row is None:
            row = self.catalog.memo[("table", key)] = _table(found)
        return row

    def _system(self, schema: str, name: str, key: str) -> Row:
        columns = RELATIONS.get(key, ())
        sensitive = key in SENSITIVE
        if sensitive:
            self.effects.capabilities.add("system.sensitive")
        if key not in RELATIONS:
            # Of another major version, or with an extension's name squatting there: not known to be harmless.
            self.effects.capabilities.add("system.sensitive")
            return Row((), open_value=CONSTANT, relation=(schema, name), traced=True)
        version = self.catalog.server_version // 10000
        open_value = None if version in (0, VERSION) else CONSTANT
        unknown = key in VALUES
        fields: list[Field] = []
        for column in columns:
            ref = frozenset({ColumnRef(schema=schema, table=name, column=column)})
            fields.append(Field(column, Value(ref, unknown=unknown) if sensitive else CONSTANT, ref))
        if open_value is not None and unknown:
            open_value = Value(unknown=True)
        return Row(fields, open_value=open_value, relation=(schema, name), traced=sensitive)

    def _child(self, relation: Relation, how: str) -> Row:
        """Return the columns of a partition or an inheriting table: labels of the parent's columns hold for
        it."""
        fields: list[Field] = []
        for column in relation.columns:
            refs = {ColumnRef(schema=relation.schema, table=relation.name, column=column.name)}
            for parent in self._ancestors(relation):
                if any(other.name == column.name for other in parent.columns):
                    refs.add(ColumnRef(schema=parent.schema, table=parent.name, column=column.name))
            found = frozenset(refs)
            fields.append(Field(column.name, Value(found, direct=True, type=column.type), found))
        for parent in self._ancestors(relation):
            self.effects.tables.add((parent.schema, parent.name, how))
        return Row(fields, relation=(relation.schema, relation.name))

    def _ancestors(self, relation: Relation) -> list[Relation]:
        found: list[Relation] = []
        waiting = list(relation.parents)
        while waiting and len(found) < DEPTH:
            parent = self.catalog.relations.get(waiting.pop())
            if parent is not None and parent not in found:
                found.append(parent)
                waiting += parent.parents
        return found

    def _view(self, view: Relation, how: str) -> Row:
        key = f"{view.schema}.{view.name}"
        reading = self._read_view(view, key)
        if reading is None:
            self.effects.opaque.add(f"relation:{key}")
            refs = [(c, ColumnRef(schema=view.schema, table=view.name, column=c.name)) for c in view.columns]
            fields = [
                Field(c.name, Value(frozenset({ref}), unknown=True), frozenset({ref})) for c, ref in refs
            ]
            return Row(fields, relation=(view.schema, view.name))
        self.effects.take(reading.effects, reads=False, predicates=False)
        # What the view reads besides its output columns, it reads whichever columns are asked for. What it decides
        # by them its owner has decided: an agent cannot vary the question, so they are no predicates of this text.
        self.effects.reads |= reading.effects.reads - reading.outputs
        self.effects.reads |= reading.effects.predicates
        bases = {(schema, name) for schema, name, _ in reading.effects.tables}
        if how != "read":
            self.effects.tables |= {(schema, name, how) for schema, name in bases}
        fields = []
        for column in view.columns:
            own = frozenset({ColumnRef(schema=view.schema, table=view.name, column=column.name)})
            behind = reading.columns[column.name]
            value = behind._replace(sources=behind.sources | own, type=column.type)
            fields.append(Field(column.name, value, value.sources))
        row = Row(fields, relation=(view.schema, view.name))
        row.bases = row.bases | bases
        return row

    def _read_view(self, view: Relation, key: str) -> ViewReading | None:
        memo = self.catalog.memo
        if ("view", key) in memo:
            return memo[("view", key)]
        mark = f"view {key}"
        if view.definition is None or mark in self.session.stack or len(self.session.stack) >= DEPTH:
            return None
        reading: ViewReading | None = None
        self.session.stack.append(mark)
        try:
            reading = self._read_definition(view, view.definition)
        except Unreadable:
            if self.session.spent > BUDGET:
                raise
            reading = None  # named as opaque: a rule may permit it by name, nobody can see into it
        finally:
            self.session.stack.pop()
        # A view whose reading ran into the depth of *this* statement is read again by the next one.
        if reading is not None or not self.session.stack:
            memo[("view", key)] = reading
        return reading

    def _read_definition(self, view: Relation, definition: str) -> ViewReading | None:
        statements = split(definition)
        if len(statements) != 1 or statements[0].kind != "SelectStmt":
            return None
        effects = Effects()
        inner = type(self)(self.session, effects, path=self.catalog.search_path)
        outs = inner.select(statements[0].node, None)
        if outs.ragged or len(outs) != len(view.columns):
            return None
        columns = {column.name: out.value for column, out in zip(view.columns, outs, strict=True)}
        outputs = NONE.union(*(out.value.sources for out in outs))
        return ViewReading(effects, columns, outputs)


def _table(relation: Relation) -> Row:
    names = [(column.name, column.type) for column in relation.columns]
    if not names and relation.kind == "S":
        names = [(name, "bigint") for name in _SEQUENCE]
    fields: list[Field] = []
    for name, kind in names:
        ref = frozenset({ColumnRef(schema=relation.schema, table=relation.name, column=name)})
        fields.append(Field(name, Value(ref, direct=True, type=kind), ref))
    return Row(fields, relation=(relation.schema, relation.name))
