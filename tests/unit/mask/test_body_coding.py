"""Content codings: undone and done again, and bombs."""

import gzip
import zlib

import pytest

from weirgate_mask.body import BodyUnreadable
from weirgate_mask.coding import decoder, encoder
from weirgate_wire.error import PeerError

BODY = b"".join(b"line %d of a body\n" % number for number in range(5000))


def raw(body: bytes) -> bytes:
    packed = zlib.compressobj(wbits=-15)
    return packed.compress(body) + packed.flush()


def decoded(codings: list[str], body: bytes, size: int = 1 << 30) -> bytes:
    made = decoder(codings)
    return b"".join([made.feed(body[at : at + size]) for at in range(0, len(body), size)]) + made.finish()


@pytest.mark.parametrize(
    "codings", [[], ["identity"], ["gzip"], ["X-Gzip"], ["deflate"], ["deflate", "gzip"]]
)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_was_coded_is_decoded(codings: list[str], size: int) -> None:
    made = encoder(codings)
    coded = b"".join([made.feed(BODY[at : at + 777]) for at in range(0, len(BODY), 777)]) + made.finish()
    assert decoded(codings, coded, size) == BODY


@pytest.mark.parametrize("size", [1, 1 << 30])
def test_deflate_comes_with_and_without_its_head(size: int) -> None:
    assert decoded(["deflate"], zlib.compress(BODY), size) == BODY
    assert decoded(["deflate"], raw(BODY), size) == BODY


@pytest.mark.parametrize("size", [1, 7, 1 << 30])
def test_gzip_may_have_several_members(size: int) -> None:
    assert decoded(["gzip"], gzip.compress(b"a") + gzip.compress(b"") + gzip.compress(b"b"), size) == b"ab"


def test_an_empty_body_is_empty_in_any_coding() -> None:
    assert decoded(["gzip"], b"") == decoded(["deflate"], b"") == b""


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(BODY)[:-1]),
        ("gzip", gzip.compress(BODY) + b"x"),
        ("gzip", gzip.compress(b"a") + b"\x00\x00"),
        ("gzip", b"hello"),
        ("gzip", b"\x1f"),
        ("deflate", zlib.compress(BODY)[:-1]),
        ("deflate", zlib.compress(BODY) + b"x"),
        ("deflate", b"\xff\xff\xff"),
    ],
)
def test_a_body_that_is_cut_short_or_goes_on_is_refused(coding: str, body: bytes) -> None:
    for size in (1, 1 << 30):
        with pytest.raises(PeerError):
            decoded([coding], body, size)


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    bomb = zlib.compress(bytes(64 << 20), 9)
    made = decoder(["deflate"])
    given = 0
    with pytest.raises(PeerError, match="thousandfold"):
        for at in range(0, len(bomb), 1024):
            given += len(made.feed(bomb[at : at + 1024]))
    assert given < 4 << 20


def test_two_bombs_in_one_are_refused_as_soon() -> None:
    with pytest.raises(PeerError, match="thousandfold"):
        decoded(["gzip", "gzip"], gzip.compress(gzip.compress(bytes(64 << 20), 9), 9))


@pytest.mark.parametrize("codings", [["br"], ["zstd"], ["compress"], ["gzip", "gzip", "gzip"]])
def test_codings_nobody_knows_here_are_unreadable(codings: list[str]) -> None:
    for make in (decoder, encoder):
        with pytest.raises(BodyUnreadable):
            make(codings)


def test_what_is_fed_to_the_encoder_comes_out_at_once() -> None:
    packed, unpacked = encoder(["gzip"]), decoder(["gzip"])
    assert unpacked.feed(packed.feed(b"data: one\n\n")) == b"data: one\n\n"
