"""The pool without a server: which workers count against the maximum, and what follows a run. No thread is started."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reserve.engine.polling.waiter import Alarm
from reserve.engine.scheduler.worker import Exemption, Worker
from reserve.engine.scheduler.workers import Waiting, WorkerPool
from reserve.engine.settings import EngineSettings
from reserve.errors import UsageError
from tests.engine.world import StandingClock


class FakeQueue:
    """As much of the queue as the pool uses here."""

    def __init__(self) -> None:
        self.closed = self.abandoned = False
        self.monitor_lead = object()
        self.alarm = Alarm()
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1

    def __len__(self) -> int:
        return 0


def make_pool(**settings: Any) -> tuple[WorkerPool, FakeQueue]:
    queue = FakeQueue()
    log = cast(Any, SimpleNamespace(error=lambda text: None))
    pool = WorkerPool(
        EngineSettings(**settings), cast(Any, queue), cast(Any, None), log, lambda: None, lambda: None,
        cast(Any, StandingClock()),
    )  # fmt: skip
    return pool, queue


def run_on(pool: WorkerPool, worker: Worker) -> None:
    """From now on the calling thread is this worker's, inside a run."""
    worker.ident = threading.get_ident()
    driver = SimpleNamespace(describe=lambda: "GET /", client=lambda: "")
    worker.connection = cast(Any, SimpleNamespace(driver=driver, peer=("192.0.2.1", 50000)))


def test_an_exempt_worker_leaves_its_place_and_the_monitor_is_woken_to_fill_it() -> None:
    pool, queue = make_pool(threads=2)
    first, _ = pool.workers
    assert (pool._counted(), pool.grow_wanted) == (2, False)
    assert pool.exempt(first, pool.waiting)
    assert (pool._counted(), pool.exempt_count(pool.waiting)) == (1, 1)
    assert pool.grow_wanted
    assert queue.woken == 1
    pool.end_exemption(first, pool.waiting)
    assert (pool._counted(), pool.exempt_count(pool.waiting)) == (2, 0)


def test_each_reason_has_its_own_limit_and_ends_only_itself() -> None:
    pool, _ = make_pool(threads=3, max_waiting=1)
    first, second, third = pool.workers
    other = Exemption(1)
    assert pool.exempt(first, pool.waiting)
    assert not pool.exempt(second, pool.waiting)
    assert second.exempt is None
    assert pool.exempt(second, other)
    assert not pool.exempt(third, other)
    assert not pool.exempt(first, other)
    assert first.exempt is pool.waiting  # as before
    pool.end_exemption(first, other)
    assert first.exempt is pool.waiting
    assert pool._counted() == 1


def test_the_pool_keeps_its_minimum_of_workers_that_count() -> None:
    pool, _ = make_pool(threads=(1, 3))
    (first,) = pool.workers
    second = pool._make()
    pool.workers = (first, second)
    assert pool.exempt(first, pool.waiting)
    assert not pool.may_leave(second)
    pool.end_exemption(first, pool.waiting)
    assert pool.may_leave(second)


def test_a_surplus_worker_leaves_with_its_lead() -> None:
    pool, queue = make_pool(threads=1)
    given: list[Worker] = []
    queue.give_lead = given.append  # type: ignore[attr-defined]
    (first,) = pool.workers
    second = pool._make()
    pool.workers = (first, second)
    second.exempt = pool.waiting
    assert not pool.leave_surplus(first)
    second.exempt = None
    assert pool.leave_surplus(first)
    assert pool.workers == (second,)
    assert given == [first]
    assert not pool.leave_surplus(second)


def test_no_worker_becomes_exempt_once_the_queue_is_closed() -> None:
    pool, queue = make_pool(threads=1)
    queue.closed = True
    assert not pool.exempt(pool.workers[0], pool.waiting)
    assert not pool.grow_wanted


def test_a_block_of_an_earlier_run_does_not_end_that_of_a_later_one() -> None:
    pool, _ = make_pool(threads=1)
    (worker,) = pool.workers
    run_on(pool, worker)
    left_open = Waiting(pool)
    assert left_open.__enter__()
    worker.exempt, worker.handled = None, 1  # the end of the run
    with Waiting(pool) as granted:
        assert granted
        left_open.__exit__()
        assert worker.exempt is pool.waiting
    assert worker.exempt is None


def test_a_worker_between_two_runs_does_not_wait() -> None:
    pool, _ = make_pool(threads=1)
    pool.workers[0].ident = threading.get_ident()
    with Waiting(pool) as granted:
        assert not granted
    with pytest.raises(UsageError, match="before the response ends"):
        pool.call_after_run(print)


def test_the_time_of_a_run_never_becomes_shorter() -> None:
    pool, _ = make_pool(threads=1)
    pool.extend(5)  # on no worker: nothing
    (worker,) = pool.workers
    assert worker.extended_to == 0
    run_on(pool, worker)
    pool.extend(5)
    pool.extend(2)
    assert worker.extended_to == 1005.0


def test_the_worker_of_another_thread_is_not_found() -> None:
    pool, _ = make_pool(threads=1)
    run_on(pool, pool.workers[0])
    found: list[Worker | None] = []
    thread = threading.Thread(target=lambda: found.append(pool.current()))
    thread.start()
    thread.join()
    assert found == [None]
    assert pool.current() is pool.workers[0]


def test_a_worker_whose_upgraded_connection_ends_with_a_fault_of_the_engine_gives_its_place_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, _ = make_pool(threads=1, max_upgraded=1)
    (worker,) = pool.workers
    failures: list[BaseException] = []
    monkeypatch.setattr(pool, "_log", SimpleNamespace(failure=lambda text, error, kind: failures.append(error)))
    monkeypatch.setattr(pool, "grow", lambda: False)

    def serve(worker: Worker) -> bool:
        run_on(pool, worker)
        assert pool.upgrade(cast(Any, worker.connection))
        assert (pool.workers, pool.upgraded) == ((), (worker,))
        assert pool.upgraded_threads() == (f"{worker.thread.name}: GET / from 192.0.2.1:50000",)
        worker.handled += 1
        raise MemoryError

    monkeypatch.setattr(pool._loop, "serve", serve)
    pool._main(worker)
    assert [type(error) for error in failures] == [MemoryError]
    assert (pool.upgraded, pool.handled()) == ((), 1)
    assert not pool._upgrades_full()
