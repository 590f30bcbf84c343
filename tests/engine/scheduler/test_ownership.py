"""A connection has exactly one owner, whatever fails, and a request exactly one worker."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import KEEP_ALIVE, RUN
from reserve.engine.connections.states import NOTIFY, State
from reserve.engine.connections.straightline import RAN
from reserve.engine.polling.poller import READ
from reserve.engine.polling.timers import NEVER
from reserve.engine.scheduler.worker import Worker
from reserve.engine.scheduler.workerloop import WorkerLoop
from reserve.engine.scheduler.workers import WorkerPool
from reserve.engine.settings import EngineSettings
from tests.engine.interleave import Scheduler
from tests.engine.world import World, count_leads, set_driver


@pytest.mark.parametrize("overdue", [False, True], ids=["queued", "refused"])
def test_a_monitor_that_fails_closes_no_connection_that_it_has_handed_on(overdue: bool) -> None:
    world = World(Scheduler())
    connection = world.connection(7)
    monitor, queue = world.monitor, world.queue
    set_driver(connection, step=lambda events, now: RUN)
    assert queue.leads.take()

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
    monitor._lead_for_others(world.queue.leads.all[0])
    assert world.closed == [], "the monitor has closed a connection that a worker owns"


def test_a_worker_without_memory_for_the_call_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(Scheduler())
    connection = world.connection()
    pool = WorkerPool(world.settings, world.queue, world.stepper, world.log, lambda: None, lambda: None)

    def no_frame(self: WorkerLoop, worker: Worker, connection: Connection) -> bool:
        raise MemoryError

    monkeypatch.setattr(WorkerLoop, "_take_turn", no_frame)
    world.queue.run_queue.put(connection)
    worker = pool._make()
    worker.lead = world.queue.leads.take()
    with pytest.raises(MemoryError):
        pool._loop.serve(worker)
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
        assert pool.may_leave(idle)
        return full()

    def close_after_one_turn() -> float:
        world.queue.closed = True
        return NEVER

    monkeypatch.setattr(world.queue.run_queue, "full", look)
    world.monitor._request_watchdog = cast(Any, SimpleNamespace(look=close_after_one_turn))
    assert world.queue.leads.take()
    world.monitor._lead_for_others(world.queue.leads.all[0])
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
    world.queue.monitor_lead = world.queue.leads.all[0]
    assert world.queue._monitor_timeout() == 1000.0 + world.settings.queue_timeout


# ---- on the straight line ----


def straight_world(line: Any) -> tuple[World, WorkerPool, Worker, Connection]:
    """A worker that leads, and a connection whose next request has arrived and takes the straight line ``line``."""
    world = World(Scheduler())
    pool = WorkerPool(EngineSettings(threads=1), world.queue, world.stepper, world.log, lambda: None, lambda: None)
    connection = world.connection(7)
    set_driver(connection, straight=SimpleNamespace(straight_line=line))
    connection.between_requests = connection.edges = connection.watched = True
    connection.wait_kind = KEEP_ALIVE
    connection.pending = connection.armed = READ
    world.queue._ready.append(connection)
    connection.state = State.READY
    worker = pool.workers[0]
    worker.lead = world.queue.leads.take()
    return world, pool, worker, connection


def served(connection: Connection, now: float) -> float:
    """A straight line that serves each request at once."""
    connection.deadline = now + 15
    return now


class _NoMemory:
    """Raises MemoryError where ``name`` is read from what it stands before."""

    def __init__(self, behind: Any, name: str) -> None:
        self.__dict__.update(behind=behind, name=name, left=1)

    def __getattr__(self, name: str) -> Any:
        if name == self.name and self.left:
            self.__dict__["left"] -= 1
            raise MemoryError
        return getattr(self.behind, name)


@pytest.mark.parametrize("where", ["driver", "application", "clock", "alarm", "hand_over", "handled"])
@pytest.mark.parametrize("keeps", [False, True])
def test_without_memory_beside_a_straight_line_the_connection_is_closed_and_the_lead_is_not_lost(
    where: str, keeps: bool
) -> None:
    world, pool, worker, connection = straight_world(served)
    world.queue.policy.keeps = keeps
    if where == "driver":
        connection.driver = cast(Any, _NoMemory(connection.driver, "straight"))
    elif where == "application":
        connection.driver.straight = cast(Any, _NoMemory(connection.driver.straight, "straight_line"))
    elif where == "clock":
        pool._loop._now = cast(Any, no_memory)
    elif where == "alarm":
        world.queue.alarm = cast(Any, SimpleNamespace(asleep=True, wake=no_memory))
    elif where == "hand_over":
        world.queue.policy = cast(Any, _NoMemory(world.queue.policy, "keeps"))
    else:
        worker.__class__ = _NoNumber
    with pytest.raises(MemoryError):
        pool._loop.serve(worker)
    assert world.closed == [connection]
    assert worker.connection is None
    assert not connection.token
    assert count_leads(world.queue.leads, worker) == 1


def no_memory() -> Any:
    raise MemoryError


class _NoNumber(Worker):
    """A worker that has no memory for the number of its runs."""

    __slots__ = ()

    @property  # type: ignore[override]
    def handled(self) -> int:
        raise MemoryError


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("error", [MemoryError, ValueError, SystemExit])
def test_a_straight_line_that_fails_closes_its_connection_and_the_worker_goes_on(
    keeps: bool, error: type[BaseException]
) -> None:
    called: list[int] = []

    def line(connection: Connection, now: float) -> float:
        assert worker.connection is connection
        worker.after_run.append(lambda: called.append(1))
        raise error

    world, pool, worker, connection = straight_world(line)
    failures: list[BaseException] = []
    pool._loop._log = cast(Any, SimpleNamespace(failure=lambda text, error: failures.append(error)))
    world.queue.policy.keeps = keeps
    world.poller.poll = lambda timeout: setattr(world.queue, "closed", True) or []  # type: ignore[method-assign]
    assert pool._loop.serve(worker)
    assert [type(one) for one in failures] == [error]
    assert world.closed == [connection]
    assert called == [1], "what the application has given to be called after its response is called for the next one"
    assert (worker.connection, worker.handled, worker.finishing) == (None, 1, False)
    assert count_leads(world.queue.leads, worker) == 1


@pytest.mark.parametrize("notified", [False, True], ids=["event", "notification"])
def test_without_memory_after_a_straight_line_all_connections_are_looked_at_again(notified: bool) -> None:
    """The connection is parked: an event that came before is not reported a second time."""

    def line(connection: Connection, now: float) -> float:
        if notified:
            world.queue.notify(connection, NOTIFY)
        else:
            connection.missed = True
        return served(connection, now)

    world, pool, worker, connection = straight_world(line)
    world.queue.policy.keeps = True
    calls = world.queue if notified else world.poller
    name = "put" if notified else "arm"
    before = getattr(calls, name)

    def fail(*args: object) -> None:
        setattr(calls, name, before)
        raise MemoryError

    setattr(calls, name, fail)
    with pytest.raises(MemoryError):
        pool._loop.serve(worker)
    assert (world.closed, connection.state, len(connection.token)) == ([], State.PARKED, 1)
    assert world.poller.signalled
    assert world.queue.next_ready(world.queue.leads.all[0], ()) is connection


def test_what_is_called_after_a_response_may_fail_without_memory_and_another_worker_keeps_the_connection() -> None:
    """The log fails, too; meanwhile another worker has taken the connection."""

    def after_run() -> None:
        assert world.queue._more.pop() is connection
        connection.state = State.OWNED
        raise ValueError

    def line(connection: Connection, now: float) -> int:
        worker.after_run.append(after_run)
        return RAN

    world, pool, worker, connection = straight_world(line)
    pool._loop._log = cast(Any, SimpleNamespace(failure=lambda text, error: no_memory()))
    with pytest.raises(MemoryError):
        pool._loop.serve(worker)
    assert world.closed == []
    assert (worker.finishing, worker.connection) == (False, None)
    assert count_leads(world.queue.leads, worker) == 1


def test_after_a_straight_line_the_lead_may_have_another_thread_and_there_may_be_no_memory_to_say_so() -> None:
    """``pop`` on an empty deque makes an exception, for which there is no memory."""

    class Token(list[bool]):
        def pop(self) -> bool:  # type: ignore[override]
            if not self:
                world.queue.closed = True
                raise MemoryError
            return super().pop()

    def line(connection: Connection, now: float) -> float:
        token.clear()  # the monitor leads now
        return served(connection, now)

    world, pool, worker, connection = straight_world(line)
    token = world.queue.leads.all[0].token = cast(Any, Token())
    world.queue.policy.keeps = True
    assert pool._loop.serve(worker)
    assert (world.closed, connection.state, len(connection.token)) == ([], State.PARKED, 1)
    assert worker.lead is None
