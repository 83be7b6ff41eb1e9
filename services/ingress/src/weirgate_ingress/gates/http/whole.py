"""A request's body that is read whole before it is judged: its codings undone, its size bounded.

Rules read text, so a coded body is judged as the text it holds, and that text is what is sent on: without
``Content-Encoding``, with a length of its own, and bound by the digest. So an upstream never decodes what nobody
judged, and two readings of one coded body cannot differ.

Source: RFC 9110 sections 8.4 and 15.5.16.
"""

from weirgate_contracts.http import BODY_LIMIT_BYTES
from weirgate_contracts.refusal import RefusalCode
from weirgate_ingress.gates.http.request import Request, Unserved, too_long
from weirgate_wire.error import PeerError
from weirgate_wire.http.coding import CODINGS, CodedTooLarge, CodingUnknown, Decoder, read_codings

_READ = f"Send it without Content-Encoding, or coded with one of {', '.join(CODINGS)}."


class WholeBody:
    """Gathers one body."""

    __slots__ = ("_decoder", "_left", "_pieces")

    def __init__(self, request: Request) -> None:
        """Take the request it belongs to.

        Raises:
            Unserved: it is announced too long, or its coding is not known here.
        """
        if request.framing.kind == "length" and request.framing.length > BODY_LIMIT_BYTES:
            raise Unserved.of(too_long(request.framing.length))
        codings = read_codings(request.head.all("content-encoding"))
        try:
            self._decoder = Decoder(codings, limit_bytes=BODY_LIMIT_BYTES) if codings else None
        except CodingUnknown as error:
            raise Unserved(
                RefusalCode.CODING_UNKNOWN,
                f"A body of this type is read before it is judged, and it cannot be: {error}.",
                _READ,
            ) from error
        self._pieces: list[bytes] = []
        self._left = BODY_LIMIT_BYTES

    def feed(self, piece: bytes) -> None:
        """Take a piece as it came.

        Raises:
            Unserved: it is too long, as it came or as what it holds, or is not coded as it says.
        """
        self._left -= len(piece)
        if self._left < 0:
            raise Unserved.of(too_long(0))
        if self._decoder is None:
            self._pieces.append(piece)
            return
        try:
            self._pieces += self._decoder.feed(piece)
        except CodedTooLarge as error:
            raise Unserved.of(too_long(0)) from error
        except PeerError as error:
            raise _garbled(error) from error

    def finish(self) -> bytes:
        """Return the body: the text it holds, with no coding left.

        Raises:
            Unserved: it is cut short.
        """
        if self._decoder is not None:
            try:
                self._decoder.finish()
            except PeerError as error:
                raise _garbled(error) from error
        return b"".join(self._pieces)


def _garbled(error: PeerError) -> Unserved:
    return Unserved(RefusalCode.PROTOCOL, f"The body is not coded as Content-Encoding says: {error}.", _READ)
