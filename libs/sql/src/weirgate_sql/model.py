"""The values the readers of SQL work with: a catalog, and what a statement does to it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


class Unreadable(ValueError):
    """The text cannot be read, or its two readings disagree. The message is fit for an agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a relation, in table order."""

    name: str
    number: int
    """``attnum``, 1-based."""
    type: str
    """``format_type`` output, such as ``character varying(40)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table, view, materialised view, foreign table, partitioned table or sequence."""

    schema: str
    name: str
    oid: int
    kind: str
    """``pg_class.relkind``: r v m f p S."""
    columns: tuple[Column, ...] = ()
    definition: str | None = None
    """``pg_get_viewdef`` of a view or materialised view."""
    parents: tuple[str, ...] = ()
    """``schema.name`` of the tables it is a partition of or inherits from: what is said of a column of theirs
    holds for its own column of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function outside ``pg_catalog`` (and every overload of it, by name alone)."""

    schema: str
    name: str
    language: str
    security_definer: bool
    body: str | None = None
    """Source of a SQL-language function, where it is plain SQL."""
    returns_set: bool = False
    result: str = ""


@dataclass(frozen=True)
class Catalog:
    """What is known of one database. System catalogs (``pg_catalog``, ``information_schema``) need not be in
    it."""

    database: str
    login: str
    """The role the gateway logs in with: what ``$user`` and ``current_user`` mean."""
    search_path: tuple[str, ...]
    """The default one of that role in that database, ``$user`` already resolved."""
    relations: Mapping[str, Relation]
    """By ``schema.name``."""
    functions: Mapping[str, tuple[Function, ...]] = field(default_factory=dict[str, tuple[Function, ...]])
    """By ``schema.name``; built-in functions are not listed."""
    server_version: int = 0
    """``server_version_num``."""

    @cached_property
    def revision(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(
            json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":")).encode()
        ).hexdigest()[:16]

    @cached_property
    def memo(self) -> dict[Any, Any]:
        """What readers have worked out from this very catalog (readings of views). Not part of its value."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Return the catalog as plain JSON values, compact: columns as ``[name, number, type]``."""
        return {
            "database": self.database,
            "login": self.login,
            "search_path": list(self.search_path),
            "server_version": self.server_version,
            "relations": [
                [
                    r.schema,
                    r.name,
                    r.oid,
                    r.kind,
                    [[c.name, c.number, c.type] for c in r.columns],
                    r.definition,
                ]
                + ([list(r.parents)] if r.parents else [])
                for _, r in sorted(self.relations.items())
            ],
            "functions": [
                [f.schema, f.name, f.language, f.security_definer, f.body, f.returns_set, f.result]
                for _, group in sorted(self.functions.items())
                for f in group
            ],
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> "Catalog":
        """Read :meth:`to_dict` back."""
        relations: dict[str, Relation] = {}
        for schema, name, oid, kind, columns, definition, *rest in body["relations"]:
            relations[f"{schema}.{name}"] = Relation(
                schema=schema,
                name=name,
                oid=oid,
                kind=kind,
                definition=definition,
                parents=tuple(rest[0]) if rest else (),
                columns=tuple(Column(name=c[0], number=c[1], type=c[2]) for c in columns),
            )
        functions: dict[str, tuple[Function, ...]] = {}
        for schema, name, language, definer, source, returns_set, result in body["functions"]:
            one = Function(
                schema=schema,
                name=name,
                language=language,
                security_definer=definer,
                body=source,
                returns_set=returns_set,
                result=result,
            )
            functions[f"{schema}.{name}"] = (*functions.get(f"{schema}.{name}", ()), one)
        return cls(
            database=body["database"],
            login=body["login"],
            search_path=tuple(body["search_path"]),
            server_version=body["server_version"],
            relations=relations,
            functions=functions,
        )


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ColumnRef:
    """A column of a relation of the catalog."""

    schema: str
    table: str
    column: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}.{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defines:
    """A session name this statement defines or drops once it succeeds (see contracts ``Definition``)."""

    kind: str
    name: str
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """What one statement does, read from PostgreSQL's own grammar against the catalog.

    Views and SQL functions are resolved to what they touch *and* named themselves. EXECUTE, FETCH and EXPLAIN
    count as the statement behind them (``verb`` then is that one's, with capability ``explain`` for EXPLAIN).
    """

    verb: str
    """``select insert update delete merge truncate lock call`` · ``copy.in copy.out`` · ``ddl.<what>`` ·
    ``transaction`` · ``session.<what>`` (set, reset, show, listen, notify, discard, prepare, declare, close …) ·
    ``lateral.<what>`` · ``maintenance.<what>`` (vacuum, analyze …) · ``grant``. A statement that does several things
    (data-modifying WITH, a SQL function that writes) goes by the last of these it does: ``select``, ``lock``,
    ``insert``, ``update``, ``delete``, ``merge``; ``tables`` names them all."""
    reads: frozenset[ColumnRef] = frozenset()
    """Every column whose value is read, wherever; a relation read without columns (``count(*)``) stands in
    ``tables``."""
    writes: frozenset[ColumnRef] = frozenset()
    """Columns assigned by INSERT, UPDATE, MERGE, COPY IN."""
    tables: frozenset[tuple[str, str, str]] = frozenset()
    """(schema, table, how) for every relation touched; how is ``read insert update delete truncate lock
    ddl``."""
    predicates: frozenset[ColumnRef] = frozenset()
    """Columns that decide which rows come back, their order or number, or whether an error is raised: WHERE, JOIN,
    HAVING, GROUP, ORDER, DISTINCT, set operations other than UNION ALL, LIMIT, CASE conditions, AND and OR,
    aggregates' FILTER, casts and functions that can raise on a value, arguments of set-returning functions. What a
    view decides by itself is not among them (its owner asked that question); what a SQL function does, is."""
    flows: frozenset[ColumnRef] = frozenset()
    """Columns whose values a statement writes somewhere (INSERT … SELECT, CREATE TABLE AS, UPDATE SET x =
    y)."""
    functions: frozenset[str] = frozenset()
    """Qualified names of the functions called; built-in ones as ``pg_catalog.<name>``."""
    capabilities: frozenset[str] = frozenset()
    """What it can do beyond tables: ``lateral.program lateral.file lateral.dynamic lateral.foreign lateral.extension
    lateral.system lateral.role lateral.replication lateral.largeobject lateral.function`` (code that is left behind
    and runs later), ``system.sensitive`` (system relations and functions that tell secrets, statistics or what other
    sessions do), and ``explain``, ``lock``, ``temporary``, ``unlogged``. Everything ``lateral.*`` leads sideways."""
    opaque: frozenset[str] = frozenset()
    """What could not be seen into: unknown relations (``schema.table`` or the bare name), functions without
    readable source, each as ``relation:<name>`` or ``function:<name>``."""
    defines: tuple[Defines, ...] = ()
    search_path: tuple[str, ...] | None = None
    """New search_path for the statements after it, where it is set to a literal."""
    search_path_may_change: bool = False
    catalog_may_change: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output column of a statement that returns rows."""

    name: str
    """As RowDescription will have it."""
    sources: frozenset[ColumnRef]
    """Every column whose value can reach it, through expressions, subqueries, views, aggregates."""
    direct: bool = False
    """One column, unchanged. Through a view or a partition its ``sources`` are that column and the ones behind it."""
