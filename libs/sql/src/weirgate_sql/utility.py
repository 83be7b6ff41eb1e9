"""Everything else: COPY, DDL, maintenance, rights, and what leads sideways.

A statement kind that stands in no table here is refused: a new version's new statement is not taken for
harmless.
"""

from collections.abc import Callable
from typing import ClassVar

from weirgate_sql.core import Out, Outs, Unplannable, only, strings
from weirgate_sql.kind import DDL, OBJECT_CAPABILITIES, OBJECTS, RELATION_OBJECTS, SIMPLE
from weirgate_sql.model import Unreadable
from weirgate_sql.modify import NoRows
from weirgate_sql.parse import Node, Parsed
from weirgate_sql.session import Sessions
from weirgate_sql.value import Item, Row, Scope, Value, merge

_QUERIES = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})


class Utilities(Sessions):
    """Any statement at all."""

    def statement(self, kind: str, fields: Node, text: str) -> Outs | None:
        """Read one statement.

        Returns:
            Its output columns; ``None`` where what it returns is no data of relations.

        Raises:
            Unreadable: it, or something in it, is not understood.
        """
        self.charge()
        if kind in _QUERIES:
            return self._query(kind, fields)
        reader = self.STATEMENTS.get(kind)
        if reader is not None:
            return reader(self, fields, text)
        if kind in SIMPLE:
            self.effects.verb, capability = SIMPLE[kind]
            if capability:
                self.effects.capabilities.add(capability)
            if kind == "GrantStmt":
                self._relations_in(fields)
            return None
        if kind in DDL:
            self._ddl(kind, fields)
            return None
        raise Unreadable(f"{kind} is not a statement this gateway reads")

    def inner(self, parsed: Parsed) -> Outs | None:
        """Read a statement that stands behind another one."""
        return self.statement(parsed.kind, parsed.node, parsed.text)

    def _query(self, kind: str, fields: Node) -> Outs | None:
        if kind == "SelectStmt":
            first = fields
            while "larg" in first:
                first = first["larg"]
            if "intoClause" in first:
                # INTO stands in the first arm, whichever statement it belongs to.
                into = first["intoClause"]
                first = {key: value for key, value in first.items() if key != "intoClause"}
                self._create_as(into, {kind: _with_first(fields, first)}, "create_table_as")
                return None
        outs = self.query({kind: fields}, None)
        return None if isinstance(outs, NoRows) else outs

    # ------------------------------------------------------------------ wrapped queries

    def _explain(self, fields: Node, text: str) -> Outs | None:
        kind, inner = only(fields["query"])
        self.statement(kind, inner, text)
        self.effects.capabilities.add("explain")
        if any(not name.startswith("pg_catalog.") for name in self.effects.functions):
            # The planner runs functions that call themselves immutable, and EXPLAIN VERBOSE prints what they gave.
            return Outs([Out("QUERY PLAN", Value(unknown=True))])
        return None

    def _create_table_as(self, fields: Node, text: str) -> Outs | None:
        view = fields.get("objtype") == "OBJECT_MATVIEW"
        self._create_as(
            fields["into"], fields["query"], "create_materialized_view" if view else "create_table_as"
        )
        return None

    def _create_as(self, into: Node, query: Node, what: str) -> None:
        kind, inner = only(query)
        outs = self.execute(inner) if kind == "ExecuteStmt" else self.query(query, None)
        for out in outs or ():
            self.effects.flows |= out.value.sources
        self._made(into["rel"])
        self.effects.verb = f"ddl.{what}"
        self.effects.catalog_may_change = True

    def _refresh(self, fields: Node, text: str) -> Outs | None:
        row = self.relation(fields["relation"], "read")
        self.relation(fields["relation"], "ddl")
        value, reads = row.whole()
        self.effects.reads |= reads
        self.effects.flows |= value.sources
        self.effects.verb = "ddl.refresh_materialized_view"
        return None

    def _copy(self, fields: Node, text: str) -> Outs | None:
        coming = fields.get("is_from", False)
        outs: Outs | None
        if "query" in fields:
            outs = self._rows_of(fields["query"])
        else:
            outs = self._copied(fields, coming=coming)
        self.effects.verb = "copy.in" if coming else "copy.out"
        if fields.get("is_program"):
            self.effects.capabilities.add("lateral.program")
        elif "filename" in fields:
            self.effects.capabilities.add("lateral.file")
        if "filename" in fields or coming:
            # Rows that go to a file do not come to the agent, but they leave all the same.
            for out in outs or ():
                self.effects.flows |= out.value.sources
            return None
        return outs

    def _rows_of(self, node: Node) -> Outs:
        return self.query(node, None)

    def _copied(self, fields: Node, *, coming: bool) -> Outs | None:
        item = self.range_variable(fields["relation"], None, "insert" if coming else "read")
        names = strings(fields.get("attlist", []))
        row = item.row
        columns = [(name, row.find(name)) for name in names] if names else [(f.name, f) for f in row.fields]
        outs = Outs()
        for name, field in columns:
            if field is None:
                raise Unreadable(f'column "{name}" of "{item.name}" is not known')
            if coming:
                self.effects.writes |= field.reads
            else:
                outs.append(Out(name, self.touched(field)))
        if row.open is not None and not names:
            outs.append(Out("*", row.opened("*").value))
            outs.ragged = True
        if "whereClause" in fields:
            self.decide(self.expr(fields["whereClause"], Scope(None, [item])))
        return None if coming else outs

    def _do(self, fields: Node, text: str) -> Outs | None:
        self.effects.verb = "lateral.dynamic"
        self.effects.capabilities.add("lateral.dynamic")
        self.effects.catalog_may_change = True
        self.effects.path_may_change = True
        return None

    def _call_procedure(self, fields: Node, text: str) -> Outs | None:
        value, _ = self.call_columns(fields["funccall"], Scope())
        self.effects.verb = "call"
        self.effects.catalog_may_change = True
        self.effects.path_may_change = True
        if value.unknown or value.sources:
            # OUT parameters come back as a row; what a procedure puts there nobody can say.
            outs = Outs([Out("*", value._replace(unknown=True))])
            outs.ragged = True
            return outs
        return None

    # ------------------------------------------------------------------ relations

    def _truncate(self, fields: Node, text: str) -> Outs | None:
        for node in fields["relations"]:
            self.relation(node["RangeVar"], "truncate")
        self.effects.verb = "truncate"
        return None

    def _lock_table(self, fields: Node, text: str) -> Outs | None:
        for node in fields["relations"]:
            self.relation(node["RangeVar"], "lock")
        self.effects.verb = "lock"
        self.effects.capabilities.add("lock")
        return None

    def _maintain(self, fields: Node, text: str) -> Outs | None:
        self.effects.verb = f"maintenance.{'vacuum' if fields.get('is_vacuumcmd') else 'analyze'}"
        for node in fields.get("rels", []):
            self.relation(node["VacuumRelation"]["relation"], "ddl")
        return None

    def _reindex(self, fields: Node, text: str) -> Outs | None:
        self.effects.verb = "maintenance.reindex"
        if fields.get("kind") == "REINDEX_OBJECT_TABLE":
            self.relation(fields["relation"], "ddl")
        return None

    def _cluster(self, fields: Node, text: str) -> Outs | None:
        self.effects.verb = "maintenance.cluster"
        if "relation" in fields:
            self.relation(fields["relation"], "ddl")
        return None

    def _show(self, fields: Node, text: str) -> Outs | None:
        self.effects.verb = "session.show"
        return None

    # ------------------------------------------------------------------ DDL

    def _ddl(self, kind: str, fields: Node) -> None:
        what, capability = DDL[kind]
        if kind in (
            "DropStmt",
            "CommentStmt",
            "RenameStmt",
            "SecLabelStmt",
            "AlterOwnerStmt",
            "AlterObjectSchemaStmt",
        ):
            what = self._object(kind, what, fields)
        elif kind == "AlterTableStmt" and fields.get("objtype") not in (None, "OBJECT_TABLE"):
            what = f"alter_{OBJECTS.get(fields['objtype'], 'object')}"
        if capability is not None:
            self.effects.capabilities.add(capability)
        if kind in ("CreateStmt", "CreateForeignTableStmt"):
            made = fields.get("base", fields)["relation"]
            self._ddl_walk(
                {key: value for key, value in fields.items() if key not in ("relation", "base")}, Scope()
            )
            if "base" in fields:
                self._ddl_walk({k: v for k, v in fields["base"].items() if k != "relation"}, Scope())
            self._made(made)
        elif kind in ("ViewStmt", "CreateSeqStmt"):
            self._ddl_walk(
                {key: value for key, value in fields.items() if key not in ("view", "sequence")}, Scope()
            )
            self._made(fields["view"] if kind == "ViewStmt" else fields["sequence"])
        elif kind == "CreateFunctionStmt":
            pass  # its body runs when it is called
        elif kind == "RuleStmt":
            self.relation(fields["relation"], "ddl")  # its actions run when the relation is touched
        elif kind == "CompositeTypeStmt":
            pass
        elif kind != "DropStmt":
            self._ddl_walk(fields, self._ddl_scope(fields))
        self.effects.verb = f"ddl.{what}"
        self.effects.catalog_may_change = True

    def _object(self, kind: str, what: str, fields: Node) -> str:
        object_type = (
            fields.get("removeType") or fields.get("objtype") or fields.get("renameType")
            or fields.get("objectType") or ""
        )  # fmt: skip
        capability = OBJECT_CAPABILITIES.get(object_type)
        if capability is not None:
            self.effects.capabilities.add(capability)
        if kind == "DropStmt":
            if object_type in RELATION_OBJECTS:
                for node in fields.get("objects", []):
                    self._by_list(node.get("List", {}).get("items", []))
            if object_type in ("OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY"):
                for node in fields.get("objects", []):
                    self._by_list(node.get("List", {}).get("items", [])[:-1])
        if kind in ("CommentStmt", "SecLabelStmt") and "List" in fields.get("object", {}):
            items = fields["object"]["List"].get("items", [])
            if object_type in RELATION_OBJECTS:
                self._by_list(items)
            elif object_type == "OBJECT_COLUMN":
                self._by_list(items[:-1])
        name = OBJECTS.get(object_type, "object")
        if kind == "CommentStmt":
            return "comment"
        if kind == "SecLabelStmt":
            return "security_label"
        return {"DropStmt": "drop", "RenameStmt": "rename"}.get(kind, "alter") + f"_{name}"

    def _by_list(self, items: list[Node]) -> None:
        names = strings(items)
        if not names:
            return
        keys = ("relname", "schemaname", "catalogname")
        self.relation(dict(zip(keys, reversed(names), strict=False)), "ddl")

    def _made(self, variable: Node) -> None:
        """Note a relation that is being made: what it is called decides what it hides."""
        name, schema = variable.get("relname", ""), variable.get("schemaname")
        if variable.get("relpersistence") == "t" or (schema or "").startswith("pg_temp"):
            self.session.temporary.add(name)
            self.effects.capabilities.add("temporary")
            schema = "pg_temp"
        elif variable.get("relpersistence") == "u":
            self.effects.capabilities.add("unlogged")
        if schema is None:
            schema = next(iter(self.path), "")
        self.effects.tables.add((schema, name, "ddl"))

    def _ddl_scope(self, fields: Node) -> Scope:
        variable = fields.get("relation") or fields.get("table")
        if not isinstance(variable, dict) or "relname" not in variable:
            return Scope()
        if fields.get("relationType") == "OBJECT_TYPE" or fields.get("objtype") in (
            "OBJECT_TYPE",
            "OBJECT_INDEX",
        ):
            return Scope()
        return Scope(None, [self.range_variable(variable, None, "ddl")])

    def _ddl_walk(self, node: object, scope: Scope) -> None:
        """Read every expression and query inside a definition.

        An expression in DDL (a CHECK, a USING, the predicate of an index) runs over the rows that are there,
        and
        its failing tells of them: all of it counts as deciding.
        """
        if isinstance(node, list):
            for one in node:
                self._ddl_walk(one, scope)
            return
        if not isinstance(node, dict):
            return
        for key, inner in node.items():
            if key in ("typeName", "returnType", "argType", "options", "fdwoptions", "location"):
                continue
            if key == "TableLikeClause":
                self.relation(inner["relation"], "read")
                continue
            if key in ("relation", "table", "view"):
                continue
            if isinstance(inner, dict) and "relname" in inner:
                self.relation(inner, "ddl")
                continue
            if key in ("IndexElem", "AlterTableCmd", "Constraint"):
                self._ddl_columns(inner, scope)
            if key in _QUERIES:
                outs = self.query({key: inner}, scope)
                self.effects.flows |= merge([out.value for out in outs]).sources
            elif key == "relations":
                for one in inner:
                    if "RangeVar" in one:
                        item = self.range_variable(one["RangeVar"], None, "ddl")
                        scope.items.append(item)
            elif key in self.READERS and key != "List":
                lenient = Scope(scope)
                if not scope.items:
                    lenient.lenient = merge(())
                self.decide(self.expr({key: inner}, lenient))
            else:
                self._ddl_walk(inner, scope)

    def _ddl_columns(self, fields: Node, scope: Scope) -> None:
        """Note the columns a definition is about: a unique index that fails tells that values come twice."""
        names = [fields["name"]] if isinstance(fields.get("name"), str) else []
        names += strings(fields.get("keys", []))
        for name in names:
            found = self.find(name, scope) if scope.items else None
            if found is not None:
                self.decide(self.touched(found))

    def _relations_in(self, fields: Node) -> None:
        for node in fields.get("objects", []):
            if "RangeVar" in node:
                self.relation(node["RangeVar"], "ddl")

    STATEMENTS: ClassVar[dict[str, Callable[["Utilities", Node, str], Outs | None]]] = {
        "ExplainStmt": _explain,
        "CreateTableAsStmt": _create_table_as,
        "RefreshMatViewStmt": _refresh,
        "CopyStmt": _copy,
        "DoStmt": _do,
        "CallStmt": _call_procedure,
        "TruncateStmt": _truncate,
        "LockStmt": _lock_table,
        "VacuumStmt": _maintain,
        "ReindexStmt": _reindex,
        "ClusterStmt": _cluster,
        "VariableShowStmt": _show,
        "VariableSetStmt": lambda self, fields, text: self.set_variable(fields),
        "TransactionStmt": lambda self, fields, text: self.transaction(fields),
        "PrepareStmt": lambda self, fields, text: self.prepare(fields, text),
        "DeallocateStmt": lambda self, fields, text: self.deallocate(fields),
        "DeclareCursorStmt": lambda self, fields, text: self.declare(fields, text),
        "ClosePortalStmt": lambda self, fields, text: self.close(fields),
        "DiscardStmt": lambda self, fields, text: self.discard(fields),
        "ExecuteStmt": lambda self, fields, text: self.execute(fields),
        "FetchStmt": lambda self, fields, text: self.fetch(fields),
    }


def _with_first(fields: Node, first: Node) -> Node:
    if "larg" not in fields:
        return first
    return fields | {"larg": _with_first(fields["larg"], first)}


__all__ = ["Item", "Row", "Unplannable", "Utilities"]
