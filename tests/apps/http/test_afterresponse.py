"""``reserve.after_response``: functions that run on the worker after the response, and hold no connection."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest

from reserve.errors import UsageError
from reserve.gateways.dispatch import mounted_at
from reserve.testing import MemoryClient
from tests.apps.http.responses import only, receive, request
from tests.clients import close_with_reset, until_closed
from tests.overload.site import serving
from tests.waiting import PATIENCE, eventually


class Later:
    """An application that has ``function`` called after each response to /later.

    :param respond: makes the response, after the registration.
    """

    def __init__(self, function: Callable[[], object], respond: Callable[[Any, Any], Any] | None = None) -> None:
        self.function = function
        self._respond = respond

    def __call__(self, environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/later":
            environ["reserve.after_response"](self.function)
            if self._respond is not None:
                return self._respond(environ, start_response)
        start_response("200 OK", [])
        return [threading.current_thread().name.encode()]


def test_it_runs_after_the_response_on_the_same_thread_in_order_in_the_context_of_the_request() -> None:
    setting: contextvars.ContextVar[str] = contextvars.ContextVar("setting", default="none")
    calls: SimpleQueue[tuple[int, str, str]] = SimpleQueue()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        after_response = environ["reserve.after_response"]
        setting.set("request")

        def call(number: int) -> None:
            calls.put((number, threading.current_thread().name, setting.get()))
            if number == 2:
                after_response(lambda: call(3))

        after_response(lambda: call(1))
        after_response(lambda: call(2))
        start_response("200 OK", [])
        assert calls.empty()
        return [threading.current_thread().name.encode()]

    with serving(app, threads=2) as site:
        name = site.fetch().body.decode()
        got = [calls.get(timeout=PATIENCE) for _ in range(3)]
        assert got == [(1, name, "request"), (2, name, "request"), (3, name, "request")]
        site.wait_for_stats(busy=0)
        assert calls.empty()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_slow_one_keeps_its_thread_and_not_its_connection(secure: bool) -> None:
    entered, released = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        assert released.wait(PATIENCE)

    with serving(Later(slow), threads=2, secure=secure) as site:
        client = site.connect(request("GET", "/later") + request())
        first = receive_two(client)
        assert entered.wait(PATIENCE)
        assert first[0] != first[1]  # another thread served the next request
        site.wait_for_stats(busy=1)
        for _ in range(3):
            client.sendall(request())
            assert receive(client).status == 200
        released.set()
        site.wait_for_stats(busy=0)


def receive_two(client: Any) -> list[bytes]:
    data = b""
    while data.count(b"reserve-worker-") < 2 or not data[-1:].isdigit():
        data += client.recv(65536)
    return [part.partition(b"\r\n\r\n")[2] for part in data.split(b"HTTP/1.1 ")[1:]]


def test_with_one_thread_the_next_request_waits_for_it_and_no_byte_of_the_response_does() -> None:
    entered, released = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        assert released.wait(PATIENCE)

    with serving(Later(slow), threads=1) as site:
        client = site.connect(request("GET", "/later"))
        assert receive(client).status == 200
        assert entered.wait(PATIENCE)
        client.sendall(request())
        site.wait_queued(1)
        released.set()
        assert receive(client).status == 200


def raising(environ: Any, start_response: Any) -> Any:
    raise LookupError("the application")


def failing_late(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "100")])
    yield b"begun"
    raise LookupError("late")


@pytest.mark.parametrize(("respond", "gets"), [(raising, b"500"), (failing_late, b"begun")])
def test_it_runs_once_when_the_response_failed(respond: Any, gets: bytes) -> None:
    calls: list[int] = []
    with serving(Later(lambda: calls.append(1), respond), threads=1) as site:
        raw, _ = until_closed(site.connect(request("GET", "/later")))
        assert gets in raw
        assert site.fetch().status == 200
        assert calls == [1]


def test_it_runs_once_when_the_client_is_gone() -> None:
    calls: list[int] = []
    entered, gone = threading.Event(), threading.Event()

    def respond(environ: Any, start_response: Any) -> Any:
        entered.set()
        assert gone.wait(PATIENCE)
        start_response("200 OK", [])
        while True:
            yield b"x" * 65536

    with serving(Later(lambda: calls.append(1), respond), threads=1) as site:
        client = site.connect(request("GET", "/later"))
        assert entered.wait(PATIENCE)
        close_with_reset(client)
        gone.set()
        assert site.fetch().status == 200
        assert calls == [1]


@pytest.mark.parametrize("stuck", [False, True], ids=["interrupted", "given up"])
def test_it_runs_once_when_the_time_of_the_request_is_over(stuck: bool) -> None:
    calls: SimpleQueue[str] = SimpleQueue()
    entered, released = threading.Event(), threading.Event()

    def respond(environ: Any, start_response: Any) -> Any:
        entered.set()
        if stuck:
            released.wait(PATIENCE)  # one call: RequestTimeout cannot be raised in it
        while True:
            pass

    app = Later(lambda: calls.put(threading.current_thread().name), respond)
    with serving(app, threads=1, request_timeout=5.0) as site:
        client = site.connect(request("GET", "/later"))
        assert entered.wait(PATIENCE)
        thread = site.server._runtime.pool.workers[0].thread
        site.clock.advance(5)
        assert receive(client).status == 503
        if stuck:
            eventually(lambda: site.stats().timed_out == 1)
            site.clock.advance(1)
            site.wait_for_stats(stuck=1, threads=1)
            released.set()
        assert calls.get(timeout=PATIENCE) == thread.name
        assert site.fetch().status == 200
        assert calls.empty()


def test_an_error_is_logged_and_the_next_one_runs() -> None:
    ran = threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/later":
            for function in (raise_exit, ran.set):
                environ["reserve.after_response"](function)
        start_response("200 OK", [])
        return []

    def raise_exit() -> None:
        raise SystemExit("after")

    with serving(app, threads=1) as site:
        assert site.fetch(request("GET", "/later")).status == 200
        assert ran.wait(PATIENCE)
        assert site.fetch().status == 200
        eventually(lambda: any("a function of reserve.after_response failed" in line for line in site.log))


def test_it_has_no_time_limit_and_may_wait_like_a_request() -> None:
    entered, released = threading.Event(), threading.Event()
    environs: list[Any] = []

    def slow() -> None:
        with environs[0]["reserve.waiting"]() as granted:
            assert granted
            entered.set()
            assert released.wait(PATIENCE)

    def respond(environ: Any, start_response: Any) -> Any:
        environs.append(environ)
        start_response("200 OK", [])
        return []

    with serving(Later(slow, respond), threads=1, request_timeout=5.0) as site:
        assert site.fetch(request("GET", "/later")).status == 200
        assert entered.wait(PATIENCE)
        site.clock.advance(10)
        assert site.fetch().status == 200  # by another thread
        assert site.stats().timed_out == site.stats().stuck == 0
        released.set()
        site.wait_for_stats(busy=0, waiting=0, threads=1)


def test_it_is_a_function_and_added_by_the_thread_of_the_request() -> None:
    errors: list[str] = []
    environs: list[Any] = []

    def add(function: Any) -> None:
        try:
            environs[0]["reserve.after_response"](function)
        except UsageError as error:
            errors.append(str(error))

    def app(environ: Any, start_response: Any) -> list[bytes]:
        environs.append(environ)
        add("not a function")
        thread = threading.Thread(target=add, args=(errors.clear,), name="other")
        thread.start()
        thread.join(PATIENCE)
        start_response("200 OK", [])
        return []

    with serving(app, threads=1) as site:
        assert site.fetch().status == 200
        add(errors.clear)  # after the response
        site.wait_for_stats(busy=0)
    assert [text.partition(",")[0] for text in errors] == [
        "what is called after the response is a function",
        "a function that is called after the response is added on the thread that runs the request",
        "a function that is called after the response is added on the thread that runs the request",
    ]
    assert "this is other" in errors[1]


def test_a_stop_waits_for_it() -> None:
    entered, released, done = threading.Event(), threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        assert released.wait(PATIENCE)
        done.set()

    with serving(Later(slow), threads=1) as site:
        assert site.fetch(request("GET", "/later")).status == 200
        assert entered.wait(PATIENCE)
        site.server.request_stop(60)
        eventually(lambda: site.stats().connections == 0)
        assert site.server._runtime.pool.finishing() == 1
        released.set()
        site.server.stop()
        assert done.is_set()
        assert site.server.aborted == 0


def test_at_the_deadline_of_a_stop_it_is_reported_and_left() -> None:
    entered, released = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        assert released.wait(PATIENCE)

    with serving(Later(slow), threads=1) as site:
        assert site.fetch(request("GET", "/later")).status == 200
        assert entered.wait(PATIENCE)
        thread = site.server._runtime.pool.workers[0].thread
        site.server.stop(0)
        assert site.server.aborted == 1
        assert any("is still busy after a response at the end of the stop" in line for line in site.log)
        released.set()
        thread.join(PATIENCE)


def test_a_mounted_application_and_a_middleware_that_copies_the_environ_have_it() -> None:
    ran = threading.Event()

    def middleware(environ: Any, start_response: Any) -> Any:
        return mounted_at("/mount", Later(ran.set))({**environ}, start_response)

    with serving(middleware, threads=1) as site:
        assert site.fetch(request("GET", "/mount/later")).status == 200
        assert ran.wait(PATIENCE)


def test_it_runs_in_memory_too() -> None:
    calls: list[int] = []
    client = MemoryClient(Later(lambda: calls.append(1)))
    assert only(client.send(request("GET", "/later"))).status == 200
    assert calls == [1]
    client.close()
