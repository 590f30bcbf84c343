"""The stall monitor: makes sure that no connection waits because the thread that released a lead is still inside an
application.

It is a thread of its own. While requests are served, it wakes every millisecond, or more often if the hand-off policy
says so. When a lead is free and no thread has taken it since the last look, the monitor gives it to a follower. When
every worker is busy, the monitor leads itself, but only reads from sockets into memory, and hands the lead over as soon
as a worker is free. It also tells the policy how many handlers wait. While the server is idle, it sleeps until it is
woken.
"""

from __future__ import annotations

import time

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.states import OWNED
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.clock import Clock, SystemClock
from reserve.engine.polling.patching import SystemThread
from reserve.engine.polling.poller import RETRY
from reserve.engine.polling.processors import parallel_threads
from reserve.engine.polling.threads import start_thread
from reserve.engine.polling.timers import NEVER
from reserve.engine.polling.waiter import Alarm
from reserve.engine.scheduler.handoff import HandOff, StallObserver
from reserve.engine.scheduler.lead import Lead
from reserve.engine.scheduler.readyqueue import ReadyQueue
from reserve.engine.scheduler.requesttimeout import RequestWatchdog
from reserve.engine.scheduler.runqueue import LATE
from reserve.engine.scheduler.stepper import Stepper
from reserve.engine.scheduler.workers import WorkerPool

__all__ = ["Monitor"]

_SYSTEM = SystemClock()
_NO_WORKER = "every worker is stuck (--request-timeout), and no more are replaced (--max-stuck)"


