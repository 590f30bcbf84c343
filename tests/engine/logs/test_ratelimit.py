"""Lines of one kind: the first of a second is written, the others are counted, and none is counted twice."""

from __future__ import annotations

import itertools
import logging
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reserve.engine.logs.errorlog import NO_STACK, ErrorLog, stack_of
from reserve.engine.logs.ratelimit import MAX_REASONS, RateLimiter, reason_of
from reserve.engine.polling.processors import has_gil
from reserve.testing import FakeClock
from tests.engine.conftest import Log
from tests.waiting import eventually

WARNING, INFO = logging.WARNING, logging.INFO


def test_the_first_line_is_written_and_the_others_of_its_second_are_counted() -> None:
    limiter = RateLimiter()
    assert limiter.due is None
    assert [limiter.admit("a", WARNING, 10.0 + number / 100) for number in range(50)] == [True] + [False] * 49
    assert limiter.admit("b", INFO, 10.5)
    assert limiter.due == 11.0
    assert limiter.take(10.99) == []
    assert limiter.take(11.0) == [(WARNING, "and 49 more like it in the last 1.0 s: a")]
    assert limiter.due is None, "a single line needs no later check"
    assert limiter.admit("a", WARNING, 11.0)


def test_one_line_a_second_is_not_counted() -> None:
    limiter = RateLimiter()
    for second in range(10):
        assert limiter.take(float(second)) == []
        assert limiter.admit("a", WARNING, float(second))


# The sums of these pauses are exact; otherwise a second could be a little shorter.
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.0, 0.125, 0.75, 5.0]))))
def test_each_line_is_written_or_counted_exactly_once(lines: list[tuple[str, float]]) -> None:
    limiter, now, counts = RateLimiter(), 0.0, dict.fromkeys("abc", 0)
    written: dict[str, list[float]] = {kind: [] for kind in "abc"}

    def count(found: list[tuple[int, str]]) -> None:
        for _, text in found:
            counts[text[-1]] += int(text.split()[1])

    for kind, pause in lines:
        now += pause
        count(limiter.take(now))
        if limiter.admit(kind, WARNING, now):
            counts[kind] += 1
            written[kind].append(now)
    count(limiter.take(now, all_of_them=True))
    assert counts == {kind: sum(other == kind for other, _ in lines) for kind in "abc"}
    assert limiter.due is None
    for times in written.values():
        assert all(later - earlier >= RateLimiter.SPAN for earlier, later in itertools.pairwise(times))


class Written:
    """An error log whose clock stands still, and the lines that it has written."""

    def __init__(self) -> None:
        self._hook = Log()
        self.lines = self._hook.lines
        self.clock = FakeClock()
        self.log = ErrorLog(self._hook, self.clock)

    def holds(self, *lines: Any) -> None:
        """Wait until so many lines have been written; they have to be these."""
        eventually(lambda: len(self.lines) >= len(lines))
        assert self.lines == list(lines)


def test_any_number_of_lines_is_written_as_two_lines_a_second() -> None:
    log = Written()
    log.log.start()
    for number in range(5000):
        log.log.warning(f"client {number}", "clients")
    log.log.info("another", "others")
    log.log.warning("of no kind")
    log.log.warning("of no kind")
    first = [(WARNING, "client 0"), (INFO, "another"), (WARNING, "of no kind"), (WARNING, "of no kind")]
    log.holds(*first)
    log.clock.advance(1.0)  # nothing more is logged: the count is written all the same
    counted = (WARNING, "and 4999 more like it in the last 1.0 s: clients")
    log.holds(*first, counted)
    log.log.warning("client 5000", "clients")
    log.log.warning("client 5001", "clients")
    log.holds(*first, counted, (WARNING, "client 5000"))
    log.log.stop()
    log.holds(*first, counted, (WARNING, "client 5000"), (WARNING, "and 1 more like it in the last 0.1 s: clients"))
    assert log.clock._wakes == []


def test_lines_before_the_start_are_counted_too() -> None:
    log = Written()
    for _ in range(3):
        log.log.info("early", "kind")
    log.log.stop()
    log.holds((INFO, "early"), (INFO, "and 2 more like it in the last 0.1 s: kind"))


def test_a_stack_has_its_source_lines() -> None:
    log = Written()
    log.log.stack(WARNING, "it is in", stack_of(sys._getframe()))  # this line
    log.log.stack(WARNING, "it is nowhere", stack_of(None))
    log.log.stop()
    (_, text), nowhere = log.lines
    assert text.startswith("it is in\n  File ")
    assert text.splitlines()[-1].strip() == 'log.log.stack(WARNING, "it is in", stack_of(sys._getframe()))  # this line'
    assert nowhere == (WARNING, "it is nowhere" + ("" if has_gil() else f"\n  {NO_STACK}"))


def test_each_reason_is_written_and_only_those_like_it_are_counted() -> None:
    log = Written()
    reasons = [f"reason {letter}" for letter in "abcdefg"]
    for number, reason in enumerate(reasons * 2):
        log.log.warning(f"192.0.2.7:{50000 + number}: 400 {reason}: '{number}'", "requests refused with 400")
    log.log.stop()
    written = [
        (WARNING, f"192.0.2.7:{50000 + number}: 400 {reason}: '{number}'") for number, reason in enumerate(reasons)
    ]
    log.holds(*written, (WARNING, "and 7 more like it in the last 0.1 s: requests refused with 400"))


def test_a_client_that_gives_ever_other_reasons_cannot_fill_the_log() -> None:
    limiter = RateLimiter()
    admitted = [limiter.admit("a", WARNING, 10.0, reason="x" * number) for number in range(100)]
    assert admitted == [True] * MAX_REASONS + [False] * (100 - MAX_REASONS)
    assert not limiter.admit("a", WARNING, 10.0, reason="x")
    assert limiter.take(11.0) == [(WARNING, "and 93 more like it in the last 1.0 s: a (92 of them for other reasons)")]
    assert limiter.admit("a", WARNING, 11.0, reason="x")


def test_the_reason_of_a_line_has_nothing_that_is_different_for_each_client() -> None:
    assert reason_of("192.0.2.7:50123: 400 byte 0x1f in 'x y'") == reason_of("[2001:db8::1]:9: 400 byte 0x00 in 'z'")
    assert reason_of("client 1") == reason_of("client 22") != reason_of("server 1")
    assert len(reason_of("x" * 65536)) < 1000
