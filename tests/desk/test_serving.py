"""``serve_http``: a program on the calling thread, its browser, and its end."""

from __future__ import annotations

import contextlib
import http.client
import logging
import re
import socket
import sqlite3
import sys
import threading
import webbrowser
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import pytest

from reserve.errors import StartupError, UsageError
from tests.engine.programs import run_program
from tests.extras import library
from tests.waiting import PATIENCE

library("python_multipart")
library("markupsafe")
library("itsdangerous")

from reserve.desk import Application, Response, Router, serve_http  # noqa: E402
from reserve.desk import serving as serving_module  # noqa: E402


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> SimpleQueue[str]:
    """The addresses that the browser was opened with."""
    queue: SimpleQueue[str] = SimpleQueue()

    def open_browser(url: str) -> bool:
        queue.put(url)
        return True

    monkeypatch.setattr(webbrowser, "open", open_browser)
    return queue


@pytest.fixture
def app() -> Iterator[Router]:
    """A program with a connection to a database, which only the thread of the test may use."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table visits (thread text)")
        yield make_app(connection)


def make_app(connection: sqlite3.Connection) -> Router:
    app = Router()

    @app.function("/")
    def home() -> Any:
        connection.execute("insert into visits values (?)", (threading.current_thread().name,))
        return (name for (name,) in connection.execute("select thread from visits"))

    @app.function("/fail")
    def fail() -> Any:
        raise ValueError("the secret")

    @app.function("/exit")
    def leave() -> Any:
        sys.exit("gone")

    @app.function("/bye")
    def bye() -> Response:
        connection.close()
        return Response("b" * 3_000_000, shut_down=True)

    return app


class Client(threading.Thread):
    """Visits paths of the program at ``url`` on one connection, and then /bye. ``responses`` has status and body."""

    def __init__(self, opened: SimpleQueue[str], *paths: str, last: str = "/bye", host: str = "") -> None:
        super().__init__(daemon=True)
        self._opened = opened
        self._paths = paths
        self._last = last
        self._host = host
        self.url = ""
        self.responses: list[tuple[int, str]] = []

    def run(self) -> None:
        self.url = self._opened.get(timeout=PATIENCE)
        match = re.match(r"http://(\[.+\]|[^:/]+):([0-9]+)/", self.url)
        assert match
        idle = [socket.create_connection((match[1].strip("[]"), int(match[2]))) for _ in range(8)]
        connection = http.client.HTTPConnection(match[1].strip("[]"), int(match[2]), timeout=PATIENCE)
        for path in (*self._paths, self._last):
            connection.request("GET", path, headers={"Host": self._host} if self._host else {})
            response = connection.getresponse()
            self.responses.append((response.status, response.read().decode()))
        connection.close()
        for one in idle:
            one.close()


def test_handlers_run_on_the_calling_thread_and_a_response_with_shut_down_ends_it_after_its_last_byte(
    app: Router, opened: SimpleQueue[str], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "reserve.desk")
    client = Client(opened, "/", "/", "/fail")
    client.start()
    serve_http(app, port=0, start="/tasks/new")
    print("after the loop")
    client.join(PATIENCE)
    assert client.responses[:2] == [(200, "MainThread"), (200, "MainThreadMainThread")]
    assert client.responses[2][0] == 500
    assert "the secret" in client.responses[2][1], "debug is on for an address of this machine"
    assert client.responses[3] == (200, "b" * 3_000_000)
    address = client.url.removesuffix("tasks/new")
    assert client.url == f"{address}tasks/new"
    output = capsys.readouterr().out
    assert output.startswith(address)
    assert output.endswith("after the loop\n")
    assert f"serving at {address}" in caplog.messages


def test_it_works_on_another_thread(opened: SimpleQueue[str]) -> None:
    client = Client(opened)
    client.start()
    thread = threading.Thread(target=lambda: serve_http(lambda request: Response("x", shut_down=True), port=0))
    thread.start()
    client.join(PATIENCE)
    thread.join(PATIENCE)
    assert client.responses == [(200, "x")]
    assert not thread.is_alive()


def test_sys_exit_in_a_handler_ends_the_program(app: Router, opened: SimpleQueue[str]) -> None:
    client = Client(opened, last="/exit")
    client.start()
    with pytest.raises(SystemExit, match="gone"):
        serve_http(app, port=0)
    client.join(PATIENCE)
    assert client.responses[0][0] == 500


def test_hosts_and_debug(app: Router, opened: SimpleQueue[str]) -> None:
    client = Client(opened, "/", "/fail", host="desk.example.org")
    client.start()
    serve_http(app, port=0, hosts=["desk.example.org"], debug=False)
    client.join(PATIENCE)
    assert [status for status, _ in client.responses] == [200, 500, 200]
    assert "the secret" not in client.responses[1][1]


@pytest.mark.parametrize("failure", ["false", "error"])
def test_a_browser_that_cannot_be_opened_is_one_line_in_the_log(
    app: Router, failure: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened: SimpleQueue[str] = SimpleQueue()

    def open_browser(url: str) -> bool:
        opened.put(url)
        if failure == "error":
            raise webbrowser.Error("no display")
        return False

    monkeypatch.setattr(webbrowser, "open", open_browser)
    client = Client(opened)
    client.start()
    serve_http(app, port=0)
    client.join(PATIENCE)
    for thread in threading.enumerate():
        if thread.name == "reserve-browser":
            thread.join(PATIENCE)
    (line,) = [message for message in caplog.messages if "browser" in message]
    assert client.url in line
    assert ("no display" in line) == (failure == "error")


def test_without_start_no_browser_is_opened(
    app: Router, opened: SimpleQueue[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    addresses: SimpleQueue[str] = SimpleQueue()
    monkeypatch.setattr(serving_module, "_print", lambda line: addresses.put(line.split()[0]))
    client = Client(addresses)
    client.start()
    serve_http(app, port=0, start=None)
    client.join(PATIENCE)
    assert client.responses[-1][0] == 200
    assert opened.empty()


def test_a_port_in_use_is_an_error_that_names_it_and_opens_no_browser(app: Router, opened: SimpleQueue[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StartupError, match=rf"port {port} is in use .*or 0"):
            serve_http(app, port=port)
    assert opened.empty()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused_by_the_name_that_the_program_knows(
    chunked: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    addresses: SimpleQueue[str] = SimpleQueue()
    monkeypatch.setattr(serving_module, "_print", lambda line: addresses.put(line.split()[0]))
    pages: list[tuple[int, str]] = []

    def visit() -> None:
        port = urlsplit(addresses.get(timeout=PATIENCE)).port
        for body in (iter([b"x" * 11]) if chunked else b"x" * 11), b"":
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
                connection.request("POST", "/", body, encode_chunked=chunked)
                response = connection.getresponse()
                pages.append((response.status, response.read().decode()))

    client = threading.Thread(target=visit)
    client.start()
    serve_http(lambda request: Response("gone", shut_down=True), port=0, start=None, max_body=10)
    client.join(PATIENCE)
    assert pages[0][0] == 413
    assert pages[1] == (200, "gone")
    (line,) = [message for message in caplog.messages if "413" in message]
    for text in (pages[0][1], line):
        assert "10 bytes (max_body)" in text
        assert "--" not in text


def test_what_cannot_be_served_is_an_error(app: Router) -> None:
    with pytest.raises(TypeError, match="the handle itself"):
        serve_http(Application(app), port=0)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        serve_http("router", port=0)  # type: ignore[arg-type]
    with serving_module.refusing_calls("not now"), pytest.raises(UsageError, match="not now"):
        serve_http(app, port=0)


@pytest.mark.parametrize("stdout", [None, "closed"])
def test_a_program_without_a_console_is_served(
    app: Router, opened: SimpleQueue[str], stdout: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(opened)
    client.start()
    if stdout is None:
        monkeypatch.setattr(sys, "stdout", None)
    else:
        stream = open("/dev/null", "w")  # noqa: SIM115
        stream.close()
        monkeypatch.setattr(sys, "stdout", stream)
    serve_http(app, port=0)
    client.join(PATIENCE)
    assert client.responses[-1][0] == 200


def test_ctrl_c_is_raised_from_serve_http_after_the_requests() -> None:
    program = """
