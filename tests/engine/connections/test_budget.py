"""The sums of what all connections hold, and their limits."""

from __future__ import annotations

import threading

from reserve.engine.connections.budget import Budget
from tests.waiting import PATIENCE


def test_memory_and_disk_are_counted_apart_and_a_limit_may_be_reached() -> None:
    budget = Budget(memory=100, disk=10)
    assert budget.memory_for(100)
    assert not budget.memory_for(101)
    assert budget.disk_for(10)
    assert not budget.disk_for(11)
    budget.change(60, 7)
    assert (budget.memory, budget.disk) == (60, 7)
    assert (budget.memory_for(40), budget.memory_for(41)) == (True, False)
    assert (budget.disk_for(3), budget.disk_for(4)) == (True, False)
    budget.change(-60, -7)
    assert (budget.memory, budget.disk) == (0, 0)


def test_limits_of_zero_have_room_for_nothing() -> None:
    budget = Budget(0, 0)
    assert (budget.memory_for(0), budget.disk_for(0)) == (True, True)
    assert (budget.memory_for(1), budget.disk_for(1)) == (False, False)


def test_changes_of_several_threads_add_up() -> None:
    budget, barrier = Budget(1, 1), threading.Barrier(4)

    def change() -> None:
        barrier.wait(PATIENCE)
        for _ in range(2000):
            budget.change(3, -2)
            budget.change(-2, 3)

    threads = [threading.Thread(target=change) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert (budget.memory, budget.disk) == (8000, 8000)
