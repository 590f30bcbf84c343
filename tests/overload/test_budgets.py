"""``--buffer-memory`` and ``--spool-disk``: what happens when they are used up, and that everything is freed."""

from __future__ import annotations

import contextlib
import gc
import socket
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from tests.apps.http.doubles import Gate
from tests.apps.http.responses import receive, request
from tests.clients import until_closed
from tests.overload.site import Site, close_clients, over_both, reset_clients, serving
from tests.waiting import eventually

MEMORY = 200000
LARGE = b"a" * 4000000
OTHER = b"b" * 4000000
"""Another object than LARGE: an object that waits twice is counted once."""
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
    """Serve with a budget of memory that may be less than the option allows, so that a few clients use it up."""
    with serving(app, spool_disk=disk, **options) as site:
        site.server._runtime.budget.memory_limit = memory
        yield site


def budgets(memory: int, disk: int, **options: Any) -> Any:
    http = HTTPSettings(access_log=False, body_timeout=20.0, body_memory=65536, response_memory=1000)
    return limited(app, memory, disk, http=http, **options)


def incomplete(size: int = 2 * PIECE) -> bytes:
    """A request whose body lacks its last PIECE bytes."""
    return request("POST", "/", body=b"x" * size)[:-PIECE]


def test_bodies_go_to_disk_early_when_the_memory_is_used_up() -> None:
    with budgets(MEMORY, 10**9) as site:
        clients = [site.connect(incomplete()) for _ in range(20)]
        eventually(lambda: site.stats().buffered + site.stats().spooled == 20 * PIECE)
        # What waits for the disk is still in memory.
        eventually(lambda: site.stats().buffered <= MEMORY + PIECE)
        assert site.stats().spooled > 0
        assert site.fetch().body == b"0"
        for client in clients:  # one by one: a request that had to wait for a worker now would be refused
            client.sendall(b"x" * PIECE)
            assert receive(client).body == str(2 * PIECE).encode()
            client.close()
        site.wait_released()


@over_both
def test_with_both_used_up_a_body_is_refused_and_the_client_receives_the_refusal(secure: bool) -> None:
    # The client is still sending: without receiving that, up to linger_bytes, the server would reset the connection.
    with budgets(MEMORY, 0, secure=secure, linger_bytes=10 * PIECE) as site:
        clients = [site.connect(incomplete()) for _ in range(5)]
        eventually(lambda: site.stats().buffered == 5 * PIECE)
        over = [site.connect(incomplete(10 * PIECE)) for _ in range(3)]
        for client in over:
            response = receive(client)
            assert (response.status, response.whole) == (507, True)
            assert b"--buffer-memory" in response.body
            assert until_closed(client) == (b"", False)
            client.close()
        assert site.fetch().body == b"0"
        for number, client in enumerate(clients, start=1):
            site.wait_idle()  # a request that had to wait for a worker now would be refused
            client.sendall(b"x" * PIECE)
            if client is clients[0]:
                assert receive(client).status in (200, 507)  # the last bytes of the first body may still be too many
            else:
                assert receive(client).status == 200
            client.close()
            site.wait_for_stats(buffered=(len(clients) - number) * PIECE)  # the response has been sent
        site.wait_released()


@over_both
def test_a_body_that_came_with_its_head_is_not_kept_in_memory_uncounted(secure: bool) -> None:
    """Nothing of such a body stays in memory after the response, or when it is in a file."""
    held: list[int] = []
    tracemalloc.start()
    try:
        with budgets(10**9, 10**9, secure=secure, threads=2) as site:
            in_files = 0
            for count in (5, 25):
                clients = [site.connect(request("POST", "/", body=b"x" * 60000)) for _ in range(count)]
                assert [receive(client).body for client in clients] == [b"60000"] * count
                stored = [site.connect(incomplete(PIECE * 3)) for _ in range(count)]
                in_files += count * 2 * PIECE
                eventually(lambda whole=in_files: site.stats().spooled == whole)  # type: ignore[misc]
                site.wait_for_stats(busy=0, queued=0, buffered=0)
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
                del clients, stored
            assert held[1] - held[0] < 50 * 20000
    finally:
        tracemalloc.stop()


@over_both
def test_a_body_that_pauses_stays_in_memory_when_the_disk_has_no_room(secure: bool) -> None:
    with budgets(10**9, 3 * PIECE, secure=secure) as site:
        clients = [site.connect(incomplete(3 * PIECE))]
        eventually(lambda: site.stats().spooled == 2 * PIECE)
        clients.append(site.connect(incomplete(3 * PIECE)))
        site.wait_for_stats(spooled=2 * PIECE, buffered=2 * PIECE)  # there is room in memory
        for client in clients:
            client.sendall(b"x" * PIECE)
            assert receive(client).body == str(3 * PIECE).encode()
            client.close()
        site.wait_released()


