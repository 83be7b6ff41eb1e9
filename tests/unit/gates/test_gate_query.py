"""Simple queries: judged, sent, masked, recorded."""

import hashlib
from typing import Any

import pytest

from weirgate_contracts.events import OperationFailed, OperationFinished, OperationRefused, SessionClosed
from weirgate_contracts.masking import OutputPlan, StatementPlan, Transform
from weirgate_contracts.operation import Definition, Limits
from weirgate_contracts.refusal import RefusalCode
from weirgate_ingress.gates.core import Ask, CancelUpstream, Hangup, Record, Send, Side
from weirgate_ingress.gates.postgres.question import POISON
from weirgate_testkit.story import PARAMETERS, Story, encoded
from weirgate_wire.postgres.message import (
    BIND_COMPLETE,
    CLOSE_COMPLETE,
    EMPTY_QUERY_RESPONSE,
    PARSE_COMPLETE,
    CommandComplete,
    DataRow,
    ErrorResponse,
    FieldDescription,
    FunctionCall,
    NoticeResponse,
    NotificationResponse,
    ParameterStatus,
    Query,
    ReadyForQuery,
    RowDescription,
    Sync,
)

IDLE = ReadyForQuery("I")
ONE = RowDescription((FieldDescription("n"),))
ROW = DataRow((b"1",))
DONE = CommandComplete("SELECT 1")
MASKED = StatementPlan(
    outputs=(OutputPlan(name="n", labels=("pii.email",), transform=Transform(kind="redact")),)
)
POISONED = ErrorResponse({"S": "ERROR", "V": "ERROR", "C": "42601", "M": "syntax error"})


def running(text: str = "select 1", *plans: StatementPlan, **given: Any) -> Story:
    story = Story().logged_in().agent_sends(Query(text)).asks(text)
    return story.allowed(*plans, **given).sends_on(Query(text))


def test_an_allowed_query_runs_and_its_answer_is_recorded_before_it_is_sent() -> None:
    story = running().upstream_sends(ONE, ROW, ROW, DONE, IDLE)
    answer = encoded(ONE, ROW, ROW, DONE, IDLE)
    story.says(answer).expect(Record, OperationFinished)
    assert isinstance(story.last, Record)
    event = story.last.event
    assert isinstance(event, OperationFinished)
    assert (event.rows, event.bytes_out, event.tags) == (2, len(answer), ("SELECT 1",))
    assert event.sha256 == hashlib.sha256(answer).hexdigest()
    assert event.bytes_in == len(encoded(Query("select 1")))


def test_a_refused_statement_never_reaches_the_upstream() -> None:
    story = Story().logged_in().agent_sends(Query("drop table t")).asks("drop table t").refused(rules=("r7",))
    story.says(lambda said: b"C42501\0" in said and b"r7" in said and said.endswith(IDLE.encode()))
    story.expect_nothing_sent_to(Side.UPSTREAM)


def test_a_refusal_nobody_recorded_is_recorded_before_it_is_told() -> None:
    story = Story().logged_in().agent_sends(Query("select 1")).expect(Ask)
    story.refused(RefusalCode.VERDICT_TIMEOUT, denied=False).expect(Record, OperationRefused).says()
    story.expect_nothing_sent_to(Side.UPSTREAM)


def test_a_refusal_inside_a_transaction_makes_the_upstreams_fail_too() -> None:
    story = running("begin").upstream_sends(CommandComplete("BEGIN"), ReadyForQuery("T"))
    story.says(CommandComplete("BEGIN"), ReadyForQuery("T")).expect(Record, OperationFinished)
    story.agent_sends(Query("drop table t")).asks().refused().says(lambda said: b"C42501\0" in said)
    story.expect(Send, Side.UPSTREAM, POISON + encoded(Sync()))
    story.upstream_sends(POISONED, ReadyForQuery("E")).says(ReadyForQuery("E"))
    story.agent_sends(Query("select 1")).asks()
    assert story.ask is not None
    assert story.ask.event.context.transaction == "E"
    story.refused().says(lambda said: said.endswith(ReadyForQuery("E").encode()))


def test_rows_are_masked_and_counted() -> None:
    story = running("select n from t", MASKED)
    story.upstream_sends(ONE, ROW, DataRow((None,)), DONE, IDLE)
    story.says(ONE, DataRow((b"***",)), DataRow((None,)), DONE, IDLE)
    story.expect(Record, lambda e: e.event.cells_masked == 1 and e.event.rows == 2)


def test_unmask_lets_the_label_through() -> None:
    story = running("select n from t", MASKED, unmask=("pii.email",)).upstream_sends(ONE, ROW, DONE, IDLE)
    story.says(ONE, ROW, DONE, IDLE).expect(Record, OperationFinished)


