"""The stepper: one step of a driver, and what follows from it."""

from __future__ import annotations

from typing import Any

from tests.engine.interleave import Scheduler
from tests.engine.world import World, set_driver


def test_a_driver_that_fails_closes_only_its_connection() -> None:
    world = World(Scheduler())
    failures = world.record_failures()
    connection = world.connection()

    def step(events: int, now: float) -> Any:
        raise ValueError("a fault")

    set_driver(connection, step=step)
    assert not world.stepper.advance(connection)
    assert world.closed == [connection]
    assert failures == ["a protocol driver failed; the connection is closed: a fault"]
