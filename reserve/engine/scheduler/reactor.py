"""What has happened to connections that wait: events from the poller and deadlines that have passed put them into line.

By the thread that leads, except for :meth:`Reactor.schedule`. For memory see :mod:`reserve.engine.polling.outofmemory`.
"""

from __future__ import annotations

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.states import CLOSED, DEADLINE, FLUSHING, READY
from reserve.engine.polling.clock import Clock
from reserve.engine.polling.poller import Poller
from reserve.engine.polling.timers import NEVER, Timers
from reserve.engine.polling.token import take
from reserve.engine.scheduler.stepqueue import StepQueue

__all__ = ["Reactor"]

_BATCHES = 16
"""Polls in a row while each returns :data:`_FULL` events."""
_FULL = 64


class Reactor:
    """Makes waiting connections READY; owned by the ready queue of one server.

    :param connections: all that are open, by descriptor.
    :param lines: where READY connections wait for the leader.
    """

    def __init__(
        self,
        poller: Poller,
        clock: Clock,
        timers: Timers[Connection],
        connections: dict[int, Connection],
        lines: StepQueue,
    ) -> None:
        self._poller = poller
        self._now = clock.now
        self._timers = timers
        self._connections = connections
        self._ready = lines.ready
        self._more = lines.more
        self.polling = False
        """The leader is in the poller, or about to be: a thread that has something for it clears this and calls
        :attr:`wake`.
        """
        self.overlooked = False
        """Events or deadlines were lost for want of memory."""
        self.wake = poller.wakeup.signal
        """Make the leader return from the poller. Any thread, also a signal handler."""

    def collect(self, timeout: float | None) -> float:
        """Wait in the poller; every connection that something has happened to is READY afterwards.

        :param timeout: seconds; None: until an event or a wake-up.

        Returns the time afterwards, on the engine's clock.
        """
        if self.overlooked:
            self._step_all()
            timeout = 0.0
        connections = self._connections
        ready = self._ready
        taken: Connection | None = None
        try:
            for _ in range(_BATCHES):
                events = self._poller.poll(timeout)
                for fd, mask in events:
                    connection = connections.get(fd)
                    if connection is not None:  # else the wakeup's own descriptor, or an event that comes too late
                        connection.pending = mask
                        if take(connection.token):
                            taken = connection
                            (self._more if connection.state is FLUSHING else ready).append(connection)
                            taken = None
                            connection.state = READY
                if len(events) < _FULL:
                    break
                timeout = 0.0  # after a pause of the process: what has arrived counts before what has expired
            now = self._now()
            if now >= self._timers.next_at:
                self._expire(now)
        except BaseException:
            self.overlooked = True
            if taken is not None:
                taken.token.append(True)
            raise
        return now

    def schedule(self, connection: Connection, deadline: float) -> None:
        """Have the connection looked at when the deadline has passed. Any thread."""
        if self._timers.schedule(connection, deadline) and self.polling:
            self.polling = False
            self.wake()
        if connection.state is CLOSED:
            self._timers.discard(connection)

    def _expire(self, now: float) -> None:
        for connection in self._timers.due(now):
            deadline = connection.deadline  # read once: its owner may change it at any moment
            if deadline > now:
                if deadline != NEVER:
                    self.schedule(connection, deadline)
            elif take(connection.token):
                if connection.deadline <= now:
                    connection.pending = DEADLINE
                # else it was served and parked again between the two looks: a step without an event parks it once more
                self._make_ready(connection)
            # else it is owned: the thread that parks it finds that it has no entry

    def _step_all(self) -> None:
        """Make every connection that waits READY, because it is not known what was lost."""
        now = self._now()
        for connection in list(self._connections.values()):
            armed = connection.armed
            if armed and not connection.pending:
                connection.pending = armed  # its owner relies on the poller to watch it, and may park it without arming
            if take(connection.token):
                connection.pending = DEADLINE if connection.deadline <= now else 0
                self._make_ready(connection)
        self.overlooked = False

    def _make_ready(self, connection: Connection) -> None:
        """Put a connection into line that has just been taken."""
        try:
            self._ready.append(connection)
        except MemoryError:
            self.overlooked = True
            connection.token.append(True)
            raise
        connection.state = READY
