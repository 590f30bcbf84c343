"""Clients on real sockets, as the tests of several folders need them."""

from __future__ import annotations

import itertools
import os
import socket
import ssl
import struct
from typing import Any

from tests.waiting import PATIENCE


def connect(address: Any, *, window: int = 0) -> socket.socket:
    """A client that waits for :data:`tests.waiting.PATIENCE` at most.

    :param window: the bytes that its system receives for it when it does not read; 0 for the system's default.
    """
    client = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    try:
        client.settimeout(PATIENCE)
        if window:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        client.connect(address)
    except BaseException:
        client.close()
        raise
    return client


def until_closed(client: socket.socket) -> tuple[bytes, bool]:
    """Everything that arrives until the server closes the connection; True when it was reset.

    Under TLS: True when it was closed without close_notify. (Some versions of ``ssl`` take a reset for that.)
    """
    received = bytearray()
    try:
        while data := client.recv(65536):
            received += data
    except (ConnectionResetError, ssl.SSLEOFError):
        return bytes(received), True
    return bytes(received), False


def receive(client: socket.socket, count: int) -> bytes:
    """Exactly ``count`` bytes; the test fails when the connection ends before."""
    data = b""
    while len(data) < count:
        piece = client.recv(count - len(data))
        assert piece, f"the connection ended after {data!r}"
        data += piece
    return data


def receive_all(client: socket.socket) -> bytes:
    """Everything until the peer closes. A reset raises; :func:`until_closed` reports it."""
    return b"".join(iter(lambda: client.recv(65536), b""))


def close_with_reset(client: socket.socket) -> None:
    """Close with a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


_ports = itertools.count()


def free_port() -> int:
    """A free port of the loopback interface, for a program that has to be given a number.

    It is below the ports that systems give to clients: otherwise the client of a parallel test could get it meanwhile.
    """
    while True:
        port = 12000 + (os.getpid() * 61 + next(_ports)) % 18000
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
