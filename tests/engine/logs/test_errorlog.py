"""The error log and the thread that writes it: it blocks no caller, and a hook that fails loses no other lines."""

from __future__ import annotations

import linecache
import logging
import sys
import threading
from typing import Any

import pytest

from reserve.engine.logs.errorlog import MAX_TEXT, ErrorLog, LineWriter, stack_of
from reserve.engine.logs.ratelimit import MAX_REASONS
from tests.test_errors import ANYTHING, hostile
from tests.waiting import PATIENCE, eventually


def test_a_stuck_writer_drops_and_counts_lines_without_blocking() -> None:
    inside, go_on, written = threading.Event(), threading.Event(), list[Any]()

    def write(items: list[Any]) -> None:
        inside.set()
        go_on.wait(PATIENCE)
        written.extend(items)

    dropped: list[int] = []
    writer = LineWriter("test-log", write, dropped.append, limit=3)
    writer.start()
    writer.put(0)
    assert inside.wait(PATIENCE)
    for number in range(1, 8):
        writer.put(number)
    assert writer.dropped == 4
    go_on.set()
    writer.stop()
    assert written == [0, 1, 2, 3]
    assert dropped == [4]


def append(writer: LineWriter, item: Any) -> None:
    """What a producer does that calls no function."""
    writer.records.append(item)
    if writer.asleep:
        writer.wake()


def test_what_producers_append_themselves_is_bounded_and_counted_while_the_writer_is_stuck() -> None:
    inside, go_on, written, dropped = threading.Event(), threading.Event(), list[Any](), list[int]()

    def write(items: list[Any]) -> None:
        inside.set()
        go_on.wait(PATIENCE)
        written.extend(items)

    writer = LineWriter("test-log", write, dropped.append, limit=3)
    writer.start()
    append(writer, 0)
    assert inside.wait(PATIENCE)
    for number in range(1, 8):
        append(writer, number)
        assert len(writer.records) <= 3
    assert writer.total_dropped == 4
    go_on.set()
    writer.stop()
    assert written == [0, 1, 2, 3]
    assert dropped == [4]


def test_no_thread_is_woken_while_the_writer_is_awake() -> None:
    written, woken = list[Any](), list[int]()
    writer = LineWriter("test-log", written.extend, woken.append)
    writer.PAUSE = PATIENCE  # type: ignore[misc]
    writer.start()
    append(writer, 0)
    eventually(lambda: not writer.asleep)
    writer.wake = lambda: woken.append(1)  # type: ignore[method-assign]
    for number in range(1, 10):
        append(writer, number)
    writer.put(10)
    assert (written, woken) == ([0], [])
    writer.stop(PATIENCE)
    assert written == list(range(11))


def test_a_writer_that_sleeps_is_woken_however_often_a_producer_was_interrupted_before_it_could() -> None:
    written: list[Any] = []
    writer = LineWriter("test-log", written.extend, written.append)
    writer.start()
    eventually(lambda: writer._sleeping)
    for number in range(3):
        writer.records.append(number)  # and no more
    append(writer, 3)
    eventually(lambda: len(written) == 4)
    writer.stop(PATIENCE)
    assert written == [0, 1, 2, 3]


