"""``--request-timeout``: what is interrupted, what is given up, and that it never hits anybody else."""

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
from reserve.errors import RequestTimeout
from reserve.testing import running
from tests.apps.http.responses import receive, request
from tests.clients import until_closed
from tests.overload.site import PATIENCE, silent, site
from tests.waiting import eventually

HEALTH = HTTPSettings(access_log=False, health_path="/health")


class Spinner:
    """An application that computes in Python until it is interrupted, in different ways."""

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
                    return Closing(headers, start_response)
                if path == "/write":
                    with contextlib.suppress(BaseException):
                        start_response("200 OK", headers)(b"too late")
                    return []
                if path == "/length":
                    with contextlib.suppress(BaseException):
                        start_response("200 OK", [*headers, ("Content-Length", "8")])(b"too late")
                    return []
                if path == "/generator":
                    return self.late(headers, start_response)
        start_response("200 OK", headers)
        return [b"served"]

    def late(self, headers: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", headers)
        yield b"too "
        yield b"late"


class Closing:
    def __init__(self, headers: Any, start_response: Any) -> None:
        start_response("200 OK", headers)

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"too late"])

    def close(self) -> None:
        raise SystemExit


@pytest.mark.parametrize("path", ["/spin", "/swallow", "/raise", "/close", "/write", "/length", "/generator"])
def test_what_runs_in_python_is_interrupted_and_the_thread_lives_on(path: str) -> None:
    app = Spinner()
    with site(app, request_timeout=5.0) as one:
        client = one.connect(request("GET", path))
        assert app.entered.acquire(timeout=PATIENCE)
        one.clock.advance(4)
        assert silent(client)
        one.clock.advance(1)
        answer = receive(client)
        assert (answer.status, answer.fields["connection"], answer.whole) == (503, "close", True)
        assert b"in time" in answer.body
        assert until_closed(client) == (b"", False)
        assert one.ask().body == b"served"  # by the same thread: it has come out of the other one
        assert [type(error) for error in app.caught] == [RequestTimeout] * (path != "/spin")
        assert len(set(app.threads)) == 1
        stats = one.stats()
        assert (stats.timed_out, stats.stuck, stats.threads) == (1, 0, 1)
        eventually(lambda: any("--request-timeout" in line for line in one.log))
        (line,) = [line for line in one.log if "--request-timeout" in line]
        assert "in spin" in line
        assert not [line for line in one.log if "starts again" in line]


def test_an_answer_that_has_begun_is_never_interrupted() -> None:
    app = Spinner()
    with site(app, request_timeout=5.0) as one:
        client = one.connect(request("GET", "/begun", minor=0))
        assert app.entered.acquire(timeout=PATIENCE)
        for _ in range(5):
            one.clock.advance(10)
            assert one.ask(b"GET / HTTP/9.9\r\n\r\n").status in (400, 505)  # the monitor leads, and has looked
        app.done.set()
        raw, reset = until_closed(client)
        assert raw.endswith(b"\r\n\r\nbegun and done")
        assert not reset
        assert one.stats().timed_out == 0


def test_a_request_that_follows_another_has_its_own_time() -> None:
    app = Spinner()
    with site(app, request_timeout=5.0) as one:
        first = one.connect(request("GET", "/spin"))
        assert app.entered.acquire(timeout=PATIENCE)
        second = one.connect(request("GET", "/spin"))
        one.queue_holds(1)
        one.clock.advance(5)
        assert receive(first).status == 503
        assert app.entered.acquire(timeout=PATIENCE)
        one.clock.advance(4)
        assert silent(second)
        one.clock.advance(1)
        assert receive(second).status == 503
        assert one.stats().timed_out == 2


class Bed:
    """Whoever waits here waits in the kernel, where no exception reaches it, until it is set."""

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
        self.go_on = Bed()
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
        except RequestTimeout:  # it does not listen, also when it was interrupted on its way there
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


def stick(one: Any, app: Stuck, raw: bytes = b"") -> Any:
    """A request that is stuck, and given up."""
    client = one.connect(raw or request("GET", "/stuck"))
    assert app.entered.acquire(timeout=PATIENCE)
    one.clock.advance(5)
    interrupted = one.stats().timed_out
    eventually(lambda: one.stats().timed_out >= interrupted and one.server._runtime.pool.busy()[0].interrupted)
    one.clock.advance(1)
    return client


