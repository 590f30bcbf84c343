"""An application that closes descriptors of the server: nothing spins, the log stays short, and the server goes on or
ends in order."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.engine.acceptor import Acceptor
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.poller import READ, EpollPoller, PortablePoller, new_poller
from reserve.engine.polling.wakeup import Wakeup
from reserve.engine.server import Hooks
from reserve.sockets.listeners import listen
from reserve.testing import FakeClock
from reserve.wait import wait_for
from tests.adversity.holding import honest
from tests.apps.http.responses import receive, request
from tests.clients import connect
from tests.engine.programs import run_program
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
    with selectors.DefaultSelector() as selector:
        selector.register(acceptor.wakeup.fd, selectors.EVENT_READ)
        spurious: Any = SimpleNamespace(
            select=lambda timeout: [(SimpleNamespace(fd=acceptor.wakeup.fd), 1)],
            register=selector.register,
            unregister=selector.unregister,
        )
        try:
            for _ in range(3):
                acceptor._turn(spurious)  # without a signal: an event may be spurious
            fd, eventfd = acceptor.wakeup.fd, acceptor.wakeup._eventfd
            os.close(fd)
            assert os.open(os.devnull, os.O_RDONLY) == fd
            acceptor._turn(spurious)
            acceptor.wakeup.signal()
            assert selector.select(0)
            assert pauses == []
        finally:
            acceptor.wakeup.close()
            os.close(fd)
            if eventfd >= 0:
                os.close(eventfd)  # is left: its number might have belonged to another file, too


class Holding:
    """An application whose requests wait until the test lets them go on."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        self.entered.set()
        assert self.go_on.wait(PATIENCE)
        return honest(environ, start_response)


class Number:
    """A descriptor of a server that the application closes; its number is that of a client's connection afterwards."""

    def __init__(self, fd: int) -> None:
        self.ours, theirs = socket.socketpair()
        os.dup2(theirs.fileno(), fd)  # closes the descriptor of the server
        theirs.close()
        self.fd = fd

    def close(self) -> bytes:
        """What the client has received. The number still belongs to its connection."""
        os.close(self.fd)
        with self.ours as client:
            client.settimeout(PATIENCE)
            return client.recv(100)


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("which", ["fd", "other"])
def test_a_signal_never_reaches_a_client_whose_connection_has_the_number(portable: bool, which: str) -> None:
    wakeup = Wakeup(portable=portable)
    lost: list[int] = []
    wakeup.on_lost = lambda: lost.append(1)
    other = wakeup._eventfd if wakeup._pair is None else wakeup._pair[1].fileno()
    left = other if which == "fd" and not portable and wakeup._pair is None else -1
    number = Number(wakeup.fd if which == "fd" else other)
    for _ in range(3):
        wakeup.signal()
    if not wakeup.clear() or wakeup.lost:
        assert wakeup.reopen()
    assert lost
    wakeup.signal()
    assert wait_for(wakeup.fd, 0)
    assert wakeup.clear()
    wakeup.close()
    if left >= 0:
        os.close(left)  # its number might have belonged to another file, too
    assert number.close() == b""


def test_a_server_whose_wakeups_are_closed_goes_on_and_no_byte_reaches_a_client() -> None:
    from reserve.apps.http.server import ReserveWSGIServer

    log: list[str] = []
    hooks = Hooks(error_log=lambda level, text: log.append(text))
    server = ReserveWSGIServer(listen("127.0.0.1:0"), honest, threads=2, hooks=hooks, access_log=False)
    with server:
        wakeups = server._runtime.poller.wakeup, server._runtime.acceptor.wakeup
        numbers = []
        for wakeup in wakeups:
            fds = {wakeup.fd, wakeup._eventfd if wakeup._pair is None else wakeup._pair[1].fileno()}
            numbers += [Number(fd) for fd in fds]
            for _ in range(5):
                wakeup.signal()
                with connect(server.addresses[0]) as client:
                    client.sendall(request())
                    assert receive(client).status == 200
        server.stop()
    assert [number.close() for number in numbers] == [b""] * len(numbers)
    assert any("closed by another part of this program" in line for line in log)


