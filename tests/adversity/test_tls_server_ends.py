"""How the server ends a TLS connection: with close_notify after a complete response, and without it after a failure."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from tests import tls
from tests.adversity.holding import honest
from tests.adversity.tlssite import connected, ends_with_close_notify, tls_site
from tests.apps.http.doubles import Gate
from tests.apps.http.responses import receive, request, split
from tests.waiting import eventually

KEEP_ALIVE = 15.0  # seconds, by default


@tls.each_version
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(request("GET", "/", "Connection: close"), id="asked to close"),
        pytest.param(request("GET", "/", minor=0), id="HTTP/1.0"),
        pytest.param(request("GET", "/open", minor=0), id="HTTP/1.0 without a length"),
        pytest.param(request("GET", "/closes"), id="the application closes"),
        pytest.param(b"nonsense\r\n\r\n", id="refused"),
        pytest.param(request("GET", "/fails", "Connection: close"), id="the application fails"),
        pytest.param(request() * 3 + request("GET", "/", "Connection: close") + request(), id="more than are served"),
    ],
)
def test_every_orderly_close_sends_close_notify(raw: bytes, version: str) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path == "/open":
            start_response("200 OK", [])
            return iter([b"hon", b"est"])
        if path == "/closes":
            start_response("200 OK", [("Connection", "close")])
            return [b"honest"]
        if path == "/fails":
            raise ValueError("before it begins")
        return honest(environ, start_response)

    with tls_site(app) as site:
        for _ in range(5):
            with connected(site, version) as (client, memory_client):
                client.sendall(memory_client.encrypt(raw))
                responses = split(memory_client.receive_all(client))
                assert client.recv(1) == b""
                assert all(response.whole for response in responses)
                assert responses[-1].body == b"honest" or responses[-1].status in (400, 500)
        site.clock.advance(3)  # lingering ends
        site.assert_nothing_left()


@tls.each_version
@pytest.mark.parametrize("served", [False, True], ids=["before the first request", "between two"])
def test_the_keep_alive_time_ends_with_close_notify(served: bool, version: str) -> None:
    with tls_site() as site, connected(site, version) as (client, memory_client):
        if served:
            client.sendall(memory_client.encrypt(request()))
            assert split(memory_client.receive(client))[0].body == b"honest"
        eventually(lambda: site.server.stats().tls_handshakes == 1)
        eventually(lambda: site.server.stats().parked == 1)  # and not in its handshake
        site.clock.advance(KEEP_ALIVE + 1)
        assert ends_with_close_notify(client, memory_client)


@tls.each_version
def test_a_stop_sends_close_notify_on_idle_and_on_served_connections(version: str) -> None:
    gate = Gate(honest)
    with (
        tls_site(gate) as site,
        connected(site, version) as (idle, idle_tls),
        connected(site, version) as (busy, busy_tls),
    ):
        idle.sendall(idle_tls.encrypt(request()))
        assert split(idle_tls.receive(idle))[0].body == b"honest"
        busy.sendall(busy_tls.encrypt(request("GET", "/wait")))
        gate.wait_entered()
        site.server.request_stop()
        assert ends_with_close_notify(idle, idle_tls)
        gate.release()
        response = split(busy_tls.receive(busy))[0]
        assert (response.body, response.fields["connection"]) == (b"honest", "close")
        assert ends_with_close_notify(busy, busy_tls)


class FailsAfterTwoPieces:
    """The body of a response."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"12345"
        yield b"67890"
        raise ValueError("no third piece")


@tls.each_version
@pytest.mark.parametrize("minor", [0, 1])
@pytest.mark.parametrize("headers", [[], [("Content-Length", "20")]], ids=["no length", "length"])
def test_a_response_that_failed_in_its_body_has_no_close_notify(
    headers: list[tuple[str, str]], minor: int, version: str
) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/":
            return honest(environ, start_response)
        start_response("200 OK", headers)
        return FailsAfterTwoPieces()

    with tls_site(app) as site:
        for _ in range(5):
            with connected(site, version) as (client, memory_client):
                client.sendall(memory_client.encrypt(request("GET", "/half", "Connection: keep-alive", minor=minor)))
                received = b""
                with contextlib.suppress(ssl.SSLEOFError, ConnectionResetError):
                    while data := memory_client.receive(client):
                        received += data
                    assert headers or minor, "a response without a length seemed to be complete"
                assert b"1234567890" not in received or not headers or not split(received)[0].whole
                assert all(not response.whole for response in split(received)) or (not headers and not minor)
        site.assert_serves()
        site.assert_nothing_left()


@tls.each_version
def test_a_client_that_does_not_read_until_the_deadline_gets_no_close_notify(version: str) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [b"x" * 100_000] * 40

    with tls_site(app) as site:
        for listener in site.server._endpoints.listeners:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with connected(site, version, window=2048) as (client, memory_client):
            client.sendall(memory_client.encrypt(request("GET", "/", minor=0)))
            eventually(lambda: site.server.stats().flushing == 1)
            site.clock.advance(31)
            eventually(lambda: site.server.stats().connections == 0)
            assert not ends_with_close_notify(client, memory_client)


def test_the_client_of_the_standard_library_gets_close_notify() -> None:
    """Without its tolerance for an end without it."""
    with tls_site() as site, site.connect() as client:
        client.sendall(request("GET", "/", "Connection: close"))
        assert receive(client).body == b"honest"
        assert client.recv(1) == b""
