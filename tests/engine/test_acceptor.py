"""The accept thread: floods, errors of single connections and of listeners, no more descriptors."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reserve.engine.acceptor import Acceptor
from reserve.engine.logs.errorlog import ErrorLog
from tests.clients import receive
from tests.engine.conftest import Serve, echo
from tests.engine.programs import run_program


class Admits:
    """Admits every connection, and keeps the sockets."""

    def __init__(self, admitted: list[Any]) -> None:
        self.admitted = admitted

    def may_accept(self) -> bool:
        return True

    def count(self) -> int:
        return 0

    def close_idle(self, count: int) -> None:
        """Nothing is idle."""

    def admit(self, sock: socket.socket, peer: Any, listener: socket.socket) -> None:
        self.admitted.append(sock)


class Endless:
    """A listener that always has one more connection to accept."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.accepted = 0

    def fileno(self) -> int:
        return self.sock.fileno()

    def accept(self) -> Any:
        self.accepted += 1
        assert self.accepted < 1_000_000, "the accept thread goes on for ever"
        return None, None


@pytest.mark.parametrize("count", [1, 2])
def test_a_flood_of_new_connections_does_not_postpone_the_stop(count: int) -> None:
    ended, admitted = list[int](), list[Any]()
    with socket.socket() as one, socket.socket() as two:
        listeners = [Endless(sock) for sock in (one, two)[:count]]
        acceptor = Acceptor(
            listeners,  # type: ignore[arg-type]
            Admits(admitted),
            lambda: ended.append(len(admitted)),
            ErrorLog(),
        )
        acceptor.stop()
        acceptor._main()
        acceptor.wakeup.close()
    assert ended == [len(admitted)] == [count * 64 * 64]


def test_without_descriptors_the_server_pauses_logs_once_and_goes_on() -> None:
    program = """
import os, resource, socket, threading
from reserve import Hooks, Server, listen
lines, full = [], threading.Event()
def log(level, text):
    lines.append(text)
    full.set()
held, release = threading.Semaphore(0), threading.Event()
def handle(sock, address, server):
    sock.sendall(b"served")
server = Server(listen("127.0.0.1:0"), handle, threads=2, hooks=Hooks(error_log=log))
clients = [socket.socket() for _ in range(8)]
fillers = []
with server:
    server.wait_ready()
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            fillers.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    for client in clients:
        client.settimeout(30)
        client.connect(server.addresses[0])
    assert full.wait(30)
    assert server.stats().accepted == 0
    for filler in fillers:
        os.close(filler)
    print({client.recv(10) for client in clients}, server.stats().accepted)
    print(len(lines), lines[0])
for client in clients:
    client.close()
"""
    out = run_program(program).splitlines()
    assert out[0] == "{b'served'} 8"
    assert out[1].startswith("1 no new connections for now: Too many open files")
    assert "ulimit -n" in out[1]


def test_a_listener_that_was_shut_down_elsewhere_does_not_block_the_stop(serve: Serve) -> None:
    running = serve(echo, "127.0.0.1:0", "127.0.0.1:0")
    gone, _ = running.server._endpoints.listeners
    gone.shutdown(socket.SHUT_RDWR)
    running.log.wait("closed by another part of this program")
    client = running.connect(1)
    client.sendall(b"x")
    assert receive(client, 1) == b"x"
    running.server.stop()


def test_an_error_of_one_connection_does_not_pause_the_listener() -> None:
    errors: Iterator[int] = iter([errno.ECONNABORTED, errno.EPROTO, errno.EPERM])

    class Listener:
        def accept(self) -> Any:
            for number in errors:
                raise OSError(number, os.strerror(number))
            raise BlockingIOError

    listener: Any = Listener()
    acceptor = Acceptor([listener], Admits([]), lambda: None, ErrorLog())
    assert acceptor._accept(listener) is False
    assert next(errors, None) is None
    acceptor.wakeup.close()


def test_a_patch_that_comes_with_the_stop_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    log = ErrorLog(lambda level, text: lines.append(text))
    acceptor = Acceptor([], Admits([]), lambda: None, log)
    acceptor.stop()
    fake = SimpleNamespace(is_module_patched=lambda name: True)
    monkeypatch.setitem(sys.modules, "gevent.monkey", fake)
    acceptor._main()
    log.stop()
    acceptor.wakeup.close()
    (line,) = lines
    assert line.startswith("gevent has replaced threads or sockets of this process (")


@pytest.mark.parametrize("last", [False, True])
def test_a_new_wakeup_may_get_the_number_of_a_listener_that_was_closed_as_well(last: bool) -> None:
    lines: list[str] = []
    failures: list[str] = []
    log = ErrorLog(lambda level, text: lines.append(text))
    with socket.create_server(("127.0.0.1", 0)) as gone, socket.create_server(("127.0.0.1", 0)) as other:
        listeners = [gone] if last else [gone, other]
        number = gone.fileno()

        class Reopened:
            """A wake-up that was closed, and gets the number of the listener when it is opened again."""

            fd = -2

            def clear(self) -> bool:
                return self.fd == number

            def reopen(self) -> bool:
                self.fd = number
                return True

        acceptor = Acceptor(listeners, Admits([]), lambda: None, log, on_failure=failures.append)
        real, acceptor.wakeup = acceptor.wakeup, cast(Any, Reopened())
        registered: dict[Any, Any] = {number: gone}

        def register(fd: int, events: int) -> None:
            if fd in registered:
                raise KeyError(fd)  # as a selector does
            registered[fd] = fd

        selector: Any = SimpleNamespace(
            select=lambda timeout: [(SimpleNamespace(fd=-2, fileobj=-2), 1), (SimpleNamespace(fd=-3, fileobj=gone), 1)],
            register=register,
            unregister=lambda fd: SimpleNamespace(fileobj=registered.pop(fd, None)),
        )
        acceptor._turn(selector)
    real.close()
    log.stop()
    assert registered == {number: number}
    assert acceptor.accepted == 0
    assert acceptor.has_no_listener is last
    text = (failures if last else lines)[0]
    assert (len(failures), len(lines)) == ((1, 0) if last else (0, 1))
    assert text.startswith("its last listening socket" if last else "a listening socket was closed by another part")
    assert "Bad file descriptor" in text