@pytest.mark.parametrize("body", [b"", b"x" * 100], ids=["no body", "a body"])
def test_the_client_of_what_is_stuck_is_told_at_once(stuck: Stuck, body: bytes) -> None:
    """And only once: what follows when the worker is given up, or comes back, says nothing more."""
    with site(stuck, request_timeout=5.0) as one:
        thread = one.server._runtime.pool.workers[0].thread
        client = one.connect(request("POST" if body else "GET", "/stuck?a=b", body=body))
        assert stuck.entered.acquire(timeout=PATIENCE)
        one.clock.advance(5)
        answer = receive(client)
        assert (answer.status, answer.fields["retry-after"], answer.whole) == (503, "1", True)
        assert one.stats().stuck == 0
        eventually(lambda: one.log)
        assert one.log[0].startswith("POST /stuck?a=b from 127.0.0.1:" if body else "GET /stuck?a=b from 127.0.0.1:")
        assert until_closed(client) == (b"", False)  # its end, too, for those who wait for that
        one.clock.advance(1)
        one.waits(stuck=1)
        client.close()
        one.waits(connections=0)
        stuck.go_on.set()
        thread.join(20)
        one.waits(stuck=0)
        assert one.stats().refused == 1


def test_a_stack_begins_with_the_application(stuck: Stuck) -> None:
    with site(stuck, request_timeout=5.0) as one:
        client = stick(one, stuck)
        assert receive(client).status == 503
        eventually(lambda: len(one.log) == 2)
        for line in one.log:
            assert line.splitlines()[1].endswith(", in __call__")
            assert "threading.py" not in line
        stuck.go_on.set()


def test_who_waits_for_the_last_worker_is_refused_when_that_is_given_up(stuck: Stuck) -> None:
    with site(stuck, request_timeout=5.0, max_stuck=0, queue_timeout=1000.0) as one:
        thread = one.server._runtime.pool.workers[0].thread
        client = one.connect(request("GET", "/stuck"))
        assert stuck.entered.acquire(timeout=PATIENCE)
        waiting = [one.connect(request()) for _ in range(3)]
        one.queue_holds(3)
        one.clock.advance(5)
        assert receive(client).status == 503
        assert all(silent(other) for other in waiting)
        one.clock.advance(1)
        assert [receive(other).status for other in waiting] == [503] * 3
        eventually(lambda: any("1 thread is stuck, more than --max-stuck 0" in line for line in one.log))
        stuck.go_on.set()
        thread.join(20)
        one.waits(stuck=0)
        assert one.ask().body == b"served"


def test_what_is_stuck_is_given_up_and_replaced(stuck: Stuck) -> None:
    app = stuck
    with site(app, request_timeout=5.0) as one:
        thread = one.server._runtime.pool.workers[0].thread
        client = stick(one, app)
        answer = receive(client)
        assert (answer.status, answer.whole) == (503, True)
        assert until_closed(client) == (b"", False)
        assert one.ask().body == b"served"
        assert thread.is_alive()
        stats = one.stats()
        assert (stats.timed_out, stats.stuck, stats.threads) == (1, 1, 1)
        assert one.server.healthy
        eventually(lambda: any("given up" in line for line in one.log))
        app.go_on.set()
        assert app.back.acquire(timeout=PATIENCE)
        thread.join(20)
        assert not thread.is_alive()
        assert [what for what, error in app.late if isinstance(error, RequestTimeout)] == ["write"]
        assert one.stats().stuck == 0
        assert [one.ask().body for _ in range(5)] == [b"served"] * 5
        assert not [line for line in one.log if "starts again" in line]


def test_a_late_read_of_a_streamed_body_raises_and_takes_nothing(stuck: Stuck) -> None:
    app = stuck
    http = HTTPSettings(access_log=False, stream_bodies=True)
    with site(app, request_timeout=5.0, http=http) as one:
        thread = one.server._runtime.pool.workers[0].thread
        client = stick(one, app, request("POST", "/stuck", body=b"x" * 100)[:-50])
        assert receive(client).status == 503
        app.go_on.set()
        assert app.back.acquire(timeout=PATIENCE)
        thread.join(20)
        assert not thread.is_alive()
        assert [what for what, _ in app.late] == ["write", "read"]
        client.close()
        one.gives_everything_back()
        assert one.ask().body == b"served"


def test_a_late_worker_does_not_touch_a_body_in_a_file(stuck: Stuck) -> None:
    app = stuck
    http = HTTPSettings(access_log=False, body_memory=1000)
    with site(app, request_timeout=5.0, http=http) as one:
        thread = one.server._runtime.pool.workers[0].thread
        client = stick(one, app, request("POST", "/stuck", body=b"x" * 1000000))
        assert receive(client).status == 503
        client.close()
        one.waits(connections=0, buffered=0, spooled=0)
        app.go_on.set()
        thread.join(20)
        assert not thread.is_alive()
        assert [what for what, _ in app.late] == ["write", "read"]
        assert (one.stats().buffered, one.stats().spooled) == (0, 0)


