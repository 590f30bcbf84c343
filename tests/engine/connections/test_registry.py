"""The registry of open connections: another thread reaches a socket through it only while it is open."""

from __future__ import annotations

from tests.engine.interleave import Scheduler
from tests.engine.world import World


def test_another_thread_uses_a_socket_only_while_it_is_open() -> None:
    world = World(Scheduler())
    connection = world.connection(7)
    seen: list[bool] = []
    world.queue.registry.while_open(connection, lambda _: seen.append(world.queue.registry._lock.locked()))
    assert seen == [True], "its owner could close it meanwhile"
    world.queue.registry.remove(connection)
    world.queue.registry.while_open(connection, lambda _: seen.append(False))
    assert seen == [True]
