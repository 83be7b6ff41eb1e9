"""The second reading: ``sqlglot``, of the relations only.

Two parsers that share no code must name the same relations, else the statement is refused: a difference is where
one of them has been fooled. It is asked about SELECT, INSERT, UPDATE, DELETE and MERGE, and about the query inside
COPY, DECLARE, EXPLAIN, PREPARE, CREATE TABLE AS, CREATE VIEW (those written back to text by libpg_query first).
"""

from weirgate_sql.parse import Parsed


def compare(statement: Parsed, named: set[tuple[str, str]]) -> None:
    """Refuse a statement whose second reading names other relations.

    Raises:
        Unreadable: they differ, or sqlglot cannot read it.
    """
