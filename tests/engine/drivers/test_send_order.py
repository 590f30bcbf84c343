"""Data given to ``server.send`` leaves before the handler is called again, so that nothing overtakes it."""

from __future__ import annotations

import socket
from typing import Any

from reserve import Park, Server
from reserve.testing import running
from tests.waiting import eventually


def test_a_handler_cannot_overtake_an_earlier_send() -> None:
    size = 900_000
    calls: list[bytes] = []

    def handle(sock: socket.socket, address: tuple[str, int], server: Server) -> Any:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

        def first() -> Park:
            calls.append(sock.recv(1))
            server.send(sock, b"p" * size)
            return Park(second)

        def second() -> None:
            calls.append(sock.recv(1))  # arrived together with the first byte
            sock.sendall(b"!")

        return Park(first)

    with running(handle, wsgi=False, threads=1) as served, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10.0)
        client.connect(served.address)
        client.sendall(b"ab")
        eventually(lambda: served.server.stats().flushing == 1)
        assert calls == [b"a"]
        received = b"".join(iter(lambda: client.recv(65536), b""))
    assert calls == [b"a", b"b"]
    assert received == b"p" * size + b"!"
