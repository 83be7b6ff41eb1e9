"""Error and notice texts."""

from weirgate_contracts.masking import DetectorPlan, LabelledColumn, Plan, StatementPlan, Transform
from weirgate_mask.keys import Keyring
from weirgate_mask.placeholder import placeholder
from weirgate_mask.scrub import scrub_error, scrub_text

KEYS = Keyring(b"k" * 32)
REDACT = Transform(kind="redact")
STATEMENTS = (StatementPlan(outputs=None),)
REACH = Plan(
    statements=STATEMENTS,
    labelled=(LabelledColumn(table_oid=1, column_number=1, label="pii.email", transform=REDACT),),
)
CONTENT = Plan(statements=STATEMENTS, detectors=(DetectorPlan(label="pii.email", transform=REDACT),))
PLAIN = Plan(statements=STATEMENTS)
NOTHING: frozenset[str] = frozenset()

DUPLICATE = {
    "S": "ERROR",
    "C": "23505",
    "M": 'duplicate key value violates unique constraint "customers_email_key"',
    "D": "Key (email)=(john@example.com) already exists.",
    "n": "customers_email_key",
}


def test_detail_is_dropped_with_labelled_columns_in_reach() -> None:
    scrubbed = scrub_error(DUPLICATE, REACH, NOTHING, KEYS)
    assert scrubbed["M"] == DUPLICATE["M"]
    assert "john" not in str(scrubbed)
    assert scrubbed["n"] == "customers_email_key"


def test_detail_stays_where_the_label_is_unmasked_or_none_is_in_reach() -> None:
    assert scrub_error(DUPLICATE, REACH, frozenset(("pii.email",)), KEYS) == DUPLICATE
    assert scrub_error(DUPLICATE, PLAIN, NOTHING, KEYS) == DUPLICATE


def test_detectors_run_over_what_is_left() -> None:
    scrubbed = scrub_error(DUPLICATE, CONTENT, NOTHING, KEYS)
    assert scrubbed["D"] == f"Key (email)=({placeholder('pii.email', KEYS)}) already exists."


def test_a_value_a_cast_quotes_is_replaced() -> None:
    fields = {"S": "ERROR", "C": "22P02", "M": 'invalid input syntax for type integer: "jo""hn"', "W": "x"}
    scrubbed = scrub_error(fields, REACH, NOTHING, KEYS)
    assert scrubbed["M"] == 'invalid input syntax for type integer: "[masked]"'
    assert "W" not in scrubbed


def test_a_quote_that_never_ends_hides_the_rest() -> None:
    fields = {"C": "22P02", "M": 'invalid: "john'}
    assert scrub_error(fields, REACH, NOTHING, KEYS)["M"] == 'invalid: "[masked]"'


def test_a_message_somebody_wrote_is_withheld() -> None:
    raised = {"S": "ERROR", "C": "P0001", "M": "john is broke", "H": "ask john"}
    noticed = {"S": "NOTICE", "C": "00000", "M": "john is broke", "R": "exec_stmt_raise", "W": "f()"}
    for fields in (raised, noticed):
        scrubbed = scrub_error(fields, REACH, NOTHING, KEYS)
        assert "john" not in str(scrubbed)
        assert scrubbed["C"] == fields["C"]
        assert scrub_error(fields, PLAIN, NOTHING, KEYS) == fields


def test_a_field_nobody_knows_is_dropped() -> None:
    assert "Z" not in scrub_error({"C": "22000", "M": "m", "Z": "john"}, REACH, NOTHING, KEYS)


def test_an_impossible_plan_scrubs_as_if_everything_were_in_reach() -> None:
    whole = Plan(statements=(), impossible="no catalog")
    assert "john" not in str(scrub_error(DUPLICATE, whole, NOTHING, KEYS))


def test_a_notification_loses_what_detectors_find() -> None:
    assert scrub_text("new: a@b.cd", CONTENT, NOTHING, KEYS) == f"new: {placeholder('pii.email', KEYS)}"
    assert scrub_text("new: a@b.cd", CONTENT, frozenset(("pii.email",)), KEYS) == "new: a@b.cd"
    assert scrub_text("new: a@b.cd", PLAIN, NOTHING, KEYS) == "new: a@b.cd"
    null = Plan(statements=(), detectors=(DetectorPlan(label="pii.email", transform=Transform(kind="null")),))
    assert "a@b.cd" not in scrub_text("new: a@b.cd", null, NOTHING, KEYS)
