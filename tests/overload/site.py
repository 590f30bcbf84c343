"""What the tests here share: a server whose clock stands still, its log, its clients, and applications that wait."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reserve.engine.metrics.stats import Stats
from reserve.engine.server import Hooks
from reserve.testing import FakeClock, RunningServer, running
from tests import tls
from tests.apps.http.doubles import QUIET
from tests.apps.http.responses import Response, receive, request
from tests.clients import close_with_reset, connect
from tests.waiting import PATIENCE, eventually


class Site:
    """A running server with its clock, its log and its clients. Made by :func:`serving`."""

    def __init__(
        self, served: RunningServer, clock: FakeClock, log: list[str], stack: contextlib.ExitStack, *, secure: bool
    ) -> None:
        self.server = served.server
        self.address = served.address
        self.clock = clock
        self.log = log
        self._stack = stack
        self._secure = secure

    def connect(self, sent: bytes = b"", *, window: int = 0) -> socket.socket:
        """A client that has sent ``sent``; it is closed with the test.

        :param window: bytes that the client's system receives while the client does not read; 0: the system's default.
        """
        client = self._stack.enter_context(connect(self.address, window=window))
        if self._secure:
            client = self._stack.enter_context(tls.wrap_client(client))
        client.sendall(sent)
        return client

    def fetch(self, raw: bytes = b"") -> Response:
        """Send one request on a connection of its own."""
        with contextlib.closing(self.connect(raw or request())) as client:
            return receive(client)

    def stats(self) -> Stats:
        return self.server.stats()

    def wait_for_stats(self, **numbers: int) -> None:
        """Wait until :meth:`Server.stats` has these numbers."""
        eventually(lambda: all(getattr(self.stats(), name) == number for name, number in numbers.items()))

    def wait_queued(self, count: int) -> None:
        """Wait until ``count`` complete requests wait for a worker (``queued`` also counts what is not read yet)."""
        eventually(lambda: len(self.server._queue.run_queue.waiting) == count)

    def wait_idle(self) -> None:
        """Wait until one worker leads, or as many as may, and all others sleep.

        A client has its response before its worker is free, and a server accepts before its workers run. A request in
        between is served, too, but as one that finds no free worker.
        """
        queue = self.server._queue

        def is_idle() -> bool:
            leading = sum(not lead.free for lead in queue.leads.all)
            all_poll = 0 < leading == len(queue._reactor.polling) and queue.monitor_lead is None
            return all_poll and len(queue.leads.followers) == self.stats().threads - leading

        eventually(is_idle)

    def time_writes_out(self, timeout: float) -> None:
        """Advance the clock by more than ``timeout`` seconds until every connection is closed.

        More than once: as long as a kernel takes some of the output, that is progress. A client that reads has time
        again.
        """

        def is_empty() -> bool:
            self.clock.advance(timeout + 1)
            return self.stats().connections == 0

        eventually(is_empty)

    def wait_released(self) -> None:
        """Wait until the server holds nothing for any client."""
        self.wait_for_stats(connections=0, buffered=0, spooled=0, busy=0, queued=0)


@contextlib.contextmanager
def serving(app: Any, *, secure: bool = False, hooks: Any = None, **options: Any) -> Iterator[Site]:
    """Serve ``app`` with a clock that stands still; the clients are closed before the server.

    :param secure: over TLS.
    :param hooks: more arguments of :class:`Hooks` than ``error_log``.
    :param options: as for :func:`reserve.testing.running`; by default with one thread and no access log.
    """
    clock = FakeClock()
    log: list[str] = []
    options = {"threads": 1, "http": QUIET, **options}
    if secure:
        options["ssl_adapter"] = tls.adapter()
    all_hooks = Hooks(error_log=lambda level, text: log.append(text), **(hooks or {}))
    with running(app, clock=clock, hooks=all_hooks, **options) as served, contextlib.ExitStack() as stack:
        site = Site(served, clock, log, stack, secure=secure)
        try:
            site.wait_idle()
            yield site
        except BaseException:  # a test that has failed must not wait for its applications until the clock advances
            site.server.request_stop(0)
            raise


over_both = pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
"""The same clients over TCP and over TLS."""


def close_clients(site: Site, clients: list[socket.socket]) -> None:
    for client in clients:
        client.close()


def reset_clients(site: Site, clients: list[socket.socket]) -> None:
    for client in clients:
        close_with_reset(client)


def received_nothing(client: socket.socket) -> bool:
    """Neither a byte nor the end of the connection has arrived."""
    client.setblocking(False)
    try:
        client.recv(1) if isinstance(client, ssl.SSLSocket) else client.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    finally:
        client.settimeout(PATIENCE)
    return False


def open_files(folder: Path) -> int:
    """How many files in ``folder`` this process has open."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{name}").startswith(str(folder))
        except FileNotFoundError:
            continue
    return count
