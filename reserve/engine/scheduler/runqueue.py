"""The queue of requests that wait for a worker, because no worker was free when they were complete.

Any thread puts them in. Workers take them out, and the monitor takes out those that have waited too long. The final run
of a driver (:meth:`Driver.on_close`) waits here, too, and is never refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.states import READY
from reserve.engine.polling.timers import NEVER
from reserve.engine.polling.waiter import Alarm
from reserve.engine.scheduler.lead import Lead, Leads
from reserve.engine.settings import EngineSettings

__all__ = ["LATE", "RunQueue"]

LATE = "no worker was free within --queue-timeout"
"""The reason, for the log, why a request that has waited too long is refused."""

_LONG = 0.01
"""Seconds. If the oldest request has waited longer, workers take the newest and the oldest request in turn."""


class RunQueue:
    """The requests of one server that wait for a worker; owned by its ready queue.

    :param leads: one is passed to a follower, which wakes up and looks at this queue.
    :param wake_leader: makes a leader return from the poller, and look at this queue.
    :param alarm: the monitor's.
    :param now: the engine's clock.
    """

    def __init__(
        self,
        leads: Leads,
        wake_leader: Callable[[], None],
        alarm: Alarm,
        settings: EngineSettings,
        now: Callable[[], float],
    ) -> None:
        self.waiting: deque[Connection] = deque()
        """The oldest first. Any thread may check whether it is empty."""
        self._leads = leads
        self._wake_leader = wake_leader
        self._alarm = alarm
        self._settings = settings
        self._now = now
        self._newest_next = False

    def put(self, connection: Connection, queued_at: float = NEVER) -> None:
        """Owned to READY: its driver wants :meth:`Driver.run`, and the next free worker takes it.

        :param queued_at: since when it waits, on the engine's clock; NEVER: it must not be refused for waiting.

        For MemoryError see :mod:`reserve.engine.polling.outofmemory`.
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
        # A follower gets a lead that is free, and looks at this queue before it polls. If other threads have all leads,
        # one of them looks at this queue or for followers next.
        lead: Lead | None = None
        while True:
            try:
                if lead is None:
                    lead = self._leads.take() if self._leads.followers else None
                    if lead is None:
                        return self._wake_leader()
                self._leads.hand_over(lead)
                break
            except MemoryError:
                continue
        while self._alarm.asleep:  # the monitor may have looked while this thread had the lead, which may be free now
            try:
                self._alarm.wake()
            except MemoryError:
                continue

    def take(self) -> Connection:
        """By a worker: take the oldest request; if it has waited long, every other call takes the newest one.

        See reserve/docs/decisions/0015-long-lines.md. Raises IndexError when another worker was faster.
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
        """Take a request that has waited too long, if there is one; the caller then owns its connection."""
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
        """The oldest request that may be refused; a final run, which may not, can be ahead of it."""
        while True:
            try:
                for connection in self.waiting:
                    if connection.queued_at != NEVER:
                        return connection
                return None
            except RuntimeError:  # a worker has changed the deque during the loop; the leader needs a result
                continue
