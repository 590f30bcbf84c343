"""The queue of connections: the accept thread puts them in, workers take them out, and parked connections return to it.

:meth:`ReadyQueue.put`, :meth:`ReadyQueue.park` and :meth:`ReadyQueue.notify` may be called by any thread.
:meth:`ReadyQueue.get` blocks a worker until there is a connection for it: the one worker that has the lead waits in
the poller for all the others, which wait for the lead. What ``get`` returns is owned by the caller, which steps it and
then parks it, puts it back, or closes it.

It has three parts: two queues of connections that wait for the leader
(:class:`~reserve.engine.scheduler.stepqueue.StepQueue`), and one of requests that wait for a worker
(:class:`~reserve.engine.scheduler.runqueue.RunQueue`). The :class:`~reserve.engine.scheduler.reactor.Reactor` puts
parked connections back into them. For MemoryError see :mod:`reserve.engine.polling.outofmemory`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sized

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import FIRST_REQUEST, KEEP_ALIVE
from reserve.engine.connections.registry import ConnectionRegistry
from reserve.engine.connections.states import OWNED, READY, State
from reserve.engine.polling.clock import Clock
from reserve.engine.polling.poller import EDGES, READ, Poller
from reserve.engine.polling.timers import NEVER, Timers
from reserve.engine.polling.token import take
from reserve.engine.polling.waiter import Alarm
from reserve.engine.scheduler.handoff import HandOff
from reserve.engine.scheduler.lead import Follower, Lead
from reserve.engine.scheduler.reactor import Reactor
from reserve.engine.scheduler.runqueue import RunQueue
from reserve.engine.scheduler.stepqueue import CROWD, StepQueue
from reserve.engine.settings import EngineSettings

__all__ = ["FAIR", "ReadyQueue"]

_DEFAULTS = EngineSettings()
FAIR = 64
"""Connections stepped in a row before the leader looks for new events, even when more are ready."""
_STALE = 0.002
"""Seconds after which the leader looks for new events even if it has stepped fewer connections."""


class ReadyQueue:
    """The queue of one server. The module's docstring says which thread calls which method.

    :param policy: decides, run by run, whether a follower is woken.
    :param alarm: the monitor's. The monitor acts when the lead stays free.
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
        self.step_queue = StepQueue()
        """Connections that wait for the leader, which alone takes from it."""
        self.ready = self._ready = self.step_queue.ready
        self._more = self.step_queue.more
        self._reactor = Reactor(poller, clock, self.timers, self.connections, self.step_queue)
        self.wake = self._reactor.wake
        """Make the leader return from the poller. Any thread, also a signal handler."""
        self.closed = False
        self.abandoned = False
        """This is a forked child's copy: the parent owns the connections, closes them and calls the hooks."""
        self.monitor_leads = False
        """The monitor leads because no worker was free; a worker that becomes free wakes it. Written by the monitor."""
        self.monitor_due = NEVER
        """When the monitor has to look at a run that takes too long. Written by the monitor."""
        self.shrinks = False
        """The number of workers was changed: a worker that leads and finds nothing to do returns, and may end."""
        self.idle_wanted: Callable[[], None] | None = None
        """Set while new clients wait for a place and no connection is idle that could be closed for them. The thread
        that parks the next idle connection calls it once.
        """
        self.runs = 0
        """Runs begun by a thread that had the lead. Written only by the thread that has the lead."""
        self.stepped_at = 0.0
        """When the last step began, or the leader looked for events. Written by the threads that did."""
        self.stale_at = 0.0
        """When the leader looks for new events even if it has stepped few connections since it last did."""
        self.since_poll = 0
        """How many connections it has stepped since. Written by the leader."""
        self._clock = clock
        self._poller = poller
        self.has_edges = poller.has_edges
        """The poller knows :data:`~reserve.engine.polling.poller.EDGES`."""
        self.policy = policy
        self.alarm = alarm
        clock.subscribe(self.wake)

    def __len__(self) -> int:
        """Connections that wait for the leader or for a worker."""
        return len(self._ready) + len(self._more) + len(self.run_queue.waiting)

    # ---- any thread ----

    def put(self, connection: Connection) -> None:
        """Owned to READY: append the connection, so that the leader steps it."""
        queue = self._more if connection.state is OWNED else self._ready
        connection.state = READY
        while True:
            try:
                queue.append(connection)
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

        :param mask: 0: only for the end of the connection in both directions, where the poller can tell.
        :param deadline: seconds on the engine's clock.
        :param kind: what it waits for; see :attr:`Connection.wait_kind`.
        :param state: PARKED, FLUSHING or LINGERING.

        Raises OSError when the poller cannot watch it.
        """
        connection.deadline = deadline
        connection.wait_kind = kind
        tls = connection.tls
        if tls is not None and tls.cross:
            mask = tls.cross  # TLS has to send before it can receive, or to receive before it can send
        straight = (
            kind in (KEEP_ALIVE, FIRST_REQUEST)
            and mask == READ
            and tls is None
            and self._poller.has_edges
            and connection.driver.straight is not None
        )
        # Armed while still owned: afterwards another thread may close the socket, and the descriptor number may be
        # reused.
        if not connection.watched:
            self._poller.add(connection.fd, mask | EDGES if straight else mask)
            connection.watched = True
        elif (
            connection.armed != mask or connection.pending or not mask
        ):  # else it was lent: the poller still watches it
            self._poller.arm(connection.fd, mask | EDGES if straight else mask)
        connection.armed = mask
        connection.between_requests = connection.edges = straight
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
                return  # another thread has the token; it parks the connection again, with its timer
            connection.state = OWNED
            raise
        if taken:
            self.put(connection)

    def disarm(self, connection: Connection) -> None:
        """By the owner: have the poller report nothing of the connection until it is parked."""
        if connection.edges:
            connection.edges = False
            self._poller.arm(connection.fd, 0)

    def look_again(self, connection: Connection) -> None:
        """After a connection was parked as it was before: do what :meth:`park` does for what is not ordinary. The
        caller does not own it any more, and calls :meth:`overlook` if this raises.
        """
        taken: bool | int = False
        try:
            if connection.deadline < connection.timer_at:
                self._reactor.schedule(connection, connection.deadline)
            taken = connection.pending and take(connection.token)
            if taken:
                self.put(connection)
        except MemoryError:
            if taken:  # nothing has been put into the queue yet
                connection.token.append(True)
            raise  # the caller calls overlook()
        wanted = self.idle_wanted
        if wanted is not None:
            self.idle_wanted = None
            wanted()

    def overlook(self) -> None:
        """Have every connection that waits stepped, because it is not known what was lost. Any thread."""
        self._reactor.overlooked = True
        while True:
            try:
                return self.wake()
            except MemoryError:
                continue

    def notify(self, connection: Connection, event: int) -> None:
        """Have the connection stepped although nothing arrived. If it is owned now, it is stepped when it is parked.

        :param event: NOTIFY, CLOSE_IDLE or DEADLINE.
        """
        connection.pending = event
        if take(connection.token):
            try:
                self.put(connection)
            except MemoryError:  # nothing has been put into the queue yet
                self._reactor.overlooked = True
                connection.token.append(True)
                raise

    def take_all(self) -> list[Connection]:
        """Own everything that is READY, after :meth:`close`."""
        taken = []
        for queue in (self._ready, self._more, self.run_queue.waiting):
            with contextlib.suppress(IndexError):
                while True:
                    taken.append(queue.popleft())
        return taken

    def close(self) -> None:
        """End every worker's :meth:`get`. The caller has to close the connections that remain."""
        self.closed = True
        self._clock.unsubscribe(self.wake)
        self.wake()
        self.lead.close()

    # ---- workers ----

    def get(self, worker: Follower, timeout: float | None = None) -> Connection | None:
        """Block until there is a connection for this worker, which then owns it.

        None: the queue is closed, or there was nothing to do for ``timeout`` seconds (None: no limit), or the number of
        workers was changed; then the worker may have the lead.
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
                if self.shrinks and not waiting:
                    break
            elif not self.lead.wait(worker, self._before_sleep, timeout):
                break
        return None

    def yield_lead(self, worker: Follower) -> bool:
        """Before this worker blocks in :meth:`Driver.run`: let another thread lead. True: it should retake the lead."""
        if not worker.leads:
            return False
        kept = self.policy.keeps
        self.runs += 1
        if kept:
            self.lead.release()
        else:
            self.lead.hand_over()
        worker.leads = False  # set only now: if memory runs out earlier, the worker must still count as leading
        if self.alarm.asleep:
            self.alarm.wake()
        return kept

    def retake_lead(self, worker: Follower) -> None:
        """After a run before which :meth:`yield_lead` returned True: lead again, unless another thread leads."""
        try:  # noqa: SIM105 - contextlib.suppress would allocate
            worker.leads = self.lead.token.pop()
        except (IndexError, MemoryError):  # pop() fails only if another thread has the lead
            pass

    def give_lead(self, worker: Follower) -> None:
        """By a worker that has the lead and ends, or blocks outside of a run: let another thread lead."""
        self.lead.hand_over()
        worker.leads = False
        if self.alarm.asleep:
            self.alarm.wake()

    def timed_run_begins(self) -> None:
        """By a worker that begins a run with a time limit: tell the monitor, which looks again when the time ends."""
        if self.alarm.asleep:
            self.alarm.wake()
        elif self.monitor_leads:
            self.wake()

    # ---- the thread that leads ----

    def next_ready(self, more_urgent: Sized) -> Connection | None:
        """The next connection to step; when none is ready, wait for a batch of events first.

        :param more_urgent: wait only if this is empty. A worker passes the run queue, the monitor the followers.

        None: the caller looks at ``more_urgent`` and at :attr:`closed`, and calls again.
        """
        ready, more = self._ready, self._more
        if ready or more:
            self.since_poll += 1
            if self.since_poll >= FAIR or self.stepped_at >= self.stale_at:
                # A few connections that are always ready must not keep the leader from polling for the others.
                self.since_poll = 0
                self.stepped_at = now = self._reactor.collect(0.0)
                self.stale_at = now + _STALE
        else:
            reactor = self._reactor
            reactor.polling = True
            # If another thread has put a connection in without seeing the flag, this thread sees the connection now.
            # A thread that puts one in later sees the flag and wakes this thread.
            if not (ready or more or more_urgent or self.closed):
                self.since_poll = 1
                deadline = self._next_deadline() if self.monitor_leads else self.timers.next_at
                self.stepped_at = now = reactor.collect(self._clock.timeout(deadline))
                self.stale_at = now + _STALE
            reactor.polling = False
            if more_urgent or self.closed or not (ready or more):
                return None
        if more or len(ready) > CROWD:
            return self.step_queue.take(both_ends=not self.monitor_leads)
        return ready.popleft()  # only the leader takes from it

    def _next_deadline(self) -> float:
        """When the monitor, if it leads, has to return from the poller: a deadline passes, or a request has waited too
        long.
        """
        return min(self.timers.next_at, self.monitor_due, self.run_queue.due())

    def _before_sleep(self) -> None:
        """By a worker that found nothing to do: if the monitor leads, wake it, so that it hands the lead over."""
        if self.monitor_leads:
            self.wake()
