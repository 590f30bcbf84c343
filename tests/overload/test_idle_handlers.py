"""Idle connections of plain handlers: ``--idle-timeout``, and who gets their places at ``--max-connections``."""

from __future__ import annotations

import contextlib
import math
import socket
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from reserve import Server
from reserve.apps.echo import Echo
from reserve.apps.jsons import JSONLines
from reserve.engine.drivers.handler import Park
from reserve.errors import UsageError
from reserve.testing import FakeClock, RunningServer, running
from tests.clients import receive, receive_all, until_closed
from tests.overload.site import received_nothing
from tests.waiting import PATIENCE, eventually

EVENTS = b'{"jsonrpc":"2.0","method":"time","id":1}\n'
HOUR = 3600.0


@contextlib.contextmanager
def serving(handle: Callable[..., Any], **options: Any) -> Iterator[tuple[RunningServer, FakeClock]]:
    clock = FakeClock()
    with running(handle, wsgi=False, clock=clock, **options) as served:
        yield served, clock


class Parked:
    """A handler that parks; ``reasons`` has why each connection was closed, ``sockets`` the connections."""

    def __init__(self, **park: Any) -> None:
        self.park = park
        self.reasons: SimpleQueue[str] = SimpleQueue()
        self.sockets: SimpleQueue[socket.socket] = SimpleQueue()

    def __call__(self, sock: socket.socket, address: tuple[str, int], server: Server) -> Park:
        def resume() -> Park | None:
            data = sock.recv(100)
            if not data:
                return None
            sock.sendall(data)
            return Park(resume, on_close=self.reasons.put, **self.park)

        self.sockets.put(sock)
        return Park(resume, on_close=self.reasons.put, **self.park)


@pytest.mark.parametrize("handle", [Echo(), JSONLines()])
def test_idle_clients_of_the_bundled_applications_give_way_to_new_ones(
    handle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reserve.engine.acceptor._PAUSE", HOUR)  # on a busy machine it would look again
    with serving(handle, max_connections=3) as (served, clock), contextlib.ExitStack() as stack:
        for _ in range(3):
            client = stack.enter_context(served.connect())
            client.sendall(b"\n")
            eventually(lambda: served.server.stats().handled >= 1 and served.server.stats().owned == 0)
        eventually(lambda: served.server.stats().parked == 3)
        clock.advance(1)
        for _ in range(10):
            client = stack.enter_context(served.connect())
            client.sendall(EVENTS)
            assert receive(client, 1) in (b"{", EVENTS[:1])
        assert served.server.stats().connections <= 3
        assert served.server.stats().reclaimed >= 10


def test_the_connection_that_was_idle_longest_gives_way_and_on_close_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reserve.engine.acceptor._IDLE_CLOSED_AT_ONCE", 1)
    monkeypatch.setattr("reserve.engine.acceptor._PAUSE", HOUR)
    handle = Parked()
    with serving(handle, max_connections=3) as (served, clock), contextlib.ExitStack() as stack:
        clients = []
        for count in range(1, 4):
            clients.append(stack.enter_context(served.connect()))
            eventually(lambda count=count: served.server.stats().parked == count)
            clock.advance(1)
        first, second, third = clients
        first.sendall(b"x")  # it has been idle for the shortest time now
        assert receive(first, 1) == b"x"
        server_side = [handle.sockets.get(timeout=PATIENCE) for _ in range(3)]
        eventually(lambda: served.server.stats().parked == 3)
        clock.advance(1)
        served.server.send(server_side[1], b"y")  # what the server sends is traffic, too
        assert receive(second, 1) == b"y"
        eventually(lambda: served.server.stats().parked == 3)
        new = stack.enter_context(served.connect())
        assert until_closed(third) == (b"", False)
        assert handle.reasons.get(timeout=PATIENCE) == "capacity"
        new.sendall(b"z")
        assert receive(new, 1) == b"z"
        assert received_nothing(first)
        assert received_nothing(second)
        assert served.server.stats().reclaimed == 1


def test_a_connection_that_becomes_idle_while_a_client_waits_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reserve.engine.acceptor._PAUSE", HOUR)
    handle = Parked()
    with serving(handle, max_connections=1) as (served, _), served.connect() as old:
        busy = handle.sockets.get(timeout=PATIENCE)
        eventually(lambda: served.server.stats().parked == 1)
        served.server.send(busy, b"w")
        assert receive(old, 1) == b"w"
        with served.connect() as new:
            new.sendall(b"x")
            assert receive(new, 1) == b"x"
        assert receive_all(old) == b""


@pytest.mark.parametrize("timeout", [math.inf, 1000.0])
def test_a_timeout_of_the_park_has_precedence(timeout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reserve.engine.acceptor._PAUSE", HOUR)
    handle = Parked(timeout=timeout)
    with serving(handle, max_connections=1, idle_timeout=10) as (served, clock), served.connect() as client:
        eventually(lambda: served.server.stats().parked == 1)
        with served.connect() as waits:
            eventually(lambda: served.server._runtime.acceptor.exhausted)
            clock.advance(999)
            client.sendall(b"x")
            assert receive(client, 1) == b"x"
            assert received_nothing(waits)
        assert served.server.stats().reclaimed == 0


def test_the_idle_timeout_closes_a_parked_connection_without_traffic() -> None:
    handle = Parked()
    with serving(handle, idle_timeout=10) as (served, clock), served.connect() as client:
        sock = handle.sockets.get(timeout=PATIENCE)
        eventually(lambda: served.server.stats().parked == 1)
        clock.advance(9)
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
        eventually(lambda: served.server.stats().parked == 1)
        clock.advance(9)
        served.server.send(sock, b"y")
        assert receive(client, 1) == b"y"
        eventually(lambda: served.server.stats().parked == 1)
        clock.advance(9)
        client.sendall(b"z")
        assert receive(client, 1) == b"z"
        eventually(lambda: served.server.stats().parked == 1)
        clock.advance(10.1)
        assert receive_all(client) == b""
        assert handle.reasons.get(timeout=PATIENCE) == "timeout"
        eventually(lambda: served.server.stats().connections == 0)
        with pytest.raises(UsageError):
            served.server.send(sock, b"late")


def test_the_default_is_an_hour_and_0_is_no_limit() -> None:
    for options, open_after in (({}, 0), ({"idle_timeout": 0}, 1)):
        with serving(Parked(), **options) as (served, clock), served.connect():
            eventually(lambda served=served: served.server.stats().parked == 1)
            clock.advance(HOUR - 1)
            assert served.server.stats().connections == 1
            clock.advance(1.1)
            if open_after:
                clock.advance(1000 * HOUR)
            eventually(lambda served=served, left=open_after: served.server.stats().connections == left)
