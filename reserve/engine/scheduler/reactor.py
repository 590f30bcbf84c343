"""What has happened to connections that wait: events from the poller and deadlines that have passed, made READY.

By whoever leads, but for :meth:`Reactor.schedule`. Memory may run out anywhere in here: events and deadlines that were
lost with the allocation are made up for by a step of every connection that waits, for each of which every event may be
spurious.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from reserve.engine.connections.states import CLOSED, DEADLINE, FLUSHING, READY
from reserve.engine.polling.timers import NEVER

if TYPE_CHECKING:
    from reserve.engine.connections.connection import Connection
    from reserve.engine.polling.clock import Clock
    from reserve.engine.polling.poller import Poller
    from reserve.engine.polling.timers import Timers

__all__ = ["Reactor"]

_BATCHES = 16
"""Polls in a row while each brings :data:`_FULL` events."""
_FULL = 64


class Reactor:
    """One for each server.

    :param connections: by descriptor: all that are open.
    :param ready: the line of those that bring something.
    :param more: the line of those whose output waits for its turn.
    """

    def __init__(
        self,
        poller: Poller,
        clock: Clock,
        deadlines: Timers,
        connections: dict[int, Connection],
        ready: deque[Connection],
        more: deque[Connection],
    ) -> None:
        self._poller = poller
        self._now = clock.now
        self._deadlines = deadlines
        self._connections = connections
        self._ready = ready
        self._more = more
        self.polling = False
        """The leader is in the poller, or about to be: who has something for it clears this and calls :attr:`wake`."""
        self.overlooked = False
        """Events or deadlines were lost for want of memory."""
        self.wake = poller.wakeup.signal
        """Make the leader look around. Any thread, also a signal handler."""

    def collect(self, timeout: float | None) -> float:
        """Wait in the poller; everything that happened is READY afterwards. Returns the time then."""
        if self.overlooked:
            self._look_at_all()
            timeout = 0.0
        connections = self._connections
        ready = self._ready
        taken: Connection | None = None
        try:
            for _ in range(_BATCHES):
                events = self._poller.poll(timeout)
                for fd, mask in events:
                    connection = connections.get(fd)
                    if connection is not None:  # else the wake-up's own descriptor, or an event that comes too late
                        connection.pending = mask
                        if connection.take():
                            taken = connection
                            (self._more if connection.state is FLUSHING else ready).append(connection)
                            taken = None
                            connection.state = READY
                if len(events) < _FULL:
                    break
                timeout = 0.0  # after a pause of the process: what has arrived counts before what has expired
            now = self._now()
            if now >= self._deadlines.next_at:
                self._expire(now)
        except BaseException:
            self.overlooked = True
            if taken is not None:
                taken.slot.append(True)
            raise
        return now

    def schedule(self, connection: Connection, deadline: float) -> None:
        """Have it looked at when the deadline has passed. Any thread."""
        if self._deadlines.add(connection, deadline) and self.polling:
            self.polling = False
            self.wake()
        if connection.state is CLOSED:
            self._deadlines.discard(connection)

    def _expire(self, now: float) -> None:
        for connection in self._deadlines.due(now):
            deadline = connection.deadline  # read once: its owner may change it at any moment
            if deadline > now:
                if deadline != NEVER:
                    self.schedule(connection, deadline)
            elif connection.take():
                if connection.deadline <= now:
                    connection.pending = DEADLINE
                # else it was served and parked again between the two looks: a step without an event parks it once more
                self._make_ready(connection)
            # else it is owned: whoever parks it will find that it hangs nowhere

    def _look_at_all(self) -> None:
        """Have every connection that waits stepped, because nobody knows what was lost."""
        now = self._now()
        for connection in list(self._connections.values()):
            armed = connection.armed
            if armed and not connection.pending:
                connection.pending = armed  # its owner believes that the poller still watches it, and may park it so
            if connection.take():
                connection.pending = DEADLINE if connection.deadline <= now else 0
                self._make_ready(connection)
        self.overlooked = False

    def _make_ready(self, connection: Connection) -> None:
        """It has just been taken."""
        try:
            self._ready.append(connection)
        except MemoryError:
            self.overlooked = True
            connection.slot.append(True)
            raise
        connection.state = READY
