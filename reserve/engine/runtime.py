"""Makes the threads of a server and the objects that they use, and is the server for its connections, drivers and
applications (:class:`~reserve.engine.connections.context.ServerContext`). No thread runs before the start.

accept thread ──► ready queue ◄──► workers        the poller belongs to the queue; the stepper to the threads that lead
▲
monitor ──► request watchdog   only with --request-timeout or --slow-request
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from reserve.engine.acceptor import Acceptor
from reserve.engine.admission import Admission
from reserve.engine.clients.places import ClientLimits, Place
from reserve.engine.connections.budget import Budget
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.states import FLUSHING, NOTIFY
from reserve.engine.endpoints import Endpoints
from reserve.engine.hooks import Hooks
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.metrics.requests import RequestMetrics
from reserve.engine.polling.clock import Clock
from reserve.engine.polling.poller import WRITE, Poller, new_poller
from reserve.engine.polling.processors import parallel_threads
from reserve.engine.polling.threads import THREAD_PREFIX, start_thread
from reserve.engine.polling.waiter import Alarm
from reserve.engine.scheduler.handoff import AdaptiveHandOff, HandOff
from reserve.engine.scheduler.monitor import Monitor
from reserve.engine.scheduler.readyqueue import ReadyQueue
from reserve.engine.scheduler.requesttimeout import RequestWatchdog
from reserve.engine.scheduler.startthread import StartThread
from reserve.engine.scheduler.stepper import Stepper
from reserve.engine.scheduler.workers import Waiting, WorkerPool
from reserve.engine.scoreboard import Slot
from reserve.engine.settings import EngineSettings
from reserve.engine.tls import ServerTLS
from reserve.errors import UsageError, counted, short_repr

__all__ = ["Runtime"]


class Runtime:
    """The threads, the queue, the poller and the error log of one server; owned by its lifecycle.

    The thread that starts the server, and its accept thread, call the methods that start and end the threads; the
    others are those of :class:`~reserve.engine.connections.context.ServerContext`, for any thread.

    :param facade: the :class:`~reserve.engine.server.Server`, which handlers get.
    :param poller: None: the best one of this platform.
    :param policy: which thread polls while a handler runs; None: the one that fits this interpreter.
    :param on_end: called on the accept thread when its loop is over: the server's shutdown.
    :param on_failure: called by any thread that finds that the server cannot go on, with what was closed.
    :param balance: the place among the processes that share the listeners; None: there are no others.
    :param on_retired: called on the accept thread when a retired server, or one that drains, has to stop.
    :param on_idle: called on the accept thread when no connection was open for ``--exit-idle``.
    """

    def __init__(
        self,
        facade: object,
        settings: EngineSettings,
        hooks: Hooks,
        clock: Clock,
        endpoints: Endpoints,
        poller: Poller | None,
        policy: HandOff | None,
        on_end: Callable[[], None],
        on_failure: Callable[[str], None],
        on_retired: Callable[[], None],
        on_idle: Callable[[], None],
        balance: Slot | None = None,
    ) -> None:
        self.facade = facade
        self.thread_prefix = THREAD_PREFIX
        """What the names of the threads begin with."""
        self._on_failure = on_failure
        self.settings = settings
        self.hooks = hooks
        self.clock = clock
        self.log = log = ErrorLog(hooks.error_log, clock)
        self.tls = ServerTLS(clock, log, settings.tls_check)
        self.budget = Budget(settings.buffer_memory, settings.spool_disk)
        """The memory and the disk that all connections use together."""
        self.request_metrics = RequestMetrics()
        """What drivers of HTTP count."""
        self.made, self.made_at = clock.now(), time.time()
        """When the server was made, on the engine's clock and in seconds since the epoch."""
        self.clients = ClientLimits(settings)
        """The limits for each client address."""
        self.stopping = False
        """The server is shutting down: drivers close idle connections."""
        self.draining = False
        """The server was asked to stop, and serves on as usual for ``--drain-delay``."""
        self.retiring = False
        """The server retires or is shutting down: drivers announce the close in the responses they send."""
        self.poller = poller if poller is not None else new_poller()
        policy = policy if policy is not None else AdaptiveHandOff()
        alarm = Alarm()
        leads = min(parallel_threads(), settings.thread_range[1]) if self.poller.can_share else 1
        self.queue = ReadyQueue(self.poller, clock, policy, alarm, settings, leads)
        self.stepper = Stepper(self.queue, clock, settings, log)
        self.pool = WorkerPool(
            settings, self.queue, self.stepper, log, hooks.on_thread_start, hooks.on_thread_stop, clock
        )
        self.start_thread = StartThread()
        self.request_watchdog: RequestWatchdog | None = None
        if settings.request_timeout > 0 or settings.slow_request > 0:
            self.request_watchdog = RequestWatchdog(self.pool, self.stepper, clock, settings, log, self.start_thread)
        self.monitor = Monitor(policy, alarm, log, clock)
        self.admission = Admission(self, self.queue, endpoints.by_listener)
        self.acceptor = Acceptor(
            endpoints.listeners,
            self.admission,
            on_end,
            log,
            clock,
            on_failure,
            endpoints.addresses,
            on_retired,
            balance,
            self._free_workers,
            on_idle,
            settings.exit_idle,
        )
        self.poller.wakeup.on_lost = self.acceptor.wakeup.on_lost = self._report_lost

    def name_threads(self, prefix: str) -> None:
        """Have the names of all threads begin with ``prefix``. Before the start."""
        before, self.thread_prefix = self.thread_prefix, prefix
        self.pool.thread_prefix = self.stepper.files.thread_prefix = prefix
        for thread in (self.log.thread, *self.threads()):
            thread.name = prefix + thread.name.removeprefix(before)

    def start(self) -> None:
        """Start all threads, the accept thread last: every connection that it accepts needs the others."""
        self.monitor.start(self.queue, self.stepper, self.pool, self.request_watchdog)
        self.pool.start()
        start_thread(self.acceptor.thread)

    def _free_workers(self) -> int:
        return self.pool.free() - len(self.queue.run_queue.waiting)

    def _report_lost(self) -> None:
        if self.poller.wakeup.lost:
            self._on_failure("the descriptor with which it waits for its connections")
            return
        self.log.error(
            "a descriptor of the server was closed by another part of this program (os.closerange, or a second close "
            "of one number); the server goes on with another one, but connections of clients may be damaged, too",
            "descriptors of the server that were closed by another part of this program",
        )

    def abort_start(self) -> None:
        """End the threads that were started, because one of them could not be started. Does not wait for them."""
        self.queue.close()
        self.monitor.close()

    def threads(self) -> list[threading.Thread]:
        """The threads of the server at this moment; the pool may add or remove workers."""
        return [self.acceptor.thread, *self.inner_threads()]

    def inner_threads(self) -> list[threading.Thread]:
        """The threads that a shutdown, on the accept thread, waits for."""
        pool = self.pool
        return [self.monitor.thread, *(worker.thread for worker in (*pool.workers, *pool.upgraded, *pool.beside))]

    def close(self) -> None:
        """Close the descriptors; the threads have ended, or were never started."""
        self.queue.closed = True
        self.poller.close()
        self.acceptor.wakeup.close()

    # ---- called by connections, drivers and applications: see ServerContext ----

    @property
    def healthy(self) -> bool:
        """The server takes new clients: it does not drain, retire or stop, a listener is open, and at most
        ``max_stuck`` threads are stuck.
        """
        return not (self.draining or self.retiring) and self.live

    @property
    def live(self) -> bool:
        """The server can get healthy again, or ends as it was told to. False: only a restart helps."""
        return not self.acceptor.has_no_listener and self.pool.stuck() <= self.settings.max_stuck

    def unhealthy_reasons(self) -> tuple[str, ...]:
        """Why the server is not healthy, as clauses; empty: it is."""
        reasons = []
        if self.stopping:
            reasons.append("it stops")
        elif self.retiring:
            reasons.append("it retires: another process takes its clients")
        elif self.draining:
            reasons.append("it was asked to stop, and serves on for --drain-delay")
        if self.acceptor.has_no_listener:
            reasons.append("no listener is open")
        stuck = self.pool.stuck()
        if stuck > self.settings.max_stuck:
            reasons.append(f"{counted(stuck, 'thread')} stuck in requests, more than --max-stuck")
        return tuple(reasons)

    @property
    def others_wait(self) -> bool:
        """Other connections are ready: the owner of this one should return soon."""
        return len(self.queue) > 0

    def connection_closed(self, connection: Connection) -> None:
        """Called by the owner of the connection, which closed it: the descriptor is free again."""
        if self.retiring:
            self.acceptor.wakeup.signal()
        else:
            self.capacity_freed()
            if self.settings.exit_idle:
                self.acceptor.connection_closed()

    def capacity_freed(self) -> None:
        """Tell the accept thread that there may be room for a new connection, or an idle one that can make room."""
        self.acceptor.capacity_freed()

    def upgrade(self, connection: Connection) -> bool:
        """The application takes the connection over: from now on its thread is none of the pool."""
        return self.pool.upgrade(connection)

    def waiting(self) -> Waiting:
        """Make the context manager of a run that only waits. See :meth:`reserve.engine.server.Server.waiting`."""
        return Waiting(self.pool)

    def extend_deadline(self, seconds: float) -> None:
        """Called in a run: let it go on for ``seconds`` from now, if ``--request-timeout`` would end it before.

        Nothing happens on a thread that is no worker. Raises UsageError for what is no number of seconds.
        """
        if not isinstance(seconds, (int, float)) or not seconds >= 0:
            raise UsageError(f"a deadline is a number of seconds from now, not {short_repr(seconds)}")
        self.pool.extend(seconds)

    def call_after_run(self, function: Callable[[], object]) -> None:
        """Called in a run: call ``function()`` after it. See :meth:`WorkerPool.call_after_run`."""
        self.pool.call_after_run(function)

    def leave_after_run(self, place: Place) -> None:
        """Called at the end of a run: see :class:`~reserve.engine.connections.context.ServerContext`."""
        if self.queue.abandoned:  # in a forked child another thread may have the lock for ever
            return
        worker = self.pool.current()
        if worker is not None and worker.after_run:
            worker.after_run.append(place.leave)
        else:
            place.leave()

    def own_connection(self) -> Connection | None:
        """The connection whose run the calling thread is in; None: it is in none."""
        worker = self.pool.current()
        return None if worker is None else worker.connection

    def run_finished(self) -> None:
        """By a worker that has called what follows a run: a shutdown waits for that."""
        self.pool.synchronize()
        if self.stopping:
            self.acceptor.wakeup.signal()

    def run_beside(self, connection: Connection, function: Callable[[], object]) -> bool:
        """Call a function for a connection on a thread of its own, which is none of the pool's."""
        return self.pool.run_beside(connection, function)

    def notify(self, connection: Connection) -> None:
        """Have a connection stepped although nothing has arrived. Any thread."""
        self.queue.notify(connection, NOTIFY)

    def disarm(self, connection: Connection) -> None:
        """Have the poller report nothing of a connection until it is parked. By its owner."""
        self.queue.disarm(connection)

    def close_file(self, close: Callable[[], None], size: int) -> None:
        """Close a file of ``size`` bytes by calling ``close``, on a file thread if the file is large."""
        self.stepper.files.close_file(close, size)

    def flush_lent(self, connection: Connection) -> None:
        """Have the leader send the output of a connection that :meth:`Connection.lend` lends."""
        assert connection.output is not None, "a connection is lent to have its output sent"
        deadline = connection.write_deadline(connection.output, self.clock.now())
        connection.settle()
        if self.queue.closed:
            raise OSError("the server has stopped")
        self.queue.park(connection, WRITE, deadline, "write", FLUSHING)
