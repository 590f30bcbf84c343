"""A connection that always has something to do must not keep the threads from the others: turns are counted."""

from __future__ import annotations

from typing import Any, cast

import pytest

from reserve.engine.connections.driver import AGAIN, RUN, Wait
from reserve.engine.connections.states import State
from reserve.engine.polling.poller import READ
from reserve.engine.scheduler.worker import Worker
from reserve.engine.scheduler.workers import WorkerPool
from reserve.engine.settings import EngineSettings
from tests.engine.interleave import Scheduler
from tests.engine.world import World, set_driver


class _Enough(BaseException):
    """Ends an endless loop."""


@pytest.mark.parametrize("always_ready", [1, 3])
def test_the_leader_polls_although_some_connections_are_always_ready(always_ready: int) -> None:
    world = World(Scheduler())
    steps = 0

    def again(events: int, now: float) -> Any:
        nonlocal steps
        steps += 1
        return AGAIN

    for number in range(always_ready):
        busy = world.connection(7 + number)
        set_driver(busy, step=again)
        world.queue.put(busy)
    quiet = world.connection(20)
    stepped: list[int] = []
    wait = Wait("idle", READ)

    def step(events: int, now: float) -> Wait:
        stepped.append(steps)
        return wait

    set_driver(quiet, step=step)
    world.park(quiet)
    for round_number in (1, 2, 3):
        world.poller.fire(quiet.fd)
        limit = steps + 64 + always_ready
        while len(stepped) < round_number and steps <= limit:
            connection = world.queue.next_ready(world.queue.leads.all[0], ())
            assert connection is not None
            assert not world.stepper.advance(connection, world.clock.now())
        assert len(stepped) == round_number, "the event of another connection is not seen"


def test_a_deadline_expires_although_a_connection_is_always_ready() -> None:
    world = World(Scheduler())
    busy, late = world.connection(7), world.connection(8)
    steps = 0

    def again(events: int, now: float) -> Any:
        nonlocal steps
        steps += 1
        return AGAIN

    set_driver(busy, step=again)
    world.queue.put(busy)
    world.park(late, world.clock.time + 5)
    world.clock.time += 10
    while late.state is State.PARKED and steps <= 70:
        connection = world.queue.next_ready(world.queue.leads.all[0], ())
        if connection is not None and connection is not late:
            assert not world.stepper.advance(connection, world.clock.now())
    assert late.state is State.READY


def one_worker(world: World) -> tuple[WorkerPool, Worker]:
    """A pool of one worker, which leads."""
    settings, clock = EngineSettings(threads=1), cast(Any, world.clock)
    pool = WorkerPool(settings, world.queue, world.stepper, world.log, lambda: None, lambda: None, clock)
    worker = pool.workers[0]
    worker.lead = world.queue.leads.take()
    return pool, worker


@pytest.mark.parametrize("others", [1, 4])
def test_a_client_that_pipelines_without_end_lets_the_others_run(others: int) -> None:
    """One worker: the next connections have their turn after 16 runs of the same one."""
    world = World(Scheduler())
    runs: list[int] = []
    pool, worker = one_worker(world)
    for number in range(1 + others):
        connection = world.connection(7 + number)

        def run(number: int = number) -> None:
            runs.append(number)

        def step(events: int, now: float, number: int = number) -> Any:
            if len(runs) > 100:
                raise _Enough
            return RUN

        set_driver(connection, step=step, run=run)
        world.queue.put(connection)
    with pytest.raises(_Enough):
        pool._loop.serve(worker)
    turns = [runs[at : at + 16] for at in range(0, 96, 16)]
    assert turns == [[at % (1 + others)] * 16 for at in range(6)]


def test_a_turn_of_pipelined_requests_is_bounded_in_time() -> None:
    """Each step takes 1.5 ms, for a large head say: the next connection has its turn after two runs."""
    world = World(Scheduler())
    runs: list[int] = []
    pool, worker = one_worker(world)
    for number in range(2):
        connection = world.connection(7 + number)

        def step(events: int, now: float) -> Any:
            world.clock.time += 0.0015
            if len(runs) >= 8:
                raise _Enough
            return RUN

        set_driver(connection, step=step, run=lambda number=number: runs.append(number))
        world.queue.put(connection)
    with pytest.raises(_Enough):
        pool._loop.serve(worker)
    assert runs == [0, 0, 1, 1, 0, 0, 1, 1]


def _step(world: World, count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        connection = world.queue.next_ready(world.queue.leads.all[0], ())
        if connection is not None:
            found.append(connection.fd - 100)
    return found


def _arrive(world: World, count: int) -> None:
    for number in range(count):
        connection = world.connection(100 + number)
        connection.state = State.READY  # as the accept thread leaves it
        world.queue.put(connection)


def test_among_many_new_connections_the_newest_is_stepped_early() -> None:
    world = World(Scheduler())
    _arrive(world, 100)
    assert 99 in _step(world, 2)
    assert sorted(_step(world, 98)) == list(range(1, 99))


def test_a_few_new_connections_are_stepped_in_order() -> None:
    world = World(Scheduler())
    _arrive(world, 32)
    assert _step(world, 32) == list(range(32))


def test_the_monitor_steps_new_connections_in_the_order_of_their_arrival() -> None:
    world = World(Scheduler())
    world.queue.monitor_lead = world.queue.leads.all[0]
    _arrive(world, 100)
    assert _step(world, 100) == list(range(100))


def test_writable_connections_do_not_keep_the_leader_from_requests() -> None:
    world = World(Scheduler())
    for number in range(50):
        connection = world.connection(100 + number)
        world.queue.park(connection, 4, 2000.0, "write", State.FLUSHING)
        world.poller.fire(connection.fd)
    asking = world.connection(150)
    world.park(asking)
    world.poller.fire(150)
    assert 50 in _step(world, 2)
    assert len(set(_step(world, 49))) == 49


def test_the_leader_polls_after_few_steps_when_its_last_poll_is_too_old() -> None:
    world = World(Scheduler())
    for number in range(10):
        busy = world.connection(100 + number)
        world.queue.put(busy)
    quiet = world.connection(150)
    world.park(quiet)
    assert world.queue.next_ready(world.queue.leads.all[0], ()) is not None  # it polls, because it never has
    world.poller.fire(150)
    assert world.queue.next_ready(world.queue.leads.all[0], ()) is not None
    assert quiet.state is State.PARKED
    world.queue.leads.all[0].stepped_at = world.clock.time + 0.003
    assert world.queue.next_ready(world.queue.leads.all[0], ()) is not None
    assert quiet.state is State.READY
