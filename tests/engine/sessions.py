"""A TLS session without cryptography, each of whose calls the test decides: what arrives shows what the engine did."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from reserve.errors import WantRead, WantWrite
from reserve.ssl.adapter import SSLAdapter

Decide = Callable[[str, int], "int | None"]
"""Called before the n-th call (from 1) of ``handshake``, ``read`` or ``write``: raises WantRead or WantWrite, or
returns the most bytes that the call may take.
"""


def decide_nothing(name: str, number: int) -> None:
    """Decides nothing."""


class ClearSession:
    """Bytes 22 are the handshake, and a byte 0 is the close_notify; every other byte is content.

    :param hello: the number of bytes in the handshake.
    """

    def __init__(self, sock: Any, decide: Decide = decide_nothing, hello: int = 1) -> None:
        self.socket = sock
        self.details = self
        self.calls: dict[str, int] = {"handshake": 0, "read": 0, "write": 0, "close_notify": 0}
        self.refused: bytes | None = None
        """The bytes that the last write could not send, and that the next one has to repeat."""
        self._decide = decide
        self._hello = hello
        self._record = b""
        self._ended = False

    def _count(self, name: str) -> int | None:
        self.calls[name] += 1
        return self._decide(name, self.calls[name])

    def handshake(self) -> None:
        self._count("handshake")
        while self._hello:
            assert self._receive(1) == b"\x16"
            self._hello -= 1

    def read(self, size: int) -> bytes:
        most = self._count("read")
        if self._ended:
            return b""
        if not self._record:
            self._record = self._receive(16384 if most is None else most)
        data, self._record = self._record[:size], self._record[size:]
        self._ended = data == b"\0"
        return b"" if self._ended else data

    def _receive(self, size: int) -> bytes:
        try:
            data: bytes = self.socket.recv(size)
        except BlockingIOError:
            raise WantRead from None
        if not data:
            raise ConnectionAbortedError("cut")
        return data

    def write(self, data: bytes | memoryview) -> int:
        assert 0 < len(data) <= 16384, len(data)
        if self.refused is not None:
            assert bytes(data) == self.refused, "a retry with other bytes"
        try:
            most = self._count("write")
            count: int = self.socket.send(data if most is None else data[:most])
        except (WantRead, WantWrite):
            self.refused = bytes(data)
            raise
        except BlockingIOError:
            self.refused = bytes(data)
            raise WantWrite from None
        self.refused = None
        return count

    def pending(self) -> int:
        return len(self._record)

    def close_notify(self) -> None:
        self.calls["close_notify"] += 1
        self.socket.send(b"\0")

    def resumed(self) -> bool:
        return False


class ClearAdapter(SSLAdapter):
    """Makes such sessions and keeps them. ``decide`` is for the first one only."""

    def __init__(self, decide: Decide = decide_nothing, hello: int = 1) -> None:
        self.sessions: list[ClearSession] = []
        self.decide = decide
        self._hello = hello

    def session(self, sock: socket.socket) -> ClearSession:
        session = ClearSession(sock, decide_nothing if self.sessions else self.decide, self._hello)
        self.sessions.append(session)
        return session


class BlockingAdapter(SSLAdapter):
    """Does the handshake itself and waits for its client, as an adapter does that has only ``wrap()``."""

    blocking = True

    def __init__(self) -> None:
        self.timeouts: list[float | None] = []

    def session(self, sock: socket.socket) -> ClearSession:
        self.timeouts.append(sock.gettimeout())
        for _ in range(2):
            if (byte := sock.recv(1)) != b"\x16":
                raise ConnectionResetError(f"no handshake: {byte!r}")
        sock.setblocking(False)
        return ClearSession(sock, hello=0)
