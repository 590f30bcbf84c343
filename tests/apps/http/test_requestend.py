"""The hook ``on_request_end``: for which requests it is called, with what, and what it cannot do."""

from __future__ import annotations

import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.engine.hooks import Hooks, RequestEnd
from reserve.testing import running
from tests.apps.cgi.protocols import Protocol, each_protocol
from tests.apps.http.doubles import QUIET, STREAM, Gate, hello, returning
from tests.apps.http.responses import fetch, receive, request
from tests.clients import until_closed
from tests.waiting import PATIENCE, eventually

Ends = SimpleQueue[tuple[str, RequestEnd]]


def hooks_to(ends: Ends, lines: list[str] | None = None) -> Hooks:
    """Hooks that keep the thread and the value of each call."""

    def end(one: RequestEnd) -> None:
        ends.put((threading.current_thread().name, one))

    return Hooks(on_request_end=end, error_log=lambda level, text: [] if lines is None else lines.append(text))


@pytest.mark.parametrize("settings", [QUIET, STREAM, HTTPSettings(access_log=True)])
def test_it_is_called_on_the_worker_with_what_the_request_was(settings: HTTPSettings) -> None:
    ends: Ends = SimpleQueue()
    with running(hello, http=settings, hooks=hooks_to(ends), threads=1) as served:
        raw = request("POST", "/a?b=%20", "Content-Length: 3", "Referer: /r", "User-Agent: agent") + b"abc"
        with served.connect() as client:
            for _ in range(2):  # the connection goes on
                client.sendall(raw)
                assert receive(client).text == "hello abc"
        for _ in range(2):
            thread, end = ends.get(timeout=PATIENCE)
            assert thread.startswith("reserve-worker-")
            assert end[1:7] == ("127.0.0.1", "POST", "/a?b=%20", "HTTP/1.1", 200, 9)
            assert 0 < end.seconds < PATIENCE
            assert end.timestamp > 1e9
            assert (end.referer, end.user_agent) == ("/r", "agent")
    assert ends.empty()


@each_protocol
def test_it_is_called_behind_a_web_server_with_the_client_that_this_tells(protocol: Protocol) -> None:
    ends: Ends = SimpleQueue()
    with running(protocol.app(hello), hooks=hooks_to(ends)) as served:
        assert protocol.read(served.exchange(protocol.request("/x"))).status == 200
        _, end = ends.get(timeout=PATIENCE)
    assert (end.client, end.target, end.status, end.bytes_sent) == ("192.0.2.7", "/x", 200, 6)


def test_a_failed_application_counts() -> None:
    ends: Ends = SimpleQueue()

    def app(environ: Any, start_response: Any) -> Any:
        raise ValueError

    with running(app, hooks=hooks_to(ends)) as served:
        assert fetch(served).status == 500
        assert ends.get(timeout=PATIENCE)[1].status == 500


def test_what_no_application_has_responded_to_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("file")
    settings = HTTPSettings(access_log=False, health_path="/health", static=(f"/static={tmp_path}",))
    ends: Ends = SimpleQueue()
    with running(hello, http=settings, hooks=hooks_to(ends), threads=1) as served:
        assert fetch(served, request("GET", "/health")).status == 200
        assert fetch(served, request("GET", "/static/file.txt")).text == "file"
        assert fetch(served, request("GET", "/static/absent.txt")).status == 404
        assert b" 400 " in served.exchange(b"nonsense\r\n\r\n")
        assert fetch(served, request("GET", "/app")).status == 200
        assert ends.get(timeout=PATIENCE)[1].target == "/app"
    assert ends.empty()


def test_a_hook_that_fails_is_logged_and_its_worker_goes_on() -> None:
    lines: list[str] = []

    def end(one: RequestEnd) -> None:
        raise SystemExit(1)

    hooks = Hooks(on_request_end=end, error_log=lambda level, text: lines.append(text))
    with running(returning("200 OK", [], b"served"), http=QUIET, hooks=hooks, threads=1) as served:
        for _ in range(3):
            assert fetch(served).text == "served"
        eventually(lambda: bool(lines))
        assert served.server.stats().threads == 1
    assert lines[0].startswith("the hook on_request_end failed\nTraceback")


def test_a_hook_that_blocks_holds_its_thread_and_not_its_connection() -> None:
    gate, begun = threading.Event(), threading.Event()

    def end(one: RequestEnd) -> None:
        if one.target == "/blocks":
            begun.set()
            gate.wait(PATIENCE)

    with running(hello, http=QUIET, hooks=Hooks(on_request_end=end), threads=2) as served, served.connect() as client:
        try:
            client.sendall(request("GET", "/blocks"))
            assert receive(client).text == "hello "
            assert begun.wait(PATIENCE)
            client.sendall(request("GET", "/other"))
            assert receive(client).text == "hello "
        finally:
            gate.set()


def test_a_connection_that_the_application_takes_over_counts_at_its_end() -> None:
    ends: Ends = SimpleQueue()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        sock = environ["reserve.socket"]
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        sock.sendall(sock.recv(5))
        return []

    with running(app, http=QUIET, hooks=hooks_to(ends), threads=1) as served, served.connect() as client:
        client.sendall(request("GET", "/", "Connection: Upgrade", "Upgrade: echo") + b"hello")
        client.settimeout(PATIENCE)
        assert until_closed(client)[0].endswith(b"\r\n\r\nhello")
        _, end = ends.get(timeout=PATIENCE)
    assert (end.status, end.target) == (101, "/")


def test_a_request_that_the_request_timeout_has_ended_does_not_count() -> None:
    ends: Ends = SimpleQueue()
    gate = Gate()
    with running(gate, http=QUIET, hooks=hooks_to(ends), threads=2, request_timeout=0.2) as served:
        try:
            assert fetch(served, request("GET", "/wait")).status == 503
        finally:
            gate.release()
        assert fetch(served, request("GET", "/other")).status == 200
        assert ends.get(timeout=PATIENCE)[1].target == "/other"
    assert ends.empty()
