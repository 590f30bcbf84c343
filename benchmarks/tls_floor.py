"""``python -m benchmarks.tls_floor FORM PORT CERT KEY TICKETS``: the least that a TLS server in Python can do.

It accepts, does the handshake with the standard library's ``ssl``, reads once, writes a constant response, writes
close_notify, and closes. It has no deadlines, no checks and no limits, so nothing of it is a server; its processor time
is what the ``ssl`` module, the kernel and the threads cost any server in Python. The forms, each with more of what a
server cannot do without:

``descriptor``: one client at a time, and OpenSSL uses the socket, which blocks.
``memory``: the same, but OpenSSL uses memory, and this program receives and sends.
``loop``: many clients on one thread, which epoll tells who has sent something. Only on Linux, as the next two.
``accepting``: the same, with a second thread that accepts.
``watched``: the same, with a third thread that looks each millisecond, as reserve's monitor, at nothing.

TICKETS is how many session tickets a client of TLS 1.3 gets.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

__all__ = ["FORMS", "LOOPS"]

_RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\nDate: Mon, 30 Nov 2026 12:00:00 GMT\r\n"
    b"Server: floor\r\nConnection: close\r\n\r\nHello, world!\n"
)
_RECEIVE_SIZE = 17408
"""Bytes: a record and a little more."""
_TIMEOUT = 10.0
"""Seconds that one client may keep the others waiting."""


def main() -> None:
    """Serve until the process is ended."""
    form, port, cert, key, tickets = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.num_tickets = int(tickets)
    with socket.create_server(("127.0.0.1", int(port)), backlog=1024) as listener:
        if form in LOOPS:
            LOOPS[form](context, listener)
        serve = FORMS[form]
        while True:
            sock, _ = listener.accept()
            sock.settimeout(_TIMEOUT)
            with contextlib.suppress(OSError), sock:
                serve(context, sock)


def _descriptor(context: ssl.SSLContext, sock: socket.socket) -> None:
    with context.wrap_socket(sock, server_side=True) as tls:
        tls.recv(_RECEIVE_SIZE)
        tls.sendall(_RESPONSE)
        tls.setblocking(False)
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()


def _memory(context: ssl.SSLContext, sock: socket.socket) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)

    def receive() -> None:
        data = sock.recv(_RECEIVE_SIZE)
        if not data:
            raise ConnectionAbortedError
        incoming.write(data)

    while True:
        receive()
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            if outgoing.pending:
                sock.sendall(outgoing.read())
        else:
            break
    if outgoing.pending:
        sock.sendall(outgoing.read())  # the tickets
    while True:
        try:
            tls.read(_RECEIVE_SIZE)
            break
        except ssl.SSLWantReadError:
            receive()
    tls.write(_RESPONSE)
    sock.sendall(outgoing.read())
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.unwrap()
    sock.sendall(outgoing.read())


FORMS: dict[str, Callable[[ssl.SSLContext, socket.socket], None]] = {"descriptor": _descriptor, "memory": _memory}
"""By name: what serves one client, whose socket the caller closes."""


class _Client:
    """One client of a loop; :meth:`step` never waits."""

    __slots__ = ("_done", "_incoming", "_outgoing", "_tls", "sock", "watched")

    def __init__(self, context: ssl.SSLContext, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.watched = False
        self._done = False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def step(self) -> bool:
        """Go on until the client has to send something (False), or has all (True)."""
        receive, send, incoming, outgoing, tls = (
            self.sock.recv,
            self.sock.send,
            self._incoming,
            self._outgoing,
            self._tls,
        )
        try:
            while True:
                data = receive(_RECEIVE_SIZE)
                if not data:
                    return True
                incoming.write(data)
                try:
                    if not self._done:
                        tls.do_handshake()
                        self._done = True
                        send(outgoing.read())  # the tickets
                        if not incoming.pending:
                            continue
                    tls.read(_RECEIVE_SIZE)
                except ssl.SSLWantReadError:
                    if outgoing.pending:
                        send(outgoing.read())
                        return False
                    continue
                tls.write(_RESPONSE)
                send(outgoing.read())
                with contextlib.suppress(ssl.SSLWantReadError):
                    tls.unwrap()
                send(outgoing.read())
                return True
        except BlockingIOError:
            return False
        except OSError:
            return True


class _Loop:
    """Steps the clients of one listener, on the thread that calls :meth:`run`."""

    def __init__(self, context: ssl.SSLContext, listener: socket.socket) -> None:
        self._context = context
        self._listener = listener
        self._poller = select.epoll()
        self._clients: dict[int, _Client] = {}
        self._accepted: deque[socket.socket] = deque()
        self._woken, self._waker = socket.socketpair()
        self._sleeps = False

    def run(self, *threads: Callable[[], None]) -> None:
        """Serve for ever; without ``threads``, which accept, on this thread alone."""
        listener, woken, accepted = self._listener.fileno(), self._woken.fileno(), self._accepted
        self._poller.register(woken, select.EPOLLIN)
        if not threads:
            self._listener.setblocking(False)
            self._poller.register(listener, select.EPOLLIN)
        for each in threads:
            threading.Thread(target=each, daemon=True).start()
        while True:
            self._sleeps = True  # before the look: who appends afterwards sees it
            events = self._poller.poll(0 if accepted else None)
            self._sleeps = False
            for fd, _ in events:
                if fd == listener:
                    with contextlib.suppress(BlockingIOError):
                        self._step(_Client(self._context, self._listener.accept()[0]))
                elif fd == woken:
                    self._woken.recv(64)
                else:
                    self._step(self._clients[fd])
            while accepted:
                self._step(_Client(self._context, accepted.popleft()))

    def accept(self) -> None:
        """The thread that accepts."""
        while True:
            self._accepted.append(self._listener.accept()[0])
            if self._sleeps:
                self._waker.send(b"x")

    def _step(self, client: _Client) -> None:
        fd = client.sock.fileno()
        if client.step():
            if client.watched:
                self._poller.unregister(fd)
                del self._clients[fd]
            client.sock.close()
        elif client.watched:
            self._poller.modify(fd, select.EPOLLIN | select.EPOLLONESHOT)
        else:
            client.watched = True
            self._clients[fd] = client
            self._poller.register(fd, select.EPOLLIN | select.EPOLLONESHOT)


def _watch() -> None:
    while True:
        time.sleep(0.001)


def _alone(context: ssl.SSLContext, listener: socket.socket) -> None:
    _Loop(context, listener).run()


def _accepting(context: ssl.SSLContext, listener: socket.socket) -> None:
    loop = _Loop(context, listener)
    loop.run(loop.accept)


def _watched(context: ssl.SSLContext, listener: socket.socket) -> None:
    loop = _Loop(context, listener)
    loop.run(loop.accept, _watch)


LOOPS: dict[str, Callable[[ssl.SSLContext, socket.socket], None]] = {
    "loop": _alone,
    "accepting": _accepting,
    "watched": _watched,
}
"""By name: what serves every client of a listener, and does not return."""

if __name__ == "__main__":
    main()
