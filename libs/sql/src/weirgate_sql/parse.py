"""SQL text to trees, by PostgreSQL's own grammar (libpg_query through ``postgast``'s shared library).

The tree is libpg_query's JSON, decoded: every node is ``{"Kind": {field: value}}``, fields that hold their
default are absent. We take the JSON and not postgast's protobuf because the protobuf decoder gives up at 100
levels,
which a chain of fifty ``||`` already has, while the JSON decoder stops at Python's own recursion limit (and
never
crashes): deeper text is refused.

A left-deep chain such as ``a+a+a…`` costs the C side one stack frame a term: 100,000 of them overflow eight
mebibytes, and that is a segmentation fault of the whole service. Text long enough for that is read on a
thread
with a stack that even ``STATEMENT_LIMIT_BYTES`` of such terms cannot fill.
"""

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from postgast.native import lib

from weirgate_contracts.operation import STATEMENT_LIMIT_BYTES
from weirgate_sql.model import Unreadable

Node = dict[str, Any]
"""One node of the tree, or the fields of one."""

_PLAIN_LIMIT_BYTES = 16 * 1024
"""Shorter text cannot nest deeper than 8,000 levels (two bytes a term), a tenth of what fills a default
stack."""
_DEEP_STACK_BYTES = 768 * 1024 * 1024
"""Address space, not memory: only touched pages count. 524,288 terms took under 300 MiB."""
_DEEP = threading.Lock()
_CACHED_LIMIT_BYTES = 8 * 1024
_COMMENTS_LIMIT = 1000
_SIGNS = re.compile(rb"[+-]{256,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """One inner statement of a text."""

    text: str
    """Its slice of the text, without the semicolon and the white space around it."""
    kind: str
    """Its node kind, such as ``SelectStmt``."""
    node: Node
    """The fields of that node. Shared between callers: never change it."""


def split(text: str) -> tuple[Parsed, ...]:
    """Split a text into its statements by PostgreSQL's own grammar.

    Args:
        text: SQL, at most 1 MiB in UTF-8.

    Returns:
        The statements in order; ``()`` for a text of nothing but space, comments and semicolons.

    Raises:
        Unreadable: PostgreSQL's grammar does not take it, it is too long or too deep, or holds a character no
            SQL text can hold.
    """
    if len(text) <= _CACHED_LIMIT_BYTES:
        return _split_cached(text)
    return _split(text)


def _split(text: str) -> tuple[Parsed, ...]:
    if "\x00" in text:
        raise Unreadable("the text holds a NUL character")
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Unreadable("the text is not valid Unicode") from error
    if len(raw) > STATEMENT_LIMIT_BYTES:
        raise Unreadable("the text is longer than 1 MiB")
    # PostgreSQL's scanner takes the square of these: 40 KB of "+-+-" are ten seconds.
    if raw.count(b"/*") > _COMMENTS_LIMIT or any(b"+" in run for run in _SIGNS.findall(raw)):
        raise Unreadable("the text holds too many comments, or too long a run of signs")
    if len(raw) <= _PLAIN_LIMIT_BYTES:
        tree = _tree(raw)
    else:
        tree = on_deep_stack(lambda: _tree(raw))
    found: list[Parsed] = []
    for entry in tree.get("stmts", ()):
        start = entry.get("stmt_location", 0)
        length = entry.get("stmt_len", 0)
        part = raw[start : start + length] if length else raw[start:]
        ((kind, node),) = entry["stmt"].items()
        found.append(Parsed(text=part.decode("utf-8").strip(), kind=kind, node=node))
    return tuple(found)


_split_cached = lru_cache(maxsize=512)(_split)


def _tree(raw: bytes) -> Node:
    parsed = lib.pg_query_parse(raw)
    try:
        if parsed.error:
            message = parsed.error.contents.message or b"syntax error"
            raise Unreadable(message.decode("utf-8", "replace"))
        return json.loads(parsed.parse_tree)
    except RecursionError as error:
        raise Unreadable("the text is nested too deeply") from error
    except ValueError as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable("the text cannot be read") from error
    finally:
        lib.pg_query_free_parse_result(parsed)


def on_deep_stack(work: Callable[[], Node]) -> Node:
    """Do something recursive on a thread whose stack cannot run out for any text we accept."""
    done: list[Node] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            done.append(work())
        except Exception as error:  # noqa: BLE001  (carried over to the caller's thread, and raised there)
            failed.append(error)

    # The stack size is a setting of the process, so one at a time sets it, starts and puts it back.
    with _DEEP:
        before = threading.stack_size(_DEEP_STACK_BYTES)
        try:
            thread = threading.Thread(target=run, name="sql-deep")
            thread.start()
        finally:
            threading.stack_size(before)
        thread.join()
    if failed:
        raise failed[0]
    return done[0]
