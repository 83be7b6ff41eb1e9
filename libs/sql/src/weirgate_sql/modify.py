"""INSERT, UPDATE, DELETE, MERGE: what is assigned, from where, and what RETURNING gives back."""

from weirgate_sql.core import Outs, only
from weirgate_sql.model import ColumnRef, Unreadable
from weirgate_sql.parse import Node
from weirgate_sql.query import Queries
from weirgate_sql.value import CONSTANT, NONE, Field, Item, Row, Scope, Value, merge

_COMMANDS = {"CMD_INSERT": "insert", "CMD_UPDATE": "update", "CMD_DELETE": "delete"}


class Target:
    """The relation a statement changes, and what it assigns to each column."""

    __slots__ = ("assigned", "item", "name", "row")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.row = item.row
        self.name = item.name
        self.assigned: dict[str, Value] = {}

    def after(self) -> Row:
        """Return the columns as RETURNING sees them: what stood there, or what was just put there."""
        if not self.assigned:
            return self.row
        fields: list[Field] = []
        for field in self.row.fields:
            added = self.assigned.get(field.name)
            value = field.value
            if added is not None and (added.sources or added.unknown):
                value = merge((value, added))
            fields.append(Field(field.name, value, field.reads))
        open_value = self.row.open
        if open_value is not None:
            open_value = merge((open_value, *self.assigned.values()))
        row = Row(fields, open_value=open_value, relation=self.row.relation, traced=self.row.traced)
        row.bases = self.row.bases
        return row


