"""``--threads MIN:MAX``: a worker more while requests wait and no worker is free, a worker less while one is idle."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from reserve.engine.scheduler import lead
from tests.apps.http.doubles import Gate
from tests.apps.http.responses import receive, request
from tests.overload.site import serving
from tests.waiting import PATIENCE, eventually


def test_the_pool_grows_one_by_one_and_never_above_the_maximum() -> None:
    gate = Gate()
    with serving(gate, threads=(1, 4)) as site:
        assert site.stats().threads == 1
        clients = []
        for count in range(1, 5):
            clients.append(site.connect(request("GET", "/wait")))
            gate.wait_entered()
            assert site.stats().threads == count
            assert site.stats().busy == count
        more = [site.connect(request("GET", f"/{number}")) for number in range(3)]
        site.wait_queued(3)
        assert site.stats().threads == 4
        gate.release()
        assert [receive(client).status for client in (*clients, *more)] == [200] * 7


def test_an_idle_worker_is_used_before_another_is_started() -> None:
    gate = Gate()
    with serving(gate, threads=(2, 8)) as site:
        for _ in range(50):
            assert site.fetch().status == 200
        site.wait_idle()
        first = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        assert site.fetch().status == 200
        assert site.stats().threads == 2
        gate.release()
        assert receive(first).status == 200


def test_the_pool_shrinks_back_and_the_hooks_run_in_each_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reserve.engine.scheduler.workerloop._IDLE", 0.02)
    gate = Gate()
    started: list[str] = []
    stopped: list[str] = []
    hooks = {
        "on_thread_start": lambda: started.append(threading.current_thread().name),
        "on_thread_stop": lambda: stopped.append(threading.current_thread().name),
    }
    with serving(gate, threads=(2, 5), hooks=hooks) as site:
        clients = [site.connect(request("GET", "/wait")) for _ in range(5)]
        gate.wait_entered(5)
        threads = [worker.thread for worker in site.server._runtime.pool.workers]
        assert len(threads) == 5
        assert len(started) == 5
        assert stopped == []
        gate.release()
        assert [receive(client).status for client in clients] == [200] * 5
        site.wait_for_stats(threads=2)
        eventually(lambda: len(stopped) == 3)
        gone = [thread for thread in threads if thread.name in stopped]
        for thread in gone:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert site.stats().threads == 2
        eventually(lambda: site.stats().handled == 5)  # with those of the threads that have ended
        assert site.fetch().status == 200
    assert sorted(started) == sorted(stopped)


def test_the_pool_grows_again_after_it_shrank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reserve.engine.scheduler.workerloop._IDLE", 0.02)
    gates = [Gate() for _ in range(3)]
    current = [gates[0]]

    def app(environ: Any, start_response: Any) -> Any:
        return current[0](environ, start_response)

    with serving(app, threads=(1, 3)) as site:
        for gate in gates:
            current[0] = gate
            clients = [site.connect(request("GET", "/wait")) for _ in range(3)]
            gate.wait_entered(3)
            assert site.stats().threads == 3
            gate.release()
            assert [receive(client).status for client in clients] == [200] * 3
            site.wait_for_stats(threads=1)


def test_followers_of_a_pool_of_fixed_size_sleep_without_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts: list[Any] = []
    sleep = lead.Follower.wait

    def recorded(self: Any, seconds: Any = None) -> bool:
        timeouts.append(seconds)
        return sleep(self, seconds)

    monkeypatch.setattr(lead.Follower, "wait", recorded)
    gate = Gate()
    with serving(gate, threads=4) as site:
        clients = [site.connect(request("GET", "/wait")) for _ in range(6)]
        gate.wait_entered(4)
        gate.release()
        assert [receive(client).status for client in clients] == [200] * 6
        eventually(lambda: len(timeouts) >= 3)
    assert set(timeouts) == {None}


def test_a_thread_that_cannot_be_started_costs_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    with serving(gate, threads=(1, 3)) as site:
        busy = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        start = threading.Thread.start

        def refused(self: threading.Thread) -> None:
            if self.name.startswith("reserve-worker"):
                raise RuntimeError("can't start new thread")
            start(self)

        monkeypatch.setattr(threading.Thread, "start", refused)
        queued = [site.connect(request()) for _ in range(4)]
        site.wait_queued(4)
        assert site.stats().threads == 1
        gate.release()
        assert [receive(client).status for client in (busy, *queued)] == [200] * 5
        eventually(lambda: len([line for line in site.log if "no thread could be started" in line]) == 1)
