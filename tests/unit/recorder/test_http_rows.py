"""HTTP operations in the read model, in the log's tail and on a session's page."""

from datetime import UTC, datetime
from typing import Any

import pytest

from weirgate_bus.port import Delivery
from weirgate_contracts.events import (
    Event,
    OperationAllowed,
    OperationFinished,
    OperationIntercepted,
    OperationPlanned,
)
from weirgate_contracts.http import HttpBody, HttpCall, HttpResponse, call_text
from weirgate_contracts.identity import Identity
from weirgate_contracts.masking import BodyPlan, FieldPlan, Plan, Transform
from weirgate_contracts.model import ModelCall, ModelUsage
from weirgate_contracts.operation import Touched
from weirgate_recorder import tail
from weirgate_recorder.merge import OPERATION_COLUMNS
from weirgate_recorder.project import Projection
from weirgate_recorder.show import session_page
from weirgate_testkit.audit import Scribe

WHERE: dict[str, Any] = {"ingress": "i1", "session": "s1", "operation": 1}
ANSWERS: dict[str, Any] = WHERE | {"intercepted": "0" * 26, "digest": "d"}


def asked(call: HttpCall | None = None) -> OperationIntercepted:
    return OperationIntercepted(
        **WHERE,
        protocol="http",
        resource="crm",
        identity=Identity(agent="bot", issuer="t", token_id="t", expires_at=0),
        call=call or HttpCall(
            method="GET",
            path="/v1/customers/7",
            query=(("x", "1"), ("q", "a b&c")),
            route="/v1/customers/{id}",
            body=HttpBody(type="", whole=True),
        ),
        digest="d",
    )  # fmt: skip


def events(*, status: int = 200, type_: str = "application/json") -> list[Event]:
    fields = (
        FieldPlan(pattern="/email", labels=("pii.email",), transform=Transform(kind="redact")),
        FieldPlan(pattern="/note", labels=("pii.email", "crm.note"), transform=Transform(kind="redact")),
    )
    return [
        asked(),
        OperationAllowed(
            **ANSWERS,
            policy_revision=3,
            catalog_revision="",
            rules=("p/r",),
            touched=(Touched(verb="http.get", reads=("/v1/customers/{id}",)),),
            unmask=("crm.note",),
        ),
        OperationPlanned(
            **ANSWERS,
            masking_revision=4,
            catalog_revision="",
            plan=Plan(statements=(), body=BodyPlan(fields=fields, unread="refuse")),
        ),
        OperationFinished(
            **WHERE,
            outcome="ok",
            response=HttpResponse(status=status, type=type_),
            bytes_out=1234,
            cells_masked=2,
            duration_us=4200,
        ),
    ]


def row(*of: Event) -> dict[str, Any]:
    projection = Projection()
    scribe = Scribe()
    for sequence, event in enumerate(of, 1):
        projection.take(sequence, scribe.stamp(event).encoded())
    return projection.operations["s1", 1]


def test_a_call_is_a_row_with_what_was_called_and_what_was_answered() -> None:
    found = row(*events())
    assert found["text"] == "GET /v1/customers/7?x=1&q=a%20b%26c"
    assert (found["protocol"], found["verbs"]) == ("http", '{"http.get"}')
    assert (found["status"], found["response_type"], found["outcome"]) == (200, "application/json", "ok")
    assert found["masked"] == '{"pii.email","crm.note"}'
    assert found["catalog_revision"] == ""
    assert set(found) - {"sequence"} <= set(OPERATION_COLUMNS)


def test_an_answer_without_a_type_leaves_it_open() -> None:
    assert "response_type" not in row(*events(status=204, type_=""))


def test_an_sql_operation_says_nothing_of_http() -> None:
    scribe = Scribe()
    session = scribe.new_session()
    projection = Projection()
    for sequence, event in enumerate(scribe.finished_operation(session, 1), 1):
        projection.take(sequence, event.encoded())
    assert not {"status", "response_type"} & set(projection.operations[session, 1])


@pytest.mark.parametrize(
    ("path", "query", "text"),
    [
        ("/", (), "GET /"),
        ("/a", (("b", ""),), "GET /a?b="),
        ("/a", (("u", "https://x/y?z"), ("t", "10:30")), "GET /a?u=https://x/y?z&t=10:30"),
        ("/a", (("p", "1+1=2#%"), ("é", "\x1b\n")), "GET /a?p=1%2B1%3D2%23%25&%C3%A9=%1B%0A"),
        ("/a", (("s", "\ud800"),), "GET /a?s=?"),
    ],
)
def test_a_query_reads_as_it_was_meant(path: str, query: Any, text: str) -> None:
    assert call_text("GET", path, query) == text


def line(event: Event) -> str:
    stamped = Scribe().stamp(event)
    return tail.line(Delivery(subject=stamped.subject, body=stamped.encoded(), sequence=7), width=140)