class Modifications(Queries):
    """The statements that change rows."""

    def modification(self, kind: str, fields: Node, scope: Scope | None) -> Outs:
        """Read a statement that changes rows and return what its RETURNING gives."""
        inner = Scope(scope)
        if "withClause" in fields:
            self.define_ctes(fields["withClause"], inner)
        match kind:
            case "InsertStmt":
                return self._insert(fields, inner)
            case "UpdateStmt":
                return self._update(fields, inner)
            case "DeleteStmt":
                return self._delete(fields, inner)
            case "MergeStmt":
                return self._merge(fields, inner)
            case _:
                raise Unreadable(f"{kind} is not a form this gateway reads here")

    # ------------------------------------------------------------------ the four

    def _insert(self, fields: Node, scope: Scope) -> Outs:
        self.effects.at_least("insert")
        target = Target(self.range_variable(fields["relation"], None, "insert"))
        columns = [node["ResTarget"]["name"] for node in fields.get("cols", [])]
        for node in fields.get("cols", []):
            self._subscripts(node["ResTarget"], scope)
        if not columns:
            columns = [field.name for field in target.row.fields]
            if target.row.open is not None:
                columns.append("*")
        if "selectStmt" in fields:
            outs = self.query(fields["selectStmt"], scope)
            if outs.ragged:
                value = merge([out.value for out in outs])
                for column in columns:
                    self._assign(target, column, value)
            else:
                if len(outs) > len(columns) and target.row.open is None:
                    raise Unreadable("INSERT has more values than columns")
                if "cols" not in fields and target.row.open is None:
                    columns = columns[: len(outs)]
                for position, column in enumerate(columns):
                    value = outs[position].value if position < len(outs) else CONSTANT
                    self._assign(target, column, value)
                for out in outs[len(columns) :]:
                    self._assign(target, "*", out.value)
        else:
            columns = []  # DEFAULT VALUES
        if "onConflictClause" in fields:
            self._on_conflict(fields["onConflictClause"], target, scope)
        return self._returning(fields, target, scope, [])

    def _on_conflict(self, clause: Node, target: Target, scope: Scope) -> None:
        beside = Scope(scope, [target.item])
        infer = clause.get("infer", {})
        for node in infer.get("indexElems", []):
            element = node["IndexElem"]
            if "name" in element:
                self.decide(self._column_of(target, element["name"]))
            elif "expr" in element:
                self.decide(self.expr(element["expr"], beside))
        if "whereClause" in infer:
            self.decide(self.expr(infer["whereClause"], beside))
        if clause.get("action") != "ONCONFLICT_UPDATE":
            return
        self._how(target, "update")
        given = Row(
            (Field(field.name, target.assigned.get(field.name, CONSTANT)) for field in target.row.fields),
            open_value=None if target.row.open is None else merge(target.assigned.values()),
        )
        beside.items.append(Item("excluded", given, columns_visible=False))
        self._assignments(clause.get("targetList", []), target, beside)
        if "whereClause" in clause:
            self.decide(self.expr(clause["whereClause"], beside))

    def _update(self, fields: Node, scope: Scope) -> Outs:
        self.effects.at_least("update")
        target = Target(self.range_variable(fields["relation"], None, "update"))
        scope.items.append(target.item)
        self.from_clause(fields.get("fromClause", []), scope)
        others = scope.items[1:]
        self._assignments(fields["targetList"], target, scope)
        self._where(fields, scope)
        return self._returning(fields, target, scope, others)

    def _delete(self, fields: Node, scope: Scope) -> Outs:
        self.effects.at_least("delete")
        target = Target(self.range_variable(fields["relation"], None, "delete"))
        scope.items.append(target.item)
        self.from_clause(fields.get("usingClause", []), scope)
        others = scope.items[1:]
        self._where(fields, scope)
        return self._returning(fields, target, scope, others)

    def _merge(self, fields: Node, scope: Scope) -> Outs:
        self.effects.at_least("merge")
        variable = fields["relation"]
        hows = {
            _COMMANDS[command]
            for node in fields.get("mergeWhenClauses", [])
            if (command := node["MergeWhenClause"].get("commandType")) in _COMMANDS
        }
        target = Target(self.range_variable(variable, None, "read"))
        for how in sorted(hows):
            self._how(target, how)
        source = self.from_item(fields["sourceRelation"], scope)
        scope.items += [target.item, *source]
        self.decide(self.expr(fields["joinCondition"], scope))
        for node in fields.get("mergeWhenClauses", []):
            self._when(node["MergeWhenClause"], target, scope)
        # RETURNING * of MERGE gives the columns of the source first.
        return self._returning(fields, target, scope, source, source_first=True)

    def _when(self, clause: Node, target: Target, scope: Scope) -> None:
        if "condition" in clause:
            self.decide(self.expr(clause["condition"], scope))
        match clause.get("commandType"):
            case "CMD_UPDATE":
                self._assignments(clause.get("targetList", []), target, scope)
            case "CMD_INSERT":
                columns = [node["ResTarget"]["name"] for node in clause.get("targetList", [])]
                values = [self.expr(node, scope) for node in clause.get("values", [])]
                if not columns:
                    columns = [field.name for field in target.row.fields[: len(values)]]
                for column, value in zip(columns, values, strict=False):
                    self._assign(target, column, value)
            case _:
                pass

    # ------------------------------------------------------------------ parts

    def _how(self, target: Target, how: str) -> None:
        self.effects.tables |= {(schema, name, how) for schema, name in target.row.bases}

    def _where(self, fields: Node, scope: Scope) -> None:
        node = fields.get("whereClause")
        if node is None:
            return
        if "CurrentOfExpr" in node:
            cursor = node["CurrentOfExpr"].get("cursor_name", "")
            if cursor not in self.session.cursors:
                raise Unreadable(f'cursor "{cursor}" is not known in this session')
            return
        self.decide(self.expr(node, scope))

    def _assignments(self, nodes: list[Node], target: Target, scope: Scope) -> None:
        for node in nodes:
            fields = node["ResTarget"]
            self._subscripts(fields, scope)
            value = self.expr(fields["val"], scope)
            if "indirection" in fields:
                found = target.row.find(fields["name"])
                if found is not None:
                    value = merge((value, found.value))
            self._assign(target, fields["name"], value)

    def _subscripts(self, fields: Node, scope: Scope) -> None:
        for node in fields.get("indirection", []):
            kind, inner = only(node)
            if kind == "A_Indices":
                for bound in ("lidx", "uidx"):
                    if bound in inner:
                        self.decide(self.expr(inner[bound], scope))

    def _assign(self, target: Target, column: str, value: Value) -> None:
        self.effects.writes |= self._refs(target, column)
        self.effects.flows |= value.sources
        known = target.assigned.get(column)
        target.assigned[column] = value if known is None else merge((known, value))

    def _refs(self, target: Target, column: str) -> frozenset[ColumnRef]:
        field = target.row.find(column)
        if field is None:
            if column == "*":
                return NONE
            raise Unreadable(f'column "{column}" of "{target.name}" is not known')
        # Of a view, the columns behind it are written as well.
        return field.reads

    def _column_of(self, target: Target, name: str) -> Value:
        field = target.row.find(name)
        if field is None:
            raise Unreadable(f'column "{name}" of "{target.name}" is not known')
        return self.touched(field)

    def _returning(
        self, fields: Node, target: Target, scope: Scope, others: list[Item], *, source_first: bool = False
    ) -> Outs:
        clause = fields.get("returningClause")
        if clause is None:
            return NoRows()
        after = target.after()
        mine = Item(target.name, after, schema=target.item.schema)
        items = [*others, mine] if source_first else [mine, *others]
        names = {"RETURNING_OPTION_OLD": "old", "RETURNING_OPTION_NEW": "new"}
        for node in clause.get("options", []):
            option = node["ReturningOption"]
            names[option.get("option", "RETURNING_OPTION_OLD")] = option["value"]
        # What was there before is what the columns hold, what is there now may have come from elsewhere.
        items += [Item(name, after, columns_visible=False) for name in names.values()]
        inner = Scope(scope.parent, items)
        inner.ctes = scope.ctes
        return self.targets(clause["exprs"], inner)


class NoRows(Outs):
    """A statement that returns no rows at all."""


class Reader(Modifications):
    """The whole reader of queries."""
