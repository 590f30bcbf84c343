"""One connection that always has something to do must not keep the threads from the others: order, counted in turns."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from reserve.engine.connection import Connection, State
from reserve.engine.driver import AGAIN, RUN, Wait
from reserve.engine.poller import READ
from reserve.engine.settings import EngineSettings
from reserve.engine.workers import WorkerPool
from tests.engine.interleave import Scheduler
from tests.engine.test_races import World


class _Enough(BaseException):
    """Ends a loop that has no end of its own."""


def _driver(connection: Connection, **methods: Any) -> None:
    connection.driver = cast(Any, SimpleNamespace(closed=lambda reason: False, **methods))


@pytest.mark.parametrize("always_ready", [1, 3])
def test_the_leader_looks_for_events_although_some_connections_are_always_ready(always_ready: int) -> None:
    world = World(Scheduler())
    steps = 0

    def again(events: int, now: float) -> Any:
        nonlocal steps
        steps += 1
        return AGAIN

    for number in range(always_ready):
        busy = world.connection(7 + number)
        _driver(busy, step=again)
        world.queue.put(busy)
    quiet = world.connection(20)
    stepped: list[int] = []
    wait = Wait("idle", READ)

    def step(events: int, now: float) -> Wait:
        stepped.append(steps)
        return wait

    _driver(quiet, step=step)
    world.park(quiet)
    for round_number in (1, 2, 3):
        world.poller.fire(quiet.fd)
        limit = steps + 64 + always_ready
        while len(stepped) < round_number and steps <= limit:
            connection = world.queue.next_ready(())
            assert connection is not None
            assert not world.stepper.advance(connection)
        assert len(stepped) == round_number, "the event of another connection is not seen"


def test_a_deadline_passes_although_a_connection_is_always_ready() -> None:
    world = World(Scheduler())
    busy, late = world.connection(7), world.connection(8)
    steps = 0

    def again(events: int, now: float) -> Any:
        nonlocal steps
        steps += 1
        return AGAIN

    _driver(busy, step=again)
    world.queue.put(busy)
    world.park(late, world.clock.time + 5)
    world.clock.time += 10
    while late.state is State.PARKED and steps <= 70:
        connection = world.queue.next_ready(())
        if connection is not None and connection is not late:
            assert not world.stepper.advance(connection)
    assert late.state is State.READY


@pytest.mark.parametrize("others", [1, 4])
def test_a_client_that_pipelines_for_ever_lets_the_others_run(others: int) -> None:
    """One worker: the next connections have their turn after 16 runs of the same one."""
    world = World(Scheduler())
    runs: list[int] = []
    pool = WorkerPool(EngineSettings(threads=1), world.queue, world.stepper, world.logs, lambda: None, lambda: None)
    worker = pool.workers[0]
    assert world.queue.lead.take()
    worker.leads = True
    for number in range(1 + others):
        connection = world.connection(7 + number)

        def run(number: int = number) -> None:
            runs.append(number)

        def step(events: int, now: float, number: int = number) -> Any:
            if len(runs) > 100:
                raise _Enough
            return RUN

        _driver(connection, step=step, run=run)
        world.queue.put(connection)
    with pytest.raises(_Enough):
        pool._serve(worker)
    turns = [runs[at : at + 16] for at in range(0, 96, 16)]
    assert turns == [[at % (1 + others)] * 16 for at in range(6)]
