"""One owned connection, brought forward until it waits, ends, or needs a worker.

Runs on whoever owns the connection: the leader, the monitor, or a worker after a run. It never blocks: it steps the
driver, flushes output, lingers, parks and closes. What went wrong is handed to the log, which writes on a thread of
its own.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from reserve.engine.connections.closing import abort, close_socket, reset, send_close_notify, shut
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import AGAIN, LINGER, RUN, Action, Close, Wait
from reserve.engine.connections.output import PIECE, Output
from reserve.engine.connections.peers import describe, name_of
from reserve.engine.connections.states import DEADLINE, FLUSHING, LINGERING, OWNED, PARKED
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.clock import Clock
from reserve.engine.polling.poller import HANGUP, READ, WRITE
from reserve.engine.scheduler.readyqueue import ReadyQueue
from reserve.engine.scheduler.runqueue import LATE
from reserve.engine.settings import EngineSettings
from reserve.errors import TLSError, WantWrite

if TYPE_CHECKING:
    from reserve.ssl.tlssocket import TLSSocket

__all__ = ["Stepper"]

_FLUSH = 1048576
"""Octets of one connection's output that leave in one turn: a client as fast as we are must not hold the leader. While
others wait, it is one piece.
"""
_LINGER_RECEIVES = 64
"""Receives in one turn of a connection that lingers; the others wait meanwhile."""
_BUFFERED = 8388608
"""Octets that a kernel may hold of a peer that has ended its side: Linux has up to 6 MiB."""


class Stepper:
    """One for each server; it has no state of its own but the list of the lingering, and a count."""

    def __init__(self, queue: ReadyQueue, clock: Clock, settings: EngineSettings, log: ErrorLog) -> None:
        self._queue = queue
        self._now = clock.now
        self._settings = settings
        self._log = log
        self._lingering: dict[Connection, None] = {}
        self._lock = threading.Lock()
        self.refused = 0
        """Requests that were refused: no worker was free in time, or the answer did not begin in time."""

    def advance(self, connection: Connection) -> bool:
        """Bring it forward. True: its driver wants :meth:`Driver.run`, and the connection is still the caller's."""
        events = connection.pending
        connection.pending = connection.armed = 0
        connection.state = OWNED
        now = self._queue.stepped_at = self._now()
        while connection.lent:
            try:
                self._flush_lent(connection, events, now)
                return False
            except MemoryError:  # its worker waits for the token
                continue
        # What fails in here fails while the connection is still ours: whatever passes it on is the last step, and
        # raises only before it has begun.
        try:
            if connection.output is not None:
                if not self._flush(connection, connection.output, events, now):
                    return False
                events &= ~DEADLINE  # it was the deadline of the output, and the output has left
            if connection.closing is not None:
                self._begin_close(connection, connection.closing, events, now)
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
            if isinstance(error, TLSError):  # the others went away; this one sent what no client sends
                name = name_of(connection.server.address_of(connection))
                self._log.info(f"{name}: TLS: {error}", "TLS sessions broken by their clients")
            self.close(connection, "lost")
        except Exception as error:
            self._log.failure("a protocol driver failed; the connection is closed", error)
            self.close(connection, "error")
        return False

    def refuse(self, connection: Connection, reason: str, why: str = "") -> None:
        """By the owner: the driver's last words, if its protocol has any, and the end.

        :param why: what the log says of it, one line a second for all of them; empty: it has been told.
        """
        with self._lock:
            self.refused += 1
        try:
            if why:
                self._log.warning(f"{describe(connection)}: refused: {why}", f"requests refused: {why}")
            words = connection.driver.refuse(reason)
            if words is not None:
                connection.write(words)
            self._follow(connection, LINGER, self._now())
        except OSError:
            self.close(connection, "lost")
        except Exception as error:
            self._log.failure("a protocol driver failed; the connection is closed", error)
            self.close(connection, "error")

    def refuse_during_run(self, connection: Connection, reason: str) -> None:
        """By the monitor, with the guard of its run in hand: say the last words now, if the driver may say them while
        its run goes on. The refusal follows all the same when the run is over, and has no words then.
        """
        with contextlib.suppress(OSError):  # nobody is left to tell: whoever ends the connection finds that out
            words = connection.driver.refuse_during_run(reason)
            if words is not None:
                connection.write(words)
                if connection.output is None and connection.tls is None:  # TLS has an end of its own: it comes later
                    shut(connection, socket.SHUT_WR)

    def refuse_late(self, connection: Connection) -> bool:
        """By the worker that takes a queued request: True when it waited too long and has been refused instead."""
        if self._now() < connection.queued_at + self._settings.queue_timeout:
            return False
        self.refuse(connection, "overload", LATE)
        return True

    def close(self, connection: Connection, reason: str) -> None:
        """By the owner: the connection is over. The driver's farewell, if it has one, runs on a worker first."""
        if connection.output is not None:
            reset(connection)  # the peer must not take what has left for the whole
        if not connection.final_run and self._wants_farewell(connection, reason):
            connection.final_run = True
            if not connection.detached and not connection.must_reset:  # a reset must not begin as an orderly end
                send_close_notify(connection)
                shut(connection, socket.SHUT_RDWR)
            self._queue.run_queue.put(connection)
        else:
            self.dispose(connection)

    def _wants_farewell(self, connection: Connection, reason: str) -> bool:
        while True:
            try:
                return connection.driver.closed(reason)
            except MemoryError:  # it may be told twice, and must not miss it
                continue
            except Exception as error:  # it has been told; its socket is closed all the same
                self._log.failure("a protocol driver failed at the end of its connection", error)
                return False

    def close_now(self, connection: Connection, reason: str) -> None:
        """End it after the queue was closed: nobody would take the farewell from there, so it runs here and now."""
        try:
            if connection.output is not None:
                reset(connection)
            if connection.final_run or connection.driver.closed(reason):
                connection.final_run = True
                connection.driver.run()
        except BaseException as error:
            self._log.failure("the farewell of a connection failed", error)
        try:
            self.dispose(connection)
        except Exception as error:  # the others have their end to come
            self._log.failure("a connection could not be closed", error)

    def dispose(self, connection: Connection) -> None:
        """By the owner: forget the connection and close the socket (unless it was given away)."""
        while True:
            try:
                return self._dispose(connection)
            except MemoryError:  # each step may be taken twice; not to take the rest would leak it
                continue

    def _dispose(self, connection: Connection) -> None:
        self._queue.registry.forget(connection)
        if connection.linger_left >= 0:
            with self._lock:
                self._lingering.pop(connection, None)
        if connection.output is not None:
            connection.output.close()
            connection.output = None
        connection.body_memory = connection.body_disk = 0
        connection.settle()
        if not connection.detached:
            close_socket(connection)
        if hasattr(connection, "driver"):
            del connection.driver  # it refers to the connection: without this every connection would be a cycle
        connection.server.connection_closed(connection)

    def _follow(self, connection: Connection, action: Action, now: float, late: bool = False) -> None:
        """Carry out what the driver decided, once its output has left. ``late``: because a deadline had passed."""
        output = connection.output
        if type(action) is Wait:
            tls = connection.tls
            if output is not None:
                self._wait_for_room(connection, now)
            elif tls is not None and action.events & READ and tls.pending():
                self._queue.put(connection)  # what the driver waits for is here, and the socket would not tell of it
            else:
                kind = action.kind
                self._queue.park(connection, action.events, action.deadline, kind, PARKED)
                wanted = self._queue.idle_wanted  # looked at when it is parked: see Admission.reclaim_idle
                if wanted is not None and kind == "keep-alive":
                    self._queue.idle_wanted = None
                    wanted()
            return
        if action is AGAIN:
            if output is None:
                self._queue.put(connection)
            else:
                self._wait_for_room(connection, now)
            return
        assert isinstance(action, Close)
        connection.closing = action
        if output is not None:
            self._wait_for_room(connection, now)
        else:
            self._begin_close(connection, action, 0, now, late)

    # ---- FLUSHING ----

    def _flush(self, connection: Connection, output: Output, events: int, now: float) -> bool:
        """Send what waits; True when all has left. Otherwise the connection waits for room, or has been ended."""
        if events & DEADLINE and connection.wait_kind == "write":
            # Not one more try: the kernel may take a little into its own buffer without the peer reading anything.
            reset(connection)  # what waits in the kernel is not worth the memory
            self.close(connection, "timeout")
            return False
        done, sent = output.flush(connection.sink, PIECE if len(self._queue) else _FLUSH)
        if done:
            connection.output = None
            connection.wait_kind = ""
            connection.settle()
            return True
        deadline = output.deadline(now, sent, self._settings.write_timeout, self._settings.write_rate)
        connection.settle()
        self._queue.park(connection, WRITE, deadline, "write", FLUSHING)
        return False

    def _wait_for_room(self, connection: Connection, now: float) -> None:
        assert connection.output is not None
        connection.settle()
        deadline = connection.output.deadline(now, 0, self._settings.write_timeout, self._settings.write_rate)
        self._queue.park(connection, WRITE, deadline, "write", FLUSHING)

    def _flush_lent(self, connection: Connection, events: int, now: float) -> None:
        """Flush for a worker that is still inside its run; whatever comes of it, the worker gets the token back."""
        output = connection.output
        done, sent, parked = output is None, 0, False
        try:
            if output is not None and events & DEADLINE:
                raise TimeoutError
            if output is not None:
                done, sent = output.flush(connection.sink, PIECE if len(self._queue) else _FLUSH)
            if output is not None and not done and connection.reclaim_waiter is None:
                connection.settle()
                deadline = output.deadline(now, sent, self._settings.write_timeout, self._settings.write_rate)
                self._queue.park(connection, WRITE, deadline, "write", FLUSHING)
                parked = True
        except (OSError, ValueError, MemoryError):  # the peer, a file, the time; or it cannot be watched any more
            connection.failed = done = True
            abort(connection)  # the end of an answer of unknown length must not look like one
            if output is not None:
                output.close()  # its files, too
        if done:
            connection.output = None
        if parked:
            if connection.reclaim_waiter is None:
                return
            try:
                connection.slot.pop()
            except (IndexError, MemoryError):  # somebody else has it: only an empty slot can fail
                return
        else:
            connection.settle()
        connection.return_token()

    # ---- LINGERING ----

    def _begin_close(self, connection: Connection, action: Close, events: int, now: float, late: bool = False) -> None:
        """Close, or first let the peer read what has left: a close with input outstanding would be a reset."""
        tls = connection.tls
        if tls is not None and not self._send_close_notify(connection, tls, events, now, late):
            return
        if not action.linger or connection.final_run or connection.must_reset:
            self.close(connection, "done")
            return
        if connection.linger_left < 0:
            shut(connection, socket.SHUT_WR)
            connection.linger_left = self._settings.linger_bytes
            connection.deadline = now + self._settings.linger_timeout
            self._cut_oldest(connection)
        # Who was cut is not listed any more; an event may have overwritten the deadline that tells it.
        if events & DEADLINE or connection not in self._lingering or not self._linger(connection, events):
            self.close(connection, "done")
        else:
            mask = READ if connection.linger_left else HANGUP
            self._queue.park(connection, mask, connection.deadline, "linger", LINGERING)

    def _send_close_notify(self, connection: Connection, tls: TLSSocket, events: int, now: float, late: bool) -> bool:
        """End TLS before the connection ends in good order. False: close_notify waits for room, as output does.

        After --write-timeout the connection ends without it. What has left stays as it is: a client that only lacks
        the last record knows that, and one that has all it wants does not need it. A client that is ``late`` gets no
        more time.
        """
        if connection.must_reset or connection.detached or connection.final_run or connection.linger_left >= 0:
            return True
        try:
            tls.close_notify_now()
        except WantWrite:
            waiting = connection.wait_kind == "close_notify"
            if not late and not (waiting and events & DEADLINE):
                if not waiting:
                    connection.wait_kind = "close_notify"
                    connection.deadline = now + self._settings.write_timeout
                self._queue.park(connection, WRITE, connection.deadline, "close_notify", FLUSHING)
                return False
        connection.recv = tls.raw_recv  # what still comes is not looked at
        return True

    def _linger(self, connection: Connection, events: int) -> bool:
        """Read and forget; False when the peer is done.

        A peer that has sent too much is not read on, and not cut either: what comes now waits in the kernel, whose
        buffers are small, and the peer has the rest of --linger-timeout to read why. A close would be a reset.
        """
        left = connection.linger_left
        behind = _BUFFERED if events & HANGUP else 0  # nothing comes behind its end
        try:
            for _ in range(_LINGER_RECEIVES):
                if left <= 0 and behind <= 0:
                    break
                data = connection.recv(16384)
                if not data:
                    return False
                left -= len(data)
                behind -= len(data)
        except (BlockingIOError, InterruptedError):
            pass
        connection.linger_left = max(0, left)
        return True

    def _cut_oldest(self, newcomer: Connection) -> None:
        with self._lock:
            self._lingering[newcomer] = None
            oldest = next(iter(self._lingering)) if len(self._lingering) > self._settings.max_lingering else None
            if oldest is not None:
                del self._lingering[oldest]
        if oldest is not None:
            self._queue.notify(oldest, DEADLINE)
