"""200 clients that stall in their TLS handshake, each kind at every step of it; two threads; a clock that stands still.

Another client's whole handshake and request are served while they wait; then they are closed at the deadline.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator

import pytest

from reserve.apps.http.settings import HTTPSettings
from tests import tls
from tests.adversity.holding import THREADS, Watched, honest
from tests.adversity.tlssite import tls_site, until_closed
from tests.apps.http.doubles import Gate
from tests.apps.http.responses import request
from tests.clients import close_with_reset
from tests.waiting import eventually

COUNT = 200
HANDSHAKE_TIMEOUT = 5.0  # seconds, by default
Stall = Callable[[socket.socket], None]


def hello() -> bytes:
    return tls.MemoryTLSClient().flight()


def part_of_a_hello(size: Callable[[int], int]) -> Stall:
    def stall(client: socket.socket) -> None:
        message = hello()
        client.sendall(message[: size(len(message))])

    return stall


def nothing_after_the_server_hello(client: socket.socket) -> None:
    client.sendall(hello())
    assert client.recv(1) == b"\x16"


def incomplete_finished(version: str) -> Stall:
    def stall(client: socket.socket) -> None:
        client.sendall(tls.MemoryTLSClient(tls.client_context(version)).second_flight(client)[:-1])

    return stall


STALLS: dict[str, Stall] = {
    "nothing": lambda client: None,
    "one byte": part_of_a_hello(lambda size: 1),
    "half a ClientHello": part_of_a_hello(lambda size: size // 2),
    "all but one byte of it": part_of_a_hello(lambda size: size - 1),
    "nothing after the ServerHello": nothing_after_the_server_hello,
    "a Finished without its last byte": incomplete_finished("1.3"),
    "the same in TLS 1.2": incomplete_finished("1.2"),
}
each_stall = pytest.mark.parametrize("stall", STALLS)


@contextlib.contextmanager
def stalled(site: Watched, stall: str, count: int = COUNT) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(site.connect_plain()) for _ in range(count)]
        for client in clients:
            STALLS[stall](client)
        yield clients


def wait_until_closed(clients: list[socket.socket]) -> None:
    for client in clients:
        until_closed(client)


@each_stall
def test_other_clients_do_not_wait_for_them_and_they_are_closed_at_the_deadline(stall: str) -> None:
    with tls_site() as site, stalled(site, stall) as clients:
        eventually(lambda: (now := site.server.stats()).parked == now.connections == now.accepted == COUNT)
        site.assert_serves()
        with site.connect(), site.connect():  # a whole handshake each
            pass
        eventually(lambda: (now := site.server.stats()).connections == now.parked == COUNT and not now.busy)
        now = site.server.stats()
        assert (now.handled, now.tls_handshakes, now.tls_failed) == (3, 3, 0)  # no stalled client has had a thread
        site.clock.advance(HANDSHAKE_TIMEOUT - 1)
        site.assert_serves()
        eventually(lambda: site.server.stats().parked == COUNT)
        site.clock.advance(2)
        wait_until_closed(clients)  # while the clients keep their sockets open
        site.assert_serves()
        eventually(lambda: (now := site.server.stats()).connections == 0 and not now.busy)
        now = site.server.stats()
        assert (now.handled, now.tls_handshakes) == (9, 5)
        # A client that has sent nothing has not failed in a handshake.
        assert now.tls_failed == (0 if stall == "nothing" else COUNT)
        for client in clients:
            client.close()
        site.assert_nothing_left()
    if stall == "nothing":
        assert site.log == []
    else:
        first, counted = site.log
        assert first.endswith("the TLS handshake was not done within 5 s (--handshake-timeout)")
        assert counted.startswith(f"and {COUNT - 1} more like it in the last")


@each_stall
def test_an_idle_server_closes_them_too(stall: str) -> None:
    """Nothing else happens: only the deadline wakes the server."""
    with tls_site() as site, stalled(site, stall, 3) as clients:
        eventually(lambda: (now := site.server.stats()).parked == now.accepted == 3)
        eventually(lambda: site.server._queue._reactor.polling)
        site.clock.advance(HANDSHAKE_TIMEOUT + 0.1)
        wait_until_closed(clients)
        for client in clients:
            client.close()
        site.assert_nothing_left()


def test_a_slow_handshake_does_not_extend_its_deadline() -> None:
    """One byte a second."""
    with tls_site() as site, stalled(site, "nothing") as clients:
        eventually(lambda: (now := site.server.stats()).parked == now.accepted == COUNT)
        for byte in hello()[: int(HANDSHAKE_TIMEOUT)]:
            for client in clients:
                client.sendall(bytes([byte]))
            site.assert_serves()
            eventually(lambda: site.server.stats().connections == COUNT)
            site.clock.advance(1)
        wait_until_closed(clients)
        eventually(lambda: site.server.stats().handled == 3 * HANDSHAKE_TIMEOUT)
        for client in clients:
            client.close()
        site.assert_nothing_left()


@tls.each_version
def test_a_slow_handshake_that_ends_in_time_is_served(version: str) -> None:
    """Sent byte by byte."""
    with tls_site() as site, site.connect_plain() as client:
        memory_client = tls.MemoryTLSClient(tls.client_context(version))
        flight = memory_client.flight()
        while flight or not memory_client.done:
            for byte in flight:
                client.sendall(bytes([byte]))
            flight = b"" if memory_client.done else memory_client.flight(client.recv(65536))
        client.sendall(memory_client.encrypt(request("GET", "/", "Connection: close")))
        assert memory_client.receive_all(client).endswith(b"honest")
        eventually(lambda: site.server.stats().handled == 1)
    assert site.log == []


@each_stall
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_clients_that_close_or_reset_in_their_handshake(stall: str, reset: bool) -> None:
    with tls_site() as site:
        with stalled(site, stall) as clients:
            eventually(lambda: (now := site.server.stats()).parked == now.accepted == COUNT)
            for client in clients:
                close_with_reset(client) if reset else client.close()
            eventually(lambda: site.server.stats().connections == 0)
        site.assert_serves()
        site.assert_nothing_left()
        assert site.server.stats().handled == 3  # no thread is busy any more, and so all have been counted
    assert len(site.log) <= 2, site.log


def test_a_flood_of_clients_that_connect_and_reset() -> None:
    """Half of them send a ClientHello first; no other client waits for them, and nothing is left."""
    message = hello()
    with tls_site() as site:
        for number in range(2000):
            with contextlib.closing(site.connect_plain()) as client:
                if number % 2:
                    client.sendall(message)
                close_with_reset(client)
            if number % 200 == 0:
                site.assert_serves(1)
        site.assert_serves()
        site.assert_nothing_left()
        assert site.server.stats().handled == 10 + 3
    assert len(site.log) <= 6, site.log


@each_stall
@pytest.mark.parametrize("timeout", [None, 0], ids=["drained", "at once"])
def test_a_stop_does_not_wait_for_a_handshake(stall: str, timeout: float | None) -> None:
    with tls_site() as site, stalled(site, stall, 20) as clients:
        eventually(lambda: (now := site.server.stats()).parked == now.accepted == 20)
        site.server.stop(timeout)  # the clock stands still: a deadline would never come
        wait_until_closed(clients)
        assert site.server.stats().connections == 0
    assert site.log == []


def test_a_handshake_needs_no_worker() -> None:
    """Both workers are inside an application: handshakes go on, and the health path is served over TLS."""
    gate = Gate(honest)
    with tls_site(gate, http=HTTPSettings(access_log=False, health_path="/health")) as site:
        with site.crowd(THREADS, request("GET", "/wait")):
            gate.wait_entered(THREADS)
            clients = [site.connect() for _ in range(20)]
            assert {client.version() for client in clients if isinstance(client, ssl.SSLSocket)} == {"TLSv1.3"}
            assert site.ask(request("GET", "/health", "Connection: close")).text == "ok\n"
            for client in clients:
                client.close()
            gate.release()
        site.assert_nothing_left()
