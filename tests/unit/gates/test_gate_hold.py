"""Held, cancelled, left, stopped, lost."""

import pytest

from weirgate_contracts.events import (
    OperationAbandoned,
    OperationFailed,
    OperationFinished,
    OperationRefused,
    SessionClosed,
)
from weirgate_contracts.refusal import RefusalCode
from weirgate_ingress.gates.core import CancelUpstream, Hangup, Record, Send, Side, Withdraw
from weirgate_ingress.gates.postgres.question import POISON
from weirgate_testkit.story import Story
from weirgate_wire.postgres.message import (
    CommandComplete,
    DataRow,
    ErrorResponse,
    FieldDescription,
    NoticeResponse,
    Query,
    ReadyForQuery,
    RowDescription,
    Sync,
    Terminate,
)

IDLE = ReadyForQuery("I")
ONE = RowDescription((FieldDescription("n"),))
FATAL = ErrorResponse({"S": "FATAL", "V": "FATAL", "C": "57P01", "M": "terminating"})


def held() -> Story:
    story = Story().logged_in().agent_sends(Query("update t")).asks().held()
    fields = {"S": "NOTICE", "V": "NOTICE", "C": "01000", "M": "A person decides.", "D": "dba"}
    return story.says(NoticeResponse(fields | {"H": "https://console.test"}))


def running() -> Story:
    return Story().logged_in().agent_sends(Query("select 1")).asks().allowed().sends_on(Query("select 1"))


def fatal(story: Story) -> Story:
    return story.expect(Send, Side.AGENT, lambda e: b"SFATAL\0" in e.data)


def test_a_held_operation_shows_a_notice_and_runs_once_it_is_granted() -> None:
    story = held().allowed().sends_on(Query("update t"))
    story.upstream_sends(CommandComplete("UPDATE 1"), IDLE).says().expect(Record, OperationFinished)


def test_a_held_operation_that_people_refuse_is_refused() -> None:
    held().refused(RefusalCode.HELD_REFUSED, denied=False).expect(Record, OperationRefused).says()


def test_cancelling_a_held_operation_withdraws_it() -> None:
    story = held().agent_cancels().expect(Withdraw)
    story.expect(Record, lambda e: (e.event.reason, e.event.sent) == ("cancelled", False))
    story.says(lambda said: b"C57014\0" in said and said.endswith(IDLE.encode()))
    story.expect_nothing_sent_to(Side.UPSTREAM)
    story.allowed().expect_nothing()


def test_cancelling_inside_a_transaction_fails_it() -> None:
    story = running().upstream_sends(CommandComplete("BEGIN"), ReadyForQuery("T")).says()
    story.expect(Record, OperationFinished).agent_sends(Query("update t")).asks().agent_cancels()
    story.expect(Withdraw).expect(Record, OperationAbandoned).says()
    story.expect(Send, Side.UPSTREAM, POISON + Sync().encode())


def test_leaving_while_held_withdraws_it() -> None:
    story = held().agent_leaves().expect(Withdraw)
    story.expect(Record, lambda e: (e.event.reason, e.event.sent) == ("disconnected", False))
    story.expect(Record, lambda e: e.event.reason == "agent").expect(Hangup)


def test_cancelling_what_runs_cancels_upstream_and_cancelling_nothing_is_nothing() -> None:
    running().agent_cancels().expect(CancelUpstream)
    Story().logged_in().agent_cancels().expect_nothing()


def test_leaving_mid_result_cancels_upstream() -> None:
    story = running().upstream_sends(ONE, DataRow((b"1",))).says().agent_leaves().expect(CancelUpstream)
    story.expect(Record, lambda e: (e.event.reason, e.event.sent) == ("disconnected", True))
    story.expect(Record, SessionClosed).expect(Hangup)


def test_an_upstream_that_dies_mid_result_is_a_failure_the_agent_hears_of() -> None:
    story = running().upstream_sends(ONE, DataRow((b"1",))).says().upstream_leaves()
    story.expect(Record, lambda e: e.event.refusal.code is RefusalCode.UPSTREAM_LOST and e.event.rows == 1)
    fatal(story.expect(Record, SessionClosed)).expect(Hangup)


def test_an_upstream_that_says_goodbye_has_the_last_word() -> None:
    story = running().upstream_sends(FATAL).says(FATAL).upstream_leaves().expect(Record, OperationFailed)
    story.expect(Record, SessionClosed).expect(Hangup)
    story = (
        Story().logged_in().upstream_sends(FATAL).says(FATAL).agent_sends(Query("select 1")).expect_nothing()
    )
    story.upstream_leaves().expect(Record, SessionClosed).expect(Hangup)


def test_an_upstream_that_dies_while_the_judge_thinks_leaves_nothing_sent() -> None:
    story = Story().logged_in().agent_sends(Query("select 1")).asks().upstream_leaves().expect(Withdraw)
    fatal(story.expect(Record, OperationRefused).expect(Record, SessionClosed)).expect(Hangup)
    story.expect_nothing_sent_to(Side.UPSTREAM)


@pytest.mark.parametrize(
    ("code", "reason"),
    [(RefusalCode.KILLED, "killed"), (RefusalCode.SHUTDOWN, "shutdown")],
)
def test_a_stop_abandons_what_is_under_way(code: RefusalCode, reason: str) -> None:
    story = running().stopped(code).expect(CancelUpstream).expect(Record, lambda e: e.event.reason == reason)
    fatal(story.expect(Record, lambda e: e.event.reason == reason)).expect(Hangup)
    story = held().stopped(code).expect(Withdraw).expect(Record, OperationAbandoned)
    fatal(story.expect(Record, SessionClosed)).expect(Hangup)


def test_an_expired_token_ends_an_idle_session() -> None:
    story = Story().logged_in().stopped(RefusalCode.TOKEN_EXPIRED)
    fatal(story.expect(Record, lambda e: e.event.reason == "expired")).expect(Hangup)


def test_with_the_log_lost_the_last_word_does_not_wait_for_it() -> None:
    story = Story().logged_in().stopped(RefusalCode.LOG_UNAVAILABLE)
    fatal(story).expect(Record, SessionClosed).expect(Hangup)


def test_terminate_ends_the_session_once_what_came_before_is_done() -> None:
    story = Story().logged_in().agent_sends(Query("select 1"), Terminate()).asks().allowed()
    story.sends_on(Query("select 1")).upstream_sends(CommandComplete("SELECT 0"), IDLE).says()
    story.expect(Record, OperationFinished).expect(Send, Side.UPSTREAM, Terminate())
    story.expect(Record, lambda e: e.event.operations == 1).expect(Hangup)
    story.upstream_leaves().expect_nothing()


def test_an_upstream_that_speaks_out_of_turn_ends_the_session() -> None:
    for out_of_turn in (
        IDLE,
        ONE,
        CommandComplete("X"),
        DataRow(()),
        ErrorResponse({"S": "ERROR", "M": "m"}),
    ):
        story = Story().logged_in().upstream_sends(out_of_turn)
        fatal(story.expect(Record, SessionClosed)).expect(Hangup)
