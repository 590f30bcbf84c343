"""``--write-timeout`` and ``--write-rate``: who is cut, and when exactly."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from tests.apps.http.responses import request
from tests.clients import until_closed
from tests.overload.site import PATIENCE, Site, open_files, site
from tests.waiting import eventually

LARGE = b"a" * 8000000
HUGE = LARGE * 6
"""More than the systems of both ends take, even if its client reads some of it now and then."""


def whole(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [HUGE] if environ["PATH_INFO"] == "/large" else [b"served"]


def cut(client: Any) -> bool:
    return until_closed(client)[1]


def looked(one: Site) -> None:
    """The server has been round once: whatever was due has been dealt with."""
    for _ in range(3):
        one.ask()


def greedy(one: Site) -> Any:
    client = one.connect(request("GET", "/large"), window=2048)
    one.waits(flushing=1, busy=0)
    return client


def test_who_takes_nothing_is_reset_at_the_deadline() -> None:
    with site(whole, write_timeout=30.0) as one:
        client = greedy(one)
        one.clock.advance(29)
        looked(one)
        assert one.stats().flushing == 1
        one.clock.advance(1.0625)  # and a tick of the table
        eventually(lambda: one.stats().flushing == 0)
        assert cut(client)


def gone(one: Site) -> int:
    (connection,) = [c for c in list(one.server._queue.connections.values()) if c.output is not None]
    assert connection.output is not None
    return connection.output.gone


def take(one: Site, client: Any) -> int:
    """Read until more of the answer has left the server; returns how much that was."""
    before = gone(one)
    while gone(one) == before:
        assert client.recv(65536)
    looked(one)  # its new deadline has been set, and nothing of this is left for after the next jump of the clock
    return gone(one) - before


def test_a_trickle_is_reset_at_the_time_that_the_rate_allows() -> None:
    with site(whole, write_timeout=30.0, write_rate=1000000) as one:
        client = greedy(one)
        left = 0
        for _ in range(4):
            one.clock.advance(7)
            left += take(one, client)
        assert one.stats().flushing == 1
        assert left < 20000000  # else the other deadline would be the earlier one
        one.clock.advance(2 + left / 1000000 + 0.0625)
        eventually(lambda: one.stats().flushing == 0)
        assert cut(client)


def test_who_keeps_the_rate_is_not_cut() -> None:
    with site(whole, write_timeout=30.0, write_rate=100) as one:
        client = greedy(one)
        for _ in range(5):
            one.clock.advance(25)
            take(one, client)
        looked(one)
        assert one.stats().flushing == 1


def test_without_a_rate_any_octet_will_do() -> None:
    with site(whole, write_timeout=30.0, write_rate=0) as one:
        client = greedy(one)
        for _ in range(4):
            one.clock.advance(29)
            take(one, client)
        looked(one)
        assert one.stats().flushing == 1
        one.clock.advance(30.0625)
        eventually(lambda: one.stats().flushing == 0)
        assert cut(client)


@pytest.mark.parametrize("rate", [0, 500])
def test_a_worker_that_waits_for_its_client_is_set_free(rate: int) -> None:
    """It waits in the kernel, on the machine's clock; only that it ends, and how, is looked at."""
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
    with site(app, http=http, write_timeout=0.1, write_rate=rate) as one:
        client = one.connect(request("GET", "/"), window=2048)
        eventually(lambda: failed)
        assert "--write-timeout" in str(failed[0])
        one.waits(busy=0)
        looked(one)
        waiting = [c for c in list(one.server._queue.connections.values()) if c.output is not None]
        assert not waiting, "it has had its time"
        assert cut(client)


def test_a_lent_connection_has_the_same_deadline_however_much_its_worker_adds() -> None:
    turn, done = threading.Semaphore(0), threading.Semaphore(0)
    failed: list[BaseException] = []

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/slow":
            return whole(environ, start_response)
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

    with site(app, threads=2, write_timeout=30.0, write_rate=0) as one:
        client = one.connect(request("GET", "/slow"), window=2048)
        assert done.acquire(timeout=PATIENCE)
        for _ in range(3):
            one.clock.advance(9)
            turn.release()
            assert done.acquire(timeout=PATIENCE)
        assert failed == []
        one.clock.advance(3.0625)
        looked(one)
        turn.release()
        assert done.acquire(timeout=PATIENCE)
        turn.release(5)
        assert len(failed) == 1
        until_closed(client)
        one.waits(connections=0, buffered=0, spooled=0)


def test_the_file_of_an_answer_whose_client_was_too_slow_is_closed_while_its_worker_goes_on(tmp_path: Path) -> None:
    written, go_on = threading.Semaphore(0), threading.Event()
    failed: list[BaseException] = []

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/slow":
            return whole(environ, start_response)
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
    with site(app, http=http, threads=2) as one:
        client = one.connect(request("GET", "/slow"), window=2048)
        assert written.acquire(timeout=PATIENCE)
        assert open_files(tmp_path)
        one.clock.advance(31)
        looked(one)
        go_on.set()
        eventually(lambda: failed)
        until_closed(client)
        one.waits(connections=0, buffered=0, spooled=0)
        assert open_files(tmp_path) == 0
