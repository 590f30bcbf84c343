"""Fixtures of the engine's tests: each poller, the explorer, and servers that are stopped when the test ends."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import selectors
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import Any

import pytest

from reserve.engine.drivers.handler import Park
from reserve.engine.polling.poller import EpollPoller, Poller, PortablePoller
from reserve.engine.server import Hooks, Server
from reserve.sockets.listeners import listen
from tests.clients import connect
from tests.engine.interleave import Scenario, Scheduler, explore, replace_locks
from tests.waiting import PATIENCE

MakePoller = Callable[[], Poller]
Explore = Callable[..., int]
POLLERS: dict[str, MakePoller] = {"select": lambda: PortablePoller(selectors.SelectSelector())}
if hasattr(selectors, "PollSelector"):
    POLLERS["poll"] = lambda: PortablePoller(selectors.PollSelector())
if hasattr(select, "epoll"):
    POLLERS["epoll"] = EpollPoller


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")


@pytest.fixture(params=sorted(POLLERS))
def make_poller(request: pytest.FixtureRequest) -> MakePoller:
    """Each of the pollers in turn."""
    return POLLERS[request.param]


@pytest.fixture
def exploring(monkeypatch: pytest.MonkeyPatch) -> Explore:
    """:func:`tests.engine.interleave.explore`, with the locks of the engine replaced."""
    now: list[Scheduler] = []
    replace_locks(monkeypatch, lambda: now[-1])

    def run(scenario: Scenario, tasks: int, preemptions: int, trace: str, alike: Sequence[int] = ()) -> int:
        def prepared(scheduler: Scheduler) -> Callable[[list[str]], None]:
            now[:] = [scheduler]
            return scenario(scheduler)

        return explore(prepared, tasks, preemptions, trace, alike)

    return run


class Log:
    """The error log of a server that keeps its lines, and a way to wait for one."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []
        self._changed = threading.Condition()

    def __call__(self, level: int, text: str) -> None:
        with self._changed:
            self.lines.append((level, text))
            self._changed.notify_all()

    def wait(self, part: str) -> str:
        with self._changed:
            assert self._changed.wait_for(lambda: any(part in text for _, text in self.lines), PATIENCE), self.lines
            return next(text for _, text in self.lines if part in text)

    @property
    def errors(self) -> list[str]:
        return [text for level, text in self.lines if level >= logging.ERROR]


class Running:
    """A server, its error log and its clients."""

    def __init__(self, server: Server, log: Log) -> None:
        self.server = server
        self.log = log
        self._clients: list[socket.socket] = []

    def connect(self, number: int = 0) -> socket.socket:
        """Connect to listener ``number``; the client is closed with the test and waits :data:`PATIENCE` at most."""
        address = self.server.addresses[number]
        client = connect(address if isinstance(address, str) else ("127.0.0.1", address[1]))
        self._clients.append(client)
        return client

    def close_clients(self) -> None:
        for client in self._clients:
            client.close()


Serve = Callable[..., Running]


@pytest.fixture
def serve(make_poller: MakePoller) -> Iterator[Serve]:
    """``serve(handle, *addresses, threads=2, ...)`` starts a server, on a free port if no address is given.

    It is stopped when the test ends.

    ``ssl_adapter``: the server speaks TLS; with ``upgrades`` only on connections whose handler calls ``start_tls``.
    """
    with contextlib.ExitStack() as stack:

        def start(handle: Any, *addresses: str, **options: Any) -> Running:
            log = Log()
            hooks = options.pop("hooks", None) or Hooks(error_log=log)
            options.setdefault("threads", 2)
            options["poller"] = options.get("poller") or make_poller()
            adapter, upgrades = options.pop("ssl_adapter", None), options.pop("upgrades", False)
            listeners = listen(*(addresses or ("127.0.0.1:0",)))
            server = Server(listeners, handle, without_tls=listeners if upgrades else (), hooks=hooks, **options)
            server.ssl_adapter = adapter
            running = Running(server, log)
            stack.callback(server.stop, 0)
            stack.callback(running.close_clients)
            server.serve_in_background()
            return running

        yield start


def upper_lines(sock: Any, address: Any, server: Any) -> Park:
    """A handler that sends back each line in capitals. Its makefile reads at most 16 bytes ahead."""
    file = sock.makefile("rb", 16)

    def resume() -> Park | None:
        line = file.readline()
        if not line:
            file.close()
            return None
        sock.sendall(line.upper())
        return Park(resume, reader=file)

    return Park(resume, reader=file)


def publishing(sockets: SimpleQueue[socket.socket], handle: Callable[..., Any]) -> Callable[..., Any]:
    """A handler that puts its socket into ``sockets`` and then does as ``handle``."""

    def put_and_handle(sock: socket.socket, address: Any, server: Any) -> Any:
        sockets.put(sock)
        return handle(sock, address, server)

    return put_and_handle


def recorded_polls(poller: Poller) -> list[float | None]:
    """The timeout of each call of ``poller.poll`` from now on."""
    poll, timeouts = poller.poll, list[float | None]()

    def record_and_poll(timeout: float | None) -> list[tuple[int, int]]:
        timeouts.append(timeout)
        return poll(timeout)

    poller.poll = record_and_poll  # type: ignore[method-assign]
    return timeouts


def echo(sock: Any, address: Any, server: Any) -> Park:
    """A handler that sends back what it receives, until the client closes its side."""

    def resume() -> Park | None:
        data = sock.recv(65536)
        if not data:
            return None
        sock.sendall(data)
        return Park(resume)

    return Park(resume)
