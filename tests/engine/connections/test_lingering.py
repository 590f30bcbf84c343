"""A connection that lingers: bounded in bytes, in time and in number."""

from __future__ import annotations

import socket

from reserve.engine.polling.poller import EpollPoller
from reserve.testing import FakeClock
from tests.clients import receive_all
from tests.engine.conftest import MakePoller, Serve
from tests.engine.linedriver import LineApplication
from tests.waiting import eventually


def test_lingering_is_bounded_in_bytes(serve: Serve) -> None:
    clock = FakeClock()
    running = serve(LineApplication(), clock=clock, linger_bytes=1000, linger_timeout=2.0)
    client = running.connect()
    client.sendall(b"linger\n")
    assert receive_all(client) == b"linger\n"  # the response arrives, then the end of the stream
    eventually(lambda: running.server.stats().lingering == 1)
    (connection,) = running.server._queue.connections.values()
    client.sendall(b"x" * 900)
    eventually(lambda: connection.linger_left == 100 and running.server.stats().lingering == 1)
    client.sendall(b"x" * 100)
    eventually(lambda: connection.linger_left == 0 and running.server.stats().lingering == 1)
    client.sendall(b"x" * 5000)  # neither read, nor a reason for a reset before the time is over
    eventually(lambda: len(connection.sock.recv(10000, socket.MSG_PEEK)) == 5000)
    assert running.server.stats().lingering == 1
    clock.advance(2.1)
    eventually(lambda: running.server.stats().connections == 0)


def test_a_client_that_closes_after_more_bytes_than_are_read_is_not_reset(
    serve: Serve, make_poller: MakePoller
) -> None:
    poller = make_poller()
    clock = FakeClock()
    running = serve(LineApplication(), poller=poller, clock=clock, linger_bytes=10, linger_timeout=2.0)
    client = running.connect()
    client.sendall(b"linger\n")
    eventually(lambda: running.server.stats().lingering == 1)
    (connection,) = running.server._queue.connections.values()
    client.sendall(b"x" * 20000)
    eventually(lambda: connection.linger_left == 0)
    client.sendall(b"x" * 50000)
    client.shutdown(socket.SHUT_WR)
    if isinstance(poller, EpollPoller):
        eventually(lambda: running.server.stats().connections == 0)
        assert receive_all(client) == b"linger\n"
        client.setblocking(False)
        assert client.recv(1) == b""  # a reset would raise
    else:  # this poller does not report an end of the stream after unread bytes
        assert receive_all(client) == b"linger\n"
        assert running.server.stats().lingering == 1
        clock.advance(2.1)
        eventually(lambda: running.server.stats().connections == 0)


def test_the_oldest_lingering_connection_is_closed_by_an_event_when_its_deadline_is_lost(serve: Serve) -> None:
    running = serve(LineApplication(), clock=FakeClock())
    client = running.connect()
    client.sendall(b"linger\n")
    eventually(lambda: running.server.stats().lingering == 1)
    running.server._runtime.stepper.closer._lingering.clear()  # as for the oldest; its deadline is lost
    client.sendall(b"x")
    eventually(lambda: running.server.stats().connections == 0)


def test_lingering_is_bounded_in_time(serve: Serve) -> None:
    clock = FakeClock()
    running = serve(LineApplication(), clock=clock, linger_timeout=2.0)
    client = running.connect()
    client.sendall(b"linger\n")
    assert receive_all(client) == b"linger\n"
    eventually(lambda: running.server.stats().lingering == 1)
    clock.advance(2.1)
    eventually(lambda: running.server.stats().connections == 0)


def test_lingering_is_bounded_in_number_and_ends_when_the_client_closes(serve: Serve) -> None:
    clock = FakeClock()
    running = serve(LineApplication(), clock=clock, max_lingering=3)
    clients = [running.connect() for _ in range(6)]
    for client in clients:
        client.sendall(b"linger\n")
        assert receive_all(client) == b"linger\n"
    eventually(lambda: running.server.stats().connections == 3)
    for client in clients:
        client.close()
    eventually(lambda: running.server.stats().connections == 0)
