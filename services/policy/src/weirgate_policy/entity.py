"""Entity ids, and entities as Cedar's JSON.

An id is the resource, a slash, and the name with dots. A part that holds a dot, a slash or a double quote is
written in double quotes as in SQL: otherwise ``"a.b".c`` and ``a."b.c"`` were one table, and a permit on one
reached the other.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

_SYSTEM = frozenset({"pg_catalog", "information_schema", "pg_toast"})
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
KINDS = {
    "r": "table", "p": "table", "v": "view", "m": "materialized_view", "f": "foreign_table", "S": "sequence",
}  # fmt: skip
"""``pg_class.relkind`` to the word rules use; ``unknown`` where the catalog does not have the relation."""


def quoted(part: str) -> str:
    """Return a name as it stands in an entity id."""
    if "." in part or "/" in part or '"' in part:
        return '"' + part.replace('"', '""') + '"'
    return part


def is_system(schema: str) -> bool:
    """Say whether a schema belongs to PostgreSQL itself."""
    return schema in _SYSTEM


def schema_id(resource: str, schema: str) -> str:
    """Return the id of a Schema."""
    return f"{resource}/{quoted(schema)}"


def table_id(resource: str, schema: str, table: str) -> str:
    """Return the id of a Table; an empty schema stands for one that is not known."""
    return f"{resource}/{quoted(schema)}.{quoted(table)}" if schema else f"{resource}/{quoted(table)}"


def column_id(resource: str, schema: str, table: str, column: str) -> str:
    """Return the id of a Column."""
    return f"{table_id(resource, schema, table)}.{quoted(column)}"


function_id = table_id
"""Return the id of a Function."""


UNLISTED = "<unlisted>"
"""Stands for every path that fits no template. No template can hold these characters."""


def route_id(resource: str, template: str) -> str:
    """Return the id of a Route; an empty template stands for every path that fits none."""
    return f"{resource}{template}" if template else f"{resource}/{UNLISTED}"


def offered_id(resource: str, name: str) -> str:
    """Return the id of what a server of MCP offers: a Tool, a McpResource (by URI), a Prompt."""
    return f"{resource}/{name}"


def scheme_of(uri: str) -> str:
    """Return the scheme of a URI in lower case; empty: it has none. Source: RFC 3986, 3.1."""
    found = _SCHEME.match(uri)
    return found[1].lower() if found is not None else ""


def uid(kind: str, name: str) -> dict[str, str]:
    """Return a reference to an entity."""
    return {"type": kind, "id": name}


def entity(kind: str, id: str, parents: tuple[tuple[str, str], ...] = (), /, **attributes: Any) -> str:
    """Return one entity as a JSON text."""
    return json.dumps(
        {"uid": uid(kind, id), "attrs": attributes, "parents": [uid(*parent) for parent in parents]},
        separators=(",", ":"),
    )


def carrier(kind: str, id: str, tags: Iterable[tuple[str, str | int]]) -> str:
    """Return an entity that carries tags as a JSON text."""
    return json.dumps(
        {"uid": uid(kind, id), "attrs": {}, "parents": [], "tags": dict(tags)}, separators=(",", ":")
    )


def label_chain(label: str) -> list[str]:
    """Return a label and the families it is in as entities: ``pii.email`` in ``pii``."""
    parts = label.split(".")
    return [
        entity(
            "Label",
            ".".join(parts[:length]),
            ((("Label", ".".join(parts[: length - 1])),) if length > 1 else ()),
            name=".".join(parts[:length]),
        )
        for length in range(len(parts), 0, -1)
    ]
