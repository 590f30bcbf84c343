"""Opens the listening socket of an address as cheroot has it: ``(host, port)``, a UNIX socket, or an inherited one.

Runs on the thread that calls ``prepare()``. Failures are OSError, as programs for cheroot expect them.
"""

from __future__ import annotations

import os
import socket
import sys

from reserve.errors import ReserveError
from reserve.sockets.listeners import listen

__all__ = ["inherited", "open_tcp", "open_unix", "resolve"]

_FIRST_INHERITED = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3)
UNIX_MODE = 0o777
"""cheroot's: every user of the machine may connect. The directory of the socket can restrict that."""


def inherited() -> list[socket.socket]:
    """Duplicates of the sockets that systemd has passed; empty: none.

    As in cheroot, ``LISTEN_PID`` may name another process (one that has made a daemon of itself), and the variables
    stay, so that the program can start once more.
    """
    if not os.environ.get("LISTEN_PID"):
        return []
    count = int(os.environ.get("LISTEN_FDS") or 1)
    return [socket.socket(fileno=os.dup(_FIRST_INHERITED + number)) for number in range(count)]


def resolve(host: str, port: int) -> list[tuple[int, int, int]]:
    """Family, type and protocol of each address that a host has, in the order in which they are tried."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror:
        # The machine may have no resolver at all, and the host may be an address.
        return [(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, 0)]
    return list(dict.fromkeys((int(family), int(kind), protocol) for family, kind, protocol, _, _ in found))


def open_tcp(
    host: str, port: int, family: int, kind: int, protocol: int, *, reuse_port: bool, backlog: int
) -> socket.socket:
    """Bind and listen.

    :param reuse_port: other processes may listen on the same address (SO_REUSEPORT).
    :param backlog: connections that the kernel queues (listen(2)).
    """
    sock = socket.socket(family, kind, protocol)
    try:
        if reuse_port:
            if not hasattr(socket, "SO_REUSEPORT"):
                raise OSError("reuse_port=True: this system has no SO_REUSEPORT")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if sys.platform == "win32":  # here SO_REUSEADDR would let another program take over the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host in ("::", "::0"):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((host, port))
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def open_unix(path: str | bytes, backlog: int) -> socket.socket:
    """Listen on a UNIX socket. A name that begins with NUL is abstract (Linux). The server removes the file."""
    name = os.fsdecode(path)
    abstract = name.startswith("\0")
    try:
        if abstract:
            (sock,) = listen(f"unix:@{name[1:]}", backlog=backlog)
        else:
            (sock,) = listen(f"unix:{name}", backlog=backlog, unix_mode=UNIX_MODE)
    except ReserveError as error:
        raise OSError(str(error)) from error
    return sock
