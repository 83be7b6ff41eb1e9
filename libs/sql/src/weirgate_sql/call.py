"""Function calls: PostgreSQL's own, those of the catalog, and those nobody can see into."""

import re

from weirgate_sql.builtin import FUNCTIONS, TYPES, Builtin
from weirgate_sql.core import BUDGET, DEPTH, Outs, constant_text, only, strings
from weirgate_sql.expression import Expressions
from weirgate_sql.model import Function, Unreadable
from weirgate_sql.parse import Node, Parsed, split
from weirgate_sql.safe import ALL, RAISES_NOT, setting_is_harmless
from weirgate_sql.value import CONSTANT, NONE, Effects, Field, Row, Scope, Value, merge

_SEQUENCE_CALLS = {"nextval": "update", "setval": "update", "currval": "read"}


class Calls(Expressions):
    """What a call does, and where its result can come from."""

    def call(self, fields: Node, scope: Scope) -> Value:
        """Read a function call in an expression."""
        return self._called(fields, scope, in_from=False)[0]

    def call_columns(self, fields: Node, scope: Scope) -> tuple[Value, Row | None]:
        """Read a function call that stands in FROM."""
        return self._called(fields, scope, in_from=True)

    def _called(self, fields: Node, scope: Scope, *, in_from: bool) -> tuple[Value, Row | None]:
        names = strings(fields["funcname"])
        name = names[-1]
        schema = names[-2] if len(names) > 1 else None
        if len(names) > 3 or (len(names) == 3 and names[0] != self.catalog.database):
            raise Unreadable(f'function "{".".join(names)}" is in another database')
        nodes: list[Node] = fields.get("args", [])
        projected = self._projection(fields, schema, name, nodes, scope)
        if projected is not None:
            return projected, None
        arguments = [self.expr(node, scope) for node in nodes]
        extra = self._around(fields, scope, arguments)
        builtin = None
        if schema in (None, "pg_catalog"):
            builtin = FUNCTIONS.get(name)
        elif schema == "information_schema":
            builtin = FUNCTIONS.get(f"information_schema.{name}")
        known = self.functions_named(schema, name) if schema != "pg_catalog" else ()
        value: Value | None = None
        row: Row | None = None
        if builtin is not None:
            value, row = self._builtin(name, builtin, nodes, arguments, in_from=in_from)
        if known:
            # Overloads are chosen by argument types, and a better match in a schema of the path beats
            # pg_catalog.
            for function in known:
                found, columns = self._user(function, arguments)
                value = found if value is None else merge((value, found))
                row = columns if row is None else Row((), open_value=value)
        if value is None:
            value = self._neither(schema, name, arguments)
        if extra:
            value = merge((value, *extra))._replace(row=value.row)
        return value, row

    def _around(self, fields: Node, scope: Scope, arguments: list[Value]) -> list[Value]:
        """Read what stands around the arguments of an aggregate or window function."""
        order = [node["SortBy"]["node"] for node in fields.get("agg_order", [])]
        extra = [self.decide(self.expr(node, scope)) for node in order]
        if "agg_filter" in fields:
            extra.append(self.decide(self.expr(fields["agg_filter"], scope)))
        if "over" in fields:
            extra.append(self.window(fields["over"], scope))
        if fields.get("agg_distinct"):
            for value in arguments:
                self.decide(value)
        return extra

    # ------------------------------------------------------------------ rows as arguments

    def _projection(
        self, fields: Node, schema: str | None, name: str, nodes: list[Node], scope: Scope
    ) -> Value | None:
        """Read ``email(t)``, which is ``t.email`` where no function of that name takes it."""
        if schema is not None or len(nodes) != 1 or "ColumnRef" not in nodes[0] or fields.get("over"):
            return None
        names = strings(nodes[0]["ColumnRef"]["fields"])
        if names[-1] == "*":
            names = names[:-1]
        elif len(names) > 1 or self.find(names[0], scope) is not None:
            return None
        item = self.item_named(names, scope)
        if item is None or not any(field.name == name for field in item.row.fields):
            return None
        if name in FUNCTIONS or name in TYPES or self.functions_named(None, name):
            return None  # then it may be either: read as a call on the whole row
        field = item.row.find(name)
        return self.touched(field) if field is not None else None

    def row_function(self, name: str, row: Row) -> Value:
        """Read ``t.name`` where ``t`` has no such column: ``name(t)``."""
        value = self.whole(row)
        known = self.functions_named(None, name)
        if known:
            return merge([self._user(function, [value])[0] for function in known])
        builtin = FUNCTIONS.get(name)
        if builtin is not None:
            return self._builtin(name, builtin, [{}], [value], in_from=False)[0]
        if name in TYPES:
            return self.cast(value, [name])
        if row.open is not None:
            return Value(value.sources, unknown=value.unknown)
        raise Unreadable(f'column "{name}" is not in the relation it is asked of')

    # ------------------------------------------------------------------ built-in

    def _builtin(
        self, name: str, builtin: Builtin, nodes: list[Node], arguments: list[Value], *, in_from: bool
    ) -> tuple[Value, Row | None]:
        self.effects.functions.add(f"pg_catalog.{name}")
        if builtin.danger is not None:
            self.effects.capabilities.add(builtin.danger)
        if name == "set_config":
            self._set_config(nodes)
        elif name in _SEQUENCE_CALLS:
            self._sequence(name, nodes)
        harmless = ALL if builtin.leakproof else RAISES_NOT.get(name, NONE)
        if builtin.returns_set:
            harmless = NONE
        for position, value in enumerate(arguments):
            if position not in harmless:
                self.decide(value)
        value = merge(arguments)
        if builtin.danger in ("lateral.dynamic", "lateral.largeobject", "lateral.file"):
            value = Value(value.sources, unknown=True)  # it can bring back any table, or any file
        row: Row | None = None
        if builtin.outs:
            row = Row(Field(out, value) for out in builtin.outs)
            value = value._replace(row=row)
        elif name == "unnest" and in_from and arguments:
            row = Row([Field("unnest", merge((argument,))) for argument in arguments], open_value=value)
            if len(arguments) == 1:
                row = None
        elif arguments and arguments[0].row is not None and "populate" in name:
            row = Row((), open_value=value)
            value = value._replace(row=row)
        elif (
            in_from and builtin.returns_set and not builtin.outs and ("record" in name or "populate" in name)
        ):
            row = Row((), open_value=value)
        return value, row

    def _set_config(self, nodes: list[Node]) -> None:
        setting = constant_text(nodes[0]) if nodes else None
        if setting is None:
            self.effects.capabilities.add("lateral.dynamic")
            self.effects.path_may_change = True
            return
        setting = setting.lower()
        value = constant_text(nodes[1]) if len(nodes) > 1 else None
        if setting == "search_path":
            self.effects.path_may_change = True
        elif setting in ("role", "session_authorization"):
            self.effects.capabilities.add("lateral.role")
            self.effects.path_may_change = True
        elif not setting_is_harmless(setting, value):
            self.effects.capabilities.add("lateral.system")

    def _sequence(self, name: str, nodes: list[Node]) -> None:
        text = constant_text(nodes[0]) if nodes else None
        try:
            statements = split(f"table {text}") if text is not None else ()
        except Unreadable:
            statements = ()
        source = statements[0].node.get("fromClause", []) if len(statements) == 1 else []
        if len(source) != 1 or "RangeVar" not in source[0]:
            self.effects.opaque.add(f"relation:{name}(…)")
            return
        named = set(self.effects.named)
        self.relation(source[0]["RangeVar"], _SEQUENCE_CALLS[name])
        self.effects.named = named  # it stands in a literal, which no other reader of SQL looks into

    # ------------------------------------------------------------------ of the catalog

    def _user(self, function: Function, arguments: list[Value]) -> tuple[Value, Row | None]:
        key = f"{function.schema}.{function.name}"
        self.effects.functions.add(key)
        if re.match(r"dblink|postgres_fdw", function.name):
            self.effects.capabilities.add("lateral.foreign")
        for value in arguments:
            self.decide(value)
        read = self._body(function, key, arguments)
        if read is None:
            self.effects.opaque.add(f"function:{key}")
            self.effects.path_may_change = True
            value = merge([*arguments, Value(unknown=True)])
            return value, self._result_row(function, None, value)
        value = merge([out.value for out in read])
        row = self._result_row(function, read, value)
        if row is not None:
            value = value._replace(row=row)
        return value, row

    def _body(self, function: Function, key: str, arguments: list[Value]) -> Outs | None:
        """Read the body of a SQL function as it would run here; ``None`` where nobody can see into it."""
        mark = f"function {key}"
        if function.language != "sql" or function.body is None or function.result == "trigger":
            return None
        if mark in self.session.stack or len(self.session.stack) >= DEPTH:
            return None
        effects = Effects()
        inner = type(self)(self.session, effects, path=self.path)
        inner.strict_names = True
        scope = Scope()
        scope.lenient = merge(arguments)
        outs = Outs()
        self.session.stack.append(mark)
        try:
            for statement in _statements(function.body):
                if statement.kind not in _READABLE:
                    return None
                outs = inner.query({statement.kind: statement.node}, scope)
        except Unreadable:
            if self.session.spent > BUDGET:
                raise
            return None
        finally:
            self.session.stack.pop()
        if effects.path_may_change:
            return None
        self.effects.take(effects)
        return outs

    def _result_row(self, function: Function, outs: Outs | None, value: Value) -> Row | None:
        """Return the columns of a function that returns rows."""
        result = function.result.strip()
        names: list[str] | None = None
        if result.upper().startswith("TABLE("):
            names = _table_names(result[6:-1])
        else:
            kind = re.sub(r"^SETOF\s+", "", result, flags=re.IGNORECASE)
            names = self._row_type(kind, function.schema)
            if names is None and kind != "record":
                return None
        if names is None:
            return Row((), open_value=Value(value.sources, unknown=value.unknown))
        if outs is not None and not outs.ragged and len(outs) == len(names):
            return Row(Field(name, out.value) for name, out in zip(names, outs, strict=True))
        return Row(Field(name, Value(value.sources, unknown=value.unknown)) for name in names)

    def _row_type(self, kind: str, schema: str) -> list[str] | None:
        plain = kind.replace('"', "")
        for key in (plain, *(f"{place}.{plain}" for place in (*self.path, schema))):
            relation = self.catalog.relations.get(key)
            if relation is not None:
                return [column.name for column in relation.columns]
        return None

    def _neither(self, schema: str | None, name: str, arguments: list[Value]) -> Value:
        """Read a call of something that is in no list: a cast by a type's name, or a function unheard of."""
        if len(arguments) == 1 and schema in (None, "pg_catalog") and name in TYPES:
            return self.cast(arguments[0], [name])
        qualified = name if schema is None else f"{schema}.{name}"
        self.effects.functions.add(qualified)
        self.effects.opaque.add(f"function:{qualified}")
        self.effects.path_may_change = True
        if re.match(r"dblink|postgres_fdw", name):
            self.effects.capabilities.add("lateral.foreign")
        for value in arguments:
            self.decide(value)
        return merge([*arguments, Value(unknown=True)])


