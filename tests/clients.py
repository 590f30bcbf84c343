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


def until_cut(client: socket.socket) -> tuple[bytes, bool]:
    """Everything that comes until the server ends the connection; True when it ended with a reset.

    Under TLS: True when it ended without close_notify. (Some versions of ``ssl`` take a reset for an end.)
    """
    got = bytearray()
    try:
        while data := client.recv(65536):
            got += data
    except (ConnectionResetError, ssl.SSLEOFError):
        return bytes(got), True
    return bytes(got), False


def tear(client: socket.socket) -> None:
    """Close with a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


_ports = itertools.count()


def free_port() -> int:
    """A port of the loopback interface that nobody has, for a program that has to be told one.

    Below those that systems give to clients: the client of a test beside this one would have it a moment later.
    """
    while True:
        port = 12000 + (os.getpid() * 61 + next(_ports)) % 18000
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
