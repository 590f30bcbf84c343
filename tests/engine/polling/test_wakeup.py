"""The descriptor with which one thread wakes another in its poller, also while it is being closed."""

from __future__ import annotations

import os
import selectors
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from reserve.engine.polling.poller import new_poller
from reserve.engine.polling.wakeup import Wakeup
from reserve.wait import wait_for
from tests.engine.conftest import needs_fork
from tests.engine.interleave import Scheduler, explore


@pytest.mark.parametrize("portable", [False, True])
def test_a_wakeup_is_readable_until_it_is_cleared(portable: bool) -> None:
    wakeup = Wakeup(portable=portable)
    with selectors.DefaultSelector() as selector:
        selector.register(wakeup.fd, selectors.EVENT_READ)
        assert not selector.select(0)
        for _ in range(100_000 if portable else 3):  # more than a socket pair takes: the signal never blocks
            wakeup.signal()
        assert selector.select(0)
        wakeup.clear()
        wakeup.clear()
        assert not selector.select(0)
        wakeup.signal()
        assert selector.select(0)
        selector.unregister(wakeup.fd)
    wakeup.close()
    wakeup.close()
    wakeup.signal()
    wakeup.clear()


@pytest.mark.parametrize("portable", [False, True])
def test_a_signal_to_a_closed_wakeup_does_nothing(portable: bool) -> None:
    wakeup = Wakeup(portable=portable)
    wakeup.signal()
    assert wait_for(wakeup.fd, 0)
    wakeup.clear()
    assert not wait_for(wakeup.fd, 0)
    wakeup.close()
    wakeup.signal()
    wakeup.close()
    assert wakeup.fd == -1


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="this platform has no eventfd")
@pytest.mark.parametrize("signallers", [1, 2])
def test_a_signal_never_uses_a_descriptor_that_has_been_closed(
    monkeypatch: pytest.MonkeyPatch, signallers: int
) -> None:
    """In every order of the steps: after the descriptor's number was read, it could be reused for another file."""

    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        open_fds, late_writes = {5}, list[int]()

        def write(fd: int, count: int) -> None:
            scheduler.point()  # the number has been read, the system call comes now
            if fd not in open_fds:
                late_writes.append(fd)

        class Epoll(SimpleNamespace):
            def fileno(self) -> int:
                return 6

            def register(self, fd: int, mask: int) -> None:
                pass

            def modify(self, fd: int, mask: int) -> None:
                write(fd, mask)

            def close(self) -> None:
                pass

            @staticmethod
            def fromfd(fd: int) -> SimpleNamespace:
                return SimpleNamespace(close=lambda: open_fds.remove(fd))

        fake = SimpleNamespace(eventfd=lambda count, flags: 5, EFD_NONBLOCK=0, EFD_CLOEXEC=0)
        monkeypatch.setattr("reserve.engine.polling.wakeup.os", fake)
        monkeypatch.setattr("reserve.engine.polling.wakeup.select", SimpleNamespace(epoll=Epoll, EPOLLONESHOT=0))
        wakeup = Wakeup()
        wait = SimpleNamespace(sleep=lambda seconds: scheduler.block(lambda: not wakeup._signalling))
        monkeypatch.setattr("reserve.engine.polling.wakeup.time", wait)
        for number in range(signallers):
            scheduler.spawn(f"signaller {number}", wakeup.signal)
        scheduler.spawn("closer", wakeup.close)

        def check(blocked: list[str]) -> None:
            assert blocked == []
            assert not late_writes, "the number of another file has been used"
            assert not open_fds

        return check

    assert explore(scenario, signallers + 1, 3 - signallers, "line", alike=range(signallers)) > 20


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="this platform has no eventfd")
def test_a_wakeup_that_is_never_closed_is_freed_without_running_code() -> None:
    """An interrupt of --request-timeout would be raised in that code, and lost: Python ignores what __del__ raises."""
    wakeup = Wakeup()
    fd = wakeup.fd
    calls: list[str] = []
    previous = sys.getprofile()
    sys.setprofile(lambda frame, event, arg: calls.append(frame.f_code.co_name) if event == "call" else None)
    try:
        del wakeup
    finally:
        sys.setprofile(previous)
    assert calls == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="this platform has no eventfd")
def test_a_wakeup_that_was_closed_closes_no_other_file_when_it_is_freed() -> None:
    wakeup = Wakeup()
    fd = wakeup.fd
    wakeup.close()
    other = os.open(os.devnull, os.O_RDONLY)
    if other != fd:
        os.dup2(other, fd)
        os.close(other)
    del wakeup
    os.close(fd)  # it is still open


def test_a_forked_child_does_not_wait_for_signalling_threads_of_its_parent() -> None:
    wakeup = Wakeup()
    wakeup._signalling.append(True)  # as when the fork copies a thread that is inside signal()
    wakeup.after_fork()
    wakeup.close()
    assert wakeup.fd == -1


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("kind", ["own epoll object", "that of a poller", "portable"])
def test_a_forked_child_takes_no_signal_of_its_parent_back(kind: str) -> None:
    """The parent's thread may not have seen the signal yet when the child closes its copies."""
    if kind == "that of a poller":
        poller = new_poller()
        wakeup, readable, close = poller.wakeup, lambda: poller.poll(0) != [], poller.close
    else:
        wakeup = Wakeup(portable=kind == "portable")
        readable, close = lambda: wait_for(wakeup.fd, 0), wakeup.close
    wakeup.signal()
    pid = os.fork()
    if not pid:
        try:
            wakeup.after_fork()
            close()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert readable()
    close()
