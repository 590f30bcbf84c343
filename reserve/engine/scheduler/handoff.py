"""Who polls while an application runs: the policy behind the lead.

Waking a follower before every handler costs two thread switches for each request; not waking one lets the other
connections wait when the handler blocks. :class:`AdaptiveHandOff` does what the applications of the last moments ask
for. The queue works with any answer: the policy only decides what is cheap, and the monitor repairs what was wrong.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["AdaptiveHandOff", "AlwaysHandOver", "HandOff", "default_policy"]


class HandOff(Protocol):
    """One policy for one queue."""

    def keep(self) -> bool:
        """Choose, before a handler runs. True: leave the lead within reach. False: give it to a follower.

        By the thread that has the lead, once for each request: it must be cheap.
        """

    def sample(self, runs: int, stalled: int) -> None:
        """Judge the last moments. By the monitor, while the server is active.

        :param runs: handlers that were started by a leader since the last sample.
        :param stalled: how often, in looks a millisecond apart, a handler was still the same as in the look before.
        """

    def rest(self) -> None:
        """Begin the next sample now: the server was idle until this moment. By the monitor."""


class AlwaysHandOver:
    """A follower is woken before every handler: right whenever applications wait, and never wrong by much."""

    def keep(self) -> bool:
        return False

    def sample(self, runs: int, stalled: int) -> None:
        """Learn nothing."""

    def rest(self) -> None:
        """Learn nothing."""


class AdaptiveHandOff:
    """Keep the lead while handlers are fast, or compute; hand it over while they wait.

    A handler that waits for the GIL looks like one that waits for a database. What tells them apart is the process:
    when it used a processor nearly all the time, its stalled handlers were computing, and a follower could not have
    run beside them. So a sample says *waiting* only if handlers stalled while the process had time to spare.

    It begins by handing over, does so again after one sample that says waiting, and keeps the lead after
    :attr:`QUIET` samples in a row that do not.

    :param wall: seconds on a monotonic clock.
    :param cpu: seconds of processor time that the process has used, all its threads together.
    """

    BUSY = 0.85
    """The part of a sample's time that the process must have computed for its stalls to count as computing."""
    QUIET = 2
    """Samples without waiting handlers before the lead is kept."""

    def __init__(
        self, wall: Callable[[], float] = time.monotonic, cpu: Callable[[], float] = time.process_time
    ) -> None:
        self._wall = wall
        self._cpu = cpu
        self._last_wall = wall()
        self._last_cpu = cpu()
        self._quiet = 0

    def keep(self) -> bool:
        return self._quiet >= self.QUIET

    def sample(self, runs: int, stalled: int) -> None:
        wall, cpu = self._wall(), self._cpu()
        elapsed, used = wall - self._last_wall, cpu - self._last_cpu
        self._last_wall, self._last_cpu = wall, cpu
        if stalled and used < self.BUSY * elapsed:
            self._quiet = 0
        elif runs:
            self._quiet += 1

    def rest(self) -> None:
        self._last_wall, self._last_cpu = self._wall(), self._cpu()


def default_policy() -> HandOff:
    """The policy of this interpreter. Without a GIL threads run side by side, so a follower is always worth waking.

    (The build without a GIL is designed for; its timing has not been measured.)
    """
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return AdaptiveHandOff() if has_gil else AlwaysHandOver()
