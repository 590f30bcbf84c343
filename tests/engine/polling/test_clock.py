"""The clock of a server: how long a thread may block until a deadline."""

from __future__ import annotations

import contextlib
import socket

from reserve.engine.polling.clock import SystemClock
from reserve.engine.polling.poller import READ, new_poller
from reserve.engine.polling.timers import NEVER
from reserve.wait import wait_for


def test_the_timeout_is_none_without_a_deadline_and_zero_after_it() -> None:
    clock = SystemClock()
    assert clock.timeout(NEVER) is None
    assert clock.timeout(clock.now() - 1) == 0.0
    timeout = clock.timeout(clock.now() + 1000)
    assert timeout is not None
    assert 0 < timeout <= 1000


def test_a_timeout_in_milliseconds_fits_into_an_int() -> None:
    clock = SystemClock()
    timeout = clock.timeout(clock.now() + 1e12)
    assert timeout is not None
    assert timeout * 1000 < 2**31
    one, two = socket.socketpair()
    with one, two:
        two.send(b"x")
        for seconds in (1e7, 1e12):
            assert wait_for(one.fileno(), seconds)
        with contextlib.closing(new_poller()) as poller:
            poller.add(one.fileno(), READ)
            assert poller.poll(timeout) == [(one.fileno(), READ)]
