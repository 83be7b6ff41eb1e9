"""Plans, applied to bodies as they come: coded, cut, and hostile."""

import gzip
import json
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard

from weirgate_contracts.masking import BodyPlan, DetectorPlan, FieldPlan, Plan, Transform
from weirgate_ingress.gates.http.mask import PlanBodies
from weirgate_ingress.gates.http.terms import PlanMismatch, Unreadable
from weirgate_mask.keys import Keyring
from weirgate_wire.http.coding import Decoder
from weirgate_wire.http.encoder import Encoder

REDACT = Transform(kind="redact")
PLAN = Plan(
    statements=(),
    body=BodyPlan(fields=(FieldPlan(pattern="/**/email", labels=("pii.email",), transform=REDACT),)),
    detectors=(DetectorPlan(label="payment.card", transform=REDACT),),
)
BODIES = PlanBodies(Keyring(b"k" * 32))
BODY = json.dumps(
    [{"id": n, "email": f"ann{n}@example.com", "note": "pay 4111111111111111"} for n in range(400)]
)


def masked(raw: bytes, *codings: str, type: str = "application/json", step: int = 700) -> tuple[bytes, int]:
    body = BODIES.body(PLAN, frozenset(), type=type, parameters={}, codings=codings)
    assert body is not None
    out = b"".join(body.feed(raw[at : at + step]) for at in range(0, len(raw), step)) + body.finish()
    return out, body.cells_masked


PACK: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "gzip": (gzip.compress, gzip.decompress),
    "deflate": (zlib.compress, zlib.decompress),
    "br": (brotli.compress, brotli.decompress),
    "zstd": (
        zstandard.compress,
        lambda coded: zstandard.ZstdDecompressor().decompressobj().decompress(coded),
    ),
}


@pytest.mark.parametrize("coding", PACK)
def test_a_coded_body_is_masked_inside_and_comes_coded(coding: str) -> None:
    pack, unpack = PACK[coding]
    plain, count = masked(BODY.encode())
    out, coded_count = masked(pack(BODY.encode()), coding)
    undone = unpack(out)
    assert (undone, coded_count) == (plain, count)
    assert b"@example.com" not in undone
    assert b"4111111111111111" not in undone
    assert count == 800


def test_what_is_coded_as_nobody_can_read_is_unreadable() -> None:
    for codings in (("gzip", "gzip", "gzip"), ("compress",)):
        with pytest.raises(Unreadable):
            masked(b"", *codings)
    with pytest.raises(Unreadable):
        masked(b"", type="image/png")


@pytest.mark.parametrize("coding", PACK)
def test_a_body_that_is_not_what_it_says_is_a_mismatch(coding: str) -> None:
    pack, _ = PACK[coding]
    for raw in (pack(BODY.encode())[:-9], b"not so coded at all", pack(b"[1]") + b"x", pack(b"[1")):
        with pytest.raises(PlanMismatch):
            masked(raw, coding)


@pytest.mark.parametrize("coding", PACK)
def test_a_bomb_is_a_mismatch_long_before_it_is_unpacked(coding: str) -> None:
    bomb = PACK[coding][0](b" " * (64 * 2**20))
    with pytest.raises(PlanMismatch, match="thousandfold"):
        masked(bomb, coding, step=len(bomb))


@pytest.mark.parametrize("coding", PACK)
def test_an_event_of_a_coded_stream_is_not_held_back_by_its_coding(coding: str) -> None:
    given, shown = Encoder([coding]), Decoder([coding])
    body = BODIES.body(PLAN, frozenset(), type="text/event-stream", parameters={}, codings=(coding,))
    assert body is not None
    for number in range(3):
        event = b'data: {"id": %d, "email": "ann@example.com"}\n\n' % number
        out = b"".join(shown.feed(body.feed(given.feed(event) + given.flush())))
        assert b'"id": %d' % number in out
        assert b"ann@" not in out


def test_who_may_see_all_of_it_needs_no_mask() -> None:
    assert not BODIES.masks(PLAN, frozenset(("pii.email", "payment.card")))
    assert BODIES.masks(PLAN, frozenset(("pii.email",)))
    assert (
        BODIES.body(
            PLAN, frozenset(("pii.email", "payment.card")), type="application/json", parameters={}, codings=()
        )
        is None
    )
