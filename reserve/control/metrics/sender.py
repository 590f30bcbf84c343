"""The thread that sends the metrics of all processes to a StatsD server (``--statsd``)."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol

from reserve.control.collector import Collector
from reserve.control.metrics.statsd import datagrams, statsd_lines
from reserve.control.metrics.target import StatsDTarget
from reserve.control.totals import Totals, totals
from reserve.engine.polling.patching import SystemThread
from reserve.engine.polling.threads import start_service

__all__ = ["StatsDSender"]

_PATIENCE = 2.0
"""Seconds that the other processes may take to tell their numbers."""


class _Log(Protocol):
    def warning(self, text: str, kind: str = "") -> None: ...


class StatsDSender:
    """Sends the metrics every few seconds; owned by the command, which calls :meth:`start` and :meth:`stop`.

    With several processes each has one. All look at the same moments, the multiples of the interval, and the one in the
    lowest slot that serves sends: when it ends, another goes on. What is counted twice or not at all is that of the
    moment by which their looks differ, or of an interval in which the sender was stopped for seconds.

    :param collector: makes the documents.
    :param target: where they are sent.
    :param interval: seconds.
    :param tags: see :func:`~reserve.control.metrics.statsd.statsd_lines`.
    """

    def __init__(
        self, collector: Collector, target: StatsDTarget, interval: float, log: _Log, *, tags: bool = False
    ) -> None:
        self._collector, self._target, self._interval, self._log, self._tags = collector, target, interval, log, tags
        self._ended = threading.Event()
        self._thread = SystemThread(target=self._run, name="reserve-statsd", daemon=True)
        self._before: Totals | None = None
        """At the beginning of the interval."""
        self._before_at = 0.0
        """When that was, on the monotonic clock."""

    def start(self) -> None:
        """:raises StartupError: the system starts no more threads."""
        start_service(self._thread)

    def stop(self) -> None:
        """Send what has been counted since the last time, and end. Waits for a second at most."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        self.send()
        while not self._ended.wait(self._interval - time.time() % self._interval):
            self.send()
        self.send(timeout=0.5)

    def send(self, timeout: float = _PATIENCE) -> None:
        """Send what has been counted since the last call; the first call only begins to count. By its own thread.

        :param timeout: seconds that the other processes may take to tell their numbers.
        """
        document = self._collector.collect(timeout)
        now_at, now = time.monotonic(), totals(document)
        before, before_at, self._before, self._before_at = self._before, self._before_at, now, now_at
        if before is None or not _is_sender(document):
            return
        is_late = now_at - before_at > self._interval * 1.5 + _PATIENCE
        if is_late and document["supervisor"] is not None:
            return  # this process was stopped meanwhile, and another one has sent a part of it
        try:
            self._transmit(before, now)
        except (OSError, UnicodeError) as error:  # UnicodeError: of a host that no name can be
            host, port = self._target.host, self._target.port
            self._log.warning(f"--statsd: nothing can be sent to {host}:{port}: {error}", "metrics for --statsd")

    def _transmit(self, before: Totals, now: Totals) -> None:
        lines = statsd_lines(before, now, self._target.prefix, tags=self._tags)
        # Each time, because a name may have another address by now.
        found = socket.getaddrinfo(self._target.host, self._target.port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as sock:
            for datagram in datagrams(lines):
                sock.sendto(datagram, address)


def _is_sender(document: Mapping[str, Any]) -> bool:
    """Whether this process is the one that sends."""
    processes = document["processes"]
    able = [process for process in processes if process["phase"] == "serving" and process["responding"]]
    if not able:
        able = processes
    first = min(able, key=lambda process: (process["slot"], -process["generation"]), default=None)
    return first is not None and first["pid"] == os.getpid()
