"""The token of a run that has a time limit: at every moment one side has it, or it lies in its slot."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import deque
from typing import Any

import pytest

from reserve.engine.scheduler.runguard import RunGuard
from reserve.errors import RequestTimeout
from tests.overload.site import PATIENCE


def test_outside_of_a_run_nothing_can_be_held() -> None:
    guard = RunGuard()
    assert not guard.hold()
    guard.enter(threading.get_ident())
    assert guard.leave()
    assert not guard.hold()


def test_a_run_that_was_given_up_is_not_left() -> None:
    guard = RunGuard()
    guard.enter(threading.get_ident())
    assert guard.hold()
    guard.give_up()
    guard.release()
    assert not guard.leave()
    assert not guard.hold()


class ReleasedMeanwhile(deque[bool]):
    """The monitor's release comes just after the worker found the slot empty."""

    guard: RunGuard

    def pop(self) -> bool:  # type: ignore[override]
        try:
            return super().pop()
        except IndexError:
            if self.guard._deciding:
                self.guard.release()
            raise


def test_a_release_just_behind_the_look_of_the_worker_leaves_no_token_behind() -> None:
    guard = RunGuard()
    guard.enter(threading.get_ident())
    assert guard.hold()
    guard._slot = slot = ReleasedMeanwhile(maxlen=1)
    slot.guard = guard
    assert guard.leave()
    assert not slot, "the next moment between two runs could be interrupted"


def test_an_interrupt_that_was_set_and_not_raised_is_taken_back() -> None:
    guard = RunGuard()
    left: list[Any] = []
    inside, go_on = threading.Semaphore(0), threading.Event()

    def work() -> None:
        try:
            guard.enter(threading.get_ident())
            inside.release()
            try:
                go_on.wait(PATIENCE)
            except RequestTimeout as error:
                left.append(type(error))
            while True:
                try:
                    left.append(guard.leave())
                    break
                except RequestTimeout as error:
                    left.append(type(error))
            for _ in range(10000):  # nothing is left that could be raised here
                pass
            left.append("next")
        except RequestTimeout:
            left.append("hit the next")

    worker = threading.Thread(target=work)
    worker.start()
    assert inside.acquire(timeout=PATIENCE)
    assert guard.hold()
    guard.interrupt()
    go_on.set()
    guard.release()
    worker.join(PATIENCE)
    assert left[-2:] == [True, "next"]
    assert len(left) == len(set(left))  # it came once at most


TRACED = """
import sys, threading
from reserve.engine.scheduler.runguard import RunGuard
from reserve.errors import RequestTimeout

guard = RunGuard()
for raised in (False, True):
    guard.enter(threading.get_ident())
    try:
        assert guard.hold()
        guard.interrupt()
        while raised:
            pass
    except RequestTimeout:
        pass
    guard.release()
    while True:
        try:
            assert guard.leave()
            break
        except RequestTimeout:
            pass
    def traced():
        print("traced")
    thread = threading.Thread(target=lambda: (sys.settrace(lambda *call: None), traced()))
    thread.start()
    thread.join()
"""


def test_a_debugger_works_after_an_interrupt() -> None:
    """In 3.11 whoever is traced spins for ever while an exception that nobody will raise is announced."""
    assert subprocess.check_output([sys.executable, "-c", TRACED], timeout=PATIENCE).split() == [b"traced"] * 2


@pytest.mark.parametrize("interval", [1e-5, 1e-4])
def test_worker_and_monitor_never_have_it_both(interval: float) -> None:
    guard = RunGuard()
    done = threading.Event()
    current = [0]
    wrong: list[str] = []

    def watch() -> None:
        while not done.is_set():
            if guard.hold():
                before = current[0]
                time.sleep(0)
                if current[0] != before or not before % 2:
                    wrong.append("the run was left while it was held")
                guard.release()
            time.sleep(0)

    switch = sys.getswitchinterval()
    sys.setswitchinterval(interval)
    monitor = threading.Thread(target=watch)
    monitor.start()
    try:
        ident = threading.get_ident()
        for _ in range(200):
            current[0] += 1
            guard.enter(ident)
            assert guard.leave()
            if guard._slot:
                wrong.append("a token was left behind")
            current[0] += 1
    finally:
        sys.setswitchinterval(switch)
        done.set()
        monitor.join(PATIENCE)
    assert not wrong
