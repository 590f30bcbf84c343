"""The queue of connections: the accept thread puts them in, workers take them out, and parked connections return to it.

:meth:`ReadyQueue.put`, :meth:`ReadyQueue.park` and :meth:`ReadyQueue.notify` may be called by any thread.
:meth:`ReadyQueue.get` blocks a worker until there is a connection for it: the workers that have a lead (one with the
GIL, without it as many as processors) wait in the poller for all the others, which wait for a lead. What ``get``
returns is owned by the caller, which steps it and then parks it, puts it back, or closes it.

It has three parts: two queues of connections that wait for a leader
(:class:`~reserve.engine.scheduler.stepqueue.StepQueue`), and one of requests that wait for a worker
(:class:`~reserve.engine.scheduler.runqueue.RunQueue`). The :class:`~reserve.engine.scheduler.reactor.Reactor` puts
parked connections back into them. With several leads each has a queue of its own besides, for what its thread finds in
the poller; a leader whose queue is empty takes from the shared ones, then from those of the others, and only then it
polls.
For MemoryError see :mod:`reserve.engine.polling.outofmemory`.
"""

from __future__ import annotations

import contextlib
from collections import deque
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
from reserve.engine.scheduler.lead import Follower, Lead, Leads
from reserve.engine.scheduler.reactor import Reactor
from reserve.engine.scheduler.runqueue import RunQueue
from reserve.engine.scheduler.stepqueue import CROWD, StepQueue
from reserve.engine.settings import EngineSettings

__all__ = ["FAIR", "ReadyQueue"]

_DEFAULTS = EngineSettings()
_MONITOR_POLL = 0.01
"""The most seconds that the monitor waits in the poller if there are several leads: a worker may have taken another one
meanwhile, and a wake-up may have reached that worker instead.
"""
FAIR = 64
"""Connections stepped in a row before the leader looks for new events, even when more are ready."""
_STALE = 0.002
"""Seconds after which the leader looks for new events even if it has stepped fewer connections."""


