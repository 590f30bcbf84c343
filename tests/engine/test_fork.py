"""A process that forks while a server runs: the child closes its copies and calls no hook."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import weakref
from queue import SimpleQueue
from typing import Any

import pytest

from reserve.engine import fork
from reserve.engine.drivers.handler import Park
from reserve.engine.server import Hooks, Server
from tests.clients import receive
from tests.engine.conftest import Serve, needs_fork
from tests.engine.programs import run_program
from tests.waiting import PATIENCE, eventually


class ChildMessages:
    """A pipe from the forked child to the test."""

    def __init__(self) -> None:
        self._parent = os.getpid()
        self._reader, self._writer = os.pipe()

    def write(self, message: bytes) -> None:
        os.write(self._writer, message)

    def report_call(self, reason: str = "") -> None:
        """A hook: the child writes that it was called."""
        if os.getpid() != self._parent:
            self.write(b"called")

    def read(self) -> bytes:
        """Wait for the next message."""
        return os.read(self._reader, 1000)

    def close_and_read(self) -> bytes:
        """What the child has written and was not read yet."""
        os.close(self._writer)
        with open(self._reader, "rb") as reader:
            return reader.read()


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("returns", [False, True])
def test_a_forked_child_closes_its_descriptors_and_the_parent_goes_on(serve: Serve, returns: bool) -> None:
    messages = ChildMessages()

    def handle(sock: socket.socket, address: Any, server: Server) -> Any:
        def resume() -> Any:
            fds = {connection.fd for connection in server._queue.connections.values()}
            fds |= {one.fileno() for one in server._endpoints.listeners}
            fds |= {server._runtime.acceptor.wakeup.fd, server._runtime.poller.wakeup.fd}
            epoll = getattr(server._runtime.poller, "_epoll", None)
            fds.add(-1 if epoll is None else epoll.fileno())
            if not sock.recv(10):
                return None
            pid = os.fork()
            if not pid:
                try:
                    open_fds = [fd for fd in fds if fd >= 0 and os.path.exists(f"/proc/self/fd/{fd}")]
                    server.stop()
                    messages.write(repr(sorted(open_fds)).encode())
                finally:
                    if not returns:
                        os._exit(0)
                return Park(resume, on_close=messages.report_call)
            os.waitpid(pid, 0)
            sock.sendall(b"parent")
            return Park(resume, on_close=messages.report_call)

        return Park(resume, on_close=messages.report_call)

    running = serve(
        handle, threads=1, hooks=Hooks(on_thread_stop=messages.report_call, on_worker_stop=messages.report_call)
    )
    idle, client = running.connect(), running.connect()
    for _ in range(2):
        client.sendall(b"fork")
        assert receive(client, 6) == b"parent"
        assert messages.read() == b"[]"
    client.close()
    idle.close()
    eventually(lambda: running.server.stats().connections == 0)
    running.server.stop()
    assert messages.close_and_read() == b""  # the child has called no hook and no on_close


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("how", ["return", "park", "raise", "lost"])
@pytest.mark.parametrize("request_timeout", [0.0, 1000.0])
def test_a_forked_child_that_returns_from_the_handler_needs_no_lock_and_calls_no_hook(
    serve: Serve, how: str, request_timeout: float
) -> None:
    """In the child every lock of the server is held, as if by threads that the fork has not copied."""
    messages = ChildMessages()
    statuses: SimpleQueue[int] = SimpleQueue()

    def handle(sock: socket.socket, address: Any, server: Server) -> Any:
        def resume() -> Any:
            if not sock.recv(10):
                return None
            signalling = [server._runtime.poller.wakeup._signalling, server._runtime.acceptor.wakeup._signalling]
            for one in signalling:  # another thread is inside of signal()
                one.append(True)
            pid = os.fork()
            if pid:
                for one in signalling:
                    one.pop()
                watchdog = threading.Timer(15, os.kill, (pid, signal.SIGKILL))
                watchdog.start()
                statuses.put(os.waitpid(pid, 0)[1])
                watchdog.cancel()
                watchdog.join()
                sock.sendall(b"parent")
                return Park(resume, on_close=messages.report_call)
            queue = server._queue
            stepper = server._runtime.stepper
            for lock in (
                queue.registry._lock, queue.timers._lock, server._runtime.budget._lock, stepper._lock,
                server._runtime.pool._lock, server._runtime.log._writer._waiter._acquire.__self__, stepper.closer._lock,
            ):  # fmt: skip
                lock.acquire(blocking=False)
            messages.write(b"held")
            server.stop()
            if how == "raise":
                raise ValueError("in the child")
            if how == "lost":
                raise ConnectionResetError("in the child")
            return Park(resume, on_close=messages.report_call) if how == "park" else None

        return Park(resume, on_close=messages.report_call)

    hooks = Hooks(
        on_thread_stop=messages.report_call,
        on_worker_stop=messages.report_call,
        error_log=lambda level, text: messages.report_call(),
    )
    running = serve(handle, threads=1, hooks=hooks, request_timeout=request_timeout)
    client = running.connect()
    client.sendall(b"fork")
    assert receive(client, 6) == b"parent"
    assert statuses.get(timeout=PATIENCE) == 0
    assert messages.read() == b"held"
    client.close()
    eventually(lambda: running.server.stats().connections == 0)
    running.server.stop()
    assert messages.close_and_read() == b""  # the child has called no hook and no on_close


@needs_fork
@pytest.mark.skipif(not hasattr(select, "epoll"), reason="Linux")
def test_a_child_of_the_main_thread_may_leave_the_with_block() -> None:
    program = """
import os, socket, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from reserve import Park, Server, listen
with Server(listen("127.0.0.1:0"), lambda *arguments: Park(lambda: None)) as server:
    server.wait_ready()
    client = socket.create_connection(server.addresses[0])
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        client.sendall(b"x")
        assert client.recv(1) == b""
        client.close()
print("child" if not child else "parent", flush=True)
"""
    assert run_program(program).split() == ["child", "parent"]


def test_an_error_of_one_holder_does_not_keep_the_others_from_closing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Holder:
        closed = 0

        def close_copies(self) -> None:
            Holder.closed += 1
            raise OSError("cannot be closed")

    monkeypatch.setattr(fork, "_watched", weakref.WeakSet())
    holders = [Holder(), Holder()]
    for holder in holders:
        fork.watch(holder)
    fork._close_all()
    assert Holder.closed == 2
    assert capsys.readouterr().err.count("OSError: cannot be closed") == 2
