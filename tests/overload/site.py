"""What the tests here have in common: a server whose clock stands, its log, and applications that wait to be told."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.engine.server import Hooks
from reserve.testing import FakeClock, RunningServer, running
from tests import clients, tls
from tests.apps.http.responses import Response, receive, request
from tests.waiting import eventually

PATIENCE = 60.0
"""Seconds that guard a test against waiting for ever."""
QUIET = HTTPSettings(access_log=False)


class Gate:
    """An application whose requests to /wait stop until they are let go; all others are answered at once."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self._open = threading.Event()
        self.paths: list[str] = []
        """Of the requests that it was called for, in order."""

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        self.paths.append(environ["PATH_INFO"])
        environ["wsgi.input"].read()
        if environ["PATH_INFO"] == "/wait":
            self.entered.release()
            assert self._open.wait(PATIENCE)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"served"]

    def inside(self, count: int = 1) -> None:
        """Wait until so many more have come in."""
        for _ in range(count):
            assert self.entered.acquire(timeout=PATIENCE)

    def let_go(self) -> None:
        self._open.set()


class Site:
    def __init__(self, served: RunningServer, clock: FakeClock, stack: contextlib.ExitStack) -> None:
        self.server = served.server
        self.address = served.address
        self.clock = clock
        self.log: list[str] = []
        self.secure = False
        """Its clients speak TLS."""
        self._stack = stack

    def connect(self, sent: bytes = b"", *, window: int = 0) -> socket.socket:
        """A client, closed with the test; ``window``: what its system takes for it when it does not read."""
        client = self._stack.enter_context(clients.connect(self.address, PATIENCE, window=window))
        if self.secure:
            client = self._stack.enter_context(tls.wrap_client(client))
        client.sendall(sent)
        return client

    def ask(self, raw: bytes = b"") -> Response:
        """One request on a connection of its own."""
        with contextlib.closing(self.connect(raw or request())) as client:
            return receive(client)

    def stats(self) -> Any:
        return self.server.stats()

    def waits(self, **numbers: int) -> None:
        """Wait until the numbers of :meth:`Server.stats` are these."""
        eventually(lambda: all(getattr(self.stats(), name) == number for name, number in numbers.items()))

    def queue_holds(self, count: int) -> None:
        """Wait until so many complete requests wait for a worker (``queued`` counts what has not been read, too)."""
        eventually(lambda: len(self.server._queue.run_queue.waiting) == count)

    def rests(self) -> None:
        """Wait until every worker is free and in its place: one leads, and the others sleep.

        A client has its answer before its worker is free, and a server accepts before its workers run. Who asks in
        between is served all the same, but as one who finds no free worker is.
        """
        queue = self.server._queue

        def in_place() -> bool:
            idle = queue._reactor.polling and not queue.monitor_leads and not queue.lead.free
            return idle and len(queue.lead.followers) == self.stats().threads - 1

        eventually(in_place)

    def gives_everything_back(self) -> None:
        self.waits(connections=0, buffered=0, spooled=0, busy=0, queued=0)


@contextlib.contextmanager
def site(app: Any, **options: Any) -> Iterator[Site]:
    """Serve on one thread (or ``threads``), with a clock that stands; clients are closed before the server.

    ``secure``: over TLS.
    """
    clock = FakeClock()
    log: list[str] = []
    options.setdefault("threads", 1)
    options.setdefault("http", QUIET)
    secure = options.pop("secure", False)
    if secure:
        options["ssl_adapter"] = tls.adapter()
    hooks = options.pop("hooks", {})
    hooks["error_log"] = lambda level, text: log.append(text)
    with running(app, clock=clock, hooks=Hooks(**hooks), **options) as served, contextlib.ExitStack() as stack:
        one = Site(served, clock, stack)
        one.log = log
        one.secure = secure
        try:
            one.rests()
            yield one
        except BaseException:  # a test that has failed does not wait for its applications until the clock goes on
            one.server.request_stop(0)
            raise


over_both = pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
"""The same clients over TCP and over TLS."""


def silent(client: socket.socket) -> bool:
    """Has nothing come, not even an end?"""
    client.setblocking(False)
    try:
        client.recv(1) if isinstance(client, ssl.SSLSocket) else client.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    finally:
        client.settimeout(PATIENCE)
    return False


def open_files(folder: Path) -> int:
    """How many files in there this process has open."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{name}").startswith(str(folder))
        except FileNotFoundError:
            continue
    return found