def test_columns_the_plan_does_not_cover_stop_the_answer() -> None:
    story = running("select n from t", MASKED)
    two = RowDescription((FieldDescription("n"), FieldDescription("m")))
    story.upstream_sends(two, DataRow((b"secret", b"x")), DONE, IDLE)
    story.expect(Record, OperationFailed).says(lambda said: b"plan_mismatch" in said)
    story.expect(CancelUpstream).says(IDLE)
    assert all(b"secret" not in one.data for one in story.all if isinstance(one, Send))


def test_an_answer_that_failed_on_our_side_inside_a_transaction_fails_it() -> None:
    story = running("select n from t", MASKED).upstream_sends(RowDescription(()))
    story.expect(Record, OperationFailed).says(lambda said: b"plan_mismatch" in said).expect(CancelUpstream)
    story.upstream_sends(DONE, ReadyForQuery("T")).expect(Send, Side.UPSTREAM, POISON + encoded(Sync()))
    story.upstream_sends(POISONED, ReadyForQuery("E")).says(ReadyForQuery("E"))


def test_each_inner_statement_has_its_own_plan_and_more_results_than_plans_stop() -> None:
    clear = StatementPlan(outputs=None)
    story = running("select 1; select n", clear, MASKED).upstream_sends(ONE, ROW, DONE, ONE, ROW, DONE, IDLE)
    story.says(ONE, ROW, DONE, ONE, DataRow((b"***",)), DONE, IDLE).expect(Record, OperationFinished)
    story = running("select 1; select n", clear).upstream_sends(ONE, ROW, DONE, ONE, ROW, DONE, IDLE)
    story.says(ONE, ROW, DONE).expect(Record, OperationFailed).says().expect(CancelUpstream).says(IDLE)


def test_a_second_result_in_one_statement_is_nobodys() -> None:
    story = running().upstream_sends(ONE, ROW, ONE).says(ONE, ROW)
    story.expect(Record, OperationFailed).says().expect(CancelUpstream)


def test_exactly_as_many_rows_pass_as_the_limit_says() -> None:
    story = running(limits=Limits(rows=2)).upstream_sends(ONE, ROW, ROW, ROW, ROW, DONE, IDLE)
    story.says(ONE, ROW, ROW).expect(Record, lambda e: e.event.rows == 2)
    story.says(lambda said: b"limit_exceeded" in said and b"C54000\0" in said).expect(CancelUpstream).says(
        IDLE
    )
    size = len(ROW.encode())
    story = running(limits=Limits(size_bytes=2 * size)).upstream_sends(ONE, ROW, ROW, DONE, IDLE)
    story.says(ONE, ROW, ROW, DONE, IDLE).expect(Record, OperationFinished)
    story = running(limits=Limits(size_bytes=2 * size - 1)).upstream_sends(ONE, ROW, ROW, DONE, IDLE)
    story.says(ONE, ROW).expect(Record, OperationFailed).says().expect(CancelUpstream).says(IDLE)


def test_an_upstreams_error_is_scrubbed_and_finishes_the_operation() -> None:
    fields = {"S": "ERROR", "V": "ERROR", "C": "22P02", "M": "bad secret", "D": "row"}
    story = running().upstream_sends(ErrorResponse(fields), IDLE)
    story.says(ErrorResponse({"S": "ERROR", "V": "ERROR", "C": "22P02", "M": "bad ***"}), IDLE)
    story.expect(Record, lambda e: (e.event.outcome, e.event.sqlstate) == ("error", "22P02"))


def test_notices_and_notifications_are_scrubbed_at_any_time() -> None:
    story = running().upstream_sends(NoticeResponse({"S": "NOTICE", "M": "a secret"}), ONE, ROW, DONE, IDLE)
    story.says(NoticeResponse({"S": "NOTICE", "M": "a ***"}), ONE, ROW, DONE, IDLE)
    story.expect(Record, OperationFinished).upstream_sends(NotificationResponse(1, "c", "secret"))
    story.says(NotificationResponse(1, "c", "***"))


@pytest.mark.parametrize(
    ("name", "value"), [("client_encoding", "LATIN1"), ("standard_conforming_strings", "off")]
)
def test_a_setting_that_changes_the_meaning_of_text_ends_the_session(name: str, value: str) -> None:
    story = running().upstream_sends(CommandComplete("SET"), ParameterStatus(name, value), IDLE)
    story.says(CommandComplete("SET")).expect(CancelUpstream).expect(Record, OperationFailed)
    story.expect(Record, SessionClosed).expect(Send, Side.AGENT, lambda e: b"FATAL" in e.data).expect(Hangup)


def test_other_settings_are_passed_on() -> None:
    told = ParameterStatus("TimeZone", "UTC")
    running().upstream_sends(CommandComplete("SET"), told, IDLE).says(
        CommandComplete("SET"), told, IDLE
    ).expect(Record, OperationFinished)


def test_queries_wait_for_the_one_before() -> None:
    story = Story().logged_in().agent_sends(Query("select 1"), Query("select 2")).asks("select 1")
    story.allowed().sends_on(Query("select 1")).upstream_sends(ONE, ROW, DONE).says(ONE, ROW, DONE)
    story.upstream_sends(IDLE).says(IDLE).expect(Record, OperationFinished).asks("select 2")


