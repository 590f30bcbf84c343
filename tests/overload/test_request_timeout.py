"""``--request-timeout``: which requests are interrupted, and which workers are given up; others are not affected."""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.engine.polling.processors import has_gil
from reserve.engine.scheduler import requesttimeout
from reserve.engine.server import Hooks
from reserve.errors import RequestTimeout
from reserve.testing import running
from tests.apps.http.responses import receive, request
from tests.clients import until_closed
from tests.overload.site import Site, received_nothing, serving
from tests.waiting import PATIENCE, eventually

HEALTH = HTTPSettings(access_log=False, health_path="/health")


class Spinner:
    """An application that computes in Python until it is interrupted; the path says what it does then."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.done = threading.Event()
        self.caught: list[BaseException] = []
        self.threads: list[str] = []

    def spin(self) -> None:
        self.entered.release()
        while not self.done.is_set():
            time.sleep(0)

    def __call__(self, environ: Any, start_response: Any) -> Any:
        self.threads.append(threading.current_thread().name)
        path = environ["PATH_INFO"]
        headers = [("Content-Type", "text/plain")]
        if path == "/spin":
            self.spin()
        elif path == "/begun":
            write = start_response("200 OK", headers)
            write(b"begun ")
            self.spin()
            write(b"and done")
            return []
        elif path != "/":
            try:
                self.spin()
            except BaseException as error:
                self.caught.append(error)
                if path == "/raise":
                    raise ValueError("something else") from None
                if path == "/close":
                    return FailingClose(headers, start_response)
                if path == "/write":
                    with contextlib.suppress(BaseException):
                        start_response("200 OK", headers)(b"too late")
                    return []
                if path == "/length":
                    with contextlib.suppress(BaseException):
                        start_response("200 OK", [*headers, ("Content-Length", "8")])(b"too late")
                    return []
                if path == "/generator":
                    return self.generate(headers, start_response)
        start_response("200 OK", headers)
        return [b"served"]

    def generate(self, headers: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", headers)
        yield b"too "
        yield b"late"


class FailingClose:
    """Begins a response when it is made, and fails when it is closed."""

    def __init__(self, headers: Any, start_response: Any) -> None:
        start_response("200 OK", headers)

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"too late"])

    def close(self) -> None:
        raise SystemExit


@pytest.mark.parametrize("path", ["/spin", "/swallow", "/raise", "/close", "/write", "/length", "/generator"])
def test_an_application_that_runs_python_code_is_interrupted_and_its_thread_goes_on(path: str) -> None:
    app = Spinner()
    with serving(app, request_timeout=5.0) as site:
        client = site.connect(request("GET", path))
        assert app.entered.acquire(timeout=PATIENCE)
        site.clock.advance(4)
        assert received_nothing(client)
        site.clock.advance(1)
        response = receive(client)
        assert (response.status, response.fields["connection"], response.whole) == (503, "close", True)
        assert b"in time" in response.body
        assert until_closed(client) == (b"", False)
        assert site.fetch().body == b"served"  # by the same thread: it has ended the first request
        assert [type(error) for error in app.caught] == [RequestTimeout] * (path != "/spin")
        assert len(set(app.threads)) == 1
        stats = site.stats()
        assert (stats.timed_out, stats.stuck, stats.threads) == (1, 0, 1)
        eventually(lambda: any("in spin" in line for line in site.log))
        assert len([line for line in site.log if "--request-timeout" in line]) == 1
        assert not [line for line in site.log if "starts again" in line]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="before CPython 3.12 the exception is made where it is caught")
@pytest.mark.parametrize("path", ["/spin", "/swallow"])
def test_without_the_gil_the_worker_logs_where_it_is_interrupted(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requesttimeout, "has_gil", lambda: False)
    app = Spinner()
    with serving(app, request_timeout=5.0) as site:
        client = site.connect(request("GET", path))
        assert app.entered.acquire(timeout=PATIENCE)
        site.clock.advance(5)
        assert receive(client).status == 503
        eventually(lambda: any("in spin" in line for line in site.log))
        first, second = site.log[:2]
        assert first.endswith(f"(--request-timeout); it is interrupted in {app.threads[0]}")
        assert second.splitlines()[0].endswith(f": {app.threads[0]} was in:")
        assert second.splitlines()[1].endswith("in __call__")


def test_a_response_that_has_begun_is_never_interrupted() -> None:
    app = Spinner()
    with serving(app, request_timeout=5.0) as site:
        client = site.connect(request("GET", "/begun", minor=0))
        assert app.entered.acquire(timeout=PATIENCE)
        for _ in range(5):
            site.clock.advance(10)
            # The monitor leads and refuses this, and has looked at the runs before.
            assert site.fetch(b"GET / HTTP/9.9\r\n\r\n").status in (400, 505)
        app.done.set()
        raw, reset = until_closed(client)
        assert raw.endswith(b"\r\n\r\nbegun and done")
        assert not reset
        assert site.stats().timed_out == 0


def test_a_request_that_follows_another_has_its_own_time() -> None:
    app = Spinner()
    with serving(app, request_timeout=5.0) as site:
        first = site.connect(request("GET", "/spin"))
        assert app.entered.acquire(timeout=PATIENCE)
        second = site.connect(request("GET", "/spin"))
        site.wait_queued(1)
        site.clock.advance(5)
        assert receive(first).status == 503
        assert app.entered.acquire(timeout=PATIENCE)
        site.clock.advance(4)
        assert received_nothing(second)
        site.clock.advance(1)
        assert receive(second).status == 503
        assert site.stats().timed_out == 2


class KernelWait:
    """A thread that waits here waits in the kernel, where no exception reaches it, until it is set."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    def wait(self) -> None:
        assert os.read(self._reader, 1) == b""

    def set(self) -> None:
        if self._writer >= 0:
            writer, self._writer = self._writer, -1
            os.close(writer)

    def close(self) -> None:
        self.set()
        os.close(self._reader)


