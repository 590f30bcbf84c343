"""Every order of the steps of two or three threads, up to a number of preemptions, in the parts that hold no lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reserve.engine.connections.budget import Budget
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import RUN
from reserve.engine.connections.output import Output
from reserve.engine.connections.states import NOTIFY, State
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.poller import READ
from reserve.engine.polling.timers import NEVER
from reserve.engine.scheduler.handoff import AlwaysHandOver
from reserve.engine.scheduler.lead import Follower, Lead
from reserve.engine.scheduler.monitor import Monitor
from reserve.engine.scheduler.readyqueue import ReadyQueue
from reserve.engine.scheduler.stepper import Stepper
from reserve.engine.server import Server
from reserve.engine.settings import EngineSettings
from reserve.errors import ClientDisconnected
from reserve.testing import MemorySocket
from tests.engine.interleave import ArmedPoller, Scenario, Scheduler, explore, replace_locks

Explore = Callable[..., int]


@pytest.fixture
def exploring(monkeypatch: pytest.MonkeyPatch) -> Explore:
    now: list[Scheduler] = []
    replace_locks(monkeypatch, lambda: now[-1])

    def run(scenario: Scenario, tasks: int, preemptions: int, trace: str, alike: Sequence[int] = ()) -> int:
        def prepared(scheduler: Scheduler) -> Callable[[list[str]], None]:
            now[:] = [scheduler]
            return scenario(scheduler)

        return explore(prepared, tasks, preemptions, trace, alike)

    return run


class FakePoller(ArmedPoller):
    """Blocks its task until there is an event or a wake-up; events are put in by the test."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(scheduler)
        self.events: list[tuple[int, int]] = []
        self.timeout: float | None = None

    def fire(self, fd: int) -> None:
        if fd in self.armed:
            self.events.append((fd, self.armed.pop(fd)))

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        self.timeout = timeout
        if timeout != 0 and not (self.signalled or self.events):
            self.scheduler.block(lambda: self.signalled or bool(self.events))
        self.signalled = False
        events, self.events = self.events, []
        return events

    def close(self) -> None:
        pass


class OpenClock:
    """Tells a poller the deadline itself, so that the test sees for which one it waits."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def timeout(self, deadline: float) -> float | None:
        return deadline

    def subscribe(self, wake: Callable[[], None]) -> None:
        pass

    unsubscribe = subscribe


class Sock(MemorySocket):
    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd

    def fileno(self) -> int:
        return self._fd


class World:
    """A queue with its parts, without threads of its own."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.poller = FakePoller(scheduler)
        self.clock = OpenClock()
        self.settings = EngineSettings()
        self.log = ErrorLog()
        self.monitor = Monitor(AlwaysHandOver(), self.log)
        self.queue = ReadyQueue(self.poller, self.clock, AlwaysHandOver(), self.monitor)  # type: ignore[arg-type]
        self.stepper = Stepper(self.queue, self.clock, self.settings, self.log)
        self.monitor._queue, self.monitor._stepper = self.queue, self.stepper
        self.monitor._pool = cast(Any, SimpleNamespace(workers=(), grow=lambda: None, is_exhausted=lambda: False))
        self.budget = Budget(1_000_000, 1_000_000)
        self.stopping = False
        self.closed: list[Connection] = []
        self.monitor.asleep = False

    def connection(self, fd: int = 7) -> Connection:
        server = cast(Server, self)
        connection = Connection(server, cast(Any, Sock(fd)), ("127.0.0.1", fd))
        connection.driver = cast(Any, SimpleNamespace(closed=lambda reason: False))
        connection.state = State.OWNED
        self.queue.registry.admit(connection)
        return connection

    def park(self, connection: Connection, deadline: float = 2000.0) -> None:
        self.queue.park(connection, READ, deadline, "test", State.PARKED)

    # ---- what a connection asks of its server ----

    def flush_meanwhile(self, connection: Connection) -> None:
        self.queue.park(connection, 4, 2000.0, "write", State.FLUSHING)

    def connection_closed(self, connection: Connection) -> None:
        self.closed.append(connection)


def _leads(lead: Lead, *followers: Follower) -> int:
    return int(lead.free) + sum(follower.leads for follower in followers)


# ---- the lead ----


