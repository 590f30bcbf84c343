"""``drain_delay``: a server that is asked to stop serves on for a time. ``exit_idle``: one that nobody uses stops."""

from __future__ import annotations

import socket
import threading

import pytest

from reserve.engine.server import Server
from reserve.sockets.listeners import listen
from reserve.testing import FakeClock
from tests.clients import connect, receive, receive_all
from tests.engine.conftest import MakePoller, Running, Serve, echo
from tests.waiting import PATIENCE, eventually


def ended(server: Server) -> bool:
    return server._lifecycle.finished.wait(PATIENCE)


def talk(client: socket.socket) -> None:
    client.sendall(b"x")
    assert receive(client, 1) == b"x"


def draining(serve: Serve, clock: FakeClock) -> tuple[Running, socket.socket]:
    running = serve(echo, clock=clock, drain_delay=10)
    client = running.connect()
    talk(client)
    running.server.request_stop()
    clock.advance(9)
    running.server.request_stop()  # does not begin the delay again
    return running, client


def test_a_server_that_drains_is_unhealthy_and_serves_old_and_new_clients(serve: Serve) -> None:
    clock = FakeClock()
    running, old = draining(serve, clock)
    server = running.server
    talk(old)
    talk(running.connect())
    assert (server.healthy, server.stopping, server.retiring) == (False, False, False)
    clock.advance(1)
    assert receive_all(old) == b""
    assert ended(server)
    assert server.aborted == 0


@pytest.mark.parametrize("timeout", [0, 5])
def test_a_stop_with_a_timeout_skips_the_delay(serve: Serve, timeout: float) -> None:
    running, old = draining(serve, FakeClock())
    running.server.request_stop(timeout)
    assert receive_all(old) == b""
    assert ended(running.server)


def test_requests_in_flight_have_their_whole_timeout_after_the_delay(serve: Serve) -> None:
    clock, release = FakeClock(), threading.Event()

    def handle(sock: socket.socket, address: object, server: Server) -> None:
        release.wait(PATIENCE)
        sock.sendall(b"finished")

    running = serve(handle, clock=clock, drain_delay=10, stop_timeout=7)
    server, client = running.server, running.connect()
    eventually(lambda: server.stats().busy == 1)
    server.request_stop()
    clock.advance(10)
    eventually(lambda: server.stopping)
    clock.advance(6)
    release.set()
    assert receive_all(client) == b"finished"
    assert ended(server)
    assert server.aborted == 0


def test_a_server_that_was_never_started_or_has_stopped_does_not_drain(make_poller: MakePoller) -> None:
    server = Server(listen("127.0.0.1:0"), echo, poller=make_poller(), clock=FakeClock(), drain_delay=10)
    server.stop()
    assert server._lifecycle.finished.is_set()
    server.stop()


def test_an_idle_server_leaves_the_next_client_to_whoever_has_the_listener(make_poller: MakePoller) -> None:
    clock = FakeClock()
    (listener,) = listen("127.0.0.1:0")
    with listener.dup() as systemd:
        server = Server(listener, echo, poller=make_poller(), clock=clock, exit_idle=10)
        with server:
            clock.advance(9)  # none was there yet
            with connect(server.addresses[0]) as client:
                talk(client)
                clock.advance(1000)
                talk(client)
                client.shutdown(socket.SHUT_WR)
                assert receive_all(client) == b""
            eventually(lambda: server._runtime.acceptor._idle_since == clock.now())
            clock.advance(9)
            assert not server.retiring
            clock.advance(1)
            assert ended(server)
        with connect(systemd.getsockname()) as late, Server(systemd.dup(), echo, poller=make_poller()) as again:
            talk(late)
            assert again.stats().accepted == 1


def test_a_connection_that_comes_within_the_time_begins_it_again(serve: Serve) -> None:
    clock = FakeClock()
    running = serve(echo, clock=clock, exit_idle=10)
    acceptor = running.server._runtime.acceptor
    for _ in range(3):
        eventually(lambda: acceptor._idle_since == clock.now())
        clock.advance(9)
        with running.connect() as client:
            talk(client)
        eventually(lambda: not running.server.stats().connections)
    assert not running.server.retiring
    eventually(lambda: acceptor._idle_since == clock.now())
    clock.advance(10)
    assert ended(running.server)


def test_requests_at_the_moment_of_the_exit_are_served_or_left(make_poller: MakePoller) -> None:
    """Each client gets its response, from this server or from the next one, which systemd starts."""
    (listener,) = listen("127.0.0.1:0")
    with listener.dup() as systemd:
        for _ in range(30):
            clock = FakeClock()
            server = Server(systemd.dup(), echo, poller=make_poller(), clock=clock, exit_idle=10)
            with server:
                assert server.wait_ready(PATIENCE)
                eventually(lambda server=server: server._runtime.acceptor._idle_since is not None)
                exits = threading.Thread(target=clock.advance, args=(10,))
                exits.start()
                with connect(systemd.getsockname()) as client:
                    client.sendall(b"x")
                    exits.join()
                    client.shutdown(socket.SHUT_WR)
                    finished = server._lifecycle.finished
                    eventually(lambda server=server, finished=finished: server.stats().accepted or finished.is_set())
                    if server.stats().accepted:
                        assert receive_all(client) == b"x"
                    else:
                        with Server(systemd.dup(), echo, poller=make_poller()):
                            assert receive_all(client) == b"x"
    listener.close()
