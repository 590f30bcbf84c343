"""The access log, and the Date line."""

from __future__ import annotations

import errno
import io
import re
import threading
import time
from typing import Any

import pytest

from reserve.apps.http.accesslog import AccessLog, Record, format_record
from reserve.apps.http.app import HTTPApp
from reserve.apps.http.context import DateCache
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.logs.errorlog import ErrorLog
from reserve.gateways.wsgi import WSGIGateway
from reserve.protocol.http1.limits import Limits
from reserve.testing import MemoryClient
from tests.apps.http.responses import request, split

LINE = re.compile(
    r'(\S+) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "([^"]*)" (\d{3}) (\d+|-) "([^"]*)" "([^"]*)"'
)


class ListLog:
    def __init__(self) -> None:
        self.records: list[Record] = []
        self.put = self.records.append


def logged(wsgi: Any, *raw: bytes, settings: HTTPSettings | None = None) -> list[Record]:
    log: Any = ListLog()
    http = HTTPApp(WSGIGateway(wsgi), settings)
    http.access_log = log
    client = MemoryClient(http)
    for piece in raw:
        client.send(piece)
    client.close()
    return log.records  # type: ignore[no-any-return]


def hello(environ: Any, start_response: Any) -> list[bytes]:
    environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [b"hello"]


def test_one_record_for_each_request() -> None:
    records = logged(
        hello,
        request("GET", "/a%20b?c", "Referer: http://r/", "User-Agent: me") + request("HEAD", minor=0) + b"",
        b"",
    )
    assert [record[2:] for record in records] == [
        ("GET /a%20b?c HTTP/1.1", 200, 5, "http://r/", "me"),
        ("HEAD / HTTP/1.0", 200, 0, "", ""),
    ]
    assert {record.host for record in records} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("raw", "line", "status"),
    [
        (b"GET /x HTTP/1.1\r\n\r\n", "GET /x HTTP/1.1", 400),
        (b"nonsense\r\n\r\n", "nonsense", 400),
        (b"\x16\x03", "-", 400),
        (request("POST", "/big", body=b"x" * 11), "POST /big HTTP/1.1", 413),
        (request("POST", "/big", body=b"x" * 11, chunks=3), "POST /big HTTP/1.1", 413),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_refused_requests_are_there_too(raw: bytes, line: str, status: int, stream: bool) -> None:
    settings = HTTPSettings(limits=Limits(max_body=10), stream_bodies=stream)
    (record,) = logged(hello, raw, settings=settings)
    assert (record.request, record.status) == (line, status)
    assert record.bytes_sent > 0


def test_failures_are_there_too() -> None:
    def fails(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/half":
            yield b"half"
        raise ValueError

    for path, status in (("/half", 200), ("/", 500)):
        (record,) = logged(fails, request("GET", path))
        assert (record.status, record.bytes_sent > 0) == (status, True)


def test_a_client_that_left_is_a_499() -> None:
    settings = HTTPSettings(stream_bodies=True)
    (record,) = logged(hello, request("POST", body=b"12345")[:-1], settings=settings)
    assert (record.status, record.bytes_sent) == (499, 0)


def test_what_an_application_makes_of_its_environ_stays_out() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        environ["REMOTE_ADDR"] = '1.2.3.4" 200 forged'
        environ["HTTP_USER_AGENT"] = None
        environ.clear()
        start_response("200 OK", [])
        return []

    (record,) = logged(app, request("GET", "/", "User-Agent: me"))
    assert (record.host, record.user_agent) == ("127.0.0.1", "me")


def test_the_combined_format() -> None:
    record = Record(1_700_000_000.9, "10.0.0.1", "GET / HTTP/1.1", 200, 5, "http://r/", "agent/1")
    found = LINE.fullmatch(format_record(record))
    assert found is not None
    assert found.groups() == ("10.0.0.1", "GET / HTTP/1.1", "200", "5", "http://r/", "agent/1")
    assert format_record(record._replace(host="", bytes_sent=0, referer="", user_agent="")).endswith('" 200 - "-" "-"')
    assert format_record(record._replace(host="")).startswith("- - - [")


@pytest.mark.parametrize(("zone", "offset"), [("UTC0", "+0000"), ("XXX-5:30", "+0530"), ("YYY3:30", "-0330")])
def test_the_time_is_local_and_says_so(zone: str, offset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    try:
        time.tzset()
        line = format_record(Record(1_700_000_000.0, "", "", 200, 0, "", ""))
        at = time.strftime("%H:%M:%S", time.localtime(1_700_000_000))
        assert f":{at} {offset}]" in line
        assert re.search(r"\[1[45]/Nov/2023:", line)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ['" 200 1 "', "a\\x", "\x1b[2J", "line\nnext", "caf\xe9", "\x00\x7f\x9f"])
def test_a_client_writes_no_lines_quotes_or_codes(text: str) -> None:
    line = format_record(Record(0.0, "h", text, 400, 1, text, text))
    assert line.isascii()
    assert line.isprintable()
    found = LINE.fullmatch(line)
    assert found is not None
    for group in (found[2], found[5], found[6]):
        assert re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), group) == text


