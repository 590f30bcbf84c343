"""``reserve.waiting`` and ``server.waiting``: requests that only wait take no thread from the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reserve.engine.server import Server
from reserve.errors import RequestTimeout
from reserve.sockets.listeners import listen
from tests.apps.http.responses import receive, request
from tests.clients import connect, receive_all
from tests.overload.site import Site, serving
from tests.waiting import PATIENCE, eventually


class Stream:
    """An application whose requests to /wait are event streams that wait for :attr:`released`, in a block.

    ``entered`` counts those that wait, ``granted`` has what the blocks returned. Others are answered at once.
    """

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.released = threading.Event()
        self.granted: list[bool] = []

    def __call__(self, environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return self.events(environ) if environ["PATH_INFO"] == "/wait" else [b"served"]

    def events(self, environ: Any) -> Iterator[bytes]:
        yield b"begin "
        with environ["reserve.waiting"]() as granted:
            self.granted.append(granted)
            self.entered.release()
            assert self.released.wait(PATIENCE)
        yield b"end"

    def wait_entered(self, count: int) -> None:
        for _ in range(count):
            assert self.entered.acquire(timeout=PATIENCE)


def open_streams(site: Site, app: Stream, count: int) -> list[Any]:
    clients = []
    for _ in range(count):
        clients.append(site.connect(request("GET", "/wait")))
        app.wait_entered(1)
    return clients


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_ten_waiting_streams_leave_two_threads_to_the_others(secure: bool) -> None:
    app = Stream()
    with serving(app, threads=2, secure=secure) as site:
        clients = open_streams(site, app, 10)
        assert app.granted == [True] * 10
        assert site.stats().waiting == 10
        for _ in range(5):
            assert site.fetch().body == b"served"
        assert 10 < site.stats().threads <= 12
        app.released.set()
        assert [receive(client).body for client in clients] == [b"begin end"] * 10
        site.wait_for_stats(threads=2, waiting=0)  # at once, not when they have been idle for a while
        assert site.fetch().body == b"served"


def test_a_request_that_waits_for_a_thread_gets_the_place_of_one_that_begins_to_wait() -> None:
    begin = threading.Event()

    class Late(Stream):
        def events(self, environ: Any) -> Iterator[bytes]:
            self.entered.release()
            assert begin.wait(PATIENCE)
            yield from super().events(environ)

    app = Late()
    with serving(app, threads=1) as site:
        client = site.connect(request("GET", "/wait"))
        app.wait_entered(1)
        other = site.connect(request())
        site.wait_queued(1)
        begin.set()
        assert receive(other).body == b"served"
        app.released.set()
        assert receive(client).body == b"begin end"


def test_beyond_the_maximum_a_request_that_waits_counts() -> None:
    app = Stream()
    with serving(app, threads=2, max_waiting=1) as site:
        clients = open_streams(site, app, 3)
        assert app.granted == [True, False, False]
        assert site.stats().waiting == 1
        clients.append(site.connect(request()))
        site.wait_queued(1)  # both threads that count are in a stream
        assert site.stats().threads == 3
        app.released.set()
        assert [receive(client).status for client in clients] == [200] * 4
    with serving(app, threads=1, max_waiting=0) as site:
        app.granted.clear()
        assert site.fetch(request("GET", "/wait")).body == b"begin end"
        assert app.granted == [False]


def test_the_pool_shrinks_also_while_some_still_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reserve.engine.scheduler.workerloop._IDLE", 0.02)
    app, second = Stream(), threading.Event()
    with serving(app, threads=(1, 3)) as site:
        first = open_streams(site, app, 2)
        app.released, old = second, app.released
        rest = open_streams(site, app, 1)
        old.set()
        assert [receive(client).body for client in first] == [b"begin end"] * 2
        site.wait_for_stats(threads=2, waiting=1)  # the one that waits does not count as the minimum
        assert site.fetch().body == b"served"
        second.set()
        assert receive(rest[0]).body == b"begin end"
        site.wait_for_stats(threads=1, waiting=0)


def only_request(use: Callable[[Any, Site], Any]) -> tuple[Any, Site]:
    """Call ``use(environ, site)`` in an application. Returns its result."""
    results: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/use":
            results.append(use(environ, holder[0]))
        start_response("200 OK", [])
        return [b"served"]

    holder: list[Site] = []
    with serving(app, threads=2) as site:
        holder.append(site)
        assert site.fetch(request("GET", "/use")).body == b"served"
        site.wait_for_stats(waiting=0)
        assert site.fetch().body == b"served"
    return results[0], site


def test_a_block_within_a_block_ends_with_the_outer_one() -> None:
    def use(environ: Any, site: Site) -> list[Any]:
        seen: list[Any] = []
        with environ["reserve.waiting"]() as outer:
            with environ["reserve.waiting"]() as inner:
                seen.append((outer, inner, site.stats().waiting))
            seen.append(site.stats().waiting)
        seen.append(site.stats().waiting)
        return seen

    assert only_request(use)[0] == [(True, True, 1), 1, 0]


def test_an_exception_ends_the_block_and_goes_on() -> None:
    def use(environ: Any, site: Site) -> int:
        with pytest.raises(ZeroDivisionError), environ["reserve.waiting"]():
            1 / 0  # noqa: B018
        return site.stats().waiting

    assert only_request(use)[0] == 0


def test_a_block_that_is_never_left_ends_with_its_request_and_no_later_one() -> None:
    kept: list[Any] = []

    def use(environ: Any, site: Site) -> bool:
        block = environ["reserve.waiting"]()
        kept.append(block)
        return bool(block.__enter__())

    assert only_request(use)[0] is True

    def leave_late(environ: Any, site: Site) -> int:
        with environ["reserve.waiting"]():
            kept[0].__exit__(None, None, None)  # of another request, as when a generator is freed late
            return site.stats().waiting

    assert only_request(leave_late)[0] == 1


def test_another_thread_changes_nothing() -> None:
    def use(environ: Any, site: Site) -> list[Any]:
        seen: list[Any] = []

        def wait() -> None:
            with environ["reserve.waiting"]() as granted:
                seen.extend((granted, site.stats().waiting))

        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(PATIENCE)
        return seen

    assert only_request(use)[0] == [False, 0]


def test_a_plain_handler_waits_with_the_server() -> None:
    entered, released = threading.Semaphore(0), threading.Event()

    def handle(sock: Any, address: Any, server: Any) -> None:
        if sock.recv(1) == b"w":
            with server.waiting() as granted:
                assert granted
                entered.release()
                assert released.wait(PATIENCE)
        sock.sendall(b"done")

    with Server(listen("127.0.0.1:0"), handle, threads=1) as server:
        address = server.addresses[0]
        clients = [connect(address) for _ in range(3)]
        for client in clients:
            client.sendall(b"w")
            assert entered.acquire(timeout=PATIENCE)
        assert server.stats().waiting == 3
        with connect(address) as other:
            other.sendall(b"x")
            assert receive_all(other) == b"done"
        released.set()
        for client in clients:
            assert receive_all(client) == b"done"
            client.close()
        with server.waiting() as granted:  # not on a worker
            assert not granted


def test_a_request_that_waits_is_interrupted_in_time_and_its_thread_counts_again() -> None:
    entered = threading.Semaphore(0)
    caught: list[type[BaseException]] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/wait":
            try:
                with environ["reserve.waiting"]():
                    entered.release()
                    while True:
                        pass
            except RequestTimeout as error:
                caught.append(type(error))
                raise
        start_response("200 OK", [])
        return [b"served"]

    with serving(app, request_timeout=5.0) as site:
        client = site.connect(request("GET", "/wait"))
        assert entered.acquire(timeout=PATIENCE)
        site.clock.advance(5)
        assert receive(client).status == 503
        site.wait_for_stats(timed_out=1, waiting=0, threads=1)
        assert site.fetch().body == b"served"
        assert caught == [RequestTimeout]


def test_a_stuck_thread_that_said_it_waits_is_given_up_and_replaced_once() -> None:
    entered, released = threading.Semaphore(0), threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/stuck":
            with environ["reserve.waiting"]():
                entered.release()
                released.wait(PATIENCE)  # one call: RequestTimeout cannot be raised in it
        start_response("200 OK", [])
        return [b"served"]

    with serving(app, threads=1, request_timeout=5.0) as site:
        client = site.connect(request("GET", "/stuck"))
        assert entered.acquire(timeout=PATIENCE)
        assert site.fetch().body == b"served"
        thread = next(worker.thread for worker in site.server._runtime.pool.busy())
        site.clock.advance(5)
        assert receive(client).status == 503
        eventually(lambda: site.stats().timed_out == 1)
        site.clock.advance(1)
        site.wait_for_stats(stuck=1, waiting=0, threads=1)
        assert site.fetch().body == b"served"
        released.set()
        thread.join(PATIENCE)


def test_a_stop_waits_for_requests_that_wait() -> None:
    asked: list[bool] = []
    app = Stream()
    inner = app.events

    def events(environ: Any) -> Iterator[bytes]:
        yield from inner(environ)
        asked.append(environ["reserve.stopping"]())

    app.events = events  # type: ignore[method-assign]
    with serving(app, threads=1) as site:
        clients = open_streams(site, app, 3)
        site.server.request_stop(60)
        eventually(lambda: site.server.stopping)
        app.released.set()
        assert [receive(client).body for client in clients] == [b"begin end"] * 3
        site.server.stop()
        assert site.server.aborted == 0
    assert asked == [True] * 3


# ---- the time of a request ----


def spinning(extend: Callable[[Any], Any]) -> tuple[Any, threading.Semaphore, threading.Event]:
    entered, done = threading.Semaphore(0), threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/spin":
            extend(environ["reserve.deadline"])
            entered.release()
            while not done.is_set():
                pass
        start_response("200 OK", [])
        return [b"served"]

    return app, entered, done


def test_a_request_extends_its_own_time() -> None:
    app, entered, done = spinning(lambda deadline: deadline(20))
    with serving(app, request_timeout=5.0) as site:
        client = site.connect(request("GET", "/spin"))
        assert entered.acquire(timeout=PATIENCE)
        site.clock.advance(5)
        second = site.connect(request("GET", "/"))
        site.wait_queued(1)  # the monitor leads, and has looked at the run
        site.clock.advance(10)
        done.set()
        assert receive(client).body == receive(second).body == b"served"
        assert site.stats().timed_out == 0


def test_the_extended_time_ends_too_and_the_log_says_who_asked_for_it() -> None:
    app, entered, _ = spinning(lambda deadline: (deadline(20), deadline(1)))  # never shorter
    with serving(app, request_timeout=5.0) as site:
        client = site.connect(request("GET", "/spin"))
        assert entered.acquire(timeout=PATIENCE)
        site.clock.advance(19)
        queued = site.connect(request())
        site.wait_queued(1)
        assert site.stats().timed_out == 0
        site.clock.advance(1)
        assert receive(client).status == 503
        eventually(lambda: any("reserve.deadline" in line for line in site.log))
        assert receive(queued).body == b"served"
        # The next request of the same worker has the time of --request-timeout again.
        client = site.connect(request("GET", "/spin"))
        assert entered.acquire(timeout=PATIENCE)
        site.clock.advance(20)
        assert receive(client).status == 503


def test_there_may_be_no_end() -> None:
    app, entered, done = spinning(lambda deadline: deadline(float("inf")))
    with serving(app, request_timeout=5.0) as site:
        client = site.connect(request("GET", "/spin"))
        assert entered.acquire(timeout=PATIENCE)
        site.clock.advance(20)
        queued = site.connect(request())
        site.wait_queued(1)
        done.set()
        assert receive(client).body == b"served"
        assert receive(queued).body == b"served"
        assert site.stats().timed_out == 0


def test_a_deadline_is_a_number_of_seconds_and_other_threads_have_none() -> None:
    def use(environ: Any, site: Site) -> list[str]:
        errors = []
        for value in (-1, "5", None, float("nan")):
            try:
                environ["reserve.deadline"](value)
            except Exception as error:
                errors.append(str(error))
        thread = threading.Thread(target=environ["reserve.deadline"], args=(5,))
        thread.start()
        thread.join(PATIENCE)
        environ["reserve.deadline"](5)  # without --request-timeout it changes nothing
        return errors

    assert [text.partition(",")[0] for text in only_request(use)[0]] == [
        "a deadline is a number of seconds from now"
    ] * 4
