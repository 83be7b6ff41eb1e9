"""Messages from the upstream's side (the manual's "backend", B).

Each class encodes itself to a whole frame; :func:`decode_upstream` reads a frame. DataRow stands in ``row``,
the fields of ErrorResponse and NoticeResponse in ``error``.

Source: PostgreSQL 18 manual, "Message Formats".
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from weirgate_wire.postgres.error import PeerError, decode_fields, encode_fields
from weirgate_wire.postgres.frame import frame
from weirgate_wire.postgres.reader import Reader
from weirgate_wire.postgres.row import join_row, split_row

_FIELD = struct.Struct(">IhIhih")


class FieldDescription(NamedTuple):
    """One column of a RowDescription."""

    name: str
    table_oid: int = 0
    """0: not a column of a table."""
    column_number: int = 0
    """``attnum``; 0 where ``table_oid`` is."""
    type_oid: int = 25
    type_size: int = -1
    type_modifier: int = -1
    format: int = 0
    """0 text, 1 binary."""


@dataclass(frozen=True, slots=True)
class RowDescription:
    """The columns of the rows that follow (or, to a Describe, would)."""

    fields: tuple[FieldDescription, ...]

    def encode(self) -> bytes:
        """Return the whole frame."""
        parts = [struct.pack(">H", len(self.fields))]
        for one in self.fields:
            parts.append(one.name.encode() + b"\0")
            parts.append(
                _FIELD.pack(
                    one.table_oid,
                    one.column_number,
                    one.type_oid,
                    one.type_size,
                    one.type_modifier,
                    one.format,
                )
            )
        return frame(b"T", b"".join(parts))


@dataclass(frozen=True, slots=True)
class DataRow:
    """One row; the gate never makes one of these (see ``row``), stories do."""

    cells: tuple[bytes | None, ...]

    def encode(self) -> bytes:
        """Return the whole frame."""
        return join_row(self.cells)


@dataclass(frozen=True, slots=True)
class CommandComplete:
    """A statement has ended well."""

    tag: str

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frame(b"C", self.tag.encode() + b"\0")


Status = Literal["I", "T", "E"]
"""Idle, in a transaction, in a failed transaction."""


@dataclass(frozen=True, slots=True)
class ReadyForQuery:
    """The upstream waits."""

    status: Status

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frame(b"Z", self.status.encode())


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """Something failed."""

    fields: Mapping[str, str]

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frame(b"E", encode_fields(self.fields))


@dataclass(frozen=True, slots=True)
class NoticeResponse:
    """Something to tell."""

    fields: Mapping[str, str]

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frame(b"N", encode_fields(self.fields))


@dataclass(frozen=True, slots=True)
class NotificationResponse:
    """A NOTIFY on a channel that is listened to."""

    process_id: int
    channel: str
    payload: str

    def encode(self) -> bytes:
        """Return the whole frame."""
        body = (
            struct.pack(">I", self.process_id) + self.channel.encode() + b"\0" + self.payload.encode() + b"\0"
        )
        return frame(b"A", body)


@dataclass(frozen=True, slots=True)
class ParameterStatus:
    """The value of a reported setting."""

    name: str
    value: str

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frame(b"S", self.name.encode() + b"\0" + self.value.encode() + b"\0")


@dataclass(frozen=True, slots=True)
class ParameterDescription:
    """The types of a statement's parameters."""

    types: tuple[int, ...]

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frame(b"t", struct.pack(f">H{len(self.types)}I", len(self.types), *self.types))


@dataclass(frozen=True, slots=True)
class CopyResponse:
    """COPY begins. ``direction`` is ``in`` (``G``), ``out`` (``H``) or ``both`` (``W``)."""

    direction: str
    format: int
    column_formats: tuple[int, ...]

    def encode(self) -> bytes:
        """Return the whole frame."""
        kind = {"in": b"G", "out": b"H", "both": b"W"}[self.direction]
        count = len(self.column_formats)
        return frame(kind, struct.pack(f">bH{count}h", self.format, count, *self.column_formats))


@dataclass(frozen=True, slots=True)
class Authentication:
    """What the upstream wants of a login: 0 ok, 3 cleartext, 5 MD5, 10 SASL, 11 continue, 12 final, others
    refused."""

    code: int
    payload: bytes = b""
    """MD5: the salt; SASL: the list of mechanisms; SASL continue and final: what SASL says."""

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frame(b"R", struct.pack(">I", self.code) + self.payload)

    def mechanisms(self) -> tuple[str, ...]:
        """Return the mechanisms a SASL request (code 10) offers, in its order of preference."""
        reader = Reader(self.payload)
        names: list[str] = []
        while name := reader.text():
            names.append(name)
        reader.end()
        return tuple(names)


AUTH_OK, AUTH_CLEARTEXT, AUTH_MD5, AUTH_SASL, AUTH_SASL_CONTINUE, AUTH_SASL_FINAL = 0, 3, 5, 10, 11, 12


@dataclass(frozen=True, slots=True)
class BackendKeyData:
    """The key that cancels this session: 4 bytes of secret in protocol 3.0, up to 256 in 3.2."""

    process_id: int
    secret: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frame(b"K", struct.pack(">I", self.process_id) + self.secret)