@over_both
def test_a_body_that_pauses_with_both_used_up_is_refused_when_it_goes_on(secure: bool) -> None:
    with budgets(2 * PIECE, 3 * PIECE, secure=secure) as site:
        stored = site.connect(incomplete(3 * PIECE))
        eventually(lambda: site.stats().spooled == 2 * PIECE)
        refused = site.connect(incomplete(3 * PIECE))
        site.wait_for_stats(spooled=2 * PIECE, buffered=2 * PIECE)
        refused.sendall(b"x")
        site.wait_for_stats(buffered=2 * PIECE + 1)  # too much, but bytes that have arrived refuse no request
        refused.sendall(b"x")
        response = receive(refused)
        assert (response.status, response.whole) == (507, True)
        assert until_closed(refused) == (b"", False)
        assert site.stats().spooled == 2 * PIECE
        refused.close()
        site.wait_for_stats(buffered=0)
        stored.sendall(b"x" * PIECE)
        assert receive(stored).body == str(3 * PIECE).encode()
        stored.close()
        site.wait_released()


def time_out(site: Site, clients: Any) -> None:
    site.clock.advance(1000)
    for client in clients:
        assert receive(client).status == 408
        assert until_closed(client)[0] == b""
        client.close()


@pytest.mark.parametrize("end", [close_clients, reset_clients, time_out])
def test_incomplete_bodies_are_freed_whatever_ends_the_connection(end: Callable[[Site, Any], None]) -> None:
    with budgets(MEMORY, 10**9) as site:
        clients = [site.connect(incomplete()) for _ in range(10)]
        eventually(lambda: site.stats().buffered + site.stats().spooled == 10 * PIECE)
        end(site, clients)
        site.wait_released()
        assert site.fetch().body == b"0"


def test_a_stop_frees_everything() -> None:
    with budgets(MEMORY, 10**9) as site:
        for _ in range(10):
            site.connect(incomplete())
        site.connect(request("GET", "/list"), window=2048)
        eventually(lambda: site.stats().flushing == 1 and site.stats().connections == 11)
        site.server.stop(0)
        stats = site.stats()
        assert (stats.connections, stats.buffered, stats.spooled) == (0, 0, 0)


def connect_without_reading(site: Site, path: str) -> Any:
    return site.connect(request("GET", path, "Connection: close"), window=2048)


def test_lists_stay_in_memory_within_the_budget_and_go_to_a_file_beyond_it() -> None:
    with budgets(9000000, 10**9) as site:
        first = connect_without_reading(site, "/list")
        site.wait_for_stats(flushing=1, busy=0)
        assert site.stats().buffered > 3000000
        assert site.stats().spooled == 0
        second = connect_without_reading(site, "/list")
        site.wait_for_stats(flushing=2, busy=0)
        assert site.stats().spooled > 3000000
        assert site.stats().buffered < 9000000
        assert site.fetch().body == b"0"
        for client in (first, second):
            raw, reset = until_closed(client)
            assert len(raw.partition(b"\r\n\r\n")[2]) == 2 * len(LARGE)
            assert not reset
            client.close()
        site.wait_released()


