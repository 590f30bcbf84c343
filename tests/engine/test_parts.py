"""The parts that need no server: clock, deadlines, policy, logs."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.engine.clock import SystemClock
from reserve.engine.deadlines import NEVER, Deadlines
from reserve.engine.handoff import AdaptiveHandOff, AlwaysHandOver
from reserve.engine.logs import LineWriter, Logs
from reserve.testing import FakeClock


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


# ---- deadlines ----


@given(st.lists(st.tuples(st.sampled_from(["add", "discard", "due"]), st.integers(0, 4), st.integers(0, 400))))
def test_deadlines_behave_like_a_dictionary_that_is_searched(steps: list[tuple[str, int, int]]) -> None:
    table, model, now = Deadlines(), dict[int, float](), 0.0
    entries: list[Any] = [Entry() for _ in range(5)]
    for step, number, amount in steps:
        if step == "add":
            at = now + amount / 7
            earliest = table.next_at
            first = table.add(entries[number], at)
            model[number] = entries[number].timer_at
            assert at <= entries[number].timer_at < at + 0.0625
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
    table = Deadlines()
    entries: list[Any] = [Entry() for _ in range(1000)]
    for number, entry in enumerate(entries):
        table.add(entry, float(number))
    assert table.due(1.0) == entries[:2]
    assert len(table._keys) == 998


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
    logs = Logs(lambda level, text: lines.append((level, text)))
    logs.warning("careful")
    logs.stop()
    assert lines == [(logging.WARNING, "careful")]


def test_a_hook_that_fails_takes_no_other_line_along(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []

    def hook(level: int, text: str) -> None:
        if text == "two":
            raise ValueError("no two")
        lines.append(text)

    logs = Logs(hook)
    for text in ("one", "two", "three"):
        logs.info(text)
    logs.stop()
    assert lines == ["one", "three"]
    assert "no two" in capsys.readouterr().err


def test_an_error_is_logged_with_its_traceback() -> None:
    lines: list[str] = []
    logs = Logs(lambda level, text: lines.append(text))
    try:
        raise KeyError("lost")
    except KeyError as error:
        logs.failure("it failed", error)
    logs.stop()
    assert lines[0].startswith("it failed\nTraceback")
    assert "KeyError: 'lost'" in lines[0]
