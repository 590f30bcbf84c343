"""The TLS clients of the benchmark against a server that fails, and the figures that the benchmark prints."""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import ssl
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import tls_clients
from benchmarks.load import Figures
from benchmarks.process import free_port, started_process
from benchmarks.tls import Results, add_handshakes, add_load, report
from benchmarks.tls_clients import handshakes, hold
from benchmarks.tls_floor import FORMS, LOOPS
from benchmarks.tls_handshakes import Round, table
from reserve.testing import running
from tests import tls
from tests.waiting import PATIENCE


@pytest.fixture
def closing_port() -> Iterator[int]:
    """The port of a server that closes every connection at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stopping = threading.Event()

        def serve() -> None:
            while True:
                sock, _ = listener.accept()
                sock.close()
                if stopping.is_set():
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        stopping.set()
        socket.create_connection(listener.getsockname()).close()
        thread.join()


def hello(environ: object, start_response: Callable[..., object]) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


@pytest.fixture
def deadline(monkeypatch: pytest.MonkeyPatch) -> float:
    """A deadline that comes after five handshakes, because the clock goes on by one with each reading."""
    monkeypatch.setattr(tls_clients, "time", SimpleNamespace(monotonic=itertools.count().__next__))
    return 5.0


def test_clients_of_a_server_that_serves(deadline: float) -> None:
    with running(hello, ssl_adapter=tls.adapter()) as served:
        held, failed = hold(tls.client_context(), served.address[1], 3)
        assert (len(held), failed) == (3, 0)
        assert served.server.stats().connections == 3
        for connection in held:
            connection.close()
        counts = handshakes(tls.client_context(), served.address[1], deadline, True)
        assert counts == {"done": 5, "resumed": 4, "failed": 0}


def test_clients_of_a_server_that_fails(closing_port: int, deadline: float) -> None:
    assert hold(tls.client_context(), closing_port, 30) == ([], 20)
    assert handshakes(tls.client_context(), closing_port, deadline, False) == {"done": 0, "resumed": 0, "failed": 5}


def test_rounds_without_a_success_add_only_failures() -> None:
    results: Results = defaultdict(list)
    add_handshakes(results, "a", "resumed", "p256", {"done": 20, "resumed": 10, "failed": 0}, 2.0, 0.5)
    add_handshakes(results, "b", "resumed", "p256", {"done": 0, "resumed": 0, "failed": 7}, 2.0, 0.5)
    add_handshakes(results, "c", "resumed", "p256", {"done": 0, "resumed": 0, "failed": 0}, 2.0, 0.0)
    add_load(results, "a", Figures(requests_per_second=30.0, p50=1.0, p99=2.0, requests=60, failures=0))
    add_load(results, "b", Figures(requests_per_second=0.0, p50=0.0, p99=0.0, requests=0, failures=32))
    assert results == {
        ("a", "resumed handshakes, p256, 1/s"): [10.0],
        ("a", "resumed handshakes, p256, 1/CPU s"): [40.0],
        ("a", "of these resumed, %"): [50.0],
        ("b", "resumed handshakes, p256, failed"): [7],
        ("c", "resumed handshakes, p256, failed"): [0],
        ("a", "requests on 32 connections, 1/s"): [30.0],
        ("a", "their p99, ms"): [2.0],
        ("b", "of these requests, failed"): [32],
    }
    rows = report(results, ["a", "b", "c"]).splitlines()
    assert rows[1].split() == ["resumed", "handshakes,", "p256,", "1/s", "10.0", "-", "-"]


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.issued().cert, tls.issued().key)
    return context


@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_floor_does_a_handshake_and_one_response(form: str) -> None:
    one, two = socket.socketpair()
    with one, two:
        server = threading.Thread(target=FORMS[form], args=(server_context(), one))
        server.start()
        try:
            with tls.client_context().wrap_socket(two, server_hostname="localhost") as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                received = client.recv(4096)
                assert client.recv(1) == b"", "no close_notify"
        finally:
            server.join()
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    head, _, body = received.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="the loops need epoll")
@pytest.mark.parametrize("form", sorted(LOOPS))
def test_a_loop_serves_clients_at_the_same_time(form: str, tmp_path: Path) -> None:
    port = free_port()

    def listens() -> bool:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        return True

    files = (tls.issued().cert, tls.issued().key)
    command = [sys.executable, "-m", "benchmarks.tls_floor", form, str(port), *map(str, files), "2"]
    with started_process(form, command, listens, log=tmp_path / "stderr"), contextlib.ExitStack() as stack:
        clients = []
        for _ in range(3):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
            context = tls.client_context()
            clients.append(stack.enter_context(context.wrap_socket(sock, server_hostname="localhost")))
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for client in clients:
            received = b"".join(iter(lambda client=client: client.recv(4096), b""))  # type: ignore[misc]
            assert received.endswith(b"\r\n\r\nHello, world!\n")


def test_the_table_of_handshakes_has_medians_the_spread_and_the_ratio() -> None:
    def rounds(*handshakes: int) -> list[Round]:
        return [Round(handshakes=each, cpu_seconds=0.5, seconds=2.0) for each in handshakes]

    lines = table({"reserve": rounds(300, 100, 200), "nginx": rounds(400, 500, 300)}).splitlines()
    assert lines[1].split() == ["reserve", "400", "200", "600", "2500", "100", "0.50"]
    assert lines[2].split() == ["nginx", "800", "600", "1000", "1250", "200", "1.00"]
    assert table({"reserve": rounds(100)}).splitlines()[1].split()[-1] == "-"
