"""Error and notice texts, scrubbed: PostgreSQL quotes values in them.

With labelled columns in reach, what PostgreSQL says *about values* (DETAIL, CONTEXT, the internal statement)
is dropped, a message somebody's own code wrote is withheld, and what a message quotes is replaced, unless its
SQLSTATE is of a class whose messages name things and never values. Detectors run over what is left.
"""

import re

from weirgate_contracts.masking import Plan
from weirgate_mask.content import Content
from weirgate_mask.keys import Keyring
from weirgate_wire.postgres.error import ErrorFields

_KEPT_WITH_LABELS = frozenset("SVCPstcdnFLR")
_TEXTS = frozenset("MDHWq")
_NAMING_CLASSES = frozenset(
    ("08", "0A", "0L", "0P", "23", "24", "25", "26", "28", "2B", "34", "3B", "3D", "3F", "40", "42", "53",
    "54", "55",
     "57", "58")
)  # fmt: skip
"""SQLSTATE classes whose messages name relations, columns, constraints, roles: never values."""
_WRITTEN = frozenset(("exec_stmt_raise", "exec_stmt_assert", "plpgsql_exec_error_callback"))
"""Routines (field R) that say what somebody's own code made up."""
_QUOTED = re.compile(r'"(?:[^"]|"")*(?:"|$)')
WITHHELD = "withheld: labelled columns are in reach"


def scrub_error(fields: ErrorFields, whole: Plan, unmask: frozenset[str], keys: Keyring) -> ErrorFields:
    """Return the fields of an ErrorResponse or NoticeResponse with no labelled value in them.

    Raises:
        DetectorsUnusable: the detectors do not work.
    """
    content = _content(whole, unmask, keys)
    if not _in_reach(whole, unmask):
        if content is None:
            return fields
        return {code: _seen(text, content) if code in _TEXTS else text for code, text in fields.items()}
    kept = {code: text for code, text in fields.items() if code in _KEPT_WITH_LABELS}
    for code in ("M", "H"):
        if code in fields:
            text = _said(fields[code], fields)
            kept[code] = _seen(text, content) if content else text
    if any(code in fields for code in "DWq"):
        kept["D"] = f"Detail {WITHHELD}."
    return kept


def _said(text: str, fields: ErrorFields) -> str:
    sqlstate = fields.get("C", "")
    if sqlstate.startswith("P0") or fields.get("R", "") in _WRITTEN or "\n" in text:
        return f"message {WITHHELD}"
    return text if sqlstate[:2] in _NAMING_CLASSES else _QUOTED.sub('"[masked]"', text)


def scrub_text(text: str, whole: Plan, unmask: frozenset[str], keys: Keyring) -> str:
    """Return a text (the payload of a notification) without what the detectors find in it.

    Raises:
        DetectorsUnusable: the detectors do not work.
    """
    content = _content(whole, unmask, keys)
    return _seen(text, content) if content else text


def _in_reach(whole: Plan, unmask: frozenset[str]) -> bool:
    if whole.impossible is not None:
        return True
    if any(column.label not in unmask for column in whole.labelled):
        return True
    outputs = (output for statement in whole.statements for output in statement.outputs or ())
    return any(not unmask.issuperset(output.labels) for output in outputs)


def _content(whole: Plan, unmask: frozenset[str], keys: Keyring) -> Content | None:
    transforms = {one.label: one.transform for one in whole.detectors if one.label not in unmask}
    return Content(transforms, keys) if transforms else None


def _seen(text: str, content: Content) -> str:
    masked = content.text(text)
    return WITHHELD if masked is None else masked
