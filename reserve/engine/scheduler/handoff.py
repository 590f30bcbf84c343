"""The hand-off policy: whether the leader wakes a follower before it runs a handler; and which handlers it has to be
quick for.

To wake a follower before every handler costs two to four thread switches for each request. Without it, the other
connections wait while a handler blocks, until the monitor has seen that and gives the lead to a follower.
:class:`AdaptiveHandOff` compares what the two have cost lately. The queue is correct with any policy, and only the cost
differs.

A handler that is in the same run at two looks of the monitor has *stalled*. :class:`StallObserver` finds out why: only
one that *waits* (for a database, a lock, a disk) leaves its time to a follower. One that computes, or whose thread
waits for a processor or for the GIL, does not: no follower could run meanwhile, or it would wait as well.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from reserve.engine.polling import threadstate

__all__ = ["TICK", "AdaptiveHandOff", "AlwaysHandOver", "HandOff", "Observed", "StallObserver"]

TICK = 0.001
"""Seconds between two looks of the monitor, unless the policy says otherwise."""


class HandOff(Protocol):
    """Decides whether the leader wakes a follower before a run. A server has one; its runtime makes it."""

    keeps: bool
    """What the thread that has the lead does before a handler runs. True: it releases the lead, but wakes no follower
    to take it, so that it most likely takes the lead back after the run. False: it gives the lead to a follower, and
    wakes that. That thread reads it once for each request, possibly while the monitor writes it.
    """
    tick: float
    """Seconds until the monitor's next look."""

    def sample(self, elapsed: float, looks: int, runs: int, waits: float) -> None:
        """Use the observations of the last sample. The monitor calls it while the server is active.

        :param elapsed: seconds that the sample took.
        :param looks: how often the monitor has looked in that time.
        :param runs: handlers that a leader started.
        :param waits: handlers that were found to wait; one that waits in several samples counts once. An estimate.
        """


class Observed(Protocol):
    """What the observer sees of a :class:`~reserve.engine.scheduler.workers.Worker`; the docstrings are there."""

    seen: int

    @property
    def connection(self) -> object | None: ...

    @property
    def exempt(self) -> object | None: ...

    @property
    def handled(self) -> int: ...

    @property
    def thread(self) -> threading.Thread: ...


class AlwaysHandOver:
    """The policy that wakes a follower before every run: best when handlers wait, and costly when they do not."""

    keeps = False
    tick = TICK

    def sample(self, elapsed: float, looks: int, runs: int, waits: float) -> None:
        """Ignore the observations: the decision is always the same."""


class AdaptiveHandOff:
    """The policy that keeps the lead while handlers are fast or compute, and hands it over while they wait.

    There are three ways to serve: to keep the lead while the monitor looks every millisecond, to keep it while the
    monitor looks more often, and to hand the lead over. Each sample says what each of them would have cost: a handler
    that waits while the lead is kept costs the time until the monitor has seen it twice, about a look and a half; to
    hand over costs the switches of each run. So 1 waiting handler in 1000 is no reason to hand over, and 1 in 5 is.

    A sample in which more hand-overs, or more looks, would have been clearly cheaper takes effect at once.
    :attr:`QUIET` samples in a row that say the opposite bring the lead back, so that a wrong guess is over within three
    samples (48 ms). At first the lead is handed over.
    """

    QUIET = 2
    """Samples in a row before the lead is handed over less, or the monitor looks less often."""
    FAST_TICK = 0.00025
    """Seconds between two looks while some handlers wait."""
    SWITCHES = 50e-6
    """Seconds that it costs to hand the lead over for one run, with what the threads then wait for each other's GIL.
    Measured with CPython 3.11 on one processor: about 20 us of processor time, and a rate of requests that is lower by
    more than that. If it is less elsewhere, the border moves, and that costs little: near the border the ways cost the
    same.
    """
    LOOK = 15e-6
    """Seconds that one look of the monitor costs, with its two switches; measured likewise."""
    MARGIN = 1.5
    """How many times as much as another way the present way has to cost, before the lead is handed over more or the
    monitor looks more often: samples are small, and differ.
    """

    _WAYS = ((True, TICK), (True, FAST_TICK), (False, TICK))

    def __init__(self) -> None:
        self.keeps = False
        self.tick = TICK
        self._way = len(self._WAYS) - 1
        self._quiet: list[int] = []

    def sample(self, elapsed: float, looks: int, runs: int, waits: float) -> None:
        if not (runs or waits) or not looks:
            return
        costs = self._costs(elapsed, looks, runs, waits)
        best = min(range(len(costs)), key=costs.__getitem__) if waits > 0.0 else 0
        if best > self._way:
            self._quiet.clear()
            if costs[self._way] < self.MARGIN * costs[best]:
                return
        elif best == self._way:
            self._quiet.clear()
            return
        else:
            self._quiet.append(best)
            if len(self._quiet) < self.QUIET:
                return
            best = max(self._quiet)
            self._quiet.clear()
        self._way = best
        self.keeps, self.tick = self._WAYS[best]

    def _costs(self, elapsed: float, looks: int, runs: int, waits: float) -> list[float]:
        """What each way would have cost, in seconds."""
        late = max(0.0, elapsed / looks - self.tick)  # a look comes late when the processor or the GIL is busy
        costs = []
        for keeps, tick in self._WAYS:
            pause = tick + late
            costs.append(self.LOOK * elapsed / pause + (1.5 * pause * waits if keeps else self.SWITCHES * runs))
        return costs


