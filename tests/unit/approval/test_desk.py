"""The life of one request, told rule by rule."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import permutations

import pytest

from weirgate_approval.desk import (
    Decided,
    Deferred,
    Desk,
    Held,
    Left,
    Proposal,
    Reviewing,
    Stored,
    Tick,
    Unreadable,
    rfc3339,
)
from weirgate_contracts.events import (
    ApprovalEndorsed,
    ApprovalEvent,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRefused,
    ApprovalRequested,
    ApprovalWithdrawn,
    DecisionMade,
    OperationHeld,
)
from weirgate_contracts.identity import Identity

REQUEST = "01J00000000000000000000001"
START_US = 1_760_000_000_000_000
AGENT = Identity(agent="reporting-bot", user="alice", issuer="i", token_id="t", expires_at=2_000_000_000)


def held(
    *, groups: tuple[str, ...] = ("dba",), quorum: int = 1, request: str = REQUEST, session: str = "s1"
) -> Held:
    return Held(
        event=OperationHeld(
            id="01J0000000000000000000000H",
            at=rfc3339(START_US),
            ingress="in1",
            session=session,
            operation=7,
            intercepted=request,
            digest="d" * 64,
            policy_revision=3,
            catalog_revision="c",
            resource="shop",
            identity=AGENT,
            groups=groups,
            quorum=quorum,
            window_s=600,
            reason="writes are looked at",
            text="update customers set email = $1",
        )
    )


@dataclass
class Story:
    """A desk and a log of one's own: what the desk proposes is stored, as the log would."""

    desk: Desk = field(default_factory=Desk)
    now_us: int = START_US
    log: list[ApprovalEvent] = field(default_factory=list[ApprovalEvent])
    sequence: int = 100

    def __post_init__(self) -> None:
        speaks = {"dba": {"dba", "platform"}, "security": {"sec"}}
        self.desk.feed(
            Reviewing(reviewers={name: frozenset(groups) for name, groups in speaks.items()}), self.now_us
        )

    def give(
        self, given: Held | Decided | Left | Deferred | Tick | Reviewing | Unreadable
    ) -> list[ApprovalEvent]:
        proposals = self.desk.feed(given, self.now_us)
        for proposal in proposals:
            self.store(proposal)
        return [proposal.event for proposal in proposals]

    def store(self, proposal: Proposal) -> None:
        self.sequence += 1
        self.log.append(proposal.event)
        assert self.desk.feed(Stored(event=proposal.event, sequence=self.sequence), self.now_us) == []

    def later(self, seconds: float) -> Story:
        self.now_us += int(seconds * 1_000_000)
        return self

    def says(self, decision: str, by: str, *groups: str, reason: str | None = None) -> list[ApprovalEvent]:
        return self.give(
            Decided(
                event=DecisionMade.model_validate(
                    {"request": REQUEST, "decision": decision, "by": by, "groups": groups, "reason": reason}
                )
            )
        )

    def grants(self, by: str, *groups: str) -> list[ApprovalEvent]:
        return self.says("grant", by, *groups)


def kinds(events: list[ApprovalEvent]) -> list[str]:
    return [event.kind.removeprefix("approval.") for event in events]


def test_a_held_operation_opens_a_request_that_expects_nothing_before_it() -> None:
    story = Story()
    (proposal,) = story.desk.feed(held(), story.now_us)
    assert isinstance(proposal.event, ApprovalRequested)
    assert proposal.family == f"audit.approval.*.in1.s1.{REQUEST}"
    assert proposal.sequence == 0
    assert proposal.event.request == REQUEST
    assert proposal.event.expires_at == rfc3339(START_US + 600_000_000)
    assert proposal.event.text == "update customers set email = $1"


def test_nothing_is_open_until_the_log_has_stored_it() -> None:
    story = Story()
    story.desk.feed(held(), story.now_us)
    assert story.desk.open_requests == ()
    assert story.desk.feed(Decided(event=_decision("bob", "dba")), story.now_us) == []


