"""What thousands of clients of each kind make a server hold: at most the budget, and a constant for each connection.

The server is a process of its own, whose resident memory the system knows. adversity.md states the constants. A client
of each kind here once took more than that, uncounted. RESERVE_MEMORY_CLIENTS=5000 makes more clients of each kind.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests import tls
from tests.adversity.holding import Child, ask, serving
from tests.apps.http.responses import request
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

CLIENTS = int(os.environ.get("RESERVE_MEMORY_CLIENTS", "600"))
BUDGET = 1048576
PLAIN, SECURE, SENDING = 16384, 49152, 40960
"""Bytes for each connection beyond the budget, without and with TLS, and in addition while the client of a TLS session
does not read its response: adversity.md states them.
"""
TOLERANCE = 2 * 1048576
"""Bytes by which the memory of a process varies whatever its clients do."""

PROGRAM = """
import ctypes, os, socket, sys, threading
import reserve
from reserve import ReserveWSGIServer, listen
from reserve.engine.drivers.handler import Park
from reserve.errors import ReserveError

shared = b"s" * 200000
trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: 0)

def app(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [{"/shared": shared, "/own": b""}.get(environ["PATH_INFO"], b"honest") or os.urandom(200000)]

sockets = []

def handle(sock, address, server):
    sockets.append(sock)
    return Park(lambda: None)

handle.client_speaks_first = False

def send_much(server):
    for sock in sockets:
        try:
            while True:
                server.send(sock, os.urandom(60000))
        except ReserveError:
            pass

def look(server, held_back):
    connections = list(server._queue.connections.values())
    stats = server.stats()
    waiting = stats.parked + stats.flushing
    quiet = not stats.busy and waiting == stats.connections == len(connections) and not stats.queued
    quiet = quiet and (held_back or not any(connection.has_unread() for connection in connections))
    trim(0)  # the memory that is free already, and that the allocator keeps, is no client's
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    print(stats.accepted, stats.connections, int(quiet), resident, stats.buffered, flush=True)

def control(server):
    server.wait_ready()
    print(listeners[0].getsockname()[1], flush=True)
    for line in sys.stdin:
        if line == "send\\n":
            send_much(server)
            print("sent", flush=True)
        else:
            look(server, line == "look held back\\n")
    server.request_stop(0)

listeners = listen("127.0.0.1:0")
listeners[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # so that the system takes little of a response
options = dict(threads=2, buffer_memory=int(sys.argv[1]), linger_timeout=0, keep_alive=600.0, head_timeout=600.0,
               body_timeout=600.0, handshake_timeout=600.0, write_timeout=600.0, max_connections=10**6)
options["hooks"] = reserve.Hooks(error_log=lambda *_: None)  # a stop with connections has a line
if sys.argv[2] == "handler":
    del options["keep_alive"], options["head_timeout"], options["body_timeout"]
    server = reserve.Server(listeners, handle, **options)
else:
    server = ReserveWSGIServer(listeners, app, access_log=False, **options)
    if sys.argv[2]:
        from reserve.ssl import BuiltinSSLAdapter
        server.ssl_adapter = BuiltinSSLAdapter(sys.argv[2], sys.argv[3])
thread = threading.Thread(target=control, args=(server,))
thread.start()
server.start()
thread.join()
"""


class Held:
    """A server in another process and its clients, which stay connected until the test ends."""

    def __init__(self, child: Child, stack: ExitStack) -> None:
        self.child = child
        self.port = int(child.line())
        self._stack = stack
        self._accepted = 0

    def connect(self, *, window: int = 0) -> socket.socket:
        client = self._stack.enter_context(socket.socket())
        if window:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        client.settimeout(30)
        client.connect(("127.0.0.1", self.port))
        self._accepted += 1
        return client

    def connect_tls(self, *, window: int = 0) -> tuple[socket.socket, tls.MemoryTLSClient]:
        client, memory_client = self.connect(window=window), tls.MemoryTLSClient()
        memory_client.handshake(client)
        return client, memory_client

    def warm_up(self) -> None:
        """Serve a few clients, so that what they leave in the process is there before the others come."""
        for _ in range(20):
            ask(self.port, request("GET", "/", "Connection: close"))
            self._accepted += 1

    def resident(self, *, held_back: bool = False) -> tuple[int, int]:
        """The resident memory in bytes, and the connections that are open, once all that was sent has its effect.

        :param held_back: the server leaves input in the system, so it does not matter what waits there.
        """
        seen: list[int] = []

        def settled() -> bool:
            self.child.tell("look held back" if held_back else "look")
            seen[:] = map(int, self.child.line().split())
            return seen[0] >= self._accepted and seen[2] == 1

        eventually(settled)
        return seen[3], seen[1]


@contextmanager
def held(kind: str = "", *certificate: str, budget: int = BUDGET) -> Iterator[Held]:
    with serving(PROGRAM, str(budget), kind, *certificate) as child, ExitStack() as stack:
        yield Held(child, stack)


def fields(count: int, size: int, client: int) -> bytes:
    """``count`` field lines of ``size`` bytes, whose names no other client uses."""
    return b"".join((b"X%x-%x: " % (client, number)).ljust(size - 2, b"v") + b"\r\n" for number in range(count))


POST = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"


def pipelined(held: Held, number: int) -> None:
    client = held.connect(window=4096)
    client.setblocking(False)  # the server does not take all of it
    client.send(request("GET", "/shared") + request("GET", "/", "X-Pad: " + "p" * 15000) * 4)


def pipelined_after_a_chunked_body(held: Held, number: int) -> None:
    client = held.connect(window=4096)
    client.setblocking(False)
    head = b"POST /shared HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.send(head + b"1\r\nx\r\n0\r\n\r\n" + request("GET", "/", "X-Pad: " + "p" * 15000) * 4)


def many_fields_and_no_body(held: Held, number: int) -> None:
    held.connect().sendall(POST + fields(120, 32, number) + b"\r\n")


def many_fields_and_an_unread_response(held: Held, number: int) -> None:
    head = b"GET /shared HTTP/1.1\r\nHost: test\r\n" + fields(120, 500, number) + b"\r\n"
    held.connect(window=4096).sendall(head)


def unfinished_trailer(held: Held, number: int) -> None:
    held.connect().sendall(CHUNKED + fields(60, 260, number))


def unread_response(held: Held, number: int) -> None:
    held.connect(window=4096).sendall(request("GET", "/own"))


@pytest.mark.parametrize(
    "kind",
    [
        pipelined,
        pipelined_after_a_chunked_body,
        many_fields_and_no_body,
        many_fields_and_an_unread_response,
        unfinished_trailer,
        unread_response,
    ],
)
def test_a_client_holds_a_constant_beyond_the_budget(kind: Callable[[Held, int], None]) -> None:
    with held() as server:
        server.warm_up()
        before, _ = server.resident()
        for number in range(CLIENTS):
            kind(server, number)
        after, _ = server.resident(held_back=kind.__name__.startswith("pipelined"))
        assert after - before <= BUDGET + CLIENTS * PLAIN + TOLERANCE
        assert ask(server.port).body == b"honest"


def unfinished_hello(held: Held, number: int) -> None:
    size = 32000
    hello = b"\x01" + size.to_bytes(3, "big") + b"\x03\x03" + bytes(16000)
    held.connect().sendall(
        b"\x16\x03\x01" + len(hello).to_bytes(2, "big") + hello + b"\x16\x03\x01\x3e\x80" + bytes(15000)
    )


LARGE = request("GET", "/", *[f"X-{number}: {'v' * 7900}" for number in range(2)])


def part_of_a_record(held: Held, number: int) -> None:
    client, memory_client = held.connect_tls()
    client.sendall(memory_client.encrypt(LARGE)[:-20])


def large_record_and_then_nothing(held: Held, number: int) -> None:
    client, memory_client = held.connect_tls()
    client.sendall(memory_client.encrypt(LARGE))
    memory_client.receive(client)


def part_of_a_record_after_a_request(held: Held, number: int) -> None:
    client, memory_client = held.connect_tls()
    client.sendall(memory_client.encrypt(LARGE) + memory_client.encrypt(LARGE)[:-20])
    memory_client.receive(client)


def unread_response_over_tls(held: Held, number: int) -> None:
    client, memory_client = held.connect_tls(window=4096)
    client.sendall(memory_client.encrypt(request("GET", "/own")))


@pytest.mark.parametrize(
    ("kind", "constant"),
    [
        (unfinished_hello, PLAIN),
        (part_of_a_record, SECURE),
        (large_record_and_then_nothing, SECURE),
        (part_of_a_record_after_a_request, SECURE),
        (unread_response_over_tls, SECURE + SENDING),
    ],
)
def test_a_client_with_tls_holds_a_constant_beyond_the_budget(kind: Callable[[Held, int], None], constant: int) -> None:
    files = tls.issued()
    with held(files.cert, files.key or "") as server:
        for number in range(20):
            large_record_and_then_nothing(server, number)
        before, _ = server.resident()
        for number in range(CLIENTS):
            kind(server, number)
        after, _ = server.resident()
        assert after - before <= BUDGET + CLIENTS * constant + TOLERANCE
        with tls.wrap_client(server.connect()) as client:
            client.sendall(request())
            assert client.recv(100).startswith(b"HTTP/1.1 200")


def test_what_server_send_queues_is_counted() -> None:
    with held("handler") as server:
        before, _ = server.resident()
        for _ in range(CLIENTS):
            server.connect(window=4096)
        server.resident()
        server.child.tell("send")
        assert server.child.line() == "sent"
        after, count = server.resident(held_back=True)
        assert count == CLIENTS
        assert after - before <= BUDGET + CLIENTS * PLAIN + TOLERANCE
