"""``--max-queued`` and ``--queue-timeout``: which requests are refused, when, and that each is refused once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from tests.apps.http.doubles import Gate
from tests.apps.http.responses import receive, request
from tests.clients import until_closed
from tests.overload.site import open_files, over_both, received_nothing, serving
from tests.waiting import PATIENCE, eventually


@over_both
def test_a_request_beyond_max_queued_is_refused_while_the_worker_is_busy(secure: bool) -> None:
    gate = Gate()
    with serving(gate, max_queued=3, secure=secure) as site:
        busy = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        queued = []
        for count in range(1, 4):
            queued.append(site.connect(request()))
            site.wait_queued(count)
        late = site.connect(request())
        response = receive(late)
        assert (response.status, response.fields["retry-after"], response.fields["connection"]) == (503, "1", "close")
        assert b"overloaded" in response.body
        assert until_closed(late) == (b"", False)
        assert (site.stats().refused, site.stats().queued, site.stats().busy) == (1, 3, 1)
        assert all(received_nothing(client) for client in (busy, *queued))
        gate.release()
        for client in (busy, *queued):
            assert receive(client).body == b"served"
        assert site.stats().refused == 1


def test_max_queued_0_refuses_every_request_that_finds_no_free_worker() -> None:
    gate = Gate()
    with serving(gate, max_queued=0) as site:
        busy = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        assert [site.fetch().status for _ in range(3)] == [503] * 3
        gate.release()
        assert receive(busy).status == 200
        site.wait_idle()
        assert site.fetch().status == 200


def test_requests_that_waited_too_long_are_refused_and_others_are_not() -> None:
    gate = Gate()
    with serving(gate, queue_timeout=10.0) as site:
        busy = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        first = site.connect(request())
        site.wait_queued(1)
        site.clock.advance(6)
        second = site.connect(request())
        site.wait_queued(2)
        site.clock.advance(5)
        assert receive(first).status == 503
        assert received_nothing(second)
        gate.release()
        assert receive(second).status == 200
        assert receive(busy).status == 200
        assert site.stats().refused == 1


@pytest.mark.parametrize("round_", range(15))
def test_a_worker_that_becomes_free_at_the_timeout_serves_or_refuses_each_request_once(round_: int) -> None:
    gate = Gate()
    with serving(gate, queue_timeout=10.0) as site:
        busy = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        queued = [site.connect(request("GET", f"/{number}")) for number in range(12)]
        site.wait_queued(len(queued))
        threads = [threading.Thread(target=gate.release), threading.Thread(target=site.clock.advance, args=(10.0,))]
        for thread in threads[:: 1 if round_ % 2 else -1]:
            thread.start()
        statuses = [receive(client).status for client in queued]
        for thread in threads:
            thread.join()
        assert receive(busy).status == 200
        assert set(statuses) <= {200, 503}
        served = [number for number, status in enumerate(statuses) if status == 200]
        assert sorted(gate.paths) == sorted(["/wait", *(f"/{number}" for number in served)])
        eventually(lambda: site.stats().refused == statuses.count(503))
    messages = [line for line in site.log if "more like it" not in line]
    assert len(messages) == (503 in statuses)  # one line, however many they were: the clock stands still
    assert all(" from 127.0.0.1:" in line and "--queue-timeout" in line for line in messages)


def test_the_file_of_a_body_that_is_refused_is_closed(tmp_path: Path) -> None:
    gate = Gate()
    http = HTTPSettings(access_log=False, spool_dir=str(tmp_path), body_memory=1000)
    with serving(gate, http=http, threads=1, queue_timeout=10.0) as site:
        upload = request("POST", "/", body=b"x" * 300000)
        client = site.connect(upload[:250000])
        eventually(lambda: site.stats().spooled > 0)  # the worker was free and wrote it
        busy = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        client.sendall(upload[250000:])
        site.wait_queued(1)
        assert open_files(tmp_path) == 1
        site.clock.advance(11)
        assert receive(client).status == 503
        client.close()
        eventually(lambda: open_files(tmp_path) == 0)
        site.wait_for_stats(spooled=0)
        gate.release()
        assert receive(busy).status == 200
        assert gate.paths == ["/wait"]


def test_a_refusal_is_in_the_access_log(capsys: pytest.CaptureFixture[str]) -> None:
    gate = Gate()
    with serving(gate, http=HTTPSettings(), max_queued=0) as site:
        busy = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        body = site.fetch(request("GET", "/refused?a=1")).body
        gate.release()
        assert receive(busy).status == 200
    lines = [line for line in capsys.readouterr().out.splitlines() if "/refused" in line]
    assert len(lines) == 1
    assert f'"GET /refused?a=1 HTTP/1.1" 503 {len(body)} ' in lines[0]


def test_a_refused_head_request_gets_no_body() -> None:
    gate = Gate()
    with serving(gate, max_queued=0) as site:
        busy = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        client = site.connect(request("HEAD", "/"))
        raw, reset = until_closed(client)
        assert raw.startswith(b"HTTP/1.1 503 ")
        assert raw.endswith(b"\r\n\r\n")
        assert not reset
        gate.release()
        assert receive(busy).status == 200


def test_connections_of_plain_handlers_are_closed_without_a_refusal() -> None:
    inside, go_on = threading.Semaphore(0), threading.Event()

    def handle(sock: Any, address: Any, server: Any) -> None:
        inside.release()
        assert go_on.wait(PATIENCE)
        sock.sendall(b"hello")

    with serving(handle, wsgi=False, max_queued=1, queue_timeout=10.0) as site:
        busy = site.connect(b"x")
        assert inside.acquire(timeout=PATIENCE)
        queued = site.connect(b"x")
        site.wait_queued(1)
        late = site.connect(b"x")
        late.shutdown(1)
        assert until_closed(late)[0] == b""
        site.clock.advance(11)
        queued.shutdown(1)
        assert until_closed(queued)[0] == b""
        go_on.set()
        assert until_closed(busy)[0] == b"hello"
        assert site.stats().refused == 2


def test_the_log_has_one_line_for_all_requests_that_are_refused_for_one_reason() -> None:
    gate = Gate()
    with serving(gate, max_queued=1, queue_timeout=10.0) as site:
        busy = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        waiting = site.connect(request("GET", "/late"))
        site.wait_queued(1)
        for _ in range(5):
            assert site.fetch(request("GET", "/over")).status == 503
        eventually(lambda: len(site.log) == 1)
        site.clock.advance(10)
        assert receive(waiting).status == 503
        eventually(lambda: len(site.log) == 3)
        gate.release()
        assert receive(busy).status == 200
    full, late = [line for line in site.log if "more like it" not in line]
    (count,) = [line for line in site.log if "more like it" in line]
    assert full.startswith("GET /over from 127.0.0.1:")
    assert full.endswith("as many requests wait for one as --max-queued allows")
    assert late.startswith("GET /late from 127.0.0.1:")
    assert late.endswith("no worker was free within --queue-timeout")
    assert count.startswith("and 4 more like it in the last 10.0 s: requests refused: ")
