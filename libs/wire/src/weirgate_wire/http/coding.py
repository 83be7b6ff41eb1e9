"""Content codings, undone as a body streams: gzip, deflate, br and zstd, alone or two of them chained.

=======  ==========================  ==========================================================================
Coding   Format                      Besides
=======  ==========================  ==========================================================================
gzip     RFC 1952                    several members one behind the other (section 2.2); ``x-gzip`` is the same
deflate  RFC 1950 around RFC 1951    also bare RFC 1951, as some have always sent it
br       RFC 7932                    window of at most 16 MiB (no "large window")
zstd     RFC 8878                    several frames, skippable ones too; window of at most 8 MiB (RFC 9659)
=======  ==========================  ==========================================================================

What follows the end of the last member, frame or stream is refused, and so is a body that is cut short.

Bombs. Nothing is decoded further than it is asked for: what comes out comes in pieces of at most
:data:`PIECE_LIMIT_BYTES`, and is counted before it is given. Two limits end a body:

* its ratio, by an allowance that every byte taken in adds :data:`RATIO_LIMIT` to and every byte given takes from.
  Deflate packs at most 1032 to 1, so what comes near that holds one byte again and again; br and zstd pack a
  million to one. What is saved up is bounded, so that a long body that packs badly earns no bomb behind it: 16 KiB
  never give more than 24 MiB. Precedents are stricter: Envoy lets 100 to 1 through, Apache's ``mod_deflate`` 200 with
  bursts; tables of equal rows come nearer to a thousand, and here memory does not grow with what is given.
* its size, ``limit_bytes``.

Memory is that of the windows (32 KiB, 16 MiB, 8 MiB for each coding of a body) and one piece.

Source: RFC 9110 section 8.4.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import brotli
import zstandard

from weirgate_wire.error import PeerError

CODINGS = ("gzip", "deflate", "br", "zstd")
"""Every coding that is read here, and written by :mod:`weirgate_wire.http.encoder`, by the name it is offered under."""
CODINGS_LIMIT = 2
"""Codings of one body. Chains are of no use but to hide something; curl undoes up to five."""
RATIO_LIMIT = 1000
RATIO_FREE_BYTES = 1 << 20
"""Below this a ratio says nothing."""
DECODED_LIMIT_BYTES = 16 << 30
"""Of a body that streams and is held nowhere: more would keep a core busy for minutes."""
PIECE_LIMIT_BYTES = 5 << 20
"""Largest piece that comes out at once: what 128 bytes of zstd can hold; of the others 512 KiB."""
_SLICE_BYTES = 16 * 1024
_GLANCE_LIMIT_BYTES = 64 << 20
_STEP_BYTES = 256 * 1024
_BROTLI_STEP_BYTES = 128 * 1024
"""brotli fills its buffers of 32, 64, 128, 256 KiB … before it looks at the limit."""
_ZSTD_SLICE_BYTES = 128
"""zstd has no limit on what one call gives. A block is at least four bytes and holds at most 128 KiB (RFC 8878,
3.1.1.2), so this many bytes end at most 33 blocks."""
_ZSTD_BUFFER_BYTES = 32 * 1024
_ZSTD_WINDOW_BYTES = 8 << 20
_GZIP_WBITS, _ZLIB_WBITS, _RAW_WBITS = 31, 15, -15


class CodingUnknown(Exception):
    """A coding that is not known here, or more than :data:`CODINGS_LIMIT` of them."""


class CodedTooLarge(PeerError):
    """What a coded body holds is more than may come out of it: a bomb, or too long."""


def read_codings(fields: Iterable[str]) -> tuple[str, ...]:
    """Return the codings that ``Content-Encoding`` fields name, lower case, in the order they were applied.

    ``identity`` is none, and ``x-gzip`` is ``gzip``.
    """
    named = (one.strip(" \t").lower() for field in fields for one in field.split(","))
    return tuple("gzip" if one == "x-gzip" else one for one in named if one not in ("", "identity"))


def known_codings(codings: Sequence[str]) -> tuple[str, ...]:
    """Return codings as :func:`read_codings` does, all of them known here.

    Raises:
        CodingUnknown: see there.
    """
    named = read_codings(codings)
    if len(named) > CODINGS_LIMIT:
        raise CodingUnknown("a body with more than two content codings")
    if any(one not in CODINGS for one in named):
        raise CodingUnknown("a content coding that is not known")
    return named


class Decoder:
    """Undoes the codings of one body."""

    __slots__ = ("_links", "_meters")

    def __init__(
        self,
        codings: Sequence[str],
        *,
        limit_bytes: int = DECODED_LIMIT_BYTES,
        ratio_limit: int = RATIO_LIMIT,
    ) -> None:
        """Take codings in the order they were applied.

        Args:
            codings: As ``Content-Encoding`` names them; none: the body comes out as it is.
            limit_bytes: Longest body that may come out, of each coding.
            ratio_limit: Bytes that may come out for each that goes in.

        Raises:
            CodingUnknown: see there.
        """
        self._links = [_DECODERS[one]() for one in reversed(known_codings(codings))]
        # The ratio is that of all codings together: two of a thousand each would be a million.
        self._meters = [_Meter(limit_bytes, ratio_limit) for _ in self._links]

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Take some bytes, cut anywhere, and give what they hold; it must be taken to its end.

        Raises:
            CodedTooLarge: it holds too much.
            PeerError: it is not so coded.
        """
        if not self._links:
            yield piece
            return
        for at in range(0, len(piece), _SLICE_BYTES):
            taken = piece[at : at + _SLICE_BYTES]
            pieces: Iterator[bytes] = iter((taken,))
            for link, meter in zip(self._links, self._meters, strict=True):
                meter.take(len(taken))
                pieces = _through(link, meter, pieces)
            yield from pieces

    def finish(self) -> None:
        """Take the end of the body. An empty body is empty in any coding.

        Raises:
            PeerError: it is cut short.
        """
        if any(link.open for link in self._links):
            raise PeerError("a coded body that is cut short")


