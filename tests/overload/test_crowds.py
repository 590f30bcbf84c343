"""Many expensive requests at once: a later request does not wait for all of them, and equal output is kept once."""

from __future__ import annotations

import socket
import threading
from typing import Any

from reserve.apps.http.settings import HTTPSettings
from tests.apps.http.doubles import Gate
from tests.apps.http.responses import receive, request
from tests.clients import close_with_reset
from tests.overload.site import serving
from tests.waiting import PATIENCE

BLOCK = b"b" * 100_000
COUNT = 100


def test_a_request_after_a_long_queue_is_the_first_or_second_to_be_served() -> None:
    gate = Gate()
    with serving(gate) as site:
        first = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        queued = []
        for number in range(20):
            queued.append(site.connect(request("GET", f"/{number}")))
            site.wait_queued(number + 1)
        site.clock.advance(0.02)
        late = site.connect(request("GET", "/late"))
        site.wait_queued(21)
        gate.release()
        for client in (first, *queued, late):
            assert receive(client).body == b"served"
            client.close()
        site.wait_released()
    assert gate.paths.index("/late") in (1, 2)
    assert sorted(gate.paths) == sorted(["/wait", "/late", *(f"/{number}" for number in range(20))])
    # The others are served in their order, the oldest first.
    assert [path for path in gate.paths if path in ("/0", "/1", "/2", "/3")] == ["/0", "/1", "/2", "/3"]


def test_a_request_whose_client_has_reset_while_it_waited_does_not_run() -> None:
    gate = Gate()
    with serving(gate) as site:
        first = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        queued = []
        for number in range(3):
            queued.append(site.connect(request("GET", f"/{number}")))
            site.wait_queued(number + 1)
        lost, half_closed, kept = queued
        close_with_reset(lost)
        half_closed.shutdown(socket.SHUT_WR)
        gate.release()
        for client in (first, half_closed, kept):
            assert receive(client).body == b"served"
            client.close()
        site.wait_released()
        assert site.stats().refused == 0
    assert gate.paths == ["/wait", "/1", "/2"]


def test_a_generator_that_yields_the_same_block_again_needs_the_memory_of_one_block() -> None:
    produced = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        for _ in range(COUNT):
            yield BLOCK
        produced.set()

    http = HTTPSettings(access_log=False, response_memory=400_000)
    with serving(app, http=http) as site:
        client = site.connect(request("GET", "/", "Connection: close"), window=2048)
        assert produced.wait(PATIENCE)
        site.wait_for_stats(flushing=1, busy=0)
        assert site.stats().spooled == 0
        assert len(BLOCK) < site.stats().buffered < 4 * len(BLOCK)
        response = receive(client)
        assert response.whole
        assert response.body == BLOCK * COUNT
        client.close()
        site.wait_released()


def test_a_generator_that_yields_different_blocks_goes_to_a_file() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        for number in range(COUNT):
            yield bytes([number]) * len(BLOCK)

    http = HTTPSettings(access_log=False, response_memory=400_000)
    with serving(app, http=http) as site:
        client = site.connect(request("GET", "/", "Connection: close"), window=2048)
        site.wait_for_stats(flushing=1, busy=0)
        assert site.stats().spooled > 1_000_000
        assert site.stats().buffered < 600_000
        assert receive(client).body == b"".join(bytes([number]) * len(BLOCK) for number in range(COUNT))
        client.close()
        site.wait_released()
