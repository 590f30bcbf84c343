"""``--max-queued`` and ``--queue-timeout``: who is refused, when, and exactly once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from tests.apps.http.responses import receive, request
from tests.clients import until_closed
from tests.overload.site import Gate, open_files, over_both, silent, site
from tests.waiting import eventually


@over_both
def test_one_too_many_is_refused_while_the_worker_is_busy(secure: bool) -> None:
    gate = Gate()
    with site(gate, max_queued=3, secure=secure) as one:
        busy = one.connect(request("GET", "/wait"))
        gate.inside()
        queued = []
        for count in range(1, 4):
            queued.append(one.connect(request()))
            one.queue_holds(count)
        late = one.connect(request())
        answer = receive(late)
        assert (answer.status, answer.fields["retry-after"], answer.fields["connection"]) == (503, "1", "close")
        assert b"overloaded" in answer.body
        assert until_closed(late) == (b"", False)
        assert (one.stats().refused, one.stats().queued, one.stats().busy) == (1, 3, 1)
        assert all(silent(client) for client in (busy, *queued))
        gate.let_go()
        for client in (busy, *queued):
            assert receive(client).body == b"served"
        assert one.stats().refused == 1


def test_max_queued_0_refuses_whoever_finds_no_free_worker() -> None:
    gate = Gate()
    with site(gate, max_queued=0) as one:
        busy = one.connect(request("GET", "/wait"))
        gate.inside()
        assert [one.ask().status for _ in range(3)] == [503] * 3
        gate.let_go()
        assert receive(busy).status == 200
        one.rests()
        assert one.ask().status == 200


def test_those_who_waited_too_long_are_refused_and_the_others_are_not() -> None:
    gate = Gate()
    with site(gate, queue_timeout=10.0) as one:
        busy = one.connect(request("GET", "/wait"))
        gate.inside()
        first = one.connect(request())
        one.queue_holds(1)
        one.clock.advance(6)
        second = one.connect(request())
        one.queue_holds(2)
        one.clock.advance(5)
        assert receive(first).status == 503
        assert silent(second)
        gate.let_go()
        assert receive(second).status == 200
        assert receive(busy).status == 200
        assert one.stats().refused == 1


@pytest.mark.parametrize("round_", range(15))
def test_a_worker_that_comes_free_just_then_serves_or_refuses_each_exactly_once(round_: int) -> None:
    gate = Gate()
    with site(gate, queue_timeout=10.0) as one:
        busy = one.connect(request("GET", "/wait"))
        gate.inside()
        queued = [one.connect(request("GET", f"/{number}")) for number in range(12)]
        one.queue_holds(len(queued))
        threads = [threading.Thread(target=gate.let_go), threading.Thread(target=one.clock.advance, args=(10.0,))]
        for thread in threads[:: 1 if round_ % 2 else -1]:
            thread.start()
        statuses = [receive(client).status for client in queued]
        for thread in threads:
            thread.join()
        assert receive(busy).status == 200
        assert set(statuses) <= {200, 503}
        served = [number for number, status in enumerate(statuses) if status == 200]
        assert sorted(gate.paths) == sorted(["/wait", *(f"/{number}" for number in served)])
        eventually(lambda: one.stats().refused == statuses.count(503))
    said = [line for line in one.log if "more like it" not in line]
    assert len(said) == (503 in statuses)  # one line, however many they were: the clock stands
    assert all(" from 127.0.0.1:" in line and "--queue-timeout" in line for line in said)


def test_a_body_that_is_refused_gives_its_file_back(tmp_path: Path) -> None:
    gate = Gate()
    http = HTTPSettings(access_log=False, spool_dir=str(tmp_path), body_memory=1000)
    with site(gate, http=http, threads=1, queue_timeout=10.0) as one:
        upload = request("POST", "/", body=b"x" * 300000)
        client = one.connect(upload[:250000])
        eventually(lambda: one.stats().spooled > 0)  # the worker was free and wrote it
        busy = one.connect(request("GET", "/wait"))
        gate.inside()
        client.sendall(upload[250000:])
        one.queue_holds(1)
        assert open_files(tmp_path) == 1
        one.clock.advance(11)
        assert receive(client).status == 503
        client.close()
        eventually(lambda: open_files(tmp_path) == 0)
        one.waits(spooled=0)
        gate.let_go()
        assert receive(busy).status == 200
        assert gate.paths == ["/wait"]


def test_a_refusal_is_in_the_access_log(capsys: pytest.CaptureFixture[str]) -> None:
    gate = Gate()
    with site(gate, http=HTTPSettings(), max_queued=0) as one:
        busy = one.connect(request("GET", "/wait"))
        gate.inside()
        body = one.ask(request("GET", "/refused?a=1")).body
        gate.let_go()
        assert receive(busy).status == 200
    lines = [line for line in capsys.readouterr().out.splitlines() if "/refused" in line]
    assert len(lines) == 1
    assert f'"GET /refused?a=1 HTTP/1.1" 503 {len(body)} ' in lines[0]


def test_a_refused_head_request_gets_no_body() -> None:
    gate = Gate()
    with site(gate, max_queued=0) as one:
        busy = one.connect(request("GET", "/wait"))
        gate.inside()
        client = one.connect(request("HEAD", "/"))
        raw, reset = until_closed(client)
        assert raw.startswith(b"HTTP/1.1 503 ")
        assert raw.endswith(b"\r\n\r\n")
        assert not reset
        gate.let_go()
        assert receive(busy).status == 200


def test_plain_handlers_are_closed_instead() -> None:
    inside, go_on = threading.Semaphore(0), threading.Event()

    def handle(sock: Any, address: Any, server: Any) -> None:
        inside.release()
        assert go_on.wait(30)
        sock.sendall(b"hello")

    with site(handle, wsgi=False, max_queued=1, queue_timeout=10.0) as one:
        busy = one.connect(b"x")
        assert inside.acquire(timeout=30)
        queued = one.connect(b"x")
        one.queue_holds(1)
        late = one.connect(b"x")
        late.shutdown(1)
        assert until_closed(late)[0] == b""
        one.clock.advance(11)
        queued.shutdown(1)
        assert until_closed(queued)[0] == b""
        go_on.set()
        assert until_closed(busy)[0] == b"hello"
        assert one.stats().refused == 2


def test_the_log_has_one_line_for_all_that_are_refused() -> None:
    gate = Gate()
    with site(gate, max_queued=1, queue_timeout=10.0) as one:
        busy = one.connect(request("GET", "/wait"))
        gate.inside()
        waiting = one.connect(request("GET", "/late"))
        one.queue_holds(1)
        for _ in range(5):
            assert one.ask(request("GET", "/over")).status == 503
        eventually(lambda: len(one.log) == 1)
        one.clock.advance(10)
        assert receive(waiting).status == 503
        eventually(lambda: len(one.log) == 3)
        gate.let_go()
        assert receive(busy).status == 200
    full, late = [line for line in one.log if "more like it" not in line]
    (count,) = [line for line in one.log if "more like it" in line]
    assert full.startswith("GET /over from 127.0.0.1:")
    assert full.endswith("as many requests wait for one as --max-queued allows")
    assert late.startswith("GET /late from 127.0.0.1:")
    assert late.endswith("no worker was free within --queue-timeout")
    assert count.startswith("and 4 more like it in the last 10.0 s: requests refused: ")
