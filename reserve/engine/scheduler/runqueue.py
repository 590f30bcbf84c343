"""Requests that wait for a worker, because none was free when they were complete.

Any thread puts them in; workers take them out, and the monitor takes out those that have waited for too long. The
farewell of a driver (:meth:`Driver.closed`) waits here, too, and is never refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from reserve.engine.connections.states import READY
from reserve.engine.polling.timers import NEVER

if TYPE_CHECKING:
    from reserve.engine.connections.connection import Connection
    from reserve.engine.scheduler.lead import Lead
    from reserve.engine.scheduler.monitor import Monitor
    from reserve.engine.settings import EngineSettings

__all__ = ["LATE", "RunQueue"]

LATE = "no worker was free within --queue-timeout"
"""Why a request is refused that has waited for too long."""

_LONG = 0.01
"""Seconds that a request has waited for a worker beyond which the workers turn to both ends of the line."""


class RunQueue:
    """Those of one server.

    :param lead: a sleeping worker is woken with it.
    :param now: the engine's clock.
    """

    def __init__(self, lead: Lead, monitor: Monitor, settings: EngineSettings, now: Callable[[], float]) -> None:
        self.waiting: deque[Connection] = deque()
        """In the order in which they came. Any thread may ask whether there is one."""
        self._lead = lead
        self._monitor = monitor
        self._settings = settings
        self._now = now
        self._newest = False

    def put(self, connection: Connection, queued_at: float = NEVER) -> None:
        """Owned to READY: its driver wants :meth:`Driver.run`, and the next free worker takes it.

        :param queued_at: since when it waits, if it may be refused for waiting too long.
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
        # From here on it may be another thread's: nothing may be raised.
        # A sleeping worker is woken with the lead, and looks for calls before it polls. (If the lead is taken, it is
        # the caller's, who looks for calls or for sleepers next.)
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
        while self._monitor.asleep:  # it may have looked while we had the lead, which may lie in the slot again
            try:
                self._monitor.alarm()
            except MemoryError:
                continue

    def take(self) -> Connection:
        """By a worker: the oldest; when that has waited for long, every other time the newest: see decision 15.

        Raises IndexError when another worker was faster.
        """
        waiting = self.waiting
        if waiting[0].queued_at + _LONG <= self._now():
            self._newest = not self._newest
            if self._newest:
                return waiting.pop()
        return waiting.popleft()

    # ---- by the monitor ----

    def full(self) -> bool:
        """As many wait as may."""
        return len(self.waiting) >= self._settings.max_queued

    def due(self) -> float:
        """When the next one will have waited for too long."""
        first = self._longest_waiting()
        return NEVER if first is None else first.queued_at + self._settings.queue_timeout

    def take_overdue(self, now: float) -> Connection | None:
        """Own the one that has waited for too long, if there is one."""
        connection = self._longest_waiting()
        if connection is not None and connection.queued_at + self._settings.queue_timeout <= now:
            try:
                self.waiting.remove(connection)
            except ValueError:  # a worker was faster
                return None
            connection.wants_worker = False
            return connection
        return None

    def _longest_waiting(self) -> Connection | None:
        """The first of those that may be refused: a farewell may stand before it."""
        while True:
            try:
                for connection in self.waiting:
                    if connection.queued_at != NEVER:
                        return connection
                return None
            except RuntimeError:  # changed by a worker in between; without an answer the leader would wait for ever
                continue
