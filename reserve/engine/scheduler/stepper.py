"""One owned connection, brought forward until it waits, is closed, or needs a worker.

Runs on the thread that owns the connection: the leader, the monitor, or a worker after a run. It never blocks: it steps
the driver and does what the driver decides. What goes wrong is passed to the log, which writes on a thread of its own.
"""

from __future__ import annotations

import contextlib
import threading

from reserve.engine.connections.closing import shutdown_write
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import AGAIN, LINGER, RUN, Action, Close, Wait
from reserve.engine.connections.peers import address_of, describe, name_of
from reserve.engine.connections.states import DEADLINE, OWNED, PARKED
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.clock import Clock
from reserve.engine.polling.poller import READ
from reserve.engine.scheduler.closer import Closer
from reserve.engine.scheduler.flusher import Flusher
from reserve.engine.scheduler.readyqueue import ReadyQueue
from reserve.engine.scheduler.runqueue import LATE
from reserve.engine.settings import EngineSettings
from reserve.errors import TLSError

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
        """Closes what is over."""
        self._flusher = Flusher(queue, self.closer)
        self.refused = 0
        """Requests that were refused: no worker was free in time, or the response did not begin in time."""

    def advance(self, connection: Connection) -> bool:
        """Bring it forward. True: its driver wants :meth:`Driver.run`, and the caller still owns the connection."""
        events = connection.pending
        connection.pending = connection.armed = 0
        connection.state = OWNED
        now = self._queue.stepped_at = self._now()
        while connection.lent:
            try:
                self._flusher.flush_lent(connection, events, now)
                return False
            except MemoryError:  # its worker waits for the token
                continue
        # What fails in here fails while the connection is still ours: whatever passes it on is the last step, and
        # raises only before it has begun.
        try:
            if connection.output is not None:
                if not self._flusher.flush(connection, connection.output, events, now):
                    return False
                events &= ~DEADLINE  # it was the deadline of the output, and the output has left
            if connection.closing is not None:
                self.closer.begin(connection, connection.closing, events, now)
                return False
            late = events & DEADLINE != 0
            if late:
                action: Action = connection.driver.expired(connection.wait_kind, now)
            else:
                action = connection.driver.step(events, now)
            if action is RUN:
                return True
            self._follow(connection, action, now, late)
        except OSError as error:
            if isinstance(error, TLSError):  # other errors mean that the peer went away; this one sent no valid TLS
                name = name_of(address_of(connection.peer))
                self._log.info(f"{name}: TLS: {error}", "TLS sessions broken by their clients")
            self.closer.close(connection, "lost")
        except Exception as error:
            self._log.failure("a protocol driver failed; the connection is closed", error)
            self.closer.close(connection, "error")
        return False

    def refuse(self, connection: Connection, reason: str, why: str = "") -> None:
        """By the owner: send the driver's refusal, if its protocol has any, and close.

        :param reason: see :meth:`Driver.refuse`.
        :param why: what the log says of it, one line a second for all of them; empty: it is logged already.
        """
        with self._lock:
            self.refused += 1
        try:
            if why:
                self._log.warning(f"{describe(connection)}: refused: {why}", f"requests refused: {why}")
            response = connection.driver.refuse(reason)
            if response is not None:
                connection.write(response)
            self._follow(connection, LINGER, self._now())
        except OSError:
            self.closer.close(connection, "lost")
        except Exception as error:
            self._log.failure("a protocol driver failed; the connection is closed", error)
            self.closer.close(connection, "error")

    def refuse_during_run(self, connection: Connection, reason: str) -> None:
        """By the monitor, which holds the run's guard: send the refusal now, if the driver allows it while its run goes
        on. :meth:`refuse` follows all the same when the run is over, and sends nothing then.
        """
        with contextlib.suppress(OSError):  # the client is gone; the thread that closes the connection finds that out
            response = connection.driver.refuse_during_run(reason)
            if response is not None:
                connection.write(response)
                if (
                    connection.output is None and connection.tls is None
                ):  # TLS says close_notify first: that comes later
                    shutdown_write(connection)

    def refuse_late(self, connection: Connection) -> bool:
        """By the worker that takes a queued request: True when it waited too long and has been refused instead."""
        if self._now() < connection.queued_at + self._settings.queue_timeout:
            return False
        self.refuse(connection, "overload", LATE)
        return True

    def _follow(self, connection: Connection, action: Action, now: float, late: bool = False) -> None:
        """Do what the driver has decided, once its output has left. ``late``: it decided because a deadline passed."""
        output = connection.output
        if type(action) is Close:
            connection.closing = action
        if output is not None:
            self._flusher.wait_for_room(connection, output, now)
        elif type(action) is Wait:
            queue, tls = self._queue, connection.tls
            if tls is not None and action.events & READ and tls.pending():
                queue.put(connection)  # what the driver waits for is decrypted already: the socket would not tell of it
                return
            kind = action.kind
            queue.park(connection, action.events, action.deadline, kind, PARKED)
            wanted = queue.idle_wanted  # looked at when it is parked: see Admission.reclaim_idle
            if wanted is not None and kind == "keep-alive":
                queue.idle_wanted = None
                wanted()
        elif action is AGAIN:
            self._queue.put(connection)
        else:
            assert isinstance(action, Close)
            self.closer.begin(connection, action, 0, now, late)
