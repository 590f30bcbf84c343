"""``--buffer-memory`` and ``--spool-disk``: what happens when they are used up, and that everything comes back."""

from __future__ import annotations

import contextlib
import gc
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from tests.apps.http.responses import receive, request
from tests.clients import close_with_reset, until_closed
from tests.overload.site import PATIENCE, Site, over_both, site
from tests.waiting import eventually

MEMORY = 200000
LARGE = b"a" * 4000000
OTHER = b"b" * 4000000
"""An object of its own: what waits twice is held once."""
PIECE = 40000


def app(environ: Any, start_response: Any) -> Any:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/list":
        return [LARGE, OTHER]
    if environ["PATH_INFO"] == "/generator":
        return (LARGE[:100000] for _ in range(80))
    return [str(len(body)).encode()]


@contextlib.contextmanager
def limited(app: Any, memory: int, disk: int, **options: Any) -> Iterator[Site]:
    """A site whose budget of memory may be less than the option allows, so that a few clients use it up."""
    with site(app, spool_disk=disk, **options) as one:
        one.server.budget.memory_limit = memory
        yield one


def budgets(memory: int, disk: int, **options: Any) -> Any:
    http = HTTPSettings(access_log=False, body_timeout=20.0, body_memory=65536, response_memory=1000)
    return limited(app, memory, disk, http=http, **options)


def half(size: int = 2 * PIECE) -> bytes:
    return request("POST", "/", body=b"x" * size)[:-PIECE]


def test_bodies_go_to_disk_early_when_the_memory_is_used_up() -> None:
    with budgets(MEMORY, 10**9) as one:
        clients = [one.connect(half()) for _ in range(20)]
        eventually(lambda: one.stats().buffered + one.stats().spooled == 20 * PIECE)
        stats = one.stats()
        assert stats.spooled > 0
        assert stats.buffered <= MEMORY + PIECE
        assert one.ask().body == b"0"
        for client in clients:  # one by one: who would have to wait for a worker now is refused instead
            client.sendall(b"x" * PIECE)
            assert receive(client).body == str(2 * PIECE).encode()
            client.close()
        one.gives_everything_back()


@over_both
def test_with_both_used_up_a_body_is_refused_and_the_client_can_read_it(secure: bool) -> None:
    # A client that is still sending has to be read on, or a reset takes the answer away: how far, is an option.
    with budgets(MEMORY, 0, secure=secure, linger_bytes=10 * PIECE) as one:
        clients = [one.connect(half()) for _ in range(5)]
        eventually(lambda: one.stats().buffered == 5 * PIECE)
        over = [one.connect(half(10 * PIECE)) for _ in range(3)]
        for client in over:
            answer = receive(client)
            assert (answer.status, answer.whole) == (507, True)
            assert b"--buffer-memory" in answer.body
            assert until_closed(client) == (b"", False)
            client.close()
        assert one.ask().body == b"0"
        for number, client in enumerate(clients, start=1):
            one.rests()  # who would have to wait for a worker now is refused instead
            client.sendall(b"x" * PIECE)
            if client is clients[0]:
                assert receive(client).status in (200, 507)  # the last octets of the first may still be too many
            else:
                assert receive(client).status == 200
            client.close()
            one.waits(buffered=(len(clients) - number) * PIECE)  # what an answered one held is given back
        one.gives_everything_back()


@over_both
def test_what_came_with_a_head_is_not_kept_behind_the_budgets_back(secure: bool) -> None:
    """Of a body that came in one piece with its head nothing is left when it has been served, or lies in a file."""
    held: list[int] = []
    tracemalloc.start()
    try:
        with budgets(10**9, 10**9, secure=secure, threads=2) as one:
            in_files = 0
            for count in (5, 25):
                clients = [one.connect(request("POST", "/", body=b"x" * 60000)) for _ in range(count)]
                assert [receive(client).body for client in clients] == [b"60000"] * count
                stored = [one.connect(half(PIECE * 3)) for _ in range(count)]
                in_files += count * 2 * PIECE
                eventually(lambda whole=in_files: one.stats().spooled == whole)  # type: ignore[misc]
                one.waits(busy=0, queued=0, buffered=0)
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
                del clients, stored
            assert held[1] - held[0] < 50 * 20000
    finally:
        tracemalloc.stop()


