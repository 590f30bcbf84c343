"""How often it is said that a log cannot be written: when it begins, and with the count when it is over.

Used by the log's thread alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["LossCounter"]


class LossCounter:
    """Counts what is lost.

    :param began: told why, when the first item is lost.
    :param ended: told how many were lost, when something could be written again, or at the last.
    """

    SPAN = 1.0
    """Seconds between two ends: a disk that is full one moment and not the next is one long outage."""

    def __init__(
        self,
        began: Callable[[Exception | None], object],
        ended: Callable[[int], object],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._began = began
        self._ended = ended
        self._now = now
        self._not_before = float("-inf")
        self.lost = 0

    def note(self, lost: int, error: Exception | None) -> None:
        """After each attempt to write: how many items of it are lost."""
        if lost:
            if not self.lost:
                self._began(error)
            self.lost += lost
        elif self.lost and self._now() >= self._not_before:
            self.close()
            self._not_before = self._now() + self.SPAN

    def close(self) -> None:
        """Say what has not been said yet."""
        if self.lost:
            lost, self.lost = self.lost, 0
            self._ended(lost)
