"""Which connections have run out of time, at a cost that grows with those alone.

Connections hang in buckets of one sixteenth of a second. A connection has at most one entry, and the entry may be
early: when it comes due and the connection's deadline has moved on, it is hung up again. So a connection that is
served thousands of times a second touches this table once in a keep-alive time, not once in a request.

Any thread may call :meth:`Timers.add` and :meth:`Timers.discard`; the leader calls :meth:`Timers.due`.
"""

from __future__ import annotations

import heapq
import math
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reserve.engine.connections.connection import Connection

__all__ = ["NEVER", "Timers"]

NEVER = math.inf
"""The deadline of what may wait for ever."""

_TICK = 0.0625  # a power of two, so that bucket numbers and times convert without rounding


class Timers:
    """The table. Guarded by one lock that is held for a few operations, and never across a call out."""

    __slots__ = ("_buckets", "_keys", "_lock", "next_at")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[int, set[Connection]] = {}
        self._keys: list[int] = []
        self.next_at = NEVER
        """When the first entry comes due. Read by the leader without the lock: a late reading is followed by a wake-
        up.
        """

    def add(self, connection: Connection, at: float) -> bool:
        """Hang the connection up for ``at``, unless it hangs earlier; True when that is now the earliest entry of
        all.
        """
        key = math.ceil(at / _TICK)
        with self._lock:
            if key * _TICK >= connection.timer_at:
                # Whoever parked it before us is late: the connection has been parked again meanwhile.
                return False
            bucket = self._buckets.get(key)
            if bucket is None:
                # In this order: a key without a bucket is swept out, a bucket without its key would never come due.
                heapq.heappush(self._keys, key)
                bucket = self._buckets[key] = set()
            self._drop(connection)
            bucket.add(connection)
            connection.timer_at = key * _TICK
            if connection.timer_at < self.next_at:
                self.next_at = connection.timer_at
                return True
        return False

    def discard(self, connection: Connection) -> None:
        """Take the connection down: it is closed and its entry would only keep it in memory."""
        if connection.timer_at != NEVER:
            with self._lock:
                self._drop(connection)

    def due(self, now: float) -> list[Connection]:
        """Take down and return the connections whose entry has come due. Whether it is too late, the caller decides."""
        found: list[Connection] = []
        with self._lock:
            while self._keys and (self._keys[0] * _TICK <= now or self._keys[0] not in self._buckets):
                bucket = self._buckets.get(self._keys[0])
                while bucket:  # one by one: without memory half-way, each one hangs here or nowhere
                    connection = bucket.pop()
                    connection.timer_at = NEVER
                    found.append(connection)
                self._buckets.pop(heapq.heappop(self._keys), None)
            self.next_at = self._keys[0] * _TICK if self._keys else NEVER
        return found

    def _drop(self, connection: Connection) -> None:
        if connection.timer_at != NEVER:
            key = int(connection.timer_at / _TICK)
            bucket = self._buckets[key]
            bucket.discard(connection)
            connection.timer_at = NEVER
            if not bucket:
                # Its key stays in the heap: taking it out would cost a search. Now and then they are all swept out.
                del self._buckets[key]
                if len(self._keys) > 2 * len(self._buckets) + 64:
                    self._keys[:] = self._buckets
                    heapq.heapify(self._keys)
