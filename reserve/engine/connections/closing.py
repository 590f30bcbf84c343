"""How the socket of a connection ends: in order, or with a reset when its peer must not take what it got for the whole.

The owner of the connection calls these. :func:`shut` and :func:`abort` are also for whoever has to break off what
another thread is about, and keeps that from closing the socket meanwhile
(:meth:`~reserve.engine.connections.registry.ConnectionRegistry.while_open`).
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

from reserve.engine.disconnect import disconnect

if TYPE_CHECKING:
    from reserve.engine.connections.connection import Connection

__all__ = ["abort", "close_socket", "reset", "send_close_notify", "shut"]


def send_close_notify(connection: Connection) -> None:
    """Before our side of the connection ends: TLS has an end of its own. What still comes is not looked at."""
    tls = connection.tls
    if tls is not None and not connection.must_reset:
        tls.close_notify()
        connection.recv = tls.raw_recv


def shut(connection: Connection, how: int) -> None:
    """Shut the socket down; one that the peer has reset is down already."""
    tls = connection.tls
    with contextlib.suppress(OSError):
        if tls is None:
            connection.sock.shutdown(how)
        else:
            tls.raw_shutdown(how)


def close_socket(connection: Connection) -> None:
    """Shut down both ways and close, also under a makefile that is still alive (a forked copy is shut, too)."""
    if not connection.must_reset:  # a shutdown would be the orderly end that the peer must not see
        send_close_notify(connection)
        shut(connection, socket.SHUT_RDWR)
    fd = connection.sock.detach()
    if fd >= 0:
        with contextlib.suppress(OSError):
            socket.close(fd)


def reset(connection: Connection) -> None:
    """Make the close that follows a reset: the peer must not take what it has got for the whole."""
    connection.must_reset = True
    with contextlib.suppress(OSError):
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def abort(connection: Connection) -> None:
    """Reset it now, by whoever has to break it off, while its worker goes on or waits for it: that wakes up, and
    what it receives and sends fails. The descriptor stays open until the owner closes it.

    A UNIX socket has no reset, and its peer sees an end. Where the system cannot reset what is in use, the reset
    comes with the close, and only a worker that waits to receive is woken.
    """
    reset(connection)
    if connection.sock.family == getattr(socket, "AF_UNIX", None):
        shut(connection, socket.SHUT_RDWR)
    elif not disconnect(connection.sock.fileno()):
        shut(connection, socket.SHUT_RD)
