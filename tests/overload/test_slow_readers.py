"""``--write-timeout`` and ``--write-rate``: which clients are disconnected, and when."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.engine.connections.output import Output
from tests.apps.http.responses import request
from tests.clients import until_closed
from tests.overload.site import Site, open_files, serving
from tests.waiting import PATIENCE, eventually

LARGE = b"a" * 8000000
HUGE = LARGE * 6
"""More than the kernels of both sides take, even if the client reads some of it now and then."""


def serve_huge(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [HUGE] if environ["PATH_INFO"] == "/large" else [b"served"]


def was_reset(client: Any) -> bool:
    return until_closed(client)[1]


def let_deadlines_expire(site: Site) -> None:
    """Have the server look at every connection whose deadline has passed: it does so before it serves a request."""
    for _ in range(3):
        site.fetch()


def connect_without_reading(site: Site) -> Any:
    client = site.connect(request("GET", "/large"), window=2048)
    site.wait_for_stats(flushing=1, busy=0)
    return client


def test_a_client_that_takes_nothing_is_reset_at_the_deadline() -> None:
    with serving(serve_huge, write_timeout=30.0) as site:
        client = connect_without_reading(site)
        site.clock.advance(29)
        let_deadlines_expire(site)
        assert site.stats().flushing == 1
        site.clock.advance(1.0625)  # with a tick of the timers
        eventually(lambda: site.stats().flushing == 0)
        assert was_reset(client)


def outputs(site: Site) -> list[Output]:
    """What waits for a client, of every connection."""
    connections = list(site.server._queue.connections.values())
    return [connection.output for connection in connections if connection.output is not None]


def bytes_sent(site: Site) -> int:
    (output,) = outputs(site)
    return output.sent


def take(site: Site, client: Any) -> int:
    """Read until more of the response has left the server; returns how many bytes that was."""
    before = bytes_sent(site)
    while bytes_sent(site) == before:
        assert client.recv(65536)
    let_deadlines_expire(site)  # the new deadline is set before the clock advances
    return bytes_sent(site) - before


def test_a_client_below_the_rate_is_reset_at_the_time_that_the_rate_allows() -> None:
    with serving(serve_huge, write_timeout=30.0, write_rate=1000000) as site:
        client = connect_without_reading(site)
        taken = 0
        for _ in range(4):
            site.clock.advance(7)
            taken += take(site, client)
        assert site.stats().flushing == 1
        assert taken < 20000000  # else the deadline of the timeout would be earlier
        site.clock.advance(2 + taken / 1000000 + 0.0625)
        eventually(lambda: site.stats().flushing == 0)
        assert was_reset(client)


def test_a_client_that_keeps_the_rate_is_not_disconnected() -> None:
    with serving(serve_huge, write_timeout=30.0, write_rate=100) as site:
        client = connect_without_reading(site)
        for _ in range(5):
            site.clock.advance(25)
            take(site, client)
        let_deadlines_expire(site)
        assert site.stats().flushing == 1


def test_a_client_has_to_read_faster_the_more_of_its_response_is_in_a_file(tmp_path: Path) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/large":
            return serve_huge(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (LARGE[:100000] for _ in range(400))

    http = HTTPSettings(access_log=False, response_memory=1000, spool_dir=str(tmp_path))
    with serving(app, http=http, write_timeout=30.0, write_rate=100000) as site:
        client = connect_without_reading(site)
        held = site.stats().spooled_responses
        assert 20 * 1048576 < held == site.stats().spooled
        rate = 100000 * (1 + held / 1048576)
        taken = 0
        for _ in range(3):
            site.clock.advance(9)
            taken += take(site, client)
        assert site.stats().flushing == 1
        assert 100000 * 10 < taken < rate * 10  # fast enough for a response in memory, for the time after the timeout
        site.clock.advance(3 + taken / rate + 0.0625)
        eventually(lambda: site.stats().flushing == 0)
        assert was_reset(client)
        site.wait_for_stats(spooled=0, spooled_responses=0)


def test_without_a_rate_every_byte_prolongs_the_time() -> None:
    with serving(serve_huge, write_timeout=30.0, write_rate=0) as site:
        client = connect_without_reading(site)
        for _ in range(4):
            site.clock.advance(29)
            take(site, client)
        let_deadlines_expire(site)
        assert site.stats().flushing == 1
        site.clock.advance(30.0625)
        eventually(lambda: site.stats().flushing == 0)
        assert was_reset(client)


@pytest.mark.parametrize("rate", [0, 500])
def test_a_worker_that_waits_for_its_client_stops_waiting(rate: int) -> None:
    """It waits in the kernel, on the machine's clock; the test checks only that the wait ends, and how."""
    failed: list[BaseException] = []

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            for _ in range(100):
                write(LARGE[:100000])
        except BaseException as error:
            failed.append(error)
            raise
        return []

    http = HTTPSettings(access_log=False, response_memory=0, max_response_spool=0)
    with serving(app, http=http, write_timeout=0.1, write_rate=rate) as site:
        client = site.connect(request("GET", "/"), window=2048)
        eventually(lambda: failed)
        assert "--write-timeout" in str(failed[0])
        site.wait_for_stats(busy=0)
        let_deadlines_expire(site)
        assert not outputs(site), "the output gets no more time"
        assert was_reset(client)


def test_the_deadline_of_a_lent_connection_does_not_move_when_its_worker_writes_more() -> None:
    turn, done = threading.Semaphore(0), threading.Semaphore(0)
    failed: list[BaseException] = []

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/slow":
            return serve_huge(environ, start_response)
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            write(LARGE)
            while True:
                done.release()
                assert turn.acquire(timeout=PATIENCE)
                write(b"more")
        except BaseException as error:
            failed.append(error)
            done.release()
            raise

    with serving(app, threads=2, write_timeout=30.0, write_rate=0) as site:
        client = site.connect(request("GET", "/slow"), window=2048)
        assert done.acquire(timeout=PATIENCE)
        for _ in range(3):
            site.clock.advance(9)
            turn.release()
            assert done.acquire(timeout=PATIENCE)
        assert failed == []
        site.clock.advance(3.0625)
        let_deadlines_expire(site)
        turn.release()
        assert done.acquire(timeout=PATIENCE)
        turn.release(5)
        assert len(failed) == 1
        until_closed(client)
        site.wait_for_stats(connections=0, buffered=0, spooled=0)


def test_the_file_of_a_response_whose_client_is_too_slow_is_closed_while_the_worker_goes_on(tmp_path: Path) -> None:
    written, go_on = threading.Semaphore(0), threading.Event()
    failed: list[BaseException] = []

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/slow":
            return serve_huge(environ, start_response)
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        for _ in range(10):
            write(LARGE[:1000000])
        written.release()
        assert go_on.wait(PATIENCE)
        try:
            write(b"more")
        except BaseException as error:
            failed.append(error)
            raise
        return []

    http = HTTPSettings(access_log=False, response_memory=1000, spool_dir=str(tmp_path))
    with serving(app, http=http, threads=2) as site:
        client = site.connect(request("GET", "/slow"), window=2048)
        assert written.acquire(timeout=PATIENCE)
        assert open_files(tmp_path)
        site.clock.advance(31)
        let_deadlines_expire(site)
        go_on.set()
        eventually(lambda: failed)
        until_closed(client)
        site.wait_for_stats(connections=0, buffered=0, spooled=0)
        eventually(lambda: open_files(tmp_path) == 0)  # a file thread closes it
