"""Metrics of the installed command: while every worker is stuck, with promtool and wrk, over reloads and crashes."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.load import wrk
from tests.extras import library
from tests.real.conftest import Serve
from tests.real.processes import run
from tests.real.serving import PATIENCE, ServerProcess, fetch
from tests.waiting import eventually

BIND = ("--metrics-bind", "127.0.0.1:0", "--metrics-path", "/metrics", "--no-access-log")
SERVING = 'reserve_processes{state="serving"}'
REQUESTS = 'reserve_requests_total{method="GET",status="200"}'


def metrics_address(server: ServerProcess) -> tuple[str, int]:
    (line,) = [line for line in server.banner if "metrics and health checks" in line]
    match = re.search(r"http://([^:/]+):(\d+)/", line)
    assert match
    return match[1], int(match[2])


def ask(address: tuple[str, int], path: str = "/metrics") -> tuple[int, str]:
    with contextlib.closing(http.client.HTTPConnection(*address, timeout=PATIENCE)) as client:
        status, _, body = fetch(client, "GET", path)
    return status, body.decode()


def values(text: str) -> dict[str, float]:
    samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


def counters(text: str) -> dict[str, float]:
    return {name: value for name, value in values(text).items() if re.search(r"_total\b|_count$|_bucket|_sum$", name)}


@contextlib.contextmanager
def stuck(server: ServerProcess, count: int) -> Iterator[None]:
    """Requests whose application waits while the block runs."""
    clients = [socket.create_connection(server.address, PATIENCE) for _ in range(count)]
    try:
        for client in clients:
            client.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        yield
    finally:
        for client in clients:
            client.close()


def test_it_responds_while_every_worker_is_stuck_and_no_connection_is_free(serve: Serve, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    options = (*BIND, "--live-path", "/live", "--threads", "2", "--max-connections", "3", "--max-queued", "1")
    with serve("app", "http", "wsgi", "gate", *options, "--", str(gate), log=None) as server:
        own = metrics_address(server)
        with stuck(server, 2):
            eventually(lambda: values(ask(own)[1])['reserve_threads{state="busy"}'] == 2)
            status, text = ask(server.address)  # at the third and last connection
            assert (status, values(text)['reserve_threads{state="busy"}']) == (200, 2)
            with contextlib.closing(socket.create_connection(server.address, PATIENCE)) as last:
                last.sendall(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
                assert last.recv(15) == b"HTTP/1.1 200 OK"
                # All readers share one document for 0.2 seconds, so the first may be of a moment ago.
                eventually(lambda: values(ask(own)[1])["reserve_connections_accepted_total"] > 3)
                found = values(ask(own)[1])
                assert found["reserve_connections_max"] == 3
                assert found["reserve_connections_accepted_total"] == 4, "without those of its own listener"
            for path in ("/health", "/ready", "/live", "/ready?json"):
                assert ask(own, path)[0] == 200
            assert ask(own, "/wait")[0] == 404
            assert not [name for name in found if name.startswith("reserve_requests_total")]
        os.close(os.open(gate, os.O_RDWR | os.O_NONBLOCK))
        writer = os.open(gate, os.O_WRONLY)  # until both requests have opened the other end
        os.close(writer)
        server.process.send_signal(signal.SIGQUIT)
        server.process.wait(PATIENCE)
        server._exit_code = server.process.returncode


@pytest.mark.peer
def test_promtool_finds_no_fault(serve: Serve, require_peer: Callable[[str], str]) -> None:
    promtool = require_peer("promtool")
    with serve("app", "http", "wsgi", "everything", *BIND) as server:
        for path in ("/facts", "/written", "/generated"):
            with server.client() as client:
                fetch(client, "GET", path)
        _, text = ask(metrics_address(server))
        result = run([promtool, "check", "metrics"], input=text.encode())
        assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


@pytest.mark.parametrize("processes", ["1", "2"])
def test_each_request_is_counted_once(serve: Serve, processes: str) -> None:
    with serve("app", "http", "wsgi", "everything", *BIND, "--processes", processes, log=None) as server:
        eventually(
            lambda: values(ask(metrics_address(server))[1])['reserve_processes{state="serving"}'] == int(processes)
        )

        def work() -> None:
            for _ in range(5):
                with server.client() as client:
                    for _ in range(20):
                        assert fetch(client, "GET", "/facts")[0] == 200

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        def found() -> dict[str, float]:
            return values(ask(metrics_address(server))[1])

        eventually(lambda: found().get(REQUESTS) == 400)  # a client has its response before it is counted
        numbers = found()
        for name in (REQUESTS, "reserve_application_seconds_count", "reserve_request_duration_seconds_count",
                     'reserve_request_queue_seconds_bucket{le="+Inf"}'):  # fmt: skip
            assert numbers[name] == 400, name
        assert numbers["reserve_connections_accepted_total"] == 20
        assert values(ask(server.address)[1])[REQUESTS] == 400, "whichever listener and process responds"


@pytest.mark.peer
@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_count_is_that_of_wrk(serve: Serve, require_peer: Callable[[str], str], processes: str) -> None:
    require_peer("wrk")
    connections = 8
    with serve("app", "http", "wsgi", "everything", *BIND, "--processes", processes, log=None) as server:
        figures = wrk(f"{server.url}/facts", seconds=1, connections=connections)
        assert figures.failures == 0
        own = metrics_address(server)
        eventually(lambda: values(ask(own)[1])['reserve_threads{state="busy"}'] == 0)
        numbers = values(ask(own)[1])
        # wrk ends within a request of each connection, which it does not count; a response to it is 200 or 499.
        served = sum(number for name, number in numbers.items() if name.startswith("reserve_requests_total"))
        assert figures.requests <= served <= figures.requests + 2 * connections
        assert numbers[REQUESTS] <= served


def test_counters_never_decrease_over_a_reload_and_a_crash(serve: Serve) -> None:
    with serve("app", "http", "wsgi", "everything", *BIND, "--processes", "2", log=None) as server:
        own = metrics_address(server)
        last: dict[str, float] = {}
        seen: list[str] = []

        def look() -> dict[str, float]:
            """The counters, which are compared with the last ones."""
            nonlocal last
            _, text = ask(own)
            now = counters(text)
            seen.extend(f"{name}: {now.get(name)} after {old}" for name, old in last.items() if now.get(name, -1) < old)
            last = now
            return values(text)

        def use(count: int) -> None:
            for _ in range(count):
                with server.client() as client:
                    assert fetch(client, "GET", "/facts")[0] == 200

        eventually(lambda: look()['reserve_processes{state="serving"}'] == 2)
        use(30)
        eventually(lambda: look().get(REQUESTS) == 30)
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: look()['reserve_process_restarts_total{reason="reload"}'] == 2)
        eventually(lambda: look()['reserve_processes{state="serving"}'] == 2)
        assert look().get(REQUESTS) == 30
        use(10)
        eventually(lambda: look().get(REQUESTS) == 40)
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(server.process.pid)], capture_output=True, text=True, check=True
        ).stdout.split()
        os.kill(int(children[0]), signal.SIGKILL)
        eventually(lambda: look()['reserve_process_restarts_total{reason="crash"}'] == 1)
        eventually(lambda: look()['reserve_processes{state="serving"}'] == 2)
        assert look().get(REQUESTS) == 40, "the supervisor knew them when the process was killed"
        use(5)
        eventually(lambda: look().get(REQUESTS) == 45)
        assert not seen


def test_the_counters_of_a_server_of_one_process_go_on_after_a_reload(serve: Serve) -> None:
    with serve("app", "http", "wsgi", "everything", *BIND, log=None) as server:
        own = metrics_address(server)

        def use(count: int) -> None:
            for _ in range(count):
                with server.client() as client:
                    assert fetch(client, "GET", "/facts")[0] == 200

        use(20)
        eventually(lambda: values(ask(own)[1]).get(REQUESTS) == 20)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_line("this one finishes its requests")
        use(3)
        eventually(lambda: values(ask(own)[1]).get(REQUESTS) == 23)


def test_datagrams_of_two_processes_add_up(serve: Serve) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(PATIENCE)
        host, port = receiver.getsockname()
        options = ("--processes", "2", "--statsd", f"{host}:{port},shop", "--statsd-interval", "0.5", "--statsd-tags")
        with serve("app", "http", "wsgi", "everything", *BIND, *options, log=None) as server:
            eventually(lambda: values(ask(metrics_address(server))[1])['reserve_processes{state="serving"}'] == 2)
            receiver.recv(65535)  # both have begun to count
            total = 0

            def next_total() -> bool:
                nonlocal total
                data = receiver.recv(65535)
                assert len(data) <= 1432
                for line in data.decode().splitlines():
                    if line.startswith("shop.requests:"):
                        match = re.fullmatch(r"shop\.requests:(\d+)\|c\|#method:GET,status:200", line)
                        assert match, line
                        total += int(match[1])
                return total >= 40

            for _ in range(40):
                with server.client() as client:
                    assert fetch(client, "GET", "/facts")[0] == 200
            eventually(next_total)
            assert total == 40


def test_the_applications_own_metrics_follow(serve: Serve, tmp_path: Path) -> None:
    package = Path(library("prometheus_client").__file__).parent.parent
    (tmp_path / "shop_with_metrics.py").write_text(
        "from prometheus_client import Counter\n"
        'ORDERS = Counter("shop_orders", "Orders.", ["kind"])\n'
        "def app(environ, start_response):\n"
        '    ORDERS.labels("book").inc(3)\n'
        '    start_response("204 No Content", [])\n'
        "    return []\n"
    )
    environ = {"PYTHONPATH": str(package)}
    command = ("app", "http", "wsgi", "shop_with_metrics", *BIND)
    with serve(*command, cwd=tmp_path, environ=environ) as server:
        with server.client() as client:
            fetch(client, "GET", "/")
        for address in (metrics_address(server), server.address):
            _, text = ask(address)
            assert values(text)['shop_orders_total{kind="book"}'] == 3
            assert text.index("reserve_info") < text.index("shop_orders")
    with serve(*command, "--processes", "2", cwd=tmp_path, environ=environ, log=None) as server:
        _, text = ask(metrics_address(server))
        assert "shop_orders" not in text
        assert "# The metrics of the application are left out: there are several processes" in text
    (tmp_path / "shared").mkdir()
    environ["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path / "shared")
    with serve(*command, "--processes", "2", cwd=tmp_path, environ=environ, log=None) as server:
        for _ in range(10):
            with server.client() as client:
                fetch(client, "GET", "/")
        eventually(lambda: values(ask(metrics_address(server))[1]).get('shop_orders_total{kind="book"}') == 30)
