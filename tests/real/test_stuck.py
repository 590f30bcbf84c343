"""An application that is stuck is seen everywhere: ``reserve top``, the status page, the logs, the metrics.

The seconds that each of them took since the last thread began to hang are printed (``pytest -n0 -s
tests/real/test_stuck.py``), and not compared with anything. They are below one where the machine does nothing else. A
thread that is interrupted is called stuck after ``--request-timeout`` and one second more, which are in the figures.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reserve.control.client import ControlClient
from reserve.control.totals import Totals, totals
from tests.real.conftest import Serve
from tests.real.installing import Installed
from tests.real.processes import run
from tests.real.serving import ServerProcess, fetch
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFO")
THREADS = 2
OPTIONS = (
    *("--threads", str(THREADS), "--slow-request", "300ms", "--server-timing"),
    *("--status-path", "/status", "--metrics-path", "/metrics", "--metrics-bind", "127.0.0.1:0"),
    *("--request-id", "response", "--access-log-format", "json"),
    *("--health-path", "/health", "--log-level", "info"),
)
STATES = {"forever": "running", "interrupted": "stuck"}
"""What the threads do without and with ``--request-timeout``."""


class Site:
    """A server all of whose threads are stuck, and the ways to see that."""

    def __init__(self, installed: Installed, server: ServerProcess, folder: Path, processes: int, state: str) -> None:
        self._installed = installed
        self._server = server
        self._folder = folder
        self._processes = processes
        self._count = processes * THREADS
        self._state = state

    def _get(self, path: str, address: tuple[str, int] | None = None) -> str:
        with contextlib.closing(
            http.client.HTTPConnection(*(address or self._server.address), timeout=PATIENCE)
        ) as client:
            status, _, body = fetch(client, "GET", path)
            assert status == 200
            return body.decode()

    def is_ready(self) -> bool:
        """Whether all processes serve."""
        return self._totals().states.get("serving", 0) == self._processes

    def top(self) -> bool:
        command = [self._installed.reserve, "top", "--control", str(self._folder / "control")]
        result = run([*command, "--once", "--interval", "0.2"], text=True)
        assert result.returncode == 0, result.stderr
        return self._is_told(re.findall(rf"^.* {self._state} .*GET /wait\b.*$", result.stdout, re.MULTILINE))

    def page(self) -> bool:
        document: Any = json.loads(self._get("/status?json"))
        workers = [worker for process in document["processes"] for worker in process["stats"]["workers"]]
        return self._is_told([one for one in workers if (one["state"], one["request"]) == (self._state, "GET /wait")])

    def error_log(self) -> bool:
        lines = list(self._server.stderr)
        stacks = [
            text for text in lines if re.search(r"WARNING: GET /wait from .* has run for .* request ID \S+;", text)
        ]
        return self._is_told(stacks) and lines.count('    with open(gate, "rb") as file:') >= self._count

    def access_log(self) -> bool:
        """Which has the request when its client got a response."""
        requests = map(json.loads, (self._folder / "access.log").read_text().splitlines())
        return self._is_told([one for one in requests if one["target"] == "/wait" and one["status"] == 503])

    def metrics(self) -> bool:
        return self._are_metrics(self._get("/metrics"))

    def own_metrics(self) -> bool:
        (line,) = [line for line in self._server.banner if "metrics and health checks" in line]
        host, _, port = re.findall(r"http://([^/]+)/", line)[0].rpartition(":")
        return self._are_metrics(self._get("/metrics", (host, int(port))))

    def _are_metrics(self, text: str) -> bool:
        state = {"running": "busy"}.get(self._state, self._state)
        (value,) = re.findall(rf'^reserve_threads{{state="{state}"}} (\S+)$', text, re.MULTILINE)
        return float(value) >= self._count

    def _is_told(self, found: list[Any]) -> bool:
        return len(found) >= self._count

    def make_stuck(self, clients: contextlib.ExitStack) -> None:
        """Send requests until every thread is stuck in one; those that are too many wait for a thread."""
        sent = 0
        while self.stuck() < self._count:
            sent += 1
            client = clients.enter_context(socket.create_connection(self._server.address, PATIENCE))
            client.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            eventually(lambda: self.stuck() + self._totals().waiting_requests >= sent)  # noqa: B023

    def stuck(self) -> int:
        """How many threads run a request, or were given up in one."""
        found = self._totals()
        return found.busy + found.stuck

    def _totals(self) -> Totals:
        with ControlClient(str(self._folder / "control"), timeout=PATIENCE) as client:
            return totals(client.call("status"))


@contextlib.contextmanager
def closed_gate(folder: Path) -> Iterator[Callable[[], None]]:
    """A FIFO that nobody opens for writing, so that all who open it for reading wait; gives what ends that."""
    gate, fifo = folder / "gate", folder / "fifo"
    os.mkfifo(gate)

    def open_gate() -> None:
        if not fifo.exists():
            gate.rename(fifo)
            gate.touch()
            os.close(os.open(fifo, os.O_RDWR))

    try:
        yield open_gate
    finally:
        open_gate()


@pytest.mark.parametrize("kind", list(STATES))
@pytest.mark.parametrize("processes", [1, 2])
def test_every_view_shows_that_all_threads_are_stuck(
    processes: int, kind: str, serve: Serve, installed: Installed, short_path: Path
) -> None:
    options = [*OPTIONS, "--control", str(short_path / "control"), "--access-log-file", str(short_path / "access.log")]
    options += ["--processes", str(processes)]
    if kind == "interrupted":
        options += ["--request-timeout", "600ms", "--max-stuck", "0"]
    with closed_gate(short_path) as open_gate:
        arguments = ("app", "http", "wsgi", *options, "gate:launch", str(short_path / "gate"))
        with serve(*arguments, log=None) as server, contextlib.ExitStack() as clients:
            clients.callback(open_gate)
            site = Site(installed, server, short_path, processes, STATES[kind])
            eventually(site.is_ready)
            site.make_stuck(clients)
            start = time.monotonic()

            def seconds_until(is_shown: Callable[[], bool]) -> float:
                eventually(is_shown)
                return time.monotonic() - start

            views = [site.top, site.page, site.metrics, site.own_metrics, site.error_log]
            views += [site.access_log] * (kind == "interrupted")
            with ThreadPoolExecutor(len(views)) as pool:
                found = {view.__name__: pool.submit(seconds_until, view) for view in views}
            times = ", ".join(f"{name} {future.result():.2f} s" for name, future in found.items())
            open_gate()
            eventually(lambda: site.stuck() == 0)  # else the end of the server tells of threads that it leaves running
            print(f"\n{processes} process(es), {kind}: {times}")
