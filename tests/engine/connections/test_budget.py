"""The sums of what all connections hold, and their limits."""

from __future__ import annotations

import threading

from reserve.engine.connections.budget import Budget
from tests.waiting import PATIENCE


def test_memory_and_disk_are_counted_apart_and_a_limit_may_be_reached() -> None:
    budget = Budget(memory=100, disk=12)
    assert budget.memory_for(100)
    assert not budget.memory_for(101)
    assert budget.disk_for_body(9)
    assert not budget.disk_for_body(10)
    budget.change(60, 7, 0)
    assert (budget.memory, budget.disk) == (60, 7)
    assert (budget.memory_for(40), budget.memory_for(41)) == (True, False)
    assert (budget.disk_for_body(2), budget.disk_for_body(3)) == (True, False)
    budget.change(-60, -7, 0)
    assert (budget.memory, budget.disk) == (0, 0)


def test_a_quarter_of_the_disk_belongs_to_each_kind_alone() -> None:
    budget = Budget(0, 100)
    budget.change(0, 0, 75)
    assert (budget.disk, budget.responses) == (75, 75)
    assert not budget.disk_for_response(1)
    assert (budget.disk_for_body(25), budget.disk_for_body(26)) == (True, False)
    budget.change(0, 75, -75)
    assert (budget.disk, budget.responses) == (75, 0)
    assert not budget.disk_for_body(1)
    assert (budget.disk_for_response(25), budget.disk_for_response(26)) == (True, False)
    budget.change(0, -15, 30)
    assert (budget.disk_for_body(10), budget.disk_for_body(11)) == (True, False)
    assert (budget.disk_for_response(10), budget.disk_for_response(11)) == (True, False)


def test_one_response_gets_a_quarter_of_the_room_that_the_others_leave() -> None:
    budget = Budget(0, 1600)
    assert (budget.within_share(0, 300), budget.within_share(0, 301)) == (True, False)
    budget.change(0, 0, 300)
    assert (budget.within_share(300, 0), budget.within_share(300, 1)) == (True, False)
    assert (budget.within_share(0, 225), budget.within_share(0, 226)) == (True, False)
    for _ in range(100):  # each takes all that it may
        budget.change(0, 0, max(count for count in range(301) if budget.within_share(0, count)))
    assert budget.disk_for_response(1), "they never use up all of it"


def test_limits_of_zero_have_room_for_nothing() -> None:
    budget = Budget(0, 0)
    assert (budget.memory_for(0), budget.disk_for_body(0), budget.disk_for_response(0)) == (True, True, True)
    assert (budget.memory_for(1), budget.disk_for_body(1), budget.disk_for_response(1)) == (False, False, False)


def test_changes_of_several_threads_add_up() -> None:
    budget, barrier = Budget(1, 1), threading.Barrier(4)

    def change() -> None:
        barrier.wait(PATIENCE)
        for _ in range(2000):
            budget.change(3, -2, 1)
            budget.change(-2, 3, -1)

    threads = [threading.Thread(target=change) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert (budget.memory, budget.disk, budget.responses) == (8000, 8000, 0)
