"""The error log of the command, on standard error."""

from __future__ import annotations

import io
import logging
import logging.config
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reserve.cli.command import main
from reserve.cli.console import Console, DirectConsole
from reserve.cli.stderrlog import StderrLog, configure_logging, set_log_level
from reserve.engine.logs.errorlog import ErrorLog
from tests.cli.fakes import HANDLER, FakeServer
from tests.streams import FailingStream
from tests.waiting import PATIENCE, eventually


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


def configure_from_a_dict() -> None:
    logging.config.dictConfig({"version": 1, "loggers": {"reserve": {"level": "CRITICAL", "handlers": []}}})


def configure_from_a_file() -> None:
    Path("logging.ini").write_text(
        "[loggers]\nkeys=root\n[handlers]\nkeys=\n[formatters]\nkeys=\n[logger_root]\nlevel=ERROR\nhandlers=\n"
    )
    logging.config.fileConfig("logging.ini", disable_existing_loggers=True)


def disable() -> None:
    logging.disable(logging.CRITICAL)


def replace_the_records() -> None:
    logging.setLogRecordFactory(lambda *args, **kwargs: 1 / 0)  # type: ignore[arg-type,return-value]


def silence_the_handler() -> None:
    for handler in logging.getLogger("reserve").handlers:
        handler.setLevel(logging.CRITICAL)
        handler.addFilter(lambda record: False)


@pytest.mark.parametrize(
    "configure",
    [configure_from_a_dict, configure_from_a_file, disable, replace_the_records, silence_the_handler],
    ids=lambda function: function.__name__,
)
def test_an_application_that_configures_logging_while_it_is_served_does_not_silence_the_error_log(
    workdir: Path, capsys: pytest.CaptureFixture[str], configure: Callable[[], None]
) -> None:
    factory = logging.getLogRecordFactory()

    def serve(server: FakeServer) -> None:
        configure()
        log = ErrorLog(server.hooks.error_log)
        log.warning("a worker was replaced")
        log.info("less than the level")
        log.stop()

    FakeServer.while_serving = staticmethod(serve)
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    try:
        assert main(["app", "cli_plain", "-b", "127.0.0.1:0", "--log-level", "warning"]) == 0
    finally:
        logging.disable(logging.NOTSET)
        logging.setLogRecordFactory(factory)
        root.handlers[:], root.level = before
    err = capsys.readouterr().err
    assert err.count(" WARNING: a worker was replaced\n") == 1
    assert "less than the level" not in err


def test_the_level_changes_while_the_server_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = FailingStream()
    monkeypatch.setattr("sys.stderr", stream)
    logger = logging.getLogger("reserve")
    before = logger.level, logger.handlers[:], logger.propagate
    try:
        hook = configure_logging("warning")
        for level in ("", "debug", "error"):
            if level:
                set_log_level(level)
            hook(logging.INFO, f"server {level}")
            logger.info("logger %s", level)
    finally:
        logger.level, logger.handlers[:], logger.propagate = before
    assert [line.partition("INFO: ")[2] for line in stream.getvalue().splitlines()] == ["server debug", "logger debug"]