def test_the_same_held_operation_heard_twice_opens_one_request() -> None:
    story = Story()
    assert kinds(story.give(held())) == ["requested"]
    assert story.give(held()) == []


def test_one_person_of_the_asked_group_is_enough_for_a_quorum_of_one() -> None:
    story = Story()
    story.give(held())
    (granted,) = story.later(5).grants("bob", "platform")
    assert isinstance(granted, ApprovalGranted)
    assert granted.by == ("bob",)
    assert granted.digest == "d" * 64
    assert story.desk.open_requests == ()


def test_a_grant_stays_usable_for_the_window_and_no_longer() -> None:
    story = Story()
    story.give(held())
    (granted,) = story.later(599).grants("bob", "dba")
    assert isinstance(granted, ApprovalGranted)
    assert granted.expires_at == rfc3339(START_US + (599 + 600) * 1_000_000)


def test_a_grant_expects_the_sequence_of_the_last_event_of_its_request() -> None:
    story = Story()
    story.give(held(quorum=2))
    opened_at = story.sequence
    (endorsed,) = story.desk.feed(Decided(event=_decision("bob", "dba")), story.now_us)
    assert (endorsed.family, endorsed.sequence) == (f"audit.approval.*.in1.s1.{REQUEST}", opened_at)
    story.store(endorsed)
    (granted,) = story.desk.feed(Decided(event=_decision("carol", "dba")), story.now_us)
    assert granted.sequence == story.sequence


def test_a_person_in_no_group_that_reviewers_name_decides_nothing() -> None:
    story = Story()
    story.give(held())
    assert story.grants("bob", "sales") == []
    assert story.says("refuse", "bob", "sales") == []
    assert story.grants("bob") == []


def test_the_name_a_rule_asks_for_is_not_itself_a_group() -> None:
    story = Story()
    story.give(Reviewing(reviewers={"dba": frozenset({"platform"})}))
    story.give(held())
    assert story.grants("bob", "dba") == []
    assert kinds(story.grants("bob", "platform")) == ["granted"]


def test_a_group_nobody_was_named_for_is_spoken_for_by_nobody() -> None:
    story = Story()
    story.give(Reviewing(reviewers={}))
    story.give(held())
    assert story.grants("bob", "dba") == []
    assert kinds(story.later(600).give(Tick())) == ["expired"]


def test_a_request_that_asks_nobody_is_never_granted() -> None:
    story = Story()
    story.give(held(groups=()))
    assert story.grants("bob", "dba") == []


@pytest.mark.parametrize("name", ["alice", "reporting-bot", "Alice", " alice ", "ALICE", "ａｌｉｃｅ"])
def test_the_requester_never_decides_however_the_name_is_written(name: str) -> None:
    story = Story()
    story.give(held())
    assert story.grants(name, "dba") == []
    assert story.says("refuse", name, "dba") == []


def test_a_quorum_counts_different_people() -> None:
    story = Story()
    story.give(held(quorum=2))
    assert kinds(story.grants("bob", "dba")) == ["endorsed"]
    assert story.grants("bob", "dba") == []
    assert story.grants("BOB", "dba") == []
    (granted,) = story.grants("carol", "platform")
    assert isinstance(granted, ApprovalGranted)
    assert granted.by == ("bob", "carol")


def test_one_person_does_not_fill_the_quorum_of_two_groups() -> None:
    story = Story()
    story.give(held(groups=("dba", "security")))
    (endorsed,) = story.grants("bob", "dba", "sec")
    assert isinstance(endorsed, ApprovalEndorsed)
    assert endorsed.groups == ("dba", "security")
    assert story.grants("bob", "sec") == []
    assert kinds(story.grants("carol", "dba")) == ["granted"]


