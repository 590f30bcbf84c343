"""The messages between the supervisor and a worker process: JSON objects, a line each, over a pair of UNIX sockets.

Each end belongs to one thread that reads, and any thread may send. A peer that has gone is no error: the reader sees
the end of the stream, and what is sent to it is lost.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

__all__ = ["Channel"]

_PIECE = 65536
_MAX_LINE = 1 << 20
"""Bytes of a message. A longer one means that something else writes to the socket."""


class Channel:
    """One end of the connection between the supervisor and a worker process.

    :param sock: the socket, which the channel owns.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""
        self.ended = False
        """The peer has gone, or has sent something that is no message."""

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Two connected ends."""
        first, second = socket.socketpair()
        return cls(first), cls(second)

    @classmethod
    def from_fd(cls, fd: int) -> Channel:
        """The end with this descriptor, which is not inherited any more."""
        sock = socket.socket(fileno=fd)
        sock.set_inheritable(False)
        return cls(sock)

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, kind: str, **values: Any) -> None:
        """Send one message; it is lost if the peer has gone, or does not read.

        :param kind: what the message is, its key ``type``.
        :param values: its other keys, with values that JSON has.
        """
        line = json.dumps({"type": kind, **values}).encode() + b"\n"
        with suppress(OSError):
            self.sock.sendall(line)

    def receive(self) -> list[dict[str, Any]]:
        """Read once, and return the messages that are complete. Blocks if the socket does.

        At the end of the stream :attr:`ended` is set.
        """
        try:
            data = self.sock.recv(_PIECE)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            data = b""
        if not data:
            self.ended = True
            return []
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        messages = []
        try:
            for line in lines:
                message = json.loads(line)
                if isinstance(message, dict) and isinstance(message.get("type"), str):
                    messages.append(message)
        except ValueError:
            self.ended = True
        if len(self._buffer) > _MAX_LINE:
            self.ended = True
        return messages

    def messages(self) -> Iterator[dict[str, Any]]:
        """All messages until the end of the stream, for a socket that blocks."""
        while not self.ended:
            yield from self.receive()

    def close(self) -> None:
        self.sock.close()
