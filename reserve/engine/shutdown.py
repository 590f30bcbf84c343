"""The shutdown of a server: idle connections are closed, requests finished or, at the deadline, aborted.

Runs on the accept thread, after its loop. Each step is taken even if one before it failed, and none waits without a
limit: code of the application that may block (``on_close``, ``on_worker_stop``, the end of an application) is called on
a thread ``reserve-stop``, and every wait for a thread ends at the deadline of the stop, or a second after the
connections are closed, if that is later. What has not ended by then is logged with its stack, counted in
:attr:`Shutdown.aborted`, and left running.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from reserve.engine.connections.closing import reset_now, shutdown
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.peers import describe
from reserve.engine.connections.states import NOTIFY, State
from reserve.engine.drivers.handler import HandlerDriver
from reserve.engine.logs.errorlog import ErrorLog, stack_of
from reserve.engine.polling.clock import Clock
from reserve.engine.polling.patching import SystemThread
from reserve.engine.polling.poller import RETRY
from reserve.engine.polling.threads import frame_of
from reserve.engine.polling.token import take
from reserve.engine.runtime import Runtime
from reserve.engine.scheduler.closer import Closer
from reserve.engine.scheduler.filethreads import FileThread
from reserve.engine.scheduler.worker import Worker
from reserve.wait import wait_for

__all__ = ["Shutdown"]

_GRACE = 1.0
"""Seconds that the shutdown has, after the deadline, for everything that follows the requests: threads that are not in
a handler, which end when the queue is closed, and hooks.
"""
_LEAST = 0.1
"""Seconds that each of these has at least, whatever the ones before it have taken."""
_BUSY_GRACE = 0.2
"""Seconds that it waits for all workers that are in a handler together; one that is stuck is left running. Also the
seconds that one call of ``on_close`` may take from the others after the deadline.
"""
_MOMENT = 0.02
"""Seconds that a thread has, after the deadline, before it is reported as busy: it may have just begun with a new
connection, and find that this is silent.
"""
_LOOK = 0.05
"""Seconds between two looks at the deadline, which a second stop may have brought forward, while it joins a thread."""


class _FinalRuns:
    """One thread's part of the final runs that are left after the deadline; made by the shutdown.

    :param connections: all that are left; other threads take from it, too.
    """

    def __init__(self, connections: deque[Connection], closer: Closer) -> None:
        self._connections = connections
        self._closer = closer
        self.current: Connection | None = None
        """The connection whose final run is being made."""
        self.abandoned = False
        """Another thread makes the runs that are left."""

    def run(self) -> None:
        while not self.abandoned:
            try:
                connection = self.current = self._connections.popleft()
            except IndexError:
                break
            self._closer.end_close_now(connection)
        self.current = None


class Shutdown:
    """The shutdown of one server; owned by its lifecycle. The accept thread calls :meth:`run`, once."""

    def __init__(self, runtime: Runtime, clock: Clock, log: ErrorLog) -> None:
        self._runtime = runtime
        self._queue = runtime.queue
        self._closer = runtime.stepper.closer
        self._files = runtime.stepper.files
        self._pool = runtime.pool
        self._start_thread = runtime.start_thread
        self._monitor = runtime.monitor
        self._poller_wakeup = runtime.poller.wakeup
        self._wakeup = runtime.acceptor.wakeup  # signalled when a connection was closed, or the deadline has changed
        self._clock = clock
        self._log = log
        self._deadline: float | None = None
        self._grace_until = -math.inf
        """The end of the second after the drain, on the system's monotonic clock."""
        self._reported: set[threading.Thread] = set()
        self.helpers: list[threading.Thread] = []
        """The threads ``reserve-stop`` that were started."""
        self.aborted = 0
        """Requests that were aborted at the deadline, and threads that were left running. 0: a clean shutdown."""

    def not_later_than(self, deadline: float) -> None:
        """Set the deadline, unless an earlier one is set already. Any thread, any signal handler."""
        if self._deadline is None or deadline < self._deadline:
            self._deadline = deadline

    def time_left(self) -> float:
        """Seconds until the deadline; 0 when it has passed."""
        return 0.0 if self._deadline is None else max(0.0, self._deadline - self._clock.now())

    def call(self, function: Callable[[], object], name: str) -> None:
        """Call what may block, on a thread of its own, and wait until it returns or its time is over.

        If no thread can be started any more, the function is called on this one: as a rule it returns.

        :param name: of the function, for the log.
        """
        helper = self._start_helper(partial(self.guarded, function, f"{name} failed"))
        if helper is not None:
            self.join(helper, f"is still in {name} at the end of the stop")

    def join(self, thread: threading.Thread, how: str, most: float = math.inf) -> bool:
        """Wait for a thread as long as the stop may take. False: it is reported, and left running.

        :param how: what is wrong with a thread that is left, for the log; empty: that is not reported.
        :param most: seconds.
        """
        now = time.monotonic()
        most_until, least_until = now + most, now + _LEAST
        while thread.is_alive():
            now = time.monotonic()
            left = max(self.time_left(), self._grace_until - now, least_until - now)
            left = min(left, most_until - now)
            if left <= 0:
                if how:
                    self.aborted += thread not in self._reported
                    self._report(thread, f"{how}; it is left running in:")
                return False
            thread.join(min(left, _LOOK))
        return True

    def begin_grace(self) -> None:
        """From now on what follows the requests has a second, however late it is."""
        self._grace_until = time.monotonic() + _GRACE

    def run(self, close_listeners: Callable[[], None]) -> None:
        """Take every step. Afterwards every worker has ended and every connection is closed, except those that a stuck
        handler holds.
        """
        for step in (
            close_listeners,
            self._drain,
            self.begin_grace,
            self._report_given_up,
            self._queue.close,
            self._monitor.close,
            self._close_remaining,
        ):
            self.guarded(step, f"a step of the shutdown failed: {step.__name__}")

    def guarded(self, step: Callable[[], object], failure: str) -> None:
        """Take one step; what it raises is logged."""
        try:
            step()
        except BaseException as error:  # the steps after it must be taken all the same
            self._log.failure(failure, error)

    def _drain(self) -> None:
        """Close the idle connections, and wait until the deadline for the others and for what follows a request."""
        wakeup, clock = self._wakeup, self._clock
        clock.subscribe(wakeup.signal)
        if not wakeup.clear():  # closed by the application: else this thread would wait for another file
            wakeup.reopen()
        try:
            for connection in list(self._queue.connections.values()):
                if self._poller_wakeup.lost and connection.state is not State.OWNED:
                    # Nothing reports its events any more. The end of its stream wakes a leader that still waits in the
                    # poller that was closed.
                    self._queue.registry.while_open(connection, shutdown)
                self._queue.notify(connection, NOTIFY)
            while self._pool.finishing() or (
                self._queue.registry.count() and (not self._poller_wakeup.lost or self._has_owner())
            ):
                deadline = self._deadline if self._deadline is not None else clock.now()
                if clock.now() >= deadline:
                    self._report_busy()
                    self.aborted += sum(map(self._has_work, list(self._queue.connections.values())))
                    self.aborted += sum(worker.finishing for worker in self._pool.workers)
                    return
                wait_for(wakeup.fd, clock.timeout(deadline))
                if not wakeup.clear() and not wakeup.reopen():  # closed by the application
                    time.sleep(RETRY)
        finally:
            clock.unsubscribe(wakeup.signal)

    def _has_owner(self) -> bool:
        """Whether a thread is inside a request: no other connection goes on after the poller is lost."""
        return bool(self._pool.busy() or self._files.busy())

    def _report_busy(self) -> None:
        threads: list[Worker | FileThread] = [*self._pool.busy(), *self._files.busy()]
        held = [(own, own.connection) for own in threads]
        until = time.monotonic() + _MOMENT
        while time.monotonic() < until and any(own.connection is connection is not None for own, connection in held):
            time.sleep(0.001)
        threads = [*self._pool.busy(), *self._files.busy()]
        for own in threads:  # without those whose connection is taken over: they still have to be woken
            connection = own.connection
            what = f" with {describe(connection)}" if connection is not None else " after a response"
            self._report(own.thread, f"is still busy{what} at the end of the stop; it is left running in:")

    def _has_work(self, connection: Connection) -> bool:
        """Say whether closing the connection aborts a request or a handler. An idle one may not be closed yet.

        A request counts from the end of its head to the last byte of its response.
        """
        if connection.wants_worker or connection.lent or connection.state is State.FLUSHING:
            return True
        if connection.state in (State.PARKED, State.READY) and connection.wait_kind in ("body", "place"):
            return True
        return any(worker.connection is connection for worker in self._pool.workers)

    def _report_given_up(self) -> None:
        for worker in self._pool.given_up():
            self.aborted += 1
            self._report(
                worker.thread, "was given up before (--request-timeout) and has not come back; it is left running in:"
            )

    def _report(self, thread: threading.Thread, how: str) -> None:
        self._reported.add(thread)
        running = self._start_thread.running_for(thread.ident) or thread
        self._log.stack(logging.WARNING, f"{thread.name} {how}", stack_of(frame_of(running)))

    def _start_helper(self, function: Callable[[], object]) -> threading.Thread | None:
        """Call a function on a thread of its own. None: there was no thread for it, and this one has called it."""
        helper = SystemThread(target=function, name=f"{self._runtime.thread_prefix}-stop", daemon=True)
        try:
            helper.start()
        except RuntimeError:
            function()
            return None
        self.helpers.append(helper)
        return helper

    def _close_remaining(self) -> None:
        """Wait for the threads that are not in a handler or in a call of a disk, and close the connections that are
        left.
        """
        connections = self._queue.connections
        unsent, file_threads = self._files.stop()
        self._wake_blocked(list(connections.values()), file_threads)
        upgraded = self._pool.upgraded
        workers = (*self._pool.workers, *upgraded)
        everyone: list[Worker | FileThread] = [*workers, *file_threads]
        busy = {own.thread for own in everyone if own.connection is not None}
        busy.update(worker.thread for worker in workers if worker.finishing)
        for thread in {self._monitor.thread, *(own.thread for own in everyone)} - busy:
            if self._poller_wakeup.lost:  # one may wait for ever in the poller that was closed
                self.join(thread, "", _GRACE)
            else:
                self.join(thread, "has not ended at the end of the stop")
        until = time.monotonic() + _BUSY_GRACE
        ends_now = {worker.thread for worker in upgraded}  # the others are reported already
        for thread in busy:
            how = "is still busy with a connection that its application has taken over" if thread in ends_now else ""
            self.join(thread, how, max(0.0, until - time.monotonic()))
        with_final_run: deque[Connection] = deque()
        for connection in (*self._queue.take_all(), *unsent):  # READY or for a disk: no thread leads any more
            if connection.lent:
                # Its worker, which is stuck, would wait for the token without end.
                connection.failed = True
                connection.return_token()
            elif self._closer.begin_close_now(connection, "stop"):
                with_final_run.append(connection)
        a_thread_leads = self._monitor.thread.is_alive() or any(
            worker.thread.is_alive() and worker.connection is None and not worker.finishing for worker in workers
        )
        in_disk = [own.connection for own in file_threads if own.thread.is_alive()]  # each has the token, for ever
        for connection in list(connections.values()):
            # Lent or parked, or owned by a stuck worker, which closes the connection if its handler ever returns.
            if connection.lent:
                connection.failed = True
                if not a_thread_leads and connection not in in_disk:
                    connection.return_token()  # the leader that had the token has ended without returning it
            elif take(connection.token) and self._closer.begin_close_now(connection, "stop"):
                with_final_run.append(connection)
        self._make_final_runs(with_final_run)
        for worker in self._pool.beside:  # they end when their connection is closed
            self.join(worker.thread, "has not ended at the end of the stop", _BUSY_GRACE)
        for own in self._files.close():
            self.join(own.thread, "has not closed the files of bodies and responses at the end of the stop")

    def _make_final_runs(self, connections: deque[Connection]) -> None:
        """Call ``on_close`` of the connections that are left, on other threads: one that blocks delays only a few."""
        now = time.monotonic()
        until = max(now + self.time_left(), now + 2 * _BUSY_GRACE, self._grace_until)
        while connections and time.monotonic() < until:
            part = _FinalRuns(connections, self._closer)
            helper = self._start_helper(part.run)
            if helper is None or self.join(helper, "", _BUSY_GRACE):
                continue
            part.abandoned = True  # it may have been slow, not stuck: then it ends after the current run
            connection = part.current
            client = f" of {describe(connection)}" if connection is not None else ""
            self.join(helper, f"is still in on_close{client} at the end of the stop", _LEAST)
        if connections:
            count = len(connections)
            self._log.warning(
                f"{count} {'connection is' if count == 1 else 'connections are'} closed without a call of on_close: "
                "the time of the stop is over"
            )
        while connections:
            connection = connections.popleft()
            connection.final_run = False
            self._closer.end_close_now(connection)

    def _wake_blocked(self, connections: Sequence[Connection], file_threads: Sequence[FileThread]) -> None:
        """Wake the workers that are blocked on their connection, and abort their responses and those that need a disk.

        The connection is reset, so that the client knows that its response is incomplete; after a plain close it could
        take the response for a complete one. The connection of a plain handler is shut down instead: its handler and
        its peer both see the end of the stream. Only the handler's protocol defines where its output ends. The same
        is true of a connection that a WSGI application has taken over.
        """
        held = {own.connection for owners in (self._pool.workers, file_threads) for own in owners}
        taken_over = {worker.connection for worker in self._pool.upgraded}
        for connection in connections:
            if isinstance(connection.driver, HandlerDriver) or connection in taken_over:
                self._queue.registry.while_open(connection, shutdown)
            elif connection in held:
                self._queue.registry.while_open(connection, reset_now)
