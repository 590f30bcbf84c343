"""The stepper: one step of a driver, and what follows from it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from reserve.engine.connections.driver import CLOSE, RUN, Action, Wait
from reserve.engine.connections.states import DEADLINE
from reserve.engine.polling.poller import READ
from tests.engine.interleave import Scheduler
from tests.engine.world import TracedConnection, World, set_driver


def test_a_driver_that_fails_closes_only_its_connection() -> None:
    world = World(Scheduler())
    failures = world.record_failures()
    connection = world.connection()

    def step(events: int, now: float) -> Any:
        raise ValueError("a fault")

    set_driver(connection, step=step)
    assert not world.stepper.advance(connection, world.clock.now())
    assert world.closed == [connection]
    assert failures == ["a protocol driver failed; the connection is closed: a fault"]


@pytest.fixture
def expired() -> tuple[World, TracedConnection]:
    """A connection that waits for its peer, and whose deadline has passed."""
    world = World(Scheduler())
    connection = world.connection()
    world.park(connection, 1500.0)
    world.clock.time = 1600.0
    world.queue._reactor.collect(0.0, world.queue._ready)
    assert connection.pending == DEADLINE
    return world, connection


def calls_of(connection: TracedConnection, action: Action) -> list[Any]:
    """What the driver is told from now on; its step returns ``action``."""
    calls: list[Any] = []

    def step(events: int, now: float) -> Action:
        calls.append(events)
        return action

    def expired(kind: str, now: float) -> Action:
        calls.append(kind)
        return CLOSE

    set_driver(connection, step=step, expired=expired)
    return calls


def test_a_request_that_arrived_while_the_process_was_paused_counts_before_the_deadline(
    expired: tuple[World, TracedConnection],
) -> None:
    world, connection = expired
    cast(Any, connection.sock).incoming += b"request"
    calls = calls_of(connection, RUN)
    assert world.stepper.advance(connection, world.clock.now())
    assert calls == [READ]


def test_a_part_that_has_arrived_does_not_move_a_deadline_that_has_passed(
    expired: tuple[World, TracedConnection],
) -> None:
    world, connection = expired
    cast(Any, connection.sock).incoming += b"req"
    wait = Wait("head", READ)
    wait.deadline = 1500.0
    calls = calls_of(connection, wait)
    assert not world.stepper.advance(connection, world.clock.now())
    assert calls == [READ, "head"]
    assert world.closed == [connection]


def test_a_deadline_passes_when_nothing_has_arrived(expired: tuple[World, TracedConnection]) -> None:
    world, connection = expired
    calls = calls_of(connection, RUN)
    assert not world.stepper.advance(connection, world.clock.now())
    assert calls == ["test"]
