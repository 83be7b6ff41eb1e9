"""Content codings: what HTTP calls gzip and deflate, undone and done again as it streams.

A bomb is known by its ratio: deflate packs at most 1032 to 1, so what comes near that holds nothing but one
byte again and again. A piece is unpacked as a whole: feed small ones (16 KiB gives at most 16 MiB).

``br`` and ``zstd`` are not read: nothing this package depends on knows them.
"""

import zlib
from collections.abc import Sequence
from typing import Any, Protocol

from weirgate_mask.unreadable import BodyUnreadable
from weirgate_wire.error import PeerError

RATIO_LIMIT = 1000
RATIO_FREE_BYTES = 1 << 20
"""Below this a ratio says nothing."""
CODINGS_LIMIT = 2
_STEP_BYTES = 256 * 1024
_GZIP_WBITS, _ZLIB_WBITS, _RAW_WBITS = 31, 15, -15
_LEVEL = 5
"""Twice as fast as the default, a few per cent larger."""
_GZIP = ("gzip", "x-gzip")


class Coding(Protocol):
    """Bytes in, bytes out; ``finish`` takes the end."""

    def feed(self, piece: bytes) -> bytes: ...
    def finish(self) -> bytes: ...


def decoder(codings: Sequence[str]) -> Coding:
    """Return what undoes codings, named in the order they were applied, as ``Content-Encoding`` does.

    ``feed`` and ``finish`` raise PeerError for what is not so coded, is cut short or grows too much.

    Raises:
        BodyUnreadable: a coding is not known here, or there are more than two.
    """
    links: list[_Inflate] = []
    for one in reversed(_known(codings)):
        links.append(_Inflate(links[0] if links else None, gzip=one in _GZIP))
    return _Chain(links)


def encoder(codings: Sequence[str]) -> Coding:
    """Return what applies codings in order. What is fed comes out at once, so streams do not stall.

    Raises:
        BodyUnreadable: a coding is not known here, or there are more than two.
    """
    return _Chain([_Deflate(gzip=one in _GZIP) for one in _known(codings)])


def _known(codings: Sequence[str]) -> list[str]:
    named = [coding.strip().lower() for coding in codings]
    named = [coding for coding in named if coding not in ("", "identity")]
    if len(named) > CODINGS_LIMIT:
        raise BodyUnreadable("a body with more than two content codings")
    for coding in named:
        if coding in ("br", "zstd"):
            raise BodyUnreadable(f"content coding {coding} is not installed")
        if coding not in (*_GZIP, "deflate"):
            raise BodyUnreadable("a content coding that is not known")
    return named


class _Chain:
    def __init__(self, links: "list[_Inflate] | list[_Deflate]") -> None:
        self._links = links

    def feed(self, piece: bytes) -> bytes:
        for link in self._links:
            piece = link.feed(piece)
        return piece

    def finish(self) -> bytes:
        rest = b""
        for link in self._links:
            rest = link.feed(rest) + link.finish()
        return rest


class _Deflate:
    def __init__(self, *, gzip: bool) -> None:
        self._packed = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WBITS if gzip else _ZLIB_WBITS)

    def feed(self, piece: bytes) -> bytes:
        return self._packed.compress(piece) + self._packed.flush(zlib.Z_SYNC_FLUSH) if piece else b""

    def finish(self) -> bytes:
        return self._packed.flush()


class _Inflate:
    """One coding undone. gzip may have several members (RFC 1952, 2.2); deflate comes with zlib's head, as
    RFC 9110 has it, or without, as some send it."""

    def __init__(self, first: "_Inflate | None", *, gzip: bool) -> None:
        # The ratio is that of all codings together: two of a thousand each would be a million.
        self._first = first
        self._gzip = gzip
        self._member: Any = None
        self._head = b""
        self._taken = self._given = 0
        self._ended = False

    def feed(self, piece: bytes) -> bytes:
        out: list[bytes] = []
        self._taken += len(piece)
        rest = self._head + piece
        self._head = b""
        while rest:
            if self._member is None:
                if self._ended and not self._gzip:
                    raise PeerError("something follows the end of a coded body")
                if len(rest) < 2:
                    self._head = rest
                    break
                self._member = zlib.decompressobj(self._bits(rest))
            rest = self._inflated(rest, out)
        return b"".join(out)

    def _bits(self, rest: bytes) -> int:
        if self._gzip:
            if rest[:2] != b"\x1f\x8b":
                raise PeerError("a body that is not gzip")
            return _GZIP_WBITS
        zlibs = rest[0] & 0x0F == 8 and int.from_bytes(rest[:2]) % 31 == 0
        return _ZLIB_WBITS if zlibs else _RAW_WBITS

    def _inflated(self, rest: bytes, out: list[bytes]) -> bytes:
        while True:
            try:
                made: bytes = self._member.decompress(rest, _STEP_BYTES)
            except zlib.error as error:
                raise PeerError("a coded body that cannot be read") from error
            out.append(made)
            self._given += len(made)
            if self._given > RATIO_FREE_BYTES and self._given > RATIO_LIMIT * (self._first or self)._taken:
                raise PeerError("a coded body that grows a thousandfold")
            if self._member.eof:
                unused: bytes = self._member.unused_data
                self._member = None
                self._ended = True
                return unused
            rest = self._member.unconsumed_tail
            if not rest and len(made) < _STEP_BYTES:
                return b""

    def finish(self) -> bytes:
        if self._member is not None or self._head:
            raise PeerError("a coded body that is cut short")
        return b""
