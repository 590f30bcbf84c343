"""The server's end of a connection that exists in memory only: its socket, and as much of a server as drivers ask for.

Nothing in here waits, and everything runs on the thread of the test.
"""

from __future__ import annotations

import logging
import socket
import traceback
from typing import Any

from reserve.engine.connections.budget import Budget
from reserve.engine.connections.connection import Connection
from reserve.engine.hooks import Hooks
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.clock import Clock
from reserve.engine.settings import EngineSettings
from reserve.engine.tls import ServerTLS
from reserve.errors import ClientDisconnected

__all__ = ["MemoryConnection", "MemoryLog", "MemoryServer", "MemorySocket"]


class MemorySocket:
    """The server's end of a connection that exists in memory only.

    :param peer: the client's address.
    """

    family = socket.AF_INET

    def __init__(self, peer: tuple[str, int] = ("127.0.0.1", 50000)) -> None:
        self.peer = peer
        self.incoming = bytearray()
        """What the client has sent and the server has not received."""
        self.outgoing = bytearray()
        """What the server has sent and the client has not taken."""
        self.room: int | None = None
        """Octets that a send still takes (None: any number)."""
        self.segment: int | None = None
        """Octets that one receive gives at most, as if each segment arrived for itself (None: any number)."""
        self.ended = False
        """The client has shut down its side."""
        self.shut: set[int] = set()
        """How the server has shut it down (SHUT_RD, SHUT_WR, SHUT_RDWR)."""

    def fileno(self) -> int:
        return -1

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 80

    def recv(self, size: int, flags: int = 0) -> bytes:
        if not self.incoming:
            if self.ended:
                return b""
            raise BlockingIOError
        data = bytes(self.incoming[: size if self.segment is None else min(size, self.segment)])
        if not flags & socket.MSG_PEEK:
            del self.incoming[: len(data)]
        return data

    def send(self, data: bytes | memoryview) -> int:
        if self.room == 0:
            raise BlockingIOError
        count = len(data) if self.room is None else min(len(data), self.room)
        self.outgoing += data[:count]
        if self.room is not None:
            self.room -= count
        return count

    def shutdown(self, how: int) -> None:
        self.shut.add(how)

    def setsockopt(self, *option: Any) -> None:
        """Accept every option; there is nothing to set."""

    def detach(self) -> int:
        return -1


class MemoryLog(ErrorLog):
    """Kept as a list, in the order of events."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []

    def info(self, text: str, kind: str = "") -> None:
        self.lines.append((logging.INFO, text))

    def warning(self, text: str, kind: str = "") -> None:
        self.lines.append((logging.WARNING, text))

    def error(self, text: str, kind: str = "") -> None:
        self.lines.append((logging.ERROR, text))

    def failure(self, text: str, error: BaseException, kind: str = "") -> None:
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()
        self.error(f"{text}\n{trace}")


class MemoryConnection(Connection):
    """One that cannot wait."""

    __slots__ = ()

    def wait(self, timeout: float | None, *, write: bool = False, wake: int = -1) -> bool:
        what = "read" if write else "send"
        raise ClientDisconnected(f"the application waits for its client to {what}, and a client in memory cannot")


class MemoryServer:
    """What a driver asks of its server: a :class:`~reserve.engine.connections.context.ServerContext`."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.settings = EngineSettings()
        self.stopping = False
        self.healthy = True
        self.others_wait = False
        self.budget = Budget(self.settings.buffer_memory, self.settings.spool_disk)
        self.log = MemoryLog()
        self.hooks = Hooks()
        self.tls = ServerTLS(clock, self.log, 0.0)

    def capacity_freed(self) -> None:
        """Nothing: no client waits."""

    def connection_closed(self, connection: Connection) -> None:
        """Nothing: there is one connection."""

    def flush_lent(self, connection: Connection) -> None:
        connection.return_token()
