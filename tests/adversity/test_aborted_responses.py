"""A response without a length ends with its connection: an aborted one must not look like a complete one.

The requests are HTTP/1.0, so that only the end of the connection ends the response. Over TCP the client sees a reset
(ECONNRESET), whatever aborted the response.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.exchange import HTTPExchange
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.connections import connection as engine_connection
from tests.adversity.holding import honest, watched
from tests.apps.http.responses import request
from tests.clients import connect, until_closed
from tests.waiting import PATIENCE, eventually

HTTP = HTTPSettings(access_log=False)
LARGE = b"0123456789" * 800_000
UNTIL_CLOSE = request("GET", "/endless", minor=0)


class Endless:
    """An application that sends ``first`` and then waits for ``go_on``."""

    def __init__(self, first: bytes) -> None:
        self.first = first
        self.inside, self.go_on = threading.Semaphore(0), threading.Event()
        self.failed: list[BaseException] = []

    def __call__(self, environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/":
            return honest(environ, start_response)
        start_response("200 OK", [])
        return self.pieces()

    def pieces(self) -> Iterator[bytes]:
        try:
            yield self.first
            self.inside.release()
            assert self.go_on.wait(PATIENCE)
            while True:
                yield b"more" * 1000
        except BaseException as error:
            self.failed.append(error)
            raise


def assert_begun(received: bytes) -> None:
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close" in head
    assert b"Content-Length" not in head
    assert b"Transfer-Encoding" not in head
    assert LARGE.startswith(body)


def test_a_client_that_is_too_slow_is_reset_while_the_application_goes_on() -> None:
    """The leader aborts the response of a worker that is busy in the application; the reset does not wait for it."""
    app = Endless(LARGE)
    with watched(app, http=HTTP, write_timeout=30.0) as site, site.connect(window=4096) as client:
        client.sendall(UNTIL_CLOSE)
        assert app.inside.acquire(timeout=PATIENCE)
        eventually(lambda: site.server.stats().flushing == 1)
        site.clock.advance(31)
        eventually(lambda: site.server.stats().flushing == 0)
        assert site.server.stats().busy == 1
        received, reset = until_closed(client)
        assert reset
        assert_begun(received)
        assert app.failed == []  # the application does not know yet
        app.go_on.set()
        client.close()
        site.assert_serves()
        site.assert_nothing_left()
        assert len(app.failed) == 1


@pytest.mark.parametrize("first", [b"0123", LARGE], ids=["all is sent", "some is not sent"])
def test_a_stop_without_time_resets_the_client(first: bytes) -> None:
    app = Endless(first)
    with watched(app, http=HTTP) as site, site.connect(window=4096) as client:
        client.sendall(UNTIL_CLOSE)
        assert app.inside.acquire(timeout=PATIENCE)
        site.server.stop(0)
        received, reset = until_closed(client)
        assert reset
        assert_begun(received)
        app.go_on.set()
        eventually(lambda: len(app.failed) == 1)
        eventually(lambda: site.server.stats().connections == 0)


def test_a_stop_without_time_resets_the_client_that_a_worker_waits_for() -> None:
    """The worker waits for room in the socket, and is released."""
    app = Endless(LARGE)
    app.go_on.set()
    http = HTTPSettings(access_log=False, response_memory=0, max_response_spool=0)
    waiting, wait = threading.Event(), engine_connection.wait_for

    def note_waiting(*arguments: Any, **options: Any) -> bool:
        waiting.set()
        return wait(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch, watched(app, http=http) as site, site.connect(window=4096) as client:
        patch.setattr(engine_connection, "wait_for", note_waiting)
        client.sendall(UNTIL_CLOSE)
        assert waiting.wait(PATIENCE)
        site.server.stop(0)
        assert len(app.failed) == 1  # its worker has returned
        received, reset = until_closed(client)
        assert reset
        assert_begun(received)


def test_a_server_that_fails_during_a_response_resets_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    def finish(self: Any) -> None:
        raise MemoryError

    app = Endless(b"0123")
    with watched(lambda environ, start_response: short(app, environ, start_response), http=HTTP) as site:
        monkeypatch.setattr(HTTPExchange, "finish", finish)
        monkeypatch.setattr(HTTPExchange, "fail", finish)
        with site.connect() as client:
            client.sendall(UNTIL_CLOSE)
            received, reset = until_closed(client)
            assert reset
            assert_begun(received)
        monkeypatch.undo()
        site.assert_serves()
        site.assert_nothing_left()


def short(app: Endless, environ: Any, start_response: Any) -> Any:
    if environ["PATH_INFO"] == "/":
        return honest(environ, start_response)
    start_response("200 OK", [])
    return iter([app.first])


def test_a_unix_socket_has_no_reset(tmp_path: Path) -> None:
    """As docs/adversity.md says: the client of such a listener sees an end, and needs a length or chunks."""
    app = Endless(b"0123")
    with watched(app, http=HTTP, address=f"unix:{tmp_path}/socket") as site:
        with connect(site.served.address) as client:
            client.sendall(UNTIL_CLOSE)
            assert app.inside.acquire(timeout=PATIENCE)
            site.server.stop(0)
            received, reset = until_closed(client)
        assert not reset
        assert_begun(received)
        app.go_on.set()
        eventually(lambda: site.server.stats().connections == 0)
