"""Single decisions of the stepper that a real peer cannot be made to provoke."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from reserve.engine.connection import DEADLINE, Connection, State
from reserve.engine.driver import LINGER, Wait
from reserve.engine.output import Output
from reserve.engine.poller import READ, WRITE
from tests.engine.interleave import Scheduler
from tests.engine.test_races import World


def _flushing(world: World, room: int | None, **driver: Any) -> Connection:
    """It waits for room until a deadline that has just passed."""
    connection = world.connection()
    connection.driver = cast(Any, SimpleNamespace(closed=lambda reason: False, **driver))
    connection.output = Output()
    connection.output.append(b"last octets")
    world.queue.park(connection, WRITE, world.clock.time, "write", State.FLUSHING)
    assert connection.take()
    connection.pending = DEADLINE
    cast(Any, connection.sock).room = room
    return connection


def test_output_that_leaves_at_the_last_moment_is_not_late() -> None:
    """The write deadline is the output's; the driver's own has not passed."""
    world = World(Scheduler())
    events: list[int] = []
    wait = Wait("idle", READ, world.clock.time + 100)

    def step(seen: int, now: float) -> Wait:
        events.append(seen)
        return wait

    def expired(kind: str, now: float) -> Any:
        raise AssertionError("it has time left")

    connection = _flushing(world, None, step=step, expired=expired)
    assert not world.stepper.advance(connection)
    assert events == [0]
    assert connection.state is State.PARKED
    assert connection.deadline == world.clock.time + 100


def test_last_words_that_leave_at_the_last_moment_are_followed_by_lingering() -> None:
    world = World(Scheduler())
    connection = _flushing(world, None)
    connection.closing = LINGER
    assert not world.stepper.advance(connection)
    assert connection.state is State.LINGERING


@pytest.mark.parametrize(("room", "state"), [(0, State.CLOSED), (3, State.FLUSHING)])
def test_a_peer_that_takes_something_gets_more_time(room: int, state: State) -> None:
    world = World(Scheduler())
    connection = _flushing(world, room)
    assert not world.stepper.advance(connection)
    assert connection.state is state
    assert (connection in world.closed) == (state is State.CLOSED)
    if state is State.FLUSHING:
        assert connection.deadline == world.clock.time + world.settings.write_timeout


def test_a_driver_that_fails_costs_its_connection_alone() -> None:
    world = World(Scheduler())
    failures: list[str] = []
    world.stepper._logs = cast(Any, SimpleNamespace(failure=lambda text, error: failures.append(f"{text}: {error}")))
    connection = world.connection()

    def step(events: int, now: float) -> Any:
        raise ValueError("a fault")

    connection.driver = cast(Any, SimpleNamespace(step=step, closed=lambda reason: False))
    assert not world.stepper.advance(connection)
    assert world.closed == [connection]
    assert failures == ["a protocol driver failed; the connection is closed: a fault"]
