"""Expressions: what they read, and where their value can come from."""

from collections.abc import Callable
from typing import ClassVar

from weirgate_sql.builtin import OPERATORS, TYPES
from weirgate_sql.core import only, strings
from weirgate_sql.model import Unreadable
from weirgate_sql.name import column_name
from weirgate_sql.parse import Node
from weirgate_sql.safe import BOTH_SIDES, LEFT_SIDE, NOWHERE, TEXT_TYPES, WIDER
from weirgate_sql.source import Sources
from weirgate_sql.value import CONSTANT, NONE, Field, Item, Row, Scope, Value, merge, merge_fields

_PLAIN = frozenset({"A_Const", "ColumnRef", "ParamRef", "SQLValueFunction"})
_TYPE_NAMES = {
    "int4": "integer", "int8": "bigint", "int2": "smallint", "bool": "boolean", "float8": "double precision",
    "float4": "real", "timestamptz": "timestamp with time zone", "timestamp": "timestamp without time zone",
    "varchar": "character varying", "bpchar": "character", "timetz": "time with time zone",
    "time": "time without time zone", "varbit": "bit varying",
}  # fmt: skip


class Expressions(Sources):
    """Everything that has a value, calls excepted."""

    def expr(self, node: Node, scope: Scope) -> Value:
        """Read an expression: its effects are noted, where its value can come from is returned.

        Raises:
            Unreadable: a form this reader does not know, or a name that is nowhere.
        """
        self.charge()
        kind, fields = only(node)
        reader = self.READERS.get(kind)
        if reader is None:
            raise Unreadable(f"{kind or 'an empty expression'} is not a form this gateway reads")
        return reader(self, fields, scope)

    def column_name(self, node: Node) -> str:
        """Return the name PostgreSQL gives an output column that has no alias."""
        return column_name(node)

    def all_of(self, nodes: list[Node], scope: Scope) -> list[Value]:
        """Read several expressions; a star among them is the columns it stands for."""
        values: list[Value] = []
        for node in nodes:
            if not node:
                continue
            values.append(self.expr(node, scope))
        return values

    # ------------------------------------------------------------------ names

    def touched(self, field: Field) -> Value:
        """Note that a column is read, and return its value."""
        self.effects.reads |= field.reads
        return field.value

    def column(self, fields: Node, scope: Scope) -> Value:
        """Read a ColumnRef: a column, a whole row, or a function by PostgreSQL's functional notation."""
        names = strings(fields["fields"])
        if names[-1] == "*":
            item = self.item_named(names[:-1], scope) if len(names) > 1 else None
            if item is None:
                raise Unreadable(f'"{".".join(names)}" names nothing')
            return self.whole(item.row)
        if len(names) == 1:
            return self._bare(names[0], scope)
        item = self.item_named(names[:-1], scope)
        if item is None:
            return self._unknown_name(names, scope)
        found = item.row.find(names[-1]) or item.row.system(names[-1])
        if found is not None:
            return self.touched(found)
        # "t.f" is "f(t)" in PostgreSQL where t has no such column.
        return self.row_function(names[-1], item.row)

    def _bare(self, name: str, scope: Scope) -> Value:
        found = self.find(name, scope)
        if found is not None:
            return self.touched(found)
        item = self.item_named([name], scope)
        if item is not None:
            return self.whole(item.row)
        return self._unknown_name([name], scope)

    def _unknown_name(self, names: list[str], scope: Scope) -> Value:
        place: Scope | None = scope
        while place is not None:
            if place.lenient is not None:
                return place.lenient
            place = place.parent
        if len(names) > 1:
            raise Unreadable(
                f'"{".".join(names[:-1])}" in "{".".join(names)}" is no relation of this statement'
            )
        raise Unreadable(f'column "{names[0]}" is in no relation of this statement that the catalog knows')

    def find(self, name: str, scope: Scope) -> Field | None:
        """Find a column by its bare name, from the innermost query outwards."""
        place: Scope | None = scope
        guesses: list[Field] = []
        while place is not None:
            certain: list[Field] = []
            self.charge(len(place.items))
            for item in place.items:
                if not item.columns_visible:
                    continue
                found = item.row.find(name)
                if found is None:
                    continue
                if item.row.open is not None and not _listed(item.row, name):
                    guesses.append(found)
                else:
                    certain.append(found)
            if not certain:
                certain = [
                    found
                    for item in place.items
                    if (item.columns_visible or item.name_visible) and (found := item.row.system(name))
                ]
            if certain:
                return merge_fields([*certain, *guesses])
            place = place.parent
        return merge_fields(guesses) if guesses else None

    def item_named(self, names: list[str], scope: Scope) -> Item | None:
        """Find an item of FROM by alias, by name, or by schema and name."""
        name = names[-1]
        schema = names[-2] if len(names) > 1 else None
        if len(names) > 3 or (len(names) == 3 and names[0] != self.catalog.database):
            raise Unreadable(f'"{".".join(names)}" is in another database')
        place: Scope | None = scope
        while place is not None:
            hits = [
                item
                for item in place.items
                if item.name_visible and item.name == name and (schema is None or item.schema == schema)
            ]
            if len(hits) == 1:
                return hits[0]
            if hits:
                rows = [item.row for item in hits]
                both = Row(
                    (field for row in rows for field in row.fields),
                    open_value=merge([row.open for row in rows if row.open is not None])
                    if any(row.open is not None for row in rows)
                    else None,
                )
                return Item(name, both)
            place = place.parent
        return None

    def whole(self, row: Row) -> Value:
        """Read every column of a row."""
        value, reads = row.whole()
        self.effects.reads |= reads
        return value

    def row_function(self, name: str, row: Row) -> Value:
        """Read ``t.name`` or ``name(t)``: a function of a whole row."""
        raise NotImplementedError

    # ------------------------------------------------------------------ operators

    def _constant(self, fields: Node, scope: Scope) -> Value:
        return CONSTANT

    def _operator(self, fields: Node, scope: Scope) -> Value:
        kind = fields.get("kind", "AEXPR_OP")
        names = strings(fields.get("name", []))
        symbol = names[-1] if names else "="
        left = self.expr(fields["lexpr"], scope) if "lexpr" in fields else CONSTANT
        right = self.expr(fields["rexpr"], scope) if "rexpr" in fields else CONSTANT
        if kind in ("AEXPR_BETWEEN", "AEXPR_NOT_BETWEEN", "AEXPR_BETWEEN_SYM", "AEXPR_NOT_BETWEEN_SYM"):
            return merge((left, right))
        if (len(names) > 1 and names[-2] != "pg_catalog") or (symbol not in OPERATORS and symbol != "!="):
            self.unknown_operator(".".join(names))
            self._hidden(left, right)
            return merge((left, right, Value(unknown=True)))
        if symbol in LEFT_SIDE:
            self.decide(right)
        elif symbol not in BOTH_SIDES:
            self._hidden(left, right)
        return merge((left, right))

    def _hidden(self, *values: Value) -> None:
        for value in values:
            self.decide(value)

    def _boolean(self, fields: Node, scope: Scope) -> Value:
        values = self.all_of(fields["args"], scope)
        if fields.get("boolop") != "NOT_EXPR":
            # AND and OR may stop early: what is left of one decides whether the right of it runs.
            self._hidden(*values)
        return merge(values)

    def _case(self, fields: Node, scope: Scope) -> Value:
        deciding: list[Value] = []
        results: list[Value] = []
        if "arg" in fields:
            deciding.append(self.expr(fields["arg"], scope))
        for node in fields["args"]:
            when = node["CaseWhen"]
            deciding.append(self.expr(when["expr"], scope))
            results.append(self.expr(when["result"], scope))
        if "defresult" in fields:
            results.append(self.expr(fields["defresult"], scope))
        self._hidden(*deciding)
        return merge([*deciding, *results])

    def _coalesce(self, fields: Node, scope: Scope) -> Value:
        values = self.all_of(fields["args"], scope)
        if any(only(node)[0] not in _PLAIN for node in fields["args"][1:]):
            self._hidden(*values)  # a later argument runs only where the earlier ones are null
        return merge(values)

    def _arguments(self, fields: Node, scope: Scope) -> Value:
        return merge(self.all_of(fields.get("args", []), scope))

    def _argument(self, fields: Node, scope: Scope) -> Value:
        return merge((self.expr(fields["arg"], scope),))

    def _collate(self, fields: Node, scope: Scope) -> Value:
        return self.expr(fields["arg"], scope)

    def _list(self, fields: Node, scope: Scope) -> Value:
        items = fields.get("items", [])
        if len(items) > 8 and all("A_Const" in item for item in items):
            return CONSTANT
        return merge(self.all_of(items, scope))

    def _array(self, fields: Node, scope: Scope) -> Value:
        return merge(self.all_of(fields.get("elements", []), scope))

    def _row(self, fields: Node, scope: Scope) -> Value:
        columns: list[Field] = []
        for node in fields.get("args", []):
            if "ColumnRef" in node and strings(node["ColumnRef"]["fields"])[-1] == "*":
                row = self.column(node["ColumnRef"], scope).row
                columns += row.fields if row is not None else ()
                if row is not None and row.open is not None:
                    columns.append(row.opened("*"))
            else:
                columns.append(Field("", self.expr(node, scope)))
        columns = [Field(f"f{number}", field.value) for number, field in enumerate(columns, 1)]
        return merge([field.value for field in columns])._replace(row=Row(columns))

    # ------------------------------------------------------------------ casts, fields

    def _cast(self, fields: Node, scope: Scope) -> Value:
        value = self.expr(fields["arg"], scope)
        kind = fields["typeName"]
        return self.cast(value, strings(kind.get("names", [])), array="arrayBounds" in kind)

    def cast(self, value: Value, names: list[str], *, array: bool = False) -> Value:
        """Read a cast: one that can fail tells something of the value."""
        name = names[-1] if names else ""
        own = len(names) == 1 or names[0] == "pg_catalog"
        typed = _TYPE_NAMES.get(name, name) if own and name in TYPES else None
        if not value.sources and not value.unknown:
            return Value(row=self._composite(names, array))
        same = typed is not None and value.type is not None and not array and (
            value.type == typed or value.type.startswith(f"{typed}(")
        )  # fmt: skip
        widened = value.type is not None and value.type.split("(")[0] in WIDER.get(name, NOWHERE)
        if not same and not (own and not array and (name in TEXT_TYPES or widened)):
            self.decide(value)
        row = self._composite(names, array)
        if row is not None:
            # The fields of a row made from a value: any of them may hold any of it.
            row = Row(Field(f.name, Value(value.sources, unknown=value.unknown)) for f in row.fields)
        return Value(value.sources, type=value.type if same else None, row=row, unknown=value.unknown)

    def _composite(self, names: list[str], array: bool) -> Row | None:
        """Return the columns of the row type of a relation, holding nothing."""
        if array or not names:
            return None
        places = (names[-2],) if len(names) > 1 else self._path or self.session.path or ()
        for place in places:
            relation = self.catalog.relations.get(f"{place}.{names[-1]}")
            if relation is not None:
                return Row(Field(column.name, CONSTANT) for column in relation.columns)
        return None

    def _indirection(self, fields: Node, scope: Scope) -> Value:
        value = self._base_of_field(fields["arg"], fields["indirection"], scope)
        for part in fields["indirection"]:
            kind, inner = only(part)
            if kind == "String":
                value = self.field_of(value, inner.get("sval", ""))
            elif kind == "A_Indices":
                bounds = [self.expr(inner[b], scope) for b in ("lidx", "uidx") if b in inner]
                value = merge((value, *bounds))
            # A_Star leaves the row as it is: who expands it looks at its fields.
        return value

    def _base_of_field(self, arg: Node, parts: list[Node], scope: Scope) -> Value:
        """Read what a field is taken from; of a relation's row only the named field is read, not all."""
        if "ColumnRef" in arg and parts and "String" in parts[0]:
            names = strings(arg["ColumnRef"]["fields"])
            if len(names) == 1 and self.find(names[0], scope) is None:
                item = self.item_named(names, scope)
                field = item.row.find(parts[0]["String"].get("sval", "")) if item is not None else None
                if item is not None and field is not None:
                    self.effects.reads |= field.reads
                    return merge((field.value,))._replace(row=item.row)
        return self.expr(arg, scope)

    def field_of(self, value: Value, name: str) -> Value:
        """Return one field of a row value; all of it where its fields are not known."""
        if value.row is not None:
            field = value.row.find(name)
            if field is not None:
                return field.value
            return self.row_function(name, value.row)
        return Value(value.sources, unknown=value.unknown)

    # ------------------------------------------------------------------ subqueries

    def _sublink(self, fields: Node, scope: Scope) -> Value:
        outs = self.query(fields["subselect"], scope)
        kind = fields.get("subLinkType")
        if kind == "EXISTS_SUBLINK":
            # Whether there are rows is what its predicates say, and those are noted already.
            return CONSTANT
        values = [out.value for out in outs]
        if "testexpr" in fields:
            names = strings(fields.get("operName", [])) or ["="]
            if names[-1] not in OPERATORS or (len(names) > 1 and names[-2] != "pg_catalog"):
                self.unknown_operator(".".join(names))
            tested = self.expr(fields["testexpr"], scope)
            if names[-1] not in BOTH_SIDES:
                self._hidden(tested, *values)
            return merge([tested, *values])
        if kind in ("EXPR_SUBLINK", "ARRAY_SUBLINK") and len(values) == 1:
            one = values[0]
            return Value(one.sources, type=one.type if kind == "EXPR_SUBLINK" else None, row=one.row,
                         unknown=one.unknown)  # fmt: skip
        if not values and outs.ragged:
            return Value(unknown=True)
        return merge(values)

    # ------------------------------------------------------------------ XML, JSON

    def _xml(self, fields: Node, scope: Scope) -> Value:
        values = self.all_of(fields.get("args", []), scope)
        values += [self.expr(node["ResTarget"]["val"], scope) for node in fields.get("named_args", [])]
        if fields.get("op") not in ("IS_XMLELEMENT", "IS_XMLFOREST", "IS_XMLCONCAT"):
            self._hidden(*values)
        return merge(values)

    def _xml_serialize(self, fields: Node, scope: Scope) -> Value:
        return merge((self.expr(fields["expr"], scope),))

    def _json(self, fields: Node, scope: Scope) -> Value:
        """Read any of the JSON forms: whatever expression is inside flows into the value and may make it
        fail."""
        value = merge(self._inside(fields, scope))
        return self.decide(value)

    def _json_object(self, fields: Node, scope: Scope) -> Value:
        """Read JSON_OBJECT and JSON_OBJECTAGG: a null key fails, and so may a key that comes twice; no value does."""
        pairs = [node["JsonKeyValue"] for node in fields.get("exprs", [])] + [fields.get("arg", {})]
        for pair in pairs:
            if "key" in pair:
                self.decide(self.expr(pair["key"], scope))
        return merge(self._inside(fields, scope))

    def _json_safe(self, fields: Node, scope: Scope) -> Value:
        return merge(self._inside(fields, scope))

    def _inside(self, node: object, scope: Scope) -> list[Value]:
        values: list[Value] = []
        if isinstance(node, list):
            for one in node:
                values += self._inside(one, scope)
        elif isinstance(node, dict):
            for key, inner in node.items():
                if key in ("output", "format", "typeName", "location", "over"):
                    continue
                if key in ("SortBy", "JsonKeyValue", "JsonArgument", "JsonBehavior", "JsonAggConstructor"):
                    values += self._inside(inner, scope)
                elif key == "SelectStmt":
                    values += [out.value for out in self.query({key: inner}, scope)]
                elif key[:1].isupper():
                    values.append(self.expr({key: inner}, scope))
                elif isinstance(inner, dict | list):
                    values += self._inside(inner, scope)
            if "over" in node:
                values.append(self.window(node["over"], scope))
            if "agg_filter" in node:
                self.decide(merge(values))
            if "agg_order" in node:
                self.decide(merge(values))
        return values

    def window(self, fields: Node, scope: Scope) -> Value:
        """Read a window definition; the order within it decides what its functions return."""
        nodes = list(fields.get("partitionClause", []))
        nodes += [node["SortBy"]["node"] for node in fields.get("orderClause", [])]
        nodes += [fields[part] for part in ("startOffset", "endOffset") if part in fields]
        value = merge(self.all_of(nodes, scope))
        return self.decide(value)

    def _multi_assign(self, fields: Node, scope: Scope) -> Value:
        source = fields["source"]
        number = fields.get("colno", 1) - 1
        if "RowExpr" in source:
            arguments = source["RowExpr"].get("args", [])
            stars = any("ColumnRef" in n and "A_Star" in n["ColumnRef"]["fields"][-1] for n in arguments)
            if number < len(arguments) and not stars:
                node = arguments[number]
                return CONSTANT if "SetToDefault" in node else self.expr(node, scope)
        if "SubLink" in source:
            outs = self.query(source["SubLink"]["subselect"], scope)
            if not outs.ragged and len(outs) == fields.get("ncolumns"):
                return outs[number].value
            return merge([out.value for out in outs])
        return self.expr(source, scope)

    def call(self, fields: Node, scope: Scope) -> Value:
        """Read a function call."""
        raise NotImplementedError

    def _call(self, fields: Node, scope: Scope) -> Value:
        return self.call(fields, scope)

    READERS: ClassVar[dict[str, Callable[["Expressions", Node, Scope], Value]]] = {
        "A_Const": _constant, "ParamRef": _constant, "SetToDefault": _constant, "SQLValueFunction": _constant,
        "MergeSupportFunc": _constant, "CurrentOfExpr": _constant,
        "ColumnRef": column, "A_Expr": _operator, "BoolExpr": _boolean, "CaseExpr": _case,
        "CoalesceExpr": _coalesce, "MinMaxExpr": _arguments, "GroupingFunc": _arguments,
        "NullTest": _argument,
        "BooleanTest": _argument, "NamedArgExpr": _argument, "CollateClause": _collate, "List": _list,
        "A_ArrayExpr": _array, "RowExpr": _row, "TypeCast": _cast, "A_Indirection": _indirection,
        "SubLink": _sublink, "FuncCall": _call, "XmlExpr": _xml, "XmlSerialize": _xml_serialize,
        "JsonIsPredicate": _json_safe, "JsonScalarExpr": _json_safe, "JsonSerializeExpr": _json,
        "JsonObjectConstructor": _json_object, "JsonArrayConstructor": _json_safe,
        "JsonArrayQueryConstructor": _json_safe,
        "JsonObjectAgg": _json_object, "JsonArrayAgg": _json_safe, "JsonFuncExpr": _json, "JsonParseExpr": _json,
        "JsonValueExpr": _json_safe, "JsonArgument": _json_safe, "MultiAssignRef": _multi_assign,
    }  # fmt: skip


def _listed(row: Row, name: str) -> bool:
    return any(field.name == name for field in row.fields)


__all__ = ["NONE", "Expressions"]
