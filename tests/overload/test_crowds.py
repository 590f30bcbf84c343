"""Many expensive requests at once: who comes after them does not wait for all of them, and what waits is held once."""

from __future__ import annotations

import threading
from typing import Any

from reserve.apps.http.settings import HTTPSettings
from tests.apps.http.responses import receive, request
from tests.overload.site import Gate, site

BLOCK = b"b" * 100_000
COUNT = 100


def test_a_request_behind_a_long_line_is_served_by_the_second_worker_that_is_free() -> None:
    gate = Gate()
    with site(gate) as one:
        first = one.connect(request("GET", "/wait"))
        gate.inside()
        line = []
        for number in range(20):
            line.append(one.connect(request("GET", f"/{number}")))
            one.queue_holds(number + 1)
        one.clock.advance(0.02)
        late = one.connect(request("GET", "/late"))
        one.queue_holds(21)
        gate.let_go()
        for client in (first, *line, late):
            assert receive(client).body == b"served"
            client.close()
        one.gives_everything_back()
    assert gate.paths.index("/late") in (1, 2)
    assert sorted(gate.paths) == sorted(["/wait", "/late", *(f"/{number}" for number in range(20))])
    # The oldest have the other turns, in their order.
    assert [path for path in gate.paths if path in ("/0", "/1", "/2", "/3")] == ["/0", "/1", "/2", "/3"]


def test_a_generator_that_yields_one_block_again_and_again_keeps_one_block_and_no_file() -> None:
    produced = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        for _ in range(COUNT):
            yield BLOCK
        produced.set()

    http = HTTPSettings(access_log=False, response_memory=400_000)
    with site(app, http=http) as one:
        client = one.connect(request("GET", "/", "Connection: close"), window=2048)
        assert produced.wait(20)
        one.waits(flushing=1, busy=0)
        assert one.stats().spooled == 0
        assert len(BLOCK) < one.stats().buffered < 4 * len(BLOCK)
        answer = receive(client)
        assert answer.whole
        assert answer.body == BLOCK * COUNT
        client.close()
        one.gives_everything_back()


def test_a_generator_whose_blocks_are_its_own_goes_to_the_file() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        for number in range(COUNT):
            yield bytes([number]) * len(BLOCK)

    http = HTTPSettings(access_log=False, response_memory=400_000)
    with site(app, http=http) as one:
        client = one.connect(request("GET", "/", "Connection: close"), window=2048)
        one.waits(flushing=1, busy=0)
        assert one.stats().spooled > 1_000_000
        assert one.stats().buffered < 600_000
        assert receive(client).body == b"".join(bytes([number]) * len(BLOCK) for number in range(COUNT))
        client.close()
        one.gives_everything_back()
