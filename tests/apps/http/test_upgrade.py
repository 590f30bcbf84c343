"""A WSGI application takes its connection over with ``reserve.socket``, and what follows for threads, limits and the
stop.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reserve.apps._accesslog.log import AccessLog, Record
from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.server import Hooks
from reserve.errors import ApplicationError, ClientDisconnected
from reserve.gateways.upgradedsocket import SOCKET_KEYS
from reserve.gateways.wsgi import WSGIGateway
from reserve.testing import FakeClock, RunningServer, running
from tests import tls
from tests.apps.http.responses import request
from tests.clients import receive_all, until_closed
from tests.waiting import PATIENCE, eventually

UPGRADE = request("GET", "/", "Connection: keep-alive, Upgrade", "Upgrade: echo")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"


class Echo:
    """Takes a connection over and sends back what it receives, until the end.

    :param end: called when the client has ended; returns what the application returns.
    """

    def __init__(self, end: Callable[[Any], Any] = lambda start_response: []) -> None:
        self.end = end
        self.taken = threading.Semaphore(0)
        self.stopping: Any = None

    def __call__(self, environ: Any, start_response: Any) -> Any:
        sock = environ.get("reserve.socket")
        if sock is None:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"plain"]
        self.stopping = environ["reserve.stopping"]
        sock.sendall(SWITCHED)
        self.taken.release()
        while data := sock.recv(65536):
            sock.sendall(data)
        return self.end(start_response)


@contextlib.contextmanager
def serving(app: Any, log: list[str] | None = None, **options: Any) -> Iterator[RunningServer]:
    lines = log if log is not None else []
    hooks = Hooks(error_log=lambda level, text: lines.append(text))
    with running(app, hooks=hooks, **options) as server:
        yield server


def upgraded(server: RunningServer, sent: bytes = UPGRADE) -> socket.socket:
    client = server.connect(PATIENCE)
    client.sendall(sent)
    received = b""
    while len(received) < len(SWITCHED):
        received += client.recv(len(SWITCHED) - len(received))
    assert received == SWITCHED
    return client


def echoed(client: socket.socket, data: bytes) -> bool:
    client.sendall(data)
    received = b""
    while len(received) < len(data):
        piece = client.recv(len(data) - len(received))
        if not piece:
            return False
        received += piece
    return received == data


def test_the_application_sends_its_own_bytes_and_the_server_none() -> None:
    with serving(Echo(), threads=1) as server, upgraded(server) as client:
        assert echoed(client, b"x" * 300000)
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b""


def test_reading_the_key_takes_nothing_over() -> None:
    """An ``Upgrade: h2c`` that the application ignores stays an ordinary request, and the connection is kept."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        assert all(environ[key] is environ["reserve.socket"] for key in SOCKET_KEYS)
        assert isinstance(environ["reserve.socket"].getpeername(), tuple)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [repr(environ["reserve.socket"]).encode()]

    h2c = request("GET", "/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    with serving(app, threads=1) as server, server.connect() as client:
        for _ in range(2):
            client.sendall(h2c)
            received = b""
            while not received.endswith(b"<reserve.socket>"):
                received += client.recv(65536)
            assert received.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("lines", "minor"),
    [
        (("Upgrade: echo",), 1),
        (("Connection: keep-alive", "Upgrade: echo"), 1),
        (("Connection: Upgrade",), 1),
        (("Connection: Upgrade", "Upgrade: echo"), 0),
    ],
)
def test_without_a_complete_upgrade_there_is_no_socket(lines: tuple[str, ...], minor: int) -> None:
    with serving(Echo(), threads=1) as server:
        response = server.exchange(request("GET", "/", *lines, "Connection: close", minor=minor))
    assert response.endswith(b"plain")


def test_bytes_after_the_head_come_first() -> None:
    early = b"early " * 100
    with serving(Echo(), threads=1) as server, upgraded(server, UPGRADE + early) as client:
        client.sendall(b"late")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == early + b"late"


def test_bytes_after_the_body_come_first() -> None:
    raw = request("POST", "/", "Connection: Upgrade", "Upgrade: echo", "Content-Length: 4") + b"bodyearly"
    with serving(Echo(), threads=1) as server, upgraded(server, raw) as client:
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b"early"


def select_and_receive(environ: Any, start_response: Any) -> Any:
    """Receives byte after byte, each after ``select`` has said that there is one."""
    sock = environ["reserve.socket"]
    sock.sendall(SWITCHED)
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        received = b""
        while not received.endswith(b"."):
            if not selector.select(PATIENCE):
                raise AssertionError("select does not see what is there to be received")
            received += sock.recv(1)
        assert not selector.select(0)
    sock.sendall(received)
    return []


