"""What a worker does: it takes connections from the queue, steps them, runs their applications, and leads in turn.

Every worker is in :meth:`WorkerLoop.serve` for as long as it is in the pool; one loop object serves them all. A worker
is busy only while a request runs. No exception of an application ends a worker.

Most requests take the straight line (:attr:`reserve.engine.connections.application.Application.straight_line`): the
connection has waited for its next request and for nothing else, or has just been accepted, and one call serves it from
the first byte to the last. Everything else goes step by step, through the
:class:`~reserve.engine.scheduler.stepper.Stepper`.
"""

from __future__ import annotations

import threading
from typing import Protocol

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import KEEP_ALIVE
from reserve.engine.connections.states import OWNED, PARKED
from reserve.engine.connections.straightline import DECLINED, MORE, RAN, StraightLine
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.clock import Clock
from reserve.engine.polling.poller import READ
from reserve.engine.polling.timers import NEVER
from reserve.engine.scheduler.lead import Lead
from reserve.engine.scheduler.readyqueue import FAIR, ReadyQueue
from reserve.engine.scheduler.stepper import Stepper
from reserve.engine.scheduler.stepqueue import CROWD
from reserve.engine.scheduler.worker import Worker
from reserve.engine.settings import EngineSettings
from reserve.errors import RequestTimeout

__all__ = ["WorkerLoop"]

_RUNS_IN_A_ROW = 16
"""The most runs of one connection in a row (pipelined requests). Then the other connections are served first."""
_TURN_TIME = 0.002
"""Seconds after which the other connections have their turn all the same: 16 requests may have heads of 64 KiB each."""
_IDLE = 30.0
"""Seconds without work after which a worker above the minimum ends."""


class Pool(Protocol):
    """What the loop asks its pool (:class:`~reserve.engine.scheduler.workers.WorkerPool`)."""

    workers: tuple[Worker, ...]
    lowest: int
    highest: int

    def may_leave(self, worker: Worker) -> bool: ...

    def leave_surplus(self, worker: Worker) -> bool: ...

    def has_surplus(self) -> bool: ...


