"""The hand-off policy: whether the leader wakes a follower before it runs a handler.

Waking a follower before every handler costs two thread switches for each request; without it, the other connections
wait while the handler blocks. :class:`AdaptiveHandOff` adapts to how recent runs behaved. The queue is correct with any
policy, and only the cost differs: when a handler stalls while no thread has the lead, the monitor gives the lead to a
follower.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["AdaptiveHandOff", "AlwaysHandOver", "HandOff", "default_policy"]


class HandOff(Protocol):
    """Decides whether the leader wakes a follower before a run. A server has one; its runtime makes it.

    The thread that has the lead calls :meth:`keep`, possibly while the monitor is in one of the other methods.
    """

    def keep(self) -> bool:
        """Decide before a handler runs. True: the lead is released, but no follower is woken to take it, so that this
        thread most likely takes it back after the run. False: the lead is given to a follower, which is woken.

        The thread that has the lead calls it once for each request, so it must be cheap.
        """

    def sample(self, runs: int, stalled: int) -> None:
        """Use the observations since the last sample. The monitor calls it while the server is active.

        :param runs: handlers that a leader started since the last sample.
        :param stalled: number of 1-ms checks that found a worker in the same run as the check before, over all workers.
        """

    def rest(self) -> None:
        """Begin the next sample now. The monitor calls it when the server was idle until this moment."""


class AlwaysHandOver:
    """The policy that wakes a follower before every run: best when handlers block, at a small cost when they do not."""

    def keep(self) -> bool:
        return False

    def sample(self, runs: int, stalled: int) -> None:
        """Ignore the observations: the decision is always the same."""

    def rest(self) -> None:
        """Do nothing: there are no samples."""


class AdaptiveHandOff:
    """The policy that keeps the lead while handlers are fast or compute, and hands it over while they wait.

    A handler that waits for the GIL cannot be told from one that waits for a database, but the processor time of the
    process tells the two cases apart: when the process used a processor nearly all the time, its stalled handlers were
    computing, and a follower could not have run at the same time. So handlers count as *waiting* in a sample only if
    they stalled while the process used less than :attr:`BUSY` of the time.

    At first the lead is handed over. It is kept after :attr:`QUIET` samples in a row without waiting handlers, and
    handed over again after one sample with them.

    :param wall: returns seconds on a monotonic clock.
    :param cpu: returns the seconds of processor time that all threads of the process have used together.
    """

    BUSY = 0.85
    """Processor time divided by wall time in a sample; from this on, stalled handlers count as computing."""
    QUIET = 2
    """Samples in a row without waiting handlers before the lead is kept."""

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
    """Make the policy that fits this interpreter.

    Without a GIL threads run in parallel, so the leader always wakes a follower. The timing of that has not been
    measured.
    """
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return AdaptiveHandOff() if has_gil else AlwaysHandOver()
