"""The error log of the command, on standard error."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import pytest

from reserve.cli.command import main
from reserve.cli.stderrlog import StderrLog
from tests.cli.fakes import HANDLER, FakeServer
from tests.streams import FailingStream
from tests.waiting import eventually


def record(text: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("reserve", logging.ERROR, __file__, 1, text, args, None)


def test_lost_lines_are_counted_in_a_line_after_the_next_one() -> None:
    stream = FailingStream()
    log = StderrLog(stream)
    log.handle(record("first"))
    stream.error = OSError("no space")
    log.handle(record("second"))
    log.handle(record("third"))
    stream.error = None
    log.handle(record("fourth"))
    lines = [line.partition(" ")[2].partition(" ")[2] for line in stream.getvalue().splitlines()]
    assert lines == ["ERROR: first", "ERROR: fourth", "WARNING: 2 log lines could not be written: no space"]


def test_a_filtered_record_is_not_written() -> None:
    stream = FailingStream()
    log = StderrLog(stream)
    log.addFilter(lambda record: "secret" not in record.getMessage())
    log.handle(record("a secret"))
    assert stream.getvalue() == ""


def test_a_blocked_write_holds_no_lock() -> None:
    reader, writer = os.pipe()
    with open(writer, "w") as stream:
        log = StderrLog(stream)
        thread = threading.Thread(target=log.handle, args=(record("x" * 300_000),))  # more than a pipe holds
        thread.start()
        size = len(os.read(reader, 1))  # the write has begun, and cannot end
        log.acquire()
        log.release()
        log.flush()
        log.close()
        assert thread.is_alive()
        while size < 300_000:
            size += len(os.read(reader, 300_000))
        thread.join()
    os.close(reader)


def test_the_log_works_after_a_record_that_cannot_be_formatted(capsys: object) -> None:
    stream = FailingStream()
    log = StderrLog(stream)
    log.handle(record("%d", "no number"))
    log.handle(record("next"))
    eventually(lambda: stream.getvalue().endswith("ERROR: next\n"))


def test_the_error_log_works_after_an_application_has_configured_logging(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "import logging.config\nlogging.config.dictConfig({'version': 1})\n" + HANDLER
    (workdir / "cli_logging.py").write_text(source)
    FakeServer.while_serving = staticmethod(
        lambda server: logging.getLogger("reserve").warning("a worker was replaced")
    )
    assert main(["app", "cli_logging", "-b", "127.0.0.1:0", "--log-level", "warning"]) == 0
    assert " WARNING: a worker was replaced\n" in capsys.readouterr().err
    assert not logging.getLogger("reserve").isEnabledFor(logging.INFO)
