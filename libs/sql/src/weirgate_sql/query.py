"""SELECT and VALUES: FROM, WHERE, the output columns, set operations, order."""

from weirgate_sql.builtin import OPERATORS
from weirgate_sql.call import Calls
from weirgate_sql.core import Out, Outs, only, strings
from weirgate_sql.model import Unreadable
from weirgate_sql.parse import Node
from weirgate_sql.value import CONSTANT, NONE, Item, Row, Scope, Value, merge


class Queries(Calls):
    """Queries, whichever place they stand in."""

    def query(self, node: Node, scope: Scope | None) -> Outs:
        """Read a SELECT, VALUES, INSERT, UPDATE, DELETE or MERGE and return its output columns."""
        self.charge()
        kind, fields = only(node)
        if kind == "SelectStmt":
            return self.select(fields, scope)
        return self.modification(kind, fields, scope)

    def modification(self, kind: str, fields: Node, scope: Scope | None) -> Outs:
        """Read a statement that changes rows and return what its RETURNING gives."""
        raise NotImplementedError

    def select(self, fields: Node, parent: Scope | None) -> Outs:
        """Read the fields of a SelectStmt."""
        self.charge()
        self.effects.at_least("select")
        if "intoClause" in fields:
            raise Unreadable("SELECT INTO inside another statement")
        scope = Scope(parent)
        if "withClause" in fields:
            self.define_ctes(fields["withClause"], scope)
        if fields.get("op", "SETOP_NONE") != "SETOP_NONE":
            outs = self._set_operation(fields, scope)
            self._sort_combined(fields, outs, scope)
        elif "valuesLists" in fields:
            outs = self._values(fields, scope)
            self._sort_combined(fields, outs, scope)
        else:
            outs = self._plain(fields, scope)
        for part in ("limitCount", "limitOffset"):
            if part in fields:
                self.decide(self.expr(fields[part], scope))
        return outs

    # ------------------------------------------------------------------ one SELECT

    def _plain(self, fields: Node, scope: Scope) -> Outs:
        before = set(self.effects.tables) if "lockingClause" in fields else set[tuple[str, str, str]]()
        self.from_clause(fields.get("fromClause", []), scope)
        if "lockingClause" in fields:
            self._lock(fields["lockingClause"], scope, before)
        outs = self.targets(fields.get("targetList", []), scope)
        if "whereClause" in fields:
            self.decide(self.expr(fields["whereClause"], scope))
        for node in fields.get("groupClause", []):
            self._group(node, outs, scope)
        if "havingClause" in fields:
            self.decide(self.expr(fields["havingClause"], scope))
        self._windows_used(fields, outs, scope)
        for node in fields.get("sortClause", []):
            symbol = strings(node["SortBy"].get("useOp", []))
            if symbol and symbol[-1] not in OPERATORS:
                self.unknown_operator(".".join(symbol))
            self._sort(node["SortBy"]["node"], outs, scope)
        distinct = fields.get("distinctClause")
        if distinct is not None:
            chosen = [node for node in distinct if node]
            for node in chosen:
                self._sort(node, outs, scope)
            if not chosen:
                for out in outs:
                    self.decide(out.value)
        return outs

    def from_clause(self, nodes: list[Node], scope: Scope) -> None:
        """Read the items of FROM into ``scope``, left to right."""
        for node in nodes:
            scope.items += self.from_item(node, scope)

    def _windows_used(self, fields: Node, outs: Outs, scope: Scope) -> None:
        """Let a named window's order flow into every output: what it decides is which value stands where."""
        if "windowClause" not in fields:
            return
        values = [self.window(node["WindowDef"], scope) for node in fields["windowClause"]]
        order = merge(values)
        if not order.sources and not order.unknown:
            return
        for out, node in zip(outs, fields.get("targetList", []), strict=False):
            if "ColumnRef" not in node["ResTarget"].get("val", {}):
                out.value = merge((out.value, order))._replace(row=out.value.row)

    def targets(self, nodes: list[Node], scope: Scope) -> Outs:
        """Read a target list, stars expanded."""
        outs = Outs()
        for node in nodes:
            target = node["ResTarget"]
            value_node = target["val"]
            row = self._star(value_node, scope)
            if row is not None:
                self.charge(len(row.fields))
                for field in row.fields:
                    self.effects.reads |= field.reads
                    outs.append(Out(field.name, field.value))
                if row.open is not None:
                    star = row.opened("*")
                    self.effects.reads |= star.reads
                    outs.append(Out("*", star.value))
                    outs.ragged = True
                continue
            outs.append(Out(target.get("name") or self.column_name(value_node), self.expr(value_node, scope)))
        return outs

    def _star(self, node: Node, scope: Scope) -> Row | None:
        """Return the columns a star in a target list stands for; ``None`` where it is no star."""
        if "ColumnRef" in node:
            names = strings(node["ColumnRef"]["fields"])
            if names[-1] != "*":
                return None
            if len(names) == 1:
                return self.star_of(scope)
            item = self.item_named(names[:-1], scope)
            if item is None:
                raise Unreadable(f'"{".".join(names)}" names no relation of this statement')
            return item.row
        if "A_Indirection" in node and "A_Star" in node["A_Indirection"]["indirection"][-1]:
            value = self.expr(node, scope)
            if value.row is not None:
                return value.row
            return Row((), open_value=Value(value.sources, unknown=value.unknown))
        return None

    def star_of(self, scope: Scope) -> Row:
        """Return all columns of all items, in order: what a bare star stands for."""
        items = [item for item in scope.items if item.columns_visible]
        if not items:
            raise Unreadable("SELECT * with no FROM")
        fields = [field for item in items for field in item.row.fields]
        opens = [item.row.opened("*") for item in items if item.row.open is not None]
        for field in opens:
            self.effects.reads |= field.reads
        return Row(fields, open_value=merge([field.value for field in opens]) if opens else None)

    def _group(self, node: Node, outs: Outs, scope: Scope) -> None:
        if "GroupingSet" in node:
            for inner in node["GroupingSet"].get("content", []):
                self._group(inner, outs, scope)
            return
        if "RowExpr" in node:
            for inner in node["RowExpr"].get("args", []):
                self._group(inner, outs, scope)
            return
        names = strings(node["ColumnRef"]["fields"]) if "ColumnRef" in node else []
        # GROUP BY prefers a column of FROM to an output's alias; ORDER BY has it the other way round.
        if len(names) == 1 and self.find(names[0], scope) is not None:
            self.decide(self.expr(node, scope))
            return
        self._sort(node, outs, scope)

    def _sort(self, node: Node, outs: Outs, scope: Scope) -> None:
        """Read an expression of ORDER BY or DISTINCT ON: an output's name, its number, or anything."""
        found = _output(node, outs)
        if found is not None:
            for out in found:
                self.decide(out.value)
            return
        self.decide(self.expr(node, scope))

    def _lock(self, clauses: list[Node], scope: Scope, before: set[tuple[str, str, str]]) -> None:
        self.effects.capabilities.add("lock")
        for node in clauses:
            named = [one["RangeVar"]["relname"] for one in node["LockingClause"].get("lockedRels", [])]
            items = [item for item in scope.items if item.name in named] if named else []
            bases = {base for item in items for base in item.row.bases}
            if not bases:
                bases = {(schema, name) for schema, name, _ in self.effects.tables - before}
            self.effects.tables |= {(schema, name, "lock") for schema, name in bases}

    # ------------------------------------------------------------------ several, or none

    def _set_operation(self, fields: Node, scope: Scope) -> Outs:
        left = self.select(fields["larg"], scope)
        right = self.select(fields["rarg"], scope)
        if not fields.get("all") or fields["op"] != "SETOP_UNION":
            # Rows are compared with each other.
            for out in (*left, *right):
                self.decide(out.value)
        outs = Outs()
        if left.ragged or right.ragged or len(left) != len(right):
            value = merge([out.value for out in (*left, *right)])
            outs += [Out(out.name, value) for out in left]
            outs.ragged = True
            return outs
        for mine, other in zip(left, right, strict=True):
            value = mine.value
            if other.value != value:
                same = mine.value.type is not None and mine.value.type == other.value.type
                value = merge((mine.value, other.value))._replace(type=value.type if same else None)
                rows = [one for one in (mine.value.row, other.value.row) if one is not None]
                if rows:
                    value = value._replace(row=Row((), open_value=value))
            outs.append(Out(mine.name, value))
        return outs

    def _sort_combined(self, fields: Node, outs: Outs, scope: Scope) -> None:
        for node in fields.get("sortClause", []):
            inner = node["SortBy"]["node"]
            found = _output(inner, outs)
            for out in found if found is not None else outs:
                self.decide(out.value)
            if found is None and "ColumnRef" not in inner:
                self.expr(inner, _of_outputs(outs, scope))

    def _values(self, fields: Node, scope: Scope) -> Outs:
        columns: list[list[Value]] = []
        for node in fields["valuesLists"]:
            items = node["List"]["items"]
            while len(columns) < len(items):
                columns.append([])
            for position, item in enumerate(items):
                if "A_Const" not in item:
                    columns[position].append(self.expr(item, scope))
        outs = Outs()
        for number, values in enumerate(columns, 1):
            value = values[0] if len(values) == 1 else merge(values)
            outs.append(Out(f"column{number}", value._replace(direct=False)))
        return outs


def _output(node: Node, outs: Outs) -> list[Out] | None:
    """Return the output columns an ORDER BY item names by alias or by number."""
    if "ColumnRef" in node:
        names = strings(node["ColumnRef"]["fields"])
        if len(names) == 1:
            found = [out for out in outs if out.name == names[0]]
            return found or None
    if "A_Const" in node and "ival" in node["A_Const"]:
        number = node["A_Const"]["ival"].get("ival", 0)
        if outs.ragged or not 1 <= number <= len(outs):
            return list(outs)
        return [outs[number - 1]]
    return None


def _of_outputs(outs: Outs, scope: Scope) -> Scope:
    from_outputs = Row((), open_value=merge([out.value for out in outs]))
    return Scope(scope, [Item(None, from_outputs)])


__all__ = ["CONSTANT", "NONE", "Queries"]
