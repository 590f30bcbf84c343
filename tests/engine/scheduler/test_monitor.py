"""The monitor: it leads while every worker is busy, hands the lead back, and sleeps only while nothing runs."""

from __future__ import annotations

import threading
from collections.abc import Callable

from reserve.engine.connections.driver import RUN
from reserve.engine.polling.timers import NEVER
from reserve.engine.scheduler.lead import Follower
from reserve.engine.settings import EngineSettings
from tests.clients import receive
from tests.engine.conftest import Explore, Serve
from tests.engine.interleave import Scheduler
from tests.engine.linedriver import LineApplication
from tests.engine.world import World, set_driver
from tests.waiting import PATIENCE, eventually


def test_the_monitor_leads_while_every_worker_is_busy(serve: Serve) -> None:
    inside, go_on, threads = threading.Event(), threading.Event(), set()

    def run() -> None:
        inside.set()
        go_on.wait(PATIENCE)

    running = serve(LineApplication(run, lambda data: threads.add(threading.current_thread().name)), threads=1)
    busy = running.connect()
    busy.sendall(b"run\n")
    assert inside.wait(PATIENCE)
    threads.clear()
    others = [running.connect() for _ in range(5)]
    for _ in range(3):
        for other in others:
            other.sendall(b"hello\n")
            assert receive(other, 6) == b"hello\n"
    assert threads == {"reserve-monitor"}
    assert running.server.stats().steals == 1
    busy.sendall(b"again\n")
    others[0].sendall(b"run\n")  # waits for the worker
    assert receive(others[0], 4) == b"run\n"
    eventually(lambda: running.server.stats().queued == 1)
    go_on.set()
    assert receive(busy, 10) == b"run\nagain\n"
    threads.clear()
    others[0].sendall(b"and on\n")
    assert receive(others[0], 7) == b"and on\n"


# ---- every order of the steps of the monitor and the workers ----


def test_the_monitor_hands_the_lead_back_to_a_worker_that_becomes_free(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        assert world.queue.leads.take()
        worker = Follower()
        scheduler.spawn("monitor", lambda: world.monitor._lead_for_others(world.queue.leads.all[0]))
        scheduler.spawn("worker", lambda: world.queue.get(worker))

        def check(blocked: list[str]) -> None:
            assert blocked == ["worker"], "the monitor keeps the lead although a worker sleeps"
            assert worker.lead
            assert world.queue.monitor_lead is None

        return check

    assert exploring(scenario, 2, 2, "line") > 100


def test_a_request_that_the_monitor_queues_reaches_a_worker_that_becomes_free(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        assert world.queue.leads.take()
        connection = world.connection()
        set_driver(connection, step=lambda events, now: RUN)
        world.queue.put(connection)
        worker = Follower()
        scheduler.spawn("monitor", lambda: world.monitor._lead_for_others(world.queue.leads.all[0]))
        got = scheduler.spawn("worker", lambda: world.queue.get(worker))

        def check(blocked: list[str]) -> None:
            assert got.result is connection, "the request waits although the worker is free"

        return check

    assert exploring(scenario, 2, 2, "line") > 100


def test_the_monitor_wakes_up_when_the_lead_is_released(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        world.queue.policy.keeps = True
        worker = Follower()
        worker.lead = world.queue.leads.take()
        scheduler.spawn("worker", lambda: world.queue.yield_lead(worker))
        scheduler.spawn("monitor", lambda: world.monitor._sleep(world.queue.leads.runs, NEVER))

        def check(blocked: list[str]) -> None:
            assert world.queue.leads.all[0].free
            # Asleep only if the run had begun before it read the counter; then it saw the lead in the slot.
            assert blocked == []

        return check

    assert exploring(scenario, 2, 3, "line") > 30


def test_a_worker_that_releases_the_lead_again_wakes_the_monitor(exploring: Explore) -> None:
    """One worker waits, gets the lead, and releases it for its run; meanwhile another worker queues a request."""

    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        world = World(scheduler)
        world.queue.policy.keeps = True
        connection = world.connection()
        worker = Follower()

        def wait_and_run() -> None:
            if world.queue.leads.wait(worker, lambda: None):
                world.queue.yield_lead(worker)

        scheduler.spawn("worker", wait_and_run)
        scheduler.spawn("other", lambda: world.queue.run_queue.put(connection))
        scheduler.spawn("monitor", lambda: world.monitor._sleep(world.queue.leads.runs, NEVER))

        def check(blocked: list[str]) -> None:
            if world.queue.leads.all[0].free:
                assert "monitor" not in blocked, "the lead is free although the monitor sleeps"

        return check

    assert exploring(scenario, 3, 2, "line") > 300


def test_an_overdue_request_is_refused_before_a_new_one_finds_the_queue_full() -> None:
    world = World(Scheduler())
    waits, comes = world.connection(7), world.connection(8)
    refused: list[str] = []
    for connection, name in ((waits, "waits"), (comes, "comes")):
        set_driver(connection, describe=str, refuse=lambda reason, name=name: refused.append(name))
    world.queue.run_queue.put(waits, world.clock.now())
    world.queue.run_queue._settings = EngineSettings(max_queued=1)
    world.clock.time += world.settings.queue_timeout
    world.monitor._now = world.clock.now
    assert world.monitor._queue_run(comes)
    assert refused == ["waits"]
    assert list(world.queue.run_queue.waiting) == [comes]
