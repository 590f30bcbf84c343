"""What other threads send on a connection while it waits: it is kept here until the owner sends it."""

from __future__ import annotations

import threading
from collections import deque

from reserve.engine.connections.connection import Connection
from reserve.errors import ReserveError, counted

__all__ = ["Outbox"]

_SMALL = 4096
"""Bytes. A smaller piece is joined with the one before it; an outbox of at most this size is never refused because the
memory budget is used up.
"""
_OBJECT = 64
"""Bytes of memory that a piece takes in addition to its data."""


class Outbox:
    """The outbox of one connection; owned by its driver. Any thread calls :meth:`post` and :meth:`add`, and the
    connection's owner the rest.

    :param max_output: bytes that may wait for the peer (``--max-output``).
    """

    __slots__ = ("_closed", "_connection", "_counted", "_lock", "_max_output", "pieces", "size")

    def __init__(self, connection: Connection, max_output: int) -> None:
        self._connection = connection
        self._max_output = max_output
        self.pieces: deque[bytes] = deque()
        """What waits. The owner looks whether there is anything without a call."""
        self.size = 0
        """Bytes in it."""
        self._counted = 0
        """What the server's budget counts for it, in bytes."""
        self._closed = False
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Bytes that wait for the peer: those in the outbox, and those that the connection has begun to send."""
        output = self._connection.output  # read once: the owner may set it to None at any moment
        return self.size + (output.size if output is not None else 0)

    def post(self, data: bytes, *, whole: bool = False) -> None:
        """Queue bytes for the peer. Raises ReserveError when too much waits.

        What waits is counted into the server's budget. While that is used up, a connection takes up to 4 KiB.

        :param whole: the limit is for what waits already, so that one message may be larger.
        """
        budget = self._connection.server.budget
        with self._lock:
            if self._closed:
                return  # the connection is closing: nothing is sent any more
            waiting = self.waiting
            if waiting + len(data) > self._max_output and (waiting or not whole):
                raise ReserveError(
                    f"waiting for a peer that does not read: {counted(waiting, 'byte')}; {len(data)} more would pass "
                    f"--max-output {self._max_output}"
                )
            if waiting + len(data) > _SMALL and not budget.memory_for(len(data)):
                raise ReserveError(
                    f"waiting for a peer that does not read: {counted(waiting, 'byte')}; there is no room for "
                    f"{len(data)} more for now (--buffer-memory)"
                )
            self._append(data)

    def add(self, data: bytes) -> None:
        """Queue what the protocol itself sends, whatever waits: the driver bounds it."""
        with self._lock:
            if not self._closed:
                self._append(data)

    def _append(self, data: bytes) -> None:
        pieces, cost = self.pieces, len(data)
        if pieces and len(pieces[-1]) < _SMALL and len(data) < _SMALL:
            pieces[-1] += data  # each object takes memory in addition to its bytes
        else:
            pieces.append(data)
            cost += _OBJECT
        self.size += len(data)
        self._counted += cost
        self._connection.server.budget.change(cost, 0, 0)

    def push(self) -> None:
        """Send what was queued; what the socket does not take goes to the connection's output.

        Raises ClientDisconnected when the connection has failed.
        """
        pieces, counted_bytes = self._take()
        try:
            for piece in pieces:
                self._connection.write(piece)
            self._connection.settle()
        finally:
            self._connection.server.budget.change(-counted_bytes, 0, 0)  # now that the output is counted

    def close(self) -> None:
        """Discard what is in it; nothing is put into it any more."""
        _, counted_bytes = self._take(close=True)
        self._connection.server.budget.change(-counted_bytes, 0, 0)

    def _take(self, *, close: bool = False) -> tuple[list[bytes], int]:
        """Empty the outbox. Returns what was in it, and what the budget still counts for that."""
        with self._lock:
            pieces = list(self.pieces)
            self.pieces.clear()
            self.size = 0
            self._closed = self._closed or close
            counted_bytes, self._counted = self._counted, 0
        return pieces, counted_bytes