@pytest.mark.skipif(type(new_poller()) is not EpollPoller, reason="this platform has no epoll")
def test_a_connection_that_gets_the_number_of_the_wakeup_does_not_take_its_place() -> None:
    poller = EpollPoller()
    lost: list[int] = []
    poller.wakeup.on_lost = lambda: lost.append(1)
    fd = poller.wakeup.fd
    number = Number(fd)
    poller.add(fd, READ)
    assert lost == [1]
    poller.wakeup.signal()
    assert [event[0] for event in poller.poll(None)] == [poller.wakeup.fd]
    number.ours.send(b"x")
    assert [event[0] for event in poller.poll(None)] == [fd]
    poller.close()
    os.close(fd)
    number.ours.close()


@pytest.mark.parametrize(
    "make", [selectors.SelectSelector, getattr(selectors, "PollSelector", selectors.SelectSelector)]
)
def test_a_wakeup_that_gets_the_number_of_a_closed_connection_takes_its_place(make: Any) -> None:
    gone, peer = socket.socketpair()  # before the wakeup: their numbers are lower
    poller = PortablePoller(make())
    number = gone.fileno()
    poller.add(number, READ)
    assert poller.poll(0) == []
    gone.close()
    os.close(poller.wakeup.fd)
    poller.poll(0)
    assert poller.wakeup.fd == number
    for _ in range(2):
        poller.wakeup.signal()
        assert wait_for(poller.wakeup.fd, 0)
        assert poller.poll(None) == []
        assert not wait_for(poller.wakeup.fd, 0)
        poller.remove(number)  # the server closes the connection when its deadline has passed
    poller.close()
    peer.close()


def test_a_connection_that_gets_the_number_of_a_portable_wakeup_is_watched() -> None:
    poller = PortablePoller()
    lost: list[int] = []
    poller.wakeup.on_lost = lambda: lost.append(1)
    fd = poller.wakeup.fd
    number = Number(fd)
    poller.add(fd, READ)
    assert poller.poll(0) == []
    assert lost == [1]
    number.ours.send(b"x")
    assert [event[0] for event in poller.poll(None)] == [fd]
    poller.wakeup.signal()
    assert poller.poll(None) == []
    poller.close()
    os.close(fd)
    number.ours.close()


@pytest.mark.skipif(type(new_poller()) is not EpollPoller, reason="this platform has no epoll")
def test_a_wakeup_whose_poller_was_closed_says_so_once() -> None:
    poller = EpollPoller()
    lost: list[bool] = []
    poller.wakeup.on_lost = lambda: lost.append(poller.wakeup.lost)
    number = Number(poller._epoll.fileno())
    eventfd = poller.wakeup._eventfd
    for _ in range(3):
        poller.wakeup.signal()
    assert lost == [True]
    poller.close()
    os.close(eventfd)  # is left: its number might have belonged to another file, too
    assert number.close() == b""


def test_without_a_listener_the_server_finishes_its_requests_and_ends() -> None:
    from reserve.apps.http.app import HTTPApp
    from reserve.engine.server import Server
    from reserve.gateways.wsgi import WSGIGateway

    log: list[str] = []
    listeners = [*listen("127.0.0.1:0"), *listen("127.0.0.1:0")]
    holding = Holding()
    app = HTTPApp(WSGIGateway(holding), HTTPSettings(access_log=False, health_path="/health"))
    hooks = Hooks(error_log=lambda level, text: log.append(text))
    with Server(listeners, app, threads=2, hooks=hooks) as server, connect(server.addresses[0]) as client:

        def health() -> int:
            client.sendall(request("GET", "/health"))
            return receive(client).status

        assert health() == 200
        listeners[0].shutdown(socket.SHUT_RDWR)
        eventually(lambda: len(log) == 1)
        assert "1 more listens" in log[0]
        assert health() == 200
        client.sendall(request("GET", "/"))
        assert holding.entered.wait(PATIENCE)
        listeners[1].shutdown(socket.SHUT_RDWR)
        eventually(lambda: server.failure is not None)
        assert "its last listening socket" in str(server.failure)
        assert not server.healthy
        holding.go_on.set()
        assert receive(client).status == 200
        assert server._lifecycle.finished.wait(PATIENCE)
    assert log[1:] == [str(server.failure)]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("found_by", ["wakeup", "poll"])
