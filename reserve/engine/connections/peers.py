"""The peer of a connection: its address for applications, its name for the log, and what the system knows about it.

Any thread calls it. It uses only the address that ``accept`` returned and, for UNIX sockets, one socket option.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from reserve.engine.connections.connection import Connection
from reserve.sockets.proxies import trusted_proxies

if TYPE_CHECKING:
    from reserve.protocol.proxy.header import ProxyHeader

__all__ = ["Peer", "address_of", "describe", "is_proxy", "name_of", "name_of_client", "peer_of"]


_CREDENTIALS = struct.Struct("iii")
"""SO_PEERCRED: pid, uid and gid."""


class _Peer(NamedTuple):
    address: Any
    """The client's, as ``accept`` returns addresses: a tuple for TCP, a path (mostly empty) for UNIX sockets. After a
    header of the PROXY protocol with an address, that one.
    """
    pid: int | None
    """``pid``, ``uid`` and ``gid`` come from SO_PEERCRED; None: it is no UNIX socket on Linux."""
    uid: int | None
    gid: int | None


class Peer(_Peer):
    """The other end of a connection, as the system knows it, a tuple of four; and the client behind a frontend, if one
    was named.
    """

    proxy: ProxyHeader | None = None
    """The header of the PROXY protocol that the connection began with. Then ``pid``, ``uid`` and ``gid`` are the
    frontend's. None: there was none.
    """
    proxy_address: Any = None
    """The frontend's address, if ``proxy`` is set; None also if the system does not know it any more."""


def peer_of(connection: Connection) -> Peer:
    """The raw address, on a UNIX socket the process that connected, and what a frontend says of its client."""
    pid = uid = gid = None
    if connection.sock.family == getattr(socket, "AF_UNIX", None) and hasattr(socket, "SO_PEERCRED"):
        raw = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, gid = _CREDENTIALS.unpack(raw)
    peer = Peer(connection.peer, pid, uid, gid)
    header = connection.proxy
    if header is None:
        return peer
    try:
        frontend = connection.sock.getpeername()
    except OSError:
        frontend = None
    peer.proxy, peer.proxy_address = header, frontend
    return peer


def address_of(raw: Any) -> tuple[str, int]:
    """(host, port) of an address as ``accept`` gave it; a v4-mapped one as IPv4, a UNIX socket's as ``("", 0)``."""
    if not isinstance(raw, tuple):
        return "", 0
    host = raw[0]
    return (host[7:] if host.startswith("::ffff:") and "." in host else host), raw[1]


def is_proxy(connection: Connection) -> bool:
    """Whether the peer is one of ``--trusted-proxies``; the client that it has named, after a header of the PROXY
    protocol.
    """
    proxies = trusted_proxies(connection.server.settings.trusted_proxies)
    header = connection.proxy
    if header is None or header.local:
        return proxies.trusts_peer(connection.peer)
    return isinstance(header.source, tuple) and proxies.trusts(header.source[0])


def describe(connection: Connection) -> str:
    """The name of the current request in log lines: ``GET /path from 192.0.2.1:50000``; only the client without one."""
    request = connection.driver.describe()
    name = name_of_client(connection)
    return f"{request} from {name}" if request else name


def name_of_client(connection: Connection) -> str:
    """The name of the client in log lines: that of the peer, after the client that a trusted frontend has named in its
    current request: ``203.0.113.9 through 192.0.2.1:50000``.
    """
    client = connection.driver.client()
    name = name_of(address_of(connection.peer))
    return f"{client} through {name}" if client else name


def name_of(address: tuple[str, int]) -> str:
    """The name of a client in log lines: ``192.0.2.1:50000``, ``[2001:db8::1]:50000``, ``unix``."""
    host, port = address
    if not host:
        return "unix"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
