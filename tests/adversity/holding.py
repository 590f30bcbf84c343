"""What the tests here have in common: a server that is observed, honest clients, and programs in other processes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.engine.server import Hooks
from reserve.testing import FakeClock, RunningServer, running
from tests import clients, tls
from tests.apps.http.responses import Response, receive, request
from tests.waiting import PATIENCE, eventually

THREADS = 2


class Watched:
    """A server with its clock, its log, and the number of descriptors that were open before the first client came."""

    def __init__(self, served: RunningServer, clock: FakeClock, log: list[str], *, secure: bool = False) -> None:
        self.served = served
        self.secure = secure
        self.server = served.server
        self.clock = clock
        self.log = log
        self.descriptors = descriptors()

    def connect(self, *, window: int = 0) -> socket.socket:
        """A client; ``window``: the bytes that its system receives for it when it does not read."""
        client = self.connect_plain(window=window)
        return tls.wrap_client(client) if self.secure else client

    def connect_plain(self, *, window: int = 0) -> socket.socket:
        """A client that has not begun a TLS handshake."""
        return clients.connect(self.served.address, window=window)

    @contextlib.contextmanager
    def crowd(self, count: int, sent: bytes = b"", *, window: int = 0) -> Iterator[list[socket.socket]]:
        """``count`` clients at once, each of which has sent ``sent``."""
        with contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(self.connect(window=window)) for _ in range(count)]
            for client in crowd:
                client.sendall(sent)
            yield crowd

    def ask(self, raw: bytes = b"") -> Response:
        """One request on a connection of its own."""
        with self.connect() as client:
            client.sendall(raw or request())
            return receive(client)

    def assert_serves(self, count: int = 3) -> None:
        """An honest client is served ``count`` times. (The first of its requests may overtake those that wait.)"""
        with self.connect() as client:
            for _ in range(count):
                client.sendall(request())
                response = receive(client)
                assert (response.status, response.body, response.whole) == (200, b"honest", True)

    def wait_until_parked(self, count: int) -> None:
        """Wait until ``count`` connections, all that were ever accepted, are parked and have no unread bytes."""

        def waits() -> bool:
            # In this order: a connection that is received from in between is not parked.
            if any(connection.has_unread() for connection in list(self.server._queue.connections.values())):
                return False
            return (now := self.server.stats()).parked == now.connections == now.accepted == count

        eventually(waits)

    def assert_nothing_left(self) -> None:
        """Every connection is closed and holds nothing any more; all threads are alive."""
        stats = self.server.stats

        def nothing() -> bool:
            now = stats()
            return not (now.connections or now.busy or now.queued or now.lingering or now.buffered or now.spooled)

        eventually(nothing)
        assert stats().threads == THREADS
        assert sum(worker.thread.is_alive() for worker in self.server._runtime.pool.workers) == THREADS
        assert self.server._runtime.monitor.thread.is_alive()
        eventually(lambda: descriptors() == self.descriptors)


@contextlib.contextmanager
def watched(app: Any, *, http: HTTPSettings | None = None, secure: bool = False, **options: Any) -> Iterator[Watched]:
    """Serve with two threads and a clock that stands still. ``secure``: its clients speak TLS."""
    clock = options.pop("clock", None) or FakeClock()
    log: list[str] = []
    hooks = Hooks(error_log=lambda level, text: log.append(text))
    if secure:
        options.setdefault("ssl_adapter", tls.adapter())
    with running(app, http=http, threads=THREADS, clock=clock, hooks=hooks, **options) as served:
        yield Watched(served, clock, log, secure=secure)


over_both = pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
"""The same clients over TCP and over TLS."""


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))


def honest(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"honest"]


class ReadsUploads:
    """An application that reads the body of each POST request, and then does as :func:`honest`."""

    def __init__(self) -> None:
        self.events: list[str] = []
        """For each POST request ``called``, and then ``raised`` or what it read."""

    def __call__(self, environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
        if environ["REQUEST_METHOD"] == "POST":
            self.events.append("called")
            try:
                self.events.append(repr(environ["wsgi.input"].read()))
            except OSError:
                self.events.append("raised")
                raise
        return honest(environ, start_response)


def child(program: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """A process that runs the source ``program``; its standard streams are pipes."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONWARNINGS": "error"}
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
        **options,
    )


@contextlib.contextmanager
def serving(program: str, *arguments: str, **options: Any) -> Iterator[Child]:
    """The process of ``program`` while the block runs. It has to exit with 0, without errors, when its input ends."""
    with child(program, *arguments, **options) as process:
        served = Child(process)
        try:
            yield served
            served.end()
        finally:
            process.kill()


class Child:
    """A process that :func:`serving` has started, and its pipes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.out = ""
        self.err = ""
        self._ended = False

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        watchdog = threading.Timer(PATIENCE, self.process.kill)
        watchdog.start()
        try:
            line = self.process.stdout.readline()
        finally:
            watchdog.cancel()
        assert line, self.process.stderr.read() if self.process.stderr is not None else ""
        return line.rstrip("\n")

    def tell(self, line: str) -> None:
        """Send it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self, code: int = 0, *, quiet: bool = True) -> None:
        """Close its input and wait until it exits."""
        if not self._ended:
            self._ended = True
            self.out, self.err = self.process.communicate(timeout=PATIENCE)
            assert self.process.returncode == code, self.err
            if quiet:
                assert self.err == "", self.err


def connect(port: int | str) -> socket.socket:
    """A client of a server in another process."""
    return socket.create_connection(("127.0.0.1", int(port)), PATIENCE)


def ask(port: int | str, raw: bytes = b"") -> Response:
    """One request on a connection of its own to a server in another process."""
    with connect(port) as client:
        client.sendall(raw or request("GET", "/", "Connection: close"))
        return receive(client)
