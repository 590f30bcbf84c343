"""The stall monitor: nobody waits for the lead because its last holder is still inside an application.

A thread of its own. While requests are served it looks every millisecond: when the lead lies in the slot and nobody
came back for it, it gives the lead to a sleeping worker; when every worker is busy it leads itself, from socket to
memory only, and hands the lead back as soon as one is free. It also tells the hand-off policy how often handlers
stalled. It sleeps, without waking, while the server is idle.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reserve.engine.handoff import HandOff
    from reserve.engine.logs import Logs
    from reserve.engine.readyqueue import ReadyQueue
    from reserve.engine.stepper import Stepper
    from reserve.engine.workers import Worker

__all__ = ["Monitor"]


class Monitor:
    """One for each server. :meth:`alarm` wakes it, and is called for every run that begins while it sleeps."""

    TICK = 0.001
    """Seconds between two looks: the longest that a ready connection waits for a handler that stalls."""
    SAMPLE = 20
    """Looks that make one sample for the policy."""
    PATIENCE = 50
    """Looks without a new run before it goes to sleep."""

    def __init__(self, policy: HandOff, logs: Logs) -> None:
        self._policy = policy
        self._logs = logs
        self._bed = threading.Lock()
        self._bed.acquire()
        self._closed = False
        self._queue: ReadyQueue
        self._stepper: Stepper
        self._workers: Sequence[Worker] = ()
        self._seen: list[int] = []
        self.asleep = False
        """Whoever starts a run calls :meth:`alarm` while this is true."""
        self.steals = 0
        """How often the lead was taken from a handler that stalled."""
        self.thread = threading.Thread(target=self._main, name="reserve-monitor", daemon=True)

    def start(self, queue: ReadyQueue, stepper: Stepper, workers: Sequence[Worker]) -> None:
        self._queue = queue
        self._stepper = stepper
        self._workers = workers
        self._seen = [-1] * len(workers)
        self.thread.start()

    def alarm(self) -> None:
        """Wake it. Any thread, any number of times."""
        self.asleep = False
        with contextlib.suppress(RuntimeError):  # it has been rung already and is on its way
            self._bed.release()

    def close(self) -> None:
        """End the thread soon. The queue is closed before."""
        self._closed = True
        self.alarm()

    def _main(self) -> None:
        queue = self._queue
        lead = queue.lead
        laid_down = runs = sampled_runs = -1
        quiet = looks = stalled = 0
        while not self._closed:
            self._bed.acquire(timeout=self.TICK)
            stalled += self._stalled()
            looks += 1
            if looks == self.SAMPLE:
                self._policy.sample(queue.runs - sampled_runs, stalled)
                sampled_runs = queue.runs
                looks = stalled = 0
            if lead.free:
                if lead.laid_down == laid_down and lead.take():
                    self.steals += 1
                    self._lead()
                laid_down = lead.laid_down
                quiet = 0
            else:
                quiet = quiet + 1 if queue.runs == runs else 0
                runs = queue.runs
                if quiet > self.PATIENCE:
                    quiet = 0
                    self._sleep(runs)

    def _stalled(self) -> int:
        """Count the workers that are in the same run as at the last look."""
        count = 0
        seen = self._seen
        for index, worker in enumerate(self._workers):
            if worker.connection is None:
                seen[index] = -1
            else:
                handled = worker.handled
                if seen[index] == handled:
                    count += 1
                seen[index] = handled
        return count

    def _sleep(self, runs: int) -> None:
        self.asleep = True
        # Whoever starts a run after this sees that we sleep; who did before is seen by us.
        if self._queue.runs != runs or self._queue.lead.free or self._closed:
            self.asleep = False
        else:
            self._bed.acquire()

    def _lead(self) -> None:
        """Pass the lead on to a worker, or lead until one is free."""
        queue = self._queue
        queue.monitor_leads = True
        while not queue.closed and not queue.lead.pass_on():
            try:
                connection = queue.next_ready(queue.lead.sleepers)
                if connection is not None and self._stepper.advance(connection):
                    queue.put_call(connection)
            except Exception as error:
                # A fault of ours. The lead must not be lost with it.
                self._logs.failure("the monitor could not step a connection", error)
        queue.monitor_leads = False
