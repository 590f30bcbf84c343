"""The reactor: events and deadlines make waiting connections ready, and none is lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, cast

import pytest

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.output import Output
from reserve.engine.connections.states import DEADLINE, State
from reserve.engine.polling.poller import READ, WRITE
from reserve.engine.polling.timers import NEVER
from reserve.engine.polling.token import take
from tests.engine.conftest import Explore, recorded_polls
from tests.engine.interleave import Scheduler
from tests.engine.world import World


def test_an_earlier_deadline_wakes_the_leader(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        early, late = world.connection(7), world.connection(8)

        def leader() -> None:
            while True:
                world.queue.next_ready(world.queue.leads.all[0], ())

        scheduler.spawn("leader", leader)
        scheduler.spawn("late", lambda: world.park(late, 3000.0))
        scheduler.spawn("early", lambda: world.park(early, 2000.0))

        def check(blocked: list[str]) -> None:
            assert blocked == ["leader"]
            assert world.queue.timers.next_at == 2000.0
            assert world.poller.timeout == 2000.0, "the leader waits for a later deadline"
            assert (early.timer_at, late.timer_at) == (2000.0, 3000.0)

        return check

    assert exploring(scenario, 3, 1, "line") > 100


def test_a_timer_that_is_due_while_its_connection_is_parked_again_is_not_lost(exploring: Explore) -> None:
    """The timer has an earlier deadline; the owner parks with a later one while the leader removes the timer."""

    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        connection = world.connection()
        world.park(connection, 1500.0)
        assert take(connection.token)
        connection.state = State.READY
        connection.state = State.OWNED
        world.clock.time = 1600.0
        scheduler.spawn("leader", lambda: world.queue._reactor._expire(1600.0))
        scheduler.spawn("owner", lambda: world.park(connection, 1700.0))

        def check(blocked: list[str]) -> None:
            assert blocked == []
            queued = len(world.queue._ready) + len(world.queue._more)
            assert queued + len(connection.token) == 1
            if connection.token:
                assert connection.timer_at == 1700.0, "the connection is parked without a timer"
            else:
                assert connection.pending == 0  # a step without an event, which parks it again

        return check

    assert exploring(scenario, 2, 2, "line") > 50


def test_a_lost_event_of_a_reclaimed_connection_is_waited_for_again() -> None:
    """A worker lends its connection and reclaims it. The event came meanwhile, and no memory is left to report it."""
    world = World(Scheduler())
    connection = world.connection(7)
    armed: list[int] = []
    world.poller.arm = lambda fd, mask: armed.append(mask)  # type: ignore[method-assign]
    connection.watched = True
    connection.output = Output()
    connection.output.append(b"x" * 5000)
    connection.lend()
    connection.reclaim()
    assert armed == [WRITE]

    def no_memory(timeout: float | None) -> list[tuple[int, int]]:
        raise MemoryError

    poll, world.poller.poll = world.poller.poll, no_memory  # type: ignore[method-assign]
    with pytest.raises(MemoryError):
        world.queue.next_ready(world.queue.leads.all[0], ())
    world.poller.poll = poll  # type: ignore[method-assign]
    world.poller.signalled = True
    assert world.queue.next_ready(world.queue.leads.all[0], ()) is None
    connection.lend()
    assert armed == [WRITE, WRITE] or connection.state is State.READY, (
        "the connection waits for an event that was consumed"
    )


def test_an_event_makes_a_connection_ready_in_the_line_of_its_state() -> None:
    world = World(Scheduler())
    reading, writing = world.connection(7), world.connection(8)
    world.park(reading)
    world.queue.park(writing, WRITE, 2000.0, "write", State.FLUSHING)
    world.poller.events = [(7, READ), (8, WRITE), (99, READ)]  # 99: a connection that has been closed
    world.queue._reactor.collect(0.0, world.queue._ready)
    assert (list(world.queue._ready), list(world.queue._more)) == ([reading], [writing])
    assert (reading.state, reading.pending) == (State.READY, READ)
    assert (writing.state, writing.pending) == (State.READY, WRITE)


def test_an_event_of_an_owned_connection_is_left_to_its_owner() -> None:
    world = World(Scheduler())
    connection = world.connection()
    world.poller.events = [(connection.fd, READ)]
    world.queue._reactor.collect(0.0, world.queue._ready)
    assert len(world.queue._ready) == len(world.queue._more) == 0
    assert (connection.state, connection.pending, connection.missed) == (State.OWNED, 0, True)


def test_a_deadline_that_was_moved_is_waited_for_again() -> None:
    world = World(Scheduler())
    connection = world.connection()
    world.park(connection, 1500.0)
    connection.deadline = 1800.0
    world.clock.time = 1600.0
    world.queue._reactor.collect(0.0, world.queue._ready)
    assert (connection.state, connection.timer_at) == (State.PARKED, 1800.0)
    world.clock.time = 1800.0
    world.queue._reactor.collect(0.0, world.queue._ready)
    assert (connection.state, connection.pending) == (State.READY, DEADLINE)


def test_a_closed_connection_is_not_scheduled() -> None:
    world = World(Scheduler())
    connection = world.connection()
    world.stepper.closer.dispose(connection)
    world.queue._reactor.schedule(connection, 1500.0)
    assert connection.timer_at == NEVER
    assert not any(world.queue.timers._buckets.values())


def test_full_polls_are_followed_by_others_and_their_number_is_bounded() -> None:
    world = World(Scheduler())
    timeouts = recorded_polls(cast(Any, world.poller))
    world.poller.events = [(99, READ)] * 64
    world.queue._reactor.collect(None, world.queue._ready)
    assert timeouts == [None, 0.0]

    def always_full(timeout: float | None) -> list[tuple[int, int]]:
        timeouts.append(timeout)
        return [(99, READ)] * 64

    world.poller.poll = always_full  # type: ignore[method-assign]
    timeouts.clear()
    world.queue._reactor.collect(None, world.queue._ready)
    assert timeouts == [None] + [0.0] * 15


class FullLine(deque[Connection]):
    """A line that gets no memory for the first connection."""

    full = True

    def append(self, connection: Connection) -> None:
        if self.full:
            self.full = False
            raise MemoryError
        super().append(connection)


@pytest.mark.parametrize("cause", ["event", "deadline"])
def test_after_a_lack_of_memory_every_waiting_connection_is_stepped(cause: str) -> None:
    world = World(Scheduler())
    one, two = world.connection(7), world.connection(8)
    world.park(one, 1500.0)
    world.park(two)
    reactor = world.queue._reactor
    ready = reactor._ready = FullLine()
    if cause == "event":
        world.poller.fire(one.fd)
    else:
        world.clock.time = 1500.0
    with pytest.raises(MemoryError):
        reactor.collect(0.0, ready)
    assert reactor.overlooked
    assert (len(one.token), len(ready)) == (1, 0), "the connection has an owner"
    world.poller.signalled = True
    reactor.collect(None, ready)  # without waiting
    assert world.poller.timeout == 0.0
    assert list(reactor._ready) == [one, two]
    assert (one.state, two.state, reactor.overlooked) == (State.READY, State.READY, False)


def test_a_leader_is_woken_although_there_is_no_memory_for_the_first_call() -> None:
    world = World(Scheduler())
    reactor = world.queue._reactor
    reactor.polling.append(True)
    signal, failures = reactor.wake, [MemoryError(), MemoryError()]

    def wake() -> None:
        if failures:
            raise failures.pop()
        signal()

    reactor.wake = wake
    reactor.wake_leader()
    assert world.poller.signalled
    assert not reactor.polling
