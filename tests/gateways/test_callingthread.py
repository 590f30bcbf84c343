"""An application whose code runs on the thread inside ``start()``: in order, whatever it makes, raises or waits for."""

from __future__ import annotations

import contextlib
import contextvars
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from types import FrameType
from typing import Any

import pytest

from reserve import ReserveWSGIServer, listen
from reserve.engine.hooks import Hooks
from reserve.engine.server import Server
from reserve.errors import RequestTimeout, UsageError
from reserve.gateways.callingthread import CallingThread
from reserve.gateways.streams import FileWrapper
from reserve.testing import FakeClock
from tests.apps.http.responses import Response, receive, request
from tests.clients import close_with_reset, until_closed
from tests.waiting import PATIENCE, eventually


class Site:
    """A server that a thread of the test, ``thread``, has started. Made by :func:`started`.

    ``ended`` gets what ``start()`` has raised, or None.
    """

    def __init__(self, server: Server, clock: FakeClock, log: list[str]) -> None:
        self.server = server
        self.clock = clock
        self.log = log
        self.trace: Any = None
        self.ended: SimpleQueue[BaseException | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="caller", daemon=True)
        self.stack = contextlib.ExitStack()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            sys.settrace(self.trace)
            self.server.start()
        except BaseException as raised:
            error = raised
        sys.settrace(None)
        self.ended.put(error)

    def connect(self, sent: bytes = b"") -> socket.socket:
        client = self.stack.enter_context(socket.create_connection(self.server.addresses[0], PATIENCE))
        client.sendall(sent)
        return client

    def fetch(self, raw: bytes = b"") -> Response:
        with contextlib.closing(self.connect(raw or request())) as client:
            return receive(client)


@contextlib.contextmanager
def started(
    app: Any, *, stopping_errors: Any = (KeyboardInterrupt,), trace: Any = None, **options: Any
) -> Iterator[Site]:
    clock, log = FakeClock(), []
    options = {"threads": 1, **options}
    hooks = Hooks(error_log=lambda level, text: log.append(text))
    calling_thread = CallingThread(app, stopping_errors=stopping_errors)
    server = ReserveWSGIServer(listen("127.0.0.1:0"), calling_thread, clock=clock, hooks=hooks, **options)
    site = Site(server, clock, log)
    site.trace = trace
    site.thread.start()
    try:
        assert server.wait_ready(PATIENCE)
        yield site
    finally:
        site.stack.close()
        server.request_stop(0 if sys.exc_info()[0] else None)
        site.thread.join(PATIENCE)
        assert not site.thread.is_alive()


class Pieces:
    """An iterable that notes on which thread each of its methods is called."""

    def __init__(self, note: Callable[[str], None], *pieces: bytes) -> None:
        self._note = note
        self._pieces = iter(pieces)
        self.count = len(pieces)

    def __iter__(self) -> Pieces:
        self._note("iter")
        return self

    def __next__(self) -> bytes:
        self._note("next")
        return next(self._pieces)

    def close(self) -> None:
        self._note("close")


class Sized(Pieces):
    def __len__(self) -> int:
        self._note("len")
        return self.count


