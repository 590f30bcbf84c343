"""What ``Server.stats()`` says of a running server: the state of each thread, each listener, and each number."""

from __future__ import annotations

import os
import platform
import socket
import threading
from typing import Any

import pytest

import reserve
from reserve.apps.http.app import HTTPApp
from reserve.engine.metrics.stats import Stats, ThreadStats
from reserve.testing import running
from tests.apps.http.doubles import QUIET, Gate
from tests.apps.http.responses import receive, request
from tests.overload.site import serving
from tests.waiting import PATIENCE, eventually


def states(stats: Stats) -> list[str]:
    return sorted(worker.state for worker in stats.workers)


def only(stats: Stats, state: str) -> ThreadStats:
    (worker,) = [worker for worker in stats.workers if worker.state == state]
    return worker


def test_one_thread_leads_and_the_others_are_idle() -> None:
    with serving(Gate(), threads=3) as site:
        stats = site.stats()
        assert states(stats) == ["idle", "idle", "leading"]
        own = {thread.ident: thread for thread in threading.enumerate()}
        for worker in stats.workers:
            thread = own[worker.ident]
            assert (worker.name, worker.native_id) == (thread.name, thread.native_id)
            assert (worker.request, worker.client, worker.seconds, worker.handled) == ("", "", 0.0, 0)


def test_a_running_thread_has_its_request_its_client_and_its_seconds() -> None:
    gate = Gate()
    with serving(gate, threads=2) as site:
        client = site.connect(request("GET", "/wait?x=1"))
        gate.wait_entered()
        site.clock.advance(2.5)
        worker = only(site.stats(), "running")
        host, port = client.getsockname()
        assert (worker.request, worker.client, worker.seconds) == ("GET /wait?x=1", f"{host}:{port}", 2.5)
        assert site.stats().busy == 1
        gate.release()
        assert receive(client).body == b"served"
        site.wait_idle()
        eventually(lambda: sum(worker.handled for worker in site.stats().workers) == 1)


class Waits:
    """Waits with ``reserve.waiting``, finishes, or takes the connection over, as the path says."""

    def __init__(self) -> None:
        self.entered, self.released = threading.Semaphore(0), threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        if path == "/waiting":
            with environ["reserve.waiting"]():
                self._wait()
        elif path == "/finishing":
            environ["reserve.after_response"](self._wait)
        elif path == "/upgraded":
            sock = environ["reserve.socket"]
            sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n")
            self._wait()
            return []
        start_response("200 OK", [])
        return [b"served"]

    def _wait(self) -> None:
        self.entered.release()
        assert self.released.wait(PATIENCE)


@pytest.mark.parametrize(
    ("path", "shown"),
    [("/waiting", "GET /waiting"), ("/finishing", ""), ("/upgraded", "GET /upgraded")],
)
def test_threads_that_wait_finish_or_are_upgraded(path: str, shown: str) -> None:
    app = Waits()
    with serving(app, threads=2) as site:
        client = site.connect(request("GET", path, "Connection: upgrade", "Upgrade: a"))
        assert app.entered.acquire(timeout=PATIENCE)
        state = path.removeprefix("/")
        eventually(lambda: state in states(site.stats()))
        worker = only(site.stats(), state)
        if shown:
            assert worker.request == shown
            assert worker.client == "{}:{}".format(*client.getsockname())
        stats = site.stats()
        assert (stats.waiting, stats.upgraded) == (int(state == "waiting"), int(state == "upgraded"))
        app.released.set()


def test_a_thread_that_was_given_up_is_stuck() -> None:
    gate = Gate()
    with serving(gate, threads=1, request_timeout=5.0) as site:
        site.connect(request("GET", "/wait"))
        gate.wait_entered()
        site.clock.advance(6)
        site.wait_for_stats(timed_out=1)
        site.clock.advance(60)
        site.wait_for_stats(stuck=1)
        assert only(site.stats(), "stuck").request.startswith("GET /wait")
        gate.release()
        site.wait_for_stats(stuck=0)


