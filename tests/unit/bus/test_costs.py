"""When a batch is the quicker way, as learnt from answers."""

import pytest

from weirgate_bus.commit import _Costs  # pyright: ignore[reportPrivateUsage]


def learn(costs: _Costs, *, single_s: float, batch_s: float, together: int = 1) -> None:
    now = 100.0
    for _ in range(600):
        now += single_s * together
        for _ in range(together):
            costs.note(1, 0.0, now)
        now += batch_s + 20 * 0.00004
        costs.note(20, 0.0, now)


@pytest.mark.parametrize("together", [1, 8])
@pytest.mark.parametrize(("single_s", "batch_s", "many"), [(0.0004, 0.004, 10), (0.0003, 0.0018, 6)])
def test_many_is_as_many_singles_as_a_batch_costs(
    single_s: float, batch_s: float, many: int, together: int
) -> None:
    costs = _Costs()
    learn(costs, single_s=single_s, batch_s=batch_s, together=together)
    assert abs(costs.many - many) <= 1


def test_one_slow_answer_changes_next_to_nothing() -> None:
    costs = _Costs()
    learn(costs, single_s=0.0004, batch_s=0.004)
    before = costs.single_s
    costs.note(1, 0.0, 1000.0)
    costs.note(1, 0.0, 1001.0)
    assert abs(costs.single_s - before) < 0.1 * before


def test_many_stays_within_bounds_whatever_is_measured() -> None:
    costs = _Costs()
    learn(costs, single_s=0.00001, batch_s=0.1)
    assert costs.many == 24
    learn(costs, single_s=0.1, batch_s=0.0001)
    assert costs.many == 4
