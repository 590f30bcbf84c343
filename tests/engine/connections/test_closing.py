"""The close_notify of TLS waits for room as all other output does, and no longer than the write timeout."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

import pytest

from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.connections.closing import reset
from reserve.engine.drivers.handler import Park
from reserve.errors import WantWrite
from reserve.gateways.wsgi import WSGIGateway
from reserve.testing import FakeClock
from tests.clients import receive_all
from tests.engine.conftest import Running, Serve
from tests.engine.sessions import ClearAdapter, ClearSession
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
