"""The orderly end of a server: what is idle is closed, what runs is finished or, at the deadline, reported and cut.

Runs on the accept thread, whose work is over by then. Each step happens although one before it failed.
"""

from __future__ import annotations

import functools
import logging
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from reserve.engine.connections.closing import abort, shut
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.peers import describe
from reserve.engine.connections.states import NOTIFY, State
from reserve.engine.drivers.handler import HandlerDriver
from reserve.wait import wait_for

if TYPE_CHECKING:
    from reserve.engine.logs.errorlog import ErrorLog
    from reserve.engine.polling.clock import Clock
    from reserve.engine.polling.wakeup import Wakeup
    from reserve.engine.scheduler.monitor import Monitor
    from reserve.engine.scheduler.readyqueue import ReadyQueue
    from reserve.engine.scheduler.stepper import Stepper
    from reserve.engine.scheduler.workers import Worker, WorkerPool

__all__ = ["Shutdown"]

_GRACE = 1.0
"""Seconds that the workers who are inside no application have to come home after the cut: they will."""
_BUSY_GRACE = 0.2
"""Seconds that the others have, all together: one that is stuck in an application is left behind."""


class Shutdown:
    """One for each server.

    :param wakeup: the accept thread's; signalled when a connection has been closed, or the deadline was moved.
    """

    def __init__(
        self,
        queue: ReadyQueue,
        stepper: Stepper,
        pool: WorkerPool,
        monitor: Monitor,
        wakeup: Wakeup,
        clock: Clock,
        log: ErrorLog,
    ) -> None:
        self._queue = queue
        self._stepper = stepper
        self._pool = pool
        self._monitor = monitor
        self._wakeup = wakeup
        self._clock = clock
        self._log = log
        self._deadline: float | None = None
        self.aborted = 0
        """Requests that the deadline broke off, and threads that were left behind. 0: a clean end."""

    def not_later_than(self, deadline: float) -> None:
        """Move the end of the waiting forward. Any thread, any signal handler."""
        if self._deadline is None or deadline < self._deadline:
            self._deadline = deadline

    def time_left(self) -> float:
        """Seconds until the end of the waiting; 0 when that is over."""
        return 0.0 if self._deadline is None else max(0.0, self._deadline - self._clock.now())

    def conduct(self, close_listeners: Callable[[], None]) -> None:
        """From the first step to the last; afterwards no connection is open and no worker that could go home runs."""
        for step in (
            close_listeners,
            self._drain,
            self._report_given_up,
            self._queue.close,
            self._monitor.close,
            self._cut,
        ):
            self.guarded(step, f"a step of the end failed: {step.__name__}")

    def guarded(self, step: Callable[[], None], failure: str) -> None:
        """Take one step; what it raises is logged."""
        try:
            step()
        except BaseException as error:  # what follows it must happen all the same
            self._log.failure(failure, error)

    def _drain(self) -> None:
        """Close what is idle; wait, until the deadline, for what is not."""
        wakeup, clock = self._wakeup, self._clock
        clock.subscribe(wakeup.signal)
        try:
            for connection in list(self._queue.connections.values()):
                self._queue.notify(connection, NOTIFY)
            while self._queue.connections:
                deadline = self._deadline if self._deadline is not None else clock.now()
                if clock.now() >= deadline:
                    self._report_stuck()
                    self.aborted += sum(map(self._has_work, list(self._queue.connections.values())))
                    return
                wait_for(wakeup.fd, clock.timeout(deadline))
                wakeup.clear()
        finally:
            clock.unsubscribe(wakeup.signal)

    def _report_stuck(self) -> None:
        for worker in self._pool.busy():
            connection = worker.connection
            what = f" with {describe(connection)}" if connection is not None else ""
            self._report(worker, f"is still busy{what} at the end of the stop; it is left behind in:")

    def _has_work(self, connection: Connection) -> bool:
        """Say whether a request, or a handler, is broken off with it. What is idle may be there still, on its way out.

        A request counts from the end of its head to the last octet of its answer.
        """
        if connection.wants_worker or connection.lent or connection.state is State.FLUSHING:
            return True
        if connection.state in (State.PARKED, State.READY) and connection.wait_kind == "body":
            return True
        return any(worker.connection is connection for worker in self._pool.workers)

    def _report_given_up(self) -> None:
        for worker in self._pool.given_up():
            self.aborted += 1
            self._report(worker, "was given up before (--request-timeout) and has not come back; it is left behind in:")

    def _report(self, worker: Worker, how: str) -> None:
        frame = sys._current_frames().get(cast(int, worker.thread.ident))
        self._log.stack(logging.WARNING, f"{worker.thread.name} {how}", frame)

    def _cut(self) -> None:
        """Every worker that is not inside an application goes home; the connections that are left are cut."""
        connections = self._queue.connections
        self._set_free(list(connections.values()))
        workers = self._pool.workers
        busy = {worker.thread for worker in workers if worker.connection is not None}
        free = {self._monitor.thread, *(worker.thread for worker in workers)} - busy
        for threads, grace in ((free, _GRACE), (busy, _BUSY_GRACE)):
            until = time.monotonic() + grace
            for thread in threads:
                if thread.ident is not None:  # the monitor may be about to start one more; that one goes home at once
                    thread.join(max(0.0, until - time.monotonic()))
        for connection in self._queue.take_all():  # READY: nobody leads any more
            if connection.lent:
                # Its worker, which is stuck, would wait for the token for ever.
                connection.failed = True
                connection.return_token()
            else:
                self._stepper.close_now(connection, "stop")
        somebody_leads = self._monitor.thread.is_alive() or any(
            worker.thread.is_alive() and worker.connection is None for worker in workers
        )
        for connection in list(connections.values()):
            # The rest waits, or belongs to a worker that is stuck: it buries it should it ever come back.
            if connection.lent:
                connection.failed = True
                if not somebody_leads:
                    connection.return_token()  # a token that went down with its leader would be waited for for ever
            elif connection.take():
                self._stepper.close_now(connection, "stop")

    def _set_free(self, connections: Sequence[Connection]) -> None:
        """Wake the workers that are blocked on a connection of theirs, and break off what they answer.

        With a reset, because the end of an answer must not look like one. What a plain handler sends has an end that
        only its protocol knows; it sees the orderly end, and so does its peer.
        """
        for connection in connections:
            if isinstance(getattr(connection, "driver", None), HandlerDriver):
                self._queue.registry.while_open(connection, functools.partial(shut, connection, socket.SHUT_RDWR))
            elif any(worker.connection is connection for worker in self._pool.workers):
                self._queue.registry.while_open(connection, functools.partial(abort, connection))