def test_beyond_max_stuck_nobody_is_replaced_and_the_server_is_unhealthy(stuck: Stuck) -> None:
    app = stuck
    with site(app, request_timeout=5.0, http=HEALTH, max_stuck=1, threads=2) as one:
        threads = [worker.thread for worker in one.server._runtime.pool.workers]
        clients = []
        for count in (1, 2, 3):
            clients.append(stick(one, app))
            assert receive(clients[-1]).status == 503
            one.waits(stuck=count)
            threads += [worker.thread for worker in one.server._runtime.pool.workers if worker.thread not in threads]
            assert one.server.healthy is (count < 2)
        assert one.ask(request("GET", "/health")).status == 503
        assert one.stats().threads == 0
        refused = one.ask()  # at once: nobody could ever come for it
        assert (refused.status, refused.fields["retry-after"]) == (503, "1")
        assert one.stats().threads == 0
        eventually(lambda: any(line.startswith("GET / from") and "--max-stuck" in line for line in one.log))
        eventually(lambda: any("--max-stuck 1" in line for line in one.log))
        app.go_on.set()
        for thread in threads:
            thread.join(20)
        one.waits(stuck=0)
        assert one.ask(request("GET", "/health")).status == 200
        assert one.ask().body == b"served"  # there are workers again, as many as are needed


def test_the_end_names_the_threads_that_were_given_up(stuck: Stuck) -> None:
    with site(stuck, request_timeout=5.0) as one:
        thread = one.server._runtime.pool.workers[0].thread
        with stick(one, stuck) as client:
            assert receive(client).status == 503
        one.waits(stuck=1, connections=0)
        one.server.stop()
        (line,) = [line for line in one.log if "was given up before" in line]
        assert line.startswith(f"{thread.name} ")
        assert "in __call__" in line
        assert "self.go_on.wait()" in line  # and its source
        stuck.go_on.set()
        thread.join(20)


def test_only_the_threads_of_the_log_read_sources(stuck: Stuck, monkeypatch: pytest.MonkeyPatch) -> None:
    """The monitor touches no disk: nobody is served while it waits for one."""
    readers: set[str] = set()

    def noted(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            readers.add(threading.current_thread().name)
            return function(*arguments, **options)

        return call

    for name in ("checkcache", "updatecache"):
        monkeypatch.setattr(linecache, name, noted(getattr(linecache, name)))
    linecache.clearcache()
    with site(stuck, request_timeout=5.0) as one:
        thread = one.server._runtime.pool.workers[0].thread
        assert receive(stick(one, stuck)).status == 503
        one.waits(stuck=1)
        eventually(lambda: len(one.log) == 2)
        assert all("self.go_on.wait()" in line for line in one.log)
        stuck.go_on.set()
        thread.join(20)
    assert readers == {"reserve-log"}


def test_plain_handlers_are_not_interrupted() -> None:
    entered, done = threading.Semaphore(0), threading.Event()

    def handle(sock: Any, address: Any, server: Any) -> None:
        entered.release()
        while not done.is_set():
            time.sleep(0)
        sock.sendall(b"done")

    with site(handle, wsgi=False, request_timeout=5.0) as one:
        client = one.connect(b"x")
        assert entered.acquire(timeout=PATIENCE)
        for _ in range(3):
            one.clock.advance(20)
            other = one.connect(b"y")
            one.queue_holds(1)
            other.close()
            one.clock.advance(31)
            one.waits(queued=0)
        done.set()
        assert until_closed(client) == (b"done", False)
        assert one.stats().timed_out == 0


# An interrupt that happens to arrive in a weak reference's callback ends there, and the interpreter says so; the run is
# then given up a second later, which is not what this test is about.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("threads", [1, 3])
def test_it_never_hits_the_next_request(threads: int) -> None:
    """Requests that end exactly around their time: each has one whole answer, and no worker is lost.

    The only test here on the machine's clock: nothing in it depends on what happens when.
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
    found: list[int] = []

    def ask(served: Any, seed: int) -> None:
        for number in range(60):
            with served.connect(PATIENCE) as client:
                span = timeout * (0.9 + (number * 7 + seed) % 20 / 80)
                client.sendall(request("GET", f"/?{span:.6f}"))
                answer = receive(client)
                assert answer.whole
                found.append(answer.status)

    try:
        from reserve.engine.server import Hooks

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
    assert len(found) == 180
    assert set(found) <= {200, 503}
    said = [line.partition("\n")[0] for line in log]  # without the stacks
    assert not [line for line in said if "starts again" in line or "failed" in line], said
