"""Every refusal has a status, and is told as a problem document."""

import json

import pytest

from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.problem import REASONS, STATUSES, problem


def test_every_code_has_a_status_with_a_reason() -> None:
    assert set(STATUSES) == set(RefusalCode)
    assert set(STATUSES.values()) <= set(REASONS)


@pytest.mark.parametrize("code", RefusalCode)
def test_a_problem_says_what_and_what_next(code: RefusalCode) -> None:
    raw = problem(
        Refusal(code=code, reason="Ünmöglich.", rules=("p/1",), hint="Do less."), operation=3, close=True
    )
    head, _, body = raw.partition(b"\r\n\r\n")
    told = json.loads(body)
    assert told["status"] == STATUSES[code]
    assert (told["code"], told["detail"], told["hint"]) == (code.value, "Ünmöglich.", "Do less.")
    assert (told["rules"], told["operation"]) == (["p/1"], 3)
    assert f"content-length: {len(body)}".encode() in head
    assert b"connection: close" in head
    assert (b"www-authenticate" in head) == (STATUSES[code] == 401)
    bodiless = problem(Refusal(code=code, reason="No."), operation=None, close=False, bodiless=True)
    assert bodiless.endswith(b"\r\n\r\n")
