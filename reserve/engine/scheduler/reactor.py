"""Polls for events and deadlines, and puts the connections that they concern into the ready queue.

Runs on the threads that lead, several at once if there are several leads; :meth:`Reactor.schedule` and
:meth:`Reactor.wake_leader` on any thread. For MemoryError see
:mod:`reserve.engine.polling.outofmemory`.
"""

from __future__ import annotations

from collections import deque

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.states import CLOSED, DEADLINE, FLUSHING, READY
from reserve.engine.polling.clock import Clock
from reserve.engine.polling.poller import Poller
from reserve.engine.polling.timers import NEVER, Timers
from reserve.engine.polling.token import take
from reserve.engine.scheduler.stepqueue import StepQueue

__all__ = ["Reactor"]

_BATCHES = 16
"""The most polls in a row; the next one follows only if the last one returned as many events as it may."""


class Reactor:
    """Makes waiting connections READY; owned by the ready queue of one server.

    :param connections: all open connections, by descriptor.
    :param step_queue: where READY connections wait for a leader.
    :param shared: several threads may poll at once.
    """

    def __init__(
        self,
        poller: Poller,
        clock: Clock,
        timers: Timers[Connection],
        connections: dict[int, Connection],
        step_queue: StepQueue,
        *,
        shared: bool = False,
    ) -> None:
        self._poller = poller
        self._shared = shared
        if shared:
            poller.share()
        self._full = poller.batch
        self._now = clock.now
        self._timers = timers
        self._connections = connections
        self._ready = step_queue.ready
        self._more = step_queue.more
        self.polling: deque[bool] = deque()
        """An item for each leader that is in the poller, or about to enter it, and was not woken yet: see
        :meth:`wake_leader`.
        """
        self.overlooked = False
        """Events or deadlines were lost because memory ran out."""
        self.wake = poller.wakeup.signal
        """Make a leader return from the poller. Any thread, also a signal handler."""

    def wake_leader(self) -> None:
        """Make a leader return from the poller if one is in there, or about to enter it; for what was put into a queue.

        The leader adds its item before it looks into the queues, and this method takes an item out after the caller has
        put something in. Both pass the lock of that deque, so one of them sees what the other has done.
        """
        if self.polling.count(True):  # not len(), which takes no lock where there is no GIL
            try:
                self.polling.pop()
            except IndexError:  # another thread wakes that leader
                return
            while True:  # no other thread wakes it now
                try:
                    return self.wake()
                except MemoryError:
                    continue

    def collect(self, timeout: float | None, found: deque[Connection]) -> float:
        """Wait in the poller. Afterwards every connection that has an event or a passed deadline is READY.

        :param timeout: seconds; None: until an event or a wake-up.
        :param found: where connections with an event are put; what waits for room in its socket goes elsewhere.

        Returns the time afterwards, on the engine's clock.
        """
        connections = self._connections
        taken: Connection | None = None
        try:
            if self.overlooked:
                self._step_all()
                timeout = 0.0
            batches = 0
            while True:
                events = self._poller.poll(timeout)
                for fd, mask in events:
                    connection = connections.get(fd)
                    if connection is not None:  # else the descriptor of the wakeup, or a connection that is closed
                        try:  # take() of the token, without the call
                            connection.token.pop()
                        except IndexError:
                            connection.missed = True
                            # Its owner looks for that when it has put the token back, which it may have done just now.
                            if not take(connection.token):
                                continue
                        taken = connection
                        connection.pending = mask
                        line = self._more if connection.state is FLUSHING else found
                        connection.state = READY  # before it is in a queue, from which another leader may take it
                        line.append(connection)
                        taken = None
                batches += 1
                now = self._now()
                if len(events) < self._full or batches == _BATCHES:
                    break
                if self._shared and now < self._timers.next_at:  # the other leaders take the rest
                    break
                timeout = 0.0  # if the process was paused, arrived data is handled before deadlines
            if now >= self._timers.next_at:
                self._expire(now)
        except BaseException:
            self.overlooked = True
            if taken is not None:
                taken.token.append(True)  # READY all the same: it is stepped soon, as all others
            raise
        return now

    def schedule(self, connection: Connection, deadline: float) -> None:
        """Have a leader step the connection when the deadline has passed. Any thread."""
        if self._timers.schedule(connection, deadline):
            self.wake_leader()
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
        self.overlooked = False  # first: what is lost from now on may concern a connection that was looked at before
        now = self._now()
        for connection in list(self._connections.values()):
            # The event that was lost may have disarmed the poller. Then the owner arms it again.
            if connection.armed:
                connection.missed = True
            if take(connection.token):
                connection.pending = DEADLINE if connection.deadline <= now else 0
                self._make_ready(connection)

    def _make_ready(self, connection: Connection) -> None:
        """Put a connection whose token has just been taken into the ready queue."""
        connection.state = READY
        try:
            self._ready.append(connection)
        except MemoryError:
            self.overlooked = True
            connection.token.append(True)
            raise
