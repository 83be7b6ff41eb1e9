"""A cursor over one message body: every read checks that the bytes are there."""

import struct

from weirgate_wire.postgres.error import PeerError

_I16 = struct.Struct(">h")
_I32 = struct.Struct(">i")
_U32 = struct.Struct(">I")


class Reader:
    """Read fields of a message body from left to right.

    Every method raises PeerError where the body ends too early. Texts are UTF-8, as the gateway forces it.
    """

    __slots__ = ("_at", "_body")

    def __init__(self, body: bytes, at: int = 0) -> None:
        self._body = body
        self._at = at

    def int8(self) -> int:
        """Read one unsigned byte."""
        at = self._at
        if at >= len(self._body):
            raise PeerError("message ends too early")
        self._at = at + 1
        return self._body[at]

    def int16(self) -> int:
        """Read a signed 16-bit integer."""
        return self._number(_I16)

    def int32(self) -> int:
        """Read a signed 32-bit integer."""
        return self._number(_I32)

    def uint32(self) -> int:
        """Read an unsigned 32-bit integer (an OID)."""
        return self._number(_U32)

    def count(self, item_bytes: int) -> int:
        """Read a 16-bit count of items of at least ``item_bytes`` each, refused where the body cannot hold
        them.

        Counts are unsigned on the wire: up to 65,535 parameters.
        """
        count = self.int16() & 0xFFFF
        if count * item_bytes > len(self._body) - self._at:
            raise PeerError("a count is larger than the message")
        return count

    def oids(self) -> tuple[int, ...]:
        """Read a count and that many OIDs."""
        count = self.count(4)
        return struct.unpack(f">{count}I", self.take(4 * count)) if count else ()

    def cells(self, count: int) -> tuple[bytes | None, ...]:
        """Read that many values, each with its length; -1 is NULL."""
        body, at = self._body, self._at
        size = len(body)
        cells: list[bytes | None] = []
        for _ in range(count):
            if at + 4 > size:
                raise PeerError("message ends too early")
            length: int = _I32.unpack_from(body, at)[0]
            at += 4
            if length < 0:
                if length != -1:
                    raise PeerError(f"a value of {length} bytes")
                cells.append(None)
                continue
            if at + length > size:
                raise PeerError("message ends too early")
            cells.append(body[at : at + length])
            at += length
        self._at = at
        return tuple(cells)

    def text(self) -> str:
        """Read a NUL-terminated UTF-8 text."""
        end = self._body.find(0, self._at)
        if end < 0:
            raise PeerError("a text is not terminated")
        raw = self._body[self._at : end]
        self._at = end + 1
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise PeerError("a text is not UTF-8") from error

    def take(self, size: int) -> bytes:
        """Read ``size`` bytes."""
        at = self._at
        if size < 0 or at + size > len(self._body):
            raise PeerError("message ends too early")
        self._at = at + size
        return self._body[at : at + size]

    def rest(self) -> bytes:
        """Read all that is left."""
        at, self._at = self._at, len(self._body)
        return self._body[at:]

    def end(self) -> None:
        """Check that nothing is left."""
        if self._at != len(self._body):
            raise PeerError("bytes after the end of a message")

    def _number(self, form: struct.Struct) -> int:
        at = self._at
        if at + form.size > len(self._body):
            raise PeerError("message ends too early")
        self._at = at + form.size
        number: int = form.unpack_from(self._body, at)[0]
        return number
