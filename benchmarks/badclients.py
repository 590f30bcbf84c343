"""Crowds of bad clients, which one helper thread runs; and a flood that opens and resets connections.

A :class:`Script` says what each client of a crowd does. The thread never blocks: it notes when each client connected,
had sent its part, got a response, and was disconnected by the server. The clients connect only to the address that the
caller gives. Linux only: epoll reports a closed connection to a client that does not read.
"""

from __future__ import annotations

import errno
import multiprocessing
import re
import select
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

_CONNECTING = (0, errno.EINPROGRESS)
_AT_ONCE = 512
"""Connections being opened at the same time: fewer than a usual listen backlog, so that the crowd is not slowed down.
"""
_OPEN_ALL_AFTER = 1.0
"""Seconds after which all other connections are opened although the first ones are not complete."""
_KEPT = 512
"""Bytes of a response that are kept, for the statuses in them."""
_TICK = 0.1
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, kw_only=True)
class Script:
    """What one bad client does."""

    first: bytes = b""
    """Sent as soon as the client is connected."""
    drip: bytes = b""
    """Sent again every ``every`` seconds."""
    every: float = 1.0
    reads: bool = True
    """False: the client never reads, and its receive buffer is small."""
    awaits: bool = False
    """True: the client is in place only when it has received a response."""
    source: str = ""
    """The address that the clients connect from; empty: the same as the honest client."""


@dataclass(eq=False)
class _Client:
    """One connection. Only the thread of its crowd changes it."""

    sock: socket.socket
    unsent: memoryview
    connected: bool = False
    sent_at: float | None = None
    responded: bool = False
    closed_at: float | None = None
    received: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """The state of a crowd at one moment."""

    wanted: int
    connected: int
    in_place: int
    still_there: int
    """Connected, and not disconnected by the server."""
    closed_after: tuple[float, ...] = ()
    """For each client that the server disconnected: seconds since it had sent its part, or 0. In ascending order."""
    statuses: dict[str, int] = field(default_factory=dict)
    """How often each status was received."""


