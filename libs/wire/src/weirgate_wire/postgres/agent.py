"""Messages from the agent's side (the manual's "frontend", F), after start-up.

Each class encodes itself to a whole frame; :func:`decode_agent` reads a frame. A message that cannot be read
to its last byte is refused.

Source: PostgreSQL 18 manual, "Message Formats".
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from weirgate_wire.postgres.error import PeerError, UsageError
from weirgate_wire.postgres.frame import frame
from weirgate_wire.postgres.reader import Reader


def _text(value: str) -> bytes:
    raw = value.encode()
    if b"\0" in raw:
        raise UsageError("a text with NUL")
    return raw + b"\0"


def _formats(formats: Sequence[int]) -> bytes:
    return struct.pack(f">H{len(formats)}h", len(formats), *formats)


@dataclass(frozen=True, slots=True)
class Query:
    """A simple query: one text with any number of statements."""

    text: str

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frame(b"Q", _text(self.text))


@dataclass(frozen=True, slots=True)
class Parse:
    """Make a prepared statement; the empty name is the unnamed one."""

    name: str
    text: str
    types: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """Return the whole frame."""
        types = struct.pack(f">H{len(self.types)}I", len(self.types), *self.types)
        return frame(b"P", _text(self.name) + _text(self.text) + types)


@dataclass(frozen=True, slots=True)
class Bind:
    """Open a portal on a prepared statement with parameters."""

    portal: str
    statement: str
    parameters: tuple[bytes | None, ...] = ()
    parameter_formats: tuple[int, ...] = ()
    result_formats: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """Return the whole frame."""
        cells = b"".join(
            b"\xff\xff\xff\xff" if cell is None else struct.pack(">i", len(cell)) + cell
            for cell in self.parameters
        )
        return frame(
            b"B",
            _text(self.portal)
            + _text(self.statement)
            + _formats(self.parameter_formats)
            + struct.pack(">H", len(self.parameters))
            + cells
            + _formats(self.result_formats),
        )

    def parameter_format(self, number: int) -> int:
        """Return the format of one parameter (0 text, 1 binary): none given is text, one given counts for
        all."""
        if not self.parameter_formats:
            return 0
        return self.parameter_formats[0 if len(self.parameter_formats) == 1 else number]


@dataclass(frozen=True, slots=True)
class Describe:
    """Ask for the description of a statement (``S``) or a portal (``P``)."""

    what: str
    name: str

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frame(b"D", self.what.encode() + _text(self.name))


@dataclass(frozen=True, slots=True)
class Execute:
    """Run a portal, for at most ``rows`` rows (0: all)."""

    portal: str
    rows: int = 0

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frame(b"E", _text(self.portal) + struct.pack(">i", self.rows))


@dataclass(frozen=True, slots=True)
class Close:
    """Forget a statement (``S``) or a portal (``P``)."""

    what: str
    name: str

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frame(b"C", self.what.encode() + _text(self.name))


@dataclass(frozen=True, slots=True)
class Flush:
    """Answer what there is to answer."""

    def encode(self) -> bytes:
        """Return the whole frame."""
        return b"H\0\0\0\4"


@dataclass(frozen=True, slots=True)
class Sync:
    """End a batch: commit the implicit transaction, recover from an error."""

    def encode(self) -> bytes:
        """Return the whole frame."""
        return b"S\0\0\0\4"


@dataclass(frozen=True, slots=True)
class Terminate:
    """End the session."""

    def encode(self) -> bytes:
        """Return the whole frame."""
        return b"X\0\0\0\4"


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """Call a function by its OID. Refused by the gate, so only its number is read."""

    function_oid: int
    arguments: bytes = field(default=b"\0\0\0\0\0\0", repr=False)
    """Formats, arguments and result format, not decoded."""

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frame(b"F", struct.pack(">I", self.function_oid) + self.arguments)


@dataclass(frozen=True, slots=True)
class CopyData:
    """A piece of a COPY stream."""

    piece: bytes

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frame(b"d", self.piece)


@dataclass(frozen=True, slots=True)
class CopyDone:
    """The COPY stream is complete."""

    def encode(self) -> bytes:
        """Return the whole frame."""
        return b"c\0\0\0\4"


@dataclass(frozen=True, slots=True)
class CopyFail:
    """The COPY stream failed on the agent's side."""

    reason: str

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frame(b"f", _text(self.reason))