@pytest.mark.parametrize("order", list(permutations(("bob", "carol", "dave"))))
def test_who_speaks_for_two_groups_moves_over_whatever_the_order(order: tuple[str, ...]) -> None:
    proved = {"bob": ("dba", "sec"), "carol": ("dba",), "dave": ("dba",)}
    story = Story()
    story.give(held(groups=("dba", "security")))
    seen = [kind for person in order for kind in kinds(story.grants(person, *proved[person]))]
    assert seen[-1] == "granted"
    # Without bob nobody speaks for security, so the grant waits for him.
    position = max(order.index("bob"), 1)
    assert seen == ["endorsed"] * position + ["granted"]


def test_each_group_needs_its_own_quorum() -> None:
    story = Story()
    story.give(held(groups=("dba", "security"), quorum=2))
    for person in ("bob", "carol", "dave"):
        assert kinds(story.grants(person, "dba")) == ["endorsed"]
    assert kinds(story.grants("erin", "sec")) == ["endorsed"]
    assert kinds(story.grants("frank", "sec")) == ["granted"]


def test_refusal_by_one_eligible_person_ends_it_even_after_others_agreed() -> None:
    story = Story()
    story.give(held(quorum=3))
    story.grants("bob", "dba")
    story.grants("carol", "dba")
    (refused,) = story.says("refuse", "dave", "dba", reason="not on a Friday")
    assert isinstance(refused, ApprovalRefused)
    assert (refused.by, refused.reason) == ("dave", "not on a Friday")
    assert story.grants("erin", "dba") == []


def test_a_request_expires_when_its_window_is_over_and_not_before() -> None:
    story = Story()
    story.give(held())
    assert story.later(599.999).give(Tick()) == []
    (expired,) = story.later(0.001).give(Tick())
    assert isinstance(expired, ApprovalExpired)
    assert story.desk.next_expiry_us is None


def test_a_decision_past_the_window_is_an_expiry_even_when_no_clock_has_ticked() -> None:
    story = Story()
    story.give(held())
    assert kinds(story.later(600).grants("bob", "dba")) == ["expired"]


def test_a_request_held_while_approval_was_away_is_recorded_and_expires_at_once() -> None:
    story = Story().later(10_000)
    assert kinds(story.give(held())) == ["requested"]
    assert kinds(story.give(Tick())) == ["expired"]


def test_a_cancelled_operation_withdraws_its_request() -> None:
    story = Story()
    story.give(held())
    (withdrawn,) = story.give(Left(ingress="in1", session="s1", operation=7, reason="cancelled"))
    assert isinstance(withdrawn, ApprovalWithdrawn)
    assert withdrawn.reason == "cancelled"
    assert story.grants("bob", "dba") == []


def test_another_operation_or_another_session_withdraws_nothing() -> None:
    story = Story()
    story.give(held())
    assert story.give(Left(ingress="in1", session="s1", operation=8, reason="cancelled")) == []
    assert story.give(Left(ingress="in1", session="s2", operation=7, reason="cancelled")) == []
    assert story.give(Left(ingress="in2", session="s1", operation=None, reason="agent")) == []


def test_a_closed_session_withdraws_everything_it_asked_for() -> None:
    story = Story()
    other = "01J00000000000000000000002"
    story.give(held())
    story.give(held(request=other))
    story.give(held(request="01J00000000000000000000003", session="s2"))
    events = story.give(Left(ingress="in1", session="s1", operation=None, reason="agent"))
    assert [(event.kind, event.request) for event in events] == [
        ("approval.withdrawn", REQUEST),
        ("approval.withdrawn", other),
    ]
    assert story.desk.open_requests == ("01J00000000000000000000003",)


DEFERRED = Deferred(ingress="in1", session="s1", operation=7, request=REQUEST)
GONE = Left(ingress="in1", session="s1", operation=None, reason="agent")


def test_a_deferred_request_outlives_its_session_until_people_decide_or_its_window_ends() -> None:
    story = Story()
    story.give(held())
    assert story.give(DEFERRED) == []
    assert story.give(GONE) == []
    assert kinds(story.grants("bob", "dba")) == ["granted"]
    story = Story()
    story.give(held())
    story.give(DEFERRED)
    story.give(GONE)
    assert kinds(story.later(600).give(Tick())) == ["expired"]


