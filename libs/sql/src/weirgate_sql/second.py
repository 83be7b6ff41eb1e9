"""The second reading: ``sqlglot``, of the relations only.

Two parsers that share no code must name the same relations, else the statement is refused: a difference is
where
one of them has been fooled. Asked about SELECT, INSERT, UPDATE, DELETE and MERGE as they were sent. Of the
statements
that wrap one (EXPLAIN, COPY, DECLARE, PREPARE, CREATE TABLE AS, CREATE VIEW), and where sqlglot does not
know a
spelling (``U&"…"``, ``WHERE CURRENT OF``), it is asked about the tree written back to text by libpg_query.
Other statements have no second reading: PostgreSQL's grammar alone is believed, and what they name is judged
as DDL
or by their capabilities.
"""

from collections.abc import Iterator
from typing import Any, cast

import sqlglot
from google.protobuf.message import DecodeError
from postgast import PgQueryError, deparse
from postgast import parse as parse_protobuf
from postgast.pg_query_pb2 import Node as PgNode
from postgast.pg_query_pb2 import ParseResult
from sqlglot import TokenType, exp
from sqlglot.dialects.postgres import Postgres
from sqlglot.errors import SqlglotError

from weirgate_sql.model import Unreadable
from weirgate_sql.parse import Parsed

# It warns about what it cannot read, with the text in the warning; a text belongs into no log.
sqlglot.logger.disabled = True

_DIRECT = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
_WRAPPERS = frozenset(
    {"ExplainStmt", "CopyStmt", "DeclareCursorStmt", "PrepareStmt", "CreateTableAsStmt", "ViewStmt"}
)
_INNER = ("select_stmt", "insert_stmt", "update_stmt", "delete_stmt", "merge_stmt")
_NESTING_LIMIT = 200
"""Brackets inside each other: sqlglot recurses a dozen native frames for each, and native frames are not
counted."""
_SUBSCRIPTS_LIMIT = 200
"""``[1][1][1]…`` takes sqlglot the cube of their number: 2,500 take 50 seconds."""
_TEXT_LIMIT_BYTES = 64 * 1024
"""Longer text is read a second time without its comments and with few of its rows of VALUES."""
_ROWS_KEPT = 20
_NAME_LIMIT_BYTES = 63
"""PostgreSQL cuts longer identifiers (NAMEDATALEN - 1)."""
_ASCII_LOWER = str.maketrans({chr(c): chr(c + 32) for c in range(ord("A"), ord("Z") + 1)})
_DIALECT = Postgres()
_TRIPS = (TypeError, AttributeError, ValueError, IndexError, KeyError)
"""What it raises on some texts it cannot read, where it should refuse them."""


def compare(statement: Parsed, named: set[tuple[str, str]]) -> None:
    """Refuse a statement whose second reading names other relations.

    Args:
        statement: As PostgreSQL's grammar split it off.
        named: (schema or "", name) of each relation the first reading met in this text, common table
        expressions
            included.

    Raises:
        Unreadable: they differ, or sqlglot cannot read it.
    """
    if statement.kind in _DIRECT:
        long = len(statement.text) > _TEXT_LIMIT_BYTES or statement.text.count("/*") > _NESTING_LIMIT
        found = None if long else _named_in(statement.text)
        if found is None:
            text = _written_back(statement.text)
            found = _named_in(text) if text is not None else None
    elif statement.kind in _WRAPPERS:
        text = _written_back(statement.text)
        if text is None:
            return  # EXPLAIN EXECUTE, COPY of a table: no query inside
        found = _named_in(text)
    else:
        return
    if found is None:
        raise Unreadable("the second reader cannot read this statement; write it more plainly")
    if found != named:
        odd = sorted(".".join(part for part in name if part) for name in found ^ named)
        raise Unreadable(f"two readings of this statement disagree on what it touches: {', '.join(odd)}")


def _named_in(text: str) -> set[tuple[str, str]] | None:
    if len(text) > _TEXT_LIMIT_BYTES:
        raise Unreadable("the statement is too long to be read twice; send fewer values at a time, or COPY")
    try:
        tokens = _DIALECT.tokenize(text)
    except (SqlglotError, *_TRIPS):
        return None
    if text.count("(") + text.count("[") > _NESTING_LIMIT:
        _refuse_shapes(tokens)
    named = _read(tokens, text)
    if named is None and "[" in text:
        # "$1::oid[]" it does not know; without the empty brackets it is a cast like any other.
        named = _read(_without_empty_brackets(tokens), text)
    return named


