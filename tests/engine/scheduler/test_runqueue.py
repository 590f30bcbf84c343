"""Requests that wait for a worker: each finds one, and after a long wait the newest and the oldest alternate."""

from __future__ import annotations

from collections.abc import Callable

from reserve.engine.connections.connection import Connection
from reserve.engine.scheduler.lead import Follower
from tests.engine.conftest import Explore
from tests.engine.interleave import Scheduler
from tests.engine.world import World, count_leads


def test_a_queued_request_finds_a_worker(exploring: Explore) -> None:
    """A worker without the lead queues a request while the lead is free and another worker begins to wait."""

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
            assert count_leads(world.queue.leads, one, two) == 1

        return check

    assert exploring(scenario, 2, 2, "line") > 100


def _queue_requests(world: World, count: int) -> list[Connection]:
    connections = [world.connection(100 + number) for number in range(count)]
    for connection in connections:
        world.queue.run_queue.put(connection, world.clock.time)
    return connections


def _take(world: World, count: int) -> list[int]:
    worker = Follower()
    found = []
    for _ in range(count):
        connection = world.queue.get(worker)
        assert connection is not None
        found.append(connection.fd - 100)
    return found


def test_queued_requests_are_taken_in_order_while_their_wait_is_short() -> None:
    world = World(Scheduler())
    assert world.queue.leads.take()  # another thread leads
    _queue_requests(world, 6)
    world.clock.time += 0.009
    assert _take(world, 6) == [0, 1, 2, 3, 4, 5]


def test_after_a_long_wait_the_newest_and_the_oldest_request_are_taken_in_turn() -> None:
    world = World(Scheduler())
    assert world.queue.leads.take()
    _queue_requests(world, 6)
    world.clock.time += 0.011
    late = world.connection(120)
    world.queue.run_queue.put(late, world.clock.time)
    assert sorted(_take(world, 2)) == [0, 20]
    assert sorted(_take(world, 5)) == [1, 2, 3, 4, 5]


def test_a_final_run_is_not_overtaken() -> None:
    world = World(Scheduler())
    assert world.queue.leads.take()
    final = world.connection(100)
    world.queue.run_queue.put(final)
    world.clock.time += 10
    world.queue.run_queue.put(world.connection(101), world.clock.time - 5)
    assert _take(world, 2) == [0, 1]
