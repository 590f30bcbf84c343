"""A clock for tests, which advance it. Any thread may read it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

__all__ = ["FakeClock"]


class FakeClock:
    """A :class:`~reserve.engine.polling.clock.Clock` that stands still until the test calls :meth:`advance`.

    :param start: the time that it shows first, in seconds.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self._time = start
        self._wakes: list[Callable[[], None]] = []

    def now(self) -> float:
        return self._time

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at once; every thread that waits for a deadline reads the clock again."""
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
