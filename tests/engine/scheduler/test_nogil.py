"""What makes the scheduler right without the GIL. Each test runs with the GIL, too.

Where two threads write one thing each and then read the other's, each passes a lock in between. The tests let the other
thread act at that moment, which is the last one at which it can overlook this thread: then this one has to see it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from reserve.engine.connections.driver import KEEP_ALIVE, Wait
from reserve.engine.connections.states import CLOSE_IDLE, NOTIFY, State
from reserve.engine.logs import errorlog
from reserve.engine.logs.errorlog import LineWriter
from reserve.engine.polling import waiter
from reserve.engine.polling.poller import READ, PortablePoller
from reserve.engine.polling.timers import NEVER, Timers
from reserve.engine.polling.wakeup import Wakeup
from reserve.engine.scheduler import lead as leadmodule
from reserve.engine.scheduler import workers as workersmodule
from reserve.engine.scheduler.lead import Leads
from reserve.engine.scheduler.runguard import reporting_timeout
from reserve.errors import RequestTimeout
from tests.engine.conftest import Explore
from tests.engine.interleave import Scheduler
from tests.engine.scheduler.test_workers import make_pool
from tests.engine.world import World, set_driver

Between = Callable[[Any, Callable[[Any], object]], list[Any]]


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Between:
    """``between(module, act)``: ``act(deque)`` is called whenever the module passes the lock of a deque; the result
    has these deques.
    """

    def replace(module: Any, act: Callable[[Any], object]) -> list[Any]:
        passed: list[Any] = []
        pass_lock = module.pass_lock

        def acting(queue: Any) -> None:
            passed.append(queue)
            act(queue)
            pass_lock(queue)

        monkeypatch.setattr(module, "pass_lock", acting)
        return passed

    return replace


def test_the_lock_of_each_token_and_that_of_the_followers_is_passed(between: Between) -> None:
    leads = Leads(deque(), deque(), deque())
    passed = between(leadmodule, lambda queue: None)
    leads.synchronize()
    wanted = [*(lead.token for lead in leads.all), leads.followers]
    assert [any(one is other for other in passed) for one in wanted] == [True] * 4
    assert all(lead.free for lead in leads.all), "the tokens stay"


def test_a_run_that_begins_as_the_monitor_goes_to_sleep_is_seen(between: Between) -> None:
    """The run is counted, and its worker has not seen that the monitor sleeps."""
    world = World(Scheduler())
    (lead,) = world.queue.leads.all
    assert lead.take()

    def act(queue: Any) -> None:
        if queue is lead.token:
            assert world.alarm.asleep, "it is set before"
            lead.runs += 1

    between(leadmodule, act)
    world.alarm._acquire = None  # type: ignore[assignment]  # it would sleep
    world.monitor._sleep(world.queue.leads.runs, NEVER)
    assert not world.alarm.asleep


def test_the_worker_that_begins_a_timed_run_sees_that_the_monitor_sleeps(between: Between) -> None:
    world = World(Scheduler())

    def fall_asleep(queue: Any) -> None:
        world.alarm.asleep = True

    between(waiter, fall_asleep)
    world.queue.timed_run_begins()
    assert world.alarm.wait(0), "it is woken"


def test_the_worker_that_begins_a_timed_run_sees_that_the_monitor_leads(between: Between) -> None:
    world = World(Scheduler())

    def lead(queue: Any) -> None:
        world.queue.monitor_lead = world.queue.leads.all[0]

    between(waiter, lead)
    world.queue.timed_run_begins()
    assert world.poller.signalled


def test_the_monitor_that_begins_to_lead_passes_the_lock_of_its_alarm(between: Between) -> None:
    world = World(Scheduler())
    (lead,) = world.queue.leads.all
    assert lead.take()
    seen: list[Any] = []
    between(waiter, lambda queue: seen.append(world.queue.monitor_lead))
    world.queue.closed = True
    world.monitor._lead_for_others(lead)
    assert seen == [lead]


def test_two_workers_at_once_never_both_get_the_last_place(between: Between) -> None:
    pool, _ = make_pool(threads=2, max_waiting=1)
    first, second = pool.workers

    def become_exempt(queue: Any) -> None:
        assert first.exempt is pool.waiting, "it is set before"
        second.exempt = pool.waiting

    between(workersmodule, become_exempt)
    assert not pool.exempt(first, pool.waiting)
    assert first.exempt is None


def test_a_line_that_is_put_as_the_log_goes_to_sleep_is_seen(between: Between) -> None:
    """Its producer has not seen that the thread sleeps, and does not wake it."""
    writer = LineWriter("test", lambda lines: None, lambda count: None)
    writer.asleep = False

    def put(queue: Any) -> None:
        assert queue is writer.records
        assert (writer.asleep, writer._sleeping) == (True, True), "both are set before"
        writer.records.append("line")

    between(errorlog, put)
    writer._waiter._acquire = None  # type: ignore[assignment]  # it would sleep
    writer._sleep()
    assert list(writer.records) == ["line"]


@pytest.mark.parametrize("event", [NOTIFY, CLOSE_IDLE])
def test_a_notification_is_not_lost_while_its_connection_is_stepped(exploring: Explore, event: int) -> None:
    """The owner takes its events at the moment at which another thread adds one."""

    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        connection = world.connection()
        told: list[int] = []

        def step(events: int, now: float) -> Wait:
            told.append(events)
            return Wait(KEEP_ALIVE, READ, now + 15)

        set_driver(connection, step=step)
        connection.pending = READ
        scheduler.spawn("owner", lambda: world.stepper.advance(connection, 1000.0))
        scheduler.spawn("other", lambda: world.queue.notify(connection, event))

        def check(blocked: list[str]) -> None:
            assert told
            is_queued = connection.state is State.READY and connection.notice == event
            assert any(events & event for events in told) or is_queued, "its driver is not told"

        return check

    assert exploring(scenario, 2, 1, "shared") > 30


def test_a_notification_that_comes_as_a_connection_is_parked_again_is_seen() -> None:
    """Its ``missed`` was just cleared."""
    world = World(Scheduler())
    connection = world.connection()

    def arm(fd: int, mask: int) -> None:
        connection.notice = NOTIFY

    world.poller.arm = arm  # type: ignore[method-assign]
    assert not world.queue._ask_again(connection)
    assert not connection.token, "the caller still owns it"


def test_the_entry_of_a_closed_connection_is_discarded_under_the_lock() -> None:
    """A thread that schedules it meanwhile holds the lock, and has not written that there is an entry."""
    timers: Timers[Any] = Timers()

    class Item:
        timer_at = NEVER

    item = Item()

    class Lock:
        def __enter__(self) -> None:
            if item.timer_at == NEVER:
                timers._buckets[16] = {item}
                item.timer_at = 1.0

        def __exit__(self, *raised: object) -> None:
            pass

    timers._lock = Lock()  # type: ignore[assignment]
    timers.discard(item)
    assert (item.timer_at, timers._buckets) == (NEVER, {})


class NoLength(deque[Any]):
    """A deque whose length may not be asked for: that takes no lock where there is no GIL."""

    def __len__(self) -> int:
        raise AssertionError("len() passes no lock")

    __bool__ = __len__


def test_a_wakeup_that_is_closed_and_a_poller_that_applies_its_changes_pass_the_lock() -> None:
    poller = PortablePoller()
    poller._changes = NoLength()
    poller._apply()
    poller.close()
    wakeup = Wakeup()
    wakeup._signalling = NoLength()
    wakeup.close()


def test_a_stack_that_cannot_be_had_is_replaced_by_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errorlog, "has_gil", lambda: False)
    lines: list[str] = []
    log = errorlog.ErrorLog(lambda level, text: lines.append(text))
    log.stack(logging.WARNING, "it is in:", errorlog.stack_of(None))
    log.stop()
    assert lines == [f"it is in:\n  {errorlog.NO_STACK}"]


def test_request_timeout_is_reported_once_where_it_is_raised_and_is_a_plain_one() -> None:
    frames: list[Any] = []
    kind = reporting_timeout(frames.append)

    def where_it_is_raised() -> None:
        raise kind  # as the interpreter does it

    for _ in range(2):
        with pytest.raises(RequestTimeout) as caught:
            where_it_is_raised()
        assert type(caught.value) is RequestTimeout
    assert [frame.f_code.co_name for frame in frames] == ["where_it_is_raised"]
