"""Applications that misbehave more often than there are threads: the next requests are served, by all threads."""

from __future__ import annotations

import os
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from tests.adversity.holding import THREADS, honest, watched
from tests.apps.http.responses import request, split
from tests.clients import until_closed

TIMES = 12
HTTP = HTTPSettings(access_log=False)
App = Callable[[Any, Any], Any]


def raising(kind: type[BaseException], where: str) -> App:
    def app(environ: Any, start_response: Any) -> Any:
        if where == "call":
            raise kind
        start_response("200 OK", [])
        return pieces()

    def pieces() -> Iterator[bytes]:
        if where == "later":
            yield b"half"
        raise kind

    class Pieces:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"half", b"half"])

        def close(self) -> None:
            raise kind

    def closing(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return Pieces()

    return closing if where == "close" else app


def recursing(environ: Any, start_response: Any) -> Any:
    return recursing(environ, start_response)


def returning(result: Any) -> App:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return result

    return app


def starting_twice(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    start_response("201 Created", [])
    return [b"never"]


def starting_never(environ: Any, start_response: Any) -> Any:
    return [b"never"]


KINDS = [SystemExit, KeyboardInterrupt, MemoryError, GeneratorExit, RecursionError, ValueError]
FAILING: dict[str, tuple[App, int | None]] = {
    # The status of the response; None: a response that was begun, and must not look complete.
    **{f"{kind.__name__} in the call": (raising(kind, "call"), 500) for kind in KINDS},
    **{f"{kind.__name__} in the first step": (raising(kind, "iteration"), 500) for kind in KINDS},
    **{f"{kind.__name__} in a later step": (raising(kind, "later"), None) for kind in KINDS},
    **{f"{kind.__name__} in close": (raising(kind, "close"), 200) for kind in KINDS},
    "endless recursion": (recursing, 500),
    "None": (returning(None), 500),
    "str": (returning("text"), 500),
    "str in a list": (returning(["text"]), 500),
    "a number": (returning(5), 500),
    "start_response twice": (starting_twice, 500),
    "start_response never": (starting_never, 500),
}


@pytest.mark.parametrize("name", FAILING)
def test_an_application_that_fails_costs_no_thread(name: str) -> None:
    failing, status = FAILING[name]

    def app(environ: Any, start_response: Any) -> Any:
        return (honest if environ["PATH_INFO"] == "/" else failing)(environ, start_response)

    with watched(app, http=HTTP) as site:
        threads = {worker.thread for worker in site.server._runtime.pool.workers}
        with site.crowd(TIMES, request("GET", "/fail", "Connection: close")) as clients:
            for client in clients:
                received, _ = until_closed(client)
                (response,) = split(received)
                assert (response.status, response.whole) == (status or 200, status is not None)
        site.assert_serves()
        site.assert_nothing_left()
        assert {worker.thread for worker in site.server._runtime.pool.workers} == threads
    assert len(site.log) == TIMES  # each failure is logged once, and nothing else


def test_an_application_may_fork_without_waiting_for_the_child() -> None:
    children: list[int] = []

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/":
            return honest(environ, start_response)
        pid = os.fork()
        if not pid:
            os._exit(0)
        children.append(pid)
        return honest(environ, start_response)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on: a fork beside other threads
        with watched(app, http=HTTP) as site:
            with site.crowd(TIMES, request("GET", "/fork", "Connection: close")) as clients:
                for client in clients:
                    assert split(until_closed(client)[0])[0].body == b"honest"
            site.assert_serves()
            site.assert_nothing_left()
    assert len(children) == TIMES
    for pid in children:
        assert os.waitpid(pid, 0) == (pid, 0)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks into /proc")
def test_a_program_that_the_application_starts_has_no_descriptor_of_the_server() -> None:
    """Neither the listener nor a connection: the port would stay in use, and clients would wait for the program."""

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/":
            return honest(environ, start_response)
        look = ["ls", "-l", "/proc/self/fd"]
        listing = subprocess.run(look, stdin=subprocess.DEVNULL, capture_output=True, check=True, close_fds=False)
        start_response("200 OK", [])
        return [listing.stdout]

    with watched(app, http=HTTP) as site, site.crowd(TIMES, request("GET", "/start", "Connection: close")) as clients:
        for client in clients:
            body = split(until_closed(client)[0])[0].body
            assert b"-> /dev/null" in body
            assert b"socket:" not in body
            assert b"eventfd" not in body
            assert b"eventpoll" not in body
        site.assert_serves()


def test_threads_of_the_application_outlive_its_requests() -> None:
    go_on = threading.Event()
    started: list[threading.Thread] = []

    def app(environ: Any, start_response: Any) -> Any:
        thread = threading.Thread(target=go_on.wait, args=(60,))
        thread.start()
        started.append(thread)
        return honest(environ, start_response)

    try:
        with watched(app, http=HTTP) as site:
            for _ in range(TIMES):
                site.assert_serves(1)
            site.assert_nothing_left()
            assert site.server.stats().threads == THREADS
    finally:
        go_on.set()
        for thread in started:
            thread.join()
    assert len(started) == TIMES
