"""The parts that need no server: clock, deadlines, policy, logs."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.engine.logs.errorlog import ErrorLog, LineWriter
from reserve.engine.polling.clock import SystemClock
from reserve.engine.polling.poller import READ, new_poller
from reserve.engine.polling.timers import NEVER, Timers
from reserve.engine.polling.wakeup import Wakeup
from reserve.engine.scheduler.handoff import AdaptiveHandOff, AlwaysHandOver
from reserve.testing import FakeClock
from reserve.wait import wait_for
from tests.engine.interleave import Scheduler, explore
from tests.waiting import eventually


class Entry:
    def __init__(self) -> None:
        self.timer_at = NEVER


# ---- clock ----


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


# ---- deadlines ----


@given(st.lists(st.tuples(st.sampled_from(["add", "discard", "due"]), st.integers(0, 4), st.integers(0, 400))))
def test_deadlines_behave_like_a_dictionary_that_is_searched(steps: list[tuple[str, int, int]]) -> None:
    table, model, now = Timers(), dict[int, float](), 0.0
    entries: list[Any] = [Entry() for _ in range(5)]
    for step, number, amount in steps:
        if step == "add":
            at = now + amount / 7
            earliest, before = table.next_at, entries[number].timer_at
            first = table.add(entries[number], at)
            model[number] = entries[number].timer_at
            if entries[number].timer_at == before:  # it hangs early enough, and whoever adds late puts nothing off
                assert before < at + 0.0625
                assert not first
            else:
                assert at <= entries[number].timer_at < at + 0.0625
                assert entries[number].timer_at < before
                assert first == (entries[number].timer_at < earliest)
        elif step == "discard":
            table.discard(entries[number])
            model.pop(number, None)
        else:
            now += amount / 7
            late = {entries.index(entry) for entry in table.due(now)}
            assert late == {one for one, at in model.items() if at <= now}
            for one in late:
                del model[one]
        assert table.next_at <= min(model.values(), default=NEVER)
        for one, entry in enumerate(entries):
            assert entry.timer_at == model.get(one, NEVER)
    assert {entries.index(entry) for entry in table.due(now + 1000)} == set(model)
    assert table.next_at == NEVER
    assert not table._buckets
    assert not table._keys


def test_expiry_looks_at_what_is_due_alone() -> None:
    table = Timers()
    entries: list[Any] = [Entry() for _ in range(1000)]
    for number, entry in enumerate(entries):
        table.add(entry, float(number))
    assert table.due(1.0) == entries[:2]
    assert len(table._keys) == 998


def test_who_adds_late_postpones_nothing() -> None:
    """Its owner has parked it again meanwhile, for an earlier moment."""
    table, entry = Timers(), cast(Any, Entry())
    assert table.add(entry, 10.0)
    assert not table.add(entry, 20.0)
    assert (entry.timer_at, table.next_at) == (10.0, 10.0)
    assert table.due(10.0) == [entry]
    assert table.due(100.0) == []


def test_empty_buckets_do_not_gather() -> None:
    """Connections that are closed long before their deadlines, one in each bucket."""
    table, kept = Timers(), cast(Any, Entry())
    table.add(kept, 5.0)
    for number in range(10_000):
        entry = cast(Any, Entry())
        table.add(entry, 10.0 + number)
        table.discard(entry)
        assert len(table._buckets) == 1
        assert len(table._keys) <= 100
    assert table.due(4.0) == []
    assert table.due(5.0) == [kept]
    assert table.due(50_000.0) == []
    assert (len(table._keys), table.next_at) == (0, NEVER)


def test_a_table_swept_of_empty_buckets_still_knows_the_others() -> None:
    table = Timers()
    entries = [cast(Any, Entry()) for _ in range(400)]
    for number, entry in enumerate(entries):
        table.add(entry, float(number))
    for entry in entries[:390]:
        table.discard(entry)
    assert table.due(389.0) == []
    assert [table.due(float(now)) for now in range(390, 400)] == [[entry] for entry in entries[390:]]


# ---- the wake-up ----


@pytest.mark.parametrize("portable", [False, True])
def test_a_wakeup_that_is_closed_is_signalled_in_vain(portable: bool) -> None:
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
def test_a_signal_never_writes_to_a_descriptor_that_has_been_closed(
    monkeypatch: pytest.MonkeyPatch, signallers: int
) -> None:
    """Every order: between the look at the number and the write, the number could go to another file."""

    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        open_fds, late = {5}, list[int]()

        def write(fd: int, count: int) -> None:
            scheduler.point()  # the number has been read, the system call comes now
            if fd not in open_fds:
                late.append(fd)

        fake = SimpleNamespace(
            eventfd=lambda count, flags: 5, EFD_NONBLOCK=0, EFD_CLOEXEC=0, eventfd_write=write, close=open_fds.remove
        )
        monkeypatch.setattr("reserve.engine.polling.wakeup.os", fake)
        wakeup = Wakeup()
        wait = SimpleNamespace(sleep=lambda seconds: scheduler.block(lambda: not wakeup._signalling))
        monkeypatch.setattr("reserve.engine.polling.wakeup.time", wait)
        for number in range(signallers):
            scheduler.spawn(f"signaller {number}", wakeup.signal)
        scheduler.spawn("closer", wakeup.close)

        def check(blocked: list[str]) -> None:
            assert blocked == []
            assert not late, "a stranger's file has been written to"
            assert not open_fds

        return check

    assert explore(scenario, signallers + 1, 3 - signallers, "line", alike=range(signallers)) > 20


def test_a_forked_child_does_not_wait_for_signallers_that_are_not_there() -> None:
    wakeup = Wakeup()
    wakeup._signalling.append(True)  # as a copy of a thread that was between the two lines
    wakeup.after_fork()
    wakeup.close()
    assert wakeup.fd == -1


# ---- the policy ----


class Times:
    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def pass_(self, wall: float, cpu: float) -> None:
        self.wall += wall
        self.cpu += cpu


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def policy(times: Times) -> AdaptiveHandOff:
    return AdaptiveHandOff(lambda: times.wall, lambda: times.cpu)


def test_it_hands_over_until_it_knows_better(policy: AdaptiveHandOff, times: Times) -> None:
    assert not policy.keep()
    for expected in (False, True):
        times.pass_(0.02, 0.01)
        policy.sample(100, 0)
        assert policy.keep() is expected


def test_one_sample_with_waiting_handlers_is_enough(policy: AdaptiveHandOff, times: Times) -> None:
    for _ in range(5):
        policy.sample(100, 0)
    times.pass_(0.02, 0.001)
    policy.sample(3, 19)
    assert not policy.keep()


def test_handlers_that_compute_do_not_wait(policy: AdaptiveHandOff, times: Times) -> None:
    for _ in range(5):
        times.pass_(0.02, 0.0195)
        policy.sample(3, 19)
    assert policy.keep()


def test_an_idle_moment_teaches_nothing(policy: AdaptiveHandOff, times: Times) -> None:
    for _ in range(5):
        times.pass_(0.02, 0.0)
        policy.sample(0, 0)
    assert not policy.keep()


def test_the_other_policy_always_hands_over() -> None:
    policy = AlwaysHandOver()
    policy.sample(100, 0)
    assert policy.keep() is False


# ---- logs ----


def test_a_stuck_writer_drops_and_counts_and_stops_nobody() -> None:
    inside, go_on, written = threading.Event(), threading.Event(), list[Any]()

    def write(items: list[Any]) -> None:
        inside.set()
        go_on.wait(20)
        written.extend(items)

    dropped: list[int] = []
    writer = LineWriter("test-log", write, dropped.append, limit=3)
    writer.start()
    writer.put(0)
    assert inside.wait(20)
    for number in range(1, 8):
        writer.put(number)
    assert writer.dropped == 4
    go_on.set()
    writer.stop()
    assert written == [0, 1, 2, 3]
    assert dropped == [4]


def test_what_was_logged_before_the_start_is_written_by_the_stop() -> None:
    lines: list[tuple[int, str]] = []
    logs = ErrorLog(lambda level, text: lines.append((level, text)))
    logs.warning("careful")
    logs.stop()
    assert lines == [(logging.WARNING, "careful")]


def test_a_hook_that_fails_takes_no_other_line_along(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []

    def hook(level: int, text: str) -> None:
        if text == "two":
            raise ValueError("no two")
        lines.append(text)

    logs = ErrorLog(hook)
    for text in ("one", "two", "three"):
        logs.info(text)
    logs.stop()
    assert lines == ["one", "three"]
    assert "no two" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError, BaseException])
def test_the_writer_survives_whatever_a_hook_raises(
    capsys: pytest.CaptureFixture[str], kind: type[BaseException]
) -> None:
    lines: list[str] = []
    written = threading.Semaphore(0)

    def hook(level: int, text: str) -> None:
        lines.append(text)
        written.release()
        if text == "two":
            raise kind("no two")

    logs = ErrorLog(hook)
    logs.start()
    for text in ("one", "two"):
        logs.info(text)
    assert written.acquire(timeout=20)
    assert written.acquire(timeout=20)
    logs.info("three")  # another batch, on the same thread
    assert written.acquire(timeout=20)
    logs.stop()
    assert lines == ["one", "two", "three"]
    assert "no two" in capsys.readouterr().err


def test_a_writer_survives_a_report_that_fails(capsys: pytest.CaptureFixture[str]) -> None:
    written: list[Any] = []
    second = threading.Event()

    def write(items: list[Any]) -> None:
        written.extend(items)
        if 2 in items:
            second.set()

    def report(count: int) -> None:
        raise SystemExit("no report")

    writer = LineWriter("test-log", write, report, limit=1)
    writer.put(1)
    writer.put(1)
    writer.start()
    eventually(lambda: not writer._queue and not writer.dropped)
    writer.put(2)
    assert second.wait(20)
    writer.stop()
    assert written == [1, 2]
    assert "no report" in capsys.readouterr().err


def test_an_error_is_logged_with_its_traceback() -> None:
    lines: list[str] = []
    logs = ErrorLog(lambda level, text: lines.append(text))
    try:
        raise KeyError("lost")
    except KeyError as error:
        logs.failure("it failed", error)
    logs.stop()
    assert lines[0].startswith("it failed\nTraceback")
    assert "KeyError: 'lost'" in lines[0]
