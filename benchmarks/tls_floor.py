"""``python -m benchmarks.tls_floor FORM PORT CERT KEY TICKETS``: the least that a TLS server in Python can do.

One thread accepts, does the handshake with the standard library's ``ssl``, reads once, writes a constant response,
writes close_notify, and closes. It has no deadlines, no checks, and serves one client at a time, so nothing of it is a
server; its processor time is what the ``ssl`` module and the kernel cost any server in Python.

``descriptor``: OpenSSL uses the socket, which blocks. ``memory``: OpenSSL uses memory, and this program receives and
sends, as :mod:`reserve.ssl.builtinsession` does. TICKETS is how many session tickets a client of TLS 1.3 gets.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
from collections.abc import Callable

__all__ = ["FORMS"]

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
    serve = FORMS[form]
    with socket.create_server(("127.0.0.1", int(port)), backlog=1024) as listener:
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

if __name__ == "__main__":
    main()
