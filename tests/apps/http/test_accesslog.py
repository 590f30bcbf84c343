"""The access log: what its lines say, and what happens while it cannot be written."""

from __future__ import annotations

import errno
import io
import re
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.apps._accesslog.log import MAX_FIELD, AccessLog, Record, format_record
from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.connections.driver import RUN
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.poller import READ
from reserve.gateways.wsgi import WSGIGateway
from reserve.protocol.http1.limits import Limits
from reserve.testing import FakeClock, MemoryClient, MemorySocket
from reserve.testing.memoryserver import MemoryConnection, MemoryServer
from tests.apps.http.doubles import STREAM, hello
from tests.apps.http.responses import request
from tests.streams import BlockedStream, FailingStream
from tests.waiting import PATIENCE

LINE = re.compile(
    r'(\S+) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "([^"]*)" (\d{3}) (\d+|-) "([^"]*)" "([^"]*)"'
)


def logged(app: Any, raw: bytes, settings: HTTPSettings | None = None) -> list[Record]:
    """The records of the requests in ``raw``."""
    records: list[tuple[Any, ...]] = []
    http = HTTPApp(WSGIGateway(app), settings)
    http.access_log = cast(AccessLog, SimpleNamespace(put=records.append))
    client = MemoryClient(http)
    client.send(raw)
    client.close()
    assert {type(record) for record in records} <= {tuple}
    return [Record._make(record) for record in records]


def test_one_record_for_each_request() -> None:
    raw = request("GET", "/a%20b?c", "Referer: http://r/", "User-Agent: me") + request("HEAD", minor=0)
    records = logged(hello, raw)
    assert [record[2:] for record in records] == [
        ("GET", "/a%20b?c", "HTTP/1.1", 200, 6, "http://r/", "me"),
        ("HEAD", "/", "HTTP/1.0", 200, 0, "", ""),
    ]
    assert {record.host for record in records} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("raw", "line", "status"),
    [
        (b"GET /x HTTP/1.1\r\n\r\n", "GET /x HTTP/1.1", 400),
        (b"nonsense\r\n\r\n", "nonsense", 400),
        (b"\x16\x03", "-", 400),
        (b"GET /" + b"a" * 9000, f"GET /{'a' * 1019}...", 414),
        (b"A" * 9000, f"{'A' * 1024}...", 501),
        (b"GET /x\x00", "GET /x\x00", 400),
        (b"GET /x HTTP/1.1\nAuthorization: secret", "GET /x HTTP/1.1", 400),
        (request("POST", "/big", body=b"x" * 11), "POST /big HTTP/1.1", 413),
        (request("POST", "/big", body=b"x" * 11, chunks=3), "POST /big HTTP/1.1", 413),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_refused_requests_are_logged(raw: bytes, line: str, status: int, stream: bool) -> None:
    settings = HTTPSettings(limits=Limits(max_body=10, max_request_line=4000), stream_bodies=stream)
    (record,) = logged(hello, raw, settings)
    assert (record.request, record.status) == (line, status)
    assert record.bytes_sent > 0


def test_failures_of_the_application_are_logged() -> None:
    def fails(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/half":
            yield b"half"
        raise ValueError

    for path, status in (("/half", 200), ("/", 500)):
        (record,) = logged(fails, request("GET", path))
        assert (record.status, record.bytes_sent > 0) == (status, True)


def test_a_client_that_disconnected_before_the_response_is_a_499() -> None:
    (record,) = logged(hello, request("POST", body=b"12345")[:-1], STREAM)
    assert (record.status, record.bytes_sent) == (499, 0)


@pytest.mark.parametrize("settings", [None, STREAM])
def test_a_client_that_reset_while_its_request_waited_for_a_worker_is_a_499(settings: HTTPSettings | None) -> None:
    records: list[Record] = []
    http = HTTPApp(WSGIGateway(hello), settings)
    http.access_log = cast(AccessLog, SimpleNamespace(put=records.append))
    server = MemoryServer(FakeClock())
    connection = MemoryConnection(server, cast(Any, MemorySocket()), ("127.0.0.1", 50000))
    connection.driver = http.make_driver(connection)
    connection.sock.incoming += request("GET", "/lost")  # type: ignore[attr-defined]
    assert connection.driver.step(READ, 0.0) is RUN
    assert connection.driver.refuse("lost") is None
    assert [record[2:7] for record in records] == [("GET", "/lost", "HTTP/1.1", 499, 0)]


def test_an_environ_that_the_application_has_changed_does_not_change_the_record() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        environ["REMOTE_ADDR"] = '1.2.3.4" 200 forged'
        environ["HTTP_USER_AGENT"] = None
        environ.clear()
        start_response("200 OK", [])
        return []

    (record,) = logged(app, request("GET", "/", "User-Agent: me"))
    assert (record.host, record.user_agent) == ("127.0.0.1", "me")


def test_lines_are_in_the_combined_format() -> None:
    record = Record(1_700_000_000.9, "10.0.0.1", "GET", "/", "HTTP/1.1", 200, 5, "http://r/", "agent/1")
    match = LINE.fullmatch(format_record(record))
    assert match is not None
    assert match.groups() == ("10.0.0.1", "GET / HTTP/1.1", "200", "5", "http://r/", "agent/1")
    assert format_record(record._replace(host="", bytes_sent=0, referer="", user_agent="")).endswith('" 200 - "-" "-"')
    assert format_record(record._replace(host="")).startswith("- - - [")


@pytest.mark.parametrize(("zone", "offset"), [("UTC0", "+0000"), ("XXX-5:30", "+0530"), ("YYY3:30", "-0330")])
def test_the_time_is_local_with_its_offset(zone: str, offset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    try:
        time.tzset()
        line = format_record(Record(1_700_000_000.0, "", "", "", "", 200, 0, "", ""))
        at = time.strftime("%H:%M:%S", time.localtime(1_700_000_000))
        assert f":{at} {offset}]" in line
        assert re.search(r"\[1[45]/Nov/2023:", line)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ['" 200 1 "', "a\\x", "\x1b[2J", "line\nnext", "caf\xe9", "\x00\x7f\x9f"])
def test_a_client_cannot_write_line_ends_quotes_or_terminal_codes(text: str) -> None:
    line = format_record(Record(0.0, "h", "", text, "", 400, 1, text, text))
    assert line.isascii()
    assert line.isprintable()
    fields = LINE.fullmatch(line)
    assert fields is not None
    for group in (fields[2], fields[5], fields[6]):
        assert re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), group) == text


