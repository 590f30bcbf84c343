"""What an embedding program is told of the life of its server: thread-local database connections begin and end here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from reserve.engine.logs.errorlog import ErrorHook

__all__ = ["Hooks"]


def _nothing() -> None:
    """The hook that is not set."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hooks:
    """Called by the server; what they raise is logged and changes nothing else."""

    on_worker_start: Callable[[], None] = _nothing
    """Once in this process, before the first connection is accepted."""
    on_worker_stop: Callable[[], None] = _nothing
    """Once in this process, when the last connection is closed."""
    on_thread_start: Callable[[], None] = _nothing
    """On each worker thread before its first request: the place for a database connection of its own."""
    on_thread_stop: Callable[[], None] = _nothing
    """On each worker thread after its last."""
    error_log: ErrorHook | None = None
    """Takes (level, text) instead of the logger ``reserve``."""
