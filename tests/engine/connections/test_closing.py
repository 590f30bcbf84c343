"""The end of TLS waits for room as everything else does that is sent, and never for long."""

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
from tests.engine.conftest import Running, Serve, receive_all
from tests.engine.sessions import ClearAdapter, ClearSession
from tests.waiting import PATIENCE, eventually


class Crowded(ClearSession):
    """Finds no room when it says goodbye for the first time, because just then the connection is full."""

    filled = 0
    forever = False
    """Finds none later, either."""

    def close_notify(self) -> None:
        if self.forever and self.calls["close_notify"]:
            raise WantWrite
        with contextlib.suppress(BlockingIOError):
            while not self.calls["close_notify"]:
                self.filled += self.socket.send(b"x" * 65536)
        try:
            super().close_notify()
        except BlockingIOError:
            raise WantWrite from None


class CrowdedAdapter(ClearAdapter):
    forever = False

    def session(self, sock: socket.socket) -> ClearSession:
        made = Crowded(sock)
        made.forever = self.forever
        self.sessions.append(made)
        return made


def handle(sock: Any, address: Any, server: Any) -> None:
    """Ends the connection at once."""


def site(environ: Any, start_response: Any) -> list[bytes]:
    """Answers; the connection lingers behind it."""
    start_response("204 No Content", [("Connection", "close")])
    return []


both_kinds = pytest.mark.parametrize("kind", ["handler", "http"])


def ending(serve: Serve, kind: str, **options: Any) -> tuple[Running, Any, socket.socket]:
    """A connection that has come to its end, and has no room."""
    adapter = CrowdedAdapter()
    application = handle if kind == "handler" else HTTPApp(WSGIGateway(site), HTTPSettings(access_log=False))
    running = serve(application, ssl_adapter=adapter, **options)
    client = running.connect()
    client.sendall(b"\x16" + (b"" if kind == "handler" else b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
    eventually(lambda: running.server.stats().flushing == 1)
    return running, adapter.sessions[0], client


@both_kinds
def test_close_notify_waits_until_the_client_reads(serve: Serve, kind: str) -> None:
    running, session, client = ending(serve, kind, clock=FakeClock())
    assert session.calls["close_notify"] == 1
    data = receive_all(client)
    assert data.endswith(b"x\0")
    assert data.count(b"x") == session.filled
    assert session.calls["close_notify"] <= 4, "it turned"
    client.close()
    eventually(lambda: running.server.stats().connections == 0)
    assert running.log.lines == []


@both_kinds
def test_a_client_that_never_reads_is_left_after_the_write_timeout(serve: Serve, kind: str) -> None:
    """It keeps what has left, and sees that the end is missing."""
    clock = FakeClock()
    running, session, client = ending(serve, kind, clock=clock, write_timeout=9.0)
    clock.advance(8.9)
    assert running.server.stats().flushing == 1
    clock.advance(0.2)
    eventually(lambda: running.server.stats().connections == 0)
    data = receive_all(client)
    assert data.endswith(b"x")
    assert data.count(b"x") == session.filled


def test_events_in_between_do_not_prolong_it(serve: Serve) -> None:
    """A stop looks at every connection, and leaves this one its time."""
    clock = FakeClock()
    running, session, client = ending(serve, "handler", clock=clock, write_timeout=9.0)
    clock.advance(5)
    stopping = threading.Thread(target=running.server.stop, args=(100,))
    stopping.start()
    eventually(lambda: session.calls["close_notify"] == 2)
    clock.advance(4.1)
    stopping.join(PATIENCE)
    assert not stopping.is_alive()
    assert receive_all(client).endswith(b"x")


def test_a_client_whose_time_is_over_gets_no_more_of_it(serve: Serve) -> None:
    adapter, clock = CrowdedAdapter(), FakeClock()
    adapter.forever = True

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


def test_a_broken_connection_says_nothing(serve: Serve) -> None:
    """What is reset, or given away, must not look like an orderly end."""
    adapter = CrowdedAdapter()

    def tearing(sock: Any, address: Any, server: Any) -> None:
        reset(server._find(sock))

    running = serve(tearing, ssl_adapter=adapter)
    client = running.connect()
    client.sendall(b"\x16")
    with pytest.raises(ConnectionResetError):
        receive_all(client)
    eventually(lambda: running.server.stats().connections == 0)
    assert adapter.sessions[0].calls["close_notify"] == 0


def test_a_socket_that_was_given_away_is_not_said_goodbye_for(serve: Serve) -> None:
    adapter = CrowdedAdapter()
    kept: list[Any] = []

    def keeping(sock: Any, address: Any, server: Any) -> None:
        kept.append(server.detach(sock))

    running = serve(keeping, ssl_adapter=adapter)
    client = running.connect()
    client.sendall(b"\x16")
    eventually(lambda: running.server.stats().accepted == 1 and running.server.stats().connections == 0)
    assert adapter.sessions[0].calls["close_notify"] == 0
    adapter.sessions[0].calls["close_notify"] = 1  # it has room
    kept[0].settimeout(PATIENCE)
    kept[0].sendall(b"mine")
    assert client.recv(10) == b"mine"
    kept[0].close()
    assert receive_all(client) == b"\0"