def test_a_deferral_counts_for_its_own_request_only() -> None:
    for change in ({"session": "s2"}, {"ingress": "in2"}, {"operation": 8}, {"request": REQUEST[:-1] + "2"}):
        story = Story()
        story.give(held())
        story.give(replace(DEFERRED, **change))
        assert kinds(story.give(GONE)) == ["withdrawn"]


def test_a_deferral_is_remembered_when_the_request_is_told_again_from_the_log() -> None:
    story = Story()
    story.give(held())
    story.give(DEFERRED)
    story.desk.forget(REQUEST)
    story.desk.feed(Stored(event=story.log[0], sequence=101), story.now_us)
    assert story.give(GONE) == []
    assert kinds(story.grants("bob", "dba")) == ["granted"]


def test_a_retry_that_joins_a_request_opens_none() -> None:
    story = Story()
    event = held().event.model_copy(update={"joins": REQUEST[:-1] + "9"})
    assert story.give(Held(event=event)) == []
    assert story.desk.open_requests == ()


@pytest.mark.parametrize("ending", ["granted", "refused", "expired", "withdrawn"])
def test_after_the_end_nothing_changes_anything(ending: str) -> None:
    story = Story()
    story.give(held())
    match ending:
        case "granted":
            story.grants("bob", "dba")
        case "refused":
            story.says("refuse", "bob", "dba")
        case "expired":
            story.later(600).give(Tick())
        case _:
            story.give(Left(ingress="in1", session="s1", operation=None, reason="agent"))
    assert kinds(story.log) == ["requested", ending]
    assert story.grants("carol", "dba") == []
    assert story.says("refuse", "carol", "dba") == []
    assert story.give(Left(ingress="in1", session="s1", operation=7, reason="cancelled")) == []
    assert story.later(10_000).give(Tick()) == []
    assert story.give(held()) == []


def test_a_second_desk_that_reads_the_log_continues_where_the_first_was() -> None:
    first = Story()
    first.give(held(quorum=2))
    first.grants("bob", "dba")
    second = Story()
    for sequence, event in enumerate(first.log, start=101):
        second.desk.feed(Stored(event=event, sequence=sequence), second.now_us)
    (granted,) = second.desk.feed(Decided(event=_decision("carol", "dba")), second.now_us)
    assert isinstance(granted.event, ApprovalGranted)
    assert granted.event.by == ("bob", "carol")
    assert granted.sequence == 102


def test_hearing_an_event_again_changes_nothing() -> None:
    story = Story()
    story.give(held(quorum=2))
    story.grants("bob", "dba")
    for sequence, event in enumerate(story.log, start=101):
        story.desk.feed(Stored(event=event, sequence=sequence), story.now_us)
    (granted,) = story.desk.feed(Decided(event=_decision("carol", "dba")), story.now_us)
    assert granted.sequence == 102


def test_an_event_that_cannot_be_read_ends_the_request_here() -> None:
    story = Story()
    story.give(held())
    story.give(Unreadable(request=REQUEST))
    assert story.grants("bob", "dba") == []
    assert story.later(600).give(Tick()) == []


def test_an_endorsement_of_a_request_never_seen_opening_grants_nothing() -> None:
    story = Story()
    endorsed = ApprovalEndorsed(
        ingress="in1", session="s1", request=REQUEST, operation=7, digest="d", by="bob", groups=("dba",)
    )
    story.desk.feed(Stored(event=endorsed, sequence=5), story.now_us)
    assert story.grants("carol", "dba") == []


def test_the_next_expiry_is_that_of_the_first_to_end() -> None:
    story = Story()
    assert story.desk.next_expiry_us is None
    story.give(held())
    assert story.desk.next_expiry_us == START_US + 600_000_000


def _decision(by: str, *groups: str) -> DecisionMade:
    return DecisionMade(request=REQUEST, decision="grant", by=by, groups=groups)
