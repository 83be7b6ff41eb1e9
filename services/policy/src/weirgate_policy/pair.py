"""From what a statement does to the questions asked of the rules: (action, entity) pairs.

Every pair must be permitted. A *soft* pair need only not be forbidden: where columns of a table are asked one
by one, the table itself is asked too so that ``forbid … resource == Table::"…"`` counts, while a permit on
columns is enough.
"""

from collections.abc import Iterable
from typing import NamedTuple

from weirgate_policy.entity import is_system
from weirgate_policy.view import Ref, ResourceView
from weirgate_policy.vocabulary import known_or_other
from weirgate_sql.builtin import SENSITIVE
from weirgate_sql.model import Touch

_TABLE_ACTIONS = {"read": "select", "insert": "insert", "update": "update", "delete": "delete",
                  "truncate": "truncate", "lock": "lock"}  # fmt: skip
_SESSION = {"listen": "listen", "unlisten": "listen", "notify": "notify"}
_WRITES = ("insert", "update", "delete")


class NotUnderstood(ValueError):
    """A word the judge has no question for. The text is fit for an agent."""


class Pair(NamedTuple):
    """One question."""

    action: str
    ref: Ref
    soft: bool = False


def pairs_of(touch: Touch, view: ResourceView) -> list[Pair]:
    """Return every question one statement raises, each once.

    Raises:
        NotUnderstood: the reading uses a word that no action stands for; the statement is refused.
    """
    found: dict[tuple[str, Ref], bool] = {}

    def ask(action: str, ref: Ref, soft: bool = False) -> None:
        found[action, ref] = found.get((action, ref), True) and soft

    for action, ref, soft in (*_tables(touch), *_columns(touch), *_verb(touch), *_beyond(touch, view)):
        ask(action, ref, soft)
    for action, ref in list(found):
        for parent in _ancestors(ref, view):
            ask(action, parent, True)  # what is forbidden on a table is forbidden on its partitions
    return [Pair(action, ref, soft) for (action, ref), soft in found.items()]


def _tables(touch: Touch) -> Iterable[Pair]:
    read = {(column.schema, column.table) for column in touch.reads}
    written = {(column.schema, column.table) for column in touch.writes}
    for schema, name, how in sorted(touch.tables):
        table = Ref("Table", schema, name)
        if is_system(schema):
            yield from _system(table, how)
            continue
        if how == "ddl":
            continue  # the verb says which
        action = _TABLE_ACTIONS.get(how)
        if action is None:
            raise NotUnderstood(f"no rule can speak of {how!r} on a table")
        by_column = (schema, name) in (
            read if how == "read" else written if how in ("insert", "update") else ()
        )
        yield Pair(action, table, by_column)


def _system(table: Ref, how: str) -> Iterable[Pair]:
    if how != "read":
        yield Pair("lateral.system", Ref("Resource"))
    yield Pair("catalog", table)
    if f"{table.schema}.{table.name}" in SENSITIVE:
        yield Pair("system.sensitive", table)


def _columns(touch: Touch) -> Iterable[Pair]:
    hows: dict[tuple[str, str], set[str]] = {}
    for schema, name, how in touch.tables:
        hows.setdefault((schema, name), set()).add(how)
    for column in sorted(touch.reads | touch.predicates | touch.flows):
        table = Ref("Table", column.schema, column.table)
        if is_system(column.schema):
            yield from _system(table, "read")
            continue
        yield Pair("select", table, True)
        yield Pair("select", Ref("Column", column.schema, column.table, column.column))
    for column in sorted(touch.writes):
        table = Ref("Table", column.schema, column.table)
        if is_system(column.schema):
            yield from _system(table, "write")
            continue
        ways = hows.get((column.schema, column.table), set()) & {"insert", "update"} or {"insert", "update"}
        for action in sorted(ways):
            yield Pair(action, table, True)
            yield Pair(action, Ref("Column", column.schema, column.table, column.column))


