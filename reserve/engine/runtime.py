"""The threads of a server and what they work with, made and joined together. Nothing in here runs before the start.

accept thread ──► queue ◄──► workers          the poller is the queue's, the stepper everybody's
▲
monitor ──► overdue          only when there is a --request-timeout
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from reserve.engine.acceptor import Acceptor
from reserve.engine.admission import Admission
from reserve.engine.polling.poller import Poller, new_poller
from reserve.engine.scheduler.handoff import HandOff, default_policy
from reserve.engine.scheduler.monitor import Monitor
from reserve.engine.scheduler.readyqueue import ReadyQueue
from reserve.engine.scheduler.requesttimeout import RequestWatchdog
from reserve.engine.scheduler.stepper import Stepper
from reserve.engine.scheduler.workers import WorkerPool
from reserve.engine.shutdown import Shutdown

if TYPE_CHECKING:
    from reserve.engine.endpoints import Endpoints
    from reserve.engine.server import Server

__all__ = ["Runtime"]


class Runtime:
    """That of one server.

    :param on_end: called on the accept thread when its loop is over.
    """

    def __init__(
        self,
        server: Server,
        endpoints: Endpoints,
        poller: Poller | None,
        policy: HandOff | None,
        on_end: Callable[[], None],
    ) -> None:
        settings, clock, log, hooks = server.settings, server.clock, server.log, server.hooks
        self.poller = poller if poller is not None else new_poller()
        policy = policy if policy is not None else default_policy()
        self.monitor = Monitor(policy, log, clock)
        self.queue = ReadyQueue(self.poller, clock, policy, self.monitor, settings)
        self.stepper = Stepper(self.queue, clock, settings, log)
        self.pool = WorkerPool(
            settings, self.queue, self.stepper, log, hooks.on_thread_start, hooks.on_thread_stop, clock
        )
        self.request_watchdog = (
            RequestWatchdog(self.pool, self.stepper, clock, settings, log) if settings.request_timeout > 0 else None
        )
        admission = Admission(server, self.queue, endpoints.by_listener)
        self.acceptor = Acceptor(
            endpoints.listeners,
            admission.admit,
            on_end,
            log,
            may_accept=admission.may_accept,
            reclaim=admission.reclaim_idle,
            count=admission.count,
            clock=clock,
        )
        self.shutdown = Shutdown(self.queue, self.stepper, self.pool, self.monitor, self.acceptor.wakeup, clock, log)

    def start_serving(self) -> None:
        """The monitor and the workers first: there must be somebody for whoever is let in."""
        self.monitor.start(self.queue, self.stepper, self.pool, self.request_watchdog)
        self.pool.start()
        self.acceptor.thread.start()

    def give_up(self) -> None:
        """Send home whoever was started, when not all could be."""
        self.queue.close()
        self.monitor.close()
        for thread in self._inner_threads():
            if thread.ident is not None:
                thread.join()

    def threads(self) -> list[threading.Thread]:
        """All of them, as far as they are known now."""
        return [self.acceptor.thread, *self._inner_threads()]

    def _inner_threads(self) -> list[threading.Thread]:
        return [self.monitor.thread, *(worker.thread for worker in self.pool.workers)]

    def close(self) -> None:
        """Give the descriptors back; the threads are gone, or never came."""
        self.queue.closed = True
        self.poller.close()
        self.acceptor.wakeup.close()
