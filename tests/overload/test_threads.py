"""``--threads MIN:MAX``: one more while requests wait and nobody is free; back again when nobody needs them."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from reserve.engine.scheduler import lead
from tests.apps.http.responses import receive, request
from tests.overload.site import Gate, site
from tests.waiting import eventually


def test_it_grows_one_by_one_and_never_above_the_most() -> None:
    gate = Gate()
    with site(gate, threads=(1, 4)) as one:
        assert one.stats().threads == 1
        clients = []
        for count in range(1, 5):
            clients.append(one.connect(request("GET", "/wait")))
            gate.inside()
            assert one.stats().threads == count
            assert one.stats().busy == count
        more = [one.connect(request("GET", f"/{number}")) for number in range(3)]
        one.queue_holds(3)
        assert one.stats().threads == 4
        gate.let_go()
        assert [receive(client).status for client in (*clients, *more)] == [200] * 7


def test_an_idle_worker_is_used_before_another_is_made() -> None:
    gate = Gate()
    with site(gate, threads=(2, 8)) as one:
        for _ in range(50):
            assert one.ask().status == 200
        one.rests()
        first = one.connect(request("GET", "/wait"))
        gate.inside()
        assert one.ask().status == 200
        assert one.stats().threads == 2
        gate.let_go()
        assert receive(first).status == 200


def test_it_shrinks_back_and_the_hooks_run_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reserve.engine.scheduler.workers._IDLE", 0.02)
    gate = Gate()
    started: list[str] = []
    stopped: list[str] = []
    hooks = {
        "on_thread_start": lambda: started.append(threading.current_thread().name),
        "on_thread_stop": lambda: stopped.append(threading.current_thread().name),
    }
    with site(gate, threads=(2, 5), hooks=hooks) as one:
        clients = [one.connect(request("GET", "/wait")) for _ in range(5)]
        gate.inside(5)
        threads = [worker.thread for worker in one.server._runtime.pool.workers]
        assert len(threads) == 5
        assert len(started) == 5
        assert stopped == []
        gate.let_go()
        assert [receive(client).status for client in clients] == [200] * 5
        one.waits(threads=2)
        eventually(lambda: len(stopped) == 3)
        gone = [thread for thread in threads if thread.name in stopped]
        for thread in gone:
            thread.join(20)
            assert not thread.is_alive()
        assert one.stats().threads == 2
        eventually(lambda: one.stats().handled == 5)  # of those who left, too
        assert one.ask().status == 200
    assert sorted(started) == sorted(stopped)


def test_it_grows_again_after_it_shrank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reserve.engine.scheduler.workers._IDLE", 0.02)
    for_rounds = 3
    gates = [Gate() for _ in range(for_rounds)]
    current = [gates[0]]

    def app(environ: Any, start_response: Any) -> Any:
        return current[0](environ, start_response)

    with site(app, threads=(1, 3)) as one:
        for gate in gates:
            current[0] = gate
            clients = [one.connect(request("GET", "/wait")) for _ in range(3)]
            gate.inside(3)
            assert one.stats().threads == 3
            gate.let_go()
            assert [receive(client).status for client in clients] == [200] * 3
            one.waits(threads=1)


def test_a_fixed_pool_never_wakes_its_sleepers(monkeypatch: pytest.MonkeyPatch) -> None:
    patience: list[Any] = []
    sleep = lead.Follower.sleep

    def noted(self: Any, seconds: Any = None) -> bool:
        patience.append(seconds)
        return sleep(self, seconds)

    monkeypatch.setattr(lead.Follower, "sleep", noted)
    gate = Gate()
    with site(gate, threads=4) as one:
        clients = [one.connect(request("GET", "/wait")) for _ in range(6)]
        gate.inside(4)
        gate.let_go()
        assert [receive(client).status for client in clients] == [200] * 6
        eventually(lambda: len(patience) >= 3)
    assert set(patience) == {None}


def test_a_thread_that_cannot_be_had_costs_nobody_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    with site(gate, threads=(1, 3)) as one:
        busy = one.connect(request("GET", "/wait"))
        gate.inside()
        start = threading.Thread.start

        def refused(self: threading.Thread) -> None:
            if self.name.startswith("reserve-worker"):
                raise RuntimeError("can't start new thread")
            start(self)

        monkeypatch.setattr(threading.Thread, "start", refused)
        queued = [one.connect(request()) for _ in range(4)]
        one.queue_holds(4)
        assert one.stats().threads == 1
        gate.let_go()
        assert [receive(client).status for client in (busy, *queued)] == [200] * 5
        eventually(lambda: len([line for line in one.log if "no thread could be started" in line]) == 1)
