"""Callbacks for start and stop of the server and of its workers, and for the end of a request.

In them a program opens and closes, for example, a database connection for each worker thread. An embedding program
sets them; the command has an option for each (``--on-ready``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from reserve.engine.logs.errorlog import ErrorHook

__all__ = ["Hooks", "RequestEnd"]


def _nothing() -> None:
    """The hook that is not set."""


class RequestEnd(NamedTuple):
    """One request that the application has responded to, for :attr:`Hooks.on_request_end`."""

    timestamp: float
    """The wall clock at the end, in seconds since the epoch."""
    client: str
    """The client's address, behind trusted proxies the one that they tell; empty on a UNIX socket."""
    method: str
    target: str
    """The path with its query, as it was sent."""
    version: str
    """``HTTP/1.1``."""
    status: int
    """499: the client was found to be gone before the response began. 101: the application took the connection over."""
    bytes_sent: int
    """Bytes of the response's body that the application has sent and the connection has accepted."""
    seconds: float
    """From the call of the application to the end of its response."""
    referer: str
    user_agent: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hooks:
    """The hooks of one server; made by the embedding program. An exception that a hook raises is logged and ignored,
    SystemExit too, except that :attr:`on_worker_start` may end the start with it. On the thread that starts the server
    KeyboardInterrupt ends the start.

    The thread that starts the server calls :attr:`on_worker_start` and :attr:`on_ready`, a thread of the shutdown
    :attr:`on_worker_stop`, each worker thread :attr:`on_thread_start`, :attr:`on_thread_stop` and
    :attr:`on_request_end`, and the log's thread :attr:`error_log`. A hook that has not returned at the deadline of a
    stop, or a second after the last connection is closed, is logged and left running.

    The first two have the names of other servers' hooks, in which *worker* is the process. Everywhere else in reserve a
    worker is a thread.
    """

    on_worker_start: Callable[[], None] = _nothing
    """Called once for the server, in this process (the *worker*), before the first connection is accepted."""
    on_worker_stop: Callable[[], None] = _nothing
    """Called once for the server, in this process (the *worker*), after the last connection is closed."""
    on_ready: Callable[[], None] = _nothing
    """Called once for the server, when it accepts connections. ``start()`` goes on when it returns."""
    on_thread_start: Callable[[], None] = _nothing
    """Called on each worker thread before its first request."""
    on_thread_stop: Callable[[], None] = _nothing
    """Called on each worker thread after its last request."""
    on_request_end: Callable[[RequestEnd], None] | None = None
    """Called on the worker thread of an HTTP request when its response is handed over. None: nothing is measured. The
    connection goes on meanwhile; the thread serves nothing else until it returns. Not called for requests that the
    server itself responds to: refusals, static files, the health path.
    """
    error_log: ErrorHook | None = None
    """Called with (level, text) for each line of the error log. None: the lines go to the logger ``reserve``."""