@over_both
def test_a_body_that_pauses_above_its_memory_does_not_go_past_the_disk(secure: bool) -> None:
    with budgets(10**9, 3 * PIECE, secure=secure) as one:
        clients = [one.connect(half(3 * PIECE))]
        eventually(lambda: one.stats().spooled == 2 * PIECE)
        clients.append(one.connect(half(3 * PIECE)))
        one.waits(spooled=2 * PIECE, buffered=2 * PIECE)  # there is room in memory
        for client in clients:
            client.sendall(b"x" * PIECE)
            assert receive(client).body == str(3 * PIECE).encode()
            client.close()
        one.gives_everything_back()


@over_both
def test_a_body_that_pauses_with_both_used_up_is_refused_when_it_goes_on(secure: bool) -> None:
    with budgets(2 * PIECE, 3 * PIECE, secure=secure) as one:
        stored = one.connect(half(3 * PIECE))
        eventually(lambda: one.stats().spooled == 2 * PIECE)
        refused = one.connect(half(3 * PIECE))
        one.waits(spooled=2 * PIECE, buffered=2 * PIECE)
        refused.sendall(b"x")
        one.waits(buffered=2 * PIECE + 1)  # too much, but nobody is refused for what has come
        refused.sendall(b"x")
        answer = receive(refused)
        assert (answer.status, answer.whole) == (507, True)
        assert until_closed(refused) == (b"", False)
        assert one.stats().spooled == 2 * PIECE
        refused.close()
        one.waits(buffered=0)
        stored.sendall(b"x" * PIECE)
        assert receive(stored).body == str(3 * PIECE).encode()
        stored.close()
        one.gives_everything_back()


def end_by_closing(one: Site, clients: Any) -> None:
    for client in clients:
        client.close()


def end_by_reset(one: Site, clients: Any) -> None:
    for client in clients:
        close_with_reset(client)


def end_by_time(one: Site, clients: Any) -> None:
    one.clock.advance(1000)
    for client in clients:
        assert receive(client).status == 408
        assert until_closed(client)[0] == b""
        client.close()


@pytest.mark.parametrize("end", [end_by_closing, end_by_reset, end_by_time])
def test_half_bodies_give_everything_back(end: Callable[[Site, Any], None]) -> None:
    with budgets(MEMORY, 10**9) as one:
        clients = [one.connect(half()) for _ in range(10)]
        eventually(lambda: one.stats().buffered + one.stats().spooled == 10 * PIECE)
        end(one, clients)
        one.gives_everything_back()
        assert one.ask().body == b"0"


def test_a_stop_gives_everything_back() -> None:
    with budgets(MEMORY, 10**9) as one:
        for _ in range(10):
            one.connect(half())
        one.connect(request("GET", "/list"), window=2048)
        eventually(lambda: one.stats().flushing == 1 and one.stats().connections == 11)
        one.server.stop(0)
        stats = one.stats()
        assert (stats.connections, stats.buffered, stats.spooled) == (0, 0, 0)


def greedy(one: Site, path: str) -> Any:
    return one.connect(request("GET", path, "Connection: close"), window=2048)


def test_list_answers_stay_by_reference_within_the_budget_and_go_to_a_file_beyond_it() -> None:
    with budgets(9000000, 10**9) as one:
        first = greedy(one, "/list")
        one.waits(flushing=1, busy=0)
        assert one.stats().buffered > 3000000
        assert one.stats().spooled == 0
        second = greedy(one, "/list")
        one.waits(flushing=2, busy=0)
        assert one.stats().spooled > 3000000
        assert one.stats().buffered < 9000000
        assert one.ask().body == b"0"
        for client in (first, second):
            raw, reset = until_closed(client)
            assert len(raw.partition(b"\r\n\r\n")[2]) == 2 * len(LARGE)
            assert not reset
            client.close()
        one.gives_everything_back()


