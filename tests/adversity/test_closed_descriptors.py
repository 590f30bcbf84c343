"""An application that closes descriptors of the server: nothing spins, the log stays short, the health check fails."""

from __future__ import annotations

import errno
import socket
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.engine.acceptor import Acceptor
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.poller import EpollPoller, PortablePoller, new_poller
from reserve.engine.server import Hooks
from reserve.sockets.listeners import listen
from reserve.testing import FakeClock
from tests.adversity.holding import honest
from tests.apps.http.responses import receive, request
from tests.clients import connect
from tests.engine.test_acceptor import Admits
from tests.waiting import PATIENCE, eventually

MAKERS = [PortablePoller, *([EpollPoller] if type(new_poller()) is EpollPoller else [])]


@pytest.mark.parametrize("make", MAKERS)
def test_a_poller_that_fails_is_not_called_again_at_once(make: type, monkeypatch: pytest.MonkeyPatch) -> None:
    from reserve.apps.http.server import ReserveWSGIServer

    log: list[str] = []
    failures: list[str] = []
    pauses: list[float] = []
    go_on = threading.Event()

    class Poller(make):  # type: ignore[misc]
        broken = False

        def poll(self, timeout: float | None) -> list[tuple[int, int]]:
            if self.broken:
                failures.append(threading.current_thread().name)
                raise OSError(errno.EBADF, "Bad file descriptor")
            found: list[tuple[int, int]] = super().poll(timeout)
            return found

    def pause(seconds: float) -> None:
        if seconds:
            pauses.append(seconds)
            assert go_on.wait(PATIENCE)

    for module in ("scheduler.workers", "scheduler.monitor"):
        monkeypatch.setattr(f"reserve.engine.{module}.time", SimpleNamespace(sleep=pause))
    poller = Poller()
    hooks = Hooks(error_log=lambda level, text: log.append(text))
    server = ReserveWSGIServer(
        listen("127.0.0.1:0"), honest, threads=2, poller=poller, hooks=hooks, clock=FakeClock(), access_log=False
    )
    try:
        server.serve_in_background()
        with connect(server.addresses[0]) as client:
            client.sendall(request())
            assert receive(client).status == 200
            poller.broken = True
            poller.wakeup.signal()
            eventually(lambda: len(pauses) >= 2)
            assert len(failures) <= 3  # each of the three threads that may lead, once
            assert len(set(failures)) == len(failures)
            poller.broken = False
            go_on.set()
            client.sendall(request())
            assert receive(client).status == 200  # a connection that has lost no event goes on
    finally:
        poller.broken = False
        go_on.set()
        server.stop(0)
    first_lines = [line.partition("\n")[0] for line in log]
    assert "a worker failed and starts again" in first_lines
    # One line for each kind of thread, and perhaps one count for each.
    assert len(set(first_lines)) == len(first_lines), first_lines


def test_a_closed_wakeup_does_not_make_the_accept_thread_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("reserve.engine.acceptor.time", SimpleNamespace(sleep=pauses.append))
    acceptor = Acceptor([], Admits([]), lambda: None, ErrorLog())
    fd = acceptor.wakeup.fd
    selector: Any = SimpleNamespace(select=lambda timeout: [(SimpleNamespace(fd=acceptor.wakeup.fd), 1)])
    try:
        for _ in range(3):
            acceptor._turn(selector)  # without a signal: an event may be spurious
        assert pauses == []
        acceptor.wakeup.fd = -1
        for _ in range(3):
            acceptor._turn(selector)
        assert len(pauses) == 3
    finally:
        acceptor.wakeup.fd = fd
        acceptor.wakeup.close()


def test_without_a_listener_the_health_check_fails() -> None:
    from reserve.apps.http.app import HTTPApp
    from reserve.engine.server import Server
    from reserve.gateways.wsgi import WSGIGateway

    log: list[str] = []
    listeners = [*listen("127.0.0.1:0"), *listen("127.0.0.1:0")]
    app = HTTPApp(WSGIGateway(honest), HTTPSettings(access_log=False, health_path="/health"))
    hooks = Hooks(error_log=lambda level, text: log.append(text))
    with Server(listeners, app, threads=1, hooks=hooks) as server, connect(server.addresses[0]) as client:

        def health() -> int:
            client.sendall(request("GET", "/health"))
            return receive(client).status

        assert health() == 200
        listeners[0].shutdown(socket.SHUT_RDWR)
        eventually(lambda: len(log) == 1)
        assert "1 more listens" in log[0]
        assert health() == 200
        listeners[1].shutdown(socket.SHUT_RDWR)
        eventually(lambda: len(log) == 2)
        assert "none is left" in log[1]
        assert not server.healthy
        assert health() == 503
        client.sendall(request("GET", "/"))
        assert receive(client).status == 200  # open connections are served