class ReadyQueue:
    """The queue of one server. The module's docstring says which thread calls which method.

    :param policy: decides, run by run, whether a follower is woken.
    :param alarm: the monitor's. The monitor acts when a lead stays free.
    :param leads: how many threads may lead at once. More than one only if the poller can be shared.
    """

    def __init__(
        self,
        poller: Poller,
        clock: Clock,
        policy: HandOff,
        alarm: Alarm,
        settings: EngineSettings = _DEFAULTS,
        leads: int = 1,
    ) -> None:
        self.step_queue = StepQueue()
        """Connections that wait for a leader; only leaders take from it."""
        self._ready, self._more = self.step_queue.ready, self.step_queue.more
        self._several = leads > 1
        self.leads = Leads(*([deque() for _ in range(leads)] if leads > 1 else [self._ready]))
        self.timers: Timers[Connection] = Timers()
        self.registry = ConnectionRegistry(poller, self.timers)
        """Every open connection."""
        self.connections = self.registry.connections
        self._reactor = Reactor(poller, clock, self.timers, self.connections, self.step_queue, shared=self._several)
        self._polling = self._reactor.polling
        self.run_queue = RunQueue(self.leads, self._reactor.wake_leader, alarm, settings, clock.now)
        """Requests that wait for a worker."""
        self.wake = self._reactor.wake
        """Make a leader return from the poller. Any thread, also a signal handler."""
        self.closed = False
        self.abandoned = False
        """This is a forked child's copy: the parent owns the connections, closes them and calls the hooks."""
        self.monitor_lead: Lead | None = None
        """The lead that the monitor has because no worker was free; a worker that becomes free wakes it. Written by the
        monitor.
        """
        self.monitor_due = NEVER
        """When the monitor has to look at a run that takes too long. Written by the monitor."""
        self.shrinks = False
        """The number of workers was changed: a worker that leads and finds nothing to do returns, and may end."""
        self.idle_wanted: Callable[[], None] | None = None
        """Set while new clients wait for a place and no connection is idle that could be closed for them. The thread
        that parks the next idle connection calls it once.
        """
        self._clock = clock
        self._poller = poller
        self.has_edges = poller.has_edges
        """The poller knows :data:`~reserve.engine.polling.poller.EDGES`."""
        self.policy = policy
        self.alarm = alarm
        clock.subscribe(self.wake)

    def __len__(self) -> int:
        """Connections that wait for a leader or for a worker."""
        return sum(map(len, self._queues()))

    def _queues(self) -> list[deque[Connection]]:
        own = [lead.ready for lead in self.leads.all] if self._several else []
        return [self._ready, *own, self._more, self.run_queue.waiting]

    # ---- any thread ----

    def put(self, connection: Connection) -> None:
        """Owned to READY: append the connection, so that a leader steps it."""
        queue = self._more if connection.state is OWNED else self._ready
        connection.state = READY
        while True:
            try:
                queue.append(connection)
                break
            except MemoryError:
                continue
        # From here on another thread may own it: nothing may be raised.
        while True:
            try:
                return self._reactor.wake_leader()
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
        missed, connection.missed = connection.missed, False
        if not connection.watched:
            self._poller.add(connection.fd, mask | EDGES if straight else mask)
            connection.watched = True
        elif connection.armed != mask or connection.pending or missed or not mask:
            # Else it was lent: the poller still watches it.
            self._poller.arm(connection.fd, mask | EDGES if straight else mask)
        connection.armed = mask
        connection.between_requests = connection.edges = straight
        connection.state = state
        connection.token.append(True)
        try:
            if deadline < connection.timer_at:
                self._reactor.schedule(connection, deadline)
            taken = (connection.missed or connection.notice) and take(connection.token)
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
            taken = connection.missed and take(connection.token)
            if taken and (connection.notice or not self._ask_again(connection)):
                self.put(connection)
        except MemoryError:
            if taken:  # nothing has been put into the queue yet
                connection.token.append(True)
            raise  # the caller calls overlook()
        wanted = self.idle_wanted
        if wanted is not None:
            self.idle_wanted = None
            wanted()

    def _ask_again(self, connection: Connection) -> bool:
        """By the owner of a connection that was between requests: park it as it was. False: the poller cannot watch it,
        there is a notification, or an event came each time, and the caller still owns it.

        What has arrived while it was owned is reported again.
        """
        for _ in range(2):
            connection.missed = False
            try:
                self._poller.arm(connection.fd, READ | EDGES)
            except OSError:
                return False
            connection.token.append(True)
            if not (connection.missed or connection.notice) or not take(connection.token):
                return True
            if connection.notice:  # :meth:`notify` has set it before ``missed``, which was cleared here
                break
        return False

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
        connection.pending = event  # so that an owner that sees it in time steps, and does not take the straight line
        connection.notice = event
        connection.missed = True
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
        for queue in self._queues():
            with contextlib.suppress(IndexError):
                while True:
                    taken.append(queue.popleft())
        return taken

    def close(self) -> None:
        """End every worker's :meth:`get`. The caller has to close the connections that remain."""
        self.closed = True
        self._clock.unsubscribe(self.wake)
        self.wake()  # one leader, which wakes the next one
        self.leads.close()

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
            lead = worker.lead
            if lead is not None:
                connection = self.next_ready(lead, waiting)
                if connection is not None:
                    return connection
                if self.shrinks and not waiting:
                    break
            elif not self.leads.wait(worker, self._before_sleep, timeout):
                break
        return None

    def yield_lead(self, worker: Follower) -> Lead | None:
        """Before this worker blocks in :meth:`Driver.run`: let another thread lead. Returns the lead that it should
        retake; None: it had none, or has passed it on.
        """
        lead = worker.lead
        if lead is None:
            return None
        kept = self.policy.keeps
        lead.runs += 1
        if kept:
            lead.release()
        else:
            self.leads.hand_over(lead)
        worker.lead = None  # set only now: if memory runs out earlier, the worker must still count as leading
        if self.alarm.asleep:
            self.alarm.wake()
        return lead if kept else None

    def retake_lead(self, worker: Follower, lead: Lead) -> None:
        """After a run: lead again, unless another thread has taken the lead meanwhile.

        :param lead: what :meth:`yield_lead` has returned.
        """
        try:
            lead.token.pop()
        except (IndexError, MemoryError):  # pop() fails only if another thread has the lead
            return
        worker.lead = lead

    def give_lead(self, worker: Follower) -> None:
        """By a worker that has a lead and ends, or blocks outside of a run: let another thread lead."""
        if worker.lead is None:
            return
        self.leads.hand_over(worker.lead)
        worker.lead = None
        if self.alarm.asleep:
            self.alarm.wake()

    def timed_run_begins(self) -> None:
        """By a worker that begins a run with a time limit: tell the monitor, which looks again when the time ends."""
        self.alarm.synchronize()
        if self.alarm.asleep:
            self.alarm.wake()
        elif self.monitor_lead is not None:
            self.wake()

    # ---- a thread that leads ----

    def next_ready(self, lead: Lead, more_urgent: Sized) -> Connection | None:
        """The next connection to step; when none is ready, wait for a batch of events first.

        :param lead: that of the calling thread.
        :param more_urgent: wait only if this is empty. A worker passes the run queue, the monitor the followers.

        None: the caller looks at ``more_urgent`` and at :attr:`closed`, and calls again.
        """
        own, ready, more, several = lead.ready, self._ready, self._more, self._several
        if own or ready or more:
            lead.since_poll += 1
            if lead.since_poll >= FAIR or lead.stepped_at >= lead.stale_at:
                # A few connections that are always ready must not keep the leader from polling for the others.
                lead.since_poll = 0
                lead.stepped_at = now = self._reactor.collect(0.0, own)
                lead.stale_at = now + _STALE
        else:
            if several and (connection := self._take_from_others()) is not None:
                return connection
            polling = self._polling
            polling.append(True)
            # If another thread has put a connection in and found no item, this thread sees the connection now. A thread
            # that puts one in later finds the item and wakes a leader.
            try:
                if not (ready or more or more_urgent or self.closed):
                    lead.since_poll = 1
                    if lead is self.monitor_lead:
                        timeout = self._monitor_timeout()
                    else:
                        timeout = self._clock.timeout(self.timers.next_at)
                    lead.stepped_at = now = self._reactor.collect(timeout, own)
                    lead.stale_at = now + _STALE
            finally:
                try:  # noqa: SIM105 - contextlib.suppress would allocate
                    polling.pop()
                except (IndexError, MemoryError):  # a thread that wanted to wake a leader has taken it
                    pass
            if several:
                if self.closed:
                    self.wake()  # the next leader
                elif len(own) > 1:
                    self._reactor.wake_leader()  # it takes one of them, if it is idle
            if more_urgent or self.closed or not (own or ready or more):
                return None
        try:
            if several and own and (lead.since_poll & 1 or not (ready or more)):
                return own.popleft()
            if more or len(ready) > CROWD:
                return self.step_queue.take(both_ends=lead is not self.monitor_lead)
            return ready.popleft()
        except IndexError:  # another leader was faster
            return None

    def _take_from_others(self) -> Connection | None:
        """By a leader that has nothing to do: a connection that another one has found, and has not come to."""
        for lead in self.leads.all:
            try:
                return lead.ready.popleft()
            except IndexError:
                continue
        return None

    def _monitor_timeout(self) -> float | None:
        """When the monitor, if it leads, has to return from the poller: a deadline passes, or a request has waited too
        long.
        """
        timeout = self._clock.timeout(min(self.timers.next_at, self.monitor_due, self.run_queue.due()))
        if self._several:
            return _MONITOR_POLL if timeout is None else min(timeout, _MONITOR_POLL)
        return timeout

    def _before_sleep(self) -> None:
        """By a worker that found nothing to do: if the monitor leads, wake it, so that it hands the lead over."""
        if self.monitor_lead is not None:
            self.wake()
