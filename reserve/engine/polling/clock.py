"""The clock of the engine: monotonic, and passed to every object that needs it, so that tests can stop it.

Any thread may call it. Deadlines are absolute values of :meth:`Clock.now`; no deadline depends on the wall clock of the
system.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "SystemClock"]

_LONGEST = 86400.0
"""Seconds that one system call may block: epoll and poll count milliseconds in an int."""


class Clock(Protocol):
    """The interface of a clock; each server owns one, and any of its threads calls it."""

    def now(self) -> float:
        """Seconds since a fixed moment; the value never decreases."""
        ...

    def timeout(self, deadline: float) -> float | None:
        """Seconds that a system call may block so as to return at ``deadline``; None: without a limit.

        :param deadline: a value of :meth:`now`; infinity: there is no deadline.
        """
        ...

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` whenever the time has jumped. Only the time of a clock that a test sets jumps."""

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """Undo :meth:`subscribe`."""


class SystemClock:
    """The monotonic clock of the system."""

    now = staticmethod(time.monotonic)

    def timeout(self, deadline: float) -> float | None:
        if deadline == float("inf"):
            return None
        remaining = deadline - time.monotonic()
        return min(remaining, _LONGEST) if remaining > 0.0 else 0.0

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Do nothing: the time of this clock never jumps."""

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """Do nothing: the time of this clock never jumps."""
