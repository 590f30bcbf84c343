"""The queue of connections: the accept thread puts them in, workers get them out, and parked ones wait behind it.

:meth:`ReadyQueue.put`, :meth:`ReadyQueue.park` and :meth:`ReadyQueue.nudge` may be called by any thread.
:meth:`ReadyQueue.get` blocks a worker until there is a connection for it: the one worker that has the lead waits in
the poller for all the others, which sleep on the lead. What ``get`` returns is owned by the caller, which steps it
and parks it, puts it back, or closes it.

Memory may run out anywhere in here. Then :meth:`~ReadyQueue.put`, :meth:`~ReadyQueue.put_call` and
:meth:`~ReadyQueue.park` raise only as long as the connection is still the caller's; events and deadlines that were lost
with the allocation are made up for by a step of every connection that waits, for each of which every event may be
spurious.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sized

from reserve.engine.clock import Clock
from reserve.engine.connection import CLOSED, DEADLINE, FLUSHING, OWNED, READY, Connection, State
from reserve.engine.deadlines import NEVER, Deadlines
from reserve.engine.handoff import HandOff
from reserve.engine.lead import Follower, Lead
from reserve.engine.monitor import Monitor
from reserve.engine.poller import Poller
from reserve.engine.settings import EngineSettings

__all__ = ["ReadyQueue"]

_DEFAULTS = EngineSettings()
_BATCHES = 16
"""Polls in a row while each brings :data:`_FULL` events."""
_FULL = 64
_FAIR = 64
"""Connections stepped in a row before the leader looks for new events, even when more are ready."""
_STALE = 0.002
"""Seconds after which it looks for them all the same."""
_CROWD = 32
"""Connections that wait for the leader beyond which its turns go to both ends of the line."""
_LONG = 0.01
"""Seconds that a request has waited for a worker beyond which the workers turn to both ends of the line."""


class ReadyQueue:
    """See the module.

    :param policy: decides, run by run, whether a follower is woken.
    :param monitor: takes over when the lead lies idle.
    """

    def __init__(
        self, poller: Poller, clock: Clock, policy: HandOff, monitor: Monitor, settings: EngineSettings = _DEFAULTS
    ) -> None:
        self.connections: dict[int, Connection] = {}
        """Descriptor to connection: every one that is not closed. Changed under a lock, read by anyone."""
        self.monitor_due = NEVER
        """When the monitor has to look at a run that takes too long. Written by the monitor."""
        self._admission = threading.Lock()
        self.lead = Lead()
        self.deadlines = Deadlines()
        self.closed = False
        self.abandoned = False
        """This is a forked child's copy: the connections are the parent's, and so are their ends and hooks."""
        self.monitor_leads = False
        """Written by the monitor: no worker was free, and it wants to be told when one is."""
        self._poller = poller
        self._clock = clock
        self._now = clock.now
        self._policy = policy
        self._settings = settings
        self._monitor = monitor
        self.idle_wanted: Callable[[], None] | None = None
        """Called once, by whoever parks a connection that is idle: newcomers wait, and nobody was there to make room.
        """
        self.runs = 0
        """Runs begun by a thread that had the lead. Written by the thread that has it: no two at once."""
        self._ready: deque[Connection] = deque()
        self._more: deque[Connection] = deque()
        self._calls: deque[Connection] = deque()
        self._polling = False
        self._newest = False
        self._newest_call = False
        self._more_next = False
        self._overlooked = False
        """Events or deadlines were lost for want of memory."""
        self._since_poll = 0
        self._stale_at = 0.0
        self.stepped_at = 0.0
        """When the last step began. Written by the stepper."""
        self.wake = poller.wakeup.signal
        """Make the leader look around. Any thread, also a signal handler."""
        clock.subscribe(self.wake)

    def __len__(self) -> int:
        """Connections that wait for the leader or for a worker."""
        return len(self._ready) + len(self._more) + len(self._calls)

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
        if self._polling:
            self._polling = False
            while True:
                try:
                    return self.wake()
                except MemoryError:
                    continue

    def put_call(self, connection: Connection, queued_at: float = NEVER) -> None:
        """Owned to READY: its driver wants :meth:`Driver.run`, and the next free worker takes it.

        :param queued_at: since when it waits, if it may be refused for waiting too long.
        """
        connection.wants_worker = True
        connection.queued_at = queued_at
        connection.state = READY
        while True:
            try:
                self._calls.append(connection)
                break
            except MemoryError:
                continue
        # From here on it may be another thread's: nothing may be raised.
        # A sleeping worker is woken with the lead, and looks for calls before it polls. (If the lead is taken, it is
        # the caller's, who looks for calls or for sleepers next.)
        taken = False
        while True:
            try:
                if not taken and not (self.lead.sleepers and self.lead.take()):
                    return
                taken = True
                self.lead.give()
                break
            except MemoryError:
                continue
        while self._monitor.asleep:  # it may have looked while we had the lead, which may lie in the slot again
            try:
                self._monitor.alarm()
            except MemoryError:
                continue

    def park(self, connection: Connection, mask: int, deadline: float, kind: str, state: State) -> None:
        """Owned to waiting: for an event of ``mask``, a nudge, or the deadline. Raises OSError when it cannot be
        watched.
        """
        connection.deadline = deadline
        connection.wait_kind = kind
        secure = connection.secure
        if secure is not None and secure.cross:
            mask = secure.cross  # TLS has to send before it can receive, or the other way round
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
                self._hang_up(connection, deadline)
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

    def nudge(self, connection: Connection, event: int) -> None:
        """Have the connection stepped although nothing arrived; if it is owned now, as soon as it is parked."""
        connection.pending = event
        if connection.take():
            try:
                self.put(connection)
            except MemoryError:  # it has not begun
                self._overlooked = True
                connection.slot.append(True)
                raise

    def admit(self, connection: Connection) -> None:
        """By the accept thread: the connection exists from now on."""
        with self._admission:
            self.connections[connection.fd] = connection

    def forget(self, connection: Connection) -> None:
        """By the owner, before the socket is closed or given away."""
        fd = connection.fd
        with self._admission:
            # A handler may have closed its socket itself; then the number may belong to a newcomer already.
            if self.connections.get(fd) is connection:
                del self.connections[fd]
                if connection.watched:
                    self._poller.remove(fd)
        connection.watched = False
        connection.state = CLOSED  # before the next line: who hangs it up in this moment looks at it afterwards
        self.deadlines.discard(connection)

    def while_open(self, connection: Connection, action: Callable[[], None]) -> None:
        """Do something to the socket of a connection that is another thread's, which cannot close it meanwhile; nothing
        when it is closed or given away. The action must not block.
        """
        with self._admission:  # its owner has to forget it first
            if self.connections.get(connection.fd) is connection:
                action()

    def take_all(self) -> list[Connection]:
        """Own everything that is READY, after :meth:`close`."""
        found = []
        for queue in (self._ready, self._more, self._calls):
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
        calls = self._calls
        while not self.closed:
            if calls:
                try:
                    return self._next_call(calls)
                except IndexError:  # another worker was faster
                    continue
            if worker.leads:
                connection = self.next_ready(calls)
                if connection is not None:
                    return connection
            elif not self.lead.wait(worker, self._going_to_sleep, patience):
                break
        return None

    def _next_call(self, calls: deque[Connection]) -> Connection:
        """The oldest; when that has waited for long, every other time the newest: see decision 15."""
        if calls[0].queued_at + _LONG <= self._now():
            self._newest_call = not self._newest_call
            if self._newest_call:
                return calls.pop()
        return calls.popleft()

    def step_aside(self, worker: Follower) -> bool:
        """Before this worker blocks in :meth:`Driver.run`: nobody may wait for it. True when it hopes to come back."""
        if not worker.leads:
            return False
        kept = self._policy.keep()
        self.runs += 1
        if kept:
            self.lead.lay_down()
        else:
            self.lead.give()
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

    def step_back(self, worker: Follower) -> None:
        """After a run for which :meth:`step_aside` said True: lead again, unless the lead is gone."""
        worker.leads = self.lead.take()

    # ---- the monitor ----

    def full(self) -> bool:
        """As many requests wait for a worker as may."""
        return len(self._calls) >= self._settings.max_queued

    def take_overdue(self, now: float) -> Connection | None:
        """Own the request that has waited for a worker for too long, if there is one."""
        connection = self._longest_waiting()
        if connection is not None and connection.queued_at + self._settings.queue_timeout <= now:
            try:
                self._calls.remove(connection)
            except ValueError:  # a worker was faster
                return None
            connection.wants_worker = False
            return connection
        return None

    def _longest_waiting(self) -> Connection | None:
        """The first request of those that may be refused: a farewell may stand before it."""
        while True:
            try:
                for connection in self._calls:
                    if connection.queued_at != NEVER:
                        return connection
                return None
            except RuntimeError:  # changed by a worker in between; without an answer the leader would wait for ever
                continue

    def _next_deadline(self) -> float:
        """When the leader has to look around: something expires, or a request has waited for too long."""
        deadline = self.deadlines.next_at
        if self.monitor_leads:
            deadline = min(deadline, self.monitor_due)
            first = self._longest_waiting()
            if first is not None:
                deadline = min(deadline, first.queued_at + self._settings.queue_timeout)
        return deadline

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
                self._collect(0.0)
            if self._more or len(self._ready) > _CROWD:
                return self._next_in_line()
            return self._ready.popleft()  # nobody else takes from it
        self._polling = True
        # Whoever put something before it saw the flag is seen here; whoever comes later sees the flag and wakes us.
        if not (self._ready or self._more or more_urgent or self.closed):
            self._collect(self._clock.timeout(self._next_deadline()))
        self._polling = False
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

    def _collect(self, timeout: float | None) -> None:
        """Wait in the poller; everything that happened is READY afterwards."""
        self._since_poll = 0
        if self._overlooked:
            self._look_at_all()
            timeout = 0.0
        connections = self.connections
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
            self._stale_at = now + _STALE
            if now >= self.deadlines.next_at:
                self._expire(now)
        except BaseException:
            self._overlooked = True
            if taken is not None:
                taken.slot.append(True)
            raise

    def _expire(self, now: float) -> None:
        for connection in self.deadlines.due(now):
            deadline = connection.deadline  # read once: its owner may change it at any moment
            if deadline > now:
                if deadline != NEVER:
                    self._hang_up(connection, deadline)
            elif connection.take():
                if connection.deadline <= now:
                    connection.pending = DEADLINE
                # else it was served and parked again between the two looks: a step without an event parks it once more
                self._make_ready(connection)
            # else it is owned: whoever parks it will find that it hangs nowhere

    def _look_at_all(self) -> None:
        """Have every connection that waits stepped, because nobody knows what was lost."""
        now = self._now()
        for connection in list(self.connections.values()):
            armed = connection.armed
            if armed and not connection.pending:
                connection.pending = armed  # its owner believes that the poller still watches it, and may park it so
            if connection.take():
                connection.pending = DEADLINE if connection.deadline <= now else 0
                self._make_ready(connection)
        self._overlooked = False

    def _make_ready(self, connection: Connection) -> None:
        """By the leader, who has just taken it."""
        try:
            self._ready.append(connection)
        except MemoryError:
            self._overlooked = True
            connection.slot.append(True)
            raise
        connection.state = READY

    def _hang_up(self, connection: Connection, deadline: float) -> None:
        if self.deadlines.add(connection, deadline) and self._polling:
            self._polling = False
            self.wake()
        if connection.state is CLOSED:
            self.deadlines.discard(connection)

    def _going_to_sleep(self) -> None:
        """A worker found nothing to do: the monitor, if it leads, hands the lead back."""
        if self.monitor_leads:
            self.wake()
