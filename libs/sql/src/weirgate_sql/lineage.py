"""Where the output columns of the statements of a text come from."""

from weirgate_contracts.operation import SessionContext
from weirgate_sql.analysis import analyse
from weirgate_sql.core import Unplannable
from weirgate_sql.model import Catalog, Output

__all__ = ["Unplannable", "outputs"]


def outputs(text: str, catalog: Catalog, context: SessionContext) -> tuple[tuple[Output, ...] | None, ...]:
    """Say for each statement of a text which columns come back and from where.

    Returns:
        One for each inner statement: the output columns left to right, each with every column whose value can
        reach it; ``None`` where no data of relations comes back (SHOW, EXPLAIN, utility statements,
        a star over
        system catalogs alone).

    Raises:
        Unplannable: the outputs cannot be known and could hold data of relations.
        Unreadable: as ``touch``.
    """
    readings = analyse(text, catalog, context)
    for reading in readings:
        if reading.unplannable is not None:
            raise Unplannable(reading.unplannable)
    return tuple(reading.outputs for reading in readings)
