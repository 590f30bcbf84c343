"""Steps one owned connection, until it waits, is closed, or needs a worker.

Runs on the thread that owns the connection: the leader, the monitor, or a worker after a run. It never blocks: it steps
the driver and carries out the driver's decision. Errors go to the log, which writes on a thread of its own.
"""

from __future__ import annotations

import contextlib
import threading

from reserve.engine.connections.closing import shutdown_write
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import AGAIN, IDLE_KINDS, KEEP_ALIVE, LINGER, RUN, STORE, Action, Close, Wait
from reserve.engine.connections.peers import address_of, describe, name_of
from reserve.engine.connections.states import DEADLINE, OWNED, PARKED
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.clock import Clock
from reserve.engine.polling.poller import READ
from reserve.engine.scheduler.closer import Closer
from reserve.engine.scheduler.filethreads import FileThreads
from reserve.engine.scheduler.flusher import Flusher
from reserve.engine.scheduler.readyqueue import ReadyQueue
from reserve.engine.scheduler.runqueue import LATE
from reserve.engine.settings import EngineSettings
from reserve.errors import TLSError
from reserve.wait import connection_reset

__all__ = ["Stepper"]


class Stepper:
    """Steps the connections of one server. Any thread calls it for a connection that it owns."""

    def __init__(self, queue: ReadyQueue, clock: Clock, settings: EngineSettings, log: ErrorLog) -> None:
        self._queue = queue
        self._now = clock.now
        self._settings = settings
        self._log = log
        self._lock = threading.Lock()
        self.closer = Closer(queue, settings, log)
        """Closes the connections that the stepper ends."""
        self.files = FileThreads(settings.file_threads, self.flush_from_disk, self.store, log)
        """They send what only a disk has, and store bodies."""
        self._flusher = Flusher(queue, self.closer, clock, self.files)
        self.refused = 0
        """Requests that were refused: no worker was free in time, or the response did not begin in time."""

    def advance(self, connection: Connection, now: float) -> bool:
        """Step the connection. True: its driver wants :meth:`Driver.run`, and the caller still owns the connection."""
        events, armed = connection.pending, connection.armed
        connection.pending = connection.armed = 0
        if connection.notice:
            events |= connection.notice
            connection.notice = 0
        if connection.between_requests:
            connection.between_requests = False
            connection.driver.leave_straight_line(connection.deadline)
        connection.state = OWNED
        while connection.lent:
            try:
                self._flusher.flush_lent(connection, events, now)
                return False
            except MemoryError:  # its worker waits for the token
                continue
        # If anything here raises, this thread still owns the connection: passing it on is the last step, and raises
        # only if the caller still owns the connection afterwards.
        try:
            if connection.output is not None:
                if not self._flusher.flush(connection, connection.output, events, now):
                    return False
                events &= ~DEADLINE  # it was the deadline of the output, and the output has left
            if connection.closing is not None:
                self.closer.begin_close(connection, connection.closing, events, now)
                return False
            late = events & DEADLINE != 0
            if late and armed & READ and connection.has_unread():
                # What has arrived counts before what has expired: this process may have been paused, and its clients
                # were punctual.
                action: Action = connection.driver.step(events & ~DEADLINE | READ, now)
                late = False
                if type(action) is Wait and action.deadline <= now:
                    late, action = True, connection.driver.expired(action.kind, now)
            elif late:
                action = connection.driver.expired(connection.wait_kind, now)
            else:
                action = connection.driver.step(events, now)
            if action is RUN:
                return True
            if action is STORE:
                if self.files.waiting > self._settings.max_queued:  # each holds memory
                    self.refuse(connection, "overload", "more requests wait for the disk than --max-queued allows")
                    return False
                try:
                    self.files.submit_store(connection)
                except RuntimeError:  # no thread: a worker does it
                    return True
                return False
            self._apply(connection, action, now, late)
        except OSError as error:
            if isinstance(error, TLSError):  # the peer sent invalid TLS; all other errors mean that the peer is gone
                name = name_of(address_of(connection.peer))
                self._log.info(f"{name}: TLS: {error}", "TLS sessions broken by their clients")
            self.closer.close(connection, "lost")
        except Exception as error:
            self._log.failure("a protocol driver failed; the connection is closed", error)
            self.closer.close(connection, "error")
        return False

    def end_request(self, connection: Connection, now: float) -> None:
        """By the worker, after the straight line has served the first request of a connection, or the last one: have
        the connection wait for the next one, or close it. After those in between the worker does all itself.
        """
        try:
            if connection.closing is None:
                self._park(connection, READ, connection.deadline, KEEP_ALIVE)
                return
            connection.between_requests = False
            connection.armed = 0
            self.closer.begin_close(connection, connection.closing, 0, now)
        except OSError:
            self.closer.close(connection, "lost")

    def flush_from_disk(self, connection: Connection) -> None:
        """By a file thread that was given the connection: send its output, and pass it on."""
        try:
            if self._flusher.flush_from_disk(connection):
                self._queue.put(connection)  # the leader steps it
            return
        except OSError:  # of the peer or of the file
            reason = "lost"
        except Exception as error:
            self._log.failure("an output could not be sent; the connection is closed", error)
            reason = "error"
        if self._queue.closed:
            self.closer.close_now(connection, "stop")
        else:
            self.closer.close(connection, reason)

    def store(self, connection: Connection) -> None:
        """By a file thread that was given the connection: have its driver store a body, and pass the connection on."""
        failed = False
        try:
            connection.driver.store()
        except Exception as error:
            self._log.failure("what was received could not be stored; the connection is closed", error)
            failed = True
        connection.wants_worker = False
        if self._queue.closed:
            self.closer.close_now(connection, "stop")
        elif failed:
            self.closer.close(connection, "error")
        else:
            self._queue.put(connection)

    def refuse(self, connection: Connection, reason: str, why: str = "") -> None:
        """By the owner: send the driver's refusal, if its protocol has any, and close.

        :param reason: see :meth:`Driver.refuse`.
        :param why: the reason for the log, which writes at most one line a second; empty: it is logged already.
        """
        with self._lock:
            self.refused += 1
        try:
            if why:
                self._log.warning(f"{describe(connection)}: refused: {why}", f"requests refused: {why}")
            response = connection.driver.refuse(reason)
            if response is not None:
                connection.write(response)
            self._apply(connection, LINGER, self._now())
        except OSError:
            self.closer.close(connection, "lost")
        except Exception as error:
            self._log.failure("a protocol driver failed; the connection is closed", error)
            self.closer.close(connection, "error")

    def refuse_during_run(self, connection: Connection, reason: str) -> None:
        """By the monitor, which holds the run's guard: send the refusal now, if the driver allows that during its run.

        When the run is over, the worker calls :meth:`refuse` anyway, which then sends nothing more.
        """
        with contextlib.suppress(OSError):  # the client is gone; the owner sees that when it closes the connection
            response = connection.driver.refuse_during_run(reason)
            if response is not None:
                connection.write(response)
                # Under TLS close_notify has to be sent first, which the closer does later.
                if connection.output is None and connection.tls is None:
                    shutdown_write(connection)

    def refuse_late(self, connection: Connection) -> bool:
        """By the worker that takes a queued request: True when it waited too long and has been refused instead."""
        if self._now() < connection.queued_at + self._settings.queue_timeout:
            return False
        self.refuse(connection, "overload", LATE)
        return True

    def close_lost(self, connection: Connection) -> bool:
        """By the worker that takes a queued request: True when its client reset the connection meanwhile.

        Then the connection is closed instead: a crowd that has given up must not keep the workers from the others.
        """
        if not connection_reset(connection.fd):
            return False
        try:
            connection.driver.refuse("lost")
        except Exception as error:
            self._log.failure("a protocol driver failed; the connection is closed", error)
        self.closer.close(connection, "lost")
        return True

    def _apply(self, connection: Connection, action: Action, now: float, late: bool = False) -> None:
        """Carry out the driver's decision, after its output is sent. ``late``: a deadline led to the decision."""
        output = connection.output
        if type(action) is Close:
            connection.closing = action
        if output is not None:
            self._flusher.wait_for_room(connection, output, now)
        elif type(action) is Wait:
            tls = connection.tls
            if tls is not None:
                if action.events & READ and tls.pending():
                    self._queue.put(connection)  # the data is decrypted already, so the poller does not report it
                    return
                connection.settle_tls(tls)
            self._park(connection, action.events, action.deadline, action.kind)
        elif action is AGAIN:
            self._queue.put(connection)
        else:
            assert isinstance(action, Close)
            self.closer.begin_close(connection, action, 0, now, late)

    def _park(self, connection: Connection, events: int, deadline: float, kind: str) -> None:
        """Have the connection wait, as its driver wants it. Raises OSError when the poller cannot watch it."""
        queue = self._queue
        queue.park(connection, events, deadline, kind, PARKED)
        wanted = queue.idle_wanted  # read after the connection is parked: see Admission.close_idle
        if wanted is not None and kind in IDLE_KINDS:
            queue.idle_wanted = None
            wanted()