class StallObserver:
    """Looks at the workers, and says how many handlers wait. Owned by the monitor, whose thread calls it.

    A stalled handler counts as waiting if its thread sleeps in the kernel although nothing kept the monitor, the last
    thread that ran, from the GIL. To sleep for the GIL is to sleep as well, but while a thread holds the GIL for long
    the monitor, too, waits for it, and its look comes late. So a look that comes late says nothing, unless the kernel
    says that the monitor waited for a processor, not for the GIL, all that time.

    At most :attr:`READS` files of ``/proc`` are read in a sample, and none while no handler stalls; when more handlers
    stall, the others are taken to wait as often as those looked at. Where the system tells nothing, stalled handlers
    count as waiting in a sample in which the process has used less than :attr:`BUSY` of the time in which they could
    have computed: one of them at a time with the GIL, without it as many as there are processors.

    :param wall: returns seconds on a monotonic clock.
    :param cpu: returns the seconds of processor time that all threads of the process have used together.
    :param sleeps: see :func:`reserve.engine.polling.threadstate.sleeps`.
    :param run_queue_wait: see :func:`reserve.engine.polling.threadstate.run_queue_wait`.
    :param parallel: how many threads can run Python at once.
    """

    LATE = 0.0005
    """Seconds that a look may come late, and a handler may still be said to wait."""
    READS = 4
    """The most files of ``/proc`` that are read in a sample."""
    BUSY = 0.85
    """Processor time divided by wall time in a sample; from this on, stalled handlers count as computing. Only where
    the system does not tell what a thread does.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
        sleeps: Callable[[int | None], bool | None] = threadstate.sleeps,
        run_queue_wait: Callable[[], float | None] = threadstate.run_queue_wait,
        parallel: int = 1,
    ) -> None:
        self._parallel = parallel
        self._wall = wall
        self._cpu = cpu
        self._sleeps = sleeps
        self._run_queue_wait = run_queue_wait
        self.elapsed = 0.0
        """Seconds that this sample has taken so far."""
        self.looks = 0
        """Looks in this sample."""
        self._looked = wall()
        self._cpu_before = cpu()
        self._late = 0.0
        """By how much the looks came late since the kernel was last asked how long this thread has waited."""
        self._waited: float | None = None
        """What it said; None: it was not asked in this sample nor in the last."""
        self._counted: dict[Observed, int] = {}
        """The workers that were stalled at the last look, with the number of the run: each run counts once."""
        self._unjudged: dict[Observed, int] = {}
        """Those of them that were not looked at in the kernel."""
        self._stalled = 0
        """Runs that began to stall in this sample."""
        self._at_once = 0
        """The most runs that were stalled at one look of this sample."""
        self._reads = self._judged = self._waiting = 0
        self._skipped = 0
        """Runs that could have been judged, if :attr:`READS` were higher."""
        self._untold = False
        """The system did not tell, in this sample."""

    def rest(self) -> None:
        """The caller has slept while the server was idle, or has led, until now: that is no part of the sample."""
        now = self._wall()
        if now - self._looked > TICK:  # it may have waited for a processor in that time
            self._late = 0.0
            self._waited = None
        self._looked = now

    def look(self, workers: Iterable[Observed], tick: float) -> None:
        """Look at the workers once.

        :param tick: seconds for which the caller intended to sleep before this look.
        """
        now = self._wall()
        passed = now - self._looked
        self._looked = now
        self.elapsed += passed
        self.looks += 1
        late = max(0.0, passed - tick)
        self._late += late
        stalled: dict[Observed, int] = {}
        for worker in workers:
            if worker.connection is None or worker.exempt is not None:  # what it waits for does not keep the lead
                worker.seen = -1
            else:
                handled = worker.handled
                if worker.seen == handled:
                    stalled[worker] = handled
                worker.seen = handled
        if not stalled:
            if self._counted:
                self._counted = self._unjudged = stalled
            return
        self._at_once = max(self._at_once, len(stalled))
        unjudged = {}
        for worker, run in stalled.items():
            if self._counted.get(worker) != run:
                self._stalled += 1
                unjudged[worker] = run
            elif worker in self._unjudged:
                unjudged[worker] = run
        self._counted = stalled
        self._unjudged = unjudged
        if unjudged and not self._untold and (late <= self.LATE or (self._reads < self.READS and self._had_gil())):
            self._judge()

    def end_sample(self) -> float:
        """Begin the next sample; return how many handlers have begun to wait in this one."""
        waits = 0.0
        cpu = self._cpu()
        if self._untold:
            if cpu - self._cpu_before < self.BUSY * self.elapsed * min(self._at_once, self._parallel):
                waits = float(self._stalled)
            self._unjudged = {}
        elif self._judged:
            waits = self._waiting * (self._judged + self._skipped) / self._judged
        self._cpu_before = cpu
        if not self._reads:
            self._waited = None  # the sum of what is late would be less and less exact
        self.elapsed = 0.0
        self.looks = self._stalled = self._at_once = self._reads = self._judged = self._waiting = self._skipped = 0
        self._untold = False
        return waits

    def _had_gil(self) -> bool:
        """Say whether the looks came late only because this thread waited for a processor, not for the GIL."""
        self._reads += 1
        before, self._waited = self._waited, self._run_queue_wait()
        late, self._late = self._late, 0.0
        if self._waited is None:
            self._untold = True
            return False
        return before is not None and late - (self._waited - before) <= self.LATE

    def _judge(self) -> None:
        """Ask the kernel what the threads of stalled handlers do."""
        unjudged = self._unjudged
        while unjudged and self._reads < self.READS:
            worker, run = unjudged.popitem()
            self._reads += 1
            sleeps = self._sleeps(worker.thread.native_id)
            if worker.handled != run or worker.connection is None:  # it has ended the run meanwhile
                self._judged += 1
            elif sleeps is None:
                self._untold = True
                return
            else:
                self._judged += 1
                self._waiting += sleeps
        self._skipped += len(unjudged)
        unjudged.clear()
