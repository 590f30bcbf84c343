"""Many bad clients do not fill the log: one line of a kind each second, and a count."""

from __future__ import annotations

import socket
from typing import Any

from reserve.apps.http.settings import HTTPSettings
from reserve.engine.connections.peers import name_of
from tests.adversity.holding import honest, watched
from tests.apps.http.responses import request
from tests.clients import until_closed
from tests.waiting import eventually

COUNT = 200
HTTP = HTTPSettings(access_log=False)


def test_refused_and_disconnected_clients_are_logged_once_a_second_and_counted() -> None:
    with watched(honest, http=HTTP) as site:
        sent = {b"nonsense\r\n\r\n": 400, b"GET / HTTP/7.0\r\n\r\n": 505}
        for raw in sent:
            with site.crowd(COUNT, raw) as clients:
                for client in clients:
                    assert until_closed(client)[0].startswith(b"HTTP/1.1 ")
        with site.crowd(COUNT, request("POST", body=b"x" * 100)[:-1]) as clients:
            eventually(lambda: site.server.stats().parked == COUNT)
            for client in clients:
                client.shutdown(socket.SHUT_WR)
            for client in clients:
                assert until_closed(client)[0] == b""
        site.assert_serves()
        eventually(lambda: len(site.log) == 3)
        site.clock.advance(1)
        eventually(lambda: len(site.log) == 6)
        site.assert_nothing_left()
    first, counts = site.log[:3], site.log[3:]
    assert all(line.startswith("127.0.0.1:") for line in first)
    assert [line.split(": ")[1][:3] for line in first] == ["400", "505", "the"]
    assert counts == [
        f"and {COUNT - 1} more like it in the last 1.0 s: {kind}"
        for kind in (
            "requests refused with 400",
            "requests refused with 505",
            "clients that stopped in the body of a request",
        )
    ]


def test_failing_clients_of_plain_handlers_are_logged_once_a_second_and_counted() -> None:
    def handle(sock: socket.socket, address: Any, server: Any) -> None:
        raise ConnectionResetError("the client is gone")

    with watched(handle, wsgi=False) as site:
        with site.crowd(COUNT) as clients:
            names = [name_of(client.getsockname()) for client in clients]
            for client in clients:
                until_closed(client)
        eventually(lambda: len(site.log) == 1)
        site.clock.advance(1)
        eventually(lambda: len(site.log) == 2)
    first, count = site.log
    name, _, what = first.partition(": ")
    assert name in names
    assert what == "ConnectionResetError: the client is gone"
    assert (
        count == f"and {COUNT - 1} more like it in the last 1.0 s: handlers whose client failed: ConnectionResetError"
    )


def test_each_failure_of_an_application_is_logged() -> None:
    """No client causes these tracebacks, so none of them is left out."""

    def app(environ: Any, start_response: Any) -> Any:
        raise ValueError(environ["PATH_INFO"])

    with watched(app, http=HTTP) as site:
        for number in range(10):
            assert site.ask(request("GET", f"/{number}", "Connection: close")).status == 500
    assert [f"ValueError: /{number}" in line for number, line in enumerate(site.log)] == [True] * 10