import logging, os, signal, threading, urllib.request, webbrowser
from reserve.desk import Router, serve_http
logging.disable()
app = Router()
@app.function("/")
def home():
    os.kill(os.getpid(), signal.SIGINT)
    return "home"
def visit(url):
    try:
        print(urllib.request.urlopen(url).read())
    except urllib.error.HTTPError as error:
        with error:  # from CPython 3.14 on it warns when nobody closes it
            print(error.code)
    return True
webbrowser.open = visit
import reserve.desk.serving as serving
serving._print = lambda line: None
try:
    serve_http(app, port=0)
except KeyboardInterrupt:
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join()
    print("interrupted", threading.active_count())
"""
    assert run_program(program) == "500\ninterrupted 1\n"


@pytest.fixture(autouse=True)
def _no_browser_threads() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "reserve-browser":
            thread.join(PATIENCE)


def test_what_a_client_does_not_finish_delays_the_end_only_for_a_while(
    monkeypatch: pytest.MonkeyPatch, opened: SimpleQueue[str]
) -> None:
    monkeypatch.setattr(serving_module, "_STOP_TIMEOUT", 0.0)
    handle = lambda request: Response("gone", shut_down=True)  # noqa: E731
    thread = threading.Thread(target=serve_http, args=(handle,), kwargs={"port": 0}, daemon=True)
    thread.start()
    url = opened.get(timeout=PATIENCE)
    port = int(url.rpartition(":")[2].partition("/")[0])
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
            connection.request("GET", "/bye")
            assert connection.getresponse().status == 200
        thread.join(PATIENCE)
        assert not thread.is_alive()
