"""One owned connection, brought forward until it waits, ends, or needs a worker.

Runs on whoever owns the connection: the leader, the monitor, or a worker after a run. It never blocks: it steps the
driver, flushes output, lingers, parks and closes. What went wrong is handed to the log, which writes on a thread of
its own.
"""

from __future__ import annotations

import socket
import threading

from reserve.engine.clock import Clock
from reserve.engine.connection import DEADLINE, Connection, State
from reserve.engine.driver import RUN, Action, Close, Wait
from reserve.engine.logs import Logs
from reserve.engine.output import Output
from reserve.engine.poller import READ, WRITE
from reserve.engine.readyqueue import ReadyQueue
from reserve.engine.settings import EngineSettings

__all__ = ["Stepper"]


class Stepper:
    """One for each server; it has no state of its own but the list of the lingering."""

    def __init__(self, queue: ReadyQueue, clock: Clock, settings: EngineSettings, logs: Logs) -> None:
        self._queue = queue
        self._now = clock.now
        self._settings = settings
        self._logs = logs
        self._lingering: dict[Connection, None] = {}
        self._lingering_lock = threading.Lock()

    def advance(self, connection: Connection) -> bool:
        """Bring it forward. True: its driver wants :meth:`Driver.run`, and the connection is still the caller's."""
        events = connection.pending
        connection.pending = 0
        connection.state = State.OWNED
        now = self._now()
        if connection.lent:
            self._flush_lent(connection, events, now)
            return False
        try:
            if connection.output is not None:
                if not self._flush(connection, connection.output, events, now):
                    return False
                events &= ~DEADLINE  # it was the deadline of the output, and the output has left
            if connection.closing is not None:
                self._close(connection, connection.closing, events, now)
                return False
            if events & DEADLINE:
                action: Action = connection.driver.expired(connection.wait_kind, now)
            else:
                action = connection.driver.step(events, now)
            if action is RUN:
                return True
            self._follow(connection, action, now)
        except OSError:
            self.end(connection, "lost")
        except Exception as error:
            self._logs.failure("a protocol driver failed; the connection is closed", error)
            self.end(connection, "error")
        return False

    def end(self, connection: Connection, reason: str) -> None:
        """By the owner: the connection is over. The driver's farewell, if it has one, runs on a worker first."""
        if not connection.ending and connection.driver.closed(reason):
            connection.ending = True
            if not connection.detached:
                connection.shut(socket.SHUT_RDWR)
            self._queue.put_call(connection)
        else:
            self.discard(connection)

    def bury(self, connection: Connection, reason: str) -> None:
        """End it after the queue was closed: nobody would take the farewell from there, so it runs here and now."""
        try:
            if connection.ending or connection.driver.closed(reason):
                connection.ending = True
                connection.driver.run()
        except BaseException as error:
            self._logs.failure("the farewell of a connection failed", error)
        self.discard(connection)

    def discard(self, connection: Connection) -> None:
        """By the owner: forget the connection and close the socket (unless it was given away)."""
        self._queue.forget(connection)
        if connection.linger_left >= 0:
            with self._lingering_lock:
                self._lingering.pop(connection, None)
        if connection.output is not None:
            connection.output.close()
            connection.output = None
        if not connection.detached:
            connection.close_socket()
        del connection.driver  # it refers to the connection: without this every connection would be a cycle
        connection.server.connection_closed(connection)

    def _follow(self, connection: Connection, action: Action, now: float) -> None:
        """Carry out what the driver decided, once its output has left."""
        output = connection.output
        if type(action) is Wait:
            if output is None:
                self._queue.park(connection, action.events, action.deadline, action.kind, State.PARKED)
            else:
                self._wait_for_room(connection, now)
            return
        assert isinstance(action, Close)
        connection.closing = action
        if output is not None:
            self._wait_for_room(connection, now)
        else:
            self._close(connection, action, 0, now)

    # ---- FLUSHING ----

    def _flush(self, connection: Connection, output: Output, events: int, now: float) -> bool:
        """Send what waits; True when all has left. Otherwise the connection waits for room, or has been ended."""
        done, sent = output.flush(connection.sock)
        if done:
            connection.output = None
            connection.wait_kind = ""
            return True
        if events & DEADLINE and not sent and connection.wait_kind == "write":
            self.end(connection, "timeout")
        elif not sent and connection.wait_kind == "write":
            self._queue.park(connection, WRITE, connection.deadline, "write", State.FLUSHING)
        else:
            self._wait_for_room(connection, now)
        return False

    def _wait_for_room(self, connection: Connection, now: float) -> None:
        self._queue.park(connection, WRITE, now + self._settings.write_timeout, "write", State.FLUSHING)

    def _flush_lent(self, connection: Connection, events: int, now: float) -> None:
        """Flush for a worker that is still inside its run; whatever comes of it, the worker gets the token back."""
        output = connection.output
        try:
            done, sent = output.flush(connection.sock) if output is not None else (True, 0)
        except OSError:
            done, connection.lost = True, True
        if done:
            connection.output = None
        elif events & DEADLINE and not sent:
            connection.lost = True
            connection.shut(socket.SHUT_RDWR)
        elif connection.claimant is None:
            deadline = now + self._settings.write_timeout if sent else connection.deadline
            self._queue.park(connection, WRITE, deadline, "write", State.FLUSHING)
            claimant = connection.claimant
            if claimant is None or not connection.take():
                return
        connection.give_back()

    # ---- LINGERING ----

    def _close(self, connection: Connection, action: Close, events: int, now: float) -> None:
        """Close, or first let the peer read what has left: a close with input outstanding would be a reset."""
        if not action.linger or connection.ending:
            self.end(connection, "done")
            return
        if connection.linger_left < 0:
            connection.shut(socket.SHUT_WR)
            connection.linger_left = self._settings.linger_bytes
            connection.deadline = now + self._settings.linger_timeout
            self._cut_oldest(connection)
        if events & DEADLINE or not self._linger(connection):
            self.end(connection, "done")
        else:
            self._queue.park(connection, READ, connection.deadline, "linger", State.LINGERING)

    def _linger(self, connection: Connection) -> bool:
        """Read and forget; False when the peer is done or has sent too much."""
        try:
            while connection.linger_left > 0:
                data = connection.recv(16384)
                if not data:
                    return False
                connection.linger_left -= len(data)
        except (BlockingIOError, InterruptedError):
            return True
        connection.linger_left = 0
        return False

    def _cut_oldest(self, newcomer: Connection) -> None:
        with self._lingering_lock:
            self._lingering[newcomer] = None
            oldest = next(iter(self._lingering)) if len(self._lingering) > self._settings.max_lingering else None
            if oldest is not None:
                del self._lingering[oldest]
        if oldest is not None:
            self._queue.nudge(oldest, DEADLINE)
