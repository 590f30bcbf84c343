"""The shutdown of a server: idle connections are closed, requests finished or, at the deadline, aborted.

Runs on the accept thread, after its loop. Each step is taken even if one before it failed.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import cast

from reserve.engine.connections.closing import reset_now, shutdown
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.peers import describe
from reserve.engine.connections.states import NOTIFY, State
from reserve.engine.drivers.handler import HandlerDriver
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.clock import Clock
from reserve.engine.polling.token import take
from reserve.engine.runtime import Runtime
from reserve.engine.scheduler.workers import Worker
from reserve.wait import wait_for

__all__ = ["Shutdown"]

_GRACE = 1.0
"""Seconds that the shutdown waits, after the deadline, for the monitor and the workers that are not in a handler. They
end when the queue is closed.
"""
_BUSY_GRACE = 0.2
"""Seconds that it waits for all workers that are in a handler together; one that is stuck is left running."""


class Shutdown:
    """The shutdown of one server; owned by its lifecycle. The accept thread calls :meth:`run`, once."""

    def __init__(self, runtime: Runtime, clock: Clock, log: ErrorLog) -> None:
        self._queue = runtime.queue
        self._closer = runtime.stepper.closer
        self._pool = runtime.pool
        self._monitor = runtime.monitor
        self._wakeup = runtime.acceptor.wakeup  # signalled when a connection was closed, or the deadline has changed
        self._clock = clock
        self._log = log
        self._deadline: float | None = None
        self.aborted = 0
        """Requests that were aborted at the deadline, and threads that were left running. 0: a clean shutdown."""

    def not_later_than(self, deadline: float) -> None:
        """Set the deadline, unless an earlier one is set already. Any thread, any signal handler."""
        if self._deadline is None or deadline < self._deadline:
            self._deadline = deadline

    def time_left(self) -> float:
        """Seconds until the deadline; 0 when it has passed."""
        return 0.0 if self._deadline is None else max(0.0, self._deadline - self._clock.now())

    def run(self, close_listeners: Callable[[], None]) -> None:
        """Take every step. Afterwards every worker has ended and every connection is closed, except those that a stuck
        handler holds.
        """
        for step in (
            close_listeners,
            self._drain,
            self._report_given_up,
            self._queue.close,
            self._monitor.close,
            self._close_remaining,
        ):
            self.guarded(step, f"a step of the shutdown failed: {step.__name__}")

    def guarded(self, step: Callable[[], None], failure: str) -> None:
        """Take one step; what it raises is logged."""
        try:
            step()
        except BaseException as error:  # the steps after it must be taken all the same
            self._log.failure(failure, error)

    def _drain(self) -> None:
        """Close the idle connections, and wait for the others until the deadline."""
        wakeup, clock = self._wakeup, self._clock
        clock.subscribe(wakeup.signal)
        try:
            for connection in list(self._queue.connections.values()):
                self._queue.notify(connection, NOTIFY)
            while self._queue.connections:
                deadline = self._deadline if self._deadline is not None else clock.now()
                if clock.now() >= deadline:
                    self._report_busy()
                    self.aborted += sum(map(self._has_work, list(self._queue.connections.values())))
                    return
                wait_for(wakeup.fd, clock.timeout(deadline))
                wakeup.clear()
        finally:
            clock.unsubscribe(wakeup.signal)

    def _report_busy(self) -> None:
        for worker in self._pool.busy():
            connection = worker.connection
            what = f" with {describe(connection)}" if connection is not None else ""
            self._report(worker, f"is still busy{what} at the end of the stop; it is left running in:")

    def _has_work(self, connection: Connection) -> bool:
        """Say whether closing the connection aborts a request or a handler. An idle one may not be closed yet.

        A request counts from the end of its head to the last byte of its response.
        """
        if connection.wants_worker or connection.lent or connection.state is State.FLUSHING:
            return True
        if connection.state in (State.PARKED, State.READY) and connection.wait_kind == "body":
            return True
        return any(worker.connection is connection for worker in self._pool.workers)

    def _report_given_up(self) -> None:
        for worker in self._pool.given_up():
            self.aborted += 1
            self._report(
                worker, "was given up before (--request-timeout) and has not come back; it is left running in:"
            )

    def _report(self, worker: Worker, how: str) -> None:
        frame = sys._current_frames().get(cast(int, worker.thread.ident))
        self._log.stack(logging.WARNING, f"{worker.thread.name} {how}", frame)

    def _close_remaining(self) -> None:
        """Wait for the workers that are not in a handler, and close the connections that are left."""
        connections = self._queue.connections
        self._wake_blocked(list(connections.values()))
        workers = self._pool.workers
        busy = {worker.thread for worker in workers if worker.connection is not None}
        idle = {self._monitor.thread, *(worker.thread for worker in workers)} - busy
        for threads, grace in ((idle, _GRACE), (busy, _BUSY_GRACE)):
            until = time.monotonic() + grace
            for thread in threads:
                if thread.ident is not None:  # the monitor may be about to start one more; that one ends at once
                    thread.join(max(0.0, until - time.monotonic()))
        for connection in self._queue.take_all():  # READY: no thread leads any more
            if connection.lent:
                # Its worker, which is stuck, would wait for the token without end.
                connection.failed = True
                connection.return_token()
            else:
                self._closer.close_now(connection, "stop")
        a_thread_leads = self._monitor.thread.is_alive() or any(
            worker.thread.is_alive() and worker.connection is None for worker in workers
        )
        for connection in list(connections.values()):
            # Lent or parked, or owned by a stuck worker, which closes the connection if its handler ever returns.
            if connection.lent:
                connection.failed = True
                if not a_thread_leads:
                    connection.return_token()  # the leader that had the token has ended without returning it
            elif take(connection.token):
                self._closer.close_now(connection, "stop")

    def _wake_blocked(self, connections: Sequence[Connection]) -> None:
        """Wake the workers that are blocked on their connection, and abort their responses.

        The connection is reset, so that the client knows that its response is incomplete; after a plain close it could
        take the response for a complete one. The connection of a plain handler is shut down instead: its handler and
        its peer both see the end of the stream. Only the handler's protocol defines where its output ends.
        """
        for connection in connections:
            if isinstance(connection.driver, HandlerDriver):
                self._queue.registry.while_open(connection, shutdown)
            elif any(worker.connection is connection for worker in self._pool.workers):
                self._queue.registry.while_open(connection, reset_now)
