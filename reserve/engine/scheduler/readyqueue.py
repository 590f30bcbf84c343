"""The queue of connections: the accept thread puts them in, workers get them out, and parked ones wait behind it.

:meth:`ReadyQueue.put`, :meth:`ReadyQueue.park` and :meth:`ReadyQueue.notify` may be called by any thread.
:meth:`ReadyQueue.get` blocks a worker until there is a connection for it: the one worker that has the lead waits in
the poller for all the others, which sleep on the lead. What ``get`` returns is owned by the caller, which steps it
and parks it, puts it back, or closes it.

Two lines wait for the leader, those that bring something and those whose output wants more turns; it takes from them in
fair turns. What comes back from waiting gets there through the :class:`~reserve.engine.scheduler.reactor.Reactor`. A
third line waits for the workers (:class:`~reserve.engine.scheduler.runqueue.RunQueue`).

Memory may run out anywhere in here. Then :meth:`~ReadyQueue.put`, :meth:`~ReadyQueue.park` and ``RunQueue.put`` raise
only as long as the connection is still the caller's.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sized
from typing import TYPE_CHECKING

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.registry import ConnectionRegistry
from reserve.engine.connections.states import OWNED, READY, State
from reserve.engine.polling.clock import Clock
from reserve.engine.polling.poller import Poller
from reserve.engine.polling.timers import NEVER, Timers
from reserve.engine.scheduler.handoff import HandOff
from reserve.engine.scheduler.lead import Follower, Lead
from reserve.engine.scheduler.reactor import Reactor
from reserve.engine.scheduler.runqueue import RunQueue
from reserve.engine.settings import EngineSettings

if TYPE_CHECKING:
    from reserve.engine.scheduler.monitor import Monitor

__all__ = ["ReadyQueue"]

_DEFAULTS = EngineSettings()
_FAIR = 64
"""Connections stepped in a row before the leader looks for new events, even when more are ready."""
_STALE = 0.002
"""Seconds after which it looks for them all the same."""
_CROWD = 32
"""Connections that wait for the leader beyond which its turns go to both ends of the line."""


class ReadyQueue:
    """See the module.

    :param policy: decides, run by run, whether a follower is woken.
    :param monitor: takes over when the lead lies idle.
    """

    def __init__(
        self, poller: Poller, clock: Clock, policy: HandOff, monitor: Monitor, settings: EngineSettings = _DEFAULTS
    ) -> None:
        self.lead = Lead()
        self.deadlines = Timers()
        self.registry = ConnectionRegistry(poller, self.deadlines)
        """Every connection that is open."""
        self.connections = self.registry.connections
        self.run_queue = RunQueue(self.lead, monitor, settings, clock.now)
        """Those that wait for a worker."""
        self._ready: deque[Connection] = deque()
        self._more: deque[Connection] = deque()
        self._reactor = Reactor(poller, clock, self.deadlines, self.connections, self._ready, self._more)
        self.wake = self._reactor.wake
        """Make the leader look around. Any thread, also a signal handler."""
        self.closed = False
        self.abandoned = False
        """This is a forked child's copy: the connections are the parent's, and so are their ends and hooks."""
        self.monitor_leads = False
        """Written by the monitor: no worker was free, and it wants to be told when one is."""
        self.monitor_due = NEVER
        """When the monitor has to look at a run that takes too long. Written by the monitor."""
        self.idle_wanted: Callable[[], None] | None = None
        """Called once, by whoever parks a connection that is idle: newcomers wait, and nobody was there to make room.
        """
        self.runs = 0
        """Runs begun by a thread that had the lead. Written by the thread that has it: no two at once."""
        self.stepped_at = 0.0
        """When the last step began. Written by the stepper."""
        self._poller = poller
        self._clock = clock
        self._policy = policy
        self._monitor = monitor
        self._newest = False
        self._more_next = False
        self._since_poll = 0
        self._stale_at = 0.0
        clock.subscribe(self.wake)

    def __len__(self) -> int:
        """Connections that wait for the leader or for a worker."""
        return len(self._ready) + len(self._more) + len(self.run_queue.waiting)

    # ---- any thread ----

    def put(self, connection: Connection) -> None:
        """Owned to READY: at the tail, to be stepped by whoever leads."""
        line = self._more if connection.state is OWNED else self._ready
        connection.state = READY
        while True:
            try:
                line.append(connection)
                break
            except MemoryError:
                continue
        # From here on it may be another thread's: nothing may be raised.
        if self._reactor.polling:
            self._reactor.polling = False
            while True:
                try:
                    return self.wake()
                except MemoryError:
                    continue

    def park(self, connection: Connection, mask: int, deadline: float, kind: str, state: State) -> None:
        """Owned to waiting: for an event of ``mask``, a nudge, or the deadline. Raises OSError when it cannot be
        watched.
        """
        connection.deadline = deadline
        connection.wait_kind = kind
        tls = connection.tls
        if tls is not None and tls.cross:
            mask = tls.cross  # TLS has to send before it can receive, or the other way round
        # Armed while still owned: afterwards another thread may have closed the socket and the number be in use again.
        if not connection.watched:
            self._poller.add(connection.fd, mask)
            connection.watched = True
        elif connection.armed != mask or connection.pending:  # else it was lent, and nothing has happened since
            self._poller.arm(connection.fd, mask)
        connection.armed = mask
        connection.state = state
        connection.slot.append(True)
        try:
            if deadline < connection.timer_at:
                self._reactor.schedule(connection, deadline)
            taken = connection.pending and connection.take()
        except MemoryError:
            try:
                connection.slot.pop()
            except (IndexError, MemoryError):
                return  # another thread has it, which parks it again and hangs it up
            connection.state = OWNED
            raise
        if taken:
            self.put(connection)

    def notify(self, connection: Connection, event: int) -> None:
        """Have the connection stepped although nothing arrived; if it is owned now, as soon as it is parked."""
        connection.pending = event
        if connection.take():
            try:
                self.put(connection)
            except MemoryError:  # it has not begun
                self._reactor.overlooked = True
                connection.slot.append(True)
                raise

    def take_all(self) -> list[Connection]:
        """Own everything that is READY, after :meth:`close`."""
        found = []
        for queue in (self._ready, self._more, self.run_queue.waiting):
            with contextlib.suppress(IndexError):
                while True:
                    found.append(queue.popleft())
        return found

    def close(self) -> None:
        """Send every worker home. Connections that are left are the caller's to close."""
        self.closed = True
        self._clock.unsubscribe(self.wake)
        self.wake()
        self.lead.close()

    # ---- workers ----

    def get(self, worker: Follower, patience: float | None = None) -> Connection | None:
        """Block until there is a connection for this worker, which owns it then.

        None: the queue is closed, or there was nothing to do for ``patience`` seconds.
        """
        waiting = self.run_queue.waiting
        while not self.closed:
            if waiting:
                try:
                    return self.run_queue.take()
                except IndexError:  # another worker was faster
                    continue
            if worker.leads:
                connection = self.next_ready(waiting)
                if connection is not None:
                    return connection
            elif not self.lead.wait(worker, self._going_to_sleep, patience):
                break
        return None

    def yield_lead(self, worker: Follower) -> bool:
        """Before this worker blocks in :meth:`Driver.run`: nobody may wait for it. True when it hopes to come back."""
        if not worker.leads:
            return False
        kept = self._policy.keep()
        self.runs += 1
        if kept:
            self.lead.release()
        else:
            self.lead.hand_over()
        worker.leads = False  # not before: without memory to get here the lead would be lost
        if self._monitor.asleep:
            self._monitor.alarm()
        return kept

    def timed_run_begins(self) -> None:
        """By a worker whose run has a time limit: have the monitor look when it is over."""
        if self._monitor.asleep:
            self._monitor.alarm()
        elif self.monitor_leads:
            self.wake()

    def retake_lead(self, worker: Follower) -> None:
        """After a run for which :meth:`yield_lead` said True: lead again, unless the lead is gone."""
        worker.leads = self.lead.take()

    # ---- whoever leads ----

    def next_ready(self, more_urgent: Sized) -> Connection | None:
        """The next connection to step; without one, wait for a batch of events first. None: look around and call again.

        :param more_urgent: do not wait while this is not empty: a worker looks at the calls, the monitor at free
            workers.
        """
        if self._ready or self._more:
            self._since_poll += 1
            if self._since_poll >= _FAIR or self.stepped_at >= self._stale_at:
                # A few connections that are always ready must not keep the leader from the others' events.
                self._since_poll = 0
                self._stale_at = self._reactor.collect(0.0) + _STALE
            if self._more or len(self._ready) > _CROWD:
                return self._next_in_line()
            return self._ready.popleft()  # nobody else takes from it
        reactor = self._reactor
        reactor.polling = True
        # Whoever put something before it saw the flag is seen here; whoever comes later sees the flag and wakes us.
        if not (self._ready or self._more or more_urgent or self.closed):
            self._since_poll = 0
            self._stale_at = reactor.collect(self._clock.timeout(self._next_deadline())) + _STALE
        reactor.polling = False
        return None

    def _next_in_line(self) -> Connection:
        """Take turns between those that bring something and those that want more, and in a crowd between the oldest
        and the newest: see decision 15.
        """
        ready, more = self._ready, self._more  # nobody else takes from them
        self._more_next = not self._more_next
        if more and (self._more_next or not ready):
            return more.popleft()
        if len(ready) > _CROWD and not self.monitor_leads:
            self._newest = not self._newest
            if self._newest:
                return ready.pop()
        return ready.popleft()

    def _next_deadline(self) -> float:
        """When the leader has to look around: something expires, or a request has waited for too long."""
        deadline = self.deadlines.next_at
        if self.monitor_leads:
            deadline = min(deadline, self.monitor_due, self.run_queue.due())
        return deadline

    def _going_to_sleep(self) -> None:
        """A worker found nothing to do: the monitor, if it leads, hands the lead back."""
        if self.monitor_leads:
            self.wake()