def test_the_limits_stand_beside_the_numbers() -> None:
    limits = {"max_queued": 7, "max_connections": 9, "buffer_memory": 5_000_000, "spool_disk": 6_000_000}
    with serving(Gate(), threads=(1, 3), **limits) as site:
        stats = site.stats()
        assert (stats.max_threads, stats.max_queued, stats.max_connections) == (3, 7, 9)
        assert (stats.buffer_limit, stats.spool_limit) == (5_000_000, 6_000_000)


def test_it_says_what_it_is_and_since_when() -> None:
    with serving(Gate()) as site:
        site.clock.advance(12.5)
        stats = site.stats()
        assert (stats.version, stats.pid, stats.uptime) == (1, os.getpid(), 12.5)
        assert stats.software == f"reserve {reserve.__version__}"
        assert stats.python.startswith(f"{platform.python_implementation()} {platform.python_version()}")
        assert stats.rss > 1_000_000
        assert (stats.healthy, stats.unhealthy, stats.live) == (True, (), True)
    stats = site.stats()
    assert (stats.healthy, stats.unhealthy, stats.live) == (False, ("it stops",), True)


def test_requests_are_counted_with_their_bytes_and_times() -> None:
    gate = Gate()
    with serving(gate, threads=1) as site:
        raw = request("POST", "/wait", body=b"x" * 100)
        busy = site.connect(raw)
        gate.wait_entered()
        waiting = site.connect(request("GET", "/next"))
        site.wait_queued(1)
        assert site.stats().waiting_requests == 1
        site.clock.advance(0.3)
        gate.release()
        assert [receive(client).status for client in (busy, waiting)] == [200, 200]
        site.wait_for_stats(handled=2)
        found = site.stats().requests
        assert found.responses == (("GET", 200, 1), ("POST", 200, 1))
        assert found.bytes_received == len(raw) + len(request("GET", "/next"))
        assert found.bytes_sent == 2 * len(b"served")
        assert (found.application.sum, found.queue.sum, found.duration.sum) == pytest.approx((0.3, 0.3, 0.6))
        part = found.application.bounds.index(0.5)
        assert found.application.counts[part] == found.queue.counts[part] == 1
        assert (found.application.counts[0], found.queue.counts[0], found.duration.counts[part]) == (1, 1, 2)


def test_refusals_are_counted_as_responses_and_have_no_times() -> None:
    with serving(Gate()) as site:
        assert site.fetch(b"BREW / HTTP/1.1\r\nHost: a b\r\n\r\n").status == 400
        eventually(lambda: site.stats().requests.responses == (("other", 400, 1),))
        assert sum(site.stats().requests.duration.counts) == 0


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="only Linux tells the backlog")
def test_the_backlog_is_what_the_system_has_accepted_and_the_server_has_not() -> None:
    gate = Gate()
    with serving(gate, threads=1, max_connections=1) as site:
        site.connect(request("GET", "/wait"))
        gate.wait_entered()
        later: list[socket.socket] = [site.connect() for _ in range(3)]
        eventually(lambda: site.stats().listeners[0].backlog == len(later))
        (listener,) = site.stats().listeners
        assert listener.address == "{}:{}".format(*site.address)
        assert listener.backlog_limit >= len(later)
        gate.release()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no UNIX sockets")
def test_a_unix_socket_has_its_path_and_no_backlog(short_path: Any) -> None:
    path = short_path / "socket"
    with running(Gate(), address=f"unix:{path}", http=QUIET) as served:
        (listener,) = served.server.stats().listeners
        assert (listener.address, listener.backlog, listener.backlog_limit) == (f"unix:{path}", -1, -1)


def test_the_lead_is_handed_over_when_a_worker_has_something_to_do() -> None:
    gate = Gate()
    with serving(gate, threads=2) as site:
        before = site.stats().hand_overs
        client = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        eventually(lambda: site.stats().hand_overs + site.stats().steals > before)
        gate.release()
        receive(client)


def test_lines_that_an_application_has_lost_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Gate()) as site:
        assert site.stats().log_lines_dropped == 0
        monkeypatch.setattr(HTTPApp, "log_lines_dropped", 3)
        assert site.stats().log_lines_dropped == 3
