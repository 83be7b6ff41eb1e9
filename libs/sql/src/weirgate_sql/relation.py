"""What stands in FROM, and what a relation's name means."""

from weirgate_sql.builtin import RELATIONS, SENSITIVE, SYSTEM_SCHEMAS, VALUES, VERSION
from weirgate_sql.core import BUDGET, DEPTH, Core, Outs, fields_of, only, strings
from weirgate_sql.model import ColumnRef, Relation, Unreadable
from weirgate_sql.parse import Node, split
from weirgate_sql.value import (
    CONSTANT,
    NONE,
    Cte,
    Effects,
    Field,
    Item,
    Row,
    Scope,
    Value,
    merge,
    merge_fields,
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

    # ------------------------------------------------------------------ FROM

    def from_item(self, node: Node, scope: Scope) -> list[Item]:
        """Read one item of FROM. ``scope`` holds the items to the left of it, for LATERAL."""
        self.charge()
        kind, fields = only(node)
        match kind:
            case "RangeVar":
                return [self.range_variable(fields, scope, "read")]
            case "RangeSubselect":
                return [self._subselect(fields, scope)]
            case "JoinExpr":
                return self._join(fields, scope)
            case "RangeFunction":
                return [self._range_function(fields, scope)]
            case "RangeTableSample":
                return self._sample(fields, scope)
            case "RangeTableFunc":
                return [self._table_function(fields, scope)]
            case "JsonTable":
                return [self._json_table(fields, scope)]
            case _:
                raise Unreadable(f"{kind} in FROM is not a form this gateway reads")

    def range_variable(self, fields: Node, scope: Scope | None, how: str) -> Item:
        """Read a relation's name in FROM, or (``scope`` being ``None``) as the target of a statement."""
        name: str = fields.get("relname", "")
        alias = fields.get("alias")
        row = None
        if scope is not None and "schemaname" not in fields:
            row = self.cte(name, scope)
            if row is not None:
                self.effects.named.add(("", name))
        schema: str | None = None
        if row is None:
            row = self.relation(fields, how)
            if alias is None and row.relation is not None:
                schema = row.relation[0]
        return Item(*_aliased(name, row, alias), schema=schema)

    def _subselect(self, fields: Node, scope: Scope) -> Item:
        outer = scope
        if not fields.get("lateral"):
            # Only LATERAL sees its neighbours; a name not found inside means the query around, not them.
            outer = Scope(scope.parent)
            outer.ctes = scope.ctes
        outs = self.query(fields["subquery"], outer)
        alias = fields.get("alias") or {}
        return Item(alias.get("aliasname"), fields_of(outs, strings(alias.get("colnames", []))))

    def _join(self, fields: Node, scope: Scope) -> list[Item]:
        left = self.from_item(fields["larg"], scope)
        beside = Scope(scope.parent, [*scope.items, *left])
        beside.ctes = scope.ctes
        right = self.from_item(fields["rarg"], beside)
        left_fields = [field for item in left if item.columns_visible for field in item.row.fields]
        right_fields = [field for item in right if item.columns_visible for field in item.row.fields]
        open_values = [
            item.row for item in (*left, *right) if item.columns_visible and item.row.open is not None
        ]
        using = strings(fields.get("usingClause", []))
        if fields.get("isNatural"):
            known = {field.name for field in right_fields}
            using = [field.name for field in left_fields if field.name in known]
            if open_values:
                raise Unreadable("NATURAL JOIN with a relation whose columns are not known")
        merged: list[Field] = []
        for name in using:
            sides = [
                found
                for item in (*left, *right)
                if item.columns_visible and (found := item.row.find(name)) is not None
            ]
            if not sides:
                raise Unreadable(f'column "{name}" of USING is in neither relation')
            one = merge_fields(sides)
            # Which side the value is taken from is left's for INNER and LEFT; naming both is the safe answer.
            merged.append(Field(name, one.value, one.reads))
            self.decide(one.value)
            self.effects.reads |= one.reads
        rest = [field for field in (*left_fields, *right_fields) if field.name not in using]
        open_value: Value | None = None
        if open_values:
            open_value = merge([row.opened("*").value for row in open_values])
        whole = Row([*merged, *rest], open_value=open_value)
        alias = fields.get("alias")
        inner = [
            Item(
                item.name, item.row, schema=item.schema, name_visible=item.name_visible, columns_visible=False
            )
            for item in (*left, *right)
        ]
        joined: Item
        if alias is not None:
            joined = Item(*_aliased(alias.get("aliasname", ""), whole, alias))
        else:
            joined = Item(None, whole, name_visible=False)
        using_alias = fields.get("join_using_alias")
        extra: list[Item] = []
        if using_alias is not None:
            extra.append(Item(using_alias["aliasname"], Row(merged), columns_visible=False))
        if "quals" in fields:
            on = Scope(scope.parent, [*scope.items, *left, *right, *extra])
            on.ctes = scope.ctes
            self.decide(self.expr(fields["quals"], on))
        if alias is not None:
            return [joined, *extra]
        return [*inner, joined, *extra]

    def _range_function(self, fields: Node, scope: Scope) -> Item:
        alias = fields.get("alias") or {}
        columns: list[Field] = []
        open_value: Value | None = None
        single = len(fields["functions"]) == 1
        name = alias.get("aliasname")
        for entry in fields["functions"]:
            call, *definitions = entry["List"]["items"]
            value, row = self._one_function(call, scope)
            listed = definitions[0].get("List", {}).get("items", []) if definitions else []
            if single and fields.get("coldeflist"):
                listed = fields["coldeflist"]
            if listed:
                columns += [Field(one["ColumnDef"]["colname"], value._replace(row=None)) for one in listed]
            elif row is not None:
                columns += row.fields
                if row.open is not None:
                    open_value = merge((open_value or CONSTANT, row.open))
            else:
                own = self.column_name(call)
                columns.append(Field(name if single and name else own, value._replace(direct=False)))
            name = name or self.column_name(call)
        if fields.get("ordinality"):
            columns.append(Field("ordinality", CONSTANT))
        return Item(*_aliased(name or "", Row(columns, open_value=open_value), alias or None))

    def column_name(self, node: Node) -> str:
        """Return the name PostgreSQL gives an output column that has no alias."""
        raise NotImplementedError

    def _one_function(self, call: Node, scope: Scope) -> tuple[Value, Row | None]:
        if "FuncCall" in call:
            return self.call_columns(call["FuncCall"], scope)
        return self.expr(call, scope), None  # CURRENT_DATE, COALESCE and the like may stand there as well

    def _sample(self, fields: Node, scope: Scope) -> list[Item]:
        method = strings(fields.get("method", []))
        if method[-1] not in ("bernoulli", "system") or len(method) > 2 or (
            len(method) == 2 and method[0] != "pg_catalog"
        ):  # fmt: skip
            self.effects.opaque.add("function:" + ".".join(method))
        for argument in fields.get("args", []):
            self.decide(self.expr(argument, scope))
        if "repeatable" in fields:
            self.decide(self.expr(fields["repeatable"], scope))
        return self.from_item(fields["relation"], scope)

    def _table_function(self, fields: Node, scope: Scope) -> Item:
        parts = [self.expr(fields["docexpr"], scope), self.expr(fields["rowexpr"], scope)]
        parts += [self.expr(node["ResTarget"]["val"], scope) for node in fields.get("namespaces", [])]
        names: list[str] = []
        for node in fields.get("columns", []):
            column = node["RangeTableFuncCol"]
            names.append(column["colname"])
            parts += [self.expr(column[part], scope) for part in ("colexpr", "coldefexpr") if part in column]
        value = self.decide(merge(parts))
        alias = fields.get("alias") or {"aliasname": "xmltable"}
        return Item(*_aliased(alias["aliasname"], Row(Field(name, value) for name in names), alias))

    def _json_table(self, fields: Node, scope: Scope) -> Item:
        parts = [self.expr({"JsonValueExpr": fields["context_item"]}, scope)]
        parts += [self.expr(node, scope) for node in fields.get("passing", [])]
        names: list[str] = []
        waiting = list(reversed(fields.get("columns", [])))
        while waiting:
            column = waiting.pop()["JsonTableColumn"]
            waiting += reversed(column.get("columns", []))
            if "name" in column and column.get("coltype") != "JTC_NESTED":
                names.append(column["name"])
            for part in ("on_empty", "on_error"):
                if "expr" in column.get(part, {}):
                    parts.append(self.expr(column[part]["expr"], scope))
        value = self.decide(merge(parts))
        alias = fields.get("alias") or {"aliasname": "json_table"}
        return Item(*_aliased(alias["aliasname"], Row(Field(name, value) for name in names), alias))

    def define_ctes(self, clause: Node, scope: Scope) -> None:
        """Read a WITH clause into ``scope``. Every one is read, named or not: a data-modifying one runs
        anyway."""
        recursive = clause.get("recursive", False)
        entries = [node["CommonTableExpr"] for node in clause.get("ctes", [])]
        if recursive:
            for entry in _by_dependency(entries):
                self._recursive(entry, scope)
            return
        for entry in entries:
            outs = self.query(entry["ctequery"], scope)
            scope.ctes[entry["ctename"]] = Cte(fields_of(outs, strings(entry.get("aliascolnames", []))))

    def _recursive(self, entry: Node, scope: Scope) -> None:
        name: str = entry["ctename"]
        names = strings(entry.get("aliascolnames", []))
        kind, body = only(entry["ctequery"])
        cte = Cte()
        if kind == "SelectStmt" and body.get("op", "SETOP_NONE") != "SETOP_NONE":
            start = Scope(scope)
            if "withClause" in body:
                # Names of the inner WITH are needed for its first arm; it may not name the outer one there.
                self.define_ctes(body["withClause"], start)
            cte.row = self._extended(fields_of(self.select(body["larg"], start), names), entry)
            scope.ctes[name] = cte
            for _ in range(len(cte.row.fields) + 2):
                outs = self.query(entry["ctequery"], scope)
                grown = self._extended(fields_of(outs, names), entry)
                same = [f.value.sources for f in grown.fields] == [f.value.sources for f in cte.row.fields]
                cte.row = grown
                if same:
                    break
            else:
                raise Unreadable(f'the columns of "{name}" do not come to rest')
        else:
            cte.row = fields_of(self.query(entry["ctequery"], scope), names)
            scope.ctes[name] = cte

    def _extended(self, row: Row, entry: Node) -> Row:
        """Add the columns of SEARCH and CYCLE."""
        fields = list(row.fields)
        search, cycle = entry.get("search_clause"), entry.get("cycle_clause")
        if search is not None:
            order = merge([self._needed(row, name) for name in strings(search["search_col_list"])])
            fields.append(Field(search["search_seq_column"], self.decide(order)))
        if cycle is not None:
            path = merge([self._needed(row, name) for name in strings(cycle["cycle_col_list"])])
            self.decide(path)
            fields.append(Field(cycle["cycle_mark_column"], path))
            fields.append(Field(cycle["cycle_path_column"], path))
        return Row(fields, open_value=row.open)

    def _needed(self, row: Row, name: str) -> Value:
        found = row.find(name)
        if found is None:
            raise Unreadable(f'column "{name}" is not known')
        return found.value


def _table(relation: Relation) -> Row:
    names = [(column.name, column.type) for column in relation.columns]
    if not names and relation.kind == "S":
        names = [(name, "bigint") for name in _SEQUENCE]
    fields: list[Field] = []
    for name, kind in names:
        ref = frozenset({ColumnRef(schema=relation.schema, table=relation.name, column=name)})
        fields.append(Field(name, Value(ref, direct=True, type=kind), ref))
    return Row(fields, relation=(relation.schema, relation.name))


def _aliased(name: str, row: Row, alias: Node | None) -> tuple[str, Row]:
    if alias is None:
        return name, row
    names = strings(alias.get("colnames", []))
    if not names:
        return alias["aliasname"], row
    if len(names) > len(row.fields) and row.open is None:
        raise Unreadable(f'more column names than columns for "{alias["aliasname"]}"')
    fields = [
        Field(names[position], field.value, field.reads) if position < len(names) else field
        for position, field in enumerate(row.fields)
    ]
    if row.open is not None:
        star = row.opened("*")
        fields += [Field(extra, star.value, star.reads) for extra in names[len(row.fields) :]]
    renamed = Row(fields, open_value=row.open, relation=row.relation, traced=row.traced)
    renamed.bases = row.bases
    return alias["aliasname"], renamed


def _by_dependency(entries: list[Node]) -> list[Node]:
    """Order common table expressions so that each comes after those it names (WITH RECURSIVE allows any
    order)."""
    by_name = {entry["ctename"]: entry for entry in entries}
    ordered: list[Node] = []
    state: dict[str, int] = {}

    def visit(entry: Node) -> None:
        name = entry["ctename"]
        if state.get(name) == 2 or state.get(name) == 1:
            return
        state[name] = 1
        for used in sorted(_variables(entry["ctequery"])):
            if used in by_name and used != name:
                visit(by_name[used])
        state[name] = 2
        ordered.append(entry)

    for entry in entries:
        visit(entry)
    return ordered


def _variables(node: object) -> set[str]:
    found: set[str] = set()
    waiting: list[object] = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            variable = one.get("RangeVar")
            if isinstance(variable, dict) and "schemaname" not in variable:
                found.add(str(variable.get("relname", "")))
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return found


__all__ = ["Outs", "Relations", "ViewReading"]
