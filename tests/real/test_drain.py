"""``--drain-delay`` and ``--exit-idle`` on the command line."""

from __future__ import annotations

import signal
import socket

from tests.real.conftest import Serve
from tests.real.serving import PATIENCE, fetch

APP = ("app", "http", "wsgi", "everything", "--health-path", "/health")


def test_while_it_drains_the_health_check_fails_and_everything_else_goes_on(serve: Serve) -> None:
    with (
        serve(*APP, "--drain-delay", "3600", log=None) as server,
        server.client() as kept,
        server.client() as health,
    ):
        assert fetch(health, "GET", "/health")[0] == 200
        fetch(kept, "GET", "/facts")
        connection = kept.sock
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_line("reserve: stopping in 3600 s; then requests in flight have 30 s, a second signal")
        status, headers, _ = fetch(health, "GET", "/health")
        assert (status, headers["Connection"]) == (503, None)
        status, headers, _ = fetch(kept, "GET", "/facts")
        assert (status, headers["Connection"]) == (200, None)
        assert kept.sock is connection
        with server.client() as late:
            assert fetch(late, "GET", "/facts")[0] == 200
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_line("reserve: stopping at once")
        server.wait_for_end()


def test_after_the_delay_it_stops(serve: Serve) -> None:
    with serve(*APP, "--drain-delay", "0.2", log=None) as server:
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_line("reserve: stopping in 0.2 s; then")
        server.wait_for_end()


def test_a_server_that_nobody_uses_exits_and_leaves_its_socket_to_systemd(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        for _ in range(2):  # as often as systemd starts it
            with (
                socket.create_connection(listener.getsockname(), PATIENCE) as early,
                serve(*APP, "--exit-idle", "0.2", bind=f"fd:{number}", pass_fds=(number,), log=None) as server,
            ):
                early.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert b"".join(iter(lambda sock=early: sock.recv(4096), b"")).startswith(b"HTTP/1.1 200 ")
                server.wait_for_end()
