"""What the statements of a text read, write and can do."""

from collections.abc import Iterable

from weirgate_contracts.operation import SessionContext
from weirgate_sql.analysis import UNKNOWN_PATH, analyse
from weirgate_sql.model import Catalog, Touch


def touch(text: str, catalog: Catalog, context: SessionContext) -> tuple[Touch, ...]:
    """Say what each statement of a text does, in order.

    Later statements see what earlier ones of the same text have done to the session: SET search_path,
    PREPARE,
    DECLARE, temporary tables.

    Args:
        text: SQL, at most 1 MiB in UTF-8.
        catalog: What is known of the database.
        context: The session's search_path, prepared statements and cursors.

    Returns:
        One for each inner statement; ``()`` for an empty text.

    Raises:
        Unreadable: PostgreSQL's grammar does not take it, the two readers disagree, a name stands for
        nothing that
            is known of this session, or a form is not understood. Unknown relations and functions do not
            raise:
            they stand in ``opaque``.
    """
    return tuple(reading.touch for reading in analyse(text, catalog, context))


def after(context: SessionContext, touched: Iterable[Touch]) -> SessionContext:
    """Return what the session knows once these statements have succeeded: for the next text of the same operation.

    An operation of the extended protocol holds several texts, and an earlier one may set the search_path or prepare
    what a later one executes. Where the path can then not be known, the context says so in a way that makes
    ``touch`` and ``outputs`` refuse names without a schema.
    """
    path = context.search_path
    prepared, cursors = dict(context.prepared), dict(context.cursors)
    for one in touched:
        if one.search_path is not None:
            path = one.search_path
        elif one.search_path_may_change:
            path = UNKNOWN_PATH
        for defined in one.defines:
            names = prepared if defined.kind == "prepared" else cursors
            if defined.text is not None:
                names[defined.name] = defined.text
            elif defined.name == "*":
                names.clear()
            else:
                names.pop(defined.name, None)
    return context.model_copy(update={"search_path": path, "prepared": prepared, "cursors": cursors})
