"""The actions and entity types rules can name, read from ``schema.cedar``, and the hierarchy of the actions.

One source of truth: the schema text. Its ``action`` declarations are regular enough to be read here without a
parser of Cedar's schema language, which ``cedarpy`` does not expose; a test compares the reading with the
validator.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

from cedarpy import Schema

SCHEMA_TEXT: str = files("weirgate_policy").joinpath("schema.cedar").read_text(encoding="utf-8")
"""The schema, as published with the package and shown in docs/policy.md."""

_PLAIN = re.sub(r"//[^\n]*", "", SCHEMA_TEXT)
_ACTION = re.compile(r"\baction\s+(?P<names>[^;{]*?)(?:\s+in\s+\[(?P<parents>[^\]]*)\])?"
                     r"(?:\s*appliesTo\s*\{(?P<applies>[^}]*)\})?\s*;", re.S)  # fmt: skip
_ENTITY = re.compile(r"\bentity\s+(\w+)")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip().strip('"') for part in text.split(",") if part.strip())


def _declared() -> tuple[dict[str, frozenset[str]], dict[str, tuple[str, ...]], dict[str, str]]:
    applies: dict[str, frozenset[str]] = {}
    parents: dict[str, tuple[str, ...]] = {}
    contexts: dict[str, str] = {}
    for found in _ACTION.finditer(_PLAIN):
        on = re.search(r"resource:\s*(\[[^\]]*\]|\w+)", found["applies"] or "")
        of = re.search(r"context:\s*(\w+)", found["applies"] or "")
        for name in _names(found["names"]):
            applies[name] = frozenset(_names(on[1].strip("[]"))) if on else frozenset()
            parents[name] = _names(found["parents"] or "")
            if of is not None:
                contexts[name] = of[1]
    return applies, parents, contexts


_DECLARED = _declared()
APPLIES: Mapping[str, frozenset[str]] = _DECLARED[0]
"""Action to the entity types it is asked on; empty for a group of actions."""
PARENTS: Mapping[str, tuple[str, ...]] = _DECLARED[1]
"""Action to the groups it is directly in."""
CONTEXTS: Mapping[str, str] = _DECLARED[2]
"""Action to the kind of context it is asked with: ``Session``, ``Statement``, ``Call``, ``Message``."""

ENTITY_TYPES: frozenset[str] = frozenset(_ENTITY.findall(_PLAIN))
"""Every declared entity type."""
ACTIONS: frozenset[str] = frozenset(APPLIES)
"""Every action and group of actions."""


@lru_cache(maxsize=256)
def ancestry(action: str) -> tuple[str, ...]:
    """Return the action and every group it is in, nearest first."""
    found = [action]
    for name in found:
        found.extend(parent for parent in PARENTS.get(name, ()) if parent not in found)
    return tuple(found)


@lru_cache(maxsize=1)
def schema() -> Schema:
    """Return the parsed schema."""
    return Schema.from_str(SCHEMA_TEXT)


def known_or_other(action: str, family: str) -> str:
    """Return the action where the schema has it, else the ``other`` of its family."""
    return action if APPLIES.get(action) else f"{family}.other"


_RECORD = re.compile(r"\b(?:entity|type)\s+(\w+)[^{;]*\{([^}]*)\}", re.S)

ATTRIBUTES: Mapping[str, frozenset[str]] = {name: frozenset() for name in ENTITY_TYPES} | {
    found[1]: frozenset(
        part.split(":")[0].strip().rstrip("?") for part in found[2].split(",") if part.strip()
    )
    for found in _RECORD.finditer(_PLAIN)
}
"""Entity type, or kind of context (``Session``, ``Statement``, ``Call``, ``Message``), to its attributes."""

TAGS: Mapping[str, str] = dict(re.findall(r"(\w+)\??:\s*(Values|Numbers)\b", _PLAIN))
"""Attribute of a ``Call`` or ``Message`` whose values are tags, to the entity type that carries them."""
METHODS: Mapping[str, str] = {
    name.partition(".")[2].upper(): name
    for name in APPLIES
    if CONTEXTS.get(name) == "Call" and name not in ("http.other", "http.upgrade", "http.message")
}
"""Method to its action; every other method is ``http.other``. An upgrade and its messages have actions of their own,
whatever their method."""

PHASES = ("prepare", "run", "fetch")
TRANSACTIONS = {"I": "none", "T": "open", "E": "failed"}
"""Transaction status as the protocol has it, to the word rules use."""
CONTEXT_VALUES: Mapping[str, tuple[str, ...]] = {
    "phase": PHASES,
    "transaction": tuple(TRANSACTIONS.values()),
    "protocol": ("postgres", "http", "mcp"),
}
"""Attributes of the context that have few values, all known."""
PROTOCOL_OF = {"Statement": "postgres", "Call": "http", "Message": "mcp"}
"""Kind of context to the only protocol it has."""