class Stream(io.StringIO):
    """Takes lines while ``error`` is None."""

    error: Exception | None = None

    def write(self, text: str) -> int:
        if self.error is not None:
            raise self.error
        return super().write(text)


def test_a_log_that_cannot_be_written_says_so_once_and_goes_on_when_it_can_be() -> None:
    said: list[str] = []
    logs = ErrorLog(lambda level, text: said.append(text))
    stream = Stream()
    log = AccessLog(logs, stream)
    record = Record(0.0, "", "", 200, 0, "", "")
    stream.error = OSError(errno.ENOSPC, "the disk is full")
    log._write([record])
    log._write([record, record])
    stream.error = None
    log._write([record])
    log._write([record])
    assert stream.getvalue().count("\n") == 2
    stream.error = BrokenPipeError("nobody reads")
    log._write([record])
    log.stop()
    logs.stop()
    assert said == [
        "the access log cannot be written; its lines are dropped until it can be: [Errno 28] the disk is full",
        "3 access log lines were dropped: the access log could not be written",
        "the access log cannot be written; its lines are dropped until it can be: nobody reads",
        "1 access log lines were dropped: the access log could not be written",
    ]


def test_a_log_that_hangs_is_left_behind_with_a_word() -> None:
    said: list[str] = []
    begun, gate = threading.Event(), threading.Event()

    class Hanging(io.StringIO):
        def write(self, text: str) -> int:
            begun.set()
            gate.wait()
            return super().write(text)

    logs = ErrorLog(lambda level, text: said.append(text))
    log = AccessLog(logs, Hanging())
    record = Record(0.0, "", "", 200, 0, "", "")
    log.start()
    log.put(record)
    assert begun.wait(60)
    log.put(record)
    log.stop(0)
    logs.stop()
    gate.set()
    assert said == ["the access log hangs; more than 1 lines are lost"]


def test_a_program_without_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    log = AccessLog(ErrorLog())
    log.put(Record(0.0, "", "", 200, 0, "", ""))
    log.start()
    log.stop()


def test_the_log_writes_everything_before_it_stops() -> None:
    stream = io.StringIO()
    log = AccessLog(ErrorLog(), stream)
    log.start()
    for number in range(1000):
        log.put(Record(0.0, "", f"GET /{number} HTTP/1.1", 200, 0, "", ""))
    log.stop(60)
    lines = stream.getvalue().splitlines()
    assert [f"GET /{number} " in line for number, line in enumerate(lines)] == [True] * 1000


def test_the_date_is_made_once_a_second_and_follows_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [784111777.2]
    monkeypatch.setattr("reserve.apps.http.context.time.time", lambda: now[0])
    cache = DateCache()
    first = cache.line()
    assert first == b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    now[0] += 0.7
    assert cache.line() is first
    now[0] += 0.2
    assert cache.line() == b"Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"
    now[0] -= 3600
    assert cache.line() == b"Date: Sun, 06 Nov 1994 07:49:38 GMT\r\n"


def test_the_server_line() -> None:
    for header, expected in (("reserve", "reserve"), ("x/1", "x/1"), ("", None)):
        client = MemoryClient(hello, HTTPSettings(server_header=header))
        assert split(client.send(request()))[0].fields.get("server") == expected
        client.close()
