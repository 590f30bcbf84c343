"""The ready queue, in every order of the steps of two or three threads: no event and no deadline is overlooked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.states import NOTIFY, State
from reserve.engine.polling.poller import EDGES, READ
from reserve.engine.polling.token import take
from reserve.engine.scheduler.lead import Follower
from tests.engine.conftest import Explore
from tests.engine.interleave import Scheduler
from tests.engine.world import World


def _ready_once(world: World, connection: Connection) -> None:
    queued = [one for one in (*world.queue._ready, *world.queue._more) if one is connection]
    assert len(queued) + len(connection.token) == 1, "the connection does not have exactly one owner"
    if connection.token:
        assert connection.state in (State.PARKED, State.FLUSHING)
        assert not connection.pending, "an event was overlooked"
    else:
        assert connection.state is State.READY


@pytest.mark.parametrize(("preemptions", "trace"), [(2, "line"), (1, "shared")])
def test_a_notification_of_a_connection_that_is_being_parked_is_seen_once(
    exploring: Explore, preemptions: int, trace: str
) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        connection = world.connection()
        scheduler.spawn("owner", lambda: world.park(connection))
        scheduler.spawn("notifier", lambda: world.queue.notify(connection, NOTIFY))

        def check(blocked: list[str]) -> None:
            assert blocked == []
            _ready_once(world, connection)
            assert not connection.token

        return check

    assert exploring(scenario, 2, preemptions, trace) > 50


def test_an_event_a_notification_and_a_deadline_make_a_connection_ready_once(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        world.clock.time = 3000.0  # the deadline has passed when it is parked
        connection = world.connection()
        follower = Follower()
        follower.lead = world.queue.leads.take()
        got: list[Connection] = []

        def leader() -> None:
            for _ in range(2):
                found = world.queue.next_ready(world.queue.leads.all[0], ())
                if found is not None:
                    got.append(found)
                    return

        def owner() -> None:
            world.park(connection)
            world.poller.fire(connection.fd)

        scheduler.spawn("owner", owner)
        scheduler.spawn("notifier", lambda: world.queue.notify(connection, NOTIFY))
        scheduler.spawn("leader", leader)

        def check(blocked: list[str]) -> None:
            queued = [one for one in (*world.queue._ready, *world.queue._more) if one is connection]
            assert len(got) + len(queued) + len(connection.token) == 1
            assert not connection.token
            if not got:
                assert blocked == [] or world.poller.signalled or world.poller.events

        return check

    assert exploring(scenario, 3, 1, "line") > 100


def test_a_connection_that_is_put_while_the_leader_begins_to_poll_wakes_it(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        one, two = world.connection(7), world.connection(8)
        got: list[Connection] = []

        def leader() -> None:
            while len(got) < 2:
                found = world.queue.next_ready(world.queue.leads.all[0], ())
                if found is not None:
                    got.append(found)

        scheduler.spawn("leader", leader)
        scheduler.spawn("one", lambda: world.queue.put(one))
        scheduler.spawn("two", lambda: world.queue.put(two))

        def check(blocked: list[str]) -> None:
            assert blocked == [], "the leader polls although a connection is ready"
            assert sorted(connection.fd for connection in got) == [7, 8]

        return check

    assert exploring(scenario, 3, 2, "line", alike=(1, 2)) > 500


def test_a_closed_connection_is_in_no_table(exploring: Explore) -> None:
    """The owner parks; the event comes at once, and the leader closes the connection at the same moment."""

    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        connection = world.connection()

        def closer() -> None:
            world.scheduler.block(lambda: bool(connection.token))
            if take(connection.token):
                world.stepper.closer.dispose(connection)

        scheduler.spawn("owner", lambda: world.park(connection))
        scheduler.spawn("closer", closer)

        def check(blocked: list[str]) -> None:
            assert blocked == []
            assert connection.state is State.CLOSED
            assert not any(world.queue.timers._buckets.values())
            assert not world.poller.armed
            assert not world.queue.connections
            assert world.closed == [connection]

        return check

    assert exploring(scenario, 2, 2, "line") > 30


# ---- several leads ----


def _lead(world: World, index: int, got: list[Connection], most: int) -> Callable[[], None]:
    def leader() -> None:
        while len(got) < most and not world.queue.closed:
            found = world.queue.next_ready(world.queue.leads.all[index], ())
            if found is not None:
                got.append(found)

    return leader


def test_with_two_leaders_each_connection_is_stepped_by_one_of_them(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler, leads=2)
        one, two = world.connection(7), world.connection(8)
        world.park(one)
        world.poller.fire(one.fd)
        got: list[Connection] = []
        scheduler.spawn("first", _lead(world, 0, got, 2))
        scheduler.spawn("second", _lead(world, 1, got, 2))
        scheduler.spawn("putter", lambda: world.queue.put(two))

        def check(blocked: list[str]) -> None:
            assert sorted(connection.fd for connection in got) == [7, 8], (
                "a leader polls although a connection is ready"
            )

        return check

    assert exploring(scenario, 3, 1, "line") > 100


def test_an_event_that_another_leader_finds_while_a_connection_is_owned_is_asked_for_again(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler, leads=2)
        connection = world.connection()
        connection.between_requests = connection.edges = connection.watched = True
        connection.deadline = connection.timer_at = 2000.0
        connection.armed = READ
        world.poller.armed[connection.fd] = READ | EDGES
        asked: list[int] = []
        arm = world.poller.arm
        world.poller.arm = lambda fd, mask: [asked.append(fd), arm(fd, mask)]  # type: ignore[assignment]
        world.poller.events = [(connection.fd, READ)]

        def owner() -> None:
            """As the workers' loop does after a request."""
            connection.state = State.PARKED
            connection.token.append(True)
            if connection.missed:
                world.queue.look_again(connection)

        scheduler.spawn("owner", owner)
        scheduler.spawn("leader", lambda: world.queue._reactor.collect(0.0, world.queue.leads.all[1].ready))

        def check(blocked: list[str]) -> None:
            assert blocked == []
            if world.queue.leads.all[1].ready:
                assert not connection.token
                assert connection.pending == READ
            else:
                assert asked == [connection.fd], "an event was overlooked"
                assert connection.token
                assert not connection.missed

        return check

    assert exploring(scenario, 2, 3, "line") > 10


