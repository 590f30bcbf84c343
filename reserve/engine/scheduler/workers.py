"""The workers: threads that take connections from the queue, run their applications, and lead in turn.

A worker is busy only while :meth:`Driver.run` runs. No exception of an application ends a worker. The pool grows while
requests wait and no worker is free, and shrinks again when workers have been idle for a while. In a pool of fixed size
no worker wakes up to check that. A worker whose application takes its connection over leaves the pool, which replaces
it, and ends with that connection.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.states import OWNED
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.clock import Clock, SystemClock
from reserve.engine.polling.patching import SystemThread, green_library
from reserve.engine.polling.poller import RETRY
from reserve.engine.polling.threads import LIMITS, start_thread
from reserve.engine.polling.timers import NEVER
from reserve.engine.scheduler.lead import Follower
from reserve.engine.scheduler.readyqueue import ReadyQueue
from reserve.engine.scheduler.runguard import RunGuard
from reserve.engine.scheduler.stepper import Stepper
from reserve.engine.settings import EngineSettings
from reserve.errors import RequestTimeout

__all__ = ["Worker", "WorkerPool"]

_SYSTEM = SystemClock()
_RUNS_IN_A_ROW = 16
"""The most runs of one connection in a row (pipelined requests). Then the other connections are served first."""
_TURN_TIME = 0.002
"""Seconds after which the other connections have their turn all the same: 16 requests may have heads of 64 KiB each."""
_IDLE = 30.0
"""Seconds without work after which a worker above the minimum ends."""


class Worker(Follower):
    """One worker thread and what it does; owned by the pool. Only that thread writes it, except where noted.

    :param target: called on the thread, with the worker.
    :param name: of the thread.
    """

    __slots__ = ("connection", "guard", "handled", "interrupted", "run_due", "seen", "thread", "upgraded")

    def __init__(self, target: Callable[[Worker], None], name: str) -> None:
        super().__init__()
        self.connection: Connection | None = None
        """The connection whose driver it runs now; None: the worker is idle, or leads."""
        self.handled = 0
        """How many runs the worker has finished."""
        self.guard = RunGuard()
        self.seen = -1
        """``handled`` at the monitor's last look; -1: it was idle then. Written by the monitor."""
        self.run_due = NEVER
        """When the monitor acts on its run. The worker sets it before a run; during a run the monitor does, and holds
        the guard.
        """
        self.interrupted = False
        """RequestTimeout was raised in the run. Written like ``run_due``."""
        self.upgraded = False
        """The application has taken the connection of the run over. Written by the pool, with its lock."""
        self.thread = SystemThread(target=target, args=(self,), name=name, daemon=True)


