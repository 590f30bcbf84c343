"""The tools that reserve and its users test with."""

from __future__ import annotations

import http.client
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.engine.connections.application import Application
from reserve.errors import UsageError
from reserve.testing import FakeClock, MemoryClient, running


def app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("201 Created", [("X-Method", environ["REQUEST_METHOD"])])
    return [environ["HTTP_HOST"].encode(), b" ", environ["wsgi.input"].read()]


# ---- the clock ----


def test_a_fake_clock_stands_still_until_it_is_advanced() -> None:
    clock = FakeClock(50.0)
    woken: list[float] = []

    def wake() -> None:
        woken.append(clock.now())

    clock.subscribe(wake)
    assert (clock.now(), clock.timeout(51.0), clock.timeout(50.0)) == (50.0, None, 0.0)
    clock.advance(2.5)
    assert (clock.now(), clock.timeout(51.0), woken) == (52.5, 0.0, [52.5])
    clock.unsubscribe(wake)
    clock.unsubscribe(wake)
    clock.advance(1)
    assert woken == [52.5]


# ---- the client in memory ----


def test_a_memory_client_gets_decoded_responses() -> None:
    client = MemoryClient(app)
    response = client.request("POST", "/", body=b"abc")
    assert (response.status, response.reason, response.body) == (201, "Created", b"testserver abc")
    assert (response.header("x-method"), response.header("none")) == ("POST", None)
    response = client.request("PUT", "/", [("host", "other"), ("Transfer-Encoding", "chunked")], b"1\r\nx\r\n0\r\n\r\n")
    assert (response.header("X-METHOD"), response.body) == ("PUT", b"other x")
    assert client.request("HEAD", "/").body == b""
    assert not client.closed
    client.close()
    client.close()
    assert client.closed
    with pytest.raises(http.client.HTTPException):
        client.request("GET", "/")


def test_a_response_that_is_not_complete_is_an_error() -> None:
    def fails(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"half"
        raise ValueError("the other half")

    client = MemoryClient(fails)
    with pytest.raises(http.client.IncompleteRead):
        client.request("GET", "/")
    (line,) = client.log
    assert "ValueError: the other half" in line


def test_a_request_may_be_sent_in_any_pieces() -> None:
    raw = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" * 2
    whole = MemoryClient(app)
    expected = whole.send(raw).count(b"h abc")
    single, segments = MemoryClient(app), MemoryClient(app)
    segments.socket.segment = 1
    assert b"".join(single.send(raw[at : at + 1]) for at in range(len(raw))).count(b"h abc") == expected == 2
    assert segments.send(raw).count(b"h abc") == 2
    for client in (whole, single, segments):
        assert client.end() == b""
        assert client.closed


def test_a_client_that_does_not_read_receives_nothing() -> None:
    client = MemoryClient(app)
    assert client.read(0) == b""
    assert client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") == b""
    first = client.read(10)
    assert first == b"HTTP/1.1 2"
    assert (first + client.read(None)).endswith(b"h ")
    client.read(0)
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert not client.closed  # not before its response has left
    assert client.read(None).endswith(b"h ")
    assert client.closed


def test_time_passes_only_when_the_client_advances_it() -> None:
    clock = FakeClock()
    client = MemoryClient(app, HTTPSettings(keep_alive=5), clock)
    client.request("GET", "/")
    client.advance(4)
    assert not client.closed
    client.advance(1)
    assert client.closed
    assert client.advance(100) == b""
    assert clock.now() == 1105.0


def test_an_application_that_waits_for_a_client_in_memory_sees_a_disconnect() -> None:
    caught: list[Exception] = []

    def waits(environ: Any, start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            caught.append(error)
        start_response("200 OK", [])
        return [b"went on"]

    client = MemoryClient(waits, HTTPSettings(stream_bodies=True))
    assert client.request("POST", "/", [("Content-Length", "9")], b"short").body == b"went on"
    assert "a client in memory cannot" in str(caught[0])
    assert client.closed


def test_a_driver_that_does_not_read_its_input_is_an_error() -> None:
    from reserve.engine.connections.driver import Wait
    from reserve.engine.polling.poller import READ

    class Inattentive(Application):
        def make_driver(self, connection: Any) -> Any:
            return self

        def step(self, events: int, now: float) -> Wait:
            return Wait("test", READ)

    client = MemoryClient(Inattentive())  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="does not read what is there"):
        client.send(b"x")


# ---- a running server ----


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0"])
def test_running_serves_on_a_free_port(address: str) -> None:
    with running(app, address=address, threads=1) as served:
        with urllib.request.urlopen(served.url) as response:
            assert response.read() == served.url.removeprefix("http://").encode() + b" "
        raw = served.exchange(b"GET / HTTP/1.0\r\nHost: h\r\n\r\n")
        assert raw.endswith(b"\r\n\r\nh ")
    with pytest.raises(ConnectionRefusedError):
        served.connect().close()


def test_running_serves_on_a_unix_socket(tmp_path: Path) -> None:
    with running(app, address=f"unix:{tmp_path}/it") as served:
        assert served.exchange(b"GET / HTTP/1.0\r\nHost: h\r\n\r\n").endswith(b"h ")
    with pytest.raises((FileNotFoundError, ConnectionRefusedError)):
        served.connect()


def test_running_serves_a_plain_handler() -> None:
    def handle(sock: socket.socket, address: Any, server: Any) -> None:
        sock.sendall(sock.recv(100).upper())

    with running(handle, wsgi=False) as served:
        assert served.exchange(b"abc") == b"ABC"


def test_running_with_wrong_arguments_leaves_no_listener_open() -> None:
    # Every test checks that none is.
    with pytest.raises(UsageError, match="thread"), running(app, thread=1):
        pass
