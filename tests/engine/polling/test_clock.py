"""The clock of a server: how long a thread may block until a deadline."""

from __future__ import annotations

import contextlib
import socket

from reserve.engine.polling.clock import SystemClock
from reserve.engine.polling.poller import READ, new_poller
from reserve.engine.polling.timers import NEVER
from reserve.testing import FakeClock
from reserve.wait import wait_for


def test_the_clock_blocks_for_ever_without_a_deadline_and_not_at_all_after_one() -> None:
    clock = SystemClock()
    assert clock.timeout(NEVER) is None
    assert clock.timeout(clock.now() - 1) == 0.0
    left = clock.timeout(clock.now() + 1000)
    assert left is not None
    assert 0 < left <= 1000


def test_the_fake_clock_wakes_whoever_waits() -> None:
    clock = FakeClock()
    rung: list[float] = []

    def wake() -> None:
        rung.append(clock.now())

    clock.subscribe(wake)
    assert clock.timeout(clock.now() + 5) is None
    clock.advance(5)
    assert clock.timeout(1005.0) == 0.0
    clock.unsubscribe(wake)
    clock.unsubscribe(wake)
    clock.advance(5)
    assert rung == [1005.0]


def test_no_system_call_is_given_more_milliseconds_than_an_int_holds() -> None:
    clock = SystemClock()
    left = clock.timeout(clock.now() + 1e12)
    assert left is not None
    assert left * 1000 < 2**31
    one, two = socket.socketpair()
    with one, two:
        two.send(b"x")
        for timeout in (1e7, 1e12):
            assert wait_for(one.fileno(), timeout)
        with contextlib.closing(new_poller()) as poller:
            poller.add(one.fileno(), READ)
            assert poller.poll(left) == [(one.fileno(), READ)]