@pytest.mark.parametrize(("preemptions", "trace"), [(3, "line"), (2, "shared")])
def test_the_lead_that_is_given_is_neither_lost_nor_doubled(exploring: Explore, preemptions: int, trace: str) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        lead, follower = Lead(), Follower()
        assert lead.take()
        scheduler.spawn("giver", lead.hand_over)
        scheduler.spawn("follower", lambda: lead.wait(follower, lambda: None))

        def check(blocked: list[str]) -> None:
            assert blocked == [], "it sleeps and nobody leads"
            assert follower.leads
            assert not lead.free
            assert not lead.followers

        return check

    assert exploring(scenario, 2, preemptions, trace) > 30


def test_two_followers_and_one_lead(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        lead, one, two = Lead(), Follower(), Follower()
        assert lead.take()
        scheduler.spawn("giver", lead.hand_over)
        scheduler.spawn("one", lambda: lead.wait(one, lambda: None))
        scheduler.spawn("two", lambda: lead.wait(two, lambda: None))

        def check(blocked: list[str]) -> None:
            assert len(blocked) == 1
            assert _leads(lead, one, two) == 1
            assert not lead.free
            assert list(lead.followers) == [one if blocked == ["one"] else two]

        return check

    assert exploring(scenario, 3, 2, "line", alike=(1, 2)) > 100


def test_the_last_holder_the_monitor_and_a_follower_take_it_once(exploring: Explore) -> None:
    """The holder lays it down and takes it back, the monitor steals it and passes it on, a follower waits for it."""

    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        lead, follower, holder = Lead(), Follower(), Follower()
        assert lead.take()
        stolen: list[bool] = []

        def hold() -> None:
            lead.release()
            holder.leads = lead.take()

        def steal() -> None:
            if lead.take():
                stolen.append(not lead.wake_follower())

        scheduler.spawn("holder", hold)
        scheduler.spawn("monitor", steal)
        scheduler.spawn("follower", lambda: lead.wait(follower, lambda: None))

        def check(blocked: list[str]) -> None:
            assert _leads(lead, follower, holder) + sum(stolen) == 1
            assert blocked == ([] if follower.leads else ["follower"])
            assert (follower in lead.followers) == (not follower.leads)

        return check

    assert exploring(scenario, 3, 2, "line") > 100


@pytest.mark.parametrize("free", [True, False])
def test_closing_sends_every_follower_home(exploring: Explore, free: bool) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        lead, one = Lead(), Follower()
        lead.take()

        def holder() -> None:
            if free:
                lead.release()

        scheduler.spawn("follower", lambda: lead.wait(one, lambda: None))
        scheduler.spawn("closer", lead.close)
        scheduler.spawn("holder", holder)

        def check(blocked: list[str]) -> None:
            assert blocked == []

        return check

    assert exploring(scenario, 3, 2, "line") > 100


# ---- the token of a connection ----


def _ready_once(world: World, connection: Connection) -> None:
    queued = [one for one in (*world.queue._ready, *world.queue._more) if one is connection]
    assert len(queued) + len(connection.slot) == 1, "it has not exactly one owner"
    if connection.slot:
        assert connection.state in (State.PARKED, State.FLUSHING)
        assert not connection.pending, "an event was overlooked"
    else:
        assert connection.state is State.READY


@pytest.mark.parametrize(("preemptions", "trace"), [(2, "line"), (1, "shared")])
def test_a_nudge_while_it_is_parked_is_seen_once(exploring: Explore, preemptions: int, trace: str) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        connection = world.connection()
        scheduler.spawn("owner", lambda: world.park(connection))
        scheduler.spawn("nudger", lambda: world.queue.notify(connection, NOTIFY))

        def check(blocked: list[str]) -> None:
            assert blocked == []
            _ready_once(world, connection)
            assert not connection.slot

        return check

    assert exploring(scenario, 2, preemptions, trace) > 50


def test_an_event_a_nudge_and_a_deadline_at_once_make_it_ready_once(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        world.clock.time = 3000.0  # the deadline has passed when it is parked
        connection = world.connection()
        follower = Follower()
        follower.leads = world.queue.lead.take()
        got: list[Connection] = []

        def leader() -> None:
            for _ in range(2):
                found = world.queue.next_ready(())
                if found is not None:
                    got.append(found)
                    return

        def owner() -> None:
            world.park(connection)
            world.poller.fire(connection.fd)

        scheduler.spawn("owner", owner)
        scheduler.spawn("nudger", lambda: world.queue.notify(connection, NOTIFY))
        scheduler.spawn("leader", leader)

        def check(blocked: list[str]) -> None:
            queued = [one for one in (*world.queue._ready, *world.queue._more) if one is connection]
            assert len(got) + len(queued) + len(connection.slot) == 1
            assert not connection.slot
            if not got:
                assert blocked == [] or world.poller.signalled or world.poller.events

        return check

    assert exploring(scenario, 3, 1, "line") > 100


def test_what_is_put_while_the_leader_goes_to_wait_wakes_it(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        one, two = world.connection(7), world.connection(8)
        got: list[Connection] = []

        def leader() -> None:
            while len(got) < 2:
                found = world.queue.next_ready(())
                if found is not None:
                    got.append(found)

        scheduler.spawn("leader", leader)
        scheduler.spawn("one", lambda: world.queue.put(one))
        scheduler.spawn("two", lambda: world.queue.put(two))

        def check(blocked: list[str]) -> None:
            assert blocked == [], "it waits in the poller although something is ready"
            assert sorted(connection.fd for connection in got) == [7, 8]

        return check

    assert exploring(scenario, 3, 2, "line", alike=(1, 2)) > 500


def test_an_earlier_deadline_wakes_the_leader(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        early, late = world.connection(7), world.connection(8)

        def leader() -> None:
            while True:
                world.queue.next_ready(())

        scheduler.spawn("leader", leader)
        scheduler.spawn("late", lambda: world.park(late, 3000.0))
        scheduler.spawn("early", lambda: world.park(early, 2000.0))

        def check(blocked: list[str]) -> None:
            assert blocked == ["leader"]
            assert world.queue.deadlines.next_at == 2000.0
            assert world.poller.timeout == 2000.0, "it waits for a later deadline"
            assert (early.timer_at, late.timer_at) == (2000.0, 3000.0)

        return check

    assert exploring(scenario, 3, 1, "line") > 100


def test_a_deadline_that_comes_due_while_it_is_served_and_parked_again(exploring: Explore) -> None:
    """It hangs in the table early; the owner parks it with a later deadline while the leader takes the entry down."""

    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        connection = world.connection()
        world.park(connection, 1500.0)
        assert connection.take()
        connection.state = State.OWNED
        world.clock.time = 1600.0
        scheduler.spawn("leader", lambda: world.queue._reactor._expire(1600.0))
        scheduler.spawn("owner", lambda: world.park(connection, 1700.0))

        def check(blocked: list[str]) -> None:
            assert blocked == []
            queued = len(world.queue._ready) + len(world.queue._more)
            assert queued + len(connection.slot) == 1
            if connection.slot:
                assert connection.timer_at == 1700.0, "it waits and hangs nowhere"
            else:
                assert connection.pending == 0  # a step without an event, which parks it again

        return check

    assert exploring(scenario, 2, 2, "line") > 50


def test_a_closed_connection_hangs_in_no_table(exploring: Explore) -> None:
    """One thread parks; the event comes at once, and whoever leads closes the connection in the same moment."""

    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        connection = world.connection()

        def closer() -> None:
            world.scheduler.block(lambda: bool(connection.slot))
            if connection.take():
                world.stepper.dispose(connection)

        scheduler.spawn("owner", lambda: world.park(connection))
        scheduler.spawn("closer", closer)

        def check(blocked: list[str]) -> None:
            assert blocked == []
            assert connection.state is State.CLOSED
            assert not any(world.queue.deadlines._buckets.values())
            assert not world.poller.armed
            assert not world.queue.connections
            assert world.closed == [connection]

        return check

    assert exploring(scenario, 2, 2, "line") > 30


# ---- calls and sleeping workers ----


def test_a_call_finds_a_worker(exploring: Explore) -> None:
    """A worker without the lead puts a call back while the lead lies in the slot and another lies down to sleep."""

    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        connection = world.connection()
        one, two = Follower(), Follower()

        def put_then_get() -> Connection | None:
            world.queue.run_queue.put(connection)
            return world.queue.get(one)

        first = scheduler.spawn("one", put_then_get)
        second = scheduler.spawn("two", lambda: world.queue.get(two))

        def check(blocked: list[str]) -> None:
            assert [first.result, second.result].count(connection) == 1
            assert len(blocked) == 1
            assert _leads(world.queue.lead, one, two) == 1

        return check

    assert exploring(scenario, 2, 2, "line") > 100


def test_the_monitor_hands_the_lead_back_to_a_worker_that_comes_free(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        assert world.queue.lead.take()
        worker = Follower()
        scheduler.spawn("monitor", world.monitor._lead)
        scheduler.spawn("worker", lambda: world.queue.get(worker))

        def check(blocked: list[str]) -> None:
            assert blocked == ["worker"], "the monitor keeps the lead although a worker sleeps"
            assert worker.leads
            assert not world.queue.monitor_leads

        return check

    assert exploring(scenario, 2, 2, "line") > 100


def test_a_call_of_the_monitor_reaches_the_worker_that_comes_free(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        assert world.queue.lead.take()
        connection = world.connection()
        connection.driver = cast(Any, SimpleNamespace(step=lambda events, now: RUN))
        world.queue.put(connection)
        worker = Follower()
        scheduler.spawn("monitor", world.monitor._lead)
        got = scheduler.spawn("worker", lambda: world.queue.get(worker))

        def check(blocked: list[str]) -> None:
            assert got.result is connection, "the call waits, and so does the worker"

        return check

    assert exploring(scenario, 2, 2, "line") > 100


def test_the_monitor_does_not_oversleep_a_lead_that_is_laid_down(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        world.queue._policy.keep = lambda: True  # type: ignore[method-assign]
        worker = Follower()
        worker.leads = world.queue.lead.take()
        scheduler.spawn("worker", lambda: world.queue.yield_lead(worker))
        scheduler.spawn("monitor", lambda: world.monitor._sleep(world.queue.runs, NEVER))

        def check(blocked: list[str]) -> None:
            assert world.queue.lead.free
            # Asleep only if the run had begun before it read the counter; then it saw the lead in the slot.
            assert blocked == []

        return check

    assert exploring(scenario, 2, 3, "line") > 30


def test_a_call_that_lays_the_lead_down_again_rings_the_monitor(exploring: Explore) -> None:
    """Two workers: one lies down, leads, and lays the lead down for its run; the other puts a call meanwhile."""

    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        world.queue._policy.keep = lambda: True  # type: ignore[method-assign]
        connection = world.connection()
        worker = Follower()

        def lie_down_and_run() -> None:
            if world.queue.lead.wait(worker, lambda: None):
                world.queue.yield_lead(worker)

        scheduler.spawn("worker", lie_down_and_run)
        scheduler.spawn("other", lambda: world.queue.run_queue.put(connection))
        scheduler.spawn("monitor", lambda: world.monitor._sleep(world.queue.runs, NEVER))

        def check(blocked: list[str]) -> None:
            if world.queue.lead.free:
                assert "monitor" not in blocked, "the lead lies there and nobody watches it"

        return check

    assert exploring(scenario, 3, 2, "line") > 300


# ---- a connection that is lent ----


def _lent(scheduler: Scheduler, room: int | None, again: bool) -> tuple[World, Connection]:
    world = World(scheduler)
    connection = world.connection()
    cast(Any, connection.sock).room = 0
    connection.output = Output()
    connection.output.append(b"x" * 10)

    def application() -> str:
        connection.lend()
        cast(Any, connection.sock).room = room
        world.poller.fire(connection.fd)
        try:
            connection.reclaim()
            if again:
                if connection.output is None:
                    connection.output = Output()
                connection.output.append(b"y")
                connection.lend()
                world.poller.fire(connection.fd)
                connection.reclaim()
        except ClientDisconnected:
            return "lost"
        return "kept"

    def leader() -> None:
        while True:
            found = world.queue.next_ready(())
            if found is not None:
                assert not world.stepper.advance(found)

    scheduler.spawn("application", application)
    scheduler.spawn("leader", leader)
    return world, connection


@pytest.mark.parametrize("room", [0, 4, None])
@pytest.mark.parametrize("again", [False, True])
def test_a_lent_connection_comes_back(exploring: Explore, room: int | None, again: bool) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world, connection = _lent(scheduler, room, again)

        def check(blocked: list[str]) -> None:
            assert blocked == ["leader"], "its worker waits for ever"
            assert connection.state is State.OWNED
            assert not connection.slot
            assert connection not in (*world.queue._ready, *world.queue._more)
            assert not connection.lent
            sent = bytes(cast(Any, connection.sock).outgoing)
            waiting = connection.output.size if connection.output is not None else 0
            assert len(sent) + waiting == (11 if again else 10)

        return check

    assert exploring(scenario, 2, 2 if room == 4 or not again else 1, "line") > 50


def test_a_lent_connection_that_is_nudged_comes_back(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world, connection = _lent(scheduler, 0, True)
        scheduler.spawn("stop", lambda: world.queue.notify(connection, NOTIFY))

        def check(blocked: list[str]) -> None:
            assert blocked == ["leader"]
            assert connection.state is State.OWNED
            assert not connection.slot

        return check

    assert exploring(scenario, 3, 1, "line") > 300
