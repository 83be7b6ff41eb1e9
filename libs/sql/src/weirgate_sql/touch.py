"""What the statements of a text read, write and can do."""

from weirgate_contracts.operation import SessionContext
from weirgate_sql.analysis import analyse
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
