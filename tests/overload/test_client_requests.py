"""``--max-running-per-client``: one client cannot take the workers of the others, and its places are free again however
its requests end.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from tests.apps.http.doubles import QUIET, STREAM, Gate
from tests.apps.http.responses import Response, receive, request
from tests.clients import close_with_reset, until_closed
from tests.overload.site import Site, received_nothing, serving
from tests.waiting import eventually

NOTHING = ({}, 0)
WAIT = request("GET", "/wait")


def held(site: Site) -> tuple[dict[str, int], int]:
    limit = site.server._runtime.clients.running
    assert limit is not None
    return limit.holding()


def wait_held(site: Site, running: int, waiting: int = 0, client: str = "127.0.0.1") -> None:
    eventually(lambda: held(site) == ({client: running} if running else {}, waiting))


@contextlib.contextmanager
def limited(app: Any, most: int = 1, **options: Any) -> Iterator[Site]:
    with serving(app, **{"threads": 4, "max_running_per_client": most, **options}) as site:
        yield site


def from_address(site: Site, host: str, sent: bytes) -> Response:
    with socket.create_connection(site.address, 60, source_address=(host, 0)) as client:
        client.sendall(sent)
        return receive(client)


def behind(client: str, path: str = "/") -> bytes:
    return request("GET", path, f"X-Forwarded-For: {client}")


def test_a_greedy_client_waits_without_a_worker_and_is_refused_beyond_that_while_others_are_served() -> None:
    gate = Gate()
    with limited(gate, 2) as site:
        running = [site.connect(WAIT) for _ in range(2)]
        gate.wait_entered(2)
        waiting = [site.connect(request("GET", f"/late{number}")) for number in range(2)]
        wait_held(site, 2, 2)
        for _ in range(5):
            client = site.connect(request())
            refused = receive(client)
            assert (refused.status, refused.fields["retry-after"], refused.fields["connection"]) == (429, "1", "close")
            assert b"--max-running-per-client" in refused.body
        assert from_address(site, "127.0.0.2", request()).body == b"served"
        site.wait_for_stats(busy=2)
        assert (site.stats().client_requests_refused, site.stats().refused) == (5, 0)
        assert all(received_nothing(client) for client in (*running, *waiting))
        gate.release()
        assert [receive(client).status for client in (*running, *waiting)] == [200] * 4
        wait_held(site, 0)
        assert sorted(gate.paths[-2:]) == ["/late0", "/late1"]
        eventually(lambda: site.log)
        assert "429" in site.log[0]


def test_a_client_that_keeps_to_the_limit_is_never_refused() -> None:
    """The response arrives before the run that has sent it is over."""
    with limited(Gate(), 1) as site:
        for _ in range(300):
            assert site.fetch().status == 200
        assert site.stats().client_requests_refused == 0


def test_one_that_waits_longer_than_queue_timeout_is_refused() -> None:
    gate = Gate()
    with limited(gate, 1, queue_timeout=30.0) as site:
        running = site.connect(WAIT)
        gate.wait_entered()
        late = site.connect(request("POST", "/", body=b"x" * 1000))
        wait_held(site, 1, 1)
        eventually(lambda: site.stats().parked == 1)
        site.clock.advance(29)
        assert received_nothing(late)
        site.clock.advance(2)
        response = receive(late)
        assert response.status == 429
        assert b"--queue-timeout" in response.body
        gate.release()
        assert receive(running).status == 200
        wait_held(site, 0)
        assert gate.paths == ["/wait"]
        assert site.stats().buffered == 0


@pytest.mark.parametrize("kept", [False, True], ids=["its first request", "a later one"])
def test_one_that_waits_and_whose_client_is_gone_is_not_run(kept: bool) -> None:
    gate = Gate()
    with limited(gate, 1) as site:
        gone = site.connect()
        if kept:
            gone.sendall(request("GET", "/wait/not"))
            assert receive(gone).status == 200
        running = site.connect(WAIT)
        gate.wait_entered()
        gone.sendall(request("GET", "/gone"))
        wait_held(site, 1, 1)
        eventually(lambda: site.stats().parked == 1)
        close_with_reset(gone)
        wait_held(site, 1, 0)
        stays = site.connect(request("GET", "/stays"))
        wait_held(site, 1, 1)
        gate.release()
        assert receive(running).status == receive(stays).status == 200
        wait_held(site, 0)
        assert gate.paths[kept:] == ["/wait", "/stays"]


def test_a_body_is_complete_when_its_request_gets_its_place() -> None:
    gate = Gate()
    with limited(gate, 1) as site:
        running = site.connect(WAIT)
        gate.wait_entered()
        body = b"x" * 200_000
        raw = request("POST", "/body", body=body)
        large = site.connect(raw[:1000])
        eventually(lambda: site.stats().parked == 1)
        assert held(site) == ({"127.0.0.1": 1}, 0)  # it does not count before it is complete
        large.sendall(raw[1000:])
        wait_held(site, 1, 1)
        gate.release()
        assert receive(running).status == receive(large).status == 200
        wait_held(site, 0)


def test_pipelined_requests_and_what_follows_a_request_that_waits() -> None:
    gate = Gate()
    with limited(gate, 1) as site:
        first = site.connect(WAIT)
        gate.wait_entered()
        second = site.connect(request("GET", "/a") + request("GET", "/b", "Connection: close"))
        wait_held(site, 1, 1)
        eventually(lambda: site.stats().parked == 1)
        gate.release()
        assert until_closed(second)[0].count(b"served") == 2
        assert receive(first).status == 200
        wait_held(site, 0)
        assert gate.paths == ["/wait", "/a", "/b"]


def fail(site: Site, gate: Gate, client: socket.socket) -> None:
    client.sendall(request("GET", "/fail"))
    receive(client)


def abort(site: Site, gate: Gate, client: socket.socket) -> None:
    client.sendall(request("GET", "/abort"))
    until_closed(client)


def reset(site: Site, gate: Gate, client: socket.socket) -> None:
    client.sendall(WAIT)
    gate.wait_entered()
    close_with_reset(client)
    gate.release()


def upload(site: Site, gate: Gate, client: socket.socket) -> None:
    client.sendall(request("POST", "/", body=b"x" * 300_000))
    receive(client)


def head(site: Site, gate: Gate, client: socket.socket) -> None:
    client.sendall(request("HEAD", "/"))
    receive(client, head=True)


def slow_reader(site: Site, gate: Gate, client: socket.socket) -> None:
    client.sendall(request("GET", "/large"))
    eventually(lambda: site.stats().flushing == 1)


def stopped_body(site: Site, gate: Gate, client: socket.socket) -> None:
    client.sendall(request("POST", "/", body=b"x" * 1000)[:-1])
    client.close()
    eventually(lambda: site.stats().connections == 0)


class Ends(Gate):
    def __call__(self, environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path == "/fail":
            raise ValueError
        if path == "/abort":
            start_response("200 OK", [("Content-Length", "10")])
            return iter([b"12345"])
        if path == "/large":
            start_response("200 OK", [])
            return [b"x" * 20_000_000]
        return super().__call__(environ, start_response)


@pytest.mark.parametrize("http", [QUIET, STREAM], ids=["buffered", "streamed"])
@pytest.mark.parametrize("end", [fail, abort, reset, upload, head, slow_reader, stopped_body])
def test_however_a_request_ends_its_place_is_free_again(end: Callable[..., None], http: HTTPSettings) -> None:
    gate = Ends()
    with limited(gate, 1, http=http) as site:
        end(site, gate, site.connect())
        wait_held(site, 0)
        assert site.fetch().status == 200
        wait_held(site, 0)


def test_a_request_that_is_interrupted_or_given_up_returns_its_place() -> None:
    gate = Gate()
    with limited(gate, 1, request_timeout=5.0) as site:
        client = site.connect(WAIT)
        gate.wait_entered()
        site.clock.advance(6)
        assert receive(client).status == 503
        waiting = site.connect(request("GET", "/next"))
        eventually(lambda: site.stats().timed_out == 1)
        eventually(lambda: site.clock.advance(2) or site.stats().stuck == 1)
        client.close()
        assert receive(waiting).status == 200
        gate.release()
        eventually(lambda: site.stats().stuck == 0)
        wait_held(site, 0)


def test_a_request_that_finds_no_worker_and_is_refused_returns_its_place() -> None:
    gate = Gate()
    with limited(gate, 2, threads=1, max_queued=0) as site:
        running = site.connect(WAIT)
        gate.wait_entered()
        assert site.fetch().status == 503
        wait_held(site, 1)
        gate.release()
        assert receive(running).status == 200
        wait_held(site, 0)


def test_one_that_waits_for_a_worker_counts() -> None:
    gate = Gate()
    with limited(gate, 2, threads=1) as site:
        clients = [site.connect(WAIT) for _ in range(2)]
        gate.wait_entered()
        site.wait_queued(1)
        clients.append(site.connect(WAIT))
        wait_held(site, 2, 1)
        gate.release()
        assert [receive(client).status for client in clients] == [200] * 3
        wait_held(site, 0)


def test_what_follows_the_response_counts_too() -> None:
    gate = Gate()

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/after":
            environ["reserve.after_response"](lambda: gate({"PATH_INFO": "/wait", **rest(environ)}, start_response))
        start_response("200 OK", [])
        return [b"ok"]

    def rest(environ: Any) -> dict[str, Any]:
        return {"wsgi.input": environ["wsgi.input"]}

    with limited(app, 1) as site:
        assert site.fetch(request("GET", "/after")).status == 200
        gate.wait_entered()
        waiting = site.connect(request())
        wait_held(site, 1, 1)
        assert from_address(site, "127.0.0.2", request()).status == 200
        gate.release()
        assert receive(waiting).status == 200
        wait_held(site, 0)


def test_the_client_behind_a_trusted_proxy_counts_request_by_request() -> None:
    gate = Gate()
    with limited(gate, 1, trusted_proxies="127.0.0.1", unlimited_clients="192.0.2.128/25") as site:
        site.connect(behind("6.6.6.6, 2001:db8::1", "/wait"))  # what its client has sent does not count
        gate.wait_entered()
        site.connect(behind("2001:db8::2"))
        wait_held(site, 1, 1, "2001:db8::/64")
        assert site.fetch(behind("2001:db8::3")).status == 429
        shared = site.connect()
        for client, status in (("192.0.2.1", 200), ("::ffff:192.0.2.1", 200), ("2001:db8:0:1::1", 200)):
            shared.sendall(behind(client))
            assert receive(shared).status == status
        others = [site.connect(behind("192.0.2.200", "/wait")) for _ in range(2)]
        gate.wait_entered(2)
        assert held(site) == ({"2001:db8::/64": 1}, 1)
        gate.release()
        assert [receive(client).status for client in others] == [200, 200]
        wait_held(site, 0)


def test_clients_that_a_frontend_does_not_name_are_one_client() -> None:
    gate = Gate()
    with limited(gate, 1, trusted_proxies="127.0.0.1") as site:
        site.connect(behind("unknown", "/wait"))
        gate.wait_entered()
        site.connect(behind("_hidden"))
        wait_held(site, 1, 1, "")
        assert site.fetch(behind("unknown")).status == 429
        gate.release()
        wait_held(site, 0)


def test_a_stranger_cannot_choose_its_client() -> None:
    gate = Gate()
    with limited(gate, 1, trusted_proxies="192.0.2.1") as site:
        site.connect(behind("198.51.100.1", "/wait"))
        gate.wait_entered()
        site.connect(behind("198.51.100.2"))
        wait_held(site, 1, 1)
        assert site.fetch(behind("198.51.100.3")).status == 429
        gate.release()
        wait_held(site, 0)


def test_the_health_path_counts_for_nobody() -> None:
    gate = Gate()
    with limited(gate, 1, http=HTTPSettings(access_log=False, health_path="/healthz")) as site:
        site.connect(WAIT), site.connect(WAIT)
        wait_held(site, 1, 1)
        assert site.fetch(request("GET", "/healthz")).status == 200
        gate.release()
        wait_held(site, 0)


def test_a_stop_serves_those_that_wait() -> None:
    gate = Gate()
    with limited(gate, 1) as site:
        clients = [site.connect(WAIT) for _ in range(2)]
        wait_held(site, 1, 1)
        site.server.request_stop(60)
        eventually(lambda: site.server._runtime.stopping)
        gate.release()
        for client in clients:
            assert receive(client).status == 200
            client.close()
        site.server.stop()
        assert held(site) == NOTHING
        assert site.server.aborted == 0


def test_one_that_waits_at_the_deadline_of_a_stop_is_counted_as_aborted() -> None:
    gate = Gate()
    with limited(gate, 1) as site:
        clients = [site.connect(WAIT) for _ in range(2)]
        wait_held(site, 1, 1)
        eventually(lambda: site.stats().parked == 1)
        site.server.request_stop(0)
        eventually(lambda: site.server.aborted == 2)
        gate.release()
        site.server.stop()
        for client in clients:
            until_closed(client)
        assert held(site) == NOTHING