def _read(tokens: list[Any], text: str) -> set[tuple[str, str]] | None:
    try:
        trees = [tree for tree in _DIALECT.parser().parse(tokens, text) if tree is not None]
        if len(trees) != 1 or isinstance(trees[0], exp.Command):
            return None
        return set(_relations(trees[0]))
    except RecursionError as error:
        raise Unreadable("the text is nested too deeply") from error
    except (SqlglotError, *_TRIPS):
        return None


def _without_empty_brackets(tokens: list[Any]) -> list[Any]:
    kept: list[Any] = []
    for token in tokens:
        if (
            token.token_type == TokenType.R_BRACKET
            and len(kept) > 1
            and kept[-1].token_type == TokenType.L_BRACKET
            and kept[-2].token_type != TokenType.ARRAY
        ):
            kept.pop()
        else:
            kept.append(token)
    return kept


def _refuse_shapes(tokens: list[Any]) -> None:
    depth = chain = 0
    before = None
    for token in tokens:
        kind = token.token_type
        if kind == TokenType.L_BRACKET and before == TokenType.R_BRACKET:
            chain += 1
            if chain > _SUBSCRIPTS_LIMIT:
                raise Unreadable("too many subscripts")
        before = kind
        if kind in (TokenType.L_PAREN, TokenType.L_BRACKET):
            depth += 1
            if depth > _NESTING_LIMIT:
                raise Unreadable("the text is nested too deeply")
        elif kind in (TokenType.R_PAREN, TokenType.R_BRACKET):
            depth -= 1


def _relations(tree: sqlglot.Expr) -> Iterator[tuple[str, str]]:
    for table in tree.find_all(exp.Table):
        name = table.this
        # A function in FROM is a Table to sqlglot as well, and FOR UPDATE OF names aliases, not relations;
        # what INTO makes is in neither reading's list.
        if isinstance(name, exp.Identifier) and not isinstance(table.parent, exp.Lock | exp.Into):
            schema = table.args.get("db")
            yield (_folded(schema) if isinstance(schema, exp.Identifier) else "", _folded(name))


def _folded(name: exp.Identifier) -> str:
    text: str = name.this
    if not name.args.get("quoted"):
        text = text.translate(_ASCII_LOWER)
    if len(text) > _NAME_LIMIT_BYTES // 4:
        text = text.encode()[:_NAME_LIMIT_BYTES].decode(errors="ignore")
    return text


def _written_back(text: str) -> str | None:
    """Return the query in a statement as libpg_query writes it; ``None`` where there is no query in it."""
    try:
        tree = parse_protobuf(text)
        node = tree.stmts[0].stmt
        while True:
            which = node.WhichOneof("node")
            if which is None:
                return None
            if which in _INNER:
                break
            inner: Any = getattr(node, which)
            if "query" not in inner.DESCRIPTOR.fields_by_name:
                return None
            node = cast("PgNode", inner.query)
        query = ParseResult(version=tree.version)
        query.stmts.add().stmt.CopyFrom(node)
        written = query.stmts[0].stmt
        for kind in _INNER[1:]:
            if written.HasField(kind):
                _plainer(getattr(written, kind))
        if written.HasField("insert_stmt"):
            _shorter(written.insert_stmt.select_stmt.select_stmt.values_lists)
        return deparse(query)
    except (PgQueryError, DecodeError) as error:
        raise Unreadable("the second reader cannot read this statement; write it more plainly") from error


def _plainer(statement: Any) -> None:
    """Take out what names no relation and sqlglot does not know: WHERE CURRENT OF, RETURNING WITH (OLD AS …)."""
    fields = statement.DESCRIPTOR.fields_by_name
    if "where_clause" in fields and statement.where_clause.HasField("current_of_expr"):
        statement.ClearField("where_clause")
    statement.returning_clause.ClearField("options")
    if not statement.returning_clause.exprs:
        statement.ClearField("returning_clause")


def _shorter(rows: Any) -> None:
    """Keep some rows of a VALUES list, and every row that holds anything but literals: only those can name things."""
    kept = [
        row
        for number, row in enumerate(rows)
        if number < _ROWS_KEPT or not all(item.HasField("a_const") for item in row.list.items)
    ]
    if len(kept) < len(rows):
        copies = [type(row).FromString(row.SerializeToString()) for row in kept]
        del rows[:]
        rows.extend(copies)
