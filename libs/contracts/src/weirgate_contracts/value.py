"""The base of every value that crosses a process border, and the constrained words used in them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints


class Value(BaseModel):
    """A frozen value: unknown fields are refused, so a misspelt one cannot be read as absent."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def is_absent(value: object) -> bool:
    """Say whether a field of another protocol is left out: an event holds only what its protocol knows."""
    return value is None


Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,63}$")]
"""One token of a NATS subject: no dot, no wildcard, no space."""

ResourceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""Name under which an upstream is registered; 1 to 63 of a-z, 0-9, '-'."""

EventId = Annotated[str, StringConstraints(pattern=r"^([0-9A-HJKMNP-TV-Z]{26})?$")]
"""ULID: 26 characters of Crockford's base 32, sortable by time. Empty until a shell has stamped the event."""

LabelName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$")]
"""A label such as ``pii.email``: families are dotted prefixes."""

LabelPattern = Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9_]*\.)*([a-z][a-z0-9_]*|\*)$")]
"""A label, or a family of them: ``pii.*``. A lone ``*`` is every label."""


def label_matches(pattern: str, label: str) -> bool:
    """Say whether a label pattern covers a label: ``pii.*`` covers ``pii.email`` and not ``pii``."""
    if pattern == "*":
        return True
    if pattern.endswith(".*"):
        return label.startswith(pattern[:-1])
    return pattern == label
