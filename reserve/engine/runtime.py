"""Makes the threads of a server and the objects that they use. No thread runs before the start.

accept thread ──► ready queue ◄──► workers        the poller belongs to the queue; the stepper to the threads that lead
▲
monitor ──► request watchdog   only with --request-timeout
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from reserve.engine.acceptor import Acceptor
from reserve.engine.admission import Admission
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.context import ServerContext
from reserve.engine.endpoints import Endpoints
from reserve.engine.polling.poller import Poller, new_poller
from reserve.engine.polling.waiter import Alarm
from reserve.engine.scheduler.handoff import HandOff, default_policy
from reserve.engine.scheduler.monitor import Monitor
from reserve.engine.scheduler.readyqueue import ReadyQueue
from reserve.engine.scheduler.requesttimeout import RequestWatchdog
from reserve.engine.scheduler.stepper import Stepper
from reserve.engine.scheduler.workers import WorkerPool

__all__ = ["Runtime"]


class Runtime:
    """The threads, the queue and the poller of one server; owned by its lifecycle.

    The thread that starts the server, and its accept thread, call the methods.

    :param poller: None: the best one of this platform.
    :param policy: which thread polls while a handler runs; None: the one that fits this interpreter.
    :param on_end: called on the accept thread when its loop is over: the server's shutdown.
    """

    def __init__(
        self,
        server: ServerContext[Connection],
        endpoints: Endpoints,
        poller: Poller | None,
        policy: HandOff | None,
        on_end: Callable[[], None],
    ) -> None:
        settings, clock, log, hooks = server.settings, server.clock, server.log, server.hooks
        self.poller = poller if poller is not None else new_poller()
        policy = policy if policy is not None else default_policy()
        alarm = Alarm()
        self.queue = ReadyQueue(self.poller, clock, policy, alarm, settings)
        self.stepper = Stepper(self.queue, clock, settings, log)
        self.pool = WorkerPool(
            settings, self.queue, self.stepper, log, hooks.on_thread_start, hooks.on_thread_stop, clock
        )
        self.request_watchdog = (
            RequestWatchdog(self.pool, self.stepper, clock, settings, log) if settings.request_timeout > 0 else None
        )
        self.monitor = Monitor(policy, alarm, log, clock)
        self.admission = Admission(server, self.queue, endpoints.by_listener)
        self.acceptor = Acceptor(endpoints.listeners, self.admission, on_end, log, clock)

    def start(self) -> None:
        """Start all threads, the accept thread last: every connection that it accepts needs the others."""
        self.monitor.start(self.queue, self.stepper, self.pool, self.request_watchdog)
        self.pool.start()
        self.acceptor.thread.start()

    def abort_start(self) -> None:
        """End the threads that were started, because one of them could not be started."""
        self.queue.close()
        self.monitor.close()
        for thread in self._inner_threads():
            if thread.ident is not None:
                thread.join()

    def threads(self) -> list[threading.Thread]:
        """The threads of the server at this moment; the pool may add or remove workers."""
        return [self.acceptor.thread, *self._inner_threads()]

    def _inner_threads(self) -> list[threading.Thread]:
        return [self.monitor.thread, *(worker.thread for worker in self.pool.workers)]

    def close(self) -> None:
        """Close the descriptors; the threads have ended, or were never started."""
        self.queue.closed = True
        self.poller.close()
        self.acceptor.wakeup.close()