class WorkerPool:
    """The workers of one server.

    :param on_start: a hook of the embedding program, called on each worker's thread before its first run.
    :param on_stop: the same, called after its last run.
    """

    def __init__(
        self,
        settings: EngineSettings,
        queue: ReadyQueue,
        stepper: Stepper,
        log: ErrorLog,
        on_start: Callable[[], None],
        on_stop: Callable[[], None],
        clock: Clock = _SYSTEM,
    ) -> None:
        self._queue = queue
        self._stepper = stepper
        self._log = log
        self._on_start = on_start
        self._on_stop = on_stop
        self._min, self._max = settings.thread_range
        self._timeout = settings.request_timeout
        self._timed = settings.request_timeout > 0
        self._now = clock.now
        self._max_stuck = settings.max_stuck
        self._max_upgraded = settings.max_upgraded
        self._lock = threading.Lock()
        self._created = 0
        self._stuck: list[Worker] = []
        self._former_handled = 0
        self._cannot_grow = False
        self.workers: tuple[Worker, ...] = tuple(self._make() for _ in range(self._min))
        """Replaced as a whole while the lock is held; read without the lock."""
        self.upgraded: tuple[Worker, ...] = ()
        """The workers that have left the pool with a connection that is taken over. Replaced and read likewise."""

    def start(self) -> None:
        for worker in self.workers:
            start_thread(worker.thread)

    def busy(self) -> list[Worker]:
        """Workers that are inside a run now."""
        return [worker for worker in self.workers if worker.connection is not None]

    def handled(self) -> int:
        """Runs finished so far, also by workers that have ended."""
        return self._former_handled + sum(worker.handled for worker in self.workers)

    def stuck(self) -> int:
        """How many workers were given up and have not ended since."""
        with self._lock:
            self._stuck = [worker for worker in self._stuck if worker.thread.is_alive()]
            return len(self._stuck)

    def given_up(self) -> list[Worker]:
        """The workers that were given up and have not ended since."""
        self.stuck()
        return self._stuck

    # ---- by the monitor ----

    def grow(self) -> bool:
        """Add a worker for a request that waits, if the pool may have one more. True: it was added."""
        if green_library():  # the new thread would run inside this one, and never give it back
            return False
        stuck = self.stuck()
        with self._lock:
            # Stuck workers beyond --max-stuck are not replaced: they count as if they were still in the pool.
            if len(self.workers) + max(0, stuck - self._max_stuck) >= self._max or self._queue.closed:
                return False
            worker = self._make()
            self.workers = (*self.workers, worker)
        try:
            worker.thread.start()
        except (RuntimeError, MemoryError) as error:  # the pool goes on with the threads it has
            with self._lock:
                self._remove(worker)
            if not self._cannot_grow:  # logged once, not for every request that waits
                self._cannot_grow = True
                self._log.error(
                    f"no thread could be started in addition to the {len(self.workers)} that run: {error}; {LIMITS}"
                )
            return False
        self._cannot_grow = False
        return True

    def is_exhausted(self) -> bool:
        """Say whether there is no worker and none can be added: then no request that waits can be served."""
        return not self.workers and not self.grow()

    def give_up(self, worker: Worker) -> None:
        """Remove a worker that is stuck; another one takes its place, up to ``--max-stuck``."""
        with self._lock:
            self._remove(worker)
            self._stuck.append(worker)
        stuck = self.stuck()
        if stuck <= self._max_stuck:
            self.grow()
        else:
            self._log.error(
                f"{stuck} {'thread is' if stuck == 1 else 'threads are'} stuck, more than --max-stuck "
                f"{self._max_stuck}: no more are replaced, and the health check says unhealthy"
            )

    # ---- by the application, during a run ----

    def upgrade(self, connection: Connection) -> bool:
        """See :meth:`~reserve.engine.connections.context.ServerContext.upgrade`."""
        with self._lock:
            workers = [worker for worker in self.workers if worker.connection is connection]
            if not workers or len(self.upgraded) >= self._max_upgraded:
                return False
            (worker,) = workers
            self._remove(worker)
            worker.upgraded = True
            worker.handled = 0  # the pool counts the runs before this one
            self.upgraded = (*self.upgraded, worker)
        if len(self.workers) < self._min:
            self.grow()
        return True

    # ---- by the workers ----

    def _make(self) -> Worker:
        self._created += 1
        return Worker(self._main, f"reserve-worker-{self._created}")

    def _remove(self, worker: Worker) -> None:
        if worker in self.workers:
            self.workers = tuple(other for other in self.workers if other is not worker)
            self._former_handled += worker.handled

    def _end_upgrade(self, worker: Worker) -> None:
        """By the worker, after its run."""
        with self._lock:
            self._former_handled += worker.handled
            self.upgraded = tuple(other for other in self.upgraded if other is not worker)

    def _may_leave(self, worker: Worker) -> bool:
        with self._lock:
            if len(self.workers) <= self._min or len(self._queue):
                return False
            self._remove(worker)
            return True

    def _main(self, worker: Worker) -> None:
        self._hook(self._on_start, "on_thread_start")
        going_on = True
        while going_on and not self._queue.closed and not worker.upgraded:
            try:
                going_on = self._serve(worker)
            except BaseException as error:
                # A fault of the engine, not of one connection. The thread starts its loop again; the lead must not be
                # lost.
                worker.connection = None
                if worker.leads:
                    self._queue.lead.hand_over()
                    worker.leads = False
                self._log.failure("a worker failed and starts again", error, "workers that failed")
                if issubclass(type(error), (OSError, ValueError)):  # isinstance() may run code of the application
                    # The poller's descriptor is closed, or the system has run out of a resource: without a pause this
                    # loop would use a whole processor.
                    time.sleep(RETRY)
        if not self._queue.abandoned:
            self._hook(self._on_stop, "on_thread_stop")

    def _hook(self, hook: Callable[[], None], name: str) -> None:
        try:
            hook()
        except BaseException as error:
            self._log.failure(f"the hook {name} failed", error)

    def _serve(self, worker: Worker) -> bool:
        """Serve until the queue is closed (True), or the worker has to end, being surplus or given up (False)."""
        queue = self._queue
        while True:
            connection = queue.get(worker, _IDLE if len(self.workers) > self._min else None)
            if connection is not None:
                connection.state = OWNED
                try:
                    if not self._take_turn(worker, connection):
                        return False
                except BaseException:
                    # Out of memory as a rule, perhaps for the call itself. This thread has to close the connection,
                    # because no other thread would. (Not a lent connection: another worker closes it.)
                    if connection.state is OWNED and not connection.lent and not worker.guard.given_up:
                        self._stepper.closer.close(connection, "error")
                    raise
            elif queue.closed:
                return True
            elif self._may_leave(worker):
                return False

    def _take_turn(self, worker: Worker, connection: Connection) -> bool:
        """Step a connection, and run its driver as often as the driver asks; False when the worker was given up."""
        queue, stepper = self._queue, self._stepper
        if connection.wants_worker:
            connection.wants_worker = False
            if connection.queued_at != NEVER and (stepper.refuse_late(connection) or stepper.close_lost(connection)):
                return True
        elif not stepper.advance(connection):
            return True
        begun = queue.stepped_at
        for _ in range(_RUNS_IN_A_ROW):
            kept = queue.yield_lead(worker)
            going_on = self._run_timed(worker, connection) if self._timed else self._run(worker, connection)
            if kept:
                queue.retake_lead(worker)
            if worker.guard.given_up or worker.upgraded:
                if worker.upgraded:
                    self._end_upgrade(worker)
                    if going_on and stepper.advance(connection):
                        queue.put(connection)
                if worker.leads:
                    worker.leads = False
                    queue.lead.hand_over()
                return False
            if not going_on or not stepper.advance(connection):
                return True
            if queue.stepped_at - begun >= _TURN_TIME:
                break
        queue.put(connection)  # its driver asks for the next run when it is stepped again
        return True

    def _run(self, worker: Worker, connection: Connection) -> bool:
        """Call the driver's run; False when the connection is closed or passed on."""
        worker.connection = connection
        failure: BaseException | None = None
        try:
            connection.driver.run()
        except BaseException as error:
            failure = error
        worker.handled += 1
        return self._after(worker, connection, failure)

    def _run_timed(self, worker: Worker, connection: Connection) -> bool:
        """Like :meth:`_run`, for a run that the monitor may interrupt or give up."""
        failure: BaseException | None = None
        worker.run_due = self._now() + self._timeout
        worker.interrupted = False
        worker.connection = connection
        worker.guard.enter(threading.get_ident())
        self._queue.timed_run_begins()
        try:
            try:
                connection.driver.run()
            except BaseException as error:
                failure = error
        except RequestTimeout as error:  # the interrupt came between the two try lines
            failure = error
        while True:
            try:
                still_ours = worker.guard.leave()
                break
            except RequestTimeout:  # the interrupt came in the first line of leave(): call it again
                continue
        if not still_ours:
            return False
        worker.handled += 1
        # Not isinstance(): it asks for __class__, which is code of the application.
        if failure is not None and issubclass(type(failure), RequestTimeout):
            worker.connection = None
            self._stepper.refuse(connection, "timeout")
            return False
        return self._after(worker, connection, failure)

    def _after(self, worker: Worker, connection: Connection, failure: BaseException | None) -> bool:
        if self._queue.abandoned:
            return False
        if failure is None and not connection.final_run and not self._queue.closed:
            worker.connection = None
            return True
        if failure is not None:
            # No exception of an application ends the worker: SystemExit in a view ends the view, not the server.
            self._log.failure(f"{worker.thread.name}: the application failed; the connection is closed", failure)
        worker.connection = None  # before the dispose: other threads must not find a disposed connection here
        if connection.final_run:
            self._stepper.closer.dispose(connection)
        elif self._queue.closed:
            self._stepper.closer.close_now(connection, "stop" if failure is None else "error")
        else:
            self._stepper.closer.close(connection, "error")
        return False