class Monitor:
    """The monitor of one server; owned by its runtime. Its thread runs everything but :meth:`start` and :meth:`close`.

    :param policy: told how many handlers wait; it says how often the monitor looks.
    :param alarm: woken for every run that begins while the monitor sleeps.
    """

    SAMPLE = 0.016
    """Seconds that a sample for the policy takes at least."""
    IDLE_LOOKS = 50
    """Looks without a new run before it goes to sleep."""

    def __init__(self, policy: HandOff, alarm: Alarm, log: ErrorLog, clock: Clock = _SYSTEM) -> None:
        self._policy = policy
        self._observer = StallObserver(parallel=parallel_threads())
        self._alarm = alarm
        self._log = log
        self._clock = clock
        self._now = clock.now
        self._closed = False
        self._queue: ReadyQueue
        self._stepper: Stepper
        self._pool: WorkerPool
        self._request_watchdog: RequestWatchdog | None = None
        self.steals = 0
        """How often the monitor took a lead from a worker whose handler stalled."""
        self.thread = SystemThread(target=self._main, name="reserve-monitor", daemon=True)

    def start(
        self, queue: ReadyQueue, stepper: Stepper, pool: WorkerPool, request_watchdog: RequestWatchdog | None = None
    ) -> None:
        """Begin to watch.

        :param request_watchdog: handles runs that take too long; None: there is no limit.
        """
        self._queue = queue
        self._stepper = stepper
        self._pool = pool
        self._request_watchdog = request_watchdog
        if request_watchdog is not None:
            self._clock.subscribe(self._alarm.wake)
        start_thread(self.thread)

    def close(self) -> None:
        """End the thread soon. The queue is closed before."""
        self._clock.unsubscribe(self._alarm.wake)
        self._closed = True
        self._alarm.wake()

    def _main(self) -> None:
        while not self._closed:
            try:
                self._watch()
            except Exception as error:
                # Out of memory for a moment, or a fault of the engine. This thread must go on, and must not keep the
                # lead: every other thread relies on both.
                lead = self._queue.monitor_lead
                if lead is not None:
                    self._queue.leads.hand_over(lead)
                    self._queue.monitor_lead = None
                self._log.failure("the monitor failed and goes on", error)

    def _watch(self) -> None:
        leads = self._queue.leads
        policy, observer = self._policy, self._observer
        seen = [-1] * len(leads.all)
        runs = -1
        sampled_runs = leads.runs
        quiet = stolen_at = 0
        due = NEVER
        while not self._closed:
            tick = policy.tick
            self._alarm.wait(tick)
            observer.look(self._pool.workers, tick)
            if self._request_watchdog is not None:
                due = self._queue.monitor_due = self._request_watchdog.look()
            if observer.elapsed >= self.SAMPLE:
                elapsed, looks, begun = observer.elapsed, observer.looks, leads.runs
                policy.sample(elapsed, looks, begun - sampled_runs, observer.end_sample())
                sampled_runs = begun
            if leads.wanted:
                looked_at = tuple(zip(leads.all, seen, strict=True))
                none_leads = all(lead.free and lead.releases == releases for lead, releases in looked_at)
                begun = leads.runs
                for lead, releases in looked_at:
                    # Without a follower the monitor would have to lead, which it does only if no worker leads.
                    if lead.releases == releases and (leads.followers or none_leads) and lead.take():
                        if begun != stolen_at:  # not counted when no run has begun, as at the start
                            self.steals += 1
                            stolen_at = begun
                        self._lead_for_others(lead)
                        observer.rest()
                seen = [lead.releases for lead in leads.all]
                quiet = 0
            else:
                quiet = quiet + 1 if leads.runs == runs else 0
                runs = leads.runs
                if quiet > self.IDLE_LOOKS:
                    quiet = 0
                    self._sleep(runs, due)

    def _sleep(self, runs: int, due: float) -> None:
        alarm = self._alarm
        alarm.asleep = True
        # A thread that starts a run from now on wakes the alarm. A run that started before is counted.
        self._queue.leads.synchronize()
        alarm.synchronize()
        if self._queue.leads.runs != runs or self._queue.leads.wanted or self._closed:
            alarm.asleep = False
        else:
            if self._request_watchdog is not None:
                # Look once more: a worker without the lead may have begun a run before it could see ``asleep``.
                due = self._request_watchdog.look()
            alarm.wait(self._clock.timeout(due))
            alarm.asleep = False
            self._observer.rest()

    def _queue_run(self, connection: Connection) -> bool:
        """No worker is free: queue the request for a new worker or for a busy one, or refuse it when too many wait.

        True: it waits for a busy worker, and the caller has to try once more to add a worker.
        """
        self._refuse_overdue()  # first: they make room in the queue
        connection.driver.count_run()
        connection.settle()
        grown = self._pool.grow()
        budget = connection.server.budget
        held = connection.body_memory
        if held > 0 and not budget.memory_for(0) and not budget.disk_for_body(held):
            why = "no worker is free, and --buffer-memory and --spool-disk are used up"
        elif not grown and self._pool.is_exhausted():
            why = _NO_WORKER
        elif not grown and self._queue.run_queue.full():
            why = "no worker is free, and as many requests wait for one as --max-queued allows"
        else:
            self._queue.run_queue.put(connection, self._now())
            return not grown
        self._stepper.refuse(connection, "overload", why)
        return False

    def _grow_again(self) -> None:
        """One worker less counts than when requests were queued: add workers for those that wait."""
        self._pool.grow_wanted = False
        for _ in range(len(self._queue.run_queue.waiting)):
            if not self._pool.grow():
                break

    def _refuse_overdue(self) -> None:
        """Refuse requests that have waited too long, and all of them when there is no worker and can be none."""
        run_queue = self._queue.run_queue
        while True:
            exhausted = run_queue.waiting and self._pool.is_exhausted()
            connection = run_queue.take_overdue(NEVER if exhausted else self._now())
            if connection is None:
                return
            connection.state = OWNED
            try:
                self._stepper.refuse(connection, "overload", _NO_WORKER if exhausted else LATE)
            except Exception:
                if connection.state is OWNED:
                    self._stepper.closer.close(connection, "error")
                raise

    def _lead_for_others(self, lead: Lead) -> None:
        """Hand a lead over to a worker, or lead until one is free."""
        queue = self._queue
        queue.monitor_lead = lead
        # A thread that begins a run with a time limit, or wants more workers, from now on wakes this one; what others
        # have begun is seen below.
        self._alarm.synchronize()
        others = [(other, other.releases) for other in queue.leads.all if other is not lead]

        def worker_leads() -> bool:
            """A worker has another lead, or has had it meanwhile."""
            return any(not other.free or other.releases != releases for other, releases in others)

        while not queue.closed:
            connection: Connection | None = None
            try:
                if worker_leads():
                    queue.leads.hand_over(lead)
                    break
                if queue.leads.wake_follower(lead):
                    break
                if self._pool.grow_wanted:
                    self._grow_again()
                connection = queue.next_ready(lead, queue.leads.followers)
                if connection is not None:
                    connection.state = OWNED
                    if worker_leads():
                        queue.put(connection)
                        continue
                    now = lead.stepped_at = self._now()
                    waits = self._stepper.advance(connection, now) and self._queue_run(connection)
                    connection = None  # another thread may own it now, so it must not be closed below
                    if waits:
                        # An idle worker may have ended meanwhile: it did not see this request, and grow() still counted
                        # it.
                        self._pool.grow()
                if self._request_watchdog is not None:
                    queue.monitor_due = self._request_watchdog.look()
                self._refuse_overdue()
            except Exception as error:
                # Out of memory, or a fault of the engine. Neither the lead nor the connection must be lost.
                if connection is not None and connection.state is OWNED and not connection.lent:
                    self._stepper.closer.close(connection, "error")
                self._log.failure("the monitor could not step a connection", error, "steps of the monitor that failed")
                if issubclass(type(error), (OSError, ValueError)):  # of the poller, as in WorkerPool
                    time.sleep(RETRY)
        queue.monitor_lead = None
