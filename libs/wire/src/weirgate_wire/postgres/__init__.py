"""The PostgreSQL frontend/backend protocol, 3.0 and 3.2: bytes to messages and back.

``startup`` opens a connection, ``frame`` splits the stream that follows, ``message`` has every message kind,
``row`` works on blocks of rows, ``error`` has the error fields, ``limit`` the longest message per kind and
state.
"""

from weirgate_wire.postgres.error import ErrorFields, FrameTooLong, PeerError, UsageError
from weirgate_wire.postgres.frame import Frame, Part, Run, Splitter
from weirgate_wire.postgres.message import FieldDescription

__all__ = [
    "ErrorFields",
    "FieldDescription",
    "Frame",
    "FrameTooLong",
    "Part",
    "PeerError",
    "Run",
    "Splitter",
    "UsageError",
]
