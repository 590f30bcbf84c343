"""Lines of a kind: the first is told at once, the rest of its second as a number, and none of them twice."""

from __future__ import annotations

import itertools
import logging
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.logs.ratelimit import RateLimiter
from reserve.testing import FakeClock
from tests.waiting import eventually

WARNING, INFO = logging.WARNING, logging.INFO


def test_the_first_is_written_and_the_rest_of_its_second_is_counted() -> None:
    repeats = RateLimiter()
    assert repeats.due is None
    assert [repeats.admit("a", WARNING, 10.0 + number / 100) for number in range(50)] == [True] + [False] * 49
    assert repeats.admit("b", INFO, 10.5)
    assert repeats.due == 11.0
    assert repeats.take(10.99) == []
    assert repeats.take(11.0) == [(WARNING, "and 49 more like it in the last 1.0 s: a")]
    assert repeats.due is None, "a line that stands alone needs no look"
    assert repeats.admit("a", WARNING, 11.0)


def test_one_line_a_second_is_not_counted() -> None:
    repeats = RateLimiter()
    for second in range(10):
        assert repeats.take(float(second)) == []
        assert repeats.admit("a", WARNING, float(second))


# Pauses whose sums are exact: else a second may be a little less than one.
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.0, 0.125, 0.75, 5.0]))))
def test_none_is_lost_and_none_is_told_twice(lines: list[tuple[str, float]]) -> None:
    repeats, now, told = RateLimiter(), 0.0, dict.fromkeys("abc", 0)
    written: dict[str, list[float]] = {kind: [] for kind in "abc"}

    def count(found: list[tuple[int, str]]) -> None:
        for _, text in found:
            told[text[-1]] += int(text.split()[1])

    for kind, pause in lines:
        now += pause
        count(repeats.take(now))
        if repeats.admit(kind, WARNING, now):
            told[kind] += 1
            written[kind].append(now)
    count(repeats.take(now, all_of_them=True))
    assert told == {kind: sum(one == kind for one, _ in lines) for kind in "abc"}
    assert repeats.due is None
    for times in written.values():
        assert all(later - earlier >= RateLimiter.SPAN for earlier, later in itertools.pairwise(times))


class Written:
    """A log whose clock stands, and what it has written."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []
        self.clock = FakeClock()
        self.log = ErrorLog(self.write, self.clock)

    def write(self, level: int, text: str) -> None:
        self.lines.append((level, text))

    def holds(self, *lines: Any) -> None:
        eventually(lambda: len(self.lines) >= len(lines))
        assert self.lines == list(lines)


def test_a_flood_is_two_lines_a_second_however_many_there_are() -> None:
    log = Written()
    log.log.start()
    for number in range(5000):
        log.log.warning(f"client {number}", "clients")
    log.log.info("another", "others")
    log.log.warning("of no kind")
    log.log.warning("of no kind")
    first = [(WARNING, "client 0"), (INFO, "another"), (WARNING, "of no kind"), (WARNING, "of no kind")]
    log.holds(*first)
    log.clock.advance(1.0)  # nobody logs anything: the count comes all the same
    counted = (WARNING, "and 4999 more like it in the last 1.0 s: clients")
    log.holds(*first, counted)
    log.log.warning("client 5000", "clients")
    log.log.warning("client 5001", "clients")
    log.holds(*first, counted, (WARNING, "client 5000"))
    log.log.stop()
    log.holds(*first, counted, (WARNING, "client 5000"), (WARNING, "and 1 more like it in the last 0.0 s: clients"))
    assert log.clock._wakes == []


def test_what_was_said_before_the_start_is_counted_too() -> None:
    log = Written()
    for _ in range(3):
        log.log.info("early", "kind")
    log.log.stop()
    log.holds((INFO, "early"), (INFO, "and 2 more like it in the last 0.0 s: kind"))


def test_a_stack_has_its_source_lines() -> None:
    log = Written()
    log.log.stack(WARNING, "it is in", sys._getframe())  # this very line
    log.log.stack(WARNING, "it is nowhere", None)
    log.log.stop()
    (_, text), nowhere = log.lines
    assert text.startswith("it is in\n  File ")
    assert text.splitlines()[-1].strip() == 'log.log.stack(WARNING, "it is in", sys._getframe())  # this very line'
    assert nowhere == (WARNING, "it is nowhere")
