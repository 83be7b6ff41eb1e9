"""Content codings: undone and done again, cut anywhere, and bombs."""

import gzip
import os
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard

from weirgate_wire.error import PeerError
from weirgate_wire.http.coding import (
    CODINGS,
    PIECE_LIMIT_BYTES,
    CodedTooLarge,
    CodingUnknown,
    Decoder,
    decoded_beginning,
    read_codings,
)
from weirgate_wire.http.encoder import Encoder

BODY = b"".join(b"line %d of a body\n" % number for number in range(5000))
NOISE = os.urandom(300_000)
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip"


def raw(body: bytes) -> bytes:
    packed = zlib.compressobj(wbits=-15)
    return packed.compress(body) + packed.flush()


def zstd(body: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(body)


def br(body: bytes) -> bytes:
    return bytes(brotli.compress(body, quality=5))


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "deflate": zlib.compress, "br": br, "zstd": zstd,
}  # fmt: skip


def decoded(codings: list[str], body: bytes, size: int = 1 << 30) -> bytes:
    made = Decoder(codings)
    out: list[bytes] = []
    for at in range(0, len(body), size):
        pieces = list(made.feed(body[at : at + size]))
        assert all(len(piece) <= PIECE_LIMIT_BYTES for piece in pieces)
        out += pieces
    made.finish()
    return b"".join(out)


@pytest.mark.parametrize(
    "codings",
    [[], ["identity"], ["gzip"], ["X-Gzip"], ["deflate"], ["br"], ["zstd"], ["deflate", "gzip"], ["br", "zstd"],
     ["zstd", "zstd"], ["gzip", "br"]],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 1000, 1 << 30])
@pytest.mark.parametrize("flushes", [True, False])
def test_what_was_coded_is_decoded(codings: list[str], size: int, flushes: bool) -> None:
    made = Encoder(codings)
    coded = b""
    for at in range(0, len(BODY), 777):
        coded += made.feed(BODY[at : at + 777]) + (made.flush() if flushes else b"")
    assert decoded(codings, coded + made.finish(), size) == BODY


@pytest.mark.parametrize("coding", CODINGS)
def test_what_others_coded_is_decoded(coding: str) -> None:
    for body in (b"", b"x", BODY, NOISE, BODY * 20, bytes(900_000)):
        for size in (100, 1 << 30) if len(body) < 400_000 else (65_536, 1 << 30):
            assert decoded([coding], PACK[coding](body), size) == body


@pytest.mark.parametrize("coding", CODINGS)
def test_what_fills_a_step_to_the_brim_is_decoded_to_its_end(coding: str) -> None:
    for length in (128 * 1024, 224 * 1024, 256 * 1024, 480 * 1024, 512 * 1024):
        for body in (bytes(length), bytes(length - 1), bytes(length + 1)):
            assert decoded([coding], PACK[coding](body)) == body


@pytest.mark.parametrize("size", [1, 1 << 30])
def test_deflate_comes_with_and_without_its_head(size: int) -> None:
    assert decoded(["deflate"], zlib.compress(BODY), size) == BODY
    assert decoded(["deflate"], raw(BODY), size) == BODY


@pytest.mark.parametrize("size", [1, 7, 1 << 30])
def test_gzip_may_have_several_members_and_zstd_several_frames(size: int) -> None:
    members = gzip.compress(b"a", mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(b"b", mtime=0)
    assert decoded(["gzip"], members, size) == b"ab"
    frames = SKIPPABLE + zstd(b"a") + zstd(b"") + SKIPPABLE + zstd(b"b") + SKIPPABLE
    assert decoded(["zstd"], frames, size) == b"ab"


@pytest.mark.parametrize("coding", CODINGS)
def test_an_empty_body_is_empty_in_any_coding(coding: str) -> None:
    assert decoded([coding], b"") == b""
    assert decoded([coding], Encoder([coding]).finish()) == b""


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [1, 1 << 30])
def test_a_body_that_is_cut_short_is_refused_wherever_it_is_cut(coding: str, size: int) -> None:
    coded = PACK[coding](BODY[:400])
    for end in range(1, len(coded)):
        with pytest.raises(PeerError):
            decoded([coding], coded[:end], size)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(BODY, mtime=0) + b"x"),
        ("gzip", gzip.compress(b"a", mtime=0) + b"\x00\x00"),
        ("gzip", b"hello"),
        ("deflate", zlib.compress(BODY) + b"x"),
        ("deflate", zlib.compress(b"a") * 2),
        ("deflate", b"\xff\xff\xff"),
        ("br", brotli.compress(BODY) + b"x"),
        ("br", brotli.compress(b"a") * 2),
        ("br", b"\xff\xff\xff"),
        ("zstd", zstd(BODY) + b"x"),
        ("zstd", zstd(BODY) + bytes(4)),
        ("zstd", b"hello"),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 30])
