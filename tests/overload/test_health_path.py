"""``--health-path``: the server itself responds, also while every worker is busy, and only to this path."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest

from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.gateways.wsgi import WSGIGateway
from tests.apps.http.doubles import Gate
from tests.apps.http.responses import receive, request, split
from tests.clients import until_closed
from tests.overload.site import serving
from tests.waiting import PATIENCE, eventually

HEALTH = HTTPSettings(access_log=False, health_path="/health")
CLOSE = "Connection: close"


def test_the_server_responds_while_every_worker_is_busy_and_the_queue_is_full() -> None:
    gate = Gate()
    with serving(gate, http=HEALTH, threads=2, max_queued=2) as site:
        busy = [site.connect(request("GET", "/wait")) for _ in range(2)]
        gate.wait_entered(2)
        queued = [site.connect(request()) for _ in range(2)]
        site.wait_queued(2)
        assert site.fetch().status == 503
        kept = site.connect()
        for _ in range(5):
            kept.sendall(request("GET", "/health"))
            response = receive(kept)
            assert (response.status, response.text, response.fields["cache-control"]) == (200, "ok\n", "no-store")
            kept.sendall(request("HEAD", "/health?x=1"))
            response = receive(kept, head=True)
            assert (response.status, response.fields["content-length"]) == (200, "3")
        kept.sendall(request("GET", "/health") * 39 + request("GET", "/health", CLOSE))
        raw, reset = until_closed(kept)
        responses = split(raw)
        contents = [(response.status, response.text, response.whole) for response in responses]
        assert contents == [(200, "ok\n", True)] * 40
        assert ["connection" in response.fields for response in responses] == [False] * 39 + [True]
        assert not reset
        old = site.connect(request("GET", "/health", minor=0))
        assert until_closed(old)[0].endswith(b"\r\n\r\nok\n")
        assert site.stats().queued == 2
        gate.release()
        assert [receive(client).body for client in (*busy, *queued)] == [b"served"] * 4
        assert "/health" not in gate.paths


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_go_to_the_application(method: str) -> None:
    with serving(Gate(), http=HEALTH) as site:
        assert site.fetch(request(method, "/health")).body == b"served"


def test_requests_with_a_body_go_to_the_application() -> None:
    with serving(Gate(), http=HEALTH) as site:
        assert site.fetch(request("GET", "/health", body=b"x")).body == b"served"
        assert site.fetch(request("POST", "/health", body=b"x" * 10, chunks=5)).body == b"served"


@pytest.mark.parametrize("target", ["/health/", "/healthy", "/", "//health", "/x/../health", "/HEALTH", "/health;a"])
def test_other_paths_go_to_the_application(target: str) -> None:
    with serving(Gate(), http=HEALTH) as site:
        assert site.fetch(request("GET", target)).body == b"served"


@pytest.mark.parametrize("target", ["/health", "/%68ealth", "http://test/health", "http://other/health?q", "/health?q"])
def test_every_form_of_a_target_with_the_path_gets_the_response(target: str) -> None:
    """The decoded path counts, as an application would see it."""
    with serving(Gate(), http=HEALTH) as site:
        assert site.fetch(request("GET", target)).body == b"ok\n"


def test_without_the_option_every_path_goes_to_the_application() -> None:
    with serving(Gate()) as site:
        assert site.fetch(request("GET", "/")).body == b"served"
        assert site.fetch(request("OPTIONS", "*")).body == b"served"


def test_it_is_not_under_the_root_path() -> None:
    """The path is compared with that of the request; the root path matters to the application only."""
    http = HTTPSettings(access_log=False, health_path="/health", root_path="/shop")
    gate = Gate()
    app = HTTPApp(WSGIGateway(gate, root_path="/shop"), http)
    with serving(app) as site:
        assert site.fetch(request("GET", "/health")).body == b"ok\n"
        assert site.fetch(request("GET", "/shop/health")).body == b"served"
        assert gate.paths == ["/health"]


def test_while_the_server_stops_the_response_is_503() -> None:
    gate = Gate()
    with serving(gate, http=HEALTH) as site:
        busy = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        client = site.connect(request("GET", "/health")[:20])
        site.wait_for_stats(parked=1)
        site.server.request_stop(60)
        client.sendall(request("GET", "/health")[20:])
        response = receive(client)
        assert (response.status, response.text, response.fields["connection"]) == (503, "unhealthy\n", "close")
        gate.release()
        assert receive(busy).body == b"served"


def test_a_client_that_sends_requests_and_reads_nothing_does_not_disturb_others() -> None:
    with serving(Gate(), http=HEALTH) as site:
        for listener in site.server._endpoints.listeners:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        greedy = site.connect(window=2048)
        greedy.setblocking(False)
        sent = 0

        def send_until_output_waits() -> bool:
            """More than once: the kernels of both sides take the first responses."""
            nonlocal sent
            with suppress(BlockingIOError):
                while True:
                    sent += greedy.send(requests[sent % len(requests) :])
            return site.stats().flushing == 1

        requests = request("GET", "/health") * 100
        eventually(send_until_output_waits)
        assert site.fetch().body == b"served"
        assert site.fetch(request("GET", "/health", CLOSE)).status == 200
        site.time_writes_out(30)  # before the client reads
        greedy.settimeout(PATIENCE)
        until_closed(greedy)
        site.wait_released()