@pytest.mark.parametrize("early", [b"", b"early"])
@pytest.mark.parametrize("secure", [False, True])
def test_select_sees_bytes_that_are_in_memory(early: bytes, secure: bool) -> None:
    adapter = tls.adapter() if secure else None
    with serving(select_and_receive, threads=1, ssl_adapter=adapter) as server, contextlib.ExitStack() as stack:
        client: Any = stack.enter_context(server.connect(PATIENCE))
        if secure:
            client = stack.enter_context(tls.client_context().wrap_socket(client, server_hostname="localhost"))
        client.sendall(UPGRADE + early)
        received = b""
        while not received.endswith(SWITCHED):
            received += client.recv(65536)
        client.sendall(b"late.")
        received = b""
        while not received.endswith(b"."):
            received += client.recv(65536)
        assert received == early + b"late."


def test_it_is_a_blocking_socket_with_files() -> None:
    seen: dict[str, Any] = {}

    def app(environ: Any, start_response: Any) -> Any:
        sock = environ["reserve.socket"]
        seen["timeout"] = sock.gettimeout()
        seen["kind"] = (sock.family, sock.type)
        seen["blocking"] = sock.getblocking()
        with sock, sock.makefile("rwb") as file:
            file.write(SWITCHED)
            file.flush()
            sock.close()
            for line in file:
                file.write(line.upper())
                file.flush()
        seen["fileno"] = sock.fileno()
        with pytest.raises(OSError, match="Bad file descriptor"):
            sock.recv(1)
        return []

    with serving(app, threads=1) as server, upgraded(server, UPGRADE + b"one\n") as client:
        client.sendall(b"two\n")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b"ONE\nTWO\n"
    assert seen == {
        "timeout": None,
        "kind": (socket.AF_INET, socket.SOCK_STREAM),
        "blocking": True,
        "fileno": -1,
    }


def respond(start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
    return [b"more"]


def write(start_response: Any) -> list[bytes]:
    start_response("200 OK", [])(b"more")
    return []


def generate(start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b"more"


class FailingClose:
    def __iter__(self) -> Iterator[bytes]:
        return iter([])

    def close(self) -> None:
        raise KeyError


def raising(error: BaseException) -> Callable[[Any], Any]:
    def end(start_response: Any) -> Any:
        raise error

    return end


@pytest.mark.parametrize(
    "end",
    [
        lambda start_response: [],
        lambda start_response: None,
        lambda start_response: [b"no head"],
        lambda start_response: FailingClose(),
        respond,
        write,
        generate,
        raising(StopIteration()),
        raising(ValueError("any")),
        raising(SystemExit(1)),
        raising(ConnectionResetError()),
        raising(ClientDisconnected()),
    ],
)
def test_whatever_the_application_does_at_last_ends_quietly_in_a_close(end: Any) -> None:
    log: list[str] = []
    with serving(Echo(end), log, threads=1) as server:
        with upgraded(server) as client:
            assert echoed(client, b"hello")
            client.shutdown(socket.SHUT_WR)
            assert until_closed(client) == (b"", False)
        assert server.exchange(request("GET", "/", "Connection: close")).endswith(b"plain")
    assert log == []


def test_an_application_that_has_begun_a_response_cannot_take_the_connection_over() -> None:
    caught: SimpleQueue[BaseException] = SimpleQueue()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])(b"begun")
        try:
            environ["reserve.socket"].send(b"x")
        except BaseException as error:
            caught.put(error)
        return []

    with serving(app, threads=1) as server:
        raw = request("GET", "/", "Connection: upgrade, close", "Upgrade: echo")
        assert server.exchange(raw).endswith(b"\r\n\r\nbegun")
    assert isinstance(caught.get(timeout=PATIENCE), ApplicationError)


def test_after_its_request_the_socket_is_closed_and_threads_that_wait_for_it_are_woken() -> None:
    kept: SimpleQueue[Any] = SimpleQueue()
    received: SimpleQueue[Any] = SimpleQueue()

    def app(environ: Any, start_response: Any) -> Any:
        sock = environ["reserve.socket"]
        sock.sendall(SWITCHED)
        threading.Thread(target=lambda: received.put(sock.recv(10)), name="of the application").start()
        kept.put(sock)
        return []

    with serving(app, threads=1) as server, upgraded(server) as client:
        assert receive_all(client) == b""
        assert received.get(timeout=PATIENCE) == b""
        sock = kept.get()
        assert sock.fileno() == -1
        for call in (lambda: sock.send(b"x"), lambda: sock.recv(1), lambda: sock.settimeout(1)):
            with pytest.raises(OSError, match="Bad file descriptor"):
                call()
        sock.close()


# ---- threads ----


