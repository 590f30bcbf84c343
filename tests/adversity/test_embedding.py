"""Serving leaves no trace in a program, and a stop is possible at any time, on any thread, and repeatedly."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from reserve.engine.server import Hooks, Server
from reserve.sockets.listeners import listen
from tests.adversity.holding import serving
from tests.clients import connect
from tests.waiting import PATIENCE

PROGRAM = """
import asyncio, atexit, gc, linecache, locale, logging, os, signal, socket, sys, threading
from reserve import ReserveWSGIServer, listen

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"served"]

def serve(how):
    listeners = listen("127.0.0.1:0")
    server = ReserveWSGIServer(listeners, app, threads=3, access_log=False)
    address = listeners[0].getsockname()
    def visit():
        server.wait_ready()
        with socket.create_connection(address) as client:
            client.sendall(b"GET / HTTP/1.1\\r\\nHost: test\\r\\nConnection: close\\r\\n\\r\\n")
            while client.recv(65536):
                pass
        server.request_stop()
    visitor = threading.Thread(target=visit)
    visitor.start()
    if how == "blocking":
        server.start()
    else:
        server.serve_in_background()
    visitor.join()
    server.stop()

def look():
    gc.collect()
    umask = os.umask(0o22)
    os.umask(umask)
    wakeup = signal.set_wakeup_fd(-1)
    return {
        "signals": [repr(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "mask": signal.pthread_sigmask(signal.SIG_BLOCK, ()), "wakeup": wakeup,
        "threads": [thread.name for thread in threading.enumerate()],
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "hooks": [sys.excepthook, sys.unraisablehook, threading.excepthook, sys.gettrace(), threading._trace_hook,
                  sys.getprofile(), list(sys.meta_path), list(sys.path_hooks)],
        "environ": dict(os.environ), "folder": os.getcwd(), "umask": umask, "path": list(sys.path),
        "logging": [list(logging.getLogger().handlers), logging.getLogger().level, logging.raiseExceptions,
                    list(logging.getLogger("reserve").handlers), logging.getLogger("reserve").level],
        "gc": [gc.isenabled(), gc.get_threshold(), list(gc.callbacks), len(gc.garbage)],
        "switch": sys.getswitchinterval(), "recursion": sys.getrecursionlimit(), "timeout": socket.getdefaulttimeout(),
        "locale": locale.setlocale(locale.LC_ALL), "stdio": [sys.stdin, sys.stdout, sys.stderr],
        "atexit": atexit._ncallbacks(), "modules": sorted(sys.modules),
    }

serve("background")  # from now on every late import has happened
serve("blocking")
before = look()
for how in ("background", "blocking") * 3:
    serve(how)
after = look()
print([name for name in before if before[name] != after[name]], flush=True)
"""


def test_serving_leaves_no_trace_in_the_process() -> None:
    with serving(PROGRAM) as child:
        assert child.line() == "[]"


def echo(sock: Any, address: Any, server: Any) -> None:
    while data := sock.recv(100):
        sock.sendall(data)


def stop_from_many_threads(server: Server, count: int = 8) -> None:
    """Several threads stop the server, each more than once; none of them blocks or fails."""
    failed: list[BaseException] = []

    def stop(number: int) -> None:
        try:
            for _ in range(3):
                if number % 2:
                    server.request_stop(0)
                server.stop(0)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=stop, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert failed == []


def before_the_start(server: Server) -> None:
    stop_from_many_threads(server)


def right_after_the_start(server: Server) -> None:
    server.serve_in_background()
    stop_from_many_threads(server)


def during_the_start(server: Server) -> None:
    stopper = threading.Thread(target=stop_from_many_threads, args=(server,))
    stopper.start()
    try:
        server.serve_in_background()
    except ValueError:  # the stop came first
        assert "started before" in str(_error(server.serve_in_background))
    stopper.join(PATIENCE)


def while_serving(server: Server) -> None:
    server.serve_in_background()
    with connect(server.addresses[0]) as client, connect(server.addresses[0]):
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        stop_from_many_threads(server)
        assert client.recv(1) == b""


def after_a_stop(server: Server) -> None:
    server.serve_in_background()
    server.stop(0)
    stop_from_many_threads(server)


def _error(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except ValueError as error:
        return error
    raise AssertionError("the call did not fail")


@pytest.mark.parametrize(
    "when", [before_the_start, right_after_the_start, during_the_start, while_serving, after_a_stop]
)
def test_a_server_may_be_stopped_by_any_thread_at_any_time_and_again(when: Callable[[Server], None]) -> None:
    for _ in range(10):
        stopped: list[int] = []
        hooks = Hooks(on_worker_stop=lambda stopped=stopped: stopped.append(1), error_log=lambda level, text: None)  # type: ignore[misc]
        server = Server(listen("127.0.0.1:0"), echo, threads=2, hooks=hooks)
        when(server)
        server.stop()
        assert len(stopped) <= 1
        assert server._endpoints.listeners[0].fileno() == -1
        assert server.stats().connections == 0


def test_a_server_may_be_stopped_by_each_of_its_own_threads() -> None:
    names: list[str] = []

    def stop(where: str) -> None:
        names.append(where)
        server.stop()
        server.request_stop()

    def handle(sock: Any, address: Any, one: Server) -> None:
        stop("handler")
        raise ValueError("and it is logged")

    def log(level: int, text: str) -> None:
        if "and it is logged" in text:
            stop("log")

    hooks = Hooks(
        on_worker_start=lambda: names.append("start"),
        on_thread_stop=lambda: stop("thread"),
        on_worker_stop=lambda: stop("end"),
        error_log=log,
    )
    server = Server(listen("127.0.0.1:0"), handle, threads=2, hooks=hooks)
    server.serve_in_background()
    with connect(server.addresses[0]) as client:
        assert client.recv(1) == b""
    server.stop()
    assert sorted(names) == ["end", "handler", "log", "start", "thread", "thread"]
