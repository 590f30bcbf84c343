"""The messages between the supervisor and a worker process: JSON objects, a line each, over a pair of UNIX sockets.

Each end belongs to one thread that reads, and any thread may send. A peer that has gone is no error: the reader sees
the end of the stream, and what is sent to it is lost. On a socket that does not block, what the peer does not read
waits in memory; :meth:`Channel.flush` sends it.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

__all__ = ["Channel", "DescriptorChannel"]

_PIECE = 65536
_MAX_LINE = 4 << 20
"""Bytes of a message. A longer one means that something else writes to the socket."""
_MOST_PIECES = 2 * _MAX_LINE // _PIECE
_MAX_DESCRIPTORS = 16
"""How many descriptors are received at once. Linux reads no further than the end of the piece that came with some."""


class Channel:
    """One end of the connection between the supervisor and a worker process.

    :param sock: the socket, which the channel owns.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = bytearray()
        self._has_read = False
        """Something was read."""
        self._unsent = b""
        self._lock = threading.Lock()
        """Protects ``_unsent``, and keeps the lines of two threads apart."""
        self.ended = False
        """The peer has gone, or has sent something that is no message."""
        self.is_garbled = False
        """The peer has sent something that is no message."""

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

    @property
    def is_behind(self) -> bool:
        """The peer has not read what was sent before, as far as the system knows."""
        return bool(self._unsent)

    @property
    def is_between(self) -> bool:
        """No part of a message was read, and none waits to be sent: another program can go on with the socket."""
        return not (self._buffer or self._unsent)

    def send(self, kind: str, **values: Any) -> None:
        """Send one message; it is lost if the peer has gone.

        :param kind: what the message is, its key ``type``.
        :param values: its other keys, with values that JSON has.
        """
        with self._lock:
            self._unsent += _line(kind, values)
        self.flush()

    def send_descriptor(self, fd: int, kind: str, **values: Any) -> None:
        """Send one message, and with it a copy of a descriptor, to a :class:`DescriptorChannel`. The message is lost if
        the peer does not read.
        """
        self.flush()
        line = _line(kind, values)
        with suppress(OSError), self._lock:
            sent = socket.send_fds(self.sock, [line], [fd])
            self._unsent += line[sent:]
        self.flush()

    def flush(self) -> bool:
        """Send what waits, as far as the socket takes it now; False: some waits still."""
        with self._lock:
            while self._unsent:
                try:
                    self._unsent = self._unsent[self.sock.send(self._unsent) :]
                except (BlockingIOError, InterruptedError):
                    return False
                except OSError:  # the peer has gone
                    self._unsent = b""
        return True

    def receive(self) -> list[dict[str, Any]]:
        """Read once, and return the messages that are complete. Blocks if the socket does.

        At the end of the stream :attr:`ended` is set.
        """
        try:
            data = self._read()
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            data = b""
        if not data:
            self.ended = True
            return []
        self._has_read = True
        self._buffer += data
        if b"\n" not in data:
            self._check_rest()
            return []
        *lines, rest = bytes(self._buffer).split(b"\n")
        self._buffer = bytearray(rest)
        messages = []
        try:
            for line in lines:
                message = json.loads(line)
                if not isinstance(message, dict) or not isinstance(message.get("type"), str):
                    raise ValueError
                messages.append(message)
        except (ValueError, RecursionError):
            self.ended = self.is_garbled = True
        self._check_rest()
        return messages

    def receive_all(self) -> list[dict[str, Any]]:
        """Read what has been sent so far, on a socket that does not block; for a peer that has ended."""
        messages = []
        for _ in range(_MOST_PIECES):  # a process that the peer has forked may go on sending
            self._has_read = False
            messages += self.receive()
            if self.ended or not self._has_read:
                break
        return messages

    def _check_rest(self) -> None:
        if len(self._buffer) > _MAX_LINE:
            self.ended = self.is_garbled = True

    def _read(self) -> bytes:
        return self.sock.recv(_PIECE)

    def messages(self) -> Iterator[dict[str, Any]]:
        """All messages until the end of the stream, for a socket that blocks."""
        while not self.ended:
            yield from self.receive()

    def passed(self) -> tuple[str, str]:
        """What was read and sent in part, for :meth:`adopt` in the program that this process becomes."""
        with self._lock:
            return self._buffer.decode("latin-1"), self._unsent.decode("latin-1")

    def adopt(self, unread: str, unsent: str) -> None:
        """Go on where :meth:`passed` has left off."""
        self._buffer += unread.encode("latin-1")
        self._unsent += unsent.encode("latin-1")

    def shutdown(self) -> None:
        """End the stream in both directions, also for a thread that reads. Any thread."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.sock.close()


class DescriptorChannel(Channel):
    """An end that also receives descriptors. A message that comes with one says so by its kind; the descriptors are in
    the order of these messages.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.descriptors: deque[int] = deque()
        """Those that were received. The code that takes one closes it."""

    def _read(self) -> bytes:
        data, descriptors, _, _ = socket.recv_fds(self.sock, _PIECE, _MAX_DESCRIPTORS)
        self.descriptors.extend(descriptors)
        return data

    def close(self) -> None:
        super().close()
        while self.descriptors:
            os.close(self.descriptors.popleft())


def _line(kind: str, values: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, **values}).encode() + b"\n"