_READABLE = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})


def _statements(body: str) -> tuple[Parsed, ...]:
    """Return the statements of a body, be it a string or in SQL's own form (``BEGIN ATOMIC``, ``RETURN``)."""
    if not re.match(r"\s*(BEGIN\s+ATOMIC|RETURN)\b", body, re.IGNORECASE):
        return split(body)
    wrapped = split(f"CREATE FUNCTION body() RETURNS integer LANGUAGE sql {body}")
    if len(wrapped) != 1 or "sql_body" not in wrapped[0].node:
        raise Unreadable("the body of a function cannot be read")
    kind, fields = only(wrapped[0].node["sql_body"])
    if kind == "ReturnStmt":
        select = {"targetList": [{"ResTarget": {"val": fields["returnval"]}}], "op": "SETOP_NONE"}
        return (Parsed(text=body, kind="SelectStmt", node=select),)
    nodes = [only(node) for outer in fields["items"] for node in outer["List"].get("items", [])]
    return tuple(Parsed(text=body, kind=inner, node=node) for inner, node in nodes)


def _table_names(inner: str) -> list[str]:
    """Return the column names of ``TABLE(a integer, "b" numeric(10,2))``, without the word and its
    brackets."""
    names: list[str] = []
    depth = 0
    part = ""
    for character in inner + ",":
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth <= 0:
            found = re.match(r'\s*(?:"((?:[^"]|"")+)"|(\S+))', part)
            if found:
                names.append((found[1] or found[2]).replace('""', '"'))
            part = ""
        else:
            part += character
    return names


__all__ = ["CONSTANT", "Calls"]
