"""Verdicts computed again from what stands in the log."""

import json
from pathlib import Path

from weirgate_contracts.events import CatalogObserved, ConfigPublished, Event, OperationAllowed, decode
from weirgate_policy.bundle import compile_policies
from weirgate_policy.case import Case, operation_of, state_of
from weirgate_policy.judge import judge
from weirgate_policy.testing import replay
from weirgate_sql.model import Catalog

SHOP = Catalog.from_dict(json.loads((Path(__file__).parent / "shop.json").read_text()))
LABELS = {"public.customers.email": "pii.email"}
WIDE = "permit(principal, action, resource);"
NARROW = """
@id("rest") permit(principal, action in [Action::"basic", Action::"read"], resource);
@id("write") @hold("dba") permit(principal, action in Action::"write", resource);
"""


def log(texts: list[str]) -> list[tuple[int, Event]]:
    """A log in which some statements were judged under everything being permitted."""
    events: list[Event] = [
        ConfigPublished(config="policy", name="p", body={"name": "p", "cedar": WIDE}, by="x"),
        ConfigPublished(config="labels", name="shop", body={"resource": "shop", "columns": LABELS}, by="x"),
        CatalogObserved(resource="shop", revision=SHOP.revision, catalog=SHOP.to_dict()),
    ]
    state = state_of("shop", bundle=compile_policies({"p": WIDE}), catalog=SHOP, labels=LABELS, revision=2)
    for number, text in enumerate(texts, start=1):
        operation = operation_of(Case(agent="a", resource="shop", sql=text, expect="allow"))
        operation = operation.stamped(id=f"01J{number:023d}", at="2026-01-01T00:00:00.000000Z")
        events += [operation, judge(operation, state)]
    stamped = [
        event if event.id else event.stamped(id=f"01K{at:023d}", at="2026-01-01T00:00:00.000000Z")
        for at, event in enumerate(events)
    ]
    return [(sequence, decode(event.encoded())) for sequence, event in enumerate(stamped, start=1)]


TEXTS = ["select email from customers", "delete from orders", "select * from nosuch", "begin"]


def test_every_verdict_comes_out_byte_for_byte_the_same() -> None:
    found = list(replay(log(TEXTS)))
    assert len(found) == len(TEXTS)
    assert all(one.identical and one.flipped is None for one in found)


def test_other_rules_show_which_verdicts_would_flip_and_what_would_be_masked() -> None:
    found = list(replay(log(TEXTS), {"p": NARROW}))
    assert [one.flipped for one in found] == [None, ("allow", "hold"), ("allow", "deny"), None]
    assert found[0].unmask_changed is not None
    assert found[0].unmask_changed[1] == ()


def test_a_verdict_is_judged_under_the_configuration_of_its_revision_not_the_newest() -> None:
    events = log(TEXTS)
    late = ConfigPublished(config="policy", name="p", body={"name": "p", "cedar": NARROW}, by="x")
    events.insert(
        3, (3, late)
    )  # in the log before the verdicts, but they say they were judged under revision 2
    assert all(one.identical for one in replay(events))


def test_a_changed_verdict_in_the_log_is_seen() -> None:
    events = log(TEXTS)
    sequence, verdict = events[4]
    assert isinstance(verdict, OperationAllowed)
    events[4] = (sequence, verdict.model_copy(update={"unmask": ("secret.jwt",)}))
    assert [one.identical for one in replay(events)] == [False, True, True, True]
