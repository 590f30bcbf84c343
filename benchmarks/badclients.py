"""Crowds of bad clients, held by one helper thread; and a flood that opens and resets connections.

A :class:`Script` says what each client of a crowd does. The thread never blocks: it notes when each client was
connected, had sent its part, was answered, and was cut off by the server. Only ever towards the address it is given.
Linux: epoll reports a hang-up to a client that does not read.
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
"""Connections under way at the same time: less than a usual listen backlog, so that the crowd does not delay itself."""
_PATIENCE = 1.0
"""Seconds after which more are opened although the first are still under way."""
_KEPT = 512
"""Octets of an answer that are kept, for the statuses in them."""
_TICK = 0.1
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, kw_only=True)
class Script:
    """What one bad client does."""

    first: bytes = b""
    """Sent as soon as it is connected."""
    drip: bytes = b""
    """Sent again and again, one every ``every`` seconds."""
    every: float = 1.0
    reads: bool = True
    """False: it never reads, and its receive buffer is small."""
    awaits: bool = False
    """It is in place only when it has been answered."""


@dataclass(eq=False)
class _Client:
    sock: socket.socket
    rest: memoryview
    connected: bool = False
    sent_at: float | None = None
    answered: bool = False
    cut_at: float | None = None
    received: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """A picture of the crowd. Times are seconds after that client had sent its part (or connected, or tried to)."""

    wanted: int
    connected: int
    in_place: int
    still_there: int
    """Connected and not cut off."""
    cuts: tuple[float, ...] = ()
    statuses: dict[str, int] = field(default_factory=dict)
    """How often each status was received."""


class BadClients:
    """``count`` clients that follow one script, from :meth:`start` to :meth:`close`."""

    def __init__(self, address: tuple[str, int], count: int, script: Script) -> None:
        self._address = address
        self._count = count
        self._script = script
        self._clients: list[_Client] = []
        self._by_fd: dict[int, _Client] = {}
        self._epoll = select.epoll()
        self._closing = False
        self._open = 0
        self._placed = 0
        self._lost = 0
        self._gone = 0
        self._all_placed = threading.Event()
        self._all_cut = threading.Event()
        self._thread = threading.Thread(target=self._main, name="bad-clients", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait_in_place(self, timeout: float) -> bool:
        """Until every one that was not cut off has sent its part, and was answered if its script says so."""
        return self._all_placed.wait(timeout)

    def wait_all_cut(self, timeout: float) -> bool:
        return self._all_cut.wait(timeout)

    def picture(self) -> Crowd:
        clients = self._clients[:]
        statuses: Counter[str] = Counter()
        for client in clients:
            statuses.update(found.decode() for found in _STATUS.findall(bytes(client.received)))
        connected = sum(client.connected for client in clients)
        gone = sum(client.cut_at is not None for client in clients if client.connected)
        return Crowd(
            wanted=self._count,
            connected=connected,
            in_place=self._placed,
            still_there=connected - gone,
            cuts=tuple(
                sorted(client.cut_at - (client.sent_at or client.cut_at) for client in clients if client.cut_at)
            ),
            statuses=dict(sorted(statuses.items())),
        )

    def close(self) -> None:
        """Close every connection and end the thread."""
        self._closing = True
        self._thread.join()

    def _main(self) -> None:
        try:
            began = time.monotonic()
            next_drip = began + self._script.every
            while not self._closing:
                self._open_more(time.monotonic() - began)
                for fd, mask in self._epoll.poll(_TICK, 4096):
                    self._serve(self._by_fd[fd], mask)
                now = time.monotonic()
                if self._script.drip and now >= next_drip:
                    next_drip = now + self._script.every
                    self._drip()
        finally:
            self._epoll.close()
            for client in self._clients:
                client.sock.close()

    def _open_more(self, elapsed: float) -> None:
        limit = self._count if elapsed > _PATIENCE else self._placed + self._lost + _AT_ONCE
        while self._open < min(limit, self._count):
            sock = socket.socket()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not self._script.reads:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self._open += 1
            code = sock.connect_ex(self._address)
            if code not in _CONNECTING:
                sock.close()
                raise OSError(code, "a bad client cannot connect")
            client = _Client(sock, memoryview(self._script.first))
            self._clients.append(client)
            self._by_fd[sock.fileno()] = client
            self._epoll.register(sock, select.EPOLLOUT | select.EPOLLRDHUP)

    def _serve(self, client: _Client, mask: int) -> None:
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
            self._cut(client)

    def _send(self, client: _Client) -> None:
        code = client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, "not connected")
        client.connected = True
        while client.rest:
            client.rest = client.rest[client.sock.send(client.rest) :]
        client.sent_at = time.monotonic()
        self._epoll.modify(client.sock, select.EPOLLRDHUP | (select.EPOLLIN if self._script.reads else 0))
        if not self._script.awaits:
            self._in_place()

    def _receive(self, client: _Client) -> None:
        piece = client.sock.recv(65536)
        if not piece:
            raise ConnectionResetError
        client.received += piece[: _KEPT - len(client.received)]
        if self._script.awaits and not client.answered:
            self._in_place()
        client.answered = True

    def _drip(self) -> None:
        for client in self._clients:
            if client.sent_at is not None and client.cut_at is None:
                try:
                    client.sock.send(self._script.drip)
                except BlockingIOError:
                    pass
                except OSError:
                    self._cut(client)

    def _in_place(self) -> None:
        self._placed += 1
        self._look()

    def _cut(self, client: _Client) -> None:
        if client.cut_at is not None:
            return
        client.cut_at = time.monotonic()
        self._gone += 1
        self._epoll.unregister(client.sock)
        if client.sent_at is None or (self._script.awaits and not client.answered):
            self._lost += 1
        self._look()

    def _look(self) -> None:
        if self._placed + self._lost >= self._count:
            self._all_placed.set()
        if self._gone == self._count:
            self._all_cut.set()


class Flood:
    """Opens connections and resets them at once, at a rate, for some seconds; in a process of its own."""

    def __init__(self, address: tuple[str, int], rate: int, seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._ready = context.Event()
        self._opened = context.Value("q", 0)
        arguments = (address, rate, seconds, self._ready, self._opened)
        self._process = context.Process(target=_flood, args=arguments, daemon=True)

    def start(self) -> None:
        """Return when the first connection is being opened."""
        self._process.start()
        self._ready.wait(20)

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def close(self) -> int:
        """Wait for the end; how many connections were opened."""
        self._process.join(60)
        return int(self._opened.value)


def _flood(address: tuple[str, int], rate: int, seconds: float, ready, opened) -> None:  # type: ignore[no-untyped-def]
    ready.set()
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < seconds:
        due = int(elapsed * rate) - opened.value
        for _ in range(due):
            # On the loopback interface the handshake is over when connect() returns; a full backlog loses the attempt.
            with socket.socket() as sock:
                sock.setblocking(False)
                sock.connect_ex(address)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            opened.value += 1
            if time.monotonic() - began >= seconds:
                return
        time.sleep(0.001)