def test_the_tail_of_the_log_says_what_was_called_planned_and_answered() -> None:
    asked_, allowed, planned, finished = (line(event).split(maxsplit=4)[4] for event in events())
    assert asked_ == "bot→crm GET /v1/customers/7?x=1&q=a%20b%26c"
    assert allowed == "p/r"
    assert planned == "masks crm.note pii.email, what cannot be read is refused"
    assert finished == "ok 200 application/json, 1.2 KiB, 2 masked, 4.2 ms"
    unlabelled = OperationPlanned(
        **ANSWERS, masking_revision=4, catalog_revision="",
        plan=Plan(statements=(), body=BodyPlan(unread="pass")),
    )  # fmt: skip
    assert line(unlabelled).endswith("masks no field, what cannot be read is passed")
    impossible = OperationPlanned(
        **ANSWERS, masking_revision=4, catalog_revision="",
        plan=Plan(statements=(), impossible="the resource is not registered"),
    )  # fmt: skip
    assert line(impossible).endswith("the resource is not registered")


SESSION: dict[str, Any] = {
    "session": "s1", "ingress": "i1", "state": "open", "agent": "bot", "groups": [], "person": None,
    "run": None, "tool": None, "resource": "crm", "protocol": "http", "peer": "127.0.0.1:1", "tls": None,
    "application": "curl/8", "opened_at": datetime(2026, 1, 1, tzinfo=UTC), "closed_at": None,
    "reason": None, "refusal": None, "killed_by": None,
}  # fmt: skip


def stored(**over: Any) -> dict[str, Any]:
    """A row as PostgreSQL gives it back."""
    found: dict[str, Any] = {"operation": 1} | dict.fromkeys(OPERATION_COLUMNS) | row(*events())
    for name, kind in OPERATION_COLUMNS.items():
        if kind == "text[]" and found[name] is not None:
            found[name] = [each for each in found[name].strip("{}").replace('"', "").split(",") if each]
    return found | over


def test_a_session_page_shows_calls_as_calls() -> None:
    page = list(session_page(SESSION, [stored()], [], None))
    assert page[5] == "#1    allowed → ok  2026-03-01 00:00:00, 4.2 ms, 200 application/json, 1.2 KiB"
    assert page[6] == "      GET /v1/customers/7?x=1&q=a%20b%26c"
    assert "      does      http.get" in page
    assert "      masks     pii.email, 2 values, in clear: crm.note" in page
    assert "      judged    policy 3, masking 4, log 1" in page


def test_a_session_page_without_an_answer_yet_is_shown_too() -> None:
    page = list(session_page(SESSION, [stored(status=None, response_type=None, outcome=None)], [], None))
    assert page[5].startswith("#1    allowed  2026")


def test_sql_is_shown_as_it_always_was() -> None:
    over: dict[str, Any] = {
        "protocol": "postgres", "text": "select 1", "tags": ["SELECT 1"], "rows": 1, "status": None,
        "response_type": None, "catalog_revision": "c1", "unmask": [], "masked": [], "verbs": ["select"],
    }  # fmt: skip
    assert list(session_page(SESSION, [stored(**over)], [], None))[5:] == [
        "#1    allowed → ok  2026-03-01 00:00:00, 4.2 ms, SELECT 1, 1 rows, 1.2 KiB",
        "      select 1",
        "      does      select",
        "      rules     p/r",
        "      masks     2 cells",
        "      judged    policy 3, masking 4, catalog c1, log 1",
    ]


def test_a_call_of_a_model_shows_which_one_what_it_cost_and_the_tools_it_asked_for() -> None:
    model = ModelCall(api="openai", shape="chat", name="small")
    call = HttpCall(method="POST", path="/v1/chat/completions", route="/v1/chat/completions", model=model)
    usage = ModelUsage(model="small-1", input_tokens=1200, output_tokens=7)
    response = HttpResponse(status=200, usage=usage, tools=("news", "weather"))
    first = asked(call)
    assert row(first)["model"] == "small"
    found = row(first, OperationFinished(**WHERE, outcome="ok", response=response))
    assert (found["model"], found["input_tokens"], found["output_tokens"]) == ("small-1", 1200, 7)
    assert found["tools_called"] == '{"news","weather"}'
    assert set(found) - {"sequence"} <= set(OPERATION_COLUMNS)
    assert line(OperationFinished(**WHERE, outcome="ok", response=response)).endswith("small-1 1200+7 tokens")
    unnamed = ModelUsage(input_tokens=3)
    kept = row(
        first, OperationFinished(**WHERE, outcome="ok", response=HttpResponse(status=200, usage=unnamed))
    )
    assert (kept["model"], kept["input_tokens"]) == ("small", 3)
    assert "output_tokens" not in kept
