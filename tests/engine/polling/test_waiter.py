"""One thread waits, another wakes it: a wake-up is neither lost nor counted twice."""

from __future__ import annotations

import inspect
import threading

import pytest

from reserve.engine.polling.waiter import Alarm, Waiter
from tests.waiting import PATIENCE

both_kinds = pytest.mark.parametrize("kind", [Waiter, Alarm])


@both_kinds
def test_a_wait_ends_when_its_time_is_over(kind: type[Waiter]) -> None:
    assert not kind().wait(0)


@both_kinds
def test_a_wake_up_before_the_wait_ends_exactly_one_wait(kind: type[Waiter]) -> None:
    waiter = kind()
    waiter.wake()
    assert waiter.wait(0)
    assert not waiter.wait(0)


@both_kinds
def test_several_wake_ups_end_one_wait(kind: type[Waiter]) -> None:
    waiter = kind()
    for _ in range(3):
        waiter.wake()
    assert waiter.wait(0)
    assert not waiter.wait(0)


@both_kinds
def test_a_wait_without_limit_and_its_wake_up_need_no_memory(kind: type[Waiter]) -> None:
    waiter = kind()
    assert inspect.isbuiltin(waiter.wait_forever)  # a frame of Python may have to be allocated
    assert inspect.isbuiltin(waiter.wake_once)
    waiter.wake_once()
    assert waiter.wait_forever()
    assert not waiter.wait(0)


def test_a_second_wake_once_is_an_error() -> None:
    waiter = Waiter()
    waiter.wake_once()
    with pytest.raises(RuntimeError):
        waiter.wake_once()
    assert waiter.wait(0)


def test_another_thread_wakes_the_owner() -> None:
    waiter, waking = Waiter(), threading.Event()
    results: list[bool] = []

    def wait() -> None:
        waking.set()
        results.append(waiter.wait(PATIENCE))

    owner = threading.Thread(target=wait)
    owner.start()
    assert waking.wait(PATIENCE)
    waiter.wake()
    owner.join(PATIENCE)
    assert results == [True]


def test_an_alarm_that_wakes_its_owner_says_that_it_no_longer_sleeps() -> None:
    alarm = Alarm()
    assert not alarm.asleep
    alarm.asleep = True
    alarm.wake()
    assert not alarm.asleep
