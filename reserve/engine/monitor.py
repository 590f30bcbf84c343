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

from reserve.engine.calls import LATE
from reserve.engine.clock import Clock, SystemClock
from reserve.engine.deadlines import NEVER
from reserve.engine.poller import RETRY
from reserve.engine.states import OWNED

if TYPE_CHECKING:
    from reserve.engine.connection import Connection
    from reserve.engine.handoff import HandOff
    from reserve.engine.logs import Logs
    from reserve.engine.overdue import Overdue
    from reserve.engine.readyqueue import ReadyQueue
    from reserve.engine.stepper import Stepper
    from reserve.engine.workers import WorkerPool

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

    def __init__(self, policy: HandOff, logs: Logs, clock: Clock = _SYSTEM) -> None:
        self._policy = policy
        self._logs = logs
        self._clock = clock
        self._now = clock.now
        self._bed = threading.Lock()
        self._bed.acquire()
        self._closed = False
        self._queue: ReadyQueue
        self._stepper: Stepper
        self._pool: WorkerPool
        self._overdue: Overdue | None = None
        self._leads = False
        self.asleep = False
        """Whoever starts a run calls :meth:`alarm` while this is true."""
        self.steals = 0
        """How often the lead was taken from a handler that stalled."""
        self.thread = threading.Thread(target=self._main, name="reserve-monitor", daemon=True)

    def start(self, queue: ReadyQueue, stepper: Stepper, pool: WorkerPool, overdue: Overdue | None = None) -> None:
        """Begin to watch.

        :param overdue: looks after runs that take too long; None: they may.
        """
        self._queue = queue
        self._stepper = stepper
        self._pool = pool
        self._overdue = overdue
        if overdue is not None:
            self._clock.subscribe(self.alarm)
        self.thread.start()

    def alarm(self) -> None:
        """Wake it. Any thread, any number of times."""
        self.asleep = False
        try:  # noqa: SIM105 - nothing may be allocated between the two: it would never be rung again
            self._bed.release()
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
                    self._queue.lead.give()
                    self._leads = self._queue.monitor_leads = False
                self._logs.failure("the monitor failed and goes on", error)

    def _watch(self) -> None:
        queue = self._queue
        lead = queue.lead
        laid_down = runs = sampled_runs = -1
        quiet = looks = stalled = stolen_at = 0
        due = NEVER
        while not self._closed:
            self._bed.acquire(timeout=self.TICK)
            stalled += self._stalled()
            if self._overdue is not None:
                due = queue.monitor_due = self._overdue.look()
            looks += 1
            if looks == self.SAMPLE:
                self._policy.sample(queue.runs - sampled_runs, stalled)
                sampled_runs = queue.runs
                looks = stalled = 0
            if lead.free:
                if lead.laid_down == laid_down and lead.take():
                    self._leads = True
                    if queue.runs != stolen_at:  # not the lead that nobody has taken up yet, at the start
                        self.steals += 1
                    stolen_at = queue.runs
                    self._lead()
                laid_down = lead.laid_down
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
            if self._overdue is not None:
                due = self._overdue.look()  # once more: a run without the lead may have begun before it saw us asleep
            timeout = self._clock.timeout(due)
            self._bed.acquire(timeout=-1 if timeout is None else timeout)
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
        elif not grown and self._pool.hopeless():
            why = _NOBODY
        elif not grown and self._queue.calls.full():
            why = "no worker is free, and as many requests wait for one as --max-queued allows"
        else:
            self._queue.calls.put(connection, self._now())
            return not grown
        self._stepper.refuse(connection, "overload", why)
        return False

    def _refuse_overdue(self) -> None:
        """Refuse who has waited for too long, and everybody who waits when nobody can come any more."""
        calls = self._queue.calls
        while True:
            hopeless = calls.waiting and self._pool.hopeless()
            connection = calls.take_overdue(NEVER if hopeless else self._now())
            if connection is None:
                return
            connection.state = OWNED
            try:
                self._stepper.refuse(connection, "overload", _NOBODY if hopeless else LATE)
            except Exception:
                if connection.state is OWNED:
                    self._stepper.end(connection, "error")
                raise

    def _lead(self) -> None:
        """Pass the lead on to a worker, or lead until one is free."""
        queue = self._queue
        self._leads = queue.monitor_leads = True
        while not queue.closed:
            connection: Connection | None = None
            try:
                if queue.lead.pass_on():
                    break
                connection = queue.next_ready(queue.lead.sleepers)
                if connection is not None:
                    connection.state = OWNED
                    waits = self._stepper.advance(connection) and self._queue_call(connection)
                    connection = None  # somebody else's by now, whatever fails below
                    if waits:
                        # A worker that was idle may have left in between: it saw no call yet, and we saw it.
                        self._pool.grow()
                if self._overdue is not None:
                    queue.monitor_due = self._overdue.look()
                self._refuse_overdue()
            except Exception as error:
                # No memory for a moment, or a fault of ours. Neither the lead nor the connection must be lost with it.
                if connection is not None and connection.state is OWNED and not connection.lent:
                    self._stepper.end(connection, "error")
                self._logs.failure("the monitor could not step a connection", error, "steps of the monitor that failed")
                if isinstance(error, (OSError, ValueError)):  # of the poller, as in WorkerPool
                    time.sleep(RETRY)
        self._leads = queue.monitor_leads = False
