"""The queue of connections: the accept thread puts them in, workers get them out, and parked ones come back to it.

:meth:`ReadyQueue.put`, :meth:`ReadyQueue.park` and :meth:`ReadyQueue.notify` may be called by any thread.
:meth:`ReadyQueue.get` blocks a worker until there is a connection for it: the one worker that has the lead waits in
the poller for all the others, which wait for the lead. What ``get`` returns is owned by the caller, which steps it and
then parks it, puts it back, or closes it.

Three lines: two of connections that wait for the leader (:class:`~reserve.engine.scheduler.stepqueue.StepQueue`), and
one of requests that wait for a worker (:class:`~reserve.engine.scheduler.runqueue.RunQueue`). What was parked gets
back into line through the :class:`~reserve.engine.scheduler.reactor.Reactor`. For memory see
:mod:`reserve.engine.polling.outofmemory`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sized

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.registry import ConnectionRegistry
from reserve.engine.connections.states import OWNED, READY, State
from reserve.engine.polling.clock import Clock
from reserve.engine.polling.poller import Poller
from reserve.engine.polling.timers import NEVER, Timers
from reserve.engine.polling.token import take
from reserve.engine.polling.waiter import Alarm
from reserve.engine.scheduler.handoff import HandOff
from reserve.engine.scheduler.lead import Follower, Lead
from reserve.engine.scheduler.reactor import Reactor
from reserve.engine.scheduler.runqueue import RunQueue
from reserve.engine.scheduler.stepqueue import CROWD, StepQueue
from reserve.engine.settings import EngineSettings

__all__ = ["ReadyQueue"]

_DEFAULTS = EngineSettings()
_FAIR = 64
"""Connections stepped in a row before the leader looks for new events, even when more are ready."""
_STALE = 0.002
"""Seconds after which it looks for them all the same."""


class ReadyQueue:
    """The queue of one server. Which thread calls which method is in the module's text.

    :param policy: decides, run by run, whether a follower is woken.
    :param alarm: the monitor's; the monitor acts when the lead is free and stays so.
    """

    def __init__(
        self, poller: Poller, clock: Clock, policy: HandOff, alarm: Alarm, settings: EngineSettings = _DEFAULTS
    ) -> None:
        self.lead = Lead()
        self.timers: Timers[Connection] = Timers()
        self.registry = ConnectionRegistry(poller, self.timers)
        """Every open connection."""
        self.connections = self.registry.connections
        self.run_queue = RunQueue(self.lead, alarm, settings, clock.now)
        """Requests that wait for a worker."""
        self._lines = StepQueue()
        self._ready = self._lines.ready
        self._more = self._lines.more
        self._reactor = Reactor(poller, clock, self.timers, self.connections, self._lines)
        self.wake = self._reactor.wake
        """Make the leader return from the poller. Any thread, also a signal handler."""
        self.closed = False
        self.abandoned = False
        """This is a forked child's copy: the connections, their ends and their hooks are the parent's."""
        self.monitor_leads = False
        """Written by the monitor: no worker was free, and it wants to know when one is."""
        self.monitor_due = NEVER
        """When the monitor has to look at a run that takes too long. Written by the monitor."""
        self.idle_wanted: Callable[[], None] | None = None
        """Called once, by the thread that parks the next idle connection: new clients wait, and no connection was idle
        that could have been closed to make room.
        """
        self.runs = 0
        """Runs begun by a thread that had the lead. Written by the thread that has it: no two at once."""
        self.stepped_at = 0.0
        """When the last step began. Written by the stepper."""
        self._clock = clock
        self._poller = poller
        self._policy = policy
        self._alarm = alarm
        self._since_poll = 0
        self._stale_at = 0.0
        clock.subscribe(self.wake)

    def __len__(self) -> int:
        """Connections that wait for the leader or for a worker."""
        return len(self._ready) + len(self._more) + len(self.run_queue.waiting)

    # ---- any thread ----

    def put(self, connection: Connection) -> None:
        """Owned to READY: at the tail, to be stepped by the leader."""
        line = self._more if connection.state is OWNED else self._ready
        connection.state = READY
        while True:
            try:
                line.append(connection)
                break
            except MemoryError:
                continue
        # From here on another thread may own it: nothing may be raised.
        if self._reactor.polling:
            self._reactor.polling = False
            while True:
                try:
                    return self.wake()
                except MemoryError:
                    continue

    def park(self, connection: Connection, mask: int, deadline: float, kind: str, state: State) -> None:
        """Owned to waiting: for an event of ``mask``, a notification, or the deadline.

        :param deadline: seconds on the engine's clock.
        :param kind: what it waits for; see :attr:`Connection.wait_kind`.
        :param state: PARKED, FLUSHING or LINGERING.

        Raises OSError when it cannot be watched.
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
        connection.token.append(True)
        try:
            if deadline < connection.timer_at:
                self._reactor.schedule(connection, deadline)
            taken = connection.pending and take(connection.token)
        except MemoryError:
            try:
                connection.token.pop()
            except (IndexError, MemoryError):
                return  # another thread has it, which parks it again and schedules it
            connection.state = OWNED
            raise
        if taken:
            self.put(connection)

    def notify(self, connection: Connection, event: int) -> None:
        """Have the connection stepped although nothing arrived; if it is owned now, as soon as it is parked.

        :param event: NOTIFY, RECLAIM or DEADLINE.
        """
        connection.pending = event
        if take(connection.token):
            try:
                self.put(connection)
            except MemoryError:  # it has not begun
                self._reactor.overlooked = True
                connection.token.append(True)
                raise

    def take_all(self) -> list[Connection]:
        """Own everything that is READY, after :meth:`close`."""
        taken = []
        for line in (self._ready, self._more, self.run_queue.waiting):
            with contextlib.suppress(IndexError):
                while True:
                    taken.append(line.popleft())
        return taken

    def close(self) -> None:
        """End every worker's :meth:`get`. The connections that remain are the caller's to close."""
        self.closed = True
        self._clock.unsubscribe(self.wake)
        self.wake()
        self.lead.close()

    # ---- workers ----

    def get(self, worker: Follower, timeout: float | None = None) -> Connection | None:
        """Block until there is a connection for this worker, which then owns it.

        None: the queue is closed, or there was nothing to do for ``timeout`` seconds (None: no limit).
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
            elif not self.lead.wait(worker, self._before_sleep, timeout):
                break
        return None

    def yield_lead(self, worker: Follower) -> bool:
        """Before this worker blocks in :meth:`Driver.run`: let another thread lead. True: it should retake the lead."""
        if not worker.leads:
            return False
        kept = self._policy.keep()
        self.runs += 1
        if kept:
            self.lead.release()
        else:
            self.lead.hand_over()
        worker.leads = False  # not before: without memory to get here the lead would be lost
        if self._alarm.asleep:
            self._alarm.wake()
        return kept

    def retake_lead(self, worker: Follower) -> None:
        """After a run before which :meth:`yield_lead` returned True: lead again, unless another thread leads."""
        worker.leads = self.lead.take()

    def timed_run_begins(self) -> None:
        """By a worker whose run has a time limit: have the monitor look when the time is over."""
        if self._alarm.asleep:
            self._alarm.wake()
        elif self.monitor_leads:
            self.wake()

    # ---- the thread that leads ----

    def next_ready(self, more_urgent: Sized) -> Connection | None:
        """The next connection to step; when none is ready, wait for a batch of events first.

        :param more_urgent: do not wait while this is not empty: for a worker the run queue, for the monitor the
            followers.

        None: look around and call again.
        """
        ready, more = self._ready, self._more
        if ready or more:
            self._since_poll += 1
            if self._since_poll >= _FAIR or self.stepped_at >= self._stale_at:
                # A few connections that are always ready must not keep the leader from the others' events.
                self._since_poll = 0
                self._stale_at = self._reactor.collect(0.0) + _STALE
        else:
            reactor = self._reactor
            reactor.polling = True
            # A thread that has put something before it saw the flag is seen here; one that comes later sees the flag
            # and wakes us.
            if not (ready or more or more_urgent or self.closed):
                self._since_poll = 1
                self._stale_at = reactor.collect(self._clock.timeout(self._next_deadline())) + _STALE
            reactor.polling = False
            if more_urgent or self.closed or not (ready or more):
                return None
        if more or len(ready) > CROWD:
            return self._lines.take(both_ends=not self.monitor_leads)
        return ready.popleft()  # no other thread takes from it

    def _next_deadline(self) -> float:
        """When the leader has to look around: a connection expires, or a request has waited too long."""
        deadline = self.timers.next_at
        if self.monitor_leads:
            deadline = min(deadline, self.monitor_due, self.run_queue.due())
        return deadline

    def _before_sleep(self) -> None:
        """A worker found nothing to do: if the monitor leads, it hands the lead back."""
        if self.monitor_leads:
            self.wake()
