"""The extended protocol: batches, names, pipelines."""

import pytest

from weirgate_contracts.events import OperationFinished, OperationRefused
from weirgate_contracts.masking import OutputPlan, StatementPlan, Transform
from weirgate_contracts.operation import Definition, Statement
from weirgate_ingress.gates.core import Record, Send, Side
from weirgate_ingress.gates.postgres.question import POISON
from weirgate_testkit.story import Message, Story, encoded
from weirgate_wire.postgres.message import (
    BIND_COMPLETE,
    CLOSE_COMPLETE,
    NO_DATA,
    PARSE_COMPLETE,
    PORTAL_SUSPENDED,
    Bind,
    Close,
    CommandComplete,
    DataRow,
    Describe,
    ErrorResponse,
    Execute,
    FieldDescription,
    Flush,
    ParameterDescription,
    Parse,
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
FAILED = ErrorResponse({"S": "ERROR", "V": "ERROR", "C": "22012", "M": "division by zero"})
DESCRIBE = Describe("P", "")


def asked(story: Story) -> tuple[Statement, ...]:
    assert story.ask is not None
    return story.ask.event.statements


def prepared(name: str = "s", text: str = "select n from t") -> Story:
    story = Story().logged_in().agent_sends(Parse(name, text), Sync()).asks(text).allowed()
    assert asked(story)[0].phase == "prepare"
    story.sends_on(Parse(name, text), Sync(), taped=Parse(name, text))
    return story.upstream_sends(PARSE_COMPLETE, IDLE).says().expect(Record, OperationFinished)


def test_a_bound_statement_is_one_statement_with_its_parameters() -> None:
    batch = [
        Parse("", "select $1", (25,)),
        Bind("", "", (b"a", None, b"\xff"), (0, 0, 1)),
        DESCRIBE,
        Execute(""),
    ]
    story = Story().logged_in().agent_sends(*batch, Sync()).asks("select $1")
    (statement,) = asked(story)
    assert statement.phase == "run"
    assert [(one.text, one.base64) for one in statement.parameters] == [
        ("a", None),
        (None, None),
        (None, "/w=="),
    ]
    story.allowed().sends_on(*batch, Sync(), taped=encoded(*batch))
    answer = [PARSE_COMPLETE, BIND_COMPLETE, ONE, ROW, DONE, IDLE]
    story.upstream_sends(*answer).says(*answer).expect(Record, OperationFinished)


def test_long_parameters_are_in_the_event_as_a_digest() -> None:
    batch = [Parse("", "select $1"), Bind("", "", (b"x" * 70_000, b"y")), Execute("")]
    story = Story().logged_in().agent_sends(*batch, Sync()).asks()
    long, short = asked(story)[0].parameters
    assert long.text is None
    assert long.sha256 is not None
    assert (long.size_bytes, short.text) == (70_000, "y")


def test_a_portal_the_agent_does_not_describe_is_described_by_the_gate() -> None:
    story = prepared().agent_sends(Bind("", "s"), Execute(""), Sync()).asks("select n from t")
    assert asked(story)[0].phase == "run"
    story.allowed(MASKED)
    story.sends_on(Bind("", "s"), DESCRIBE, Execute(""), Sync(), taped=encoded(Bind("", "s"), Execute("")))
    story.upstream_sends(BIND_COMPLETE, ONE, ROW, DONE, IDLE)
    story.says(BIND_COMPLETE, DataRow((b"***",)), DONE, IDLE).expect(Record, OperationFinished)


def test_a_statement_prepared_earlier_is_judged_at_every_run() -> None:
    story = prepared()
    for _ in range(2):
        story.agent_sends(Bind("", "s"), DESCRIBE, Execute(""), Sync()).asks("select n from t").allowed()
        story.sends_on(
            Bind("", "s"), DESCRIBE, Execute(""), Sync(), taped=encoded(Bind("", "s"), DESCRIBE, Execute(""))
        )
        story.upstream_sends(BIND_COMPLETE, ONE, DONE, IDLE).says().expect(Record, OperationFinished)


def test_describing_an_earlier_statement_is_a_question_too() -> None:
    story = prepared().agent_sends(Describe("S", "s"), Sync()).asks("select n from t")
    assert asked(story)[0].phase == "prepare"
    story.refused().says(lambda said: b"C42501" in said)


def test_a_suspended_portal_is_fetched_from_under_a_new_verdict() -> None:
    first = [Parse("", "select n from t"), Bind("p", ""), Execute("p", 1)]
    story = Story().logged_in().agent_sends(*first, Flush()).asks().allowed()
    story.sends_on(first[0], first[1], Describe("P", "p"), first[2], Flush(), taped=encoded(*first))
    story.upstream_sends(PARSE_COMPLETE, BIND_COMPLETE, ONE, ROW, PORTAL_SUSPENDED)
    story.says(PARSE_COMPLETE, BIND_COMPLETE, ROW, PORTAL_SUSPENDED).expect(Record, OperationFinished)
    story.agent_sends(Execute("p", 1), Sync()).asks("select n from t")
    assert asked(story)[0].phase == "fetch"
    story.allowed(MASKED).sends_on(Describe("P", "p"), Execute("p", 1), Sync(), taped=Execute("p", 1))
    story.upstream_sends(ONE, ROW, DONE, IDLE).says(DataRow((b"***",)), DONE, IDLE)
    story.expect(Record, OperationFinished)
    # The transaction is over, and the portal with it.
    story.agent_sends(Execute("p"), Sync()).expect(Record, OperationRefused).says(
        lambda said: b"C34000" in said
    )


def test_asyncpg_prepares_with_flush_and_runs_with_sync() -> None:
    first = [Parse("__a", "select 1"), Describe("S", "__a")]
    story = Story().logged_in().agent_sends(*first, Flush()).asks("select 1").allowed()
    story.sends_on(*first, Flush(), taped=encoded(*first))
    told = [PARSE_COMPLETE, ParameterDescription(()), ONE]
    story.upstream_sends(*told).says(*told).expect(Record, OperationFinished)
    story.agent_sends(Bind("", "__a", (), (), (1,)), Execute(""), Sync()).asks("select 1").allowed()
    story.left.clear()
    story.upstream_sends(BIND_COMPLETE, ONE, ROW, DONE, IDLE).says(BIND_COMPLETE, ROW, DONE, IDLE)
    story.expect(Record, OperationFinished)


def test_an_unknown_name_is_answered_as_postgresql_would() -> None:
    story = (
        Story()
        .logged_in()
        .agent_sends(Bind("", "nope"), Execute(""), Sync())
        .expect(Record, OperationRefused)
    )
    story.says(lambda said: b"C26000\0" in said and said.endswith(IDLE.encode()))
    story.expect_nothing_sent_to(Side.UPSTREAM)


def test_a_name_means_what_the_upstream_confirmed() -> None:
    story = Story().logged_in().agent_sends(Parse("s", "select 1/0"), Sync()).asks().allowed()
    story.sends_on(Parse("s", "select 1/0"), Sync(), taped=Parse("s", "select 1/0"))
    story.upstream_sends(FAILED, IDLE).says(FAILED, IDLE).expect(Record, OperationFinished)
    story.agent_sends(Bind("", "s"), Execute(""), Sync()).expect(Record, OperationRefused).says()


def test_closing_a_statement_asks_nothing_and_forgets_its_name() -> None:
    story = prepared().agent_sends(Close("S", "s"), Sync())
    story.sends_on(Close("S", "s"), Sync(), taped=Close("S", "s"))
    story.upstream_sends(CLOSE_COMPLETE, IDLE).says(CLOSE_COMPLETE, IDLE)
    story.agent_sends(Bind("", "s"), Sync()).expect(Record, OperationRefused).says()


def test_sync_alone_is_passed_on_and_flush_alone_is_nothing() -> None:
    story = Story().logged_in().agent_sends(Flush(), Sync()).expect(Send, Side.UPSTREAM, Sync())
    story.upstream_sends(IDLE).says(IDLE)


def test_a_refused_batch_is_skipped_to_its_sync() -> None:
    story = Story().logged_in().agent_sends(Parse("", "drop table t"), Flush()).asks().refused()
    story.says(lambda said: b"C42501" in said and not said.endswith(IDLE.encode()))
    story.agent_sends(Bind("", ""), Execute(""), Query("select 1"), Flush()).expect_nothing()
    story.agent_sends(Sync()).says(IDLE)
    story.expect_nothing_sent_to(Side.UPSTREAM)
    story.agent_sends(Query("select 1")).asks("select 1")


def test_a_refusal_in_a_batch_sent_in_part_rolls_that_part_back() -> None:
    first = [Parse("", "insert"), Bind("", ""), DESCRIBE, Execute("")]
    story = Story().logged_in().agent_sends(*first, Flush()).asks().allowed()
    story.sends_on(*first, Flush(), taped=encoded(*first))
    story.upstream_sends(PARSE_COMPLETE, BIND_COMPLETE, NO_DATA, CommandComplete("INSERT 0 1")).says()
    story.expect(Record, OperationFinished)
    story.agent_sends(Parse("", "drop"), Flush()).asks("drop").refused().says()
    story.expect(Send, Side.UPSTREAM, POISON)
    story.upstream_sends(POISONED).agent_sends(Sync()).expect(Send, Side.UPSTREAM, Sync())
    story.upstream_sends(IDLE).says(IDLE)


def test_an_error_upstream_drops_the_rest_of_the_batch_unasked() -> None:
    first = [Parse("", "select 1/0"), Bind("", ""), DESCRIBE, Execute("")]
    story = Story().logged_in().agent_sends(*first, Flush()).asks().allowed()
    story.sends_on(*first, Flush(), taped=encoded(*first)).agent_sends(Parse("", "drop"), Sync())
    story.upstream_sends(PARSE_COMPLETE, BIND_COMPLETE, ONE, FAILED).says().expect(Record, OperationFinished)
    story.expect(Send, Side.UPSTREAM, Sync()).upstream_sends(IDLE).says(IDLE)


def test_pipelined_batches_are_judged_and_run_one_after_another() -> None:
    def batch(text: str) -> list[Message]:
        return [Parse("", text), Bind("", ""), DESCRIBE, Execute("")]

    story = (
        Story().logged_in().agent_sends(*batch("one"), Sync(), *batch("two"), Sync()).asks("one").allowed()
    )
    story.sends_on(*batch("one"), Sync(), taped=encoded(*batch("one")))
    story.upstream_sends(PARSE_COMPLETE, BIND_COMPLETE, FAILED).says(PARSE_COMPLETE, BIND_COMPLETE, FAILED)
    story.upstream_sends(IDLE).says(IDLE).expect(Record, OperationFinished).asks("two").refused()
    story.says(lambda said: said.endswith(IDLE.encode()))


def test_a_batch_without_end_is_cut() -> None:
    story = Story(batch_limit_statements=2).logged_in()
    story.agent_sends(Parse("a", "one"), Parse("b", "two")).expect_nothing()
    story.agent_sends(Parse("c", "three")).asks("one", "two").allowed()
    story.sends_on(
        Parse("a", "one"), Parse("b", "two"), Flush(), taped=encoded(Parse("a", "one"), Parse("b", "two"))
    )
    story.upstream_sends(PARSE_COMPLETE, PARSE_COMPLETE).says().expect(Record, OperationFinished)
    story.agent_sends(Sync()).asks("three")


def test_a_name_redefined_inside_a_batch_is_judged_by_its_new_text() -> None:
    batch = [Parse("", "deallocate s"), Bind("", ""), DESCRIBE, Execute("")]
    story = prepared().agent_sends(*batch, Bind("", "s"), Execute(""), Sync()).asks("deallocate s")
    story.allowed(defines=(Definition(number=0, kind="prepared", name="s", text=None),))
    story.sends_on(*batch, Flush(), taped=encoded(*batch))
    story.upstream_sends(PARSE_COMPLETE, BIND_COMPLETE, NO_DATA, CommandComplete("DEALLOCATE")).says()
    story.expect(Record, OperationFinished).expect(Record, OperationRefused).says(
        lambda said: b"C26000" in said
    )
    story.expect(Send, Side.UPSTREAM, POISON + Sync().encode()).upstream_sends(POISONED, IDLE).says(IDLE)


@pytest.mark.parametrize("name", ["x" * 64, "é" * 32, "weirgate.own"])
def test_names_that_could_stand_for_others_end_the_session(name: str) -> None:
    story = Story().logged_in().agent_sends(Parse(name, "select 1"), Sync())
    story.left.clear()
    assert story.gate.ended
    story.expect_nothing_sent_to(Side.UPSTREAM)


def test_rows_without_a_description_end_the_session() -> None:
    batch = [Parse("", "select 1"), Bind("", ""), DESCRIBE, Execute("")]
    story = Story().logged_in().agent_sends(*batch, Sync()).asks().allowed()
    story.left.clear()
    story.upstream_sends(PARSE_COMPLETE, BIND_COMPLETE, NO_DATA, ROW)
    assert story.gate.ended
    assert all(ROW.encode() not in one.data for one in story.left if isinstance(one, Send))
    story.left.clear()


def test_a_plan_with_one_entry_too_few_is_refused_and_blank_texts_need_none() -> None:
    batch = [Parse("a", " -- x\n ;/* /**/ */"), Parse("b", "select 1"), Sync()]
    clear = StatementPlan(outputs=None)
    story = Story().logged_in().agent_sends(*batch).asks().allowed(clear)
    story.left.clear()
    story.upstream_sends(PARSE_COMPLETE, PARSE_COMPLETE, IDLE).says().expect(Record, OperationFinished)
    story.agent_sends(Parse("c", "select 1"), Parse("d", "select 2"), Sync()).asks().allowed(clear)
    story.expect(Record, OperationRefused).says(lambda said: b"plan_mismatch" in said)
