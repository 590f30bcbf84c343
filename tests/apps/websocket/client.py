"""A WebSocket client without any library: it can send what no library would."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from reserve.testing import RunningServer
from tests import tls
from tests.apps.http.responses import request
from tests.clients import connect
from tests.protocol.websocket.frames import CLOSE, TEXT, codes, frame

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
"""The example of RFC 6455 section 1.3."""


def opening(path: str = "/", *lines: str, method: str = "GET") -> bytes:
    """The request that opens a WebSocket."""
    fields = ["Connection: keep-alive, Upgrade", "Upgrade: websocket", KEY, "Sec-WebSocket-Version: 13", *lines]
    return request(method, path, *fields)


class Client:
    """One connection; the test's thread owns it."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.head = b""
        self._buffer = b""

    def open(self, path: str = "/", *lines: str, then: bytes = b"") -> Client:
        """Open the WebSocket. The test fails if that is refused."""
        self.sock.sendall(opening(path, *lines) + then)
        while b"\r\n\r\n" not in self._buffer:
            data = self.sock.recv(65536)
            assert data, self._buffer
            self._buffer += data
        self.head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        self.head += b"\r\n"
        assert self.head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n"), self.head
        assert ACCEPT in self.head
        return self

    def send(self, message: str) -> None:
        self.sock.sendall(frame(TEXT, message.encode()))

    def frame(self) -> tuple[int, bytes]:
        """The next frame of the server: opcode and payload."""
        head = self._exactly(2)
        assert head[0] & 0xF0 == 0x80, head
        size = head[1]
        if size == 126:
            size = int.from_bytes(self._exactly(2), "big")
        elif size == 127:
            size = int.from_bytes(self._exactly(8), "big")
        return head[0] & 15, self._exactly(size)

    def recv(self) -> str:
        """The next frame, which has to be a text."""
        opcode, data = self.frame()
        assert opcode == TEXT, (opcode, data)
        return data.decode()

    def closed(self) -> int | None:
        """The code of the close frame that comes next, after which the server closes the connection."""
        ((opcode, code),) = codes([self.frame()])
        assert opcode == CLOSE, (opcode, code)
        assert not isinstance(code, bytes)
        return code

    def at_end(self) -> bool:
        """The server has closed its side."""
        return self.sock.recv(1) == b""

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError(f"the connection ended after {self._buffer[:80]!r}")
            self._buffer += data
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data


@contextlib.contextmanager
def client(server: RunningServer, *, secure: bool = False, window: int = 0) -> Iterator[Client]:
    """A client of a server, which has not sent anything.

    :param window: as for :func:`tests.clients.connect`.
    """
    with contextlib.ExitStack() as stack:
        sock: socket.socket = stack.enter_context(connect(server.address, window=window))
        if secure:
            sock = stack.enter_context(tls.client_context().wrap_socket(sock, server_hostname="localhost"))
        yield Client(sock)
