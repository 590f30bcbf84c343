"""``reserve app echo`` on real sockets: which bytes it sends back, and what a client costs the server."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reserve
from reserve.apps.echo import Echo, launch
from reserve.errors import UsageError
from reserve.loader.arguments import Arguments
from reserve.loader.find import find
from reserve.testing import RunningServer, running
from tests.waiting import PATIENCE, eventually

ROOT = Path(reserve.__file__).parent.parent


def receive(client: socket.socket, count: int) -> bytes:
    """Receive ``count`` bytes, or as many as come before the end of the connection."""
    data = b""
    while len(data) < count:
        piece = client.recv(count - len(data))
        if not piece:
            break
        data += piece
    return data


def send_without_reading(client: socket.socket) -> None:
    """Send until the server takes nothing more for now."""
    piece = b"x" * 65536
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            client.send(piece)


def is_stuck(served: RunningServer, client: socket.socket) -> bool:
    """The server takes nothing more, because its output waits for the client."""
    send_without_reading(client)
    stats = served.server.stats()
    return stats.flushing == 1 and stats.busy == 0


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5))
@settings(max_examples=25)
def test_every_byte_comes_back(pieces: list[bytes]) -> None:
    with running(Echo(), wsgi=False, threads=1) as served, served.connect() as client:
        for piece in pieces:
            client.sendall(piece)
            assert receive(client, len(piece)) == piece
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def test_a_client_that_shuts_its_side_down_receives_everything_first() -> None:
    data = os.urandom(4_000_000)
    with running(Echo(), wsgi=False, threads=1) as served, served.connect() as client:

        def send() -> None:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        received = b"".join(iter(lambda: client.recv(65536), b""))
        sender.join()
    assert received == data


def test_many_connections_need_two_threads() -> None:
    with running(Echo(), wsgi=False, threads=2) as served, ExitStack() as stack:
        clients = [stack.enter_context(served.connect()) for _ in range(50)]
        silent = [stack.enter_context(served.connect()) for _ in range(10)]
        for round_ in (b"one", b"two"):
            for number, client in enumerate(clients):
                client.sendall(b"%s %d" % (round_, number))
            for number, client in enumerate(clients):
                expected = b"%s %d" % (round_, number)
                assert receive(client, len(expected)) == expected
        eventually(lambda: served.server.stats().parked == len(clients) + len(silent))
        stats = served.server.stats()
        assert (stats.connections, stats.busy) == (len(clients) + len(silent), 0)
        assert stats.handled <= 4 * len(clients)  # the silent clients never had a worker


def test_a_client_that_never_reads_holds_no_thread_and_little_memory() -> None:
    with running(Echo(), wsgi=False, threads=1) as served, served.connect() as greedy:
        eventually(lambda: is_stuck(served, greedy))
        outputs = [connection.output for connection in served.server._queue.connections.values()]
        assert sum(output.size for output in outputs if output is not None) <= 65536
        with served.connect() as other:
            other.sendall(b"still open")
            assert receive(other, 10) == b"still open"
        eventually(lambda: is_stuck(served, greedy))


def test_a_client_that_never_reads_is_disconnected_at_last() -> None:
    with running(Echo(), wsgi=False, threads=1, write_timeout=0.05) as served, served.connect() as greedy:

        def is_disconnected() -> bool:
            with contextlib.suppress(ConnectionError):
                send_without_reading(greedy)
            return served.server.stats().connections == 0

        eventually(is_disconnected)


def test_a_small_max_output_makes_small_pieces() -> None:
    with running(Echo(), wsgi=False, threads=1, max_output=7) as served, served.connect() as client:
        client.sendall(b"a" * 1000)
        assert receive(client, 1000) == b"a" * 1000


def test_the_application_takes_no_arguments() -> None:
    application = find("echo")
    assert application.module is not None
    handle = application.launch(Arguments(["reserve echo"]))
    assert isinstance(handle, Echo)
    assert handle.client_speaks_first
    with pytest.raises(UsageError, match="app echo takes no arguments, but it was given loud"):
        launch(["reserve echo", "loud"])
    with pytest.raises(UsageError, match=r"did you mean --threads\?"):
        launch(Arguments(["reserve echo", "--thread=2"], reserved=["--threads"]))


@pytest.mark.parametrize(
    ("name", "sent", "response"),
    [
        ("echo", b"hello", b"hello"),
        (
            "jsons",
            b'{"jsonrpc":"2.0","id":1,"method":"echo","params":[1]}\n',
            b'{"jsonrpc":"2.0","id":1,"result":[1]}\n',
        ),
    ],
)
def test_the_command_serves_the_application(name: str, sent: bytes, response: bytes) -> None:
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("RESERVE_", "LISTEN_"))}
    command = [sys.executable, "-m", "reserve", "app", name, "--bind", "127.0.0.1:0", "--threads", "1"]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert f"serves {name}" in process.stderr.readline()
            match = re.search(r"on 127\.0\.0\.1:(\d+)", process.stderr.readline())
            assert match is not None
            with socket.create_connection(("127.0.0.1", int(match[1])), 20) as client:
                client.sendall(sent)
                assert receive(client, len(response)) == response
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
