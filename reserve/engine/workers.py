"""The workers: threads that take connections from the queue, run their applications, and lead in turn.

A worker is busy only while :meth:`Driver.run` runs. Nothing that an application raises ends a worker.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from reserve.engine.connection import Connection, State
from reserve.engine.lead import Follower

if TYPE_CHECKING:
    from reserve.engine.logs import Logs
    from reserve.engine.readyqueue import ReadyQueue
    from reserve.engine.stepper import Stepper

__all__ = ["Worker", "WorkerPool"]

_TURN = 16
"""Runs of one connection in a row (pipelined requests) before the others have theirs."""


class Worker(Follower):
    """One thread. Its attributes are written by that thread alone and read by anyone."""

    __slots__ = ("connection", "handled", "thread")

    def __init__(self, target: Callable[[Worker], None], name: str) -> None:
        super().__init__()
        self.connection: Connection | None = None
        """What it runs now."""
        self.handled = 0
        """How many runs it has finished."""
        self.thread = threading.Thread(target=target, args=(self,), name=name, daemon=True)


class WorkerPool:
    """A fixed number of workers for one queue.

    :param on_start, on_stop: the hooks of the embedding program, called on each worker's thread.
    """

    def __init__(
        self,
        count: int,
        queue: ReadyQueue,
        stepper: Stepper,
        logs: Logs,
        on_start: Callable[[], None],
        on_stop: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._stepper = stepper
        self._logs = logs
        self._on_start = on_start
        self._on_stop = on_stop
        self.workers = [Worker(self._main, f"reserve-worker-{number}") for number in range(1, count + 1)]

    def start(self) -> None:
        for worker in self.workers:
            worker.thread.start()

    def busy(self) -> list[Worker]:
        """Workers that are inside a run now."""
        return [worker for worker in self.workers if worker.connection is not None]

    def _main(self, worker: Worker) -> None:
        self._hook(self._on_start, "on_thread_start")
        while not self._queue.closed:
            try:
                self._serve(worker)
            except BaseException as error:
                # A fault of ours, above any one connection. The thread goes on in place of a new one; the lead must
                # not be lost.
                self._logs.failure(f"{worker.thread.name} failed and starts again", error)
                worker.connection = None
                if worker.leads:
                    worker.leads = False
                    self._queue.lead.give()
        if not self._queue.abandoned:
            self._hook(self._on_stop, "on_thread_stop")

    def _hook(self, hook: Callable[[], None], name: str) -> None:
        try:
            hook()
        except BaseException as error:
            self._logs.failure(f"the hook {name} failed", error)

    def _serve(self, worker: Worker) -> None:
        queue = self._queue
        advance = self._stepper.advance
        while True:
            connection = queue.get(worker)
            if connection is None:
                return
            if connection.wants_worker:
                connection.wants_worker = False
                connection.state = State.OWNED
            elif not advance(connection):
                continue
            for _ in range(_TURN):
                kept = queue.step_aside(worker)
                going_on = self._run(worker, connection)
                if kept:
                    queue.step_back(worker)
                if not going_on or not advance(connection):
                    break
            else:
                queue.put_call(connection)

    def _run(self, worker: Worker, connection: Connection) -> bool:
        """Call the driver's run; False when that was the end of the connection."""
        worker.connection = connection
        try:
            connection.driver.run()
        except BaseException as error:
            # A worker outlives whatever is raised above it: SystemExit in a view ends the view, not the server.
            if self._queue.abandoned:
                return False
            self._logs.failure(f"{worker.thread.name}: the application failed; the connection is closed", error)
            if connection.ending:
                self._stepper.discard(connection)
            elif self._queue.closed:
                self._stepper.bury(connection, "error")
            else:
                worker.connection = None
                self._stepper.end(connection, "error")
            worker.connection = None
            return False
        worker.handled += 1
        if self._queue.abandoned:
            return False
        if connection.ending:
            self._stepper.discard(connection)
        elif self._queue.closed:
            # Still ours in the eyes of the server, which buries what no worker holds.
            self._stepper.bury(connection, "stop")
        else:
            worker.connection = None
            return True
        worker.connection = None
        return False