class Odd(list[bytes]):
    """A list whose items are made by code."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"odd", threading.current_thread().name.encode()])


class ReadsItself:
    def read(self, size: int) -> bytes:
        data, self.read = threading.current_thread().name.encode(), lambda size: b""  # type: ignore[method-assign]
        return data


def test_all_code_of_the_application_runs_on_the_thread_in_start() -> None:
    calls: list[tuple[str, str]] = []

    def note(what: str) -> None:
        calls.append((what, threading.current_thread().name))

    def app(environ: Any, start_response: Any) -> Any:
        note("app")
        assert environ["wsgi.multithread"] is False
        start_response("200 OK", [])
        return {
            "/list": [b"x"],
            "/generator": (threading.current_thread().name.encode() for _ in range(2)),
            "/sized": Sized(note, b"x"),
            "/pieces": Pieces(note, b"x", b"y"),
            "/odd": Odd([b"never", b"sent"]),
            "/file": FileWrapper(ReadsItself()),
        }[environ["PATH_INFO"]]

    with started(app, threads=3) as site:
        assert site.fetch(request("GET", "/list")).body == b"x"
        assert site.fetch(request("GET", "/generator")).body == b"callercaller"
        sized = site.fetch(request("GET", "/sized"))
        assert (sized.body, sized.fields["content-length"]) == (b"x", "1")
        assert site.fetch(request("GET", "/pieces")).body == b"xy"
        assert site.fetch(request("GET", "/odd")).body == b"oddcaller"
        assert site.fetch(request("GET", "/file")).body == b"caller"
    assert {thread for _, thread in calls} == {"caller"}
    assert [what for what, _ in calls if what != "app"] == [
        *("len", "iter", "next", "next", "close"),
        *("iter", "next", "next", "next", "close"),
    ]


def test_requests_are_served_one_after_the_other_and_no_code_runs_between_the_pieces_of_a_response() -> None:
    order: list[str] = []
    waiting, go_on = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        order.append(path)
        start_response("200 OK", [])
        return stream() if path == "/stream" else [path.encode()]

    def stream() -> Iterator[bytes]:
        yield b"first"
        order.append("piece")
        waiting.set()
        assert go_on.wait(PATIENCE)
        yield b"second"
        order.append("end")

    with started(app, threads=4) as site:
        streaming = site.connect(request("GET", "/stream"))
        assert waiting.wait(PATIENCE)
        others = []
        for number in range(3):
            others.append(site.connect(request("GET", f"/{number}")))
            eventually(lambda: site.server.stats().busy == number + 2)  # noqa: B023
        go_on.set()
        assert receive(streaming).body == b"firstsecond"
        assert [receive(client).body for client in others] == [b"/0", b"/1", b"/2"]
    assert order == ["/stream", "piece", "end", "/0", "/1", "/2"]


def test_connections_that_send_nothing_do_not_delay_a_request_and_are_accepted_while_the_application_runs() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            entered.set()
            assert go_on.wait(PATIENCE)
        start_response("200 OK", [])
        return [b"here"]

    with started(app) as site:
        for _ in range(3):
            site.connect()
            site.connect(b"GET / HTTP/1.1\r\n")
        assert site.fetch().body == b"here"
        slow = site.connect(request("GET", "/slow"))
        assert entered.wait(PATIENCE)
        for _ in range(3):
            site.connect()
        eventually(lambda: site.server.stats().parked >= 9)
        go_on.set()
        assert receive(slow).body == b"here"


def test_the_context_of_a_request_is_its_own_and_covers_every_call() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(variable.get())
        variable.set("set")
        environ["reserve.after_response"](lambda: seen.append("after " + variable.get()))
        start_response("200 OK", [])
        return pieces()

    def pieces() -> Iterator[bytes]:
        seen.append(variable.get())
        yield b"x"

    with started(app) as site:
        for _ in range(2):
            assert site.fetch().body == b"x"
        eventually(lambda: len(seen) == 6)
    assert seen == ["none", "set", "after set"] * 2


def test_functions_after_the_response_run_on_the_thread_and_their_errors_are_logged() -> None:
    calls: SimpleQueue[str] = SimpleQueue()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        def later() -> None:
            calls.put(threading.current_thread().name)
            raise ValueError("too late")

        environ["reserve.after_response"](later)
        with pytest.raises(UsageError):
            environ["reserve.after_response"]("no function")
        start_response("200 OK", [])
        return [b"x"]

    with started(app) as site:
        assert site.fetch().body == b"x"
        assert calls.get(timeout=PATIENCE) == "caller"
        assert site.fetch().body == b"x"
        eventually(lambda: any("too late" in line for line in site.log))


def test_what_uses_the_connection_is_called_by_the_worker() -> None:
    threads: list[str] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        content = environ["wsgi.input"]
        read = [content.readline(), content.read(3), *content.readlines()]
        with environ["reserve.waiting"]() as exempt:
            assert exempt is False
        environ["reserve.deadline"](60)
        environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload")])
        write = start_response("200 OK", [])
        write(b"|".join(read))
        with pytest.raises(Exception, match="bytes"):
            write("text")
        return [b"!"]

    import reserve.engine.connections.connection as connections

    plain_write, plain_wait = connections.Connection.write, connections.Connection.wait

    def write(self: Any, data: bytes) -> None:
        threads.append(threading.current_thread().name)
        plain_write(self, data)

    def wait(self: Any, *args: Any, **options: Any) -> Any:
        threads.append(threading.current_thread().name)
        return plain_wait(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections.Connection, "write", write)
        patch.setattr(connections.Connection, "wait", wait)
        with started(app, stream_bodies=True, request_timeout=5.0) as site:
            client = site.connect(request("POST", "/", "Content-Length: 12"))
            client.sendall(b"one\ntwothree")
            data = b""
            while not data.endswith(b"0\r\n\r\n"):
                data += client.recv(65536)
    assert b"103 Early Hints" in data
    assert b"one\n|two|three" in data
    assert threads
    assert "caller" not in threads


@pytest.mark.parametrize("raises", ["app", "next", "later", "close"])
@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_an_exception_ends_one_request(raises: str, kind: type[BaseException]) -> None:
    class Failing:
        def __iter__(self) -> Iterator[bytes]:
            if raises == "next":
                raise kind("now")
            yield b"a"
            if raises == "later":
                raise kind("now")

        def close(self) -> None:
            if raises == "close":
                raise kind("now")

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/fail":
            start_response("200 OK", [])
            if raises == "app":
                raise kind("now")
            return Failing()
        start_response("200 OK", [])
        return [b"well"]

    with started(app) as site:
        response = site.fetch(request("GET", "/fail"))
        if raises in ("app", "next"):
            assert response.status == 500
        else:
            assert response.whole is (raises == "close")
        assert site.fetch().body == b"well"
        eventually(lambda: any("now" in line for line in site.log))


@pytest.mark.parametrize(
    ("kind", "stopping"), [(KeyboardInterrupt, (KeyboardInterrupt,)), (SystemExit, (KeyboardInterrupt, SystemExit))]
)
@pytest.mark.parametrize("raises", ["app", "later"])
def test_an_interrupt_in_the_application_stops_the_server_after_the_other_requests(
    kind: type[BaseException], stopping: Any, raises: str
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/other":
            return [b"other"]
        if raises == "app":
            interrupt()
        return later()

    def later() -> Iterator[bytes]:
        yield b"a"
        interrupt()

    def interrupt() -> None:
        entered.set()
        assert go_on.wait(PATIENCE)
        raise kind("stop")

    with started(app, threads=2, stopping_errors=stopping) as site:
        client = site.connect(request())
        assert entered.wait(PATIENCE)
        other = site.connect(request("GET", "/other"))
        eventually(lambda: site.server.stats().busy == 2)
        go_on.set()
        response = receive(client)
        assert response.status == 500 if raises == "app" else not response.whole
        assert receive(other).body == b"other"
        client.close()
        other.close()
        error = site.ended.get(timeout=PATIENCE)
        assert type(error) is kind
        assert error.args == ("stop",)


def test_a_client_that_leaves_ends_the_stream_and_the_next_one_is_served() -> None:
    closed: SimpleQueue[str] = SimpleQueue()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return endless() if environ["PATH_INFO"] == "/endless" else [b"next"]

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
        finally:
            closed.put(threading.current_thread().name)

    with started(app) as site:
        client = site.connect(request("GET", "/endless"))
        client.recv(1)
        close_with_reset(client)
        assert closed.get(timeout=PATIENCE) == "caller"
        assert site.fetch().body == b"next"


# ---- the time limit ----


class Slow:
    """An application whose requests to /slow wait until the test lets them go on.

    :param stuck: in code of C, in which RequestTimeout cannot be raised.
    """

    def __init__(self, *, stuck: bool) -> None:
        self.entered = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.stuck = stuck
        self.caught: list[BaseException] = []
        self.served: list[str] = []

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        self.served.append(environ["PATH_INFO"])
        if environ["PATH_INFO"].startswith("/slow"):
            self.entered.release()
            try:
                if self.stuck:
                    assert self.go_on.wait(PATIENCE)
                self._spin()
            except BaseException as error:
                self.caught.append(error)
                raise
        start_response("200 OK", [])
        return [b"served"]

    def _spin(self) -> None:
        """A function of its own, because CPython 3.13.0 does not find the handler around a loop in which it raises what
        another thread has set.
        """
        while not self.go_on.is_set():
            pass


def pass_limit(site: Site, client: socket.socket) -> Response:
    """Advance the clock until the client has its response."""
    client.settimeout(0.05)
    while True:
        site.clock.advance(6.0)
        try:
            first = client.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            continue
        assert first, "the connection was closed without a response"
        client.settimeout(PATIENCE)
        return receive(client)


def test_the_time_limit_interrupts_the_application_on_its_thread() -> None:
    app = Slow(stuck=False)
    with started(app, request_timeout=5.0) as site:
        client = site.connect(request("GET", "/slow"))
        assert app.entered.acquire(timeout=PATIENCE)
        assert pass_limit(site, client).status == 503
        eventually(lambda: app.caught)
        assert site.fetch().body == b"served"
        stats = site.server.stats()
        assert (stats.timed_out, stats.stuck) == (1, 0)
        eventually(lambda: any("in __call__" in line and "it is interrupted" in line for line in site.log))
    assert [type(error) for error in app.caught] == [RequestTimeout]
    assert site.ended.get(timeout=PATIENCE) is None


def test_an_application_that_is_stuck_gets_its_clients_a_response_and_serves_the_next_ones_when_it_returns() -> None:
    app = Slow(stuck=True)
    with started(app, request_timeout=5.0, max_stuck=2) as site:
        client = site.connect(request("GET", "/slow"))
        assert app.entered.acquire(timeout=PATIENCE)
        assert pass_limit(site, client).status == 503
        for number in range(4):  # more than --max-stuck
            eventually(lambda: site.server.stats().threads == 1)
            waiting = site.connect(request("GET", f"/{number}"))
            eventually(lambda: site.server.stats().busy == 1)
            assert pass_limit(site, waiting).status == 503
        assert site.server.stats().stuck <= 1
        app.go_on.set()
        assert site.fetch().body == b"served"
        eventually(lambda: site.server.stats().stuck == 0)
    assert app.served == ["/slow", "/"]
    assert site.ended.get(timeout=PATIENCE) is None


def test_a_request_that_waits_for_another_one_is_refused_in_time() -> None:
    app = Slow(stuck=True)
    with started(app, threads=2, request_timeout=5.0) as site:
        site.connect(request("GET", "/slow"))
        assert app.entered.acquire(timeout=PATIENCE)
        waiting = site.connect(request())
        eventually(lambda: site.server.stats().busy == 2)
        assert pass_limit(site, waiting).status == 503
        app.go_on.set()
    assert app.served == ["/slow"]


def test_close_is_called_although_the_time_is_over() -> None:
    closed = threading.Event()
    entered, go_on = threading.Event(), threading.Event()

    class Waits:
        def __iter__(self) -> Iterator[bytes]:
            entered.set()
            while not go_on.is_set():
                pass
            yield b"never"

        def close(self) -> None:
            closed.set()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return Waits()

    with started(app, request_timeout=5.0) as site:
        client = site.connect(request())
        assert entered.wait(PATIENCE)
        assert pass_limit(site, client).status == 503
        assert closed.wait(PATIENCE)
        go_on.set()


# ---- the stop ----


@pytest.mark.parametrize("where", ["application", "after", "another thread"])
def test_the_server_may_be_stopped_by_the_application_or_another_thread(where: str) -> None:
    site: Site
    entered = threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        if where == "application":
            site.server.stop()
        elif where == "after":
            environ["reserve.after_response"](site.server.stop)
        entered.set()
        start_response("200 OK", [])
        return [b"last"]

    with started(app) as site:
        client = site.connect(request())
        if where == "another thread":
            assert entered.wait(PATIENCE)
            assert receive(client).body == b"last"
            site.server.stop()
        else:
            assert receive(client).body == b"last"
        client.close()
        assert site.ended.get(timeout=PATIENCE) is None


def test_a_stop_at_once_ends_when_the_application_returns() -> None:
    app = Slow(stuck=True)
    with started(app) as site:
        client = site.connect(request("GET", "/slow"))
        assert app.entered.acquire(timeout=PATIENCE)
        site.server.stop(0)
        assert until_closed(client)[0] == b""
        assert any("in __call__" in line and "left running" in line for line in site.log), site.log
        assert site.ended.empty()
        app.go_on.set()
        assert site.ended.get(timeout=PATIENCE) is None
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("reserve-")])


def test_a_server_in_the_background_has_no_thread_for_the_application() -> None:
    server = ReserveWSGIServer(listen("127.0.0.1:0"), CallingThread(lambda environ, start_response: []))
    with pytest.raises(UsageError, match="call start"):
        server.serve_in_background()
    server.stop()


def test_without_a_server_it_is_the_application_itself() -> None:
    app = CallingThread(lambda environ, start_response: [environ["x"]])
    assert app({"x": b"y"}, lambda *args: lambda data: None) == [b"y"]
    with pytest.raises(UsageError):
        CallingThread(None)  # type: ignore[arg-type]


# ---- an interrupt at any moment ----


class InterruptAt:
    """A trace function that raises KeyboardInterrupt at the ``number``-th line of the code that makes the calls."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.count = 0
        self.begun = False
        self.place = ""

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        name = os.path.basename(frame.f_code.co_filename)
        if name not in ("startthread.py", "callingthread.py", "runguard.py", "signalwakeup.py"):
            return None
        if not self.begun:
            self.begun = frame.f_code.co_name == "wait"  # of SignalWakeup: the server has started
            return self if self.begun else None
        if event == "line":
            self.count += 1
            if self.count == self.number:
                self.place = f"{name}:{frame.f_lineno}"
                raise KeyboardInterrupt("traced")
        return self


@pytest.mark.parametrize("timeout", [0.0, 5.0])
def test_an_interrupt_between_any_two_lines_leaves_no_worker_waiting(timeout: float) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])(b"a")
        return (piece for piece in (b"b", b"c"))

    for number in range(1, 1000):
        trace = InterruptAt(number)
        with started(app, request_timeout=timeout, trace=trace) as site:
            got = b""
            with contextlib.suppress(ConnectionError):  # it is stopped already
                got = until_closed(site.connect(request("GET", "/", "Connection: close")))[0]
            if not trace.place:
                assert got.endswith(b"1\r\nc\r\n0\r\n\r\n")
                break
            error = site.ended.get(timeout=PATIENCE)
            assert type(error) is KeyboardInterrupt, trace.place
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("reserve-")], trace.place
    assert number > 50
