"""The two lines of connections that wait for the leader, and the order in which it takes from them."""

from __future__ import annotations

from typing import Any, cast

import pytest

from reserve.engine.scheduler.stepqueue import CROWD, StepQueue


def make(ready: int, more: int = 0) -> StepQueue:
    """A queue whose connections are numbers: 0, 1, 2 … in the first line, -1, -2, -3 … in the second."""
    queue = StepQueue()
    queue.ready.extend(cast(Any, range(ready)))
    queue.more.extend(cast(Any, range(-1, -1 - more, -1)))
    return queue


def take(queue: StepQueue, count: int, *, both_ends: bool = True) -> list[Any]:
    return [queue.take(both_ends=both_ends) for _ in range(count)]


def test_the_lines_take_turns_while_both_have_connections() -> None:
    queue = make(3, 3)
    assert len(queue) == 6
    assert take(queue, 6) == [-1, 0, -2, 1, -3, 2]
    assert len(queue) == 0


@pytest.mark.parametrize(("ready", "more", "order"), [(3, 0, [0, 1, 2]), (0, 3, [-1, -2, -3]), (1, 3, [-1, 0, -2, -3])])
def test_a_line_alone_is_taken_in_order(ready: int, more: int, order: list[int]) -> None:
    assert take(make(ready, more), len(order)) == order


def test_in_a_crowd_the_newest_and_the_oldest_take_turns() -> None:
    size = CROWD + 4
    assert take(make(size), 4) == [size - 1, 0, size - 2, 1]


def test_without_a_crowd_or_with_one_end_the_oldest_is_taken() -> None:
    assert take(make(CROWD), CROWD) == list(range(CROWD))
    assert take(make(CROWD + 4), 4, both_ends=False) == [0, 1, 2, 3]


def test_empty_lines_have_nothing_to_take() -> None:
    with pytest.raises(IndexError):
        StepQueue().take(both_ends=True)
