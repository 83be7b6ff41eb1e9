"""Plans, applied to bodies as they come: coded, cut, and hostile."""

import gzip
import json
import zlib

import pytest

from weirgate_contracts.masking import BodyPlan, DetectorPlan, FieldPlan, Plan, Transform
from weirgate_ingress.gates.http.mask import PlanBodies
from weirgate_ingress.gates.http.terms import PlanMismatch, Unreadable
from weirgate_mask.keys import Keyring

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


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_coded_body_is_masked_inside_and_comes_coded(coding: str) -> None:
    plain, count = masked(BODY.encode())
    raw = gzip.compress(BODY.encode()) if coding == "gzip" else zlib.compress(BODY.encode())
    out, coded_count = masked(raw, coding)
    undone = gzip.decompress(out) if coding == "gzip" else zlib.decompress(out)
    assert (undone, coded_count) == (plain, count)
    assert b"@example.com" not in undone
    assert b"4111111111111111" not in undone
    assert count == 800


def test_what_is_coded_as_nobody_can_read_is_unreadable() -> None:
    for codings in (("br",), ("gzip", "gzip", "gzip"), ("compress",)):
        with pytest.raises(Unreadable):
            masked(b"", *codings)
    with pytest.raises(Unreadable):
        masked(b"", type="image/png")


@pytest.mark.parametrize(
    "raw", [gzip.compress(BODY.encode())[:-9], b"not gzip at all", gzip.compress(b"[1") + b"x"]
)
def test_a_body_that_is_not_what_it_says_is_a_mismatch(raw: bytes) -> None:
    with pytest.raises(PlanMismatch):
        masked(raw, "gzip")


def test_a_bomb_is_a_mismatch_long_before_it_is_unpacked() -> None:
    bomb = gzip.compress(b" " * (64 * 2**20))
    with pytest.raises(PlanMismatch):
        masked(bomb, "gzip", step=len(bomb))


def test_who_may_see_all_of_it_needs_no_mask() -> None:
    assert not BODIES.masks(PLAN, frozenset(("pii.email", "payment.card")))
    assert BODIES.masks(PLAN, frozenset(("pii.email",)))
    assert (
        BODIES.body(
            PLAN, frozenset(("pii.email", "payment.card")), type="application/json", parameters={}, codings=()
        )
        is None
    )