def test_a_leader_with_nothing_to_do_takes_what_another_one_has_found() -> None:
    world = World(Scheduler(), leads=2)
    first, second = world.queue.leads.all
    connection = world.connection()
    connection.state = State.READY
    first.ready.append(connection)
    assert len(world.queue) == 1
    assert world.queue.next_ready(second, ()) is connection
    assert world.queue.take_all() == []


def test_what_all_leaders_share_has_its_turn_beside_what_one_has_found() -> None:
    world = World(Scheduler(), leads=2)
    (lead, _), clock = world.queue.leads.all, world.clock
    lead.stale_at = clock.time + 1000
    own, shared = ([world.connection(first + number) for number in range(3)] for first in (10, 20))
    for connection in (*own, *shared):
        connection.state = State.READY
    lead.ready.extend(own)
    world.queue._ready.extend(shared)
    steps = [world.queue.next_ready(lead, ()) for _ in range(6)]
    fds = [connection.fd for connection in steps if connection is not None]
    assert sorted(fds) == [10, 11, 12, 20, 21, 22]
    assert sum(fd >= 20 for fd in fds[:4]) == 2


def test_close_ends_every_leader(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler, leads=2)
        got: list[Connection] = []
        scheduler.spawn("first", _lead(world, 0, got, 1))
        scheduler.spawn("second", _lead(world, 1, got, 1))
        scheduler.spawn("closer", world.queue.close)

        def check(blocked: list[str]) -> None:
            assert blocked == [], "a leader polls although the queue is closed"

        return check

    assert exploring(scenario, 3, 1, "line") > 50
