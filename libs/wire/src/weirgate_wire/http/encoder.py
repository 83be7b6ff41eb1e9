"""Content codings, applied as a body streams; what undoes them is :mod:`weirgate_wire.http.coding`.

Source: RFC 9110 section 8.4; RFC 1952, RFC 1950, RFC 7932, RFC 8878 with the window of RFC 9659.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import brotli
import zstandard

from weirgate_wire.http.coding import known_codings

_GZIP_WBITS, _ZLIB_WBITS = 31, 15
_DEFLATE_LEVEL = 5
"""Twice as fast as the default, a few per cent larger."""
_BROTLI_QUALITY, _BROTLI_WINDOW_BITS = 4, 19
"""The highest quality that is as fast as deflate; 11, the default, is for files that are packed once."""
_ZSTD_LEVEL = 3


class Encoder:
    """Applies codings to one body."""

    __slots__ = ("_links",)

    def __init__(self, codings: Sequence[str]) -> None:
        """Take codings in the order they are applied.

        Raises:
            CodingUnknown: see there.
        """
        self._links = [_ENCODERS[one]() for one in known_codings(codings)]

    def feed(self, piece: bytes) -> bytes:
        """Take some of the body; what comes of it may wait for :meth:`flush`."""
        for link in self._links:
            piece = link.feed(piece)
        return piece

    def flush(self) -> bytes:
        """Return what waits: whoever reads it sees everything that was fed. A stream that is not flushed stalls."""
        rest = b""
        for link in self._links:
            rest = link.feed(rest) + link.flush()
        return rest

    def finish(self) -> bytes:
        """Return the end of the body."""
        rest = b""
        for link in self._links:
            rest = link.feed(rest) + link.finish()
        return rest


class _Applying:
    """One coding being applied; empty flushes are left out, as they are not empty on the wire."""

    __slots__ = ("_feed", "_finish", "_flush", "_waits")

    def __init__(self, feed: Any, flush: Any, finish: Any) -> None:
        self._feed, self._flush, self._finish = feed, flush, finish
        self._waits = False

    def feed(self, piece: bytes) -> bytes:
        if not piece:
            return b""
        self._waits = True
        made: bytes = self._feed(piece)
        return made

    def flush(self) -> bytes:
        if not self._waits:
            return b""
        self._waits = False
        made: bytes = self._flush()
        return made

    def finish(self) -> bytes:
        made: bytes = self._finish()
        return made


def _deflate(wbits: int) -> _Applying:
    packed = zlib.compressobj(_DEFLATE_LEVEL, zlib.DEFLATED, wbits)
    return _Applying(packed.compress, lambda: packed.flush(zlib.Z_SYNC_FLUSH), packed.flush)


def _brotli() -> _Applying:
    packed: Any = brotli.Compressor(quality=_BROTLI_QUALITY, lgwin=_BROTLI_WINDOW_BITS)
    return _Applying(packed.process, packed.flush, packed.finish)


def _zstd() -> _Applying:
    packed: Any = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
    return _Applying(packed.compress, lambda: packed.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK), packed.flush)


_ENCODERS = {
    "gzip": lambda: _deflate(_GZIP_WBITS),
    "deflate": lambda: _deflate(_ZLIB_WBITS),
    "br": _brotli,
    "zstd": _zstd,
}
