"""The close of a connection: close_notify waits for room as output does, and lingering is bounded."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any, cast

import pytest

from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.connections.closing import reset
from reserve.engine.connections.driver import CLOSE
from reserve.engine.drivers.handler import Park
from reserve.engine.polling.poller import EpollPoller
from reserve.errors import WantWrite
from reserve.gateways.wsgi import WSGIGateway
from reserve.testing import FakeClock
from tests.clients import receive_all
from tests.engine.conftest import MakePoller, Running, Serve
from tests.engine.interleave import Scheduler
from tests.engine.linedriver import LineApplication
from tests.engine.sessions import ClearAdapter, ClearSession
from tests.engine.world import World, set_driver
from tests.waiting import PATIENCE, eventually


class FullSession(ClearSession):
    """A session whose first close_notify finds no room, because the socket is filled just before it."""

    filled = 0
    always_full = False
    """No later close_notify finds room, either."""

    def close_notify(self) -> None:
        if self.always_full and self.calls["close_notify"]:
            raise WantWrite
        with contextlib.suppress(BlockingIOError):
            while not self.calls["close_notify"]:
                self.filled += self.socket.send(b"x" * 65536)
        try:
            super().close_notify()
        except BlockingIOError:
            raise WantWrite from None


class FullAdapter(ClearAdapter):
    """Makes such sessions."""

    always_full = False

    def session(self, sock: socket.socket) -> ClearSession:
        session = FullSession(sock)
        session.always_full = self.always_full
        self.sessions.append(session)
        return session


def handle(sock: Any, address: Any, server: Any) -> None:
    """A handler that closes its connection at once."""


def site(environ: Any, start_response: Any) -> list[bytes]:
    """An application after whose response the connection lingers."""
    start_response("204 No Content", [("Connection", "close")])
    return []


both_kinds = pytest.mark.parametrize("kind", ["handler", "http"])


def serve_until_closing(serve: Serve, kind: str, **options: Any) -> tuple[Running, Any, socket.socket]:
    """Serve one connection until it is to be closed and its socket has no room."""
    adapter = FullAdapter()
    application = handle if kind == "handler" else HTTPApp(WSGIGateway(site), HTTPSettings(access_log=False))
    running = serve(application, ssl_adapter=adapter, **options)
    client = running.connect()
    client.sendall(b"\x16" + (b"" if kind == "handler" else b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
    eventually(lambda: running.server.stats().flushing == 1)
    return running, adapter.sessions[0], client


@both_kinds
def test_close_notify_waits_until_the_client_reads(serve: Serve, kind: str) -> None:
    running, session, client = serve_until_closing(serve, kind, clock=FakeClock())
    assert session.calls["close_notify"] == 1
    data = receive_all(client)
    assert data.endswith(b"x\0")
    assert data.count(b"x") == session.filled
    assert session.calls["close_notify"] <= 4, "the leader spins"
    client.close()
    eventually(lambda: running.server.stats().connections == 0)
    assert running.log.lines == []


@both_kinds
def test_a_client_that_never_reads_is_closed_after_the_write_timeout(serve: Serve, kind: str) -> None:
    """It keeps what was sent before, and sees that the close_notify is missing."""
    clock = FakeClock()
    running, session, client = serve_until_closing(serve, kind, clock=clock, write_timeout=9.0)
    clock.advance(8.9)
    assert running.server.stats().flushing == 1
    clock.advance(0.2)
    eventually(lambda: running.server.stats().connections == 0)
    data = receive_all(client)
    assert data.endswith(b"x")
    assert data.count(b"x") == session.filled


def test_events_do_not_extend_the_write_timeout(serve: Serve) -> None:
    """A stop visits every connection, and does not change the deadline of this one."""
    clock = FakeClock()
    running, session, client = serve_until_closing(serve, "handler", clock=clock, write_timeout=9.0)
    clock.advance(5)
    stopping = threading.Thread(target=running.server.stop, args=(100,))
    stopping.start()
    eventually(lambda: session.calls["close_notify"] == 2)
    clock.advance(4.1)
    stopping.join(PATIENCE)
    assert not stopping.is_alive()
    assert receive_all(client).endswith(b"x")


def test_a_connection_that_timed_out_gets_no_more_time_for_its_close_notify(serve: Serve) -> None:
    adapter, clock = FullAdapter(), FakeClock()
    adapter.always_full = True

    def waiting(sock: Any, address: Any, server: Any) -> Park:
        return Park(lambda: None, timeout=5)

    running = serve(waiting, ssl_adapter=adapter, clock=clock)
    client = running.connect()
    client.sendall(b"\x16")
    eventually(lambda: running.server.stats().parked == running.server.stats().handled == 1)
    clock.advance(5.1)
    eventually(lambda: running.server.stats().connections == 0)
    assert adapter.sessions[0].calls["close_notify"] >= 1
    assert receive_all(client).endswith(b"x")


def test_a_reset_connection_sends_no_close_notify(serve: Serve) -> None:
    """A connection that is reset must not look as if it had been closed in order."""
    adapter = FullAdapter()

    def resetting(sock: Any, address: Any, server: Any) -> None:
        reset(server._find(sock))

    running = serve(resetting, ssl_adapter=adapter)
    client = running.connect()
    client.sendall(b"\x16")
    with pytest.raises(ConnectionResetError):
        receive_all(client)
    eventually(lambda: running.server.stats().connections == 0)
    assert adapter.sessions[0].calls["close_notify"] == 0


def test_a_detached_socket_gets_no_close_notify(serve: Serve) -> None:
    adapter = FullAdapter()
    kept: list[Any] = []

    def keeping(sock: Any, address: Any, server: Any) -> None:
        kept.append(server.detach(sock))

    running = serve(keeping, ssl_adapter=adapter)
    client = running.connect()
    client.sendall(b"\x16")
    eventually(lambda: running.server.stats().accepted == 1 and running.server.stats().connections == 0)
    assert adapter.sessions[0].calls["close_notify"] == 0
    adapter.sessions[0].calls["close_notify"] = 1  # from now on it has room
    kept[0].settimeout(PATIENCE)
    kept[0].sendall(b"mine")
    assert client.recv(10) == b"mine"
    kept[0].close()
    assert receive_all(client) == b"\0"


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


@pytest.mark.parametrize("final_run", [False, True])
def test_a_reset_does_not_begin_with_an_orderly_shutdown(final_run: bool) -> None:
    world = World(Scheduler())
    connection = world.connection()
    set_driver(connection, on_close=lambda reason: final_run)
    reset(connection)
    world.stepper.closer.close(connection, "error")
    assert not cast(Any, connection.sock).shut
    assert connection.final_run is final_run


def test_a_driver_that_fails_in_on_close_is_called_once_and_its_socket_is_closed() -> None:
    world = World(Scheduler())
    failures = world.record_failures()
    connection = world.connection()
    reasons: list[str] = []

    def on_close(reason: str) -> bool:
        reasons.append(reason)
        raise ValueError("a fault")

    set_driver(connection, step=lambda events, now: CLOSE, on_close=on_close)
    assert not world.stepper.advance(connection, world.clock.now())
    assert (world.closed, reasons) == ([connection], ["done"])
    assert failures == ["a protocol driver failed at the end of its connection: a fault"]