@dataclass(frozen=True, slots=True)
class NegotiateProtocolVersion:
    """The newest version the upstream speaks, and the options it does not know."""

    newest: int
    options: tuple[str, ...]

    def encode(self) -> bytes:
        """Return the whole frame."""
        names = b"".join(name.encode() + b"\0" for name in self.options)
        return frame(b"v", struct.pack(">II", self.newest, len(self.options)) + names)


@dataclass(frozen=True, slots=True)
class Bare:
    """A message that is its kind alone: ``1 2 3 I n s c`` (see the constants)."""

    kind: int

    def encode(self) -> bytes:
        """Return the whole frame."""
        return bytes((self.kind, 0, 0, 0, 4))


PARSE_COMPLETE, BIND_COMPLETE, CLOSE_COMPLETE = Bare(0x31), Bare(0x32), Bare(0x33)
EMPTY_QUERY_RESPONSE, NO_DATA, PORTAL_SUSPENDED, COPY_DONE = Bare(0x49), Bare(0x6E), Bare(0x73), Bare(0x63)
_STATUSES: dict[int, Status] = {0x49: "I", 0x54: "T", 0x45: "E"}
_BARE = {
    one.kind: one
    for one in (
        PARSE_COMPLETE,
        BIND_COMPLETE,
        CLOSE_COMPLETE,
        EMPTY_QUERY_RESPONSE,
        NO_DATA,
        PORTAL_SUSPENDED,
        COPY_DONE,
    )
}

UpstreamMessage = (
    RowDescription
    | DataRow
    | CommandComplete
    | ReadyForQuery
    | ErrorResponse
    | NoticeResponse
    | NotificationResponse
    | ParameterStatus
    | ParameterDescription
    | CopyResponse
    | Authentication
    | BackendKeyData
    | NegotiateProtocolVersion
    | Bare
)


def decode_row_description(body: bytes) -> RowDescription:
    """Read the body of a RowDescription.

    Raises:
        PeerError: not readable to its last byte.
    """
    reader = Reader(body)
    fields: list[FieldDescription] = []
    for _ in range(reader.count(19)):
        name = reader.text()
        fields.append(FieldDescription(name, *_FIELD.unpack(reader.take(_FIELD.size))))
    reader.end()
    return RowDescription(tuple(fields))


def decode_tag(raw: bytes) -> str:
    """Read the tag of a whole CommandComplete frame.

    Raises:
        PeerError: not one terminated UTF-8 text.
    """
    if len(raw) < 6 or raw.find(0, 5) != len(raw) - 1:
        raise PeerError("a command tag is not one terminated text")
    try:
        return raw[5:-1].decode()
    except UnicodeDecodeError as error:
        raise PeerError("a text is not UTF-8") from error


def decode_status(raw: bytes) -> Status:
    """Read the status of a whole ReadyForQuery frame.

    Raises:
        PeerError: not one of the three.
    """
    if len(raw) != 6:
        raise PeerError("ReadyForQuery of impossible length")
    return _status(raw[5])


def _status(byte: int) -> Status:
    status = _STATUSES.get(byte)
    if status is None:
        raise PeerError("an unknown transaction status")
    return status


def decode_upstream(kind: int, body: bytes) -> UpstreamMessage:
    """Read one message from the upstream.

    Raises:
        PeerError: unknown kind (FunctionCallResponse is one, since no function call is ever sent), or not
        readable
            to its last byte.
    """
    if kind == 0x54:  # T
        return decode_row_description(body)
    if kind == 0x44:  # D
        return DataRow(tuple(split_row(body)))
    if kind == 0x45:  # E
        return ErrorResponse(decode_fields(body))
    if kind == 0x4E:  # N
        return NoticeResponse(decode_fields(body))
    reader = Reader(body)
    message = _decode_short(kind, reader)
    reader.end()
    return message


def _decode_short(kind: int, reader: Reader) -> UpstreamMessage:
    match kind:
        case 0x43:  # C
            return CommandComplete(reader.text())
        case 0x5A:  # Z
            return ReadyForQuery(_status(reader.int8()))
        case 0x53:  # S
            return ParameterStatus(reader.text(), reader.text())
        case 0x41:  # A
            return NotificationResponse(reader.uint32(), reader.text(), reader.text())
        case 0x74:  # t
            return ParameterDescription(reader.oids())
        case 0x47 | 0x48 | 0x57:  # G H W
            overall = reader.int8()
            formats = tuple(reader.int16() for _ in range(reader.count(2)))
            return CopyResponse({0x47: "in", 0x48: "out", 0x57: "both"}[kind], overall, formats)
        case 0x52:  # R
            return Authentication(reader.uint32(), reader.rest())
        case 0x4B:  # K
            process_id, secret = reader.uint32(), reader.rest()
            if not 4 <= len(secret) <= 256:
                raise PeerError("a cancel key of impossible length")
            return BackendKeyData(process_id, secret)
        case 0x76:  # v
            newest, count = reader.uint32(), reader.uint32()
            if count > 1000:
                raise PeerError("a count is larger than the message")
            return NegotiateProtocolVersion(newest, tuple(reader.text() for _ in range(count)))
        case _:
            if kind not in _BARE:
                raise PeerError(f"unknown message kind 0x{kind:02x}")
            return _BARE[kind]
