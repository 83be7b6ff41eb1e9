"""One judged thing: the statements an agent sent, and what the session knew when it sent them."""

from typing import Literal

from pydantic import Field

from weirgate_contracts.value import Value, is_absent

STATEMENT_LIMIT_BYTES = 1024 * 1024
"""Longest SQL text that is judged; a longer one is refused with ``too_large``."""
PARAMETERS_LIMIT_BYTES = 64 * 1024
"""Parameter bytes kept in an event; what is past it is kept as size and digest (the recording has it whole)."""


class Parameter(Value):
    """One bound parameter. Exactly one of ``text``, ``base64``, ``sha256`` is set, none for NULL."""

    text: str | None = None
    base64: str | None = None
    """Binary format, or text that is not UTF-8."""
    sha256: str | None = None
    """Too large to be kept whole."""
    size_bytes: int = 0


class Statement(Value):
    """One SQL text and what is done with it.

    ``prepare``: Parse or Describe alone, nothing runs. ``run``: bound or simple, it runs. ``fetch``: rows of a
    portal that an earlier operation opened. A simple query is one Statement even where its text holds several
    statements: the readers split it by PostgreSQL's own grammar.
    """

    text: str
    """SQL exactly as received: UTF-8, at most 1 MiB, terminator removed."""
    phase: Literal["prepare", "run", "fetch"]
    simple: bool = False
    """True: a simple query (several statements allowed, implicit transaction)."""
    parameters: tuple[Parameter, ...] = ()


class SessionContext(Value):
    """What the session knows that changes the meaning of a text. Policy and masking keep no session state."""

    database: str
    search_path: tuple[str, ...] | None = None
    """As the upstream reports it; ``None``: the resource's default, which the catalog knows."""
    transaction: Literal["I", "T", "E"] = "I"
    prepared: dict[str, str] = Field(default_factory=dict)
    """Prepared statements (wire and SQL level share one namespace) a text may refer to: name to SQL."""
    cursors: dict[str, str] = Field(default_factory=dict)
    """Open cursors and portals a text may refer to: name to the SQL that opened them."""


class Definition(Value):
    """A name the statement defines or drops in the session, once it has succeeded.

    ``number`` counts the statements of the operation from 0, those inside a simple query one by one (so it is
    the number of the CommandComplete that confirms it).
    """

    number: int
    kind: Literal["prepared", "cursor"]
    name: str
    """``*`` with ``text=None``: all of that kind."""
    text: str | None
    """SQL behind the name; ``None``: dropped."""


class AnswerLimit(Value):
    """Which answers of HTTP may be passed on; empty: all."""

    statuses: tuple[str, ...] = ()
    """Three digits, or a class of them: ``404``, ``2xx``. Any one of them fits."""
    types: tuple[str, ...] = ()
    """Media types of bodies, lower case: ``application/json``, ``text/*``. Any one of them fits."""


class Limits(Value):
    """What an allowed operation may take at most."""

    rows: int | None = None
    size_bytes: int | None = None
    answers: tuple[AnswerLimit, ...] | None = Field(default=None, exclude_if=is_absent)
    """Of HTTP: an answer must keep to each of them."""


class Touched(Value):
    """What one statement does, for people and rules: names, never values."""

    verb: str
    """``select``, ``update``, ``ddl.create_table``, ``copy.in``, ``lateral.program`` …"""
    reads: tuple[str, ...] = ()
    """``schema.table.column``."""
    writes: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