def test_what_is_not_so_coded_or_goes_on_behind_its_end_is_refused(
    coding: str, body: bytes, size: int
) -> None:
    with pytest.raises(PeerError):
        decoded([coding], body, size)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_what_was_changed_on_the_way_is_refused(coding: str) -> None:
    pack = zstandard.ZstdCompressor(write_checksum=True).compress if coding == "zstd" else gzip.compress
    coded = bytearray(pack(NOISE[:2000]))
    coded[1000] ^= 1
    with pytest.raises(PeerError):
        decoded([coding], bytes(coded))


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_is_refused_before_it_goes_off(coding: str) -> None:
    # 64 MiB of zeros in some kilobytes, or in some bytes.
    bomb = zlib.compress(bytes(64 << 20), 9) if coding == "deflate" else PACK[coding](bytes(64 << 20))
    for size in (1, 1024, 1 << 30) if len(bomb) < 4096 else (1024, 1 << 30):
        made = Decoder([coding])
        given = 0
        with pytest.raises(CodedTooLarge, match="thousandfold"):
            for at in range(0, len(bomb), size):
                for piece in made.feed(bomb[at : at + size]):
                    given += len(piece)
        assert given < (4 << 20 if size == 1024 else 24 << 20)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_long_body_that_packs_badly_earns_no_bomb_behind_it(coding: str) -> None:
    bomb = PACK[coding](os.urandom(4 << 20) + bytes(256 << 20))
    made = Decoder([coding])
    given = 0
    with pytest.raises(CodedTooLarge, match="thousandfold"):
        for at in range(0, len(bomb), 65_536):
            for piece in made.feed(bomb[at : at + 65_536]):
                given += len(piece)
    assert given < 40 << 20


def test_a_block_of_zstd_that_repeats_one_byte_comes_out_in_pieces() -> None:
    # Frame head with a window of 8 MiB, then blocks of four bytes that hold 128 KiB each (RFC 8878, 3.1.1.2).
    rle = ((128 * 1024) << 3 | 1 << 1).to_bytes(3, "little") + b"\x00"
    made = Decoder(["zstd"])
    given = 0
    with pytest.raises(CodedTooLarge):
        for piece in made.feed(b"\x28\xb5\x2f\xfd\x00\x68" + rle * 4096):
            assert len(piece) <= PIECE_LIMIT_BYTES
            given += len(piece)
    assert given < 24 << 20


def test_a_window_wider_than_the_standard_has_it_is_refused() -> None:
    # RFC 9659: 8 MiB for "zstd" in HTTP. The window is what a peer makes us keep.
    options = zstandard.ZstdCompressionParameters(window_log=27)
    packed = zstandard.ZstdCompressor(compression_params=options).compressobj()
    with pytest.raises(PeerError):
        decoded(["zstd"], packed.compress(BODY) + packed.flush())


@pytest.mark.parametrize("pair", [("gzip", "gzip"), ("br", "zstd"), ("zstd", "br")])
def test_two_bombs_in_one_are_refused_as_soon(pair: tuple[str, str]) -> None:
    bomb = PACK[pair[1]](PACK[pair[0]](bytes(64 << 20)))
    made = Decoder(pair)
    given = 0
    with pytest.raises(CodedTooLarge, match="thousandfold"):
        for piece in made.feed(bomb):
            given += len(piece)
    assert given < 24 << 20


@pytest.mark.parametrize("coding", CODINGS)
def test_what_may_come_out_is_limited(coding: str) -> None:
    made = Decoder([coding], limit_bytes=len(BODY))
    assert b"".join(made.feed(PACK[coding](BODY))) == BODY
    with pytest.raises(CodedTooLarge, match="too much"):
        list(Decoder([coding], limit_bytes=len(BODY) - 1).feed(PACK[coding](BODY)))


@pytest.mark.parametrize("codings", [["compress"], ["gzip", "gzip", "br"], ["gz ip"], ["gzip;q=1"]])
def test_codings_nobody_knows_here_are_unknown(codings: list[str]) -> None:
    for make in (Decoder, Encoder):
        with pytest.raises(CodingUnknown):
            make(codings)


def test_codings_are_read_from_every_field_in_order() -> None:
    assert read_codings([" GZIP ,identity,", "x-gzip\t, br"]) == ("gzip", "gzip", "br")
    assert read_codings([]) == read_codings(["", "identity"]) == ()


@pytest.mark.parametrize("codings", [[one] for one in CODINGS] + [["br", "gzip"]])
def test_what_is_flushed_comes_out_at_once(codings: list[str]) -> None:
    packed, unpacked = Encoder(codings), Decoder(codings)
    for event in (b"data: one\n\n", b"data: two\n\n"):
        assert b"".join(unpacked.feed(packed.feed(event) + packed.flush())) == event
        assert packed.flush() == b""
    assert list(unpacked.feed(packed.finish())) == []
    unpacked.finish()


@pytest.mark.parametrize("coding", CODINGS)
def test_half_a_body_is_read_by_whom_half_of_it_is_of_use(coding: str) -> None:
    coded = PACK[coding](NOISE)
    assert decoded_beginning(PACK[coding](BODY), [coding], limit_bytes=1 << 20) == (BODY, True)
    assert decoded_beginning(PACK[coding](BODY), [coding], limit_bytes=100) == (BODY[:100], False)
    begun, whole = decoded_beginning(coded[:200_000], [coding], limit_bytes=1 << 20)
    assert not whole
    assert len(begun) > 100_000
    assert NOISE.startswith(begun)
    begun, whole = decoded_beginning(PACK[coding](bytes(64 << 20)), [coding], limit_bytes=4000)
    assert (len(begun), whole) == (4000, False)
    assert decoded_beginning(PACK[coding](BODY), [coding], limit_bytes=0) == (b"", False)


@pytest.mark.parametrize(
    ("coding", "body"), [("gzip", b"nothing"), ("br", b"\xff" * 9), ("zstd", b"\x28\xb5")]
)
def test_of_what_cannot_be_read_at_all_no_half_is_made_up(coding: str, body: bytes) -> None:
    with pytest.raises(PeerError):
        decoded_beginning(body, [coding], limit_bytes=100)
