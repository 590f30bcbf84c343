"""A retiring server and its kept-alive connections: the next response announces the close, no idle one is cut."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.testing import FakeClock, running
from tests.apps.http.doubles import QUIET, hello
from tests.apps.http.responses import receive, request
from tests.waiting import PATIENCE


@pytest.mark.parametrize("path", ["/", "/health"])
def test_the_next_response_of_an_idle_connection_closes_it(path: str) -> None:
    with running(hello, http=HTTPSettings(access_log=False, health_path="/health")) as served:
        with served.connect() as client, served.connect() as silent:
            for one in (client, silent):
                one.sendall(request())
                assert "connection" not in receive(one).fields
            served.server.retire()
            client.sendall(request("GET", path))
            response = receive(client)
            assert (response.status, response.fields["connection"]) == (503 if path == "/health" else 200, "close")
            assert client.recv(1) == b""
            assert not served.server.stopping
        assert served.server._lifecycle.finished.wait(PATIENCE)


def test_a_response_that_is_being_made_announces_the_close() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        entered.set()
        go_on.wait(PATIENCE)
        start_response("200 OK", [])
        return [b"whole"]

    with running(app, http=QUIET) as served, served.connect() as client:
        client.sendall(request())
        assert entered.wait(PATIENCE)
        served.server.retire()
        go_on.set()
        response = receive(client)
        assert (response.text, response.fields["connection"]) == ("whole", "close")
        assert client.recv(1) == b""
        assert served.server._lifecycle.finished.wait(PATIENCE)


def test_the_stop_follows_after_the_longest_keep_alive() -> None:
    clock = FakeClock()
    with (
        running(hello, http=HTTPSettings(access_log=False, keep_alive=40), clock=clock) as served,
        served.connect() as client,
    ):
        client.sendall(request())
        receive(client)
        clock.advance(1)
        served.server.retire()
        clock.advance(38)
        assert not served.server.stopping
        client.sendall(request())
        assert receive(client).fields["connection"] == "close"


@pytest.mark.parametrize("attempt", range(20))
def test_a_request_that_arrives_as_the_retirement_ends_has_its_response(attempt: int) -> None:
    """The client had its kept-alive connection by right: the stop looks once more before it closes an idle one."""
    clock = FakeClock()
    with (
        running(hello, http=HTTPSettings(access_log=False, keep_alive=40), clock=clock) as served,
        served.connect() as client,
        served.connect() as other,
    ):
        for one in (client, other):
            one.sendall(request())
            receive(one)
        clock.advance(1)
        served.server.retire()
        client.sendall(request())  # in the socket before the time is over
        clock.advance(40)
        assert receive(client).fields["connection"] == "close"