@pytest.mark.parametrize("path", ["/list", "/generator"])
@pytest.mark.parametrize("disk", [0, 1000])
def test_with_both_used_up_an_answer_is_cut_and_the_server_lives(
    path: str, disk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reserve.apps.http.exchange.NO_ROOM_LIMITS", (0.01, 10**9))
    with budgets(1048576, disk) as one:
        clients = [greedy(one, path) for _ in range(4)]
        one.waits(connections=0)  # before anybody reads
        for client in clients:
            raw, reset = until_closed(client)
            assert reset
            assert len(raw) < 2 * len(LARGE)
            client.close()
        assert one.ask().body == b"0"
        one.gives_everything_back()
        eventually(lambda: any("the answer is cut: --buffer-memory and --spool-disk" in line for line in one.log))


def test_with_both_used_up_a_client_that_reads_gets_what_a_generator_makes() -> None:
    with budgets(1, 0) as one:  # the least of all: whatever waits is too much
        clients = [one.connect(request("GET", "/generator", "Connection: close")) for _ in range(3)]
        for client in clients:
            raw, reset = until_closed(client)
            assert not reset
            assert raw.endswith(b"0\r\n\r\n")
            assert raw.count(b"a") >= 80 * 100000
            client.close()
        one.gives_everything_back()
        assert one.log == []


def test_an_answer_that_the_memory_has_room_for_is_not_counted_twice() -> None:
    with budgets(9_000_000, 0) as one:
        client = greedy(one, "/generator")
        one.waits(busy=0, flushing=1)
        raw, reset = until_closed(client)
        assert (len(raw) > 8_000_000, reset) == (True, False)
        client.close()
        one.gives_everything_back()


@pytest.mark.parametrize("path", ["/list", "/generator"])
@pytest.mark.parametrize("end", [end_by_closing, end_by_reset])
def test_answers_that_nobody_reads_give_everything_back(path: str, end: Any) -> None:
    with budgets(10**8, 10**9) as one:
        clients = [greedy(one, path) for _ in range(4)]
        one.waits(busy=0, flushing=4)
        assert one.stats().buffered + one.stats().spooled > 10000000
        end(one, clients)
        one.gives_everything_back()


def test_answers_that_time_out_give_everything_back() -> None:
    with budgets(10**8, 10**9, write_timeout=30.0) as one:
        clients = [greedy(one, path) for path in ("/list", "/generator") * 3]
        one.waits(busy=0, flushing=6)

        def out_of_time() -> bool:
            one.clock.advance(31)  # again, as long as the systems of both ends still find room: that is progress
            return bool(one.stats().connections == 0)

        eventually(out_of_time)  # before anybody reads: whoever makes room has time again
        for client in clients:
            assert until_closed(client)[1]
        one.gives_everything_back()


@pytest.mark.parametrize("disk", [10**9, 0])
def test_with_the_memory_used_up_and_no_worker_free_a_body_waits_while_there_is_disk(disk: int) -> None:
    entered, go_on = threading.Semaphore(0), threading.Event()

    def waiting(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/wait":
            entered.release()
            assert go_on.wait(PATIENCE)
        return app(environ, start_response)

    with limited(waiting, MEMORY, disk) as one:
        busy = one.connect(request("GET", "/wait"))
        assert entered.acquire(timeout=PATIENCE)
        held = []
        while one.stats().buffered <= MEMORY:
            before = one.stats().buffered
            held.append(one.connect(request("POST", "/", body=b"x" * 61000)[:-1000]))
            eventually(lambda before=before: one.stats().buffered == before + 60000)  # type: ignore[misc]
        late = one.connect(request("POST", "/", body=b"x" * 1000))
        bodiless = one.connect(request())
        if disk:
            one.queue_holds(2)
            held[0].sendall(b"x" * 1000)
            one.queue_holds(3)
            # A piece of a body that a worker has to write to a file waits for it, too.
            held[1].sendall(b"x" * 500)
            one.queue_holds(4)
            assert one.stats().refused == 0
            held[1].sendall(b"x" * 500)
            held = held[2:] + held[:2]
        else:
            answer = receive(late)
            assert (answer.status, answer.fields["retry-after"], answer.whole) == (503, "1", True)
            one.queue_holds(1)
        go_on.set()
        assert [receive(client).body for client in (busy, bodiless)] == [b"0", b"0"]
        if disk:
            assert receive(late).body == b"1000"
            assert [receive(client).body for client in held[-2:]] == [b"61000"] * 2
            assert one.stats().refused == 0
        for client in held:
            client.close()
        for client in (busy, late, bodiless):
            client.close()
        one.gives_everything_back()


def test_a_request_that_is_refused_in_the_queue_gives_everything_back(tmp_path: Path) -> None:
    entered, go_on = threading.Semaphore(0), threading.Event()

    def waiting(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/wait":
            entered.release()
            assert go_on.wait(PATIENCE)
        return app(environ, start_response)

    http = HTTPSettings(access_log=False, spool_dir=str(tmp_path))
    with site(waiting, http=http, max_queued=1) as one:
        busy = one.connect(request("GET", "/wait"))
        assert entered.acquire(timeout=PATIENCE)
        queued = one.connect(request("POST", "/", body=b"x" * 50000))
        one.queue_holds(1)
        late = one.connect(request("POST", "/", body=b"x" * 50000))
        assert receive(late).status == 503
        late.close()
        go_on.set()
        assert receive(queued).body == b"50000"
        assert receive(busy).body == b"0"
        for client in (queued, busy):
            client.close()
        one.gives_everything_back()
