"""A connection has exactly one owner, whatever fails, and a request exactly one worker."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import RUN
from reserve.engine.connections.states import State
from reserve.engine.polling.timers import NEVER
from reserve.engine.scheduler.workers import Worker, WorkerPool
from reserve.engine.settings import EngineSettings
from tests.engine.interleave import Scheduler
from tests.engine.world import World, set_driver


@pytest.mark.parametrize("overdue", [False, True], ids=["queued", "refused"])
def test_a_monitor_that_fails_closes_no_connection_that_it_has_handed_on(overdue: bool) -> None:
    world = World(Scheduler())
    connection = world.connection(7)
    monitor, queue = world.monitor, world.queue
    set_driver(connection, step=lambda events, now: RUN)
    assert queue.lead.take()

    def served() -> Connection:
        """A worker takes the request at this moment."""
        taken = queue.run_queue.take()
        taken.state = State.OWNED
        return taken

    def look() -> float:
        if queue.run_queue.waiting and not overdue:
            served()
        queue.closed = True
        if not overdue:
            raise MemoryError
        return 0.0

    def refuse(connection: Connection, reason: str, why: str) -> None:
        """The connection lingers, and the next thread that steps it owns it at once."""
        assert connection.state is State.OWNED
        take = queue.run_queue.take_overdue

        def fail(now: float) -> Connection | None:
            queue.run_queue.take_overdue = take  # type: ignore[method-assign]
            raise MemoryError

        queue.run_queue.take_overdue = fail  # type: ignore[method-assign]

    monitor._request_watchdog = cast(Any, SimpleNamespace(look=look))
    if overdue:
        world.stepper.refuse = refuse  # type: ignore[method-assign]
        queue.run_queue.put(connection, world.clock.time - 1000)
    else:
        queue.put(connection)
    monitor._lead()
    assert world.closed == [], "the monitor has closed a connection that a worker owns"


def test_a_worker_without_memory_for_the_call_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(Scheduler())
    connection = world.connection()
    pool = WorkerPool(world.settings, world.queue, world.stepper, world.log, lambda: None, lambda: None)

    def no_frame(self: WorkerPool, worker: Worker, connection: Connection) -> bool:
        raise MemoryError

    monkeypatch.setattr(WorkerPool, "_take_turn", no_frame)
    world.queue.run_queue.put(connection)
    assert world.queue.lead.take()
    worker = pool._make()
    worker.leads = True
    with pytest.raises(MemoryError):
        pool._serve(worker)
    assert world.closed == [connection]


def test_a_worker_that_exits_as_a_request_arrives_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The monitor has found the pool full; then the idle worker exits, because nothing is queued yet."""
    world = World(Scheduler())
    settings = EngineSettings(threads=(1, 2))
    pool = WorkerPool(settings, world.queue, world.stepper, world.log, lambda: None, lambda: None)
    started: list[str] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread.name))
    idle = pool._make()
    pool.workers = (*pool.workers, idle)
    world.monitor._pool = pool
    connection = world.connection(7)
    set_driver(connection, step=lambda events, now: RUN)
    world.queue.put(connection)
    full = world.queue.run_queue.full

    def look() -> bool:
        assert pool._may_leave(idle)
        return full()

    def close_after_one_turn() -> float:
        world.queue.closed = True
        return NEVER

    monkeypatch.setattr(world.queue.run_queue, "full", look)
    world.monitor._request_watchdog = cast(Any, SimpleNamespace(look=close_after_one_turn))
    assert world.queue.lead.take()
    world.monitor._lead()
    assert list(world.queue.run_queue.waiting) == [connection]
    assert (len(pool.workers), len(started)) == (2, 1)


def test_a_worker_that_takes_a_request_does_not_hide_how_long_the_others_have_waited() -> None:
    world = World(Scheduler())

    class RunQueue(deque[Connection]):
        """Changes during the first iteration."""

        iterations = 0

        def __iter__(self) -> Iterator[Connection]:
            self.iterations += 1
            found = super().__iter__()
            if self.iterations == 1:
                self.popleft()
            return found

    world.queue.run_queue.waiting = RunQueue()
    for fd in (7, 8):
        world.queue.run_queue.put(world.connection(fd), 1000.0)
    world.queue.monitor_leads = True
    assert world.queue._next_deadline() == 1000.0 + world.settings.queue_timeout