class BadClients:
    """``count`` clients that follow one script, from :meth:`start` to :meth:`close`.

    The caller's thread starts, waits and closes; one thread of its own owns all sockets.
    """

    def __init__(self, address: tuple[str, int], count: int, script: Script) -> None:
        self._address = address
        self._count = count
        self._script = script
        self._clients: list[_Client] = []
        self._by_fd: dict[int, _Client] = {}
        self._epoll = select.epoll()
        self._closing = False
        self._open = 0
        self._in_place = 0
        self._failed = 0
        self._closed = 0
        self._all_in_place = threading.Event()
        self._all_closed = threading.Event()
        self._thread = threading.Thread(target=self._main, name="bad-clients", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait_in_place(self, timeout: float) -> bool:
        """Wait until every client is in place or disconnected. False: the time is over."""
        return self._all_in_place.wait(timeout)

    def wait_all_closed(self, timeout: float) -> bool:
        """Wait until the server has disconnected every client. False: the time is over."""
        return self._all_closed.wait(timeout)

    def snapshot(self) -> Crowd:
        """The state of the crowd now."""
        clients = self._clients[:]
        statuses: Counter[str] = Counter()
        for client in clients:
            statuses.update(status.decode() for status in _STATUS.findall(bytes(client.received)))
        connected = sum(client.connected for client in clients)
        closed = sum(client.closed_at is not None for client in clients if client.connected)
        return Crowd(
            wanted=self._count,
            connected=connected,
            in_place=self._in_place,
            still_there=connected - closed,
            closed_after=tuple(
                sorted(
                    client.closed_at - (client.sent_at or client.closed_at) for client in clients if client.closed_at
                )
            ),
            statuses=dict(sorted(statuses.items())),
        )

    def close(self) -> None:
        """Close every connection and end the thread."""
        self._closing = True
        self._thread.join()

    def _main(self) -> None:
        try:
            start = time.monotonic()
            next_drip = start + self._script.every
            while not self._closing:
                self._open_more(time.monotonic() - start)
                for fd, mask in self._epoll.poll(_TICK, 4096):
                    self._handle(self._by_fd[fd], mask)
                now = time.monotonic()
                if self._script.drip and now >= next_drip:
                    next_drip = now + self._script.every
                    self._drip()
        finally:
            self._epoll.close()
            for client in self._clients:
                client.sock.close()

    def _open_more(self, elapsed: float) -> None:
        limit = self._count if elapsed > _OPEN_ALL_AFTER else self._in_place + self._failed + _AT_ONCE
        while self._open < min(limit, self._count):
            sock = socket.socket()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not self._script.reads:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            if self._script.source:
                sock.bind((self._script.source, 0))
            self._open += 1
            code = sock.connect_ex(self._address)
            if code not in _CONNECTING:
                sock.close()
                raise OSError(code, "a bad client cannot connect")
            client = _Client(sock, memoryview(self._script.first))
            self._clients.append(client)
            self._by_fd[sock.fileno()] = client
            self._epoll.register(sock, select.EPOLLOUT | select.EPOLLRDHUP)

    def _handle(self, client: _Client, mask: int) -> None:
        try:
            if mask & select.EPOLLERR and not self._script.reads:
                raise ConnectionResetError
            if mask & select.EPOLLOUT and client.sent_at is None:
                self._send(client)
            if mask & select.EPOLLIN and self._script.reads:
                self._receive(client)
            elif mask & (select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR):
                raise ConnectionResetError
        except BlockingIOError:
            pass
        except OSError:
            self._note_closed(client)

    def _send(self, client: _Client) -> None:
        code = client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, "not connected")
        client.connected = True
        while client.unsent:
            client.unsent = client.unsent[client.sock.send(client.unsent) :]
        client.sent_at = time.monotonic()
        self._epoll.modify(client.sock, select.EPOLLRDHUP | (select.EPOLLIN if self._script.reads else 0))
        if not self._script.awaits:
            self._note_in_place()

    def _receive(self, client: _Client) -> None:
        piece = client.sock.recv(65536)
        if not piece:
            raise ConnectionResetError
        client.received += piece[: _KEPT - len(client.received)]
        if self._script.awaits and not client.responded:
            self._note_in_place()
        client.responded = True

    def _drip(self) -> None:
        for client in self._clients:
            if client.sent_at is not None and client.closed_at is None:
                try:
                    client.sock.send(self._script.drip)
                except BlockingIOError:
                    pass
                except OSError:
                    self._note_closed(client)

    def _note_in_place(self) -> None:
        self._in_place += 1
        self._set_events()

    def _note_closed(self, client: _Client) -> None:
        if client.closed_at is not None:
            return
        client.closed_at = time.monotonic()
        self._closed += 1
        self._epoll.unregister(client.sock)
        if client.sent_at is None or (self._script.awaits and not client.responded):
            self._failed += 1
        self._set_events()

    def _set_events(self) -> None:
        if self._in_place + self._failed >= self._count:
            self._all_in_place.set()
        if self._closed == self._count:
            self._all_closed.set()


class Flood:
    """Opens connections at a rate and resets each at once, for some seconds, in a process of its own."""

    def __init__(self, address: tuple[str, int], rate: int, seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._ready = context.Event()
        self._opened = context.Value("q", 0)
        arguments = (address, rate, seconds, self._ready, self._opened)
        self._process = context.Process(target=_flood, args=arguments, daemon=True)

    def start(self) -> None:
        """Start the process; return when it is about to open the first connection."""
        self._process.start()
        self._ready.wait(20)

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def close(self) -> int:
        """Wait for the end; return how many connections were opened."""
        self._process.join(60)
        return int(self._opened.value)


def _flood(address: tuple[str, int], rate: int, seconds: float, ready, opened) -> None:  # type: ignore[no-untyped-def]
    ready.set()
    start = time.monotonic()
    while (elapsed := time.monotonic() - start) < seconds:
        due = int(elapsed * rate) - opened.value
        for _ in range(due):
            # On the loopback interface the handshake is over when connect() returns; a full backlog loses the attempt.
            with socket.socket() as sock:
                sock.setblocking(False)
                sock.connect_ex(address)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            opened.value += 1
            if time.monotonic() - start >= seconds:
                return
        time.sleep(0.001)
