"""What stands in FROM: relations, joins, subqueries, functions, and what WITH makes."""

from weirgate_sql.core import fields_of, only, strings
from weirgate_sql.model import Unreadable
from weirgate_sql.parse import Node
from weirgate_sql.relation import Relations
from weirgate_sql.value import CONSTANT, Cte, Field, Item, Row, Scope, Value, merge, merge_fields


class Sources(Relations):
    """The items of a FROM clause, and common table expressions."""

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
