"""When a checkpoint is due."""

from weirgate_recorder.checkpoint import Rule
from weirgate_recorder.store import Position


def position(sequence: int, *, checkpointed: int = 0, fresh: int | None = None) -> Position:
    return Position(sequence=sequence, checkpointed=checkpointed, fresh=sequence if fresh is None else fresh)


def test_one_is_due_after_so_many_messages() -> None:
    rule = Rule(messages=100, seconds=10, now_s=0)
    assert not rule.due(position(99), 1)
    assert rule.due(position(100), 1)


def test_one_is_due_after_so_many_seconds_with_something_new() -> None:
    rule = Rule(messages=100, seconds=10, now_s=0)
    assert not rule.due(position(5), 9)
    assert rule.due(position(5), 10)


def test_none_is_due_where_only_checkpoints_are_new() -> None:
    rule = Rule(messages=1, seconds=1, now_s=0)
    assert not rule.due(position(8, checkpointed=5, fresh=5), 1000)


def test_one_that_was_made_is_not_made_again_while_it_is_on_its_way_back() -> None:
    rule = Rule(messages=10, seconds=10, now_s=0)
    rule.made(position(10), 5)
    assert not rule.due(position(10), 100)
    assert rule.due(position(12), 200)


def test_after_a_quiet_time_the_seconds_count_from_the_first_new_message() -> None:
    rule = Rule(messages=100, seconds=10, now_s=0)
    assert not rule.due(position(5, checkpointed=5), 500)
    assert not rule.due(position(6, checkpointed=5), 505)
    assert rule.due(position(6, checkpointed=5), 510)
