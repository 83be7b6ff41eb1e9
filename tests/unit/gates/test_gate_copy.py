"""COPY in and out, and rows too long to hold."""

from typing import Any

from weirgate_contracts.events import OperationFailed, OperationFinished
from weirgate_contracts.masking import OutputPlan, StatementPlan, Transform
from weirgate_contracts.operation import Limits
from weirgate_ingress.gates.core import CancelUpstream, Record, Send, Side, Tape
from weirgate_testkit.story import Story, encoded
from weirgate_wire.postgres.frame import frame
from weirgate_wire.postgres.message import (
    BIND_COMPLETE,
    COPY_DONE,
    NO_DATA,
    PARSE_COMPLETE,
    Bind,
    CommandComplete,
    CopyData,
    CopyDone,
    CopyFail,
    CopyResponse,
    DataRow,
    Describe,
    ErrorResponse,
    Execute,
    FieldDescription,
    Flush,
    Parse,
    Query,
    ReadyForQuery,
    RowDescription,
    Sync,
)

IDLE = ReadyForQuery("I")
ONE = RowDescription((FieldDescription("n"),))
COPY_IN = CopyResponse("in", 0, (0,))
COPY_OUT = CopyResponse("out", 0, (0,))
MASKED = StatementPlan(
    outputs=(OutputPlan(name="n", labels=("pii.email",), transform=Transform(kind="redact")),)
)


def running(*plans: StatementPlan, limits: Limits | None = None, **terms: Any) -> Story:
    story = Story(**terms).logged_in().agent_sends(Query("copy t")).asks().allowed(*plans, limits=limits)
    return story.sends_on(Query("copy t"))


def test_copy_in_passes_what_the_agent_sends_once_the_upstream_asks() -> None:
    story = running().upstream_sends(COPY_IN).says(COPY_IN)
    story.agent_sends(CopyData(b"a\n"), CopyData(b"b\n")).sends_on(CopyData(b"a\n"), CopyData(b"b\n"))
    story.agent_sends(CopyDone()).sends_on(CopyDone())
    story.upstream_sends(CommandComplete("COPY 2"), IDLE).says()
    story.expect(
        Record,
        lambda e: (
            e.event.bytes_in == len(encoded(Query("copy t"), CopyData(b"a\n"), CopyData(b"b\n"), CopyDone()))
        ),
    )


def test_copy_data_sent_early_waits_for_the_verdict_and_the_upstream() -> None:
    story = Story().logged_in().agent_sends(Query("copy t"), CopyData(b"a\n"), CopyDone()).asks()
    assert not story.gate.wants_agent_bytes
    story.allowed().sends_on(Query("copy t")).upstream_sends(COPY_IN).says(COPY_IN)
    story.sends_on(CopyData(b"a\n")).sends_on(CopyDone())
    assert story.gate.wants_agent_bytes


def test_copy_data_of_a_refused_copy_is_dropped() -> None:
    story = (
        Story().logged_in().agent_sends(Query("copy t"), CopyData(b"a\n"), CopyDone()).asks().refused().says()
    )
    story.agent_sends(CopyData(b"b\n"), CopyFail("x"), Query("select 1")).asks("select 1")
    story.expect_nothing_sent_to(Side.UPSTREAM)


def test_copy_in_by_a_batch_needs_its_sync_twice() -> None:
    batch = [Parse("", "copy t"), Bind("", ""), Describe("P", ""), Execute("")]
    story = Story().logged_in().agent_sends(*batch, Sync()).asks().allowed()
    story.sends_on(*batch, Sync(), taped=encoded(*batch))
    story.upstream_sends(PARSE_COMPLETE, BIND_COMPLETE, NO_DATA, COPY_IN).says()
    story.agent_sends(CopyData(b"a\n"), CopyDone(), Sync()).sends_on(CopyData(b"a\n"))
    story.sends_on(CopyDone(), Flush()).upstream_sends(CommandComplete("COPY 1")).says()
    story.expect(Record, OperationFinished).expect(Send, Side.UPSTREAM, Sync())
    story.upstream_sends(IDLE).says(IDLE)


def test_a_copy_the_upstream_breaks_off_drops_what_still_comes() -> None:
    failed = ErrorResponse({"S": "ERROR", "V": "ERROR", "C": "22P04", "M": "extra"})
    story = running().upstream_sends(COPY_IN).says().agent_sends(CopyData(b"a\n")).sends_on(CopyData(b"a\n"))
    story.upstream_sends(failed, IDLE).says(failed, IDLE).expect(Record, OperationFinished)
    story.agent_sends(CopyData(b"b\n"), CopyDone()).expect_nothing()


def test_another_message_inside_a_copy_ends_the_session() -> None:
    story = running().upstream_sends(COPY_IN).says().agent_sends(Query("select 1"))
    story.left.clear()
    assert story.gate.ended


def test_copy_out_is_masked_and_counted() -> None:
    story = running(MASKED).upstream_sends(COPY_OUT, CopyData(b"a\n"), CopyData(b"b\n"), COPY_DONE)
    story.says(COPY_OUT, CopyData(b"A\n"), CopyData(b"B\n"), COPY_DONE)
    story.upstream_sends(CommandComplete("COPY 2"), IDLE).says()
    story.expect(Record, lambda e: (e.event.rows, e.event.cells_masked) == (2, 2))


def test_copy_both_and_a_copy_nobody_asked_for_end_the_session() -> None:
    for story in (
        running().upstream_sends(CopyResponse("both", 0, ())),
        Story().logged_in().upstream_sends(COPY_IN),
        running().upstream_sends(CopyData(b"x")),
    ):
        assert story.gate.ended
        story.left.clear()


def test_a_copy_in_behind_a_failed_answer_is_failed_upstream() -> None:
    story = running(MASKED).upstream_sends(RowDescription(())).expect(Record, OperationFailed).says()
    story.expect(CancelUpstream).upstream_sends(COPY_IN)
    story.expect(Send, Side.UPSTREAM, CopyFail("refused by the gateway"))


def test_a_long_row_nobody_looks_into_streams_through() -> None:
    row = DataRow((b"x" * 1_000_000,)).encode()
    story = running().upstream_sends(ONE, row[:300_000])
    story.left.clear()
    story.upstream_sends(row[300_000:600_000])
    assert sum(len(one.data) for one in story.left if isinstance(one, Tape)) == 300_000
    story.left.clear()
    story.upstream_sends(row[600_000:], CommandComplete("SELECT 1"), IDLE)
    story.left = [one for one in story.left if isinstance(one, Record)]
    story.expect(Record, lambda e: e.event.rows == 1 and e.event.outcome == "ok")


def test_a_long_row_that_must_be_looked_into_has_a_limit() -> None:
    head = frame(b"D", b"x" * 400_000)
    story = running(MASKED, whole_frame_limit_bytes=300_000).upstream_sends(ONE, head[:10]).says(ONE)
    story.expect(Record, lambda e: e.event.refusal.code == "too_large").says().expect(CancelUpstream)
    story.upstream_sends(head[10:], CommandComplete("SELECT 1"), IDLE).says(IDLE)


def test_a_long_row_over_the_limit_of_the_verdict_does_not_begin() -> None:
    row = DataRow((b"x" * 1_000_000,)).encode()
    story = running(limits=Limits(size_bytes=999_999)).upstream_sends(ONE, row[:300_000]).says(ONE)
    story.expect(Record, OperationFailed).says().expect(CancelUpstream)
    story.upstream_sends(row[300_000:], CommandComplete("SELECT 1"), IDLE).says(IDLE)
