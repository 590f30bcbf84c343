"""Stopping a server: what is still served, what is closed when the time is over, what is logged of stuck threads."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from reserve.engine.connections.application import Application
from reserve.engine.connections.connection import Connection
from reserve.engine.drivers.handler import Park
from reserve.engine.polling.token import take
from reserve.engine.server import Hooks, Server
from reserve.errors import ClientDisconnected, StartupError
from reserve.sockets.listeners import listen
from reserve.testing import FakeClock
from tests.clients import receive, receive_all
from tests.engine.conftest import Log, Serve, echo
from tests.engine.linedriver import LineApplication, LineDriver
from tests.engine.sessions import ClearAdapter
from tests.waiting import PATIENCE, eventually


def test_a_stop_lets_requests_in_flight_finish_and_accepts_no_more(serve: Serve) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def handle(sock: socket.socket, address: Any, server: Any) -> Any:
        if sock.recv(1) == b"w":
            inside.set()
            go_on.wait(PATIENCE)
            sock.sendall(b"finished")
            return None
        return Park(lambda: None)

    running = serve(handle)
    idle, busy = running.connect(), running.connect()
    idle.sendall(b"i")
    busy.sendall(b"w")
    assert inside.wait(PATIENCE)
    eventually(lambda: running.server.stats().parked == 1)
    stopper = threading.Thread(target=running.server.stop)
    stopper.start()
    assert receive_all(idle) == b""
    with pytest.raises(ConnectionRefusedError):
        running.connect()
    go_on.set()
    assert receive_all(busy) == b"finished"
    stopper.join(PATIENCE)
    assert not stopper.is_alive()
    running.server.stop()
    running.server.stop(0)


def test_connections_that_the_kernel_has_accepted_are_served(serve: Serve) -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Slow(Application):
        def make_driver(self, connection: Connection) -> Any:
            inside.set()
            go_on.wait(PATIENCE)
            return LineDriver(connection)

    running = serve(Slow())
    clients = [running.connect() for _ in range(5)]
    assert inside.wait(PATIENCE)
    for client in clients:
        client.sendall(b"bye\n")
    running.server.request_stop()
    go_on.set()
    assert [receive_all(client) for client in clients] == [b"bye\n"] * 5


class Counting(LineApplication):
    """Records each call of a driver's ``closed`` in ``closings``; ``failing`` names the call that fails."""

    def __init__(self, run: Any = None, failing: str = "") -> None:
        super().__init__(run)
        self.failing = failing
        self.closings: SimpleQueue[tuple[int, str]] = SimpleQueue()

    def make_driver(self, connection: Connection) -> LineDriver:
        driver = super().make_driver(connection)
        run = driver.run

        def on_close(reason: str) -> bool:
            self.closings.put((connection.fd, reason))
            if self.failing == "closed":
                raise ValueError("closed fails")
            return self.failing == "final run"

        def run_or_final_run() -> None:
            if not connection.final_run:
                run()
            elif self.failing == "final run":
                raise SystemExit("the final run fails")

        driver.on_close = on_close  # type: ignore[method-assign]
        driver.run = run_or_final_run  # type: ignore[method-assign]
        return driver


@pytest.mark.parametrize("failing", ["", "closed", "final run"])
def test_a_stop_without_time_closes_each_connection_once_and_then_calls_the_hook(serve: Serve, failing: str) -> None:
    """One connection is in a stuck run, two wait for its worker, two are parked, one lingers."""
    inside, go_on, stopped = threading.Event(), threading.Event(), list[str]()

    def run() -> None:
        inside.set()
        go_on.wait(PATIENCE)

    log = Log()
    hooks = Hooks(on_worker_stop=lambda: stopped.append("stop"), error_log=log)
    application = Counting(run, failing)
    running = serve(application, threads=1, hooks=hooks, linger_timeout=1000.0)
    server = running.server
    stuck = running.connect()
    stuck.sendall(b"run\n")
    assert inside.wait(PATIENCE)
    clients = [running.connect() for _ in range(5)]
    for client, line in zip(clients, (b"run\n", b"run\n", b"p\n", b"p\n", b"linger\n"), strict=True):
        client.sendall(line)
        assert receive(client, len(line)) == line
    eventually(lambda: server.stats().queued == 2 and server.stats().parked == 2 and server.stats().lingering == 1)
    server.stop(0)
    assert stopped == ["stop"]
    assert server._runtime.acceptor.wakeup.fd == server._runtime.poller.wakeup.fd == -1
    closings = {application.closings.get(timeout=PATIENCE)[0] for _ in range(5)}
    assert len(closings) == 5
    assert application.closings.empty()
    for client in clients:
        assert receive_all(client) == b""
    assert server.stats().connections == 1
    go_on.set()
    fd, reason = application.closings.get(timeout=PATIENCE)
    assert reason == "stop"
    assert fd not in closings
    eventually(lambda: server.stats().connections == 0)
    assert application.closings.empty()


