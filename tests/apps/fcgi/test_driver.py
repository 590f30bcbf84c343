"""What FastCGI has beyond SCGI and uwsgi, in memory: kept connections, wsgi.errors, aborted requests, other records.

What the protocols have in common is in ``tests/apps/cgi``.
"""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from reserve.apps.fcgi.app import FastCGIApp
from reserve.apps.http.settings import HTTPSettings
from reserve.gateways.wsgi import WSGIGateway
from reserve.protocol.fastcgi.records import ABORT_REQUEST, GET_VALUES, GET_VALUES_RESULT, STDIN
from reserve.testing import MemoryClient
from tests.apps.http.doubles import QUIET, STREAM, Recorder, hello
from tests.protocol.fastcgi.messages import begin, head, outcome, pairs, raw, records, request, stream


def client_of(app: Any, settings: HTTPSettings = QUIET) -> MemoryClient:
    return MemoryClient(FastCGIApp(WSGIGateway(app), settings))


@pytest.mark.parametrize("settings", [QUIET, STREAM])
def test_a_connection_is_kept_when_the_web_server_wants_it(settings: HTTPSettings) -> None:
    client = client_of(hello, settings)
    for number in range(1, 5):
        sent = request(b"body" * number, number) if number % 2 else request(None, number)
        expected = b"hello " + b"body" * number * (number % 2)
        assert outcome(client.send(sent), number).stdout.endswith(expected)
        assert not client.closed
    assert outcome(client.send(request(keep=False))).stdout.endswith(b"hello ")
    assert client.closed


def test_pipelined_requests_are_served_one_after_another() -> None:
    app = Recorder()
    client = client_of(app)
    received = client.send(
        b"".join(request(number=number, REQUEST_URI=f"/{number}", SCRIPT_NAME="") for number in (1, 2, 3))
    )
    assert app.paths == ["/1", "/2", "/3"]
    assert [item.number for item in records(received) if item.kind == 3] == [1, 2, 3]


def test_a_kept_connection_is_closed_when_it_is_idle_for_too_long_and_at_a_stop() -> None:
    idle = client_of(hello)
    idle.send(request())
    idle.send(raw(STDIN, 9, b"late"))  # keeps nothing alive
    idle.advance(QUIET.keep_alive + 1)
    assert idle.closed
    stopped = client_of(hello)
    stopped.send(request())
    assert stopped.stop() == b""
    assert stopped.closed
    never = client_of(hello, HTTPSettings(access_log=False, keep_alive=0))
    assert outcome(never.send(request())).stdout.endswith(b"hello ")
    assert never.closed


def test_values_are_those_of_the_server() -> None:
    client = client_of(hello)
    asked = raw(GET_VALUES, 0, pairs([("FCGI_MAX_CONNS", ""), ("FCGI_MPXS_CONNS", "")]))
    (item,) = records(client.send(asked))
    assert item.kind == GET_VALUES_RESULT
    client.send(request()[:20])
    assert records(client.send(request()[20:] + asked))[-1].kind == GET_VALUES_RESULT


def test_a_second_request_does_not_disturb_the_first_one() -> None:
    client = client_of(hello)
    body = head(REQUEST_METHOD="POST", CONTENT_LENGTH="4") + raw(STDIN, 1, b"bo")
    assert client.send(body) == b""
    assert records(client.send(begin(2) + stream(STDIN, b"x", 2)))[0].content[4] == 1
    assert outcome(client.send(raw(STDIN, 1, b"dy") + raw(STDIN))).stdout.endswith(b"hello body")


def test_an_aborted_head_or_body_never_reaches_the_application() -> None:
    app = Recorder()
    for sent in (begin(), head(), head(CONTENT_LENGTH="9")):
        client = client_of(app)
        client.send(sent)
        client.send(raw(ABORT_REQUEST, 1))
        assert client.log == []
    assert app.environs == []


