"""``--health-path``: answered while nobody else can answer, and only what it is for."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress

import pytest

from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.gateways.wsgi import WSGIGateway
from tests.apps.http.responses import receive, request, split
from tests.clients import until_closed
from tests.overload.site import PATIENCE, Gate, site
from tests.waiting import eventually

HEALTH = HTTPSettings(access_log=False, health_path="/health")
CLOSE = "Connection: close"


def test_it_answers_while_every_worker_is_stuck_and_the_queue_is_full() -> None:
    gate = Gate()
    with site(gate, http=HEALTH, threads=2, max_queued=2) as one:
        busy = [one.connect(request("GET", "/wait")) for _ in range(2)]
        gate.inside(2)
        queued = [one.connect(request()) for _ in range(2)]
        one.queue_holds(2)
        assert one.ask().status == 503
        kept = one.connect()
        for _ in range(5):
            kept.sendall(request("GET", "/health"))
            answer = receive(kept)
            assert (answer.status, answer.text, answer.fields["cache-control"]) == (200, "ok\n", "no-store")
            kept.sendall(request("HEAD", "/health?x=1"))
            answer = receive(kept, head=True)
            assert (answer.status, answer.fields["content-length"]) == (200, "3")
        kept.sendall(request("GET", "/health") * 39 + request("GET", "/health", CLOSE))
        raw, reset = until_closed(kept)
        answers = split(raw)
        assert [(one.status, one.text, one.whole) for one in answers] == [(200, "ok\n", True)] * 40
        assert ["connection" in one.fields for one in answers] == [False] * 39 + [True]
        assert not reset
        old = one.connect(request("GET", "/health", minor=0))
        assert until_closed(old)[0].endswith(b"\r\n\r\nok\n")
        assert one.stats().queued == 2
        gate.let_go()
        assert [receive(client).body for client in (*busy, *queued)] == [b"served"] * 4
        assert "/health" not in gate.paths


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_the_applications(method: str) -> None:
    with site(Gate(), http=HEALTH) as one:
        assert one.ask(request(method, "/health")).body == b"served"


def test_requests_with_a_body_are_the_applications() -> None:
    with site(Gate(), http=HEALTH) as one:
        assert one.ask(request("GET", "/health", body=b"x")).body == b"served"
        assert one.ask(request("POST", "/health", body=b"x" * 10, chunks=5)).body == b"served"


@pytest.mark.parametrize("target", ["/health/", "/healthy", "/", "//health", "/x/../health", "/HEALTH", "/health;a"])
def test_other_paths_are_the_applications(target: str) -> None:
    with site(Gate(), http=HEALTH) as one:
        assert one.ask(request("GET", target)).body == b"served"


@pytest.mark.parametrize("target", ["/health", "/%68ealth", "http://test/health", "http://other/health?q", "/health?q"])
def test_every_spelling_of_the_path_is_the_path(target: str) -> None:
    """What counts is the decoded path, as an application would see it; the form of the target makes no difference."""
    with site(Gate(), http=HEALTH) as one:
        assert one.ask(request("GET", target)).body == b"ok\n"


def test_without_the_option_there_is_none() -> None:
    with site(Gate()) as one:
        assert one.ask(request("GET", "/")).body == b"served"
        assert one.ask(request("OPTIONS", "*")).body == b"served"


def test_it_is_not_under_the_root_path() -> None:
    """The path is the server's, as it stands in the request; the root path is the application's."""
    http = HTTPSettings(access_log=False, health_path="/health", root_path="/shop")
    gate = Gate()
    app = HTTPApp(WSGIGateway(gate, root_path="/shop"), http)
    with site(app) as one:
        assert one.ask(request("GET", "/health")).body == b"ok\n"
        assert one.ask(request("GET", "/shop/health")).body == b"served"
        assert gate.paths == ["/health"]


def test_while_stopping_it_is_503() -> None:
    gate = Gate()
    with site(gate, http=HEALTH) as one, ExitStack():
        busy = one.connect(request("GET", "/wait"))
        gate.inside()
        half = one.connect(request("GET", "/health")[:20])
        one.waits(parked=1)
        one.server.request_stop(60)
        half.sendall(request("GET", "/health")[20:])
        answer = receive(half)
        assert (answer.status, answer.text, answer.fields["connection"]) == (503, "unhealthy\n", "close")
        gate.let_go()
        assert receive(busy).body == b"served"


def test_a_client_that_asks_without_end_and_reads_nothing_harms_nobody() -> None:
    with site(Gate(), http=HEALTH) as one:
        for listener in one.server._endpoints.listeners:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        greedy = one.connect(window=2048)
        greedy.setblocking(False)
        sent = 0

        def ask_until_it_flushes() -> bool:
            """What fits at once may be too little: the systems of both ends take its answers."""
            nonlocal sent
            with suppress(BlockingIOError):
                while True:
                    sent += greedy.send(crowd[sent % len(crowd) :])
            return one.stats().flushing == 1

        crowd = request("GET", "/health") * 100
        eventually(ask_until_it_flushes)
        assert one.ask().body == b"served"
        assert one.ask(request("GET", "/health", CLOSE)).status == 200

        def out_of_time() -> bool:
            one.clock.advance(31)  # again, as long as the systems of both ends still find room: that is progress
            return bool(one.stats().connections == 0)

        eventually(out_of_time)  # before it reads: whoever makes room has time again
        greedy.settimeout(PATIENCE)
        until_closed(greedy)
        one.gives_everything_back()