@pytest.mark.parametrize("level", ["debug", "error"])
def test_the_level_changes_while_the_application_holds_the_lock_of_logging(
    monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    """The thread of the control socket must go on, and the server's lines have the new level at once."""
    stream = FailingStream()
    monkeypatch.setattr("sys.stderr", stream)
    logger, child = logging.getLogger("reserve"), logging.getLogger("reserve.desk")
    before = logger.level, logger.handlers[:], logger.propagate
    try:
        hook = configure_logging("warning")
        child.info("not shown")
        with logging._lock:  # type: ignore[attr-defined,unused-ignore]
            thread = threading.Thread(target=set_log_level, args=(level,))
            thread.start()
            thread.join(PATIENCE)
            assert not thread.is_alive()
        hook(logging.WARNING, "server")
        child.info("child")
    finally:
        logger.level, logger.handlers[:], logger.propagate = before
        logger.setLevel(before[0])  # the loggers forget what was enabled
    shown = [line.partition(": ")[2] for line in stream.getvalue().splitlines()]
    assert shown == (["server", "child"] if level == "debug" else [])


# ---- under journald ----


@pytest.fixture
def journal() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a stream: the one of the server, and the one of journald."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def name_of(fd: int) -> str:
    """What JOURNAL_STREAM has for a descriptor."""
    status = os.fstat(fd)
    return f"{status.st_dev}:{status.st_ino}"


def test_each_line_to_journald_has_its_level(
    journal: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = journal
    monkeypatch.setenv("JOURNAL_STREAM", name_of(ours.fileno()))
    with open(ours.fileno(), "w", closefd=False) as stream:
        log = StderrLog(stream)
        for level in (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG, 1):
            log.write_line(level, "text")
        log.write_line(logging.ERROR, "failed\n<0>a text of a client\n\n")
    lines = re.sub(r"(?m)^(<.>)\S+ \S+ \w+( \d+)?: ", r"\1", theirs.recv(65536).decode()).splitlines()
    assert lines[:6] == ["<2>text", "<3>text", "<4>text", "<6>text", "<7>text", "<7>text"]
    assert lines[6:] == ["<3>failed", "<3><0>a text of a client", "<3>", "<3>"]


@pytest.mark.parametrize("value", ["", "1", "a:b", "1:2:3", ":", "-1:1", "1:2", "9" * 30 + ":1"])
def test_lines_to_anything_else_have_no_level(
    value: str, journal: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a program that something started which is under journald, and that has another standard error."""
    ours, theirs = journal
    monkeypatch.setenv("JOURNAL_STREAM", value)
    with open(ours.fileno(), "w", closefd=False) as stream:
        StderrLog(stream).write_line(logging.ERROR, "failed")
    assert theirs.recv(1000)[:1] != b"<"


def test_a_file_that_replaces_the_stream_to_journald_has_no_levels(
    journal: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As with --error-log-file."""
    ours, theirs = journal
    monkeypatch.setenv("JOURNAL_STREAM", name_of(ours.fileno()))
    path = tmp_path / "error.log"
    with open(ours.fileno(), "w", closefd=False) as stream:
        log = StderrLog(stream)
        log.write_line(logging.WARNING, "first")
        with path.open("wb") as file:
            os.dup2(file.fileno(), ours.fileno())
        log.write_line(logging.WARNING, "second")
    assert theirs.recv(1000).startswith(b"<4>")
    assert path.read_text().endswith(" WARNING: second\n")
    assert not path.read_text().startswith("<")


def test_the_number_of_lost_lines_has_its_level(
    journal: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = journal
    monkeypatch.setenv("JOURNAL_STREAM", name_of(ours.fileno()))
    with open(os.dup(ours.fileno()), "w") as stream:
        log = StderrLog(stream)
        number = stream.fileno()
        kept = os.dup(number)
        with open(os.devnull, "rb") as file:
            os.dup2(file.fileno(), number)  # cannot be written
        log.write_line(logging.INFO, "lost")
        os.dup2(kept, number)
        os.close(kept)
        log.write_line(logging.INFO, "written")
    assert [line[:3] for line in theirs.recv(1000).decode().splitlines()] == ["<6>", "<4>"]


@pytest.mark.parametrize("make", [Console, DirectConsole])
def test_messages_of_the_command_have_levels_too(
    make: type[Console], journal: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = journal
    with open(ours.fileno(), "w", closefd=False) as stream:
        monkeypatch.setattr("sys.stderr", stream)
        monkeypatch.setenv("JOURNAL_STREAM", name_of(ours.fileno()))
        console = make().start()
        console.write("reserve serves\n  on here\n", PATIENCE)
        console.write("reserve: cannot serve\n", PATIENCE, level=logging.ERROR)
        monkeypatch.delenv("JOURNAL_STREAM")
        console.write("elsewhere\n", PATIENCE, last=True)
        if make is Console:
            console.__exit__()
    sent = b"<6>reserve serves\n<6>  on here\n<3>reserve: cannot serve\nelsewhere\n"
    assert theirs.recv(len(sent), socket.MSG_WAITALL) == sent


def test_a_line_of_an_entry_does_not_look_like_another_entry() -> None:
    stream = io.StringIO()
    log = StderrLog(stream)
    log.write_line(
        logging.ERROR, "failed\n2026-11-30 13:00:00,000 ERROR: forged\nreserve: the server has stopped\nlast"
    )
    lines = stream.getvalue().splitlines()
    assert lines[1:] == ["  2026-11-30 13:00:00,000 ERROR: forged", "  reserve: the server has stopped", "last"]
    assert re.match(r"\S+ \S+ ERROR: failed", lines[0])