@pytest.mark.parametrize("make", [list, iter])
def test_the_end_of_a_request_leaves_with_the_last_part_of_its_response(make: Any) -> None:
    """A web server opens another connection for a request that comes before this end."""

    def app(environ: Any, start_response: Any) -> Any:
        print("told", file=environ["wsgi.errors"])
        start_response("200 OK", [("Content-Length", "5")])
        return make([b"hello"])

    client = client_of(app)
    sent: list[bytes] = []

    def send(data: bytes) -> int:
        sent.append(bytes(data))
        return len(data)

    client._connection.sender = SimpleNamespace(send=send)
    client.send(request())
    assert [outcome(data) for data in sent] == [(b"Status: 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"told\n", 0, 0)]


def test_an_application_that_fails_after_its_whole_response_changes_nothing_of_it() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "5")])
        yield b"hello"
        raise ValueError("no")

    client = client_of(app)
    assert outcome(client.send(request())).stdout.endswith(b"hello")
    assert client.closed
    assert len(client.log) == 1


# ---- while the application runs ----


@pytest.mark.parametrize("settings", [QUIET, STREAM])
@pytest.mark.parametrize("body", [None, b"body"])
def test_an_application_finds_out_that_its_request_is_aborted(body: bytes | None, settings: HTTPSettings) -> None:
    found: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        found.append(environ["reserve.client_disconnected"])
        found.append(found[0]())
        start_response("200 OK", [])
        return [b"done"]

    client = client_of(app, settings)
    response = client.send(request(body) + raw(ABORT_REQUEST, 1))
    assert found[1] is True
    assert b"done" in response
    assert found[0]() is False  # the request is over
    found.clear()
    client = client_of(app, settings)
    client.send(request(body) + raw(ABORT_REQUEST, 2))
    assert found[1] is False


def test_a_request_that_is_aborted_later_is_found_in_the_socket() -> None:
    found: list[bool] = []

    def app(environ: Any, start_response: Any) -> Any:
        client.socket.incoming += raw(GET_VALUES, 0) + raw(ABORT_REQUEST, 1)[:5]
        found.append(environ["reserve.client_disconnected"]())
        client.socket.incoming += raw(ABORT_REQUEST, 1)[5:]
        found.append(environ["reserve.client_disconnected"]())
        start_response("200 OK", [])
        return [b"done"]

    client = client_of(app)
    client.send(request())
    assert found == [False, True]


@pytest.mark.parametrize("piece", [b"", b"more"])
def test_the_response_to_an_aborted_request_ends(piece: bytes) -> None:
    closed: list[int] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        try:
            yield b"begin"
            for number in range(1000):
                closed[:] = [number]
                client.clock.advance(0.3)
                if number == 5:
                    client.socket.incoming += raw(ABORT_REQUEST, 1)
                yield piece
        finally:
            closed.append(-1)

    client = client_of(app)
    client.send(request())
    assert closed in ([8, -1], [9, -1], [10, -1])
    assert client.closed
    assert client.log == []


# ---- wsgi.errors ----


def test_errors_go_to_the_web_server(capsys: pytest.CaptureFixture[str]) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        errors = environ["wsgi.errors"]
        errors.write("before ")
        errors.writelines(["the head\n", "caf\xe9 \udc80\n"])
        start_response("200 OK", [])
        yield b"a"
        print("between", file=errors)
        yield b"b"
        errors.write("without a line end")

    client = client_of(app)
    received = outcome(client.send(request()))
    assert received.stdout.endswith(b"ab")
    assert received.stderr == "before the head\ncafé \\udc80\nbetween\nwithout a line end\n".encode()
    assert outcome(client.send(request(REQUEST_METHOD="HEAD"))).stderr.startswith(b"before the head\n")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "200 OK"])
def test_errors_come_with_a_response_without_a_body(status: str) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        environ["wsgi.errors"].write("told")
        start_response(status, [])
        return []

    received = outcome(client_of(app).send(request()))
    assert received.stderr == b"told\n"
    assert received.stdout.startswith(b"Status: " + status.encode())


def test_errors_of_an_application_that_fails_come_with_the_refusal() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        print("why", file=environ["wsgi.errors"])
        raise ValueError("no")

    client = client_of(app)
    received = outcome(client.send(request()))
    assert received.stdout.startswith(b"Status: 500 ")
    assert received.stderr == b"why\n"


