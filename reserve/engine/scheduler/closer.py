"""The close of a connection: its driver's final run, close_notify, lingering, and the end of the socket.

Runs on the thread that owns the connection: the leader, the monitor, a worker after a run, or the accept thread at the
end of a shutdown. It never blocks, except in :meth:`Closer.close_now`. The four verbs are explained in
:mod:`reserve.engine.connections.closing`.
"""

from __future__ import annotations

import threading

from reserve.engine.connections.closing import close_socket, reset, send_close_notify, shutdown, shutdown_write
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import Close
from reserve.engine.connections.states import DEADLINE, FLUSHING, LINGERING
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.outofmemory import retried
from reserve.engine.polling.poller import HANGUP, READ, WRITE
from reserve.engine.scheduler.readyqueue import ReadyQueue
from reserve.engine.settings import EngineSettings
from reserve.errors import WantWrite
from reserve.ssl.tlssocket import TLSSocket

__all__ = ["Closer"]

_RECEIVES = 64
"""Calls of recv in one step of a lingering connection: the other connections wait during the step."""
_KERNEL_BUFFER = 8388608
"""The most bytes that a kernel may hold of a peer that has ended its side: Linux holds up to 6 MiB."""


class Closer:
    """Closes the connections of one server; owned by its stepper. Any thread calls it for a connection that it owns."""

    def __init__(self, queue: ReadyQueue, settings: EngineSettings, log: ErrorLog) -> None:
        self._queue = queue
        self._settings = settings
        self._log = log
        self._lingering: dict[Connection, None] = {}
        self._lock = threading.Lock()

    def close(self, connection: Connection, reason: str) -> None:
        """Close the connection. If the driver wants a final run, a worker runs it first.

        :param reason: see :meth:`Driver.on_close`.
        """
        if connection.output is not None:
            reset(connection)  # or the peer would think that the part it received is complete
        if not connection.final_run and self._wants_final_run(connection, reason):
            connection.final_run = True
            if not connection.detached and not connection.must_reset:  # a reset must not begin with an orderly shutdown
                send_close_notify(connection)
                shutdown(connection)
            self._queue.run_queue.put(connection)
        else:
            self.dispose(connection)

    def close_now(self, connection: Connection, reason: str) -> None:
        """Close the connection after the queue is closed. No worker takes it then, so the final run, which may block,
        happens on this thread.
        """
        if self.begin_close_now(connection, reason):
            self.end_close_now(connection)

    def begin_close_now(self, connection: Connection, reason: str) -> bool:
        """The part of :meth:`close_now` that does not block. True: the final run is left, for :meth:`end_close_now`."""
        try:
            if connection.output is not None:
                reset(connection)
            connection.final_run = connection.final_run or connection.driver.on_close(reason)
        except BaseException as error:
            self._log.failure("the final run of a connection failed", error)
        if not connection.final_run:
            self.end_close_now(connection)
        return connection.final_run

    def end_close_now(self, connection: Connection) -> None:
        """The rest of :meth:`close_now`: the final run, if there is one, and the dispose."""
        try:
            if connection.final_run:
                connection.driver.run()
        except BaseException as error:
            self._log.failure("the final run of a connection failed", error)
        try:
            self.dispose(connection)
        except Exception as error:  # go on: the caller still has other connections to close
            self._log.failure("a connection could not be closed", error)

    @retried
    def dispose(self, connection: Connection) -> None:
        """Remove the connection everywhere and close the socket (unless the application has taken it over)."""
        self._queue.registry.remove(connection)
        if connection.linger_left >= 0:
            with self._lock:
                self._lingering.pop(connection, None)
        if connection.output is not None:
            connection.output.close()
            connection.output = None
        connection.body_memory = connection.body_disk = connection.tls_memory = 0
        connection.settle()
        if not connection.detached:
            close_socket(connection)
        connection.drop_driver()
        connection.server.connection_closed(connection)

    @retried
    def _wants_final_run(self, connection: Connection, reason: str) -> bool:
        try:
            return connection.driver.on_close(reason)
        except MemoryError:
            raise
        except Exception as error:  # the driver was informed; close the socket anyway
            self._log.failure("a protocol driver failed at the end of its connection", error)
            return False

    def begin_close(self, connection: Connection, action: Close, events: int, now: float, late: bool = False) -> None:
        """Close the connection, or linger first, so that the peer can read what has been sent: closing a socket with
        unread input makes the kernel send a reset.

        Called again for each event until the connection is closed.

        :param late: a deadline has passed already.
        """
        tls = connection.tls
        if tls is not None and not self._send_close_notify(connection, tls, events, now, late):
            return
        if not action.linger or connection.final_run or connection.must_reset:
            self.close(connection, "done")
            return
        if connection.linger_left < 0:
            shutdown_write(connection)
            connection.linger_left = self._settings.linger_bytes
            connection.deadline = now + self._settings.linger_timeout
            self._add_lingering(connection)
        # _add_lingering may have removed this connection, and another event may have overwritten its DEADLINE.
        if events & DEADLINE or connection not in self._lingering or not self._linger(connection, events):
            self.close(connection, "done")
        else:
            mask = READ if connection.linger_left else HANGUP
            self._queue.park(connection, mask, connection.deadline, "linger", LINGERING)

    def _send_close_notify(self, connection: Connection, tls: TLSSocket, events: int, now: float, late: bool) -> bool:
        """End the TLS session before an orderly close. False: the socket has no room, and close_notify waits for it.

        After --write-timeout the connection is closed without close_notify, but not reset. A client that expects more
        data sees that close_notify is missing; a client that has the complete response does not need it. A client
        that is ``late`` gets no more time.
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
        connection.tls_recv = tls.raw_recv  # what the peer still sends is not decrypted
        return True

    def _linger(self, connection: Connection, events: int) -> bool:
        """Receive and discard what the peer still sends; False when it has ended its side.

        When the peer has sent more than --linger-bytes, this method receives no more, but the connection stays open,
        because a close would now be a reset. What the peer sends stays in the kernel, whose buffers are small. The
        peer has the rest of --linger-timeout to read the response.
        """
        left = connection.linger_left
        last = _KERNEL_BUFFER if events & HANGUP else 0  # the peer has ended its side: at most this is still to come
        try:
            for _ in range(_RECEIVES):
                if left <= 0 and last <= 0:
                    break
                data = connection.recv(16384)
                if not data:
                    return False
                left -= len(data)
                last -= len(data)
        except (BlockingIOError, InterruptedError):
            pass
        connection.linger_left = max(0, left)
        return True

    def _add_lingering(self, connection: Connection) -> None:
        """Add a lingering connection; when there are more than ``--max-lingering``, the oldest is closed."""
        with self._lock:
            self._lingering[connection] = None
            oldest = next(iter(self._lingering)) if len(self._lingering) > self._settings.max_lingering else None
            if oldest is not None:
                del self._lingering[oldest]
        if oldest is not None:
            self._queue.notify(oldest, DEADLINE)
