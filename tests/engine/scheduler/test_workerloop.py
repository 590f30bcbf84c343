"""The loop of a worker: the straight line, what it does for lead and queue, and what happens at the same time."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import CLOSE, FIRST_REQUEST, KEEP_ALIVE, LINGER, Wait
from reserve.engine.connections.states import CLOSE_IDLE, DEADLINE, NOTIFY, State
from reserve.engine.connections.straightline import DECLINED, MORE, RAN
from reserve.engine.polling.poller import EDGES, HANGUP, READ
from reserve.engine.polling.timers import NEVER
from reserve.engine.polling.token import take
from reserve.engine.scheduler.worker import Worker
from reserve.engine.scheduler.workers import WorkerPool
from reserve.engine.settings import EngineSettings
from tests.engine.conftest import Explore
from tests.engine.interleave import Scheduler
from tests.engine.world import World, count_leads, set_driver


class StraightWorld(World):
    """A worker that leads, and connections that are parked until their next request, with an edge-triggered poller.

    :param line: their straight line; None: there is none at this moment.
    """

    def __init__(self, line: Any, scheduler: Scheduler | None = None, connections: int = 1, **settings: Any) -> None:
        super().__init__(scheduler if scheduler is not None else Scheduler())
        self.poller.has_edges = True
        self.pool = WorkerPool(
            EngineSettings(**{"threads": 1, **settings}), self.queue, self.stepper, self.log, lambda: None,
            lambda: None, self.clock,
        )  # fmt: skip
        self.worker: Worker = self.pool.workers[0]
        self.served: list[int] = []
        self.stepped: list[tuple[int, int, float]] = []
        """The descriptor, the events and the deadline of each step."""
        self.application = SimpleNamespace(straight_line=line)
        self.parked = [self.idle(7 + number) for number in range(connections)]
        self.worker.lead = self.queue.leads.take()

    def idle(self, fd: int) -> Connection:
        connection = self.connection(fd)
        deadlines: list[float] = []

        def step(events: int, now: float) -> Wait:
            self.stepped.append((fd, events, deadlines[-1] if deadlines else 0.0))
            return Wait("keep-alive", READ, now + 15)

        set_driver(
            connection,
            straight=self.application,
            step=step,
            expired=lambda kind, now: step(DEADLINE, now),
            leave_straight_line=deadlines.append,
        )
        self.queue.park(connection, READ, self.clock.time + 15, "keep-alive", State.PARKED)
        return connection

    def arrive(self, *events: int) -> None:
        """One event for each connection, and after them the queue is closed."""
        for connection, event in zip(self.parked, events, strict=True):
            self.poller.events.append((connection.fd, event))
        poll = self.poller.poll

        def then_close(timeout: float | None) -> list[tuple[int, int]]:
            if not (self.poller.events or self.queue._ready or self.queue._more):
                self.queue.closed = True
            return poll(0)

        self.poller.poll = then_close  # type: ignore[method-assign]

    def serve(self) -> None:
        assert self.pool._loop.serve(self.worker)

    def line(self, connection: Connection, now: float) -> float:
        """A straight line that serves each request at once."""
        self.served.append(connection.fd)
        connection.deadline = now + 15
        return now


def straight_world(connections: int = 1, **settings: Any) -> StraightWorld:
    world = StraightWorld(None, connections=connections, **settings)
    world.application.straight_line = world.line
    return world


def test_a_connection_between_requests_is_registered_for_edges_and_stays_so() -> None:
    world = straight_world()
    (connection,) = world.parked
    assert world.poller.armed == {7: READ | EDGES}
    assert connection.edges
    assert connection.between_requests
    world.poller.arm = None  # type: ignore[assignment, method-assign]
    world.arrive(READ)
    world.serve()
    assert (world.served, world.stepped) == ([7], [])
    assert (connection.state, len(connection.token), connection.pending) == (State.PARKED, 1, 0)
    assert connection.between_requests
    assert world.worker.handled == 1


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "head"},
        {"mask": 0},
        {"tls": SimpleNamespace(cross=0)},
        {"has_edges": False},
        {"straight": None},
    ],
    ids=["the head has begun", "no READ", "TLS", "no edges", "no line"],
)
def test_every_other_wait_is_registered_for_one_event(change: dict[str, Any]) -> None:
    world = straight_world()
    connection = world.connection(20)
    set_driver(connection, straight=change.get("straight", world.application))
    connection.tls = change.get("tls")
    world.poller.has_edges = change.get("has_edges", True)
    mask = change.get("mask", READ)
    world.queue.park(connection, mask, 2000.0, change.get("kind", "keep-alive"), State.PARKED)
    assert world.poller.armed[20] == mask
    assert not connection.edges
    assert not connection.between_requests


@pytest.mark.parametrize("event", [READ | HANGUP, DEADLINE, NOTIFY, CLOSE_IDLE, 0])
def test_what_is_more_than_an_arrival_is_stepped(event: int) -> None:
    world = straight_world()
    world.arrive(event)
    world.serve()
    assert (world.served, [fd for fd, _, _ in world.stepped]) == ([], [7])
    assert world.parked[0].between_requests


def new_connection(world: StraightWorld, fd: int = 20) -> Connection:
    """One that has just been accepted, as the admission puts it onto the queue."""
    connection = world.connection(fd)
    left: list[float] = []

    def step(events: int, now: float) -> Wait:
        world.stepped.append((fd, events, left[-1]))
        return Wait(FIRST_REQUEST, READ, now + 10)

    set_driver(connection, straight=world.application, step=step, leave_straight_line=left.append)
    connection.between_requests = True
    connection.pending = READ
    connection.state = State.READY
    world.queue.put(connection)
    return connection


def test_the_first_request_of_a_connection_is_served_and_the_connection_waits_for_the_next() -> None:
    world = straight_world(connections=0)
    told: list[int] = []
    world.queue.idle_wanted = lambda: told.append(1)
    connection = new_connection(world)
    world.arrive()
    world.serve()
    assert (world.served, world.stepped) == ([20], [])
    assert (connection.state, len(connection.token), connection.pending) == (State.PARKED, 1, 0)
    assert (connection.wait_kind, connection.watched, connection.edges) == (KEEP_ALIVE, True, True)
    assert connection.between_requests
    assert world.poller.armed[20] == READ | EDGES
    assert connection.timer_at < 1016.0
    assert (told, world.queue.idle_wanted) == ([1], None)
    assert world.worker.handled == 1
    assert count_leads(world.queue.leads, world.worker) == 1


def test_a_new_connection_that_is_silent_waits_for_its_first_request_which_is_served() -> None:
    def line(connection: Connection, now: float) -> float | int:
        return DECLINED if not world.stepped else world.line(connection, now)

    world = StraightWorld(line, connections=0)
    connection = new_connection(world)
    world.arrive()
    world.serve()
    assert (world.served, world.stepped) == ([], [(20, READ if connection.pending else 0, NEVER)])
    assert (connection.wait_kind, connection.edges, connection.between_requests) == (FIRST_REQUEST, True, True)
    world.queue.closed = False
    world.parked = [connection]
    world.poller.arm = None  # type: ignore[assignment, method-assign]
    world.arrive(READ)
    world.serve()
    assert (world.served, len(world.stepped)) == ([20], 1)
    assert (connection.state, connection.wait_kind, connection.edges) == (State.PARKED, KEEP_ALIVE, True)


def test_a_new_connection_that_is_notified_meanwhile_is_stepped() -> None:
    world = straight_world(connections=0)
    connection = new_connection(world)
    world.queue.notify(connection, NOTIFY)
    world.arrive()
    world.serve()
    assert (world.served, world.stepped) == ([], [(20, NOTIFY, NEVER)])


def test_a_notification_during_the_first_request_is_not_lost() -> None:
    def line(connection: Connection, now: float) -> float:
        world.queue.notify(connection, NOTIFY)
        return world.line(connection, now)

    world = StraightWorld(line, connections=0)
    new_connection(world)
    world.arrive()
    world.serve()
    assert (world.served, world.stepped) == ([20], [(20, NOTIFY, 1015.0)])


@pytest.mark.parametrize("lingers", [False, True])
@pytest.mark.parametrize("is_new", [False, True])
def test_the_last_request_of_a_connection_ends_it(lingers: bool, is_new: bool) -> None:
    def line(connection: Connection, now: float) -> float:
        connection.closing = LINGER if lingers else CLOSE
        world.served.append(connection.fd)
        return now

    world = StraightWorld(line, connections=0)
    connection = new_connection(world) if is_new else world.idle(20)
    world.parked = [] if is_new else [connection]
    world.arrive(*([] if is_new else [READ]))
    world.serve()
    assert world.served == [20]
    assert world.stepped == []
    if lingers:
        assert (connection.state, connection.wait_kind, connection.between_requests) == (
            State.LINGERING, "linger", False,
        )  # fmt: skip
        assert world.poller.armed[20] == READ
    else:
        assert world.closed == [connection]
    assert count_leads(world.queue.leads, world.worker) == 1


def test_a_new_connection_that_cannot_be_watched_is_closed() -> None:
    def add(fd: int, mask: int) -> None:
        raise OSError("closed by another part of the program")

    world = straight_world(connections=0)
    connection = new_connection(world)
    world.poller.add = add  # type: ignore[method-assign]
    world.arrive()
    world.serve()
    assert world.closed == [connection]


def test_runs_with_a_time_limit_are_stepped() -> None:
    world = straight_world(request_timeout=5.0)
    world.arrive(READ)
    world.serve()
    assert (world.served, world.stepped) == ([], [(7, READ, 1015.0)])


def test_an_application_without_a_line_at_this_moment_is_stepped() -> None:
    world = StraightWorld(None)
    world.arrive(READ)
    world.serve()
    assert world.stepped == [(7, READ, 1015.0)]


@pytest.mark.parametrize("keeps", [False, True])
def test_the_lead_is_free_during_the_call_and_retaken(keeps: bool) -> None:
    seen: list[Any] = []

    def line(connection: Connection, now: float) -> float:
        (lead,), worker = world.queue.leads.all, world.worker
        seen.append(
            (lead.free, worker.lead is not None, worker.connection is connection, lead.releases, world.queue.leads.runs)
        )
        return world.line(connection, now)

    world = StraightWorld(line)
    world.queue.policy.keeps = keeps
    world.arrive(READ)
    world.serve()
    assert seen == [(True, False, True, 1, 1)]
    assert count_leads(world.queue.leads, world.worker) == 1
    assert world.worker.connection is None


def test_a_follower_is_woken_when_handlers_wait() -> None:
    world = straight_world()
    world.queue.policy.keeps = False
    follower = Worker(lambda worker: None, "follower")
    world.queue.leads.followers.append(follower)
    world.arrive(READ)
    world.application.straight_line = lambda connection, now: [setattr(world.queue, "closed", True), now][1]
    world.serve()
    assert not world.queue.leads.followers
    assert not world.queue.leads.all[0].free


@pytest.mark.parametrize("outcome", [DECLINED, RAN])
def test_what_leaves_the_line_is_stepped_with_the_deadline_of_the_last_request(outcome: int) -> None:
    def line(connection: Connection, now: float) -> float | int:
        if not world.served:
            return world.line(connection, now)
        return outcome

    world = StraightWorld(line)
    world.clock.time += 3
    world.arrive(READ)
    world.serve()
    world.queue.closed = False
    world.arrive(READ)
    world.serve()
    assert (world.served, world.stepped) == ([7], [(7, 0, 1018.0)])
    assert world.worker.handled == (1 if outcome == DECLINED else 2)


def test_the_timer_of_a_connection_is_not_moved_and_its_later_deadline_is_seen() -> None:
    world = straight_world()
    (connection,) = world.parked
    timer = connection.timer_at
    world.clock.time += 10
    world.arrive(READ)
    world.serve()
    assert (connection.timer_at, connection.deadline) == (timer, 1025.0)
    world.clock.time = 1020.0
    world.queue._reactor._expire(world.clock.time)
    assert connection.state is State.PARKED
    assert connection.timer_at >= 1025.0
    world.clock.time = 1030.0
    world.queue._reactor._expire(world.clock.time)
    assert (connection.state, connection.pending) == (State.READY, DEADLINE)


def test_many_connections_in_one_batch_are_served_without_looking_for_events_in_between() -> None:
    world = straight_world(connections=20)
    world.queue.policy.keeps = True
    world.arrive(*[READ] * 20)
    world.serve()
    assert sorted(world.served) == list(range(7, 27))


class Pipeline:
    """A straight line of connections that have ``count`` requests each, which have come together.

    :param takes: seconds of each request.
    :param last: what the call for the last request returns; None: that it was served.
    """

    def __init__(self, world: StraightWorld, count: int, takes: float = 0.0, last: int | None = None) -> None:
        self._world = world
        self._count = count
        self._takes = takes
        self._last = last
        self.leads: list[bool] = []
        """Whether the lead was free for other threads, for each request."""

    def __call__(self, connection: Connection, now: float) -> float | int:
        world = self._world
        assert connection.state is State.OWNED
        assert world.worker.lead is None
        self.leads.append(world.queue.leads.all[0].free)
        time = world.line(connection, now)
        world.clock.time += self._takes
        if world.served.count(connection.fd) < self._count:
            return MORE
        return time if self._last is None else self._last


def have_had_a_turn(world: StraightWorld) -> None:
    """As if each connection had had a turn, and had more requests: they stand in one queue."""
    world.arrive(*[READ] * len(world.parked))
    world.poller.events.clear()
    for connection in world.parked:
        assert take(connection.token)
        connection.pending = READ
        connection.state = State.READY
        world.queue.step_queue.more.append(connection)


@pytest.mark.parametrize("keeps", [False, True])
def test_other_connections_have_their_turn_after_sixteen_requests_that_came_together(keeps: bool) -> None:
    world = straight_world(connections=3)
    world.queue.policy.keeps = keeps
    pipeline = world.application.straight_line = Pipeline(world, 40)
    have_had_a_turn(world)
    world.serve()
    turns = [world.served[at : at + 16] for at in range(0, 96, 16)]
    assert turns == [[7 + at % 3] * 16 for at in range(6)]
    assert world.served[96:] == [7] * 8 + [8] * 8 + [9] * 8
    assert (world.stepped, world.worker.handled, world.queue.leads.runs >= 9) == ([], 120, True)
    assert all(pipeline.leads)
    assert world.queue.leads.all[0].releases >= (120 if keeps else 9)
    for connection in world.parked:
        assert (connection.state, len(connection.token), connection.pending) == (State.PARKED, 1, 0)
    assert count_leads(world.queue.leads, world.worker) == 1


def test_a_turn_of_requests_that_came_together_is_bounded_in_time() -> None:
    world = straight_world(connections=2)
    world.application.straight_line = Pipeline(world, 4, takes=0.0015)
    have_had_a_turn(world)
    world.serve()
    assert world.served == [7, 7, 8, 8, 7, 7, 8, 8]


@pytest.mark.parametrize("last", [DECLINED, RAN])
def test_a_request_that_came_with_another_leaves_the_line(last: int) -> None:
    world = straight_world()
    world.application.straight_line = Pipeline(world, 3, last=last)
    world.arrive(READ)
    world.serve()
    assert world.served == [7, 7, 7]
    assert world.stepped == [(7, 0, world.clock.time + 15)]
    assert world.worker.handled == (2 if last == DECLINED else 3)
    assert world.parked[0].state is State.PARKED


def test_a_line_that_fails_for_a_request_that_came_with_another_closes_the_connection() -> None:
    world = straight_world()
    (connection,) = world.parked

    def line(connection: Connection, now: float) -> int:
        if world.line(connection, now) and len(world.served) == 3:
            raise ValueError
        return MORE

    world.application.straight_line = line
    world.arrive(READ)
    world.serve()
    assert (world.served, connection.state) == ([7, 7, 7], State.CLOSED)
    assert count_leads(world.queue.leads, world.worker) == 1


def test_a_function_after_the_response_is_called_before_the_next_request_that_came_with_it() -> None:
    world = straight_world()
    called: list[int] = []
    pipeline = Pipeline(world, 3)

    def line(connection: Connection, now: float) -> float | int:
        outcome = pipeline(connection, now)
        if len(world.served) == 2:
            world.worker.after_run.append(lambda: called.append(len(world.served)))
        return outcome

    world.application.straight_line = line
    world.arrive(READ)
    world.serve()
    assert (world.served, called, world.stepped) == ([7, 7, 7], [2], [])


def test_a_queue_that_closes_ends_the_requests_that_came_together() -> None:
    world = straight_world()
    (connection,) = world.parked

    def line(connection: Connection, now: float) -> int:
        world.line(connection, now)
        world.queue.closed = len(world.served) == 2
        return MORE

    world.application.straight_line = line
    world.arrive(READ)
    world.serve()
    assert (world.served, connection.state) == ([7, 7], State.CLOSED)


def test_each_of_the_requests_that_came_together_has_its_own_time_before_it_is_slow() -> None:
    world = straight_world(slow_request=5.0)
    due: list[float] = []
    pipeline = Pipeline(world, 3, takes=0.0005)

    def line(connection: Connection, now: float) -> float | int:
        due.append(world.worker.slow_due - now)
        return pipeline(connection, now)

    world.application.straight_line = line
    world.arrive(READ)
    world.serve()
    assert due == pytest.approx([5.0, 5.0, 5.0])


def test_idle_connections_that_are_wanted_are_told_of() -> None:
    world = straight_world()
    told: list[int] = []
    world.queue.idle_wanted = lambda: told.append(1)
    world.arrive(READ)
    world.serve()
    assert (told, world.queue.idle_wanted) == ([1], None)


def test_a_registration_for_edges_ends_when_a_run_receives() -> None:
    world = straight_world()
    (connection,) = world.parked
    world.queue.disarm(connection)
    assert (world.poller.armed[7], connection.edges) == (0, False)
    world.poller.arm = None  # type: ignore[assignment, method-assign]
    world.queue.disarm(connection)  # it is for one event already


def test_a_leader_that_finds_nothing_sees_at_once_that_the_number_of_workers_was_changed() -> None:
    world = straight_world(threads=(1, 2))
    second = world.pool._make()
    world.pool.workers = (*world.pool.workers, second)

    def poll(timeout: float | None) -> list[tuple[int, int]]:
        assert not world.queue.shrinks, "the leader waits for the next event"
        world.queue.shrinks = True
        return []

    world.poller.poll = poll  # type: ignore[method-assign]
    assert not world.pool._loop.serve(world.worker)
    assert world.pool.workers == (second,)


def test_a_worker_is_no_surplus_while_another_one_is_exempt() -> None:
    world = straight_world()
    waiting = world.pool._make()
    waiting.exempt = world.pool.waiting
    world.pool.workers = (*world.pool.workers, waiting)
    world.arrive(READ)
    world.serve()
    assert world.served == [7]


# ---- at the same time ----


@pytest.mark.parametrize("event", [NOTIFY, CLOSE_IDLE])
def test_a_notification_while_a_request_is_served_is_not_lost(exploring: Explore, event: int) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = StraightWorld(None, scheduler)
        world.application.straight_line = world.line
        world.queue.policy.keeps = True
        (connection,) = world.parked
        world.poller.events.append((connection.fd, READ))

        def serve() -> None:
            world.pool._loop.serve(world.worker)

        scheduler.spawn("worker", serve)
        scheduler.spawn("notifier", lambda: world.queue.notify(connection, event))

        def check(blocked: list[str]) -> None:
            assert blocked == ["worker"]
            seen = [events for _, events, _ in world.stepped]
            # An arrival may replace it before the request: then the line looks itself, or a step follows without it.
            assert seen[:1] in ([event], [0]) or (not seen and world.served)
            assert (len(connection.token), connection.pending) == (1, 0)
            assert count_leads(world.queue.leads, world.worker) == 1

        return check

    assert exploring(scenario, 2, 1, "line") > 50


def test_an_arrival_while_a_request_is_served_is_served_as_well(exploring: Explore) -> None:
    """Another worker leads meanwhile, and finds the event of a connection that is owned."""

    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = StraightWorld(None, scheduler, threads=2)
        (connection,) = world.parked
        unread = [1]

        def line(connection: Connection, now: float) -> float | int:
            if not unread[0]:
                return DECLINED
            unread[0] = 0
            return world.line(connection, now)

        def arrive() -> None:
            unread[0] += 1
            world.poller.events.append((connection.fd, READ))

        world.application.straight_line = line
        world.poller.events.append((connection.fd, READ))
        second = world.pool.workers[1]
        scheduler.spawn("worker", lambda: world.pool._loop.serve(world.worker))
        scheduler.spawn("second", lambda: world.pool._loop.serve(second))
        scheduler.spawn("client", arrive)

        def check(blocked: list[str]) -> None:
            assert sorted(blocked) == ["second", "worker"]
            assert unread == [0]
            assert (connection.state, len(connection.token), connection.pending) == (State.PARKED, 1, 0)
            assert count_leads(world.queue.leads, world.worker, cast(Worker, second)) == 1

        return check

    assert exploring(scenario, 3, 1, "line") > 100