def test_every_item_of_many_threads_is_either_written_or_counted() -> None:
    written, dropped = list[Any](), list[int]()
    writer = LineWriter("test-log", written.extend, dropped.append, limit=5, batch=2)
    writer.PAUSE = 0.0  # type: ignore[misc]
    writer.start()

    def produce() -> None:
        for number in range(2000):
            append(writer, number)
            writer.put(number)

    threads = [threading.Thread(target=produce) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    writer.stop(PATIENCE)
    assert len(written) + sum(dropped) == 8 * 2 * 2000
    assert sum(dropped) == writer.total_dropped


def test_a_forked_child_keeps_nothing() -> None:
    writer = LineWriter("test-log", lambda items: None, lambda count: None)
    writer.asleep = False  # the thread was in its pause
    writer.after_fork()
    writer.put(1)
    append(writer, 2)
    assert not writer.records


def test_batches_have_a_limit() -> None:
    sizes: list[int] = []
    writer = LineWriter("test-log", lambda items: sizes.append(len(items)), sizes.append, batch=4)
    for number in range(10):
        writer.put(number)
    writer.stop()
    assert sizes == [4, 4, 2]


def test_no_dropped_line_is_missed_when_two_threads_drop_at_the_same_time() -> None:
    """The second one comes in where the first has read the number and has not written it."""

    def second() -> None:
        if not seconds:
            seconds.append(threading.Thread(target=writer.put, args=(2,)))
            seconds[0].start()
            seconds[0].join(PATIENCE)

    class Numbers(dict[int, int]):
        def __setitem__(self, ident: int, number: int) -> None:
            second()
            super().__setitem__(ident, number)

    class Interrupted(LineWriter):
        def __setattr__(self, name: str, value: Any) -> None:
            if value == 1:
                second()
            super().__setattr__(name, value)

    seconds: list[threading.Thread] = []
    writer = LineWriter("test-log", lambda items: None, lambda count: None, limit=0)
    writer.__class__ = Interrupted
    writer._lost = Numbers()
    writer.put(1)
    assert seconds
    assert writer.total_dropped == 2
    writer.stop()


def test_the_number_of_dropped_lines_never_decreases() -> None:
    """Also while it is reported: a metric that goes back means that the server has started again."""
    seen: list[int] = []

    class Watched(LineWriter):
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if hasattr(self, "_reported"):
                seen.append(self.total_dropped)

    writer = Watched("test-log", lambda items: None, seen.append, limit=1)
    for number in range(5):
        writer.put(number)
    assert writer.dropped == 4
    writer.stop()
    assert writer.dropped == 0
    assert seen[-1] == 4
    assert seen == sorted(seen)


def test_lines_logged_before_the_start_are_written_at_the_stop() -> None:
    lines: list[tuple[int, str]] = []
    logs = ErrorLog(lambda level, text: lines.append((level, text)))
    logs.warning("careful")
    logs.stop()
    assert lines == [(logging.WARNING, "careful")]


def test_a_hook_that_fails_loses_no_other_line(capsys: pytest.CaptureFixture[str]) -> None:
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
def test_the_writer_survives_every_exception_of_a_hook(
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
    assert written.acquire(timeout=PATIENCE)
    assert written.acquire(timeout=PATIENCE)
    logs.info("three")  # another batch, on the same thread
    assert written.acquire(timeout=PATIENCE)
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
    eventually(lambda: not writer.records and not writer.dropped)
    writer.put(2)
    assert second.wait(PATIENCE)
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


def test_the_middle_of_a_huge_text_is_left_out() -> None:
    lines: list[str] = []
    log = ErrorLog(lambda level, text: lines.append(text))
    log.error("a" * MAX_TEXT)
    log.failure("it failed", ValueError("begin" + "x" * 10_000_000 + "end"))
    log.stop()
    assert lines[0] == "a" * MAX_TEXT
    assert len(lines[1]) < MAX_TEXT + 100
    assert lines[1].startswith("it failed\nValueError: beginxxx")
    assert lines[1].endswith("xxxend")
    assert "characters are left out" in lines[1]


@pytest.mark.parametrize("kind", ANYTHING)
def test_an_error_that_cannot_be_formatted_is_logged_with_its_frames(kind: type[BaseException]) -> None:
    lines: list[str] = []
    logs = ErrorLog(lambda level, text: lines.append(text))
    try:
        raise hostile(kind)
    except ModuleNotFoundError as error:
        logs.failure("it failed", error)
    logs.stop()
    (text,) = lines
    assert text.startswith("it failed\nTraceback (most recent call last):\n")
    assert __file__ in text
    assert text.endswith("\nHostile: (its text cannot be shown)")


@pytest.mark.parametrize("kind", ANYTHING)
def test_the_error_of_a_hook_that_cannot_be_formatted_loses_no_other_line(kind: type[BaseException]) -> None:
    lines: list[str] = []

    def hook(level: int, text: str) -> None:
        if text == "one":
            raise hostile(kind)
        lines.append(text)

    logs = ErrorLog(hook)
    logs.start()
    for text in ("one", "two"):
        logs.info(text)
    eventually(lambda: lines == ["two"])
    assert logs.thread.is_alive()
    logs.stop()


def test_a_stack_whose_source_cannot_be_read_is_logged_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> Any:
        raise SystemExit

    lines: list[str] = []
    logs = ErrorLog(lambda level, text: lines.append(text))
    logs.stack(logging.WARNING, "it waits in:", stack_of(sys._getframe()))
    logs.info("the next line")
    monkeypatch.setattr(linecache, "getline", fail)
    monkeypatch.setattr(linecache, "getlines", fail)
    logs.stop()
    stack, following = lines
    assert __file__ in stack
    assert following == "the next line"


def test_a_flood_of_stacks_of_one_kind_is_counted() -> None:
    lines: list[str] = []
    log = ErrorLog(lambda level, text: lines.append(text))
    for number in range(MAX_REASONS + 3):
        log.stack(logging.WARNING, f"GET /{number}: slow", (("file.py", 1, "view"),), "slow requests")
    log.stack(logging.WARNING, "stuck", (("file.py", 1, "view"),))
    log.start()
    log.stop()
    assert sum(": slow" in line and "in view" in line for line in lines) == MAX_REASONS
    assert any(line.startswith("and 3 more like it") and "slow requests" in line for line in lines)
    assert any(line.startswith("stuck\n") for line in lines)


def test_the_text_of_an_exception_commands_no_terminal() -> None:
    lines: list[str] = []
    log = ErrorLog(lambda level, text: lines.append(text))
    log.error("\x00\x1b]0;title\x07\t\r\x7f\x85\x9b31m\u2028\u202e\u2066\nsecond \u00e9 \u65e5")
    log.stop()
    shown = "\\x00\\x1b]0;title\\x07\t\\x0d\\x7f\\x85\\x9b31m\\u2028\\u202e\\u2066\nsecond \u00e9 \u65e5"
    assert lines == [shown]
