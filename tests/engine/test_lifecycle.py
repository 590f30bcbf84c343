"""Starting a server, in the background and on the calling thread, once and twice, and what a failed start leaves."""

from __future__ import annotations

import gc
import os
import socket
import threading
from typing import Any

import pytest

from reserve.engine.connections.application import Application
from reserve.engine.connections.connection import Connection
from reserve.engine.server import Hooks, Server
from reserve.errors import StartupError, UsageError
from reserve.sockets.listeners import listen
from tests.clients import receive
from tests.engine.conftest import MakePoller, Serve, echo
from tests.waiting import PATIENCE


def test_start_twice_or_after_the_stop_is_an_error(serve: Serve) -> None:
    server = serve(echo).server
    with pytest.raises(UsageError, match="started before"):
        server.serve_in_background()
    with pytest.raises(UsageError, match="started before"):
        server.start()
    server.stop()
    with pytest.raises(UsageError, match="make another"):
        server.start()
    server.stop()


def test_the_threads_of_two_servers_in_one_process_have_different_names(serve: Serve) -> None:
    names = set()
    for options in ({}, {"thread_prefix": "second"}):
        server = serve(echo, **options).server
        own = {server._runtime.log.thread.name, *(thread.name for thread in server._runtime.threads())}
        assert names.isdisjoint(own)
        prefix = options.get("thread_prefix", "reserve")
        assert {f"{prefix}-accept", f"{prefix}-monitor", f"{prefix}-log", f"{prefix}-worker-1"} <= own
        names |= own
        server.set_threads(8, 8)
        assert any(worker.name == f"{prefix}-worker-8" for worker in server.stats().workers)


def test_the_stop_of_a_server_that_was_never_started_closes_its_listeners(make_poller: MakePoller) -> None:
    [listener] = listen("127.0.0.1:0")
    server = Server(listener, echo, poller=make_poller())
    server.stop()
    assert listener.fileno() == -1
    with pytest.raises(UsageError):
        server.serve_in_background()


@pytest.mark.parametrize("failing", ["worker", "application"])
def test_a_start_that_fails_closes_everything(
    make_poller: MakePoller, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    class TestedApplication(Application):
        def make_driver(self, connection: Connection) -> Any:
            raise AssertionError("never called")

        def start(self, server: Server) -> None:
            if failing == "application":
                raise RuntimeError("cannot start")

    [listener] = listen("127.0.0.1:0")
    server = Server(listener, TestedApplication(), poller=make_poller(), threads=3)
    if failing == "worker":

        def start() -> None:
            raise RuntimeError("cannot start")

        monkeypatch.setattr(server._runtime.pool.workers[1].thread, "start", start)
    with pytest.raises(StartupError if failing == "worker" else RuntimeError, match="cannot start"):
        server.serve_in_background()
    server.stop()
    assert listener.fileno() == -1


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("timeout", [None, 0])
def test_a_stop_inside_on_worker_start_does_not_wait_for_itself(
    make_poller: MakePoller, blocking: bool, timeout: float | None
) -> None:
    calls: list[str] = []

    def on_worker_start() -> None:
        calls.append("start")
        server.stop(timeout)
        server.stop(timeout)

    hooks = Hooks(on_worker_start=on_worker_start, on_worker_stop=lambda: calls.append("stop"))
    [listener] = listen("127.0.0.1:0")
    server = Server(listener, echo, poller=make_poller(), hooks=hooks)
    thread = threading.Thread(target=server.start if blocking else server.serve_in_background, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "the stop waits for itself"
    server.stop()
    assert calls == ["start", "stop"]
    assert listener.fileno() == -1


def test_a_second_start_does_not_keep_the_first_from_returning(make_poller: MakePoller) -> None:
    server = Server(listen("127.0.0.1:0"), echo, poller=make_poller())
    thread = threading.Thread(target=server.start, daemon=True)
    thread.start()
    assert server.wait_ready(PATIENCE)
    with pytest.raises(UsageError, match="started before"):
        server.start()
    server.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "the first start does not return"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("moment", ["hook", "ready"])
def test_an_interrupt_during_the_start_stops_what_has_started(
    make_poller: MakePoller, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException], moment: str
) -> None:
    def interrupt() -> None:
        raise kind("now")

    [listener] = listen("127.0.0.1:0")
    hooks = Hooks(on_worker_start=interrupt) if moment == "hook" else Hooks()
    server = Server(listener, echo, poller=make_poller(), hooks=hooks)
    if moment == "ready":  # the accept thread runs already
        monkeypatch.setattr(server._lifecycle.ready, "set", interrupt)
    with pytest.raises(kind):
        server.start()
    assert listener.fileno() == -1
    assert not server._runtime.acceptor.thread.is_alive()
    server.stop()


def test_the_context_manager_leaves_no_thread_and_no_descriptor(make_poller: MakePoller) -> None:
    threads, fds = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    with Server(listen("127.0.0.1:0"), echo, poller=make_poller(), threads=3) as server:
        assert server.wait_ready(PATIENCE)
        with socket.create_connection(server.addresses[0]) as client:
            client.sendall(b"x")
            assert receive(client, 1) == b"x"
    assert set(threading.enumerate()) == threads
    assert len(os.listdir("/proc/self/fd")) == fds
    assert server.addresses[0][1] > 0


def test_many_starts_and_stops_leave_no_objects_and_no_descriptors(make_poller: MakePoller) -> None:
    def cycle() -> None:
        with (
            Server(listen("127.0.0.1:0"), echo, poller=make_poller(), threads=2) as server,
            socket.create_connection(server.addresses[0]) as client,
        ):
            client.sendall(b"x")
            receive(client, 1)

    def count() -> tuple[int, int]:
        gc.collect()
        ours = sum(str(type(one).__module__).startswith("reserve.") for one in gc.get_objects())
        return ours, len(os.listdir("/proc/self/fd"))

    cycle()
    objects, descriptors = count()
    for _ in range(50):
        cycle()
    # Fewer are no fault: objects that another test has left may be collected meanwhile.
    assert count()[0] <= objects
    assert count()[1] == descriptors
