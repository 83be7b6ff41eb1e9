"""What a recording tells: each scene is one thing that was said, sent or answered. Pure values."""

from dataclasses import dataclass
from typing import Final, Literal

SHOWN_BYTES: Final = 2048
"""Of what cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What every scene has."""

    at_us: int
    operation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Said(Moment):
    """The agent sent a text to run, or to prepare."""

    phase: Literal["run", "prepare", "function"]
    text: str
    parameters: tuple[str | None, ...] = ()
    limit: int = 0
    """Rows asked for, 0: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Moment):
    """Rows the agent was sent."""

    columns: tuple[str, ...]
    numbers: tuple[bool, ...]
    """Columns that hold numbers."""
    rows: tuple[tuple[str | None, ...], ...]
    """The first rows."""
    count: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied(Moment):
    """COPY data that went one way."""

    direction: Literal["in", "out"]
    lines: tuple[str, ...]
    """The first lines."""
    messages: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Moment):
    """A statement ended well."""

    tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(Moment):
    """An error or a notice."""

    severity: str
    code: str
    text: str
    detail: str | None = None
    hint: str | None = None
    failed: bool = False
    """An error, not a notice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notified(Moment):
    """A NOTIFY reached the agent."""

    channel: str
    payload: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Left(Moment):
    """The agent said goodbye."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes(Moment):
    """Bytes that are no message we can read."""

    direction: str
    size_bytes: int
    start: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Called(Moment):
    """The agent began an HTTP call."""

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Moment):
    """An answer to an HTTP call began."""

    status: int
    reason: str
    version: str
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Body(Moment):
    """The body of a call or of an answer, or bytes that went over an upgraded connection."""

    direction: Literal["in", "out"]
    type: str
    """Media type without parameters, lower case; empty: none was given."""
    encoding: str
    """As in Content-Encoding; empty: none."""
    size_bytes: int
    """As it was sent, without the marks of chunks."""
    text: str | None
    """What can be shown of it, decoded; ``None``: it is no text."""
    cut: bool
    """More of it was sent than is shown."""
    whole: bool
    """It ended as its head announced."""
    trailers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(Moment):
    """A message, or a control frame, that went over a WebSocket."""

    direction: Literal["in", "out"]
    kind: Literal["text", "binary", "ping", "pong", "close"]
    size_bytes: int
    text: str | None
    """What can be shown of it; of a close its reason; ``None``: it is no text."""
    cut: bool
    """More of it was sent than is shown."""
    whole: bool
    """It came to its end."""
    code: int | None = None
    """Of a close."""


Scene = Said | Table | Copied | Done | Told | Notified | Left | Bytes | Called | Answered | Body | Message
