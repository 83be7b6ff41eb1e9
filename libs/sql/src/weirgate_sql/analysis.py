"""One text, read once for both questions: what it does, and where its output columns come from."""

from collections import OrderedDict
from dataclasses import dataclass

from weirgate_contracts.operation import SessionContext
from weirgate_sql.core import Outs, Session
from weirgate_sql.model import Catalog, Output, Touch, Unreadable
from weirgate_sql.parse import split
from weirgate_sql.second import compare
from weirgate_sql.utility import Utilities
from weirgate_sql.value import Effects

STATEMENTS_LIMIT = 1000
"""Statements in one text. Migration scripts belong into a tool, not into one message of an agent."""
_REMEMBERED = 64
_REMEMBERED_LIMIT_CHARACTERS = 4096


UNKNOWN_PATH = ("\x00",)
"""A search_path nobody knows, as ``weirgate_sql.touch.after`` writes it; no schema can be called that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One inner statement, read."""

    touch: Touch
    outputs: tuple[Output, ...] | None
    unplannable: str | None
    """Why the outputs cannot be known, where they cannot."""


def analyse(text: str, catalog: Catalog, context: SessionContext) -> tuple[Reading, ...]:
    """Read a text.

    Raises:
        Unreadable: PostgreSQL's grammar does not take it, or something in it is not understood.
    """
    key = (
        text, context.search_path, tuple(context.prepared.items()), tuple(context.cursors.items()),
        context.database,
    )  # fmt: skip
    kept: OrderedDict[object, tuple[Reading, ...]] = catalog.memo.setdefault("analysed", OrderedDict())
    found = kept.get(key)
    if found is not None:
        return found
    try:
        found = _analyse(text, catalog, context)
    except RecursionError as error:
        raise Unreadable("the text is nested too deeply") from error
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        # A tree of a shape no reader expects: not understood, so not let through.
        raise Unreadable("this statement is built in a way this gateway does not know") from error
    if len(text) <= _REMEMBERED_LIMIT_CHARACTERS:
        kept[key] = found
        while len(kept) > _REMEMBERED:
            kept.popitem(last=False)
    return found


def _analyse(text: str, catalog: Catalog, context: SessionContext) -> tuple[Reading, ...]:
    statements = split(text)
    if len(statements) > STATEMENTS_LIMIT:
        raise Unreadable(f"the text holds more than {STATEMENTS_LIMIT} statements")
    session = Session(
        catalog=catalog,
        path=_path(catalog, context),
        prepared=dict(context.prepared),
        cursors=dict(context.cursors),
    )
    readings: list[Reading] = []
    path_was_set = context.search_path is not None
    for statement in statements:
        effects = Effects()
        reader = Utilities(session, effects)
        reader.path_was_set = path_was_set
        outs = reader.statement(statement.kind, statement.node, statement.text)
        if statement.kind != "PrepareStmt":  # what it prepares is read, and compared, when it is executed
            compare(statement, effects.named)
        if effects.path_may_change:
            path_was_set = True
            if reader.search_path is None:
                session.path = None
        outputs, problem = _outputs(outs)
        readings.append(Reading(touch=_touch(reader), outputs=outputs, unplannable=problem))
    return tuple(readings)


def _path(catalog: Catalog, context: SessionContext) -> tuple[str, ...] | None:
    if context.search_path is None:
        return catalog.search_path
    if context.search_path == UNKNOWN_PATH:
        return None
    return tuple(catalog.login if name == "$user" else name for name in context.search_path)


def _touch(reader: Utilities) -> Touch:
    effects = reader.effects
    return Touch(
        verb=effects.verb,
        reads=frozenset(effects.reads),
        writes=frozenset(effects.writes),
        tables=frozenset(effects.tables),
        predicates=frozenset(effects.predicates),
        flows=frozenset(effects.flows),
        functions=frozenset(effects.functions),
        capabilities=frozenset(effects.capabilities),
        opaque=frozenset(effects.opaque),
        defines=reader.defines,
        search_path=reader.search_path,
        search_path_may_change=effects.path_may_change,
        catalog_may_change=effects.catalog_may_change,
    )


def _outputs(outs: Outs | None) -> tuple[tuple[Output, ...] | None, str | None]:
    if outs is None:
        return None, None
    for out in outs:
        if out.value.unknown:
            return None, f'what column "{out.name}" holds cannot be known'
    if outs.ragged:
        if any(out.value.sources for out in outs):
            return None, "which columns the statement returns cannot be known"
        return None, None
    return tuple(
        Output(
            name=out.name,
            sources=out.value.sources,
            direct=_is_direct(out.value.direct, len(out.value.sources)),
        )
        for out in outs
    ), None


def _is_direct(direct: bool, sources: int) -> bool:
    return direct and sources > 0


__all__ = ["Reading", "analyse"]