def decoded_beginning(coded: bytes, codings: Sequence[str], *, limit_bytes: int) -> tuple[bytes, bool]:
    """Return the beginning of what a body holds, for whom half of it is of use, and whether that is all of it.

    Args:
        coded: The body, or its beginning.
        codings: As for :class:`Decoder`.
        limit_bytes: Of what it holds.

    Raises:
        CodingUnknown: see there.
        PeerError: nothing in it can be read.
    """
    # It stops by itself: a bomb has a beginning too. The other limit is for what comes out between two codings.
    decoder = Decoder(codings, limit_bytes=_GLANCE_LIMIT_BYTES, ratio_limit=_GLANCE_LIMIT_BYTES)
    made = bytearray()
    try:
        for piece in decoder.feed(coded):
            made += piece[: limit_bytes + 1 - len(made)]
            if len(made) > limit_bytes:
                return bytes(made[:limit_bytes]), False
        decoder.finish()
    except PeerError:
        if not made and limit_bytes:
            raise
        return bytes(made), False
    return bytes(made), True


def _through(link: "_Undoing", meter: "_Meter", pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        for made in link.feed(piece):
            if made:
                meter.give(len(made))
                yield made


class _Meter:
    """What may still come out of one coding, for what went in at the beginning of the chain."""

    __slots__ = ("_allowed", "_given", "_limit_bytes", "_ratio_limit")

    def __init__(self, limit_bytes: int, ratio_limit: int) -> None:
        self._limit_bytes = limit_bytes
        self._ratio_limit = ratio_limit
        self._allowed = self._given = 0

    def take(self, size: int) -> None:
        self._allowed = min(self._allowed + size * self._ratio_limit, _SLICE_BYTES * self._ratio_limit)

    def give(self, size: int) -> None:
        self._allowed -= size
        self._given += size
        if self._given > self._limit_bytes:
            raise CodedTooLarge("a coded body that holds too much")
        if self._allowed < 0 and self._given > RATIO_FREE_BYTES:
            raise CodedTooLarge("a coded body that grows a thousandfold")


class _Undoing(Protocol):
    """One coding being undone."""

    @property
    def open(self) -> bool:
        """Something was begun that has no end yet."""
        ...

    def feed(self, piece: bytes) -> Iterator[bytes]: ...


class _Inflate:
    """gzip, member by member, or deflate."""

    __slots__ = ("_ended", "_gzip", "_head", "_member")

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._member: Any = None
        self._head = b""
        self._ended = False

    @property
    def open(self) -> bool:
        return self._member is not None or bool(self._head)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        rest = self._head + piece
        self._head = b""
        while rest:
            if self._member is None:
                if self._ended and not self._gzip:
                    raise PeerError("something follows the end of a coded body")
                if len(rest) < 2:
                    self._head = rest
                    return
                self._member = zlib.decompressobj(self._bits(rest))
            made, rest = self._step(rest)
            yield made
            # What fills the step may have more behind it, with nothing left to feed.
            while len(made) >= _STEP_BYTES and not rest and self._member is not None:
                made, rest = self._step(rest)
                yield made

    def _bits(self, rest: bytes) -> int:
        if self._gzip:
            if rest[:2] != b"\x1f\x8b":
                raise PeerError("a body that is not gzip")
            return _GZIP_WBITS
        zlibs = rest[0] & 0x0F == 8 and int.from_bytes(rest[:2]) % 31 == 0
        return _ZLIB_WBITS if zlibs else _RAW_WBITS

    def _step(self, rest: bytes) -> tuple[bytes, bytes]:
        try:
            made: bytes = self._member.decompress(rest, _STEP_BYTES)
        except zlib.error as error:
            raise PeerError("a coded body that cannot be read") from error
        if self._member.eof:
            rest = self._member.unused_data
            self._member = None
            self._ended = True
            return made, rest
        return made, self._member.unconsumed_tail


class _Unbrotli:
    __slots__ = ("_began", "_stream")

    def __init__(self) -> None:
        self._stream: Any = brotli.Decompressor()
        self._began = False

    @property
    def open(self) -> bool:
        return self._began and not self._stream.is_finished()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        if self._began and self._stream.is_finished():
            raise PeerError("something follows the end of a coded body")
        self._began = True
        made = self._step(piece)
        yield made
        # All of the piece being taken in does not mean that all of it came out.
        while not self._stream.is_finished() and (
            len(made) >= _BROTLI_STEP_BYTES or not self._stream.can_accept_more_data()
        ):
            made = self._step(b"")
            yield made

    def _step(self, piece: bytes) -> bytes:
        try:
            made: bytes = self._stream.process(piece, output_buffer_limit=_BROTLI_STEP_BYTES)
        except brotli.error as error:
            raise PeerError("a coded body that cannot be read") from error
        return made


class _Unzstd:
    __slots__ = ("_context", "_frame")

    def __init__(self) -> None:
        self._context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
        self._frame: Any = None

    @property
    def open(self) -> bool:
        return self._frame is not None

    def feed(self, piece: bytes) -> Iterator[bytes]:
        for at in range(0, len(piece), _ZSTD_SLICE_BYTES):
            rest = piece[at : at + _ZSTD_SLICE_BYTES]
            while rest:
                if self._frame is None:
                    self._frame = self._context.decompressobj(write_size=_ZSTD_BUFFER_BYTES)
                try:
                    made: bytes = self._frame.decompress(rest)
                except zstandard.ZstdError as error:
                    raise PeerError("a coded body that cannot be read") from error
                rest = b""
                if self._frame.eof:
                    rest = self._frame.unused_data
                    self._frame = None
                yield made


_DECODERS: dict[str, Callable[[], _Undoing]] = {
    "gzip": lambda: _Inflate(gzip=True),
    "deflate": lambda: _Inflate(gzip=False),
    "br": _Unbrotli,
    "zstd": _Unzstd,
}
