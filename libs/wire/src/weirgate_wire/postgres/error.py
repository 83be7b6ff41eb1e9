"""ErrorResponse and NoticeResponse fields, and the two errors of the codec.

Source: PostgreSQL manual, "Error and Notice Message Fields".
"""

from collections.abc import Mapping

from weirgate_wire.error import PeerError, UsageError

__all__ = [
    "FATAL_SEVERITIES",
    "ErrorFields",
    "FrameTooLong",
    "PeerError",
    "UsageError",
    "decode_fields",
    "encode_fields",
]

ErrorFields = dict[str, str]
"""Field code (one ASCII letter, see the manual) to text, in the order received: ``{"S": "ERROR", "C":
"42601", …}``."""

FATAL_SEVERITIES = frozenset({"FATAL", "PANIC"})
"""Values of field ``V`` (or ``S``) after which PostgreSQL closes the connection."""


class FrameTooLong(PeerError):
    """A length prefix is over the limit for its kind; nothing of the message was consumed.

    Attributes:
        kind: type byte of the message.
        size_bytes: its whole size, header included.
    """

    def __init__(self, kind: int, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"message {chr(kind)!r} of {size_bytes} bytes is over the limit of {limit_bytes}")
        self.kind = kind
        self.size_bytes = size_bytes


def decode_fields(body: bytes) -> ErrorFields:
    """Read the fields of an ErrorResponse or NoticeResponse body.

    Bytes that are not UTF-8 are replaced: before the encoding is agreed on a server may speak any.

    Raises:
        PeerError: not terminated, or a field without text.
    """
    fields: ErrorFields = {}
    at = 0
    size = len(body)
    while True:
        if at >= size:
            raise PeerError("error fields are not terminated")
        code = body[at]
        if code == 0:
            if at + 1 != size:
                raise PeerError("bytes after the last error field")
            return fields
        end = body.find(0, at + 1)
        if end < 0:
            raise PeerError("an error field is not terminated")
        fields[chr(code)] = body[at + 1 : end].decode("utf-8", "replace")
        at = end + 1


def encode_fields(fields: Mapping[str, str]) -> bytes:
    """Write fields as the body of an ErrorResponse or NoticeResponse. NUL inside a text becomes U+FFFD.

    Raises:
        UsageError: a field code is not one byte.
    """
    parts: list[bytes] = []
    for code, text in fields.items():
        key = code.encode("latin-1", "replace")
        if len(key) != 1 or key == b"\0":
            raise UsageError(f"field code {code!r}")
        parts.append(key + text.replace("\0", "\ufffd").encode("utf-8", "replace") + b"\0")
    parts.append(b"\0")
    return b"".join(parts)
