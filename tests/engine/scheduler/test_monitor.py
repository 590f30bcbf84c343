"""The monitor: it leads while every worker is busy."""

from __future__ import annotations

import threading

from tests.engine.conftest import Serve, receive
from tests.engine.linedriver import LineApplication
from tests.waiting import eventually


def test_the_monitor_leads_while_every_worker_is_busy(serve: Serve) -> None:
    inside, go_on, threads = threading.Event(), threading.Event(), set()

    def run() -> None:
        inside.set()
        go_on.wait(20)

    running = serve(LineApplication(run, lambda data: threads.add(threading.current_thread().name)), threads=1)
    busy = running.connect()
    busy.sendall(b"run\n")
    assert inside.wait(20)
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
