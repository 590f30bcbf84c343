"""The stall monitor: nobody waits for the lead because its last holder is still inside an application.

A thread of its own. While requests are served it looks every millisecond: when the lead lies in the slot and nobody
came back for it, it gives the lead to a sleeping worker; when every worker is busy it leads itself, from socket to
memory only, and hands the lead back as soon as one is free. It also tells the hand-off policy how often handlers
stalled. It sleeps, without waking, while the server is idle.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from reserve.engine.connections.states import OWNED
from reserve.engine.polling.clock import Clock, SystemClock
from reserve.engine.polling.poller import RETRY
from reserve.engine.polling.timers import NEVER
from reserve.engine.scheduler.runqueue import LATE

if TYPE_CHECKING:
    from reserve.engine.connections.connection import Connection
    from reserve.engine.logs.errorlog import ErrorLog
    from reserve.engine.scheduler.handoff import HandOff
    from reserve.engine.scheduler.readyqueue import ReadyQueue
    from reserve.engine.scheduler.requesttimeout import RequestWatchdog
    from reserve.engine.scheduler.stepper import Stepper
    from reserve.engine.scheduler.workers import WorkerPool

__all__ = ["Monitor"]

_SYSTEM = SystemClock()
_NOBODY = "every worker is stuck (--request-timeout), and no more are replaced (--max-stuck)"


class Monitor:
    """One for each server. :meth:`alarm` wakes it, and is called for every run that begins while it sleeps."""

    TICK = 0.001
    """Seconds between two looks: the longest that a ready connection waits for a handler that stalls."""
    SAMPLE = 20
    """Looks that make one sample for the policy."""
    PATIENCE = 50
    """Looks without a new run before it goes to sleep."""

    def __init__(self, policy: HandOff, log: ErrorLog, clock: Clock = _SYSTEM) -> None:
        self._policy = policy
        self._log = log
        self._clock = clock
        self._now = clock.now
        self._waiter = threading.Lock()
        self._waiter.acquire()
        self._closed = False
        self._queue: ReadyQueue
        self._stepper: Stepper
        self._pool: WorkerPool
        self._request_watchdog: RequestWatchdog | None = None
        self._leads = False
        self.asleep = False
        """Whoever starts a run calls :meth:`alarm` while this is true."""
        self.steals = 0
        """How often the lead was taken from a handler that stalled."""
        self.thread = threading.Thread(target=self._main, name="reserve-monitor", daemon=True)

    def start(
        self, queue: ReadyQueue, stepper: Stepper, pool: WorkerPool, request_watchdog: RequestWatchdog | None = None
    ) -> None:
        """Begin to watch.

        :param overdue: looks after runs that take too long; None: they may.
        """
        self._queue = queue
        self._stepper = stepper
        self._pool = pool
        self._request_watchdog = request_watchdog
        if request_watchdog is not None:
            self._clock.subscribe(self.alarm)
        self.thread.start()

    def alarm(self) -> None:
        """Wake it. Any thread, any number of times."""
        self.asleep = False
        try:  # noqa: SIM105 - nothing may be allocated between the two: it would never be rung again
            self._waiter.release()
        except (RuntimeError, MemoryError):  # it has been rung already and is on its way
            pass

    def close(self) -> None:
        """End the thread soon. The queue is closed before."""
        self._clock.unsubscribe(self.alarm)
        self._closed = True
        self.alarm()

    def _main(self) -> None:
        while not self._closed:
            try:
                self._watch()
            except Exception as error:
                # No memory for a moment, or a fault of ours: everyone relies on this thread, and on the lead.
                if self._leads:
                    self._queue.lead.hand_over()
                    self._leads = self._queue.monitor_leads = False
                self._log.failure("the monitor failed and goes on", error)

    def _watch(self) -> None:
        queue = self._queue
        lead = queue.lead
        releases = runs = sampled_runs = -1
        quiet = looks = stalled = stolen_at = 0
        due = NEVER
        while not self._closed:
            self._waiter.acquire(timeout=self.TICK)
            stalled += self._stalled()
            if self._request_watchdog is not None:
                due = queue.monitor_due = self._request_watchdog.look()
            looks += 1
            if looks == self.SAMPLE:
                self._policy.sample(queue.runs - sampled_runs, stalled)
                sampled_runs = queue.runs
                looks = stalled = 0
            if lead.free:
                if lead.releases == releases and lead.take():
                    self._leads = True
                    if queue.runs != stolen_at:  # not the lead that nobody has taken up yet, at the start
                        self.steals += 1
                    stolen_at = queue.runs
                    self._lead()
                releases = lead.releases
                quiet = 0
            else:
                quiet = quiet + 1 if queue.runs == runs else 0
                runs = queue.runs
                if quiet > self.PATIENCE:
                    quiet = 0
                    self._sleep(runs, due)

    def _stalled(self) -> int:
        """Count the workers that are in the same run as at the last look."""
        count = 0
        for worker in self._pool.workers:
            if worker.connection is None:
                worker.seen = -1
            else:
                handled = worker.handled
                if worker.seen == handled:
                    count += 1
                worker.seen = handled
        return count

    def _sleep(self, runs: int, due: float) -> None:
        self.asleep = True
        # Whoever starts a run after this sees that we sleep; who did before is seen by us.
        if self._queue.runs != runs or self._queue.lead.free or self._closed:
            self.asleep = False
        else:
            if self._request_watchdog is not None:
                due = (
                    self._request_watchdog.look()
                )  # once more: a run without the lead may have begun before it saw us asleep
            timeout = self._clock.timeout(due)
            self._waiter.acquire(timeout=-1 if timeout is None else timeout)
            self.asleep = False
            self._policy.rest()

    def _queue_call(self, connection: Connection) -> bool:
        """No worker is free: the request waits for a new one, or for an old one, or is refused when too many do.

        True: it waits for an old one; a look whether there may be a new one by now has to follow.
        """
        connection.settle()
        grown = self._pool.grow()
        budget = connection.server.budget
        held = connection.body_memory
        if held > 0 and not budget.memory_for(0) and not budget.disk_for(held):
            why = "no worker is free, and --buffer-memory and --spool-disk are used up"
        elif not grown and self._pool.is_exhausted():
            why = _NOBODY
        elif not grown and self._queue.run_queue.full():
            why = "no worker is free, and as many requests wait for one as --max-queued allows"
        else:
            self._queue.run_queue.put(connection, self._now())
            return not grown
        self._stepper.refuse(connection, "overload", why)
        return False

    def _refuse_overdue(self) -> None:
        """Refuse who has waited for too long, and everybody who waits when nobody can come any more."""
        run_queue = self._queue.run_queue
        while True:
            is_exhausted = run_queue.waiting and self._pool.is_exhausted()
            connection = run_queue.take_overdue(NEVER if is_exhausted else self._now())
            if connection is None:
                return
            connection.state = OWNED
            try:
                self._stepper.refuse(connection, "overload", _NOBODY if is_exhausted else LATE)
            except Exception:
                if connection.state is OWNED:
                    self._stepper.close(connection, "error")
                raise

    def _lead(self) -> None:
        """Pass the lead on to a worker, or lead until one is free."""
        queue = self._queue
        self._leads = queue.monitor_leads = True
        while not queue.closed:
            connection: Connection | None = None
            try:
                if queue.lead.wake_follower():
                    break
                connection = queue.next_ready(queue.lead.followers)
                if connection is not None:
                    connection.state = OWNED
                    waits = self._stepper.advance(connection) and self._queue_call(connection)
                    connection = None  # somebody else's by now, whatever fails below
                    if waits:
                        # A worker that was idle may have left in between: it saw no call yet, and we saw it.
                        self._pool.grow()
                if self._request_watchdog is not None:
                    queue.monitor_due = self._request_watchdog.look()
                self._refuse_overdue()
            except Exception as error:
                # No memory for a moment, or a fault of ours. Neither the lead nor the connection must be lost with it.
                if connection is not None and connection.state is OWNED and not connection.lent:
                    self._stepper.close(connection, "error")
                self._log.failure("the monitor could not step a connection", error, "steps of the monitor that failed")
                if isinstance(error, (OSError, ValueError)):  # of the poller, as in WorkerPool
                    time.sleep(RETRY)
        self._leads = queue.monitor_leads = False
