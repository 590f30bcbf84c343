"""Which items have run out of time, at a cost that grows with those alone.

Items (the engine's connections) are scheduled in buckets of one sixteenth of a second. An item has at most one entry,
and the entry may be early: when it comes due and the item's own deadline has moved on, the caller schedules it again.
So a connection that is served thousands of times a second touches this table once in a keep-alive time, not once in a
request.

Any thread calls :meth:`Timers.schedule` and :meth:`Timers.discard`; the leader calls :meth:`Timers.due`.
"""

from __future__ import annotations

import heapq
import math
import threading
from typing import Generic, Protocol, TypeVar

__all__ = ["NEVER", "Timed", "Timers"]

NEVER = math.inf
"""The deadline of what may wait without a limit."""

_TICK = 0.0625  # seconds; a power of two, so that bucket numbers and times convert without rounding


class Timed(Protocol):
    """What can be scheduled: any hashable object with room for the time of its entry."""

    timer_at: float
    """When its entry comes due; NEVER while it has none. Written by :class:`Timers` under its lock."""

    def __hash__(self) -> int: ...


Item = TypeVar("Item", bound=Timed)


class Timers(Generic[Item]):
    """The table of one server. Guarded by one lock that is held for a few operations, and never across a call out."""

    __slots__ = ("_buckets", "_keys", "_lock", "next_at")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[int, set[Item]] = {}
        self._keys: list[int] = []
        self.next_at = NEVER
        """When the first entry comes due. The leader reads it without the lock: a value that is out of date is followed
        by a wake-up.
        """

    def schedule(self, item: Item, at: float) -> bool:
        """Schedule the item for ``at``, unless its entry is earlier; True when that is now the earliest of all.

        :param at: seconds on the engine's clock.
        """
        key = math.ceil(at / _TICK)
        with self._lock:
            if key * _TICK >= item.timer_at:
                # This call comes late: the item has been scheduled again meanwhile.
                return False
            bucket = self._buckets.get(key)
            if bucket is None:
                # In this order: a key without a bucket is swept out, a bucket without its key would never come due.
                heapq.heappush(self._keys, key)
                bucket = self._buckets[key] = set()
            self._drop(item)
            bucket.add(item)
            item.timer_at = key * _TICK
            if item.timer_at < self.next_at:
                self.next_at = item.timer_at
                return True
        return False

    def discard(self, item: Item) -> None:
        """Remove the item's entry: the item is closed, and the entry would only keep it in memory."""
        with self._lock:  # also to look at it: a thread that schedules it now looks at its state afterwards
            self._drop(item)

    def due(self, now: float) -> list[Item]:
        """Remove and return the items whose entry has come due. The caller decides whether their time is over."""
        found: list[Item] = []
        with self._lock:
            while self._keys and (self._keys[0] * _TICK <= now or self._keys[0] not in self._buckets):
                bucket = self._buckets.get(self._keys[0])
                while bucket:  # one by one: when memory runs out half-way, each item has its entry or is returned
                    item = bucket.pop()
                    item.timer_at = NEVER
                    found.append(item)
                self._buckets.pop(heapq.heappop(self._keys), None)
            self.next_at = self._keys[0] * _TICK if self._keys else NEVER
        return found

    def _drop(self, item: Item) -> None:
        if item.timer_at != NEVER:
            key = int(item.timer_at / _TICK)
            bucket = self._buckets[key]
            bucket.discard(item)
            item.timer_at = NEVER
            if not bucket:
                # Its key stays in the heap: to find it there would cost a search. Now and then all are swept out.
                del self._buckets[key]
                if len(self._keys) > 2 * len(self._buckets) + 64:
                    self._keys[:] = self._buckets
                    heapq.heapify(self._keys)
