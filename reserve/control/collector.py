"""Where the document about all processes comes from: one process makes it, or asks its supervisor for it.

Any thread calls :meth:`Collector.collect`, which may block for as long as it is allowed to.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any, Protocol

from reserve.control.document import document, plain, process

__all__ = ["Collector", "LocalCollector", "SupervisedCollector", "collector_of", "phase_of"]

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


class _Server(Protocol):
    """What a document needs of :class:`~reserve.engine.server.Server`."""

    @property
    def stopping(self) -> bool: ...

    @property
    def retiring(self) -> bool: ...

    def wait_ready(self, timeout: float | None = None) -> bool: ...

    def stats(self) -> Any: ...


def phase_of(server: _Server | None) -> str:
    """The phase of a server; None: it is not made yet."""
    if server is None:
        return "starting"
    if server.stopping:
        return "stopping"
    if server.retiring:
        return "retiring"
    return "serving" if server.wait_ready(0) else "starting"


class LocalCollector:
    """The document of a server whose one process this is.

    :param server: None: the application is imported still; :attr:`server` is set later.
    """

    def __init__(self, server: _Server | None = None) -> None:
        self.server = server

    def collect(self, timeout: float = 2.0) -> dict[str, Any]:
        server = self.server
        stats = None if server is None else plain(server.stats())
        return document(time.time(), [process(stats, pid=os.getpid(), phase=phase_of(server))])


def collector_of(server: Any) -> Collector:
    """What makes the document about all processes of a server.

    :param server: the :class:`~reserve.engine.server.Server` of this process.
    """
    collector: Collector | None = server.collector
    return LocalCollector(server) if collector is None else collector


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

    def __init__(self, channel: _Channel, server: _Server | None = None) -> None:
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
    def server(self) -> _Server | None:
        return self._local.server

    @server.setter
    def server(self, server: _Server | None) -> None:
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
