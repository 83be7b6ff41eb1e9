"""The order of effects is the audit guarantee: swapping two of them must fail a story."""

import pytest

from weirgate_contracts.events import OperationRefused
from weirgate_contracts.refusal import RefusalCode
from weirgate_ingress.gates.core import Record, Send, Side
from weirgate_testkit.story import Story
from weirgate_wire.postgres.message import CommandComplete, Query, ReadyForQuery


def swap(story: Story, first: int) -> Story:
    left = story.left
    left[first], left[first + 1] = left[first + 1], left[first]
    story.all[len(story.all) - len(left) :] = left
    return story


def allowed() -> Story:
    return Story().logged_in().agent_sends(Query("select 1")).asks().allowed()


def test_what_the_agent_sent_is_recorded_before_it_goes_upstream() -> None:
    allowed().sends_on(Query("select 1"))
    swapped = swap(allowed(), 0)
    with pytest.raises(AssertionError):
        swapped.sends_on(Query("select 1"))
    swapped.left.clear()


def test_what_the_upstream_said_is_recorded_before_the_agent_gets_it() -> None:
    story = allowed().sends_on(Query("select 1")).upstream_sends(CommandComplete("X"), ReadyForQuery("I"))
    swap(story, 0)
    with pytest.raises(AssertionError):
        story.says()
    story.left.clear()


def test_a_refusal_is_recorded_before_the_agent_hears_of_it() -> None:
    story = (
        Story()
        .logged_in()
        .agent_sends(Query("select 1"))
        .asks()
        .refused(RefusalCode.VERDICT_TIMEOUT, denied=False)
    )
    kinds = [type(one) for one in story.left]
    assert kinds.index(Record) < kinds.index(Send)
    swap(story, 0)
    with pytest.raises(AssertionError):
        story.expect(Record, OperationRefused)
    story.left.clear()


def test_an_effect_nobody_looked_at_fails_the_story() -> None:
    story = Story().logged_in().agent_sends(Query("select 1"))
    with pytest.raises(AssertionError, match="unchecked"):
        story.agent_sends(Query("select 2"))
    with pytest.raises(AssertionError):
        story.expect(Send, Side.AGENT)
    story.left.clear()