class Stuck:
    """An application that waits where no exception reaches it."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.go_on = KernelWait()
        self.late: list[tuple[str, BaseException]] = []
        self.back = threading.Semaphore(0)

    def __call__(self, environ: Any, start_response: Any) -> Any:
        headers = [("Content-Type", "text/plain")]
        if environ["PATH_INFO"] != "/stuck":
            start_response("200 OK", headers)
            return [b"served"]
        try:
            self.entered.release()
            self.go_on.wait()
        except RequestTimeout:  # when it was interrupted before it waited
            self.go_on.wait()
        try:
            write = start_response("200 OK", headers)
            write(b"late")
        except BaseException as error:
            self.late.append(("write", error))
        try:
            self.read = environ["wsgi.input"].read()
        except BaseException as error:
            self.late.append(("read", error))
        self.back.release()
        start_response("500 Late", headers, (ValueError, ValueError(), None))
        return [b"late"]


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    app = Stuck()
    yield app
    app.go_on.close()


def send_stuck_request(site: Site, app: Stuck, raw: bytes = b"") -> Any:
    """Send a request whose application is stuck, and let the server give up its worker; returns the client."""
    client = site.connect(raw or request("GET", "/stuck"))
    assert app.entered.acquire(timeout=PATIENCE)
    site.clock.advance(5)
    interrupted = site.stats().timed_out
    eventually(lambda: site.stats().timed_out >= interrupted and site.server._runtime.pool.busy()[0].interrupted)
    site.clock.advance(1)
    return client


def test_a_stuck_thread_is_shown_with_its_request_and_its_time(stuck: Stuck) -> None:
    with serving(stuck, request_timeout=5.0) as site:
        send_stuck_request(site, stuck).close()
        site.wait_for_stats(stuck=1, connections=0)
        site.clock.advance(100)
        (thread,) = [one for one in site.stats().workers if one.state == "stuck"]
        assert (thread.request, thread.seconds) == ("GET /stuck", 106.0)
        assert thread.client.startswith("127.0.0.1:")
        stuck.go_on.set()
        assert stuck.back.acquire(timeout=PATIENCE)


@pytest.mark.parametrize("body", [b"", b"x" * 100], ids=["no body", "a body"])
def test_the_client_of_a_stuck_application_is_refused_at_the_timeout(stuck: Stuck, body: bytes) -> None:
    """And only once: nothing more is sent when the worker is given up, or when it comes back."""
    with serving(stuck, request_timeout=5.0) as site:
        thread = site.server._runtime.pool.workers[0].thread
        client = site.connect(request("POST" if body else "GET", "/stuck?a=b", body=body))
        assert stuck.entered.acquire(timeout=PATIENCE)
        site.clock.advance(5)
        response = receive(client)
        assert (response.status, response.fields["retry-after"], response.whole) == (503, "1", True)
        assert site.stats().stuck == 0
        eventually(lambda: site.log)
        assert site.log[0].startswith("POST /stuck?a=b from 127.0.0.1:" if body else "GET /stuck?a=b from 127.0.0.1:")
        assert until_closed(client) == (b"", False)  # the end, too, for clients that wait for it
        site.clock.advance(1)
        site.wait_for_stats(stuck=1)
        client.close()
        site.wait_for_stats(connections=0)
        stuck.go_on.set()
        thread.join(PATIENCE)
        site.wait_for_stats(stuck=0)
        assert site.stats().refused == 1


needs_stacks = pytest.mark.skipif(not has_gil(), reason="without the GIL the stack of a stuck thread cannot be read")


@needs_stacks
def test_the_stack_in_the_log_begins_with_the_application(stuck: Stuck) -> None:
    with serving(stuck, request_timeout=5.0) as site:
        client = send_stuck_request(site, stuck)
        assert receive(client).status == 503
        eventually(lambda: len(site.log) == 2)
        for line in site.log:
            assert line.splitlines()[1].endswith(", in __call__")
            assert "threading.py" not in line
        stuck.go_on.set()


def test_requests_that_wait_for_the_last_worker_are_refused_when_it_is_given_up(stuck: Stuck) -> None:
    with serving(stuck, request_timeout=5.0, max_stuck=0, queue_timeout=1000.0) as site:
        thread = site.server._runtime.pool.workers[0].thread
        client = site.connect(request("GET", "/stuck"))
        assert stuck.entered.acquire(timeout=PATIENCE)
        waiting = [site.connect(request()) for _ in range(3)]
        site.wait_queued(3)
        site.clock.advance(5)
        assert receive(client).status == 503
        assert all(received_nothing(other) for other in waiting)
        site.clock.advance(1)
        assert [receive(other).status for other in waiting] == [503] * 3
        eventually(lambda: any("1 thread is stuck, more than --max-stuck 0" in line for line in site.log))
        stuck.go_on.set()
        thread.join(PATIENCE)
        site.wait_for_stats(stuck=0)
        assert site.fetch().body == b"served"


def test_a_stuck_worker_is_given_up_and_replaced(stuck: Stuck) -> None:
    app = stuck
    with serving(app, request_timeout=5.0) as site:
        thread = site.server._runtime.pool.workers[0].thread
        client = send_stuck_request(site, app)
        response = receive(client)
        assert (response.status, response.whole) == (503, True)
        assert until_closed(client) == (b"", False)
        assert site.fetch().body == b"served"
        assert thread.is_alive()
        stats = site.stats()
        assert (stats.timed_out, stats.stuck, stats.threads) == (1, 1, 1)
        assert site.server.healthy
        eventually(lambda: any("given up" in line for line in site.log))
        app.go_on.set()
        assert app.back.acquire(timeout=PATIENCE)
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert [what for what, error in app.late if isinstance(error, RequestTimeout)] == ["write"]
        assert site.stats().stuck == 0
        assert [site.fetch().body for _ in range(5)] == [b"served"] * 5
        assert not [line for line in site.log if "starts again" in line]


def test_a_worker_that_was_given_up_reads_nothing_of_a_streamed_body(stuck: Stuck) -> None:
    app = stuck
    http = HTTPSettings(access_log=False, stream_bodies=True)
    with serving(app, request_timeout=5.0, http=http) as site:
        thread = site.server._runtime.pool.workers[0].thread
        client = send_stuck_request(site, app, request("POST", "/stuck", body=b"x" * 100)[:-50])
        assert receive(client).status == 503
        app.go_on.set()
        assert app.back.acquire(timeout=PATIENCE)
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert [what for what, _ in app.late] == ["write", "read"]
        client.close()
        site.wait_released()
        assert site.fetch().body == b"served"


def test_a_worker_that_was_given_up_does_not_touch_a_body_in_a_file(stuck: Stuck) -> None:
    app = stuck
    http = HTTPSettings(access_log=False, body_memory=1000)
    with serving(app, request_timeout=5.0, http=http) as site:
        thread = site.server._runtime.pool.workers[0].thread
        client = send_stuck_request(site, app, request("POST", "/stuck", body=b"x" * 1000000))
        assert receive(client).status == 503
        client.close()
        site.wait_for_stats(connections=0, buffered=0, spooled=0)
        app.go_on.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert [what for what, _ in app.late] == ["write", "read"]
        assert (site.stats().buffered, site.stats().spooled) == (0, 0)


def test_beyond_max_stuck_no_worker_is_replaced_and_the_server_is_unhealthy(stuck: Stuck) -> None:
    app = stuck
    with serving(app, request_timeout=5.0, http=HEALTH, max_stuck=1, threads=2) as site:
        threads = [worker.thread for worker in site.server._runtime.pool.workers]
        clients = []
        for count in (1, 2, 3):
            clients.append(send_stuck_request(site, app))
            assert receive(clients[-1]).status == 503
            site.wait_for_stats(stuck=count)
            threads += [worker.thread for worker in site.server._runtime.pool.workers if worker.thread not in threads]
            assert site.server.healthy is (count < 2)
        assert site.fetch(request("GET", "/health")).status == 503
        assert site.stats().threads == 0
        refused = site.fetch()  # at once: no worker will ever take it
        assert (refused.status, refused.fields["retry-after"]) == (503, "1")
        assert site.stats().threads == 0
        eventually(lambda: any(line.startswith("GET / from") and "--max-stuck" in line for line in site.log))
        eventually(lambda: any("--max-stuck 1" in line for line in site.log))
        app.go_on.set()
        for thread in threads:
            thread.join(PATIENCE)
        site.wait_for_stats(stuck=0)
        assert site.fetch(request("GET", "/health")).status == 200
        assert site.fetch().body == b"served"  # workers are started again, as many as are needed


@needs_stacks
def test_the_stop_names_the_threads_that_were_given_up(stuck: Stuck) -> None:
    with serving(stuck, request_timeout=5.0) as site:
        thread = site.server._runtime.pool.workers[0].thread
        with send_stuck_request(site, stuck) as client:
            assert receive(client).status == 503
        site.wait_for_stats(stuck=1, connections=0)
        site.server.stop()
        (line,) = [line for line in site.log if "was given up before" in line]
        assert line.startswith(f"{thread.name} ")
        assert "in __call__" in line
        assert "self.go_on.wait()" in line  # the source line, too
        stuck.go_on.set()
        thread.join(PATIENCE)


@needs_stacks
def test_only_the_thread_of_the_log_reads_source_files(stuck: Stuck, monkeypatch: pytest.MonkeyPatch) -> None:
    """The monitor must not touch the disk: no connection is stepped while it waits for one."""
    readers: set[str] = set()

    def recorded(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            readers.add(threading.current_thread().name)
            return function(*arguments, **options)

        return call

    for name in ("checkcache", "updatecache"):
        monkeypatch.setattr(linecache, name, recorded(getattr(linecache, name)))
    linecache.clearcache()
    with serving(stuck, request_timeout=5.0) as site:
        thread = site.server._runtime.pool.workers[0].thread
        assert receive(send_stuck_request(site, stuck)).status == 503
        site.wait_for_stats(stuck=1)
        eventually(lambda: len(site.log) == 2)
        assert all("self.go_on.wait()" in line for line in site.log)
        stuck.go_on.set()
        thread.join(PATIENCE)
    assert readers == {"reserve-log"}


def test_plain_handlers_are_not_interrupted() -> None:
    entered, done = threading.Semaphore(0), threading.Event()

    def handle(sock: Any, address: Any, server: Any) -> None:
        entered.release()
        while not done.is_set():
            time.sleep(0)
        sock.sendall(b"done")

    with serving(handle, wsgi=False, request_timeout=5.0) as site:
        client = site.connect(b"x")
        assert entered.acquire(timeout=PATIENCE)
        for _ in range(3):
            site.clock.advance(20)
            other = site.connect(b"y")
            site.wait_queued(1)
            other.close()
            site.clock.advance(31)
            site.wait_for_stats(queued=0)
        done.set()
        assert until_closed(client) == (b"done", False)
        assert site.stats().timed_out == 0


# An interrupt that arrives in the callback of a weak reference ends there, and the interpreter warns about it; the
# worker is given up a second later, which is not what this test is about.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("threads", [1, 3])
def test_an_interrupt_never_hits_the_next_request(threads: int) -> None:
    """Requests that end at about their timeout: each has one complete response, and no worker is lost.

    The only test here on the machine's clock: no check depends on the order of events.
    """
    timeout = 0.004

    def app(environ: Any, start_response: Any) -> Any:
        until = time.monotonic() + float(environ["QUERY_STRING"])
        while time.monotonic() < until:
            pass
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"served"]

    log: list[str] = []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.00001)
    statuses: list[int] = []

    def ask(served: Any, seed: int) -> None:
        for number in range(60):
            with served.connect(PATIENCE) as client:
                span = timeout * (0.9 + (number * 7 + seed) % 20 / 80)
                client.sendall(request("GET", f"/?{span:.6f}"))
                response = receive(client)
                assert response.whole
                statuses.append(response.status)

    try:
        hooks = Hooks(error_log=lambda level, text: log.append(text))
        with running(app, threads=threads, request_timeout=timeout, hooks=hooks, max_stuck=100) as served:
            clients = [threading.Thread(target=ask, args=(served, seed)) for seed in range(3)]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            stats = served.server.stats()
            assert stats.threads == threads
            assert stats.stuck == 0
    finally:
        sys.setswitchinterval(interval)
    assert len(statuses) == 180
    assert set(statuses) <= {200, 503}
    messages = [line.partition("\n")[0] for line in log]  # without the stacks
    assert not [line for line in messages if "starts again" in line or "failed" in line], messages
