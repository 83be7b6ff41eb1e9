"""Events become rows, and the rows do not depend on where one batch ended."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from weirgate_contracts.events import GrantUsed, OperationDeferred, OperationHeld, OperationIntercepted
from weirgate_recorder.project import UNREADABLE, Projection
from weirgate_testkit.audit import Scribe

LOG = [event.encoded() for event in Scribe().log(2)]


def project(bodies: list[bytes]) -> Projection:
    projection = Projection()
    for sequence, body in enumerate(bodies, 1):
        projection.take(sequence, body)
    return projection


def merged(stored: dict[Any, dict[str, Any]], more: Mapping[Any, dict[str, Any]], keep: str) -> None:
    """What the tables do with a batch."""
    for key, patch in more.items():
        row = stored.setdefault(key, {})
        for name, value in patch.items():
            if name == "endorsed_by":
                row[name] = row.get(name, ()) + value
            elif name == "sequence" or name == keep:
                row.setdefault(name, value)
            else:
                row[name] = value


@given(st.sets(st.integers(1, len(LOG) - 1)))
def test_the_rows_are_the_same_wherever_the_batches_are_cut(cuts: set[int]) -> None:
    whole = project(LOG)
    stored: tuple[dict[Any, dict[str, Any]], ...] = ({}, {}, {})
    borders = [0, *sorted(cuts), len(LOG)]
    for start, end in pairwise(borders):
        part = Projection()
        for sequence, body in enumerate(LOG[start:end], start + 1):
            part.take(sequence, body)
        merged(stored[0], part.operations, "at")
        merged(stored[1], part.sessions, "opened_at")
        merged(stored[2], part.approvals, "")
    assert stored == (whole.operations, whole.sessions, whole.approvals)


def test_an_operation_is_one_row_whatever_happened_to_it() -> None:
    scribe = Scribe()
    session = scribe.new_session()
    events = scribe.granted_operation(session, 1)
    row = project([event.encoded() for event in events]).operations[session, 1]
    assert row["verdict"] == "allowed"
    assert row["request"] == events[0].id
    assert row["outcome"] == "ok"
    assert row["sequence"] == 1
    assert row["at"].isoformat().replace("+00:00", "Z")[:23] == events[0].at[:23]


def test_a_deferred_operation_is_over_and_the_one_that_came_back_stands_under_its_request() -> None:
    scribe = Scribe()
    session, another = scribe.new_session(), scribe.new_session()
    events = scribe.granted_operation(session, 1)
    asked, held = events[0], events[1]
    assert isinstance(asked, OperationIntercepted)
    assert isinstance(held, OperationHeld)
    told = OperationDeferred(
        ingress=scribe.ingress, session=session, operation=1, request=asked.id, resource=asked.resource,
        identity=asked.identity, digest=asked.digest, window_s=600,
    )  # fmt: skip
    early = held.model_copy(update={"session": another, "joins": asked.id, "intercepted": held.id})
    used = GrantUsed(
        ingress=scribe.ingress,
        session=another,
        request=asked.id,
        operation=3,
        intercepted=held.id,
        digest="d",
    )
    tables = project([one.encoded() for one in (asked, held, scribe.stamp(told), early, scribe.stamp(used))])
    row = tables.operations[session, 1]
    assert (row["outcome"], row["request"], row["verdict"]) == ("deferred", asked.id, "held")
    assert tables.operations[another, 1]["request"] == asked.id


def test_people_who_agreed_are_counted_once_each() -> None:
    scribe = Scribe()
    events = scribe.granted_operation(scribe.new_session(), 1)
    approvals = project([event.encoded() for event in events]).approvals
    assert approvals[events[0].id]["endorsed_by"] == ("ann",)
    assert approvals[events[0].id]["state"] == "granted"


@given(st.binary())
def test_noise_is_unreadable_and_nothing_else(body: bytes) -> None:
    assert Projection().take(1, body) == UNREADABLE


@given(st.data())
def test_a_mutilated_event_raises_nothing(data: st.DataObject) -> None:
    body = bytearray(data.draw(st.sampled_from(LOG)))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] = data.draw(st.integers(0, 255))
    Projection().take(1, bytes(body))


def test_an_event_with_another_shape_leaves_no_row_behind() -> None:
    projection = Projection()
    body = b'{"kind":"operation.finished","at":"2026-01-01T00:00:00Z","session":7,"operation":1}'
    assert projection.take(1, body) == UNREADABLE
    assert not projection.operations


def test_a_nul_in_a_text_is_replaced_for_postgres_cannot_hold_it() -> None:
    scribe = Scribe()
    event = scribe.intercepted(scribe.new_session(), 1, "select '\x00'")
    row = next(iter(project([event.encoded()]).operations.values()))
    assert "\x00" not in row["text"]
