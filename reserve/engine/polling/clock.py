"""Where the engine reads the time. One reading, monotonic, injected: a test can freeze it.

Any thread. Deadlines are absolute values of :meth:`Clock.now`; the system's wall clock decides nothing here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "SystemClock"]

_LONGEST = 86400.0
"""Seconds that one system call may block: epoll and poll count milliseconds in an int."""


class Clock(Protocol):
    """What the engine asks of a clock."""

    def now(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def timeout(self, deadline: float) -> float | None:
        """Seconds that a system call may block so as to be back at ``deadline`` (None: until it is woken)."""
        ...

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` whenever the time has jumped; only a clock that is set by hand ever does."""

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """Undo :meth:`subscribe`."""


class SystemClock:
    """The monotonic clock of the machine."""

    now = staticmethod(time.monotonic)

    def timeout(self, deadline: float) -> float | None:
        if deadline == float("inf"):
            return None
        left = deadline - time.monotonic()
        return min(left, _LONGEST) if left > 0.0 else 0.0

    def subscribe(self, wake: Callable[[], None]) -> None:
        """This clock never jumps."""

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """This clock never jumps."""
