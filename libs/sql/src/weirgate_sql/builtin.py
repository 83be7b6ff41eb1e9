"""What a fresh PostgreSQL 18 has built in, from ``builtin.json`` (see ``scripts/generate_builtin.py``)."""

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Builtin:
    """A function of ``pg_catalog``, every overload of it."""

    kinds: str
    """``pg_proc.prokind`` of the overloads: f a w p."""
    returns_set: bool
    leakproof: bool
    """PostgreSQL itself says that no overload tells anything of its arguments but by its result."""
    outs: tuple[str, ...]
    """Names of the OUT columns of a function that returns a row."""
    danger: str | None
    """The capability calling it needs."""


def _function(entry: dict[str, Any]) -> Builtin:
    return Builtin(
        kinds=entry["k"],
        returns_set=bool(entry.get("s")),
        leakproof=bool(entry.get("l")),
        outs=tuple(entry.get("o", ())),
        danger=entry.get("d"),
    )


_BODY: dict[str, Any] = json.loads(files("weirgate_sql").joinpath("builtin.json").read_text("utf-8"))

VERSION: int = _BODY["version"]
"""Major version of the server the file was made from."""
FUNCTIONS: dict[str, Builtin] = {name: _function(entry) for name, entry in _BODY["functions"].items()}
RELATIONS: dict[str, tuple[str, ...]] = {name: tuple(columns) for name, columns in _BODY["relations"].items()}
"""``schema.name`` of each table and view of the two system schemas to its columns in order."""
OPERATORS: frozenset[str] = frozenset(_BODY["operators"])
TYPES: frozenset[str] = frozenset(_BODY["types"])
SENSITIVE: frozenset[str] = frozenset(_BODY["sensitive"])
"""System relations that need the capability ``system.sensitive``."""
VALUES: frozenset[str] = frozenset(_BODY["values"])
"""System relations that hold values of anybody's columns."""
SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema"})
"""Schemas whose relations need not be in a catalog."""
