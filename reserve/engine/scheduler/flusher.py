"""Sends the output that did not fit into the socket at once, when the socket has room again.

Runs on the thread that steps the connection: the leader or the monitor, also for a *lent* connection, whose worker is
still inside its run. It never waits for the peer, nor for a disk: an output that needs one is passed to a file thread
(:mod:`reserve.engine.scheduler.filethreads`), which calls :meth:`Flusher.flush_from_disk`. So is a large file whose
client takes it as fast as it is sent: that thread may call sendfile, which copies nothing, and the leader has time for
others.
"""

from __future__ import annotations

from reserve.engine.connections.closing import reset, reset_now
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.output import PIECE, Output
from reserve.engine.connections.states import DEADLINE, FLUSHING
from reserve.engine.polling.clock import Clock
from reserve.engine.polling.poller import WRITE
from reserve.engine.scheduler.closer import Closer
from reserve.engine.scheduler.filethreads import FileThreads
from reserve.engine.scheduler.readyqueue import ReadyQueue

__all__ = ["Flusher"]

_TURN = 1048576
"""The most bytes of one connection's output that are sent in one step: a client that receives as fast as the server
sends must not keep the leader busy. While other connections wait, the limit is one piece (:data:`PIECE`).
"""
_LARGE_FILE = 1048576
"""Bytes of a file that are left. A file thread is woken for as much, if the client is quick."""


class Flusher:
    """Sends the output of the connections of one server; owned by its stepper.

    :param files: the threads that wait for disks.
    """

    def __init__(self, queue: ReadyQueue, closer: Closer, clock: Clock, files: FileThreads) -> None:
        self._queue = queue
        self._closer = closer
        self._now = clock.now
        self._files = files

    def flush(self, connection: Connection, output: Output, events: int, now: float) -> bool:
        """Send what waits. True: everything is sent. False: the connection is parked until there is room, passed to a
        file thread, or closed.
        """
        if events & DEADLINE and connection.wait_kind == "write":
            # Do not try to send again: the kernel may accept a little into its buffer although the peer reads nothing.
            reset(connection)  # an orderly close would keep the unsent bytes in kernel memory
            self._closer.close(connection, "timeout")
            return False
        if (
            output.quick
            and output.file_left() >= _LARGE_FILE
            and connection.sink.fileno() >= 0  # not TLS, which sends what was read
            and self._submit(connection, output, now, 0, at_once=True)
        ):
            return False
        done, sent = output.flush(connection.sink, self._limit(), disk=False)
        if output.needs_disk:
            if self._submit(connection, output, now, sent):
                return False
            done, sent = output.flush(connection.sink, PIECE)
        return self._after_flush(connection, output, done, sent, now)

    def _after_flush(self, connection: Connection, output: Output, done: bool, sent: int, now: float) -> bool:
        if done:
            connection.output = None
            connection.wait_kind = ""
            connection.settle()
            return True
        deadline = connection.write_deadline(output, now, sent)
        if connection.tls is not None:
            connection.settle_tls(connection.tls)
        connection.settle()
        self._queue.park(connection, WRITE, deadline, "write", FLUSHING)
        return False

    def _submit(self, connection: Connection, output: Output, now: float, sent: int, *, at_once: bool = False) -> bool:
        """Pass the connection to a file thread, because the next bytes are not in the page cache. False: there is no
        thread, and the caller has to wait for the disk itself.

        :param at_once: only if one is free, because the caller has no need to wait for the disk.
        """
        connection.write_deadline(output, now, sent)
        connection.settle()
        output.disk_since = now
        try:
            self._files.submit(connection, at_once=at_once)
        except RuntimeError:
            return False
        return True

    def flush_from_disk(self, connection: Connection) -> bool:
        """By a file thread, which owns the connection now: send, and wait for the disk.

        True: everything is sent, and the thread has to pass the connection on.
        """
        if connection.lent:
            while True:
                try:
                    self.flush_lent(connection, 0, self._now(), disk=True)
                    return False
                except MemoryError:  # its worker waits for the token
                    continue
        output = connection.output
        assert output is not None, "only an output is passed to a file thread"
        done, sent = output.flush(connection.sink, _TURN)
        while output.quick and not (self._files.waiting or self._files.stopping):  # nothing else waits for this thread
            done, count = output.flush(connection.sink, _TURN)
            sent += count
        if self._queue.closed:
            raise OSError("the server has stopped")
        now = self._now()
        output.extend_deadline(now)
        return self._after_flush(connection, output, done, sent, now)

    def wait_for_room(self, connection: Connection, output: Output, now: float) -> None:
        """Park a connection whose output has just found no room."""
        if connection.tls is not None:
            connection.settle_tls(connection.tls)
        connection.settle()
        self._queue.park(connection, WRITE, connection.write_deadline(output, now), "write", FLUSHING)

    def flush_lent(self, connection: Connection, events: int, now: float, *, disk: bool = False) -> None:
        """Send for a worker that is still inside its run. The worker gets the token back, also after an error.

        :param disk: a file thread calls it, which waits for the disk.

        After a MemoryError, call it again.
        """
        output = connection.output
        done, sent, parked = output is None, 0, False
        try:
            if output is not None and events & DEADLINE:
                raise TimeoutError
            if output is not None:
                done, sent = output.flush(connection.sink, _TURN if disk else self._limit(), disk=disk)
                if disk:
                    now = self._now()
                    output.extend_deadline(now)
                elif output.needs_disk and connection.reclaim_waiter is None:
                    if self._submit(connection, output, now, sent):
                        return
                    done, sent = output.flush(connection.sink, PIECE)
            if output is not None and not done and connection.reclaim_waiter is None:
                connection.settle()
                deadline = connection.write_deadline(output, now, sent)
                self._queue.park(connection, WRITE, deadline, "write", FLUSHING)
                parked = True
        except (OSError, ValueError, MemoryError):
            # The peer or a file has failed, the deadline has passed, or the poller cannot watch the connection.
            connection.failed = done = True
            reset_now(connection)  # an orderly end would make a response of unknown length look complete
            if output is not None:
                output.close()  # its files, too
        if done:
            connection.output = None
        if parked:
            if connection.reclaim_waiter is None:
                return
            try:
                connection.token.pop()
            except (IndexError, MemoryError):  # pop() fails only if another thread has the token
                return
        else:
            connection.settle()
        connection.return_token()

    def _limit(self) -> int:
        return PIECE if len(self._queue) else _TURN
