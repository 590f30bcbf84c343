"""Polls for events and deadlines, and puts the connections that they concern into the ready queue.

Runs on the thread that leads, except for :meth:`Reactor.schedule`. For MemoryError see
:mod:`reserve.engine.polling.outofmemory`.
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
"""The most polls in a row; the next one follows only if the last one returned at least :data:`_FULL` events."""
_FULL = 64


class Reactor:
    """Makes waiting connections READY; owned by the ready queue of one server.

    :param connections: all open connections, by descriptor.
    :param step_queue: where READY connections wait for the leader.
    """

    def __init__(
        self,
        poller: Poller,
        clock: Clock,
        timers: Timers[Connection],
        connections: dict[int, Connection],
        step_queue: StepQueue,
    ) -> None:
        self._poller = poller
        self._now = clock.now
        self._timers = timers
        self._connections = connections
        self._ready = step_queue.ready
        self._more = step_queue.more
        self.polling = False
        """The leader is in the poller, or about to enter it: a thread that has work for it clears this flag and calls
        :attr:`wake`.
        """
        self.overlooked = False
        """Events or deadlines were lost because memory ran out."""
        self.wake = poller.wakeup.signal
        """Make the leader return from the poller. Any thread, also a signal handler."""

    def collect(self, timeout: float | None) -> float:
        """Wait in the poller. Afterwards every connection that has an event or a passed deadline is READY.

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
            batches = 0
            while True:
                events = self._poller.poll(timeout)
                for fd, mask in events:
                    connection = connections.get(fd)
                    if connection is not None:  # else the descriptor of the wakeup, or a connection that is closed
                        connection.pending = mask
                        try:  # take() of the token, without the call
                            connection.token.pop()
                        except IndexError:
                            continue
                        else:
                            taken = connection
                            (self._more if connection.state is FLUSHING else ready).append(connection)
                            taken = None
                            connection.state = READY
                batches += 1
                if len(events) < _FULL or batches == _BATCHES:
                    break
                timeout = 0.0  # if the process was paused, arrived data is handled before deadlines
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
        """Have the leader step the connection when the deadline has passed. Any thread."""
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
                # Else it was served and parked again after ``deadline`` was read. Then it is stepped without an event,
                # and its driver parks it again.
                self._make_ready(connection)
            # Else it is owned, and the thread that parks it schedules it: it has no entry in the timers any more.

    def _step_all(self) -> None:
        """Make every connection that waits READY, because it is not known what was lost."""
        now = self._now()
        for connection in list(self._connections.values()):
            armed = connection.armed
            if armed and not connection.pending:
                # The event that was lost may have disarmed the poller. A pending event makes the owner arm it again
                # when it parks the connection.
                connection.pending = armed
            if take(connection.token):
                connection.pending = DEADLINE if connection.deadline <= now else 0
                self._make_ready(connection)
        self.overlooked = False

    def _make_ready(self, connection: Connection) -> None:
        """Put a connection whose token has just been taken into the ready queue."""
        try:
            self._ready.append(connection)
        except MemoryError:
            self.overlooked = True
            connection.token.append(True)
            raise
        connection.state = READY
