"""An adapter that does not encrypt: with it the suite checks the transport alone."""

from __future__ import annotations

import socket
from typing import Any

from reserve.errors import WantRead, WantWrite
from reserve.ssl import SSLAdapter


class PlainSession:
    """Sends and receives everything as it is."""

    half_closes = True

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.details: Any = sock

    def handshake(self) -> None:
        """There is none."""

    def read(self, size: int) -> bytes:
        try:
            return self.socket.recv(size)
        except BlockingIOError:
            raise WantRead from None

    def write(self, data: bytes | memoryview) -> int:
        try:
            return self.socket.send(data)
        except BlockingIOError:
            raise WantWrite from None

    def pending(self) -> int:
        return 0

    def close_notify(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def resumed(self) -> bool:
        return False


class PlainAdapter(SSLAdapter):
    """Makes plain sessions; it needs no certificate."""

    def __init__(self, cert: str, key: str) -> None:
        """Take what every adapter takes."""

    def session(self, sock: socket.socket) -> PlainSession:
        return PlainSession(sock)
