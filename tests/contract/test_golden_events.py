"""Released events are for ever: each has a golden file that must decode to the same event and encode to the same bytes.

A missing golden file is written by ``python tests/contract/test_golden_events.py``; one that stands is never rewritten.
"""

# pyright: reportArgumentType=false
# (the shared fields are given by ** from plain dicts; pydantic checks them)

from pathlib import Path

import pytest

from weirgate_contracts.events import (
    EVENTS,
    ApprovalEndorsed,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRefused,
    ApprovalRequested,
    ApprovalWithdrawn,
    CatalogObserved,
    ConfigPublished,
    DecisionMade,
    Event,
    Grant,
    GrantUsed,
    LogCheckpointed,
    LogDegraded,
    OperationAbandoned,
    OperationAllowed,
    OperationDeferred,
    OperationDenied,
    OperationFailed,
    OperationFinished,
    OperationHeld,
    OperationIntercepted,
    OperationPlanned,
    OperationRefused,
    RecordingViewed,
    SessionClosed,
    SessionKilled,
    SessionOpened,
    SessionRefused,
    TokenMinted,
    Undecodable,
    decode,
)
from weirgate_contracts.identity import Identity
from weirgate_contracts.masking import (
    DetectorPlan,
    LabelledColumn,
    OutputPlan,
    Plan,
    StatementPlan,
    Transform,
)
from weirgate_contracts.operation import Definition, Limits, Parameter, SessionContext, Statement, Touched
from weirgate_contracts.refusal import Refusal, RefusalCode

GOLDEN = Path(__file__).parent / "golden"
ID = "01JABCDEFGHJKMNPQRSTVWXYZ0"
WHO = Identity(agent="analyst", user="u@example.com", groups=("analysts",), run="r1", tool="sql", resources=("shop",),
               issuer="https://issuer.example", token_id="t1", expires_at=1_900_000_000)  # fmt: skip
NO = Refusal(
    code=RefusalCode.DENIED, reason="no rule permits it", rules=("base/no-ddl",), hint="ask for less"
)
AT = {"ingress": "one", "session": "S1"}
VERDICT = {**AT, "operation": 1, "intercepted": ID, "digest": "d", "policy_revision": 7, "catalog_revision": "c",
           "rules": ("base/read",), "touched": (Touched(verb="select", reads=("public.t.a",)),)}  # fmt: skip
ASKED = {**AT, "request": ID, "operation": 1, "digest": "d"}

EXAMPLES: tuple[Event, ...] = (
    SessionOpened(**AT, protocol="postgres", resource="shop", identity=WHO, peer="127.0.0.1:5", tls="TLSv1.3"),
    SessionRefused(**AT, protocol="postgres", peer="127.0.0.1:5", claimed_agent="a", refusal=NO),
    SessionClosed(**AT, reason="agent", operations=3, bytes_in=10, bytes_out=20),
    OperationIntercepted(
        **AT, operation=1, protocol="postgres", resource="shop", identity=WHO, digest="d",
        statements=(Statement(text="select $1", phase="run", parameters=(Parameter(text="x", size_bytes=1),)),),
        context=SessionContext(database="shop", search_path=("public",), prepared={"p": "select 1"}),
        grant=Grant(request=ID, granted=ID, sequence=9),
    ),
    OperationAllowed(**VERDICT, unmask=("pii.email",), limits=Limits(rows=5),
                     defines=(Definition(number=0, kind="cursor", name="c", text="select 1"),)),
    OperationDenied(**VERDICT, refusal=NO),
    OperationHeld(**VERDICT, resource="shop", identity=WHO, groups=("dba",), window_s=900, reason="writes", text="x"),
    OperationPlanned(
        **AT, operation=1, intercepted=ID, digest="d", masking_revision=7, catalog_revision="c",
        plan=Plan(
            statements=(StatementPlan(outputs=(OutputPlan(name="a", labels=("pii.email",),
                                                          transform=Transform(kind="redact")),)),),
            labelled=(
                LabelledColumn(table_oid=5, column_number=1, label="pii.email", transform=Transform(kind="null")),
            ),
            detectors=(DetectorPlan(label="payment.card", transform=Transform(kind="partial", keep_last=4)),),
        ),
    ),
    OperationFinished(**AT, operation=1, outcome="ok", tags=("SELECT 1",), rows=1, bytes_out=9, cells_masked=1),
    OperationFailed(**AT, operation=1, refusal=NO, rows=2),
    OperationAbandoned(**AT, operation=1, reason="cancelled", sent=False),
    OperationRefused(**AT, operation=1, refusal=NO),
    OperationDeferred(**AT, operation=1, request=ID, resource="crm", identity=WHO, digest="d", window_s=900),
    ApprovalRequested(**ASKED, resource="shop", identity=WHO, groups=("dba",), quorum=2,
                      expires_at="2026-01-01T00:00:00.000000Z", reason="writes", text="update"),
    ApprovalEndorsed(**ASKED, by="p1", groups=("dba",), reason="fine"),
    ApprovalGranted(**ASKED, by=("p1", "p2"), expires_at="2026-01-01T00:00:00.000000Z"),
    ApprovalRefused(**ASKED, by="p1"),
    ApprovalExpired(**ASKED),
    ApprovalWithdrawn(**ASKED, reason="cancelled"),
    GrantUsed(**ASKED, intercepted=ID),
    ConfigPublished(config="labels", name="shop", body={"resource": "shop", "columns": {}}, by="p1"),
    CatalogObserved(resource="shop", revision="c", catalog={"database": "shop"}),
    DecisionMade(request=ID, decision="grant", by="p1", groups=("dba",)),
    SessionKilled(ingress="one", session="S1", by="p1"),
    TokenMinted(token_id="t1", agent="a", user=None, groups=(), resources=None, expires_at=1, by="p1"),
    RecordingViewed(session="S1", by="p1"),
    LogCheckpointed(sequence=10, chain="00"),
    LogDegraded(reason="behind", sequence=10),
)  # fmt: skip


def stamped(event: Event) -> Event:
    return event.stamped(id=ID, at="2026-01-01T00:00:00.000000Z", trace="0" * 32)


def file_of(event: Event) -> Path:
    return GOLDEN / f"{event.kind}.v{event.v}.json"


def test_every_event_class_has_an_example() -> None:
    assert {type(event) for event in EXAMPLES} == set(EVENTS)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.kind)
def test_an_event_reads_and_writes_as_it_was_released(event: Event) -> None:
    golden = file_of(event).read_bytes().rstrip(b"\n")
    assert decode(golden) == stamped(event)
    assert stamped(event).encoded() == golden


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"kind":"no.such"}', b'{"kind":"log.degraded","v":2}', b"\xff"]
)
def test_what_is_no_event_is_undecodable(body: bytes) -> None:
    with pytest.raises(Undecodable):
        decode(body)


def test_an_unknown_field_is_undecodable() -> None:
    body = stamped(EXAMPLES[-1]).encoded()[:-1] + b',"more":1}'
    with pytest.raises(Undecodable):
        decode(body)


def test_an_event_that_was_never_stamped_is_not_published() -> None:
    with pytest.raises(ValueError, match="stamped"):
        EXAMPLES[0].encoded()


if __name__ == "__main__":
    for example in EXAMPLES:
        if not file_of(example).exists():
            file_of(example).write_bytes(stamped(example).encoded() + b"\n")
