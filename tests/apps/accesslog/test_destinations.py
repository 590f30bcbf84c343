"""Where lines go: files, syslog and loggers, and what happens while those cannot be written."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from pathlib import Path

import pytest

from reserve.apps._accesslog.destinations import is_destination, open_destination, path_of
from reserve.apps._accesslog.log import AccessLog, Record
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.logs.logfile import reopen_log_files
from reserve.errors import StartupError

RECORD = Record(0.0, "192.0.2.1", "GET", "/", "HTTP/1.1", 200, 5, "", "")
needs_unix = pytest.mark.skipif(sys.platform == "win32", reason="no UNIX sockets")


@pytest.mark.parametrize(
    "text",
    ["-", "a.log", "/var/log/a.log", "syslog:", "syslog:/dev/log", "syslog:h:514", "syslog:[::1]:514", "logger:a"],
)
def test_destinations(text: str) -> None:
    assert is_destination(text)


@pytest.mark.parametrize("text", ["", "syslog:h", "syslog:h:0", "syslog:h:70000", "syslog:::1:514", "logger:"])
def test_no_destinations(text: str) -> None:
    assert not is_destination(text)


def test_only_a_path_is_a_file() -> None:
    assert [path_of(text) for text in ("-", "syslog:", "logger:x", "a/b")] == ["", "", "", "a/b"]


def log_to(destination: str, messages: list[str] | None = None) -> AccessLog:
    return AccessLog(
        ErrorLog(lambda level, text: None if messages is None else messages.append(text)), destination=destination
    )


def test_a_file_is_appended_to_and_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text("before\n")
    log = log_to(str(path))
    log._write([RECORD])
    path.rename(tmp_path / "access.log.1")
    log._write([RECORD])
    assert [result.error for result in reopen_log_files()] == [None]
    log._write([RECORD])
    log.stop()
    assert (tmp_path / "access.log.1").read_text().count("GET /") == 2
    assert (tmp_path / "access.log.1").read_text().startswith("before\n")
    assert path.read_text().count("GET /") == 1
    assert reopen_log_files() == []


def test_a_file_that_cannot_be_opened_is_an_error_of_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"cannot open .*nowhere.* No such file"):
        open_destination(str(tmp_path / "nowhere" / "access.log"))


@needs_unix
def test_local_syslog_gets_datagrams_in_the_format_of_rfc_3164(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(path)
        log = log_to(f"syslog:{path}")
        log._write([RECORD, RECORD])
        messages = [daemon.recv(4096).decode() for _ in range(2)]
        log.stop()
    for message in messages:
        assert re.fullmatch(
            rf'<30>[A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d:\d\d reserve\[{os.getpid()}\]: 192\.0\.2\.1 - - \[.*"GET / .*',
            message,
        )


@needs_unix
def test_a_syslog_daemon_that_starts_again_gets_the_next_line(tmp_path: Path) -> None:
    path, messages = str(tmp_path / "log"), list[str]()
    log = log_to(f"syslog:{path}", messages)
    log._write([RECORD])
    assert log.lines_dropped == 1
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(path)
            log._write([RECORD])
            assert b"GET /" in daemon.recv(4096)
        os.unlink(path)
    log.stop()
    log._error_log.stop()
    assert log.lines_dropped == 1
    assert [message.partition(":")[0] for message in messages] == [
        "the access log cannot be written; its lines are dropped until it can be",
        "1 access log lines were dropped",
    ]


def test_a_syslog_whose_host_no_name_can_be_loses_lines_and_says_so() -> None:
    messages: list[str] = []
    log = log_to("syslog:a..b:514", messages)
    log._write([RECORD])
    log.stop()
    log._error_log.stop()
    assert log.lines_dropped == 1
    assert "'a..b' is no name of a host" in messages[0]


def test_syslog_by_udp_has_the_format_of_rfc_5424() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        log = log_to(f"syslog:127.0.0.1:{daemon.getsockname()[1]}")
        log._write([RECORD])
        message = daemon.recv(4096).decode()
        log.stop()
    head = rf"<30>1 \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ \S+ reserve {os.getpid()} access - "
    assert re.fullmatch(head + r'192\.0\.2\.1 - - \[.*"GET / .*', message)


def test_a_logger_gets_each_line_as_its_message(caplog: pytest.LogCaptureFixture) -> None:
    log = log_to("logger:shop.access")
    with caplog.at_level(logging.INFO, "shop.access"):
        log._write([RECORD._replace(target="/%s%d")])
    log.stop()
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("shop.access", "INFO")
    assert '"GET /%s%d HTTP/1.1" 200' in record.getMessage()


def test_a_logger_that_fails_loses_lines_and_says_so() -> None:
    class Failing(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise OSError("it is full")

    messages: list[str] = []
    log = log_to("logger:shop.failing", messages)
    logger = logging.getLogger("shop.failing")
    logger.setLevel("INFO")
    logger.addHandler(handler := Failing())
    try:
        log._write([RECORD])
    finally:
        logger.removeHandler(handler)
    log.stop()
    log._error_log.stop()
    assert "it is full" in messages[0]
    assert log.lines_dropped == 1
