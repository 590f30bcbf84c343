"""The server's side of a connection in memory: its socket, and as much of a server as drivers need.

Everything runs on the thread of the test, and nothing in here waits.
"""

from __future__ import annotations

import io
import logging
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

from reserve.engine.clients.places import ClientLimits, Place
from reserve.engine.connections.budget import Budget
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.peers import Peer, peer_of
from reserve.engine.drivers.handler import HandlerDriver
from reserve.engine.hooks import Hooks
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.metrics.requests import RequestMetrics
from reserve.engine.polling.clock import Clock
from reserve.engine.settings import EngineSettings
from reserve.engine.tls import ServerTLS
from reserve.errors import ClientDisconnected, UsageError, describe_exception

__all__ = ["MemoryConnection", "MemoryLog", "MemoryServer", "MemorySocket"]


class MemorySocket:
    """The server's socket of a connection in memory. The driver uses it as a socket; the test reads and writes the
    attributes.

    :param peer: the client's address.
    """

    family = socket.AF_INET

    def __init__(self, peer: tuple[str, int] = ("127.0.0.1", 50000)) -> None:
        self.peer = peer
        self.incoming = bytearray()
        """What the client has sent and the server has not received."""
        self.outgoing = bytearray()
        """What the server has sent and the client has not read."""
        self.room: int | None = None
        """Bytes that the socket still takes (None: any number)."""
        self.segment: int | None = None
        """Bytes that one receive returns at most, as if each segment arrived on its own (None: any number)."""
        self.ended = False
        """The client has shut down its side."""
        self.shut: set[int] = set()
        """The arguments that the server has called :meth:`shutdown` with (SHUT_RD, SHUT_WR, SHUT_RDWR)."""
        self._timeout: float | None = 0.0

    def fileno(self) -> int:
        return -1

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 80

    def getpeername(self) -> tuple[str, int]:
        return self.peer

    def recv(self, size: int, flags: int = 0) -> bytes:
        if not self.incoming:
            if self.ended:
                return b""
            raise self._would_wait("send")
        data = bytes(self.incoming[: size if self.segment is None else min(size, self.segment)])
        if not flags & socket.MSG_PEEK:
            del self.incoming[: len(data)]
        return data

    def send(self, data: bytes | memoryview) -> int:
        if self.room == 0:
            raise self._would_wait("read")
        count = len(data) if self.room is None else min(len(data), self.room)
        self.outgoing += data[:count]
        if self.room is not None:
            self.room -= count
        return count

    def sendall(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[self.send(view) :]

    def makefile(self, mode: str) -> io.BufferedIOBase:
        raw = _MemoryFile(self)
        if mode == "rwb":
            return io.BufferedRWPair(raw, raw)
        return io.BufferedReader(raw) if mode == "rb" else io.BufferedWriter(raw)

    def settimeout(self, timeout: float | None) -> None:
        self._timeout = timeout

    def gettimeout(self) -> float | None:
        return self._timeout

    def setblocking(self, blocking: bool) -> None:
        self._timeout = None if blocking else 0.0

    def shutdown(self, how: int) -> None:
        self.shut.add(how)

    def setsockopt(self, *option: Any) -> None:
        """Accept every option; there is nothing to set."""

    def detach(self) -> int:
        return -1

    def _would_wait(self, action: str) -> Exception:
        """What a call raises that has to wait until the client does something."""
        if self._timeout == 0.0:
            return BlockingIOError()
        return AssertionError(f"the handler waits for its client to {action}, and a client in memory cannot meanwhile")


class _MemoryFile(io.RawIOBase):
    """What :meth:`MemorySocket.makefile` buffers."""

    def __init__(self, sock: MemorySocket) -> None:
        self._sock = sock

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        try:
            data = self._sock.recv(len(buffer))
        except BlockingIOError:
            return None
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        self._sock.sendall(bytes(data))
        return len(data)


class MemoryLog(ErrorLog):
    """An error log that keeps its lines in a list."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []
        """(level as in :mod:`logging`, text), the oldest first."""

    def info(self, text: str, kind: str = "") -> None:
        self.lines.append((logging.INFO, text))

    def warning(self, text: str, kind: str = "") -> None:
        self.lines.append((logging.WARNING, text))

    def error(self, text: str, kind: str = "") -> None:
        self.lines.append((logging.ERROR, text))

    def failure(self, text: str, error: BaseException, kind: str = "") -> None:
        self.error(f"{text}\n{describe_exception(error)}")


class MemoryConnection(Connection):
    """A connection that cannot wait: while its worker waited, no other thread could send or read."""

    __slots__ = ()

    def writable_now(self) -> bool:
        return cast(MemorySocket, self.sock).room != 0

    def wait(self, timeout: float | None, *, write: bool = False, wake: int = -1) -> bool:
        action = "read" if write else "send"
        raise ClientDisconnected(f"the application waits for its client to {action}, and a client in memory cannot")


class MemoryServer:
    """As much of a server as a driver and its connection use.

    :param clock: decides about every deadline.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.settings = EngineSettings()
        self.retiring = self.stopping = False
        self.healthy = self.live = True
        self.others_wait = False
        self.budget = Budget(self.settings.buffer_memory, self.settings.spool_disk)
        self.clients = ClientLimits(self.settings)
        self.request_metrics = RequestMetrics()
        self.log = MemoryLog()
        self.hooks = Hooks()
        self.tls = ServerTLS(clock, self.log, 0.0)
        self.running: Connection | None = None
        """The connection whose run the test is in."""
        self.after_run: list[Callable[[], object]] = []
        """What is called after the run."""
        self.connections: dict[MemorySocket, tuple[Connection, Callable[[], None]]] = {}
        """Those that are open: by socket the connection, and a function that steps it."""
        self._notified: list[MemorySocket] = []

    @property
    def facade(self) -> MemoryServer:
        """What handlers get as the server."""
        return self

    # ---- for handlers ----

    def send(self, sock: MemorySocket, data: bytes) -> None:
        """As :meth:`reserve.Server.send`."""
        connection = self._find(sock)
        driver = connection.driver
        if not isinstance(driver, HandlerDriver):
            raise UsageError("send() is for connections of a plain handler")
        driver.post(memoryview(data).tobytes())
        self._notified.append(sock)

    def peer(self, sock: MemorySocket) -> Peer:
        """As :meth:`reserve.Server.peer`."""
        return peer_of(self._find(sock))

    def _find(self, sock: MemorySocket) -> Connection:
        found = self.connections.get(sock)
        if found is None:
            raise UsageError("this socket is not (or no longer) a connection of this server")
        return found[0]

    def unhealthy_reasons(self) -> tuple[str, ...]:
        return () if self.healthy else ("a test has made it so",)

    def deliver(self) -> None:
        """Step the connections that handlers have sent to."""
        while self._notified:
            _, step = self.connections.get(self._notified.pop(0), (None, None))
            if step is not None:
                step()

    # ---- for drivers ----

    def capacity_freed(self) -> None:
        """Nothing: no client waits."""

    start_thread: Any = None
    """No thread is inside ``start()``: an application is called on the thread of the test."""

    def waiting(self) -> AbstractContextManager[bool]:
        """Nothing: there are no threads that could run something else meanwhile."""
        return nullcontext(False)

    def extend_deadline(self, seconds: float) -> None:
        """Nothing: no monitor interrupts a run in memory."""

    def call_after_run(self, function: Callable[[], object]) -> None:
        self.after_run.append(function)

    def leave_after_run(self, place: Place) -> None:
        place.leave()

    def own_connection(self) -> Connection | None:
        return self.running

    def run_finished(self) -> None:
        """Nothing: no shutdown waits for it."""

    def connection_closed(self, connection: Connection) -> None:
        """Nothing: there is one connection."""

    def upgrade(self, connection: Connection) -> bool:
        return True

    def run_beside(self, connection: Connection, function: Callable[[], object]) -> bool:
        return False

    def notify(self, connection: Connection) -> None:
        self.notified = True

    def disarm(self, connection: Connection) -> None:
        pass

    def close_file(self, close: Callable[[], None], size: int) -> None:
        close()

    def flush_lent(self, connection: Connection) -> None:
        connection.return_token()
