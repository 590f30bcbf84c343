"""``Pair``: a client of the standard library and the server's socket, as real sockets with the handshake done."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

from reserve.ssl import SSLAdapter, TLSSocket
from tests import tls
from tests.waiting import PATIENCE


class Thread(threading.Thread):
    """A thread that a ``with`` block waits for, and whose exception is raised there."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__()
        self._call = call
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._call()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Thread:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.join()
        if self._error is not None:
            raise self._error


class Pair:
    """Both ends of one connection."""

    def __init__(self, adapter: SSLAdapter) -> None:
        client, server = socket.socketpair()
        server.setblocking(False)
        self.server: TLSSocket = adapter.secure(server)
        self.server.settimeout(PATIENCE)
        client.settimeout(PATIENCE)
        self.client: Any = None

        def connect() -> None:
            self.client = tls.wrap_client(client, context=tls.client_context(verify=False))

        with Thread(connect):
            self.server.do_handshake()

    def close(self) -> None:
        self.client.close()
        self.server.close()


def fill(server: TLSSocket) -> bytes:
    """Send until there is no room; what was taken."""
    timeout = server.gettimeout()
    server.settimeout(0)
    taken = b""
    try:
        while True:
            taken += b"f" * server.send(b"f" * 16384)
    except BlockingIOError:
        server.settimeout(timeout)
        return taken
