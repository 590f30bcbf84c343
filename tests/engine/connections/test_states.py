"""Every transition of the table of states happens, and the doubles of the engine's tests allow no other."""

from __future__ import annotations

from typing import Any, cast

import pytest

from reserve.engine.connections.driver import CLOSE, LINGER, Wait
from reserve.engine.connections.states import (
    FLUSHING,
    LINGERING,
    NOTIFY,
    OWNED,
    PARKED,
    READY,
    TRANSITIONS,
    State,
)
from reserve.engine.polling.poller import READ, WRITE
from reserve.engine.polling.token import take
from tests.engine.interleave import Scheduler
from tests.engine.world import TracedConnection, World, set_driver

WAITING = (PARKED, FLUSHING, LINGERING)


def park(world: World, connection: TracedConnection, state: State) -> None:
    world.queue.park(connection, WRITE if state is FLUSHING else READ, 2000.0, "test", state)


def step(action: Any) -> list[tuple[State, State]]:
    """The transitions of a connection that is ready and whose driver returns ``action``."""
    world = World(Scheduler())
    connection = world.connection()
    world.queue.put(connection)
    set_driver(connection, step=lambda events, now: action)
    assert not world.stepper.advance(connection, world.clock.now())
    return connection.transitions


def notify(state: State) -> list[tuple[State, State]]:
    world = World(Scheduler())
    connection = world.connection()
    park(world, connection, state)
    world.queue.notify(connection, NOTIFY)
    return connection.transitions


def shut_down(state: State) -> list[tuple[State, State]]:
    """The transitions of a connection that the shutdown closes at its deadline."""
    world = World(Scheduler())
    connection = world.connection()
    if state is READY:
        world.queue.put(connection)
        assert world.queue.take_all() == [connection]
    else:
        park(world, connection, state)
        assert take(connection.token)
    world.stepper.closer.close_now(connection, "stop")
    return connection.transitions


def reclaim() -> list[tuple[State, State]]:
    world = World(Scheduler())
    connection = world.connection()
    cast(Any, connection.sock).room = 0
    connection.write(b"more than there is room for")
    connection.lend()
    connection.reclaim()
    return connection.transitions


def detach() -> list[tuple[State, State]]:
    """The transitions of a connection whose handler takes the socket, and then returns."""
    world = World(Scheduler())
    connection = world.connection()
    world.queue.registry.remove(connection)
    set_driver(connection, step=lambda events, now: CLOSE)
    assert not world.stepper.advance(connection, world.clock.now())
    return connection.transitions


def test_every_transition_of_the_table_happens() -> None:
    seen = {
        transition
        for transitions in (
            step(Wait("test", READ)),
            step(CLOSE),
            step(LINGER),
            reclaim(),
            detach(),
            *map(notify, WAITING),
            *map(shut_down, (READY, *WAITING)),
        )
        for transition in transitions
    }
    assert seen == {(state, then) for state in State for then in TRANSITIONS[state]}


def test_another_transition_is_an_error() -> None:
    connection = World(Scheduler()).connection()
    connection.state = PARKED
    with pytest.raises(AssertionError, match="PARKED"):
        connection.state = OWNED