@pytest.mark.parametrize("path", ["/list", "/generator"])
@pytest.mark.parametrize("disk", [0, 1000])
def test_with_both_used_up_a_response_is_cut_and_the_server_goes_on(
    path: str, disk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reserve.apps.http.exchange.NO_ROOM_LIMITS", (0.01, 10**9))
    with budgets(1048576, disk) as site:
        clients = [connect_without_reading(site, path) for _ in range(4)]
        site.wait_for_stats(connections=0)  # before a client reads
        for client in clients:
            raw, reset = until_closed(client)
            assert reset
            assert len(raw) < 2 * len(LARGE)
            client.close()
        assert site.fetch().body == b"0"
        site.wait_released()
        eventually(lambda: any("the response is cut: --buffer-memory and --spool-disk" in line for line in site.log))


def test_responses_that_no_client_reads_leave_room_for_uploads_and_for_other_responses() -> None:
    disk = 16_000_000
    with budgets(MEMORY, disk, threads=12) as site:
        readers = [connect_without_reading(site, "/generator") for _ in range(8)]
        # Each has what it may have of the files, and its application waits; no other thread is busy.
        eventually(lambda: site.stats().busy == 8 and site.stats().spooled > disk // 2)
        stats = site.stats()  # of one moment: they may still write
        assert stats.spooled == stats.spooled_responses <= disk - disk // 4
        uploads = [site.connect(incomplete(30 * PIECE)) for _ in range(2)]
        eventually(lambda: site.stats().spooled - site.stats().spooled_responses > 50 * PIECE)
        for client in uploads:
            client.sendall(b"x" * PIECE)
            assert receive(client).body == str(30 * PIECE).encode()
            client.close()
        late = connect_without_reading(site, "/generator")
        before = site.stats().spooled_responses
        eventually(lambda: site.stats().spooled_responses > before)
        for client in (late, *readers):
            client.close()
        site.wait_released()


def test_uploads_leave_room_for_responses() -> None:
    disk = 8_000_000
    with budgets(10**8, disk) as site:
        uploads = [site.connect(incomplete(30 * PIECE)) for _ in range(5)]
        eventually(lambda: site.stats().spooled > disk - disk // 4 - 20 * PIECE)
        over = site.connect(incomplete(30 * PIECE))
        assert over.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 507"
        assert site.stats().spooled <= disk - disk // 4
        reader = connect_without_reading(site, "/generator")
        eventually(lambda: site.stats().spooled_responses > 0)
        for client in (reader, over, *uploads):
            client.close()
        site.wait_released()


def test_with_both_used_up_a_client_that_reads_receives_all_of_a_generator() -> None:
    with budgets(1, 0) as site, ThreadPoolExecutor(3) as threads:  # every byte that waits is too much
        clients = [site.connect(request("GET", "/generator", "Connection: close")) for _ in range(3)]
        # All at once: one that does not read for a second is cut.
        for client, (raw, reset) in zip(clients, threads.map(until_closed, clients), strict=True):
            assert not reset
            assert raw.endswith(b"0\r\n\r\n")
            assert raw.count(b"a") >= 80 * 100000
            client.close()
        site.wait_released()
        assert site.log == []


def test_a_response_that_fits_into_the_memory_is_not_counted_twice() -> None:
    with budgets(9_000_000, 0) as site:
        client = connect_without_reading(site, "/generator")
        site.wait_for_stats(busy=0, flushing=1)
        raw, reset = until_closed(client)
        assert (len(raw) > 8_000_000, reset) == (True, False)
        client.close()
        site.wait_released()


@pytest.mark.parametrize("path", ["/list", "/generator"])
@pytest.mark.parametrize("end", [close_clients, reset_clients])
def test_responses_that_no_client_reads_are_freed_when_the_connection_closes(path: str, end: Any) -> None:
    with budgets(10**8, 10**9) as site:
        clients = [connect_without_reading(site, path) for _ in range(4)]
        site.wait_for_stats(busy=0, flushing=4)
        assert site.stats().buffered + site.stats().spooled > 10000000
        end(site, clients)
        site.wait_released()


def test_responses_that_time_out_are_freed() -> None:
    with budgets(10**8, 10**9, write_timeout=30.0) as site:
        clients = [connect_without_reading(site, path) for path in ("/list", "/generator") * 3]
        site.wait_for_stats(busy=0, flushing=6)
        site.time_writes_out(30)  # before a client reads
        for client in clients:
            assert until_closed(client)[1]
        site.wait_released()


@pytest.mark.parametrize("disk", [10**9, 0])
def test_with_the_memory_used_up_a_body_waits_for_a_worker_only_while_the_disk_has_room(disk: int) -> None:
    gate = Gate(app)
    with limited(gate, MEMORY, disk) as site:
        busy = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        held = []
        while site.stats().buffered <= MEMORY:
            before = site.stats().buffered
            held.append(site.connect(request("POST", "/", body=b"x" * 61000)[:-1000]))
            eventually(lambda before=before: site.stats().buffered == before + 60000)  # type: ignore[misc]
        late = site.connect(request("POST", "/", body=b"x" * 1000))
        without_body = site.connect(request())
        if disk:
            site.wait_queued(2)
            held[0].sendall(b"x" * 1000)
            site.wait_queued(3)
            # A body that has to go to a file does not wait for the worker, but its request does.
            held[1].sendall(b"x" * 500)
            eventually(lambda: site.stats().spooled >= 60000)
            assert site.stats().refused == 0
            held[1].sendall(b"x" * 500)
            site.wait_queued(4)
            held = held[2:] + held[:2]
        else:
            response = receive(late)
            assert (response.status, response.fields["retry-after"], response.whole) == (503, "1", True)
            site.wait_queued(1)
        gate.release()
        assert [receive(client).body for client in (busy, without_body)] == [b"0", b"0"]
        if disk:
            assert receive(late).body == b"1000"
            assert [receive(client).body for client in held[-2:]] == [b"61000"] * 2
            assert site.stats().refused == 0
        for client in held:
            client.close()
        for client in (busy, late, without_body):
            client.close()
        site.wait_released()


def test_a_request_that_is_refused_in_the_queue_holds_nothing(tmp_path: Path) -> None:
    gate = Gate(app)
    http = HTTPSettings(access_log=False, spool_dir=str(tmp_path))
    with serving(gate, http=http, max_queued=1) as site:
        busy = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        queued = site.connect(request("POST", "/", body=b"x" * 50000))
        site.wait_queued(1)
        late = site.connect(request("POST", "/", body=b"x" * 50000))
        assert receive(late).status == 503
        late.close()
        gate.release()
        assert receive(queued).body == b"50000"
        assert receive(busy).body == b"0"
        for client in (queued, busy):
            client.close()
        site.wait_released()