def test_connections_that_are_taken_over_do_not_count_as_threads() -> None:
    log: list[str] = []
    with serving(Echo(), log, threads=2) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(upgraded(server)) for _ in range(10)]
        eventually(lambda: server.server.stats().threads == 2)
        stats = server.server.stats()
        assert stats.upgraded == 10
        assert all(line.startswith("reserve-worker-") for line in stats.upgraded_threads)
        assert {line.partition(": ")[2] for line in stats.upgraded_threads} == {
            f"GET / from 127.0.0.1:{client.getsockname()[1]}" for client in clients
        }
        assert server.exchange(request("GET", "/", "Connection: close")).endswith(b"plain")
        assert all(echoed(client, b"still here") for client in clients)
        for client in clients:
            client.close()
        eventually(lambda: server.server.stats().upgraded == 0)
        assert server.server.stats().threads == 2
        eventually(lambda: server.server.stats().handled == 11)
        assert server.exchange(request("GET", "/", "Connection: close")).endswith(b"plain")
    assert log == []


def test_beyond_max_upgraded_the_client_gets_a_503_whatever_the_application_does() -> None:
    caught: SimpleQueue[BaseException] = SimpleQueue()

    def app(environ: Any, start_response: Any) -> Any:
        try:
            return echo(environ, start_response)
        except OSError as error:
            caught.put(error)
            start_response("200 OK", [])
            return [b"more"]

    echo = Echo()
    log: list[str] = []
    with serving(app, log, threads=1, max_upgraded=1) as server:
        with upgraded(server) as client:
            refused = server.exchange(UPGRADE)
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nRetry-After: 1\r\n" in refused
            assert b"more" not in refused
            assert "--max-upgraded" in str(caught.get(timeout=PATIENCE))
            assert echoed(client, b"still here")
        eventually(lambda: server.server.stats().upgraded == 0)
        with upgraded(server):
            pass
    assert len(log) == 1
    assert "--max-upgraded" in log[0]


def test_with_max_upgraded_0_there_is_no_socket() -> None:
    with serving(Echo(), threads=1, max_upgraded=0) as server, server.connect(PATIENCE) as client:
        client.sendall(UPGRADE + request("GET", "/", "Connection: close"))
        assert receive_all(client).count(b"\r\n\r\nplain") == 2


def test_an_upgraded_connection_has_no_request_timeout() -> None:
    clock = FakeClock()
    log: list[str] = []
    with serving(Echo(), log, threads=1, clock=clock, request_timeout=5.0) as server, upgraded(server) as client:
        for _ in range(20):
            clock.advance(4)
            assert echoed(client, b"still here")
            assert server.exchange(request("GET", "/", "Connection: close")).endswith(b"plain")
        assert server.server.stats().timed_out == 0
        assert server.server.stats().upgraded == 1
    assert log == []


# ---- the stop ----


def test_a_stop_waits_for_an_application_that_heeds_it() -> None:
    log: list[str] = []
    app = Echo()
    with serving(app, log, threads=1) as server, upgraded(server) as client:
        assert not app.stopping()
        server.server.request_stop(PATIENCE)
        eventually(lambda: app.stopping())
        assert echoed(client, b"still here")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b""
        server.server.stop()
    assert (log, server.server.aborted) == ([], 0)


@pytest.mark.parametrize("secure", [False, True])
def test_at_the_deadline_of_a_stop_the_socket_is_shut_down(secure: bool) -> None:
    log: list[str] = []
    ended = threading.Event()
    app = Echo(lambda start_response: ended.set() or [])  # type: ignore[func-returns-value]
    adapter = tls.adapter() if secure else None
    with serving(app, log, threads=1, ssl_adapter=adapter) as server, contextlib.ExitStack() as stack:
        client: Any = stack.enter_context(server.connect(PATIENCE))
        if secure:
            client = stack.enter_context(tls.client_context().wrap_socket(client, server_hostname="localhost"))
        client.sendall(UPGRADE)
        assert app.taken.acquire(timeout=PATIENCE)
        server.server.stop(0)
        if not secure:
            assert receive_all(client) == SWITCHED
        assert secure or ended.is_set()
    assert (log, server.server.aborted) == ([], 0)


def test_a_thread_that_does_not_end_at_a_stop_is_reported() -> None:
    log: list[str] = []
    release = threading.Event()

    def end(start_response: Any) -> Any:
        release.wait(PATIENCE)
        return []

    with serving(Echo(end), log, threads=1) as server, upgraded(server):
        server.server.stop(0)
        assert server.server.aborted == 1
        release.set()
    assert any("taken over" in line for line in log)
    eventually(lambda: not any(thread.name.startswith("reserve-worker") for thread in threading.enumerate()))


# ---- the access log ----


def test_the_access_log_has_one_line_at_the_end_with_status_101() -> None:
    records: SimpleQueue[Record] = SimpleQueue()
    http = HTTPApp(WSGIGateway(Echo(respond)), HTTPSettings(access_log=False))
    http.access_log = cast(AccessLog, SimpleNamespace(put=records.put, records=[], limit=0, stop=lambda: None))
    with serving(http, threads=1) as server, upgraded(server) as client:
        assert echoed(client, b"hello")
        assert records.empty()
        client.shutdown(socket.SHUT_WR)
        record = records.get(timeout=PATIENCE)
        assert record[2:7] == ("GET", "/", "HTTP/1.1", 101, len(SWITCHED) + 5)
