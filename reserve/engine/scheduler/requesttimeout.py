"""``--request-timeout`` interrupts a run whose response has not begun in time, ``--slow-request`` logs a run that takes
long, once, and leaves it alone.

Runs on the monitor's thread, each time it looks. For ``--request-timeout`` it first logs the worker's stack and
raises RequestTimeout in the worker. (Without the GIL no thread can read the stack of another one that runs: then the
worker logs its own where RequestTimeout is raised: :mod:`reserve.engine.scheduler.runguard`.) The application may
clean up, and the client gets the refusal: at once, unless the request body is streamed and the worker may be using the
connection. If the run then does not end, because the worker is stuck in C code, the worker is given up, and another
thread takes its place, up to ``--max-stuck``.
"""

from __future__ import annotations

import logging
from types import FrameType

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.peers import describe
from reserve.engine.logs.errorlog import ErrorLog, stack_of
from reserve.engine.polling.clock import Clock
from reserve.engine.polling.processors import has_gil
from reserve.engine.polling.threads import frame_of
from reserve.engine.polling.timers import NEVER
from reserve.engine.scheduler.runguard import reporting_timeout
from reserve.engine.scheduler.startthread import StartThread
from reserve.engine.scheduler.stepper import Stepper
from reserve.engine.scheduler.worker import Worker
from reserve.engine.scheduler.workers import WorkerPool
from reserve.engine.settings import EngineSettings
from reserve.errors import RequestTimeout

__all__ = ["RequestWatchdog"]

_GRACE = 1.0
"""Seconds that an interrupted run has to end before it is given up."""


class RequestWatchdog:
    """Watches the runs of one server that has ``--request-timeout`` or ``--slow-request``; owned by its runtime, called
    by the monitor.
    """

    def __init__(
        self,
        pool: WorkerPool,
        stepper: Stepper,
        clock: Clock,
        settings: EngineSettings,
        log: ErrorLog,
        start_thread: StartThread | None = None,
    ) -> None:
        self._pool = pool
        self._stepper = stepper
        self._now = clock.now
        self._timeout = settings.request_timeout
        self._slow = settings.slow_request
        self._log = log
        self._start_thread = start_thread
        self.count = 0
        """Runs that were interrupted so far."""

    def look(self) -> float:
        """Handle every run whose time is over. Returns when the time of the next run will be over."""
        now = self._now()
        soonest = NEVER
        for worker in self._pool.workers:
            connection = worker.connection
            if connection is None:
                continue
            if self._slow and worker.slow_run != worker.handled:
                if now >= worker.slow_due:
                    self._report_slow(worker, connection, now)
                else:
                    soonest = min(soonest, worker.slow_due)
            if self._timeout:
                if now >= worker.run_due:
                    self._handle(worker, now)
                soonest = min(soonest, worker.run_due)
        return soonest

    def _report_slow(self, worker: Worker, connection: Connection, now: float) -> None:
        """Log the stack of a run that takes long, unless it has said that it only waits."""
        run, due = worker.handled, worker.slow_due
        worker.slow_run = run  # this run is not looked at again
        if worker.exempt is not None:
            return
        driver = connection.driver
        request_id = driver.request_id()
        seconds = now - due + self._slow
        text = (
            f"{describe(connection)}: has run for {seconds:.{1 if seconds >= 1 else 3}f} s (--slow-request)"
            f"{f', request ID {request_id}' if request_id else ''}; {worker.thread.name} is in:"
        )
        frames = stack_of(self._frame_of(worker))
        if worker.connection is connection and worker.handled == run and worker.slow_due == due:  # else it has ended
            self._log.stack(logging.WARNING, text, frames, "slow requests")

    def _handle(self, worker: Worker, now: float) -> None:
        guard = worker.guard
        if not guard.hold():
            return  # the run has just ended, or its worker has not entered the guard yet
        try:
            connection = worker.connection
            if connection is None or now < worker.run_due:
                return  # the worker has begun another run since the caller looked
            if worker.interrupted:
                worker.run_due = NEVER
                since = connection.driver.running_since()
                if connection.driver.revoke():
                    worker.stuck_since = since
                    guard.give_up()
            elif now < worker.extended_to:
                worker.run_due = worker.extended_to
            elif connection.driver.expire_run():
                self.count += 1
                worker.interrupted = True
                worker.run_due = now + _GRACE
                if worker.extended_to:
                    what = "no response in the time that the application asked for (reserve.deadline)"
                else:
                    what = f"no response after {self._timeout:g} s (--request-timeout)"
                text = f"{describe(connection)}: {what}; it is interrupted in {worker.thread.name}"
                if has_gil():
                    self._log.stack(logging.WARNING, f"{text}:", stack_of(self._frame_of(worker)))
                    guard.interrupt()
                else:
                    self._log.warning(text)
                    guard.interrupt(self._reporting_timeout(f"{describe(connection)}: {worker.thread.name} was in:"))
                self._stepper.refuse_during_run(connection, "timeout")
            else:
                worker.run_due = now + self._timeout  # its response has begun, or the application is not called yet
        finally:
            guard.release()
        if guard.given_up and connection is not None:
            worker.serves = describe(connection)  # the connection forgets the request when it is refused
            self._log.stack(
                logging.ERROR,
                f"{worker.serves}: {worker.thread.name} does not come out of it and is given up in:",
                stack_of(self._frame_of(worker)),
            )
            self._pool.give_up(worker)
            self._stepper.refuse(connection, "timeout")

    def _reporting_timeout(self, text: str) -> type[RequestTimeout]:
        return reporting_timeout(lambda frame: self._log.stack(logging.WARNING, text, stack_of(frame)))

    def _frame_of(self, worker: Worker) -> FrameType | None:
        """What the run of a worker executes: on its thread, or on the one inside ``start()``."""
        other = None if self._start_thread is None else self._start_thread.running_for(worker.ident)
        return frame_of(worker.thread if other is None else other)
