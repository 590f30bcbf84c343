"""Requests that wait for a worker, because none was free when they were complete.

Any thread puts them in; workers take them out, and the monitor takes out those that have waited too long. The final run
of a driver (:meth:`Driver.on_close`) waits here, too, and is never refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.states import READY
from reserve.engine.polling.timers import NEVER
from reserve.engine.polling.waiter import Alarm
from reserve.engine.scheduler.lead import Lead
from reserve.engine.settings import EngineSettings

__all__ = ["LATE", "RunQueue"]

LATE = "no worker was free within --queue-timeout"
"""Why a request is refused that has waited too long."""

_LONG = 0.01
"""Seconds that the oldest has waited beyond which workers take from both ends of the line in turn."""


class RunQueue:
    """The requests of one server that wait for a worker; owned by its ready queue.

    :param lead: a follower is woken with it.
    :param alarm: the monitor's.
    :param now: the engine's clock.
    """

    def __init__(self, lead: Lead, alarm: Alarm, settings: EngineSettings, now: Callable[[], float]) -> None:
        self.waiting: deque[Connection] = deque()
        """The oldest first. Any thread may look whether it is empty."""
        self._lead = lead
        self._alarm = alarm
        self._settings = settings
        self._now = now
        self._newest_next = False

    def put(self, connection: Connection, queued_at: float = NEVER) -> None:
        """Owned to READY: its driver wants :meth:`Driver.run`, and the next free worker takes it.

        :param queued_at: since when it waits, on the engine's clock; NEVER: it must not be refused for waiting.

        For memory see :mod:`reserve.engine.polling.outofmemory`.
        """
        connection.wants_worker = True
        connection.queued_at = queued_at
        connection.state = READY
        while True:
            try:
                self.waiting.append(connection)
                break
            except MemoryError:
                continue
        # From here on another thread may own it: nothing may be raised.
        # A follower is woken with the lead, and looks here before it polls. (If another thread has the lead, it looks
        # here, or for followers, next.)
        taken = False
        while True:
            try:
                if not taken and not (self._lead.followers and self._lead.take()):
                    return
                taken = True
                self._lead.hand_over()
                break
            except MemoryError:
                continue
        while self._alarm.asleep:  # the monitor may have looked while we had the lead, which may be free again
            try:
                self._alarm.wake()
            except MemoryError:
                continue

    def take(self) -> Connection:
        """By a worker: the oldest; when that has waited long, every other time the newest: see decision 15.

        Raises IndexError when another worker was faster.
        """
        waiting = self.waiting
        if waiting[0].queued_at + _LONG <= self._now():
            self._newest_next = not self._newest_next
            if self._newest_next:
                return waiting.pop()
        return waiting.popleft()

    # ---- by the monitor ----

    def full(self) -> bool:
        """Say whether as many wait as ``--max-queued`` allows."""
        return len(self.waiting) >= self._settings.max_queued

    def due(self) -> float:
        """When the next one will have waited too long."""
        oldest = self._oldest_refusable()
        return NEVER if oldest is None else oldest.queued_at + self._settings.queue_timeout

    def take_overdue(self, now: float) -> Connection | None:
        """Own the one that has waited too long, if there is one."""
        connection = self._oldest_refusable()
        if connection is not None and connection.queued_at + self._settings.queue_timeout <= now:
            try:
                self.waiting.remove(connection)
            except ValueError:  # a worker was faster
                return None
            connection.wants_worker = False
            return connection
        return None

    def _oldest_refusable(self) -> Connection | None:
        """The oldest of those that may be refused: a final run may stand before it."""
        while True:
            try:
                for connection in self.waiting:
                    if connection.queued_at != NEVER:
                        return connection
                return None
            except RuntimeError:  # a worker has taken one meanwhile; the leader relies on a result
                continue