def test_too_much_read_ahead_stops_reading() -> None:
    story = Story(pipeline_limit_bytes=100).logged_in().agent_sends(Query("select 1")).asks()
    assert story.gate.wants_agent_bytes
    story.agent_sends(Query("select '" + "x" * 200 + "'"))
    assert not story.gate.wants_agent_bytes
    story.allowed().sends_on(Query("select 1")).upstream_sends(ONE, ROW, DONE, IDLE)
    story.says().expect(Record, OperationFinished).asks()
    assert story.gate.wants_agent_bytes


def test_names_sql_defines_are_known_to_later_operations() -> None:
    defines = (
        Definition(number=0, kind="prepared", name="q", text="select n from t"),
        Definition(number=1, kind="cursor", name="c", text="select m from t"),
    )
    clear = StatementPlan(outputs=None)
    story = running("prepare q as x; declare c", clear, clear, defines=defines)
    story.upstream_sends(
        CommandComplete("PREPARE"), ErrorResponse({"S": "ERROR", "M": "m"}), ReadyForQuery("E")
    )
    story.says().expect(Record, OperationFinished).agent_sends(Query("execute q; fetch c")).asks()
    assert story.ask is not None
    assert story.ask.event.context.prepared == {"q": "select n from t"}
    assert story.ask.event.context.cursors == {}


def test_a_plan_that_is_impossible_or_for_something_else_is_refused() -> None:
    story = Story().logged_in().agent_sends(Query("select 1")).asks().allowed(impossible="whole row")
    story.expect(Record, OperationRefused).says(lambda said: b"plan_impossible" in said)
    story.agent_sends(Query("select 1")).asks().agent_cancels()
    story.left.clear()
    asked = story.ask
    story.agent_sends(Query("select 2")).expect(Ask)
    second, story.ask = story.ask, asked
    assert second is not None
    story.allowed().expect_nothing()
    story.expect_nothing_sent_to(Side.UPSTREAM)


def test_a_function_call_by_number_is_refused() -> None:
    story = Story().logged_in().agent_sends(FunctionCall(1)).expect(Record, OperationRefused)
    story.says(lambda said: b"C0A000\0" in said and said.endswith(IDLE.encode()))
    story.expect_nothing_sent_to(Side.UPSTREAM)


def test_a_text_over_a_mebibyte_is_not_asked_about() -> None:
    story = Story().logged_in().agent_sends(Query("x" * (1024 * 1024 + 1))).expect(Record, OperationRefused)
    story.says(lambda said: b"C54000\0" in said)


@pytest.mark.parametrize(
    "raw", [b"!\0\0\0\4", b"Q\0\0\0\3", b"Q\x7f\xff\xff\xff", b"Q\0\0\0\5x", b"p\0\0\0\5\0"]
)
def test_what_is_no_message_ends_the_session(raw: bytes) -> None:
    story = Story().logged_in().agent_sends(raw)
    story.expect(Record, SessionClosed).expect(Send, Side.AGENT, lambda e: b"FATAL" in e.data).expect(Hangup)
    story.expect_nothing_sent_to(Side.UPSTREAM)


def test_an_empty_query_is_judged_like_any_other() -> None:
    story = Story().logged_in().agent_sends(Query("")).asks("").allowed().sends_on(Query(""))
    story.upstream_sends(EMPTY_QUERY_RESPONSE, IDLE).says(EMPTY_QUERY_RESPONSE, IDLE)
    story.expect(Record, OperationFinished)


def test_the_search_path_is_known_from_what_the_upstream_reports() -> None:
    story = running('set search_path = b, "C"', path=True)
    story.upstream_sends(CommandComplete("SET"), ParameterStatus("search_path", 'b, "C"'), IDLE)
    story.says().expect(Record, OperationFinished).agent_sends(Query("select 1")).asks()
    assert story.ask is not None
    assert story.ask.event.context.search_path == ("b", "C")


def test_an_upstream_that_does_not_report_its_search_path_is_asked_between_operations() -> None:
    silent = {name: value for name, value in PARAMETERS.items() if name != "search_path"}
    story = Story().logged_in(silent).agent_sends(Query("set search_path = b")).asks()
    assert story.ask is not None
    assert story.ask.event.context.search_path is None
    story.allowed(path=True).sends_on(Query("set search_path = b"))
    story.upstream_sends(CommandComplete("SET"), IDLE).says().expect(Record, OperationFinished)
    story.expect(Send, Side.UPSTREAM, lambda e: b"SHOW search_path" in e.data)
    story.agent_sends(Query("select 1")).expect_nothing()
    story.upstream_sends(
        PARSE_COMPLETE, BIND_COMPLETE, DataRow((b'b, "$user"',)), CommandComplete("SHOW"),
        CLOSE_COMPLETE, CLOSE_COMPLETE, IDLE,
    ).asks("select 1")  # fmt: skip
    assert story.ask.event.context.search_path == ("b", "$user")
