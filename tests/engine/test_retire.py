"""A server that retires: it leaves new connections to another process, and ends when the last old one is gone."""

from __future__ import annotations

import signal
import socket
import threading
from typing import Any

import pytest

from reserve.engine.server import Server
from reserve.sockets.listeners import listen
from reserve.testing import FakeClock
from tests.clients import connect, receive, receive_all
from tests.engine.conftest import MakePoller, Serve, echo
from tests.waiting import PATIENCE, eventually


def ended(server: Server) -> bool:
    return server._lifecycle.finished.wait(PATIENCE)


def test_without_connections_it_ends_at_once(serve: Serve) -> None:
    server = serve(echo).server
    server.wait_ready()
    assert not server.retiring
    server.retire()
    server.retire()
    assert ended(server)
    assert server.aborted == 0
    server.retire()  # nothing happens any more


def test_it_ends_when_the_last_connection_is_gone_and_not_before(serve: Serve) -> None:
    running = serve(echo)
    server, clients = running.server, [running.connect(), running.connect()]
    for client in clients:
        client.sendall(b"1")
        assert receive(client, 1) == b"1"
    assert server.healthy
    server.retire()
    assert (server.retiring, server.stopping, server.healthy, server.stats().retiring) == (True, False, False, True)
    for client in clients:
        client.sendall(b"2")
        assert receive(client, 1) == b"2"
        assert not server.stopping
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b""
    assert ended(server)
    assert server.aborted == 0


def test_clients_that_connect_later_are_left_to_the_successor(make_poller: MakePoller) -> None:
    """Also one whose connection the kernel has completed before: it waits in the backlog that both share."""
    (listener,) = listen("127.0.0.1:0")
    answered = threading.Event()

    def first(sock: Any, address: Any, server: Server) -> None:
        answered.wait(PATIENCE)
        sock.sendall(b"old")

    def second(sock: Any, address: Any, server: Server) -> None:
        sock.sendall(b"new")

    successor = Server(listener.dup(), second, poller=make_poller())
    with Server(listener, first, poller=make_poller()) as server, connect(successor.addresses[0]) as old:
        eventually(lambda: server.stats().accepted)
        server.retire()
        with connect(successor.addresses[0]) as early, connect(successor.addresses[0]) as late:
            answered.set()
            assert receive_all(old) == b"old"
            assert ended(server)
            with successor:
                assert (receive_all(early), receive_all(late)) == (b"new", b"new")
        assert server.stats().accepted == 1


def test_the_ordinary_stop_follows_when_the_time_is_over(serve: Serve) -> None:
    """It closes what waits, and requests that run still have ``stop_timeout``."""
    clock, release = FakeClock(), threading.Event()

    def handle(sock: Any, address: Any, server: Server) -> Any:
        if sock.recv(1) == b"w":
            release.wait(PATIENCE)
            sock.sendall(b"finished")
            return None
        return echo(sock, address, server)

    running = serve(handle, clock=clock)
    server, parked, busy = running.server, running.connect(), running.connect()
    parked.sendall(b"pp")
    assert receive(parked, 1) == b"p"
    busy.sendall(b"w")
    eventually(lambda: server.stats().busy == 1)
    server.retire()
    clock.advance(14.9)
    parked.sendall(b"q")
    assert receive(parked, 1) == b"q"
    assert not server.stopping
    clock.advance(0.2)
    assert receive_all(parked) == b""
    assert server.stopping
    release.set()
    assert receive_all(busy) == b"finished"
    assert ended(server)
    assert server.aborted == 0


@pytest.mark.parametrize("first", ["retire", "stop"])
def test_a_stop_does_not_wait_for_the_connections_of_a_retirement(serve: Serve, first: str) -> None:
    running = serve(echo)
    client = running.connect()
    client.sendall(b"1")
    assert receive(client, 1) == b"1"
    if first == "retire":
        running.server.retire()
        running.server.request_stop()
    else:
        running.server.request_stop()
        running.server.retire()
    assert receive_all(client) == b""
    assert ended(running.server)


def test_a_retirement_before_the_start_ends_it(make_poller: MakePoller) -> None:
    server = Server(listen("127.0.0.1:0"), echo, poller=make_poller())
    server.retire()
    server.start()
    assert server.stats().accepted == 0


def test_an_accept_thread_that_waits_for_room_retires(serve: Serve) -> None:
    release = threading.Event()

    def handle(sock: Any, address: Any, server: Server) -> None:
        release.wait(PATIENCE)

    running = serve(handle, max_connections=1)
    running.connect()
    eventually(lambda: running.server.stats().busy == 1)
    running.connect()
    running.log.wait("no new connections for now")
    running.server.retire()
    release.set()
    assert ended(running.server)
    assert running.server.stats().accepted == 1


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this platform has no SIGUSR1")
def test_a_signal_handler_may_call_it(make_poller: MakePoller) -> None:
    server = Server(listen("127.0.0.1:0"), echo, poller=make_poller())
    main = threading.main_thread().ident
    assert main is not None

    def send() -> None:
        server.wait_ready(PATIENCE)
        signal.pthread_kill(main, signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, lambda number, frame: server.retire())
    try:
        sender = threading.Thread(target=send)
        sender.start()
        server.start()
        sender.join()
    finally:
        signal.signal(signal.SIGUSR1, previous)
