"""A connection that its worker has lent: it comes back in every order of the steps of the worker and the leader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from reserve.engine.connections.backpressure import make_room
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.output import Output
from reserve.engine.connections.states import NOTIFY, State
from reserve.errors import ClientDisconnected
from tests.engine.conftest import Explore
from tests.engine.interleave import Scheduler
from tests.engine.world import World


def _lend(scheduler: Scheduler, room: int | None, again: bool) -> tuple[World, Connection]:
    world = World(scheduler)
    connection = world.connection()
    cast(Any, connection.sock).room = 0
    connection.output = Output()
    connection.output.append(b"x" * 10)

    def application() -> str:
        connection.lend()
        cast(Any, connection.sock).room = room
        world.poller.fire(connection.fd)
        try:
            connection.reclaim()
            if again:
                if connection.output is None:
                    connection.output = Output()
                connection.output.append(b"y")
                connection.lend()
                world.poller.fire(connection.fd)
                connection.reclaim()
        except ClientDisconnected:
            return "lost"
        return "kept"

    def leader() -> None:
        while True:
            found = world.queue.next_ready(world.queue.leads.all[0], ())
            if found is not None:
                assert not world.stepper.advance(found, world.clock.now())

    scheduler.spawn("application", application)
    scheduler.spawn("leader", leader)
    return world, connection


@pytest.mark.parametrize("room", [0, 4, None])
@pytest.mark.parametrize("again", [False, True])
def test_a_lent_connection_comes_back(exploring: Explore, room: int | None, again: bool) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world, connection = _lend(scheduler, room, again)

        def check(blocked: list[str]) -> None:
            assert blocked == ["leader"], "its worker waits for ever"
            assert connection.state is State.OWNED
            assert not connection.token
            assert connection not in (*world.queue._ready, *world.queue._more)
            assert not connection.lent
            sent = bytes(cast(Any, connection.sock).outgoing)
            waiting = connection.output.size if connection.output is not None else 0
            assert len(sent) + waiting == (11 if again else 10)

        return check

    assert exploring(scenario, 2, 2 if room == 4 or not again else 1, "line") > 50


def test_a_lent_connection_that_is_notified_comes_back(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world, connection = _lend(scheduler, 0, True)
        scheduler.spawn("stop", lambda: world.queue.notify(connection, NOTIFY))

        def check(blocked: list[str]) -> None:
            assert blocked == ["leader"]
            assert connection.state is State.OWNED
            assert not connection.token

        return check

    assert exploring(scenario, 3, 1, "line") > 300


def test_a_lent_connection_whose_client_reads_nothing_is_neither_armed_nor_written_again() -> None:
    world = World(Scheduler())
    armed: list[int] = []
    arm = world.poller.arm

    def count(fd: int, mask: int) -> None:
        armed.append(fd)
        arm(fd, mask)

    world.poller.arm = world.poller.add = count  # type: ignore[method-assign]
    connection = world.connection()
    sock = cast(Any, connection.sock)
    sock.room = 0
    connection.write(b"x" * 1000)
    assert connection.output is not None
    sends: list[int] = []
    send = connection.sink.send
    sock.send = lambda data: sends.append(len(data)) or send(data)  # type: ignore[func-returns-value]
    for _ in range(100):
        connection.lend()
        connection.reclaim()
        assert make_room(connection, 1_000_000, 0, None)
        connection.write(b"more")
    assert (armed, sends) == ([connection.fd], [])
    connection.lend()
    sock.room = None
    world.poller.fire(connection.fd)
    found = world.queue.next_ready(world.queue.leads.all[0], ())
    while found is None:
        found = world.queue.next_ready(world.queue.leads.all[0], ())
    assert found is connection
    assert not world.stepper.advance(connection, world.clock.now())
    assert len(sock.outgoing) == 1400, "the event is lost"
    connection.reclaim()
    assert connection.output is None
