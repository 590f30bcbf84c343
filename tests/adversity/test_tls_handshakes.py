"""200 clients that stall in their TLS handshake, each kind at every step of it; two threads; a clock that stands.

Another client's whole handshake and request are served while they are held; then they are cut at the deadline.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from tests import tls
from tests.adversity.holding import THREADS, Watched, honest, watched
from tests.apps.http.responses import request
from tests.clients import close_with_reset
from tests.waiting import eventually

COUNT = 200
HANDSHAKE = 5.0  # seconds, by default
HTTP = HTTPSettings(access_log=False)
Stall = Callable[[socket.socket], None]


def hello() -> bytes:
    return tls.HandMade().says()


def cut_hello(part: Callable[[int], int]) -> Stall:
    def stall(client: socket.socket) -> None:
        whole = hello()
        client.sendall(whole[: part(len(whole))])

    return stall


def never_answers(client: socket.socket) -> None:
    """After the ServerHello."""
    client.sendall(hello())
    assert client.recv(1) == b"\x16"


def short_finished(version: str) -> Stall:
    def stall(client: socket.socket) -> None:
        client.sendall(second_flight(client, tls.HandMade(tls.context(version)))[:-1])

    return stall


def second_flight(client: socket.socket, hand: tls.HandMade) -> bytes:
    """What the client says to the ServerHello and what came with it; its end is its Finished."""
    client.sendall(hand.says())
    saying = b""
    while not saying:
        saying = hand.says(client.recv(65536))
    return saying


STALLS: dict[str, Stall] = {
    "nothing": lambda client: None,
    "one octet": cut_hello(lambda size: 1),
    "half a ClientHello": cut_hello(lambda size: size // 2),
    "all but one octet of it": cut_hello(lambda size: size - 1),
    "nothing behind the ServerHello": never_answers,
    "a Finished without its last octet": short_finished("1.3"),
    "the same in TLS 1.2": short_finished("1.2"),
}
each_stall = pytest.mark.parametrize("stall", STALLS)


@contextlib.contextmanager
def stalled(site: Watched, stall: str, count: int = COUNT) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(site.connect_plain()) for _ in range(count)]
        for client in clients:
            STALLS[stall](client)
        yield clients


def assert_cut(clients: list[socket.socket]) -> None:
    for client in clients:
        with contextlib.suppress(ConnectionResetError):
            while client.recv(65536):
                pass


@each_stall
def test_nobody_waits_for_them_and_they_are_cut_at_the_deadline(stall: str) -> None:
    with watched(honest, http=HTTP, secure=True) as site, stalled(site, stall) as clients:
        eventually(lambda: (now := site.server.stats()).parked == now.connections == now.accepted == COUNT)
        site.assert_serves()
        with site.connect(), site.connect():  # a whole handshake each
            pass
        eventually(lambda: (now := site.server.stats()).connections == now.parked == COUNT and not now.busy)
        now = site.server.stats()
        assert (now.handled, now.tls_handshakes, now.tls_failed) == (3, 3, 0)  # none of the stalled has had a thread
        site.clock.advance(HANDSHAKE - 1)
        site.assert_serves()
        eventually(lambda: site.server.stats().parked == COUNT)
        site.clock.advance(2)
        assert_cut(clients)  # and the clients still hold their ends
        site.assert_serves()
        eventually(lambda: (now := site.server.stats()).connections == 0 and not now.busy)
        now = site.server.stats()
        assert (now.handled, now.tls_handshakes) == (9, 5)
        # A client that has said nothing has not failed in a handshake.
        assert now.tls_failed == (0 if stall == "nothing" else COUNT)
        for client in clients:
            client.close()
        site.assert_nothing_left()
    if stall == "nothing":
        assert site.log == []
    else:
        said, counted = site.log
        assert said.endswith("the TLS handshake was not done within 5 s (--handshake-timeout)")
        assert counted.startswith(f"and {COUNT - 1} more like it in the last")


@each_stall
def test_an_idle_server_cuts_them_too(stall: str) -> None:
    """Nothing else happens: only the deadline wakes the server."""
    with watched(honest, http=HTTP, secure=True) as site, stalled(site, stall, 3) as clients:
        eventually(lambda: (now := site.server.stats()).parked == now.accepted == 3)
        eventually(lambda: site.server._queue._reactor.polling)
        site.clock.advance(HANDSHAKE + 0.1)
        assert_cut(clients)
        for client in clients:
            client.close()
        site.assert_nothing_left()


def test_a_handshake_that_drips_ends_at_the_deadline_of_the_whole() -> None:
    with watched(honest, http=HTTP, secure=True) as site, stalled(site, "nothing") as clients:
        eventually(lambda: (now := site.server.stats()).parked == now.accepted == COUNT)
        for octet in hello()[: int(HANDSHAKE)]:
            for client in clients:
                client.sendall(bytes([octet]))
            site.assert_serves()
            eventually(lambda: site.server.stats().connections == COUNT)
            site.clock.advance(1)
        assert_cut(clients)
        eventually(lambda: site.server.stats().handled == 3 * HANDSHAKE)
        for client in clients:
            client.close()
        site.assert_nothing_left()


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_slow_handshake_that_ends_in_time_is_served(version: str) -> None:
    """One octet at a time."""
    with watched(honest, http=HTTP, secure=True) as site, site.connect_plain() as client:
        hand = tls.HandMade(tls.context(version))
        saying = hand.says()
        while saying or not hand.done:
            for octet in saying:
                client.sendall(bytes([octet]))
            saying = b"" if hand.done else hand.says(client.recv(65536))
        client.sendall(hand.wraps(request("GET", "/", "Connection: close")))
        got = b"".join(iter(lambda: hand.hears(client), b""))
        assert got.endswith(b"honest")
        eventually(lambda: site.server.stats().handled == 1)
    assert site.log == []


@each_stall
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_clients_that_vanish_in_their_handshake(stall: str, reset: bool) -> None:
    with watched(honest, http=HTTP, secure=True) as site:
        with stalled(site, stall) as clients:
            eventually(lambda: (now := site.server.stats()).parked == now.accepted == COUNT)
            for client in clients:
                close_with_reset(client) if reset else client.close()
            eventually(lambda: site.server.stats().connections == 0)
        site.assert_serves()
        site.assert_nothing_left()
        assert site.server.stats().handled == 3  # nobody is busy any more, and so all have been counted
    assert len(site.log) <= 2, site.log


def test_a_flood_of_clients_that_connect_and_reset() -> None:
    """Half of them say hello first; nobody waits for any of them, and nothing is left."""
    first = hello()
    with watched(honest, http=HTTP, secure=True) as site:
        for number in range(2000):
            with contextlib.closing(site.connect_plain()) as client:
                if number % 2:
                    client.sendall(first)
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
    with watched(honest, http=HTTP, secure=True) as site, stalled(site, stall, 20) as clients:
        eventually(lambda: (now := site.server.stats()).parked == now.accepted == 20)
        site.server.stop(timeout)  # the clock stands: what it waited for would never come
        assert_cut(clients)
        assert site.server.stats().connections == 0
    assert site.log == []


def test_a_handshake_needs_no_worker() -> None:
    """Both are inside an application: handshakes go on all the same, and the health path answers over TLS."""
    entered, go_on = threading.Semaphore(0), threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/wait":
            entered.release()
            assert go_on.wait(60)
        return honest(environ, start_response)

    http = HTTPSettings(access_log=False, health_path="/health")
    with watched(app, http=http, secure=True) as site:
        with site.crowd(THREADS, request("GET", "/wait")):
            for _ in range(THREADS):
                assert entered.acquire(timeout=60)
            clients = [site.connect() for _ in range(20)]
            assert {client.version() for client in clients if isinstance(client, ssl.SSLSocket)} == {"TLSv1.3"}
            assert site.ask(request("GET", "/health", "Connection: close")).text == "ok\n"
            for client in clients:
                client.close()
            go_on.set()
        site.assert_nothing_left()