@pytest.mark.parametrize("settings", [QUIET, STREAM])
@pytest.mark.parametrize("body", [None, b"body"])
def test_a_connection_is_kept_after_an_application_that_fails(body: bytes | None, settings: HTTPSettings) -> None:
    """Nothing in the response could say that it is closed, and the web server may have sent the next request."""

    def app(environ: Any, start_response: Any) -> Any:
        raise ValueError("no")

    client = client_of(app, settings)
    for number in (1, 2):
        assert outcome(client.send(request(body, number)), number).stdout.startswith(b"Status: 500 ")
        if body and settings is STREAM:  # the application has not read it
            assert client.closed
            return
        assert not client.closed
    assert outcome(client.send(request(body, 3, keep=False)), 3).stdout.startswith(b"Status: 500 ")
    assert client.closed


def test_a_large_error_is_sent_in_records(capsys: pytest.CaptureFixture[str]) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        for _ in range(3):
            environ["wsgi.errors"].write("x" * 39_999 + "\n")
            yield b"a"
        environ["wsgi.errors"].write(("y" * 39_999 + "\n") * 2)  # more than waits for a response

    received = outcome(client_of(app).send(request()))
    assert len(received.stderr) == 120_000
    assert received.stdout.endswith(b"aaa")
    assert capsys.readouterr().err == ("y" * 39_999 + "\n") * 2


def test_what_is_written_too_late_goes_to_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    kept: list[Any] = []

    class Body(list[bytes]):
        def close(self) -> None:
            print("in close()", file=kept[0])

    def app(environ: Any, start_response: Any) -> Any:
        kept[:] = [environ["wsgi.errors"]]
        start_response("200 OK", [])
        return Body([b"a"])

    client = client_of(app)
    assert outcome(client.send(request())).stderr == b""
    print("after the request", file=kept[0])
    thread = threading.Thread(target=lambda: print("on a thread", file=kept[0]))
    thread.start()
    thread.join()
    assert outcome(client.send(request())).stderr == b""
    assert capsys.readouterr().err.splitlines() == ["in close()", "after the request", "on a thread", "in close()"]


def test_errors_of_a_request_without_a_response_are_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        print("told", file=environ["wsgi.errors"])
        return environ["wsgi.input"].read()

    client = client_of(app, STREAM)
    client.send(head(CONTENT_LENGTH="9") + raw(STDIN, 1, b"half") + raw(ABORT_REQUEST, 1))
    assert capsys.readouterr().err == "told\n"
    assert client.closed


def test_errors_may_replace_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        monkeypatch.setattr(sys, "stderr", environ["wsgi.errors"])
        print("told", file=sys.stderr)
        start_response("200 OK", [])
        return []

    client = client_of(app)
    assert [outcome(client.send(request())).stderr for _ in range(2)] == [b"told\n"] * 2


# ---- what breaks the framing before there is a request ----


@pytest.mark.parametrize(
    ("frame", "line"),
    [
        (b"GET / HTTP/1.1\r\n", "400 a record has version 71 and not 1; HTTP is reserve app http"),
        (b"\x16\x03\x01", "400 a TLS handshake arrived on a port that speaks FastCGI without TLS"),
        (raw(STDIN, 0, b"a"), "400 STDIN has request id 0"),
        (raw(6, 1), "400 STDOUT is not for applications"),
        (begin(0), "400 BEGIN_REQUEST has request id 0"),
        (raw(GET_VALUES, 0, b"\1"), "400 the last name or value is not complete"),
        (raw(99, 0) * 101, "400 more than 100 management records"),
        (begin(keep=False, role=3), "501 the role 3 is not implemented, only that of responders, 1"),
    ],
)
def test_the_connection_is_closed_with_one_line(frame: bytes, line: str) -> None:
    client = client_of(hello)
    client.send(frame)
    assert client.closed
    assert len(client.log) == 1
    assert client.log[0].startswith(f"127.0.0.1:50000: {line}")


def test_an_overloaded_server_closes_a_connection_without_a_request() -> None:
    client = client_of(hello)
    assert client._driver.refuse("overload") is None