def _verb(touch: Touch) -> Iterable[Pair]:
    verb = touch.verb
    resource = Ref("Resource")
    family, _, what = verb.partition(".")
    match family:
        case "select":
            return
        case "insert" | "update" | "delete" | "truncate":
            if not _touched(touch, verb):
                raise NotUnderstood(f"{verb} of no table")
        case "merge" | "copy":
            yield from _bulk(touch, verb)
        case "lock":
            yield from _on(verb, _touched(touch, "lock") or [resource])
        case "ddl":
            yield from _on(known_or_other(verb, "ddl"), _touched(touch, "ddl") or [resource])
        case "grant":
            yield from _on("grant", _touched(touch, "ddl") or [resource])
        case "maintenance":
            yield from _on(known_or_other(verb, "maintenance"), _touched(touch) or [resource])
        case "call":
            if not touch.functions:
                raise NotUnderstood("call of no function")
        case "transaction":
            yield Pair("transaction", resource)
        case "session":
            yield Pair(_SESSION.get(what) or known_or_other(verb, "session"), resource)
        case "lateral":
            yield Pair(known_or_other(verb, "lateral"), resource)
        case _:
            raise NotUnderstood(f"no rule can speak of {verb!r}")


def _bulk(touch: Touch, verb: str) -> Iterable[Pair]:
    if verb == "merge":
        tables = _touched(touch, *_WRITES) or _touched(touch)
    elif verb == "copy.in":
        tables = _touched(touch, "insert")
    elif verb == "copy.out":
        tables = [one for one in _touched(touch, "read") if not is_system(one.schema)] or [Ref("Resource")]
    else:
        raise NotUnderstood(f"no rule can speak of {verb!r}")
    if not tables:
        raise NotUnderstood(f"{verb} of no table")
    yield from _on(verb, tables)


def _touched(touch: Touch, *hows: str) -> list[Ref]:
    return [
        Ref("Table", schema, name) for schema, name, how in sorted(touch.tables) if not hows or how in hows
    ]


def _on(action: str, refs: Iterable[Ref]) -> Iterable[Pair]:
    for ref in refs:
        if is_system(ref.schema):
            yield Pair("lateral.system", Ref("Resource"))
        yield Pair(action, ref)


def _beyond(touch: Touch, view: ResourceView) -> Iterable[Pair]:
    resource = Ref("Resource")
    for name in sorted(touch.functions):
        ref = _function(name, view)
        yield Pair("call.builtin" if ref.schema == "pg_catalog" else "call", ref)
    for capability in sorted(touch.capabilities):
        if capability.startswith("lateral."):
            yield Pair(known_or_other(capability, "lateral"), resource)
        elif capability == "explain":
            yield Pair("explain", resource)
        elif capability == "lock":
            yield from _on("lock", _touched(touch, "lock") or [resource])
        elif capability in ("unlogged", "temporary") and touch.verb.startswith("ddl."):
            continue  # the action of the verb is asked on that very table
        elif capability == "system.sensitive":
            if not any(f"{one.schema}.{one.name}" in SENSITIVE for one in _touched(touch)):
                yield Pair("system.sensitive", resource)
        else:
            raise NotUnderstood(f"no rule can speak of {capability!r}")
    for what in sorted(touch.opaque):
        kind, _, name = what.partition(":")
        if kind == "function":
            yield Pair("opaque", _function(name, view))
        elif kind == "relation":
            schema, _, table = name.rpartition(".")
            yield Pair("opaque", Ref("Table", schema, table))
        else:
            raise NotUnderstood(f"no rule can speak of {what!r}")


def _ancestors(ref: Ref, view: ResourceView) -> Iterable[Ref]:
    if ref.kind not in ("Table", "Column"):
        return
    for name in view.ancestors(ref.schema, ref.name):
        if (known := view.catalog.relations.get(name)) is not None:
            yield Ref(ref.kind, known.schema, known.name, ref.column)


def _function(name: str, view: ResourceView) -> Ref:
    known = view.catalog.functions.get(name)
    if known:
        return Ref("Function", known[0].schema, known[0].name)
    schema, _, own = name.rpartition(".")
    return Ref("Function", schema, own)
