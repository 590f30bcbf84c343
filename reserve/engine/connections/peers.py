"""The other end of a connection: its address as applications see it, as the log names it, and as the system knows it.

Any thread; looks at nothing but the address that ``accept`` gave and, for UNIX sockets, one option of the socket.
"""

from __future__ import annotations

import socket
import sys
from typing import Any, NamedTuple

from reserve.engine.connections.connection import Connection

__all__ = ["Peer", "address_of", "describe", "name_of", "peer_of"]


class Peer(NamedTuple):
    """The other end of a connection, as the system knows it."""

    address: Any
    """As ``accept`` gave it: a tuple for TCP, a path (mostly empty) for UNIX sockets."""
    pid: int | None
    """The three of SO_PEERCRED: UNIX sockets on Linux only."""
    uid: int | None
    gid: int | None


def peer_of(connection: Connection) -> Peer:
    """The raw address and, on a UNIX socket, the process that connected."""
    pid = uid = gid = None
    if connection.sock.family == getattr(socket, "AF_UNIX", None) and hasattr(socket, "SO_PEERCRED"):
        raw = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid, uid, gid = (int.from_bytes(raw[at : at + 4], sys.byteorder, signed=True) for at in (0, 4, 8))
    return Peer(connection.peer, pid, uid, gid)


def address_of(raw: Any) -> tuple[str, int]:
    """(host, port) of an address as ``accept`` gave it; a v4-mapped one as IPv4, a UNIX socket's as ``("", 0)``."""
    if not isinstance(raw, tuple):
        return "", 0
    host = raw[0]
    return (host[7:] if host.startswith("::ffff:") and "." in host else host), raw[1]


def describe(connection: Connection) -> str:
    """How a log line names a request of this connection: ``GET /path from 192.0.2.1:50000``; without one the client."""
    request = connection.driver.describe()
    name = name_of(address_of(connection.peer))
    return f"{request} from {name}" if request else name


def name_of(address: tuple[str, int]) -> str:
    """How log lines name a client: ``192.0.2.1:50000``, ``[2001:db8::1]:50000``, ``unix``."""
    host, port = address
    if not host:
        return "unix"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
