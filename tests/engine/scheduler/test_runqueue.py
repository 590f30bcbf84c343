"""Requests that wait for a worker, in every order of the steps of two threads."""

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
            assert count_leads(world.queue.lead, one, two) == 1

        return check

    assert exploring(scenario, 2, 2, "line") > 100