def test_a_log_that_cannot_be_written_reports_that_once_and_goes_on_when_it_can_be() -> None:
    messages: list[str] = []
    error_log = ErrorLog(lambda level, text: messages.append(text))
    stream = FailingStream()
    log = AccessLog(error_log, stream)
    record = Record(0.0, "", "", "", "", 200, 0, "", "")
    stream.error = OSError(errno.ENOSPC, "the disk is full")
    log._write([record])
    log._write([record, record])
    stream.error = None
    log._write([record])
    log._write([record])
    assert stream.getvalue().count("\n") == 2
    stream.error = BrokenPipeError("no process reads")
    log._write([record])
    log.stop()
    error_log.stop()
    assert messages == [
        "the access log cannot be written; its lines are dropped until it can be: [Errno 28] the disk is full",
        "3 access log lines were dropped: the access log could not be written",
        "the access log cannot be written; its lines are dropped until it can be: no process reads",
        "1 access log lines were dropped: the access log could not be written",
    ]


def test_a_log_that_is_blocked_does_not_delay_the_stop_and_is_reported() -> None:
    messages: list[str] = []
    stream = BlockedStream()
    error_log = ErrorLog(lambda level, text: messages.append(text))
    log = AccessLog(error_log, stream)
    record = Record(0.0, "", "", "", "", 200, 0, "", "")
    log.start()
    log.put(record)
    assert stream.writing.wait(PATIENCE)
    log.put(record)
    log.stop(0)
    error_log.stop()
    stream.unblock.set()
    assert messages == ["the access log hangs; more than 1 lines are lost"]


def test_a_program_without_standard_output_has_no_access_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    log = AccessLog(ErrorLog())
    log.put(Record(0.0, "", "", "", "", 200, 0, "", ""))
    log.start()
    log.stop()


def test_the_log_writes_everything_before_it_stops() -> None:
    stream = io.StringIO()
    log = AccessLog(ErrorLog(), stream)
    log.start()
    for number in range(1000):
        log.put(Record(0.0, "", "GET", f"/{number}", "HTTP/1.1", 200, 0, "", ""))
    log.stop(60)
    lines = stream.getvalue().splitlines()
    assert [f"GET /{number} " in line for number, line in enumerate(lines)] == [True] * 1000


def test_long_fields_are_cut_before_they_wait() -> None:
    raw = (
        b"GET /" + b"%22" * 3000 + b" HTTP/1.1\r\nHost: a\r\nReferer: " + b"\xff" * 9000 + b"\r\nUser-Agent: b\r\n\r\n"
    )
    [record] = logged(hello, raw)
    assert record.request == ("GET /" + "%22" * 3000)[:MAX_FIELD] + "..."
    assert record.referer == "\xff" * MAX_FIELD + "..."
    assert record.user_agent == "b"
    assert len(format_record(record)) < 5 * MAX_FIELD + 200


def test_a_line_of_the_longest_length_is_not_cut() -> None:
    target = "/" + "a" * (MAX_FIELD - len("GET / HTTP/1.1"))
    records = logged(hello, request("GET", target) + request("GET", target + "b"))
    assert [record.request for record in records] == [
        f"GET {target} HTTP/1.1",
        f"GET {target}b HTTP/1.1"[:MAX_FIELD] + "...",
    ]


def test_a_producer_may_append_records_itself() -> None:
    stream = io.StringIO()
    log = AccessLog(ErrorLog(), stream)
    log.start()
    append = log.records.append
    for number in range(1000):
        append((0.0, "", "GET", f"/{number}", "HTTP/1.1", 200, 0, "", ""))
        if log.asleep:
            log.wake()
    log.stop(60)
    assert re.findall(r"GET /(\d+) ", stream.getvalue()) == [str(number) for number in range(1000)]
    assert log.lines_dropped == 0


@given(st.text(max_size=50))
def test_escaped_text_is_printable_ascii_without_quotes(text: str) -> None:
    escaped = format_record(Record(0.0, "h", "", text, "", 200, 0, "", ""))
    field = escaped.partition('] "')[2].partition('" 200 ')[0]
    assert field == "".join(
        character
        if character in " !" or ("#" <= character <= "~" and character != "\\")
        else f"\\x{ord(character):02x}"
        for character in text
    )


def test_many_records_are_written_in_batches() -> None:
    written: list[int] = []
    log = AccessLog(ErrorLog(lambda level, text: None), io.StringIO())
    log._out = SimpleNamespace(send=lambda data, count: written.append(count) or count, error=None)  # type: ignore[assignment]
    for _ in range(600):
        log.put((0.0, "h", "GET", "/", "HTTP/1.1", 200, 1, "", ""))
    log.stop()
    assert written == [256, 256, 88]
