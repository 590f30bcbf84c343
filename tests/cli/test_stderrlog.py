"""The error log of the command."""

from __future__ import annotations

import io
import logging
import os
import threading

from reserve.cli.stderrlog import StderrLog
from tests.waiting import eventually


def record(text: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("reserve", logging.ERROR, __file__, 1, text, args, None)


class Stream(io.StringIO):
    full = False

    def write(self, text: str) -> int:
        if self.full:
            raise OSError("no room")
        return super().write(text)


def test_lines_that_were_lost_are_counted_when_one_can_be_written() -> None:
    stream = Stream()
    log = StderrLog(stream)
    log.handle(record("first"))
    stream.full = True
    log.handle(record("second"))
    log.handle(record("third"))
    stream.full = False
    log.handle(record("fourth"))
    lines = [line.partition(" ")[2].partition(" ")[2] for line in stream.getvalue().splitlines()]
    assert lines == ["ERROR: first", "ERROR: fourth", "WARNING: 2 log lines could not be written: no room"]


def test_a_filter_is_asked() -> None:
    stream = Stream()
    log = StderrLog(stream)
    log.addFilter(lambda one: "secret" not in one.getMessage())
    log.handle(record("a secret"))
    assert stream.getvalue() == ""


def test_nobody_waits_for_a_lock_of_a_line_that_is_stuck() -> None:
    reader, writer = os.pipe()
    with open(writer, "w") as stream:
        log = StderrLog(stream)
        thread = threading.Thread(target=log.handle, args=(record("x" * 300_000),))  # more than a pipe holds
        thread.start()
        size = len(os.read(reader, 1))  # it has begun, and cannot end
        log.acquire()
        log.release()
        log.flush()
        log.close()
        assert thread.is_alive()
        while size < 300_000:
            size += len(os.read(reader, 300_000))
        thread.join()
    os.close(reader)


def test_a_record_that_cannot_be_formatted_is_not_fatal(capsys: object) -> None:
    stream = Stream()
    log = StderrLog(stream)
    log.handle(record("%d", "no number"))
    log.handle(record("next"))
    eventually(lambda: stream.getvalue().endswith("ERROR: next\n"))