def test_without_its_poller_the_server_finishes_its_requests_and_ends(make: type, found_by: str) -> None:
    from reserve.apps.http.server import ReserveWSGIServer

    polls: list[float | None] = []

    class Poller(make):  # type: ignore[misc]
        def poll(self, timeout: float | None) -> list[tuple[int, int]]:
            polls.append(timeout)
            found: list[tuple[int, int]] = super().poll(timeout)
            return found

    log: list[str] = []
    holding = Holding()
    poller = Poller()
    hooks = Hooks(error_log=lambda level, text: log.append(text))
    server = ReserveWSGIServer(
        listen("127.0.0.1:0"), holding, threads=2, poller=poller, hooks=hooks, access_log=False, clock=FakeClock()
    )
    with server, connect(server.addresses[0]) as idle, connect(server.addresses[0]) as client:
        client.sendall(request())
        assert holding.entered.wait(PATIENCE)
        eventually(lambda: server.stats().parked == 1)
        count = len(polls)
        eventfd = poller.wakeup._eventfd
        number = Number((poller._epoll if make is EpollPoller else poller._selector).fileno())
        if found_by == "wakeup":
            poller.wakeup.signal()
        else:
            idle.shutdown(socket.SHUT_WR)  # the thread that waits in the poller returns from it once more
        if make is PortablePoller:
            poller.wakeup.signal()
        eventually(lambda: server.failure is not None)
        assert "the descriptor with which it waits for its connections" in str(server.failure)
        assert idle.recv(1) == b""
        assert len(polls) - count < 20  # it waits, and does not try again and again
        holding.go_on.set()
        assert receive(client).status == 200
        assert server._lifecycle.finished.wait(PATIENCE)
        server.stop()
    assert len(polls) - count < 20
    assert [line for line in log if "cannot go on" in line] == [str(server.failure)]
    assert len(log) <= 2, log
    if eventfd >= 0:
        os.close(eventfd)  # is left: its number might have belonged to another file, too
    assert number.close() == b""


STARTED = """
import os, threading
from reserve import Hooks, Server, listen
from reserve.errors import ServerFailed
log = []
def handle(sock, address, server):
    return None
def make(listeners):
    return Server(listeners, handle, threads=2, hooks=Hooks(error_log=lambda level, text: log.append(text)))
"""


def test_start_of_an_embedded_server_raises_why_it_could_not_go_on() -> None:
    program = f"""{STARTED}
server = make(listen("127.0.0.1:0"))
def close():
    server.wait_ready()
    os.closerange(3, 70000)
    server._runtime.poller.wakeup.signal()
    server.stop()
    stopped.append("stopped")
stopped = []
thread = threading.Thread(target=close)
thread.start()
try:
    server.start()
except ServerFailed as error:
    print(error is server.failure, [line for line in log if "cannot go on" in line] == [str(error)])
thread.join()
print(*stopped, len(log) <= 3 or log)
"""
    assert run_program(program).splitlines() == ["True True", "stopped True"]


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this platform has no UNIX sockets")
def test_a_stop_does_without_an_accept_thread_that_cannot_be_woken(tmp_path: Path) -> None:
    program = f"""{STARTED}
path = {str(tmp_path / "s.sock")!r}
server = make(listen("unix:" + path))
server.serve_in_background()
main = server._runtime.acceptor.thread.native_id
def blocked():
    with open(f"/proc/self/task/{{main}}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "S"
if os.path.exists("/proc/self/task"):
    while not blocked():
        pass
os.unlink(path)
acceptor = server._runtime.acceptor
for fd in (server._endpoints.listeners[0].fileno(), acceptor.wakeup.fd, acceptor.wakeup._eventfd):
    os.close(fd)
server.stop()
print(server.stats().connections, len(log) <= 2 or log)
"""
    assert run_program(program) == "0 True\n"
