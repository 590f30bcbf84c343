"""A clock for tests: time passes when they say so. Any thread may read it; the test advances it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

__all__ = ["FakeClock"]


class FakeClock:
    """A :class:`~reserve.engine.polling.clock.Clock` that stands still.

    :param start: its first reading, in seconds.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self._time = start
        self._wakes: list[Callable[[], None]] = []

    def now(self) -> float:
        return self._time

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at once; every thread that waits for a deadline looks at the clock again."""
        self._time += seconds
        for wake in list(self._wakes):
            wake()

    def timeout(self, deadline: float) -> float | None:
        return 0.0 if deadline <= self._time else None

    def subscribe(self, wake: Callable[[], None]) -> None:
        self._wakes.append(wake)

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        with contextlib.suppress(ValueError):
            self._wakes.remove(wake)
