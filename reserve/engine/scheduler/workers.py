"""The pool of workers: how many there are, which of them count, and how they begin and end.

The pool grows while requests wait and no worker is free, and shrinks again when workers have been idle for a while. In
a pool of fixed size no worker wakes up to check that. A worker whose application takes its connection over leaves the
pool, which replaces it, and ends with that connection. What a worker does meanwhile is in
:mod:`reserve.engine.scheduler.workerloop`.

Workers that are exempt for a reason (:class:`~reserve.engine.scheduler.worker.Exemption`) do not count against the
maximum. When an exemption ends, more workers than the maximum may run for a moment: the next of them that ends a run
leaves the pool.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.peers import describe
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.clock import Clock, SystemClock
from reserve.engine.polling.patching import green_library
from reserve.engine.polling.poller import RETRY
from reserve.engine.polling.threads import LIMITS, THREAD_PREFIX, set_signal_mask, signal_mask, start_thread
from reserve.engine.polling.token import pass_lock
from reserve.engine.scheduler.readyqueue import ReadyQueue
from reserve.engine.scheduler.stepper import Stepper
from reserve.engine.scheduler.worker import Exemption, Worker
from reserve.engine.scheduler.workerloop import WorkerLoop
from reserve.engine.settings import EngineSettings
from reserve.errors import RequestTimeout, UsageError, short_repr

__all__ = ["Waiting", "WorkerPool"]

_SYSTEM = SystemClock()


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
        self.lowest, self.highest = settings.thread_range
        """How many workers there are at least and at most. Replaced while the lock is held."""
        self._timed = settings.request_timeout > 0
        self._now = clock.now
        self._max_stuck = settings.max_stuck
        self._max_upgraded = settings.max_upgraded
        self._mask = signal_mask()
        """The signals that the workers block, and the processes that applications start."""
        self._lock = threading.Lock()
        self._gate: deque[None] = deque()
        self.thread_prefix = THREAD_PREFIX
        """What the names of its threads begin with."""
        self._created = 0
        self._stuck: list[Worker] = []
        self._former_handled = 0
        self._cannot_grow = False
        self.waiting = Exemption(settings.max_waiting)
        """The run waits for something that is not the processor: see :class:`Waiting`."""
        self.grow_wanted = False
        """One worker less counts. Then the monitor, which clears it, adds workers for the requests that wait."""
        self._loop = WorkerLoop(self, queue, stepper, log, settings, clock)
        self.workers: tuple[Worker, ...] = tuple(self._make() for _ in range(self.lowest))
        """Replaced as a whole while the lock is held; read without the lock."""
        self.upgraded: tuple[Worker, ...] = ()
        """The workers that have left the pool with a connection that is taken over. Replaced and read likewise."""
        self.beside: tuple[Worker, ...] = ()
        """The threads of :meth:`run_beside`. Replaced and read likewise."""

    def start(self) -> None:
        for worker in self.workers:
            start_thread(worker.thread)

    def busy(self) -> list[Worker]:
        """Workers that are inside a run now, or call what follows it."""
        return [worker for worker in self.workers if worker.connection is not None or worker.finishing]

    def free(self) -> int:
        """How many more runs could begin now, if nothing waits for a worker; also threads that are not started yet."""
        counted = sum(
            (worker.connection is not None or worker.finishing) and worker.exempt is None for worker in self.workers
        )
        return max(0, self.highest - counted - max(0, self.stuck() - self._max_stuck))

    def finishing(self) -> int:
        """How many workers call what follows a run. See :meth:`call_after_run`."""
        self.synchronize()
        return sum(worker.finishing for worker in (*self.workers, *self.upgraded))

    def synchronize(self) -> None:
        """By a worker that ends or begins something that another thread counts, after it has written that, and by that
        thread before it counts. Neither waits for a lock in which RequestTimeout may be raised.
        """
        pass_lock(self._gate)

    def exempt_count(self, reason: Exemption) -> int:
        """How many workers are exempt for this reason."""
        return sum(worker.exempt is reason for worker in self.workers)

    def resize(self, lowest: int, highest: int) -> None:
        """Change how many workers there are at least and at most, while the server runs. Any thread.

        Workers above the minimum end as they become idle; those above the maximum as soon as they have ended their run.
        """
        with self._lock:
            self.lowest, self.highest = lowest, highest
        while self._counted() < lowest and self.grow():
            pass
        self._queue.shrinks = True
        self._queue.wake()
        self._want_more()

    def handled(self) -> int:
        """Runs finished so far, also by workers that have ended."""
        with self._lock:  # a worker that leaves meanwhile counts once
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
            if self._counted() + max(0, stuck - self._max_stuck) >= self.highest or self._queue.closed:
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
        serves = describe(connection)
        with self._lock:
            workers = [worker for worker in self.workers if worker.connection is connection]
            if not workers or self._upgrades_full():
                return False
            (worker,) = workers
            self._remove(worker)
            worker.serves = serves
            worker.upgraded = True
            worker.handled = 0  # the pool counts the runs before this one
            self.upgraded = (*self.upgraded, worker)
        self._want_more()
        if self._counted() < self.lowest:
            self.grow()
        return True

    def current(self) -> Worker | None:
        """The worker whose thread calls this; None: the caller is no worker of this pool, or was given up.

        There is no ``threading.local`` for it: CPython may wait for ever when the garbage collector frees one while the
        stack of a thread is taken for the log.
        """
        ident = threading.get_ident()
        for worker in (*self.workers, *self.upgraded):
            if worker.ident == ident:
                return worker
        return None

    def exempt(self, worker: Worker, reason: Exemption) -> bool:
        """By the worker, in its run: do not count it against the maximum until :meth:`end_exemption`, at most until the
        end of the run. False: too many are exempt for this reason, and it counts as before.
        """
        if self._queue.closed:
            return False
        before = worker.exempt
        # Set before it is counted: two workers at once may both be refused the last place, but never both get it.
        worker.exempt = reason
        self.synchronize()
        if self.exempt_count(reason) > reason.limit:
            worker.exempt = before
            return False
        self._want_more()
        return True

    def end_exemption(self, worker: Worker, reason: Exemption) -> None:
        """By the worker: count it again, unless it is exempt for another reason now."""
        if worker.exempt is reason:
            worker.exempt = None

    def extend(self, seconds: float) -> None:
        """By a worker, in its run: ``--request-timeout`` does not end within ``seconds`` from now. It never becomes
        shorter. Nothing happens on another thread.
        """
        worker = self.current()
        if worker is not None:
            worker.extended_to = max(worker.extended_to, self._now() + seconds)

    def redirect_interrupt(self, interrupt: Callable[[], None]) -> None:
        """By a worker, in its run: from now on RequestTimeout is not raised on its thread, because another one runs the
        application; ``interrupt`` is called by the monitor instead. Nothing happens on another thread, after a run, and
        without ``--request-timeout``.

        Raises RequestTimeout when the time of the run is over.
        """
        worker = self.current() if self._timed else None
        if worker is None or worker.connection is None:
            return
        if not worker.guard.redirect(interrupt) or worker.interrupted:
            raise RequestTimeout

    def call_after_run(self, function: Callable[[], object]) -> None:
        """By a worker, in its run: call ``function()`` once when the run is over, on this thread, in a copy of the
        caller's :class:`contextvars.Context`. The connection goes on meanwhile. The functions are called in the order
        of these calls; a function may add others.

        Raises UsageError on another thread, and for what cannot be called.
        """
        if not callable(function):
            raise UsageError(f"what is called after the response is a function, not {short_repr(function)}")
        worker = self.current()
        if worker is None or (worker.connection is None and not worker.finishing):
            raise UsageError(
                "a function that is called after the response is added on the thread that runs the request, before the "
                f"response ends; this is {threading.current_thread().name}"
            )
        worker.after_run.append(partial(copy_context().run, function))

    def _want_more(self) -> None:
        """Have the monitor add workers for the requests that wait, because one worker less counts."""
        self.grow_wanted = True
        self._queue.alarm.synchronize()
        if self._queue.monitor_lead is not None:
            self._queue.wake()

    def run_beside(self, connection: Connection, function: Callable[[], object]) -> bool:
        """See :meth:`~reserve.engine.connections.context.ServerContext.run_beside`."""

        def main(own: Worker) -> None:
            try:
                self._hook(self._on_start, "on_thread_start")
                function()
            except BaseException as error:
                self._log.failure(f"{own.thread.name} failed", error)
            finally:
                if not self._queue.abandoned:
                    self._hook(self._on_stop, "on_thread_stop")
                with self._lock:
                    self.beside = tuple(other for other in self.beside if other is not own)

        if green_library():
            return False
        serves = describe(connection)
        with self._lock:
            if self._upgrades_full() or self._queue.closed:
                return False
            self._created += 1
            own = Worker(main, f"{self.thread_prefix}-upgraded-{self._created}")
            own.serves = serves
            self.beside = (*self.beside, own)
        try:
            own.thread.start()
        except (RuntimeError, MemoryError) as error:
            with self._lock:
                self.beside = tuple(other for other in self.beside if other is not own)
            self._log.error(f"no thread could be started for an upgraded connection: {error}")
            return False
        return True

    def upgraded_threads(self) -> tuple[str, ...]:
        """The threads that each serve one connection outside of the pool, and whom. Any thread."""
        return tuple(f"{worker.thread.name}: {worker.serves}" for worker in (*self.upgraded, *self.beside))

    def _upgrades_full(self) -> bool:
        return len(self.upgraded) + len(self.beside) >= self._max_upgraded

    # ---- by the workers ----

    def _counted(self) -> int:
        """How many workers count against the maximum."""
        return sum(worker.exempt is None for worker in self.workers)

    def _make(self) -> Worker:
        self._created += 1
        return Worker(self._main, f"{self.thread_prefix}-worker-{self._created}")

    def _remove(self, worker: Worker) -> None:
        if worker in self.workers:
            self.workers = tuple(other for other in self.workers if other is not worker)
            self._former_handled += worker.handled

    def _end_upgrade(self, worker: Worker) -> None:
        """By the worker, when it ends."""
        with self._lock:
            self._former_handled += worker.handled
            self.upgraded = tuple(other for other in self.upgraded if other is not worker)

    def may_leave(self, worker: Worker) -> bool:
        with self._lock:
            if self._counted() <= self.lowest or len(self._queue):
                return False
            self._remove(worker)
            return True

    def has_surplus(self) -> bool:
        """Whether more workers count than the maximum, because exemptions have ended."""
        return self._counted() > self.highest

    def leave_surplus(self, worker: Worker) -> bool:
        """Between two runs: leave the pool if more workers count than the maximum, because exemptions have ended."""
        with self._lock:
            if self._counted() <= self.highest:
                return False
            self._remove(worker)
        self._queue.give_lead(worker)
        return True

    def _main(self, worker: Worker) -> None:
        worker.ident = threading.get_ident()
        set_signal_mask(self._mask)  # the thread that has started it may be one that takes no signals
        self._hook(self._on_start, "on_thread_start")
        going_on = True
        while going_on and not self._queue.closed and not worker.upgraded:
            try:
                going_on = self._loop.serve(worker)
            except BaseException as error:
                # A fault of the engine, not of one connection. The thread starts its loop again; the lead must not be
                # lost.
                worker.connection = None
                if worker.lead is not None:
                    self._queue.leads.hand_over(worker.lead)
                    worker.lead = None
                self._log.failure("a worker failed and starts again", error, "workers that failed")
                if issubclass(type(error), (OSError, ValueError)):  # isinstance() may run code of the application
                    # The poller's descriptor is closed, or the system has run out of a resource: without a pause this
                    # loop would use a whole processor.
                    time.sleep(RETRY)
        if worker.upgraded:  # here and nowhere else: an exception of the engine may have ended the run
            self._end_upgrade(worker)
        if not self._queue.abandoned:
            self._hook(self._on_stop, "on_thread_stop")

    def _hook(self, hook: Callable[[], None], name: str) -> None:
        try:
            hook()
        except BaseException as error:
            self._log.failure(f"the hook {name} failed", error)


class Waiting:
    """``with server.waiting():`` a run that only waits is exempt. The application owns it, and uses it on one thread.

    On a thread that is no worker of the pool the block does nothing, nor does a block within a block. RequestTimeout
    may be raised in it at any moment; the end of the run ends what a block has left behind.
    """

    __slots__ = ("_pool", "_run", "_worker")

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._worker: Worker | None = None
        """The worker that this block has exempted."""
        self._run = -1
        """The number of the run in which it has; a generator may be closed long after its run."""

    def __enter__(self) -> bool:
        """Begin to wait. False: the worker counts as before."""
        worker = self._pool.current()
        if worker is None or (worker.connection is None and not worker.finishing):
            return False
        if worker.exempt is not None:
            return True
        self._run = worker.handled
        self._worker = worker
        return self._pool.exempt(worker, self._pool.waiting)

    def __exit__(self, *exc_info: object) -> None:
        worker, self._worker = self._worker, None
        if worker is not None and worker is self._pool.current() and worker.handled == self._run:
            self._pool.end_exemption(worker, self._pool.waiting)