class WorkerLoop:
    """The loop of the workers of one pool, which owns it.

    :param pool: says how many workers there are, and lets a worker leave.
    """

    def __init__(
        self,
        pool: Pool,
        queue: ReadyQueue,
        stepper: Stepper,
        log: ErrorLog,
        settings: EngineSettings,
        clock: Clock,
    ) -> None:
        self._pool = pool
        self._queue = queue
        self._stepper = stepper
        self._log = log
        self._timeout = settings.request_timeout
        self._timed = settings.request_timeout > 0
        self._slow = settings.slow_request
        self._now = clock.now

    def serve(self, worker: Worker) -> bool:
        """Serve until the queue is closed (True), or the worker has to end, being surplus or given up (False)."""
        pool, queue, closer = self._pool, self._queue, self._stepper.closer
        while True:
            connection = self._serve_straight(worker)
            if connection is not None:
                try:
                    if not self._take_turn(worker, connection):
                        return False
                except BaseException:
                    # Out of memory as a rule, perhaps for the call itself. This thread has to close the connection,
                    # because no other thread would. (Not a lent connection: another worker closes it.)
                    if worker.finishing:  # another thread goes on with the connection
                        worker.finishing = False
                        connection.server.run_finished()
                    elif connection.state is OWNED and not connection.lent and not worker.guard.given_up:
                        closer.close(connection, "error")
                    raise
            elif queue.closed:
                return True
            elif pool.has_surplus():
                if pool.leave_surplus(worker):
                    queue.wake()  # the next one that leads may leave, too
                    return False
            elif pool.may_leave(worker):
                if worker.lead is not None:  # the number of workers was changed; the next that leads may leave, too
                    queue.give_lead(worker)
                    queue.wake()
                return False
            else:
                queue.shrinks = False

    def _serve_straight(self, worker: Worker) -> Connection | None:
        """Serve requests on the straight line, until a connection has to be stepped, which the worker owns then.

        None: the queue is closed, or there is nothing to do, or there are too many workers.

        All that the engine does for an ordinary request stands here, without a call that is not needed: what is in
        :meth:`ReadyQueue.next_ready`, :meth:`~ReadyQueue.yield_lead`, :meth:`~ReadyQueue.retake_lead` and
        :meth:`~ReadyQueue.park` for all requests, for this one.
        """
        pool, queue, now = self._pool, self._queue, self._now
        more, waiting = queue.step_queue.more, queue.run_queue.waiting
        alarm, policy = queue.alarm, queue.policy
        timed, slow = self._timed, self._slow
        lead = queue.leads.all[0]  # or another one: that of the thread, while it leads
        ready, lead_token = lead.ready, lead.token
        served_at = 0.0  # when the last request was served, if this thread still leads; 0: something else has happened
        owned: Connection | None = None  # what this thread has to close if it fails
        try:
            while True:
                if (
                    served_at
                    and 0 < len(ready) <= CROWD
                    and not (more or waiting)
                    and lead.since_poll < FAIR
                    and served_at < lead.stale_at
                ):
                    lead.since_poll += 1
                    try:
                        owned = connection = ready.popleft()
                    except IndexError:  # another leader was faster
                        served_at = 0.0
                        continue
                else:
                    count = len(pool.workers)
                    if count > pool.highest and pool.has_surplus():
                        return None
                    own = worker.lead
                    found = None
                    if own is not None and not (waiting or queue.closed):
                        found = queue.next_ready(own, waiting)
                    if found is None:
                        if queue.shrinks and own is not None and not waiting:
                            return None  # it was woken for that, and get() would sleep again
                        found = queue.get(worker, _IDLE if count > pool.lowest else None)
                        own = worker.lead
                    owned = found
                    if found is None:
                        return None
                    connection = found
                    served_at = 0.0
                    if own is None:  # it was in the run queue
                        connection.state = OWNED
                        return connection
                    lead, ready, lead_token = own, own.ready, own.token
                connection.state = OWNED
                if timed or not connection.between_requests or connection.pending != READ:
                    return connection
                straight = connection.driver.straight
                line = None if straight is None else straight.straight_line
                if line is None:
                    return connection
                connection.pending = 0
                begun = served_at or now()
                if slow:
                    worker.slow_due = begun + slow  # before the monitor sees that a run has begun
                    worker.connection = connection
                    queue.timed_run_begins()
                else:
                    worker.connection = connection
                # From here to the end of the call another thread may have its lead.
                lead.runs += 1
                kept = policy.keeps
                if kept:
                    lead.releases += 1
                    lead_token.append(True)
                else:
                    queue.leads.hand_over(lead)
                worker.lead = None
                if alarm.asleep:
                    alarm.wake()
                try:
                    outcome = line(connection, begun)
                    if outcome is MORE:
                        outcome = self._serve_pipelined(worker, connection, line, begun, lead if kept else None)
                except BaseException as error:
                    self._leave_line(worker, connection, RAN, lead if kept else None, error)
                    owned = None
                    served_at = 0.0
                    continue
                if type(outcome) is not float or worker.after_run or queue.closed:
                    if self._leave_line(worker, connection, outcome, lead if kept else None):
                        return connection
                    owned = None
                    served_at = 0.0
                    continue
                worker.handled += 1
                worker.connection = None
                if worker.exempt is not None:
                    worker.exempt = None
                if kept:
                    try:
                        lead_token.pop()
                    except (IndexError, MemoryError):  # another thread has the lead
                        served_at = 0.0
                    else:
                        worker.lead = lead
                        lead.stepped_at = served_at = outcome
                else:
                    served_at = 0.0
                # Its first request, or its last?
                if connection.wait_kind != KEEP_ALIVE or connection.closing is not None:
                    self._stepper.end_request(connection, outcome)
                    owned = None
                    continue
                owned = None
                connection.state = PARKED
                connection.token.append(True)
                if connection.timer_at > connection.deadline or connection.missed or queue.idle_wanted is not None:
                    queue.look_again(connection)
        except BaseException:
            self._close_failed(worker, owned)
            raise

    def _serve_pipelined(
        self, worker: Worker, connection: Connection, line: StraightLine[Connection], begun: float, kept: Lead | None
    ) -> float | int:
        """After a request with which more has come: serve what follows on the line, until something is not ordinary, or
        the other connections have their turn.

        :param begun: when that request began.
        :param kept: the lead that the worker intends to retake.
        :return: of the last call of the line. MORE: the turn is over, or something else has to be done first.
        """
        queue = self._queue
        turn_ends = begun + _TURN_TIME
        for _ in range(_RUNS_IN_A_ROW - 1):
            now = self._now()
            if now >= turn_ends or worker.after_run or queue.closed:
                break
            if self._slow:
                worker.slow_due = now + self._slow  # before the monitor sees that this is another run
            worker.handled += 1
            worker.exempt = None
            if kept is not None:
                queue.retake_lead(worker, kept)
                kept = queue.yield_lead(worker)
            if self._slow:
                queue.timed_run_begins()
            outcome = line(connection, now)
            if outcome is not MORE:
                return outcome
        return MORE

    def _take_turn(self, worker: Worker, connection: Connection) -> bool:
        """Step a connection, and run its driver as often as the driver asks; False when the worker was given up."""
        queue, stepper = self._queue, self._stepper
        begun = self._now()
        if connection.wants_worker:
            connection.wants_worker = False
            if connection.queued_at != NEVER and (stepper.refuse_late(connection) or stepper.close_lost(connection)):
                return True
        elif not self._advance(worker, connection, begun):
            return True
        for _ in range(_RUNS_IN_A_ROW):
            kept = queue.yield_lead(worker)
            if self._slow:
                worker.slow_due = self._now() + self._slow
                if not self._timed:  # else _run_timed does it
                    worker.connection = connection
                    queue.timed_run_begins()
            going_on = self._run_timed(worker, connection) if self._timed else self._run(worker, connection)
            if worker.after_run:
                self._finish(worker, connection, going_on, kept)
                return not (worker.guard.given_up or worker.upgraded)
            if kept is not None:
                queue.retake_lead(worker, kept)
            now = self._now()
            if worker.guard.given_up or worker.upgraded:
                if worker.upgraded and going_on and self._advance(worker, connection, now):
                    queue.put(connection)
                queue.give_lead(worker)
                return False
            if not going_on or not self._advance(worker, connection, now):
                return True
            if now - begun >= _TURN_TIME:
                break
        queue.put(connection)  # its driver asks for the next run when it is stepped again
        return True

    def _advance(self, worker: Worker, connection: Connection, now: float) -> bool:
        """Step a connection; True when its driver wants a run."""
        if worker.lead is not None:
            worker.lead.stepped_at = now
        return self._stepper.advance(connection, now)

    def _close_failed(self, worker: Worker, owned: Connection | None) -> None:
        """After an exception in :meth:`_serve_straight`, as a rule without memory: no connection may be lost.

        :param owned: by this thread, which has to close it; None: there is none, but it is not known whether the one
            that was parked last has to be looked at again.
        """
        worker.connection = None
        if worker.finishing:  # another thread goes on with the connection
            worker.finishing = False
            if owned is not None:
                owned.server.run_finished()
        elif owned is None:
            self._queue.overlook()
        elif owned.state is OWNED and not owned.lent and not self._queue.abandoned:
            owned.between_requests = False
            self._stepper.closer.close(owned, "error")

    def _leave_line(
        self,
        worker: Worker,
        connection: Connection,
        outcome: float | int,
        kept: Lead | None,
        failure: BaseException | None = None,
    ) -> bool:
        """After a call of a straight line that was not all. True: the worker owns the connection and has to step it.

        :param outcome: of that call.
        :param kept: the lead that the worker intends to retake.
        :param failure: what the call has raised.
        """
        going_on = True
        if outcome is not DECLINED:
            worker.handled += 1
            worker.exempt = None
            if failure is not None or self._queue.closed:
                connection.between_requests = False
                going_on = self._after(worker, connection, failure)
            elif connection.closing is not None and type(outcome) is float:
                self._stepper.end_request(connection, outcome)
                going_on = False
        worker.connection = None
        if outcome is MORE and going_on:
            connection.pending = connection.pending or READ  # as if it had come now: the line is called again
        if worker.after_run:
            self._finish(worker, connection, going_on, kept)
            return False
        if kept is not None:
            self._queue.retake_lead(worker, kept)
        if outcome is MORE and going_on:
            self._queue.put(connection)
            return False
        return going_on

    def _run(self, worker: Worker, connection: Connection) -> bool:
        """Call the driver's run; False when the connection is closed or passed on."""
        worker.connection = connection
        failure: BaseException | None = None
        try:
            connection.driver.run()
        except BaseException as error:
            failure = error
        worker.handled += 1
        worker.exempt = None
        if failure is None and not (connection.final_run or self._queue.closed or self._queue.abandoned):
            worker.connection = None
            return True
        return self._after(worker, connection, failure)

    def _finish(self, worker: Worker, connection: Connection, going_on: bool, kept: Lead | None) -> None:
        """Call what was to be called after the run (:meth:`call_after_run`); other threads go on with the connection
        and the lead.

        :param going_on: the connection is still open, and owned by this thread.
        :param kept: the lead that the worker intended to retake after the run.
        """
        queue, server = self._queue, connection.server
        if going_on:
            queue.put(connection)
        worker.finishing = True  # from here on a failure does not concern the connection
        if kept is not None:
            queue.retake_lead(worker, kept)
        queue.give_lead(worker)
        functions = worker.after_run
        while functions:
            try:
                functions.pop(0)()
            except BaseException as error:
                self._log.failure(f"{worker.thread.name}: a function of reserve.after_response failed", error)
        worker.finishing = False
        worker.exempt = None
        server.run_finished()

    def _run_timed(self, worker: Worker, connection: Connection) -> bool:
        """Like :meth:`_run`, for a run that the monitor may interrupt or give up."""
        failure: BaseException | None = None
        worker.run_due = self._now() + self._timeout
        worker.extended_to = 0.0
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
        worker.exempt = None
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
