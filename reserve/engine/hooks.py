"""Callbacks for start and stop of the server and of its workers, which an embedding program may set.

In them a program opens and closes, for example, a database connection for each worker thread.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from reserve.engine.logs.errorlog import ErrorHook

__all__ = ["Hooks"]


def _nothing() -> None:
    """The hook that is not set."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hooks:
    """The hooks of one server; made by the embedding program. An exception that a hook raises is logged and ignored.

    The thread that starts the server calls :attr:`on_worker_start`, a thread of the shutdown :attr:`on_worker_stop`,
    each worker thread :attr:`on_thread_start` and :attr:`on_thread_stop`, and the log's thread :attr:`error_log`. A
    hook that has not returned at the deadline of a stop, or a second after the last connection is closed, is logged
    and left running.

    The first two have the names of other servers' hooks, in which *worker* is the process. Everywhere else in reserve a
    worker is a thread.
    """

    on_worker_start: Callable[[], None] = _nothing
    """Called once for the server, in this process (the *worker*), before the first connection is accepted."""
    on_worker_stop: Callable[[], None] = _nothing
    """Called once for the server, in this process (the *worker*), after the last connection is closed."""
    on_thread_start: Callable[[], None] = _nothing
    """Called on each worker thread before its first request."""
    on_thread_stop: Callable[[], None] = _nothing
    """Called on each worker thread after its last request."""
    error_log: ErrorHook | None = None
    """Called with (level, text) for each line of the error log. None: the lines go to the logger ``reserve``."""
