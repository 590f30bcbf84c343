"""Where the document about all processes comes from: one process makes it, or asks its supervisor for it.

Any thread calls :meth:`Collector.collect`, which may block for as long as it is allowed to.

How old a document may be is decided here alone, for every reader (the metrics at both their places, the status page,
the control socket): all that ask within :data:`FRESH` seconds get the same one. With one process its one collector
keeps it (:func:`collector_of`), with several their supervisor or the process that hands over does.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from reserve.control.document import document, plain, process
from reserve.errors import ReserveError

__all__ = [
    "FRESH",
    "CollectedServer",
    "Collector",
    "LocalCollector",
    "Recent",
    "SharedCollector",
    "SupervisedCollector",
    "collector_of",
    "own_collector_of",
    "phase_of",
]

_MOST_OPEN = 8
"""Questions that the supervisor has not responded to. One that is stopped reads none, and the thread that asks would
wait for ever when the socket has no room left. One that becomes another program forgets some.
"""
FRESH = 0.2
"""Seconds for which a document is used again: several that look at once cost no more than one."""


class Collector(Protocol):
    """Makes documents. See :mod:`reserve.control.document`."""

    def collect(self, timeout: float = 2.0) -> dict[str, Any]:
        """The document of this moment.

        :param timeout: seconds that the other processes may take. After it the document has what is known.
        """


class CollectedServer(Protocol):
    """What a document needs of :class:`~reserve.engine.server.Server`."""

    @property
    def stopping(self) -> bool: ...

    @property
    def retiring(self) -> bool: ...

    def wait_ready(self, timeout: float | None = None) -> bool: ...

    def stats(self) -> Any: ...


def phase_of(server: CollectedServer | None) -> str:
    """The phase of a server; None: it is not made yet."""
    if server is None:
        return "starting"
    if server.stopping:
        return "stopping"
    if server.retiring:
        return "retiring"
    return "serving" if server.wait_ready(0) else "starting"


class Recent:
    """A document, or the error instead of it, that is used again for :data:`FRESH` seconds. Any thread; owned by a
    collector.

    :param make: makes one, in so many seconds as its argument says. One thread at a time calls it, and others that want
        one meanwhile wait for it.
    :param now: seconds of a monotonic clock.
    """

    def __init__(self, make: Callable[[float], dict[str, Any]], now: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._now = now
        self._lock = threading.Lock()
        """Protects what follows, and is held while one is made."""
        self._outcome: dict[str, Any] | ReserveError | None = None
        self._made_at = 0.0

    def get(self, timeout: float) -> dict[str, Any]:
        """The document. Raises what ``make`` has raised, also for a moment afterwards."""
        with self._lock:
            if self._outcome is None or self._now() - self._made_at >= FRESH:
                try:
                    self._outcome = self._make(timeout)
                except ReserveError as error:
                    self._outcome = error
                self._made_at = self._now()
            outcome = self._outcome
        if isinstance(outcome, ReserveError):
            raise outcome
        return outcome


class LocalCollector:
    """The document of a server whose one process this is.

    :param server: None: the application is imported still; :attr:`server` is set later.
    """

    def __init__(self, server: CollectedServer | None = None) -> None:
        self.server = server

    def collect(self, timeout: float = 2.0) -> dict[str, Any]:
        server = self.server
        stats = None if server is None else plain(server.stats())
        return document(time.time(), [process(stats, pid=os.getpid(), phase=phase_of(server))])


class SharedCollector(LocalCollector):
    """As :class:`LocalCollector`, for several readers, which share a document for a moment; a server has one.

    :param now: seconds of a monotonic clock.
    """

    def __init__(self, server: CollectedServer | None = None, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(server)
        self._recent = Recent(super().collect, now)

    def collect(self, timeout: float = 2.0) -> dict[str, Any]:
        return self._recent.get(timeout)


def collector_of(server: Any) -> Collector:
    """What makes the document about all processes of a server, for all its readers.

    :param server: the :class:`~reserve.engine.server.Server` of this process.
    """
    if server.collector is None:
        server.collector = SharedCollector(server)
    collector: Collector = server.collector
    return collector


def own_collector_of(server: Any) -> Collector:
    """As :func:`collector_of`, for a reader that asks seldom, and wants everything that was counted until now.

    In a process without a supervisor it is about that process alone, also in a hand-over.
    """
    collector = collector_of(server)
    return collector if isinstance(collector, SupervisedCollector) else LocalCollector(server)


class _Channel(Protocol):
    """What a worker process needs of :class:`~reserve.cli.processes.channel.Channel`."""

    def send(self, kind: str, **values: Any) -> None: ...


class SupervisedCollector:
    """The document in a worker process, which asks its supervisor; the process has one.

    The supervisor gets one question at a time: who asks meanwhile gets the same document. No document is kept for the
    next question: the supervisor itself keeps one, so that what the processes tell, one after the other, never goes
    back. Without a response, from a supervisor that is stopped or another version, it is the last document, or if there
    was none one about this process alone.

    :param channel: the end of the worker process.
    """

    def __init__(self, channel: _Channel, server: CollectedServer | None = None) -> None:
        self._channel = channel
        self._local = LocalCollector(server)
        self._changed = threading.Condition()
        """Protects what follows."""
        self._asked = 0
        """The number of the last question."""
        self._open = 0
        """How many were sent since the last response."""
        self._is_asking = False
        self._document: dict[str, Any] | None = None
        self._ended = False

    @property
    def server(self) -> CollectedServer | None:
        return self._local.server

    @server.setter
    def server(self, server: CollectedServer | None) -> None:
        self._local.server = server

    def collect(self, timeout: float = 2.0) -> dict[str, Any]:
        until = time.monotonic() + timeout
        with self._changed:
            asked, is_first = self._asked, not self._is_asking
            sends = is_first and self._open < _MOST_OPEN
            if is_first:
                asked = self._asked = self._asked + 1
                self._is_asking = True
            if sends:
                self._open += 1
        if sends:
            self._channel.send("collect", id=asked)
        with self._changed:
            while self._is_asking and self._asked == asked and not self._ended:
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    self._is_asking = False  # the next caller asks again; a late response is used all the same
                    self._changed.notify_all()
                    break
            if self._document is not None:
                return self._document
        return self._local.collect()

    def receive(self, message: dict[str, Any]) -> None:
        """The supervisor has sent a document. By the thread that reads the channel."""
        received = message.get("document")
        if not isinstance(received, dict):
            return
        with self._changed:
            self._document = received
            self._is_asking = False
            self._open = 0
            self._changed.notify_all()

    def end(self) -> None:
        """The supervisor has ended. By the thread that reads the channel."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
