"""The token of a run that has a time limit: the worker has it, or the monitor, or it lies in its slot."""

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
from tests.waiting import PATIENCE


def test_the_monitor_cannot_hold_a_worker_outside_of_a_run() -> None:
    guard = RunGuard()
    assert not guard.hold()
    guard.enter(threading.get_ident())
    assert guard.leave()
    assert not guard.hold()


def test_leaving_a_run_that_was_given_up_fails() -> None:
    guard = RunGuard()
    guard.enter(threading.get_ident())
    assert guard.hold()
    guard.give_up()
    guard.release()
    assert not guard.leave()
    assert not guard.hold()


class ReleasedMeanwhile(deque[bool]):
    """A slot into which the monitor puts the token just after the worker found it empty."""

    guard: RunGuard

    def pop(self) -> bool:  # type: ignore[override]
        try:
            return super().pop()
        except IndexError:
            if self.guard._deciding:
                self.guard.release()
            raise


def test_a_release_just_after_the_worker_found_no_token_leaves_none_in_the_slot() -> None:
    guard = RunGuard()
    guard.enter(threading.get_ident())
    assert guard.hold()
    guard._slot = slot = ReleasedMeanwhile(maxlen=1)
    slot.guard = guard
    assert guard.leave()
    assert not slot, "the next moment between two runs could be interrupted"


def test_an_interrupt_that_was_not_raised_within_the_run_is_not_raised_after_it() -> None:
    guard = RunGuard()
    events: list[Any] = []
    inside, go_on = threading.Semaphore(0), threading.Event()

    def work() -> None:
        try:
            guard.enter(threading.get_ident())
            inside.release()
            try:
                go_on.wait(PATIENCE)
            except RequestTimeout as error:
                events.append(type(error))
            while True:
                try:
                    events.append(guard.leave())
                    break
                except RequestTimeout as error:
                    events.append(type(error))
            for _ in range(10000):  # an interrupt that is still pending would be raised here
                pass
            events.append("next")
        except RequestTimeout:
            events.append("interrupted the next run")

    worker = threading.Thread(target=work)
    worker.start()
    assert inside.acquire(timeout=PATIENCE)
    assert guard.hold()
    guard.interrupt()
    go_on.set()
    guard.release()
    worker.join(PATIENCE)
    assert events[-2:] == [True, "next"]
    assert len(events) == len(set(events))  # it was raised once at most


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
    """In Python 3.11 a traced thread loops for ever while an exception is pending that is never raised."""
    assert subprocess.check_output([sys.executable, "-c", TRACED], timeout=PATIENCE).split() == [b"traced"] * 2


@pytest.mark.parametrize("interval", [1e-5, 1e-4])
def test_worker_and_monitor_never_have_the_token_at_the_same_time(interval: float) -> None:
    guard = RunGuard()
    done = threading.Event()
    current = [0]
    errors: list[str] = []

    def hold_and_release() -> None:
        while not done.is_set():
            if guard.hold():
                before = current[0]
                time.sleep(0)
                if current[0] != before or not before % 2:
                    errors.append("the run was left while it was held")
                guard.release()
            time.sleep(0)

    switch = sys.getswitchinterval()
    sys.setswitchinterval(interval)
    monitor = threading.Thread(target=hold_and_release)
    monitor.start()
    try:
        ident = threading.get_ident()
        for _ in range(200):
            current[0] += 1
            guard.enter(ident)
            assert guard.leave()
            if guard._slot:
                errors.append("a token remained in the slot")
            current[0] += 1
    finally:
        sys.setswitchinterval(switch)
        done.set()
        monitor.join(PATIENCE)
    assert not errors