@pytest.mark.parametrize("step", ["close_listeners", "_drain", "_close_remaining"])
def test_a_step_of_the_stop_that_fails_does_not_prevent_the_others(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    log, stopped = Log(), list[str]()
    hooks = Hooks(on_worker_stop=lambda: stopped.append("stop"), error_log=log)
    running = serve(echo, hooks=hooks)
    server = running.server
    place: Any = server._endpoints if step == "close_listeners" else server._lifecycle.shutdown
    inner = getattr(place, step)

    def fail() -> None:
        monkeypatch.setattr(place, step, inner)
        inner()
        raise RuntimeError("it fails")

    fail.__name__ = step
    monkeypatch.setattr(place, step, fail)
    client = running.connect()
    server.stop()
    assert receive_all(client) == b""
    assert stopped == ["stop"]
    assert "it fails" in log.wait(f"a step of the shutdown failed: {step}")
    assert server.stats().connections == 0


def test_a_handler_may_stop_the_server(serve: Serve) -> None:
    def handle(sock: socket.socket, address: Any, server: Server) -> None:
        server.stop()
        sock.sendall(b"stopping")

    running = serve(handle)
    assert receive_all(running.connect()) == b"stopping"
    running.server.stop()
    assert running.log.errors == []


def test_a_stuck_handler_is_reported_with_its_name_and_stack(serve: Serve) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def never_returning_handler(sock: socket.socket, address: Any, server: Any) -> None:
        inside.set()
        go_on.wait(PATIENCE)

    running = serve(never_returning_handler)
    client = running.connect()
    assert inside.wait(PATIENCE)
    running.server.stop(timeout=0)
    text = running.log.wait("is still busy")
    assert text.startswith("reserve-worker-")
    assert "in never_returning_handler" in text
    assert receive_all(client) == b""
    assert running.server.stats().connections == 1
    go_on.set()
    eventually(lambda: running.server.stats().connections == 0)


def test_a_stop_waits_for_the_stop_timeout(serve: Serve) -> None:
    clock = FakeClock()
    inside, go_on = threading.Event(), threading.Event()

    def handle(sock: socket.socket, address: Any, server: Any) -> None:
        inside.set()
        go_on.wait(PATIENCE)

    running = serve(handle, clock=clock, stop_timeout=30.0)
    running.connect()
    assert inside.wait(PATIENCE)
    running.server.request_stop()
    stopper = threading.Thread(target=running.server.stop)
    stopper.start()
    eventually(lambda: clock._wakes.__len__() == 3)  # the queue, the log, and the drain
    clock.advance(29)
    assert not any("still busy" in text for _, text in running.log.lines)
    clock.advance(2)
    running.log.wait("still busy")
    stopper.join(PATIENCE)
    go_on.set()
    eventually(lambda: running.server.stats().connections == 0)


def test_a_stop_releases_a_worker_that_waits_for_its_lent_connection(serve: Serve) -> None:
    lent, failed = SimpleQueue[Connection](), SimpleQueue[Exception]()

    class TestedApplication(Application):
        def make_driver(self, connection: Connection) -> LineDriver:
            def run() -> None:
                connection.write(b"x" * 16_000_000)
                connection.lend()
                eventually(lambda: take(connection.token))  # as a leader that ends before it has stepped the connection
                lent.put(connection)
                try:
                    connection.reclaim()
                except ClientDisconnected as error:
                    failed.put(error)
                    raise

            driver = LineDriver(connection)
            driver.run = run  # type: ignore[method-assign]
            return driver

    running = serve(TestedApplication())
    running.connect().sendall(b"run\n")
    connection = lent.get(timeout=PATIENCE)
    eventually(lambda: connection.reclaim_waiter is not None)
    running.server.stop(0)
    failed.get(timeout=PATIENCE)
    eventually(lambda: running.server.stats().connections == 0)


# ---- what may hang at the end ----


class Blocker:
    """Blocks each caller until the test is over, and says when one has come."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.go_on = threading.Event()

    def __call__(self, *args: object) -> None:
        self.entered.release()
        self.go_on.wait()


@pytest.fixture
def blocker() -> Iterator[Blocker]:
    blocker = Blocker()
    yield blocker
    blocker.go_on.set()


@pytest.mark.parametrize("hook", ["on_worker_stop", "on_thread_stop"])
def test_a_hook_that_blocks_is_given_up_at_the_deadline(serve: Serve, blocker: Blocker, hook: str) -> None:
    log = Log()
    running = serve(echo, threads=1, hooks=Hooks(**{hook: blocker, "error_log": log}))  # type: ignore[arg-type]
    running.server.stop(0)
    assert blocker.entered.acquire(timeout=PATIENCE)
    text = log.wait("at the end of the stop; it is left running in:")
    assert "reserve-stop is still in the hook on_worker_stop" in text or "reserve-worker-1 has not ended" in text
    assert "in __call__" in text
    assert running.server.aborted == 1
    assert running.server._lifecycle.finished.is_set()
    with pytest.raises(ConnectionRefusedError):
        running.connect()


def test_a_hook_has_what_is_left_of_the_deadline_and_a_second_stop_ends_that(serve: Serve, blocker: Blocker) -> None:
    log, clock = Log(), FakeClock()
    running = serve(echo, clock=clock, hooks=Hooks(on_worker_stop=blocker, error_log=log))
    stopper = threading.Thread(target=running.server.stop, args=(1000,))
    stopper.start()
    assert blocker.entered.acquire(timeout=PATIENCE)
    clock.advance(999)
    assert running.server.aborted == 0
    running.server.request_stop(0)
    stopper.join(PATIENCE)
    assert not stopper.is_alive()
    assert running.server.aborted == 1


def test_a_hook_may_call_stop(serve: Serve) -> None:
    called = threading.Event()

    def stop() -> None:
        running.server.stop()
        called.set()

    running = serve(echo, hooks=Hooks(on_worker_stop=stop))
    running.server.stop()
    assert called.is_set()
    assert running.server.aborted == 0


def test_calls_of_on_close_that_block_are_given_up_and_the_others_are_made(
    serve: Serve, blocker: Blocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One blocks the only worker, others wait for it until the deadline; then the next one blocks, too."""
    monkeypatch.setattr("reserve.engine.shutdown._GRACE", PATIENCE)
    closed = SimpleQueue[str]()

    def handle(sock: socket.socket, address: Any, server: Any) -> Park:
        on_close = blocker if sock.recv(1) == b"b" else closed.put
        return Park(lambda: None, on_close=on_close)

    running = serve(handle, threads=1)
    clients = [running.connect() for _ in range(6)]
    for client, kind in zip(clients, (b"b", b"b", b"c", b"c", b"c", b"c"), strict=True):
        client.sendall(kind)
    eventually(lambda: running.server.stats().parked == 6)
    running.server.stop(0)
    assert [closed.get(timeout=PATIENCE) for _ in range(4)] == ["stop"] * 4
    for client in clients:
        assert receive_all(client) == b""
    assert running.log.wait("is still in on_close") or running.log.wait("is still busy")
    assert running.server.aborted >= 1
    blocker.go_on.set()
    eventually(lambda: running.server.stats().connections == 0)


def test_an_application_whose_finish_blocks_is_given_up(serve: Serve, blocker: Blocker) -> None:
    class Finishing(LineApplication):
        def finish(self, server: Any) -> None:
            blocker()

    running = serve(Finishing())
    running.server.stop(0)
    running.log.wait("reserve-stop is still in Finishing.finish at the end of the stop")
    assert running.server.aborted == 1


def test_certificates_that_cannot_be_read_do_not_hold_a_stop(serve: Serve, blocker: Blocker) -> None:
    class Slow(ClearAdapter):
        def changed(self) -> bool:
            blocker()
            return False

    running = serve(echo, ssl_adapter=Slow())
    running.server._runtime.tls.reload_in_background(lambda adapter: adapter.changed())
    assert blocker.entered.acquire(timeout=PATIENCE)
    running.server.stop(0)
    running.log.wait("reserve-tls-reload has not read the files of the certificates; it is left running in:")
    assert running.server.aborted == 1


def test_a_start_that_fails_does_not_wait_for_a_hook_without_a_limit(
    blocker: Blocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    server = Server(
        listen("127.0.0.1:0"), echo, threads=1, stop_timeout=0, hooks=Hooks(on_thread_start=blocker, error_log=log)
    )

    def fail() -> None:
        assert blocker.entered.acquire(timeout=PATIENCE)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(server._runtime.acceptor.thread, "start", fail)
    with pytest.raises(StartupError):
        server.serve_in_background()
    log.wait("reserve-worker-1 has not ended after a failed start; it is left running in:")


def test_without_threads_the_hook_is_called_all_the_same(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    called = SimpleQueue[str]()
    hooks = Hooks(on_worker_stop=lambda: called.put(threading.current_thread().name))
    running = serve(echo, hooks=hooks)

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    running.server.stop()
    assert called.get(timeout=PATIENCE) == "reserve-accept"
