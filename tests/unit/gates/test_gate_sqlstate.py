"""What agents are told."""

from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.sqlstate import SQLSTATES, refusal_fields


def test_every_refusal_code_has_a_sqlstate() -> None:
    assert set(SQLSTATES) == set(RefusalCode)
    assert all(len(state) == 5 and state.isascii() for state in SQLSTATES.values())


def test_a_refusal_names_its_rules_and_the_next_step() -> None:
    refusal = Refusal(code=RefusalCode.DENIED, reason="No.", rules=("a", "b"), hint="Ask the DBA.")
    fields = refusal_fields(refusal)
    assert fields == {
        "S": "ERROR",
        "V": "ERROR",
        "C": "42501",
        "M": "No.",
        "D": "weirgate: denied; rules: a, b",
        "H": "Ask the DBA.",
    }
    assert refusal_fields(refusal, fatal=True, sqlstate="26000")["S"] == "FATAL"