@dataclass(frozen=True, slots=True)
class PasswordMessage:
    """A password (or token), clear or hashed."""

    password: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frame(b"p", self.password + b"\0")


@dataclass(frozen=True, slots=True)
class SaslInitialResponse:
    """Choose a SASL mechanism and send its first message."""

    mechanism: str
    response: bytes | None = field(repr=False)

    def encode(self) -> bytes:
        """Return the whole frame."""
        tail = (
            b"\xff\xff\xff\xff"
            if self.response is None
            else struct.pack(">i", len(self.response)) + self.response
        )
        return frame(b"p", _text(self.mechanism) + tail)


@dataclass(frozen=True, slots=True)
class SaslResponse:
    """A further SASL message."""

    response: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Return the whole frame."""
        return frame(b"p", self.response)


AgentMessage = (
    Query
    | Parse
    | Bind
    | Describe
    | Execute
    | Close
    | Flush
    | Sync
    | Terminate
    | FunctionCall
    | CopyData
    | CopyDone
    | CopyFail
)


def decode_password(body: bytes) -> PasswordMessage:
    """Read the body of a ``p`` message as a password.

    Raises:
        PeerError: not one NUL-terminated text.
    """
    if not body or body.find(0) != len(body) - 1:
        raise PeerError("a password is not one terminated text")
    return PasswordMessage(body[:-1])


def _decode_formats(reader: Reader) -> tuple[int, ...]:
    count = reader.count(2)
    if not count:
        return ()
    formats: tuple[int, ...] = struct.unpack(f">{count}h", reader.take(2 * count))
    if any(one not in (0, 1) for one in formats):
        raise PeerError("a format other than text and binary")
    return formats


def _decode_bind(reader: Reader) -> Bind:
    portal = reader.text()
    statement = reader.text()
    formats = _decode_formats(reader)
    parameters = reader.cells(reader.count(4))
    if len(formats) > 1 and len(formats) != len(parameters):
        raise PeerError("as many parameter formats as parameters, or one, or none")
    return Bind(portal, statement, parameters, formats, _decode_formats(reader))


def _decode_named(reader: Reader) -> tuple[str, str]:
    what = chr(reader.int8())
    if what not in "SP":
        raise PeerError("neither a statement nor a portal")
    return what, reader.text()


def decode_agent(kind: int, body: bytes) -> AgentMessage:
    """Read one message from the agent (start-up and passwords excepted).

    Raises:
        PeerError: unknown kind, or not readable to its last byte.
    """
    reader = Reader(body)
    message: AgentMessage
    match kind:
        case 0x51:  # Q
            message = Query(reader.text())
        case 0x50:  # P
            name, text = reader.text(), reader.text()
            message = Parse(name, text, reader.oids())
        case 0x42:  # B
            message = _decode_bind(reader)
        case 0x44:  # D
            message = Describe(*_decode_named(reader))
        case 0x45:  # E
            message = Execute(reader.text(), reader.int32())
        case 0x43:  # C
            message = Close(*_decode_named(reader))
        case 0x48:  # H
            message = Flush()
        case 0x53:  # S
            message = Sync()
        case 0x58:  # X
            message = Terminate()
        case 0x46:  # F
            message = FunctionCall(reader.uint32(), reader.rest())
        case 0x64:  # d
            message = CopyData(reader.rest())
        case 0x63:  # c
            message = CopyDone()
        case 0x66:  # f
            message = CopyFail(reader.text())
        case _:
            raise PeerError(f"unknown message kind 0x{kind:02x}")
    reader.end()
    return message
