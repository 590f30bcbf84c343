"""How the socket of a connection ends.

There are four verbs, and no others:

==============  ==========================================================================================
close           in good order: the output is sent, TLS says close_notify, and the socket is closed
reset           the peer must not take what it received for the whole, so it is told with a TCP reset
shutdown_write  our side ends while the peer's goes on: the peer reads the response and then its end
dispose         the connection leaves the registry, the budget and the timers, and its descriptor is given back
==============  ==========================================================================================

The owner of the connection calls these functions. :func:`shutdown` and :func:`reset_now` are also for a thread that has
to end what another thread does with the connection, and that keeps the descriptor open meanwhile
(:meth:`~reserve.engine.connections.registry.ConnectionRegistry.while_open`).
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import sys

from reserve.engine.connections.connection import Connection

__all__ = ["close_socket", "reset", "reset_now", "send_close_notify", "shutdown", "shutdown_write"]

_NO_ADDRESS = bytes(16)  # a sockaddr of the family AF_UNSPEC, which is 0
# PyDLL keeps the GIL: the call does not block, and it is made with a lock held.
_libc = ctypes.PyDLL(None) if sys.platform == "linux" else None


def send_close_notify(connection: Connection) -> None:
    """End the TLS session before the socket is shut down; what the peer still sends is not decrypted."""
    tls = connection.tls
    if tls is not None and not connection.must_reset:
        tls.close_notify()
        connection.recv = tls.raw_recv


def shutdown_write(connection: Connection) -> None:
    """End our side; the peer may go on sending."""
    _shutdown(connection, socket.SHUT_WR)


def shutdown(connection: Connection) -> None:
    """End both sides; the descriptor stays open."""
    _shutdown(connection, socket.SHUT_RDWR)


def _shutdown(connection: Connection, how: int) -> None:
    tls = connection.tls
    with contextlib.suppress(OSError):  # the peer has reset the connection: it is shut down already
        if tls is None:
            connection.sock.shutdown(how)
        else:
            tls.raw_shutdown(how)


def close_socket(connection: Connection) -> None:
    """Shut down both sides and close, also under a makefile that is still alive (a forked copy is shut down, too)."""
    if not connection.must_reset:  # a shutdown would be the orderly end that the peer must not see
        send_close_notify(connection)
        shutdown(connection)
    fd = connection.sock.detach()
    if fd >= 0:
        with contextlib.suppress(OSError):
            socket.close(fd)


def reset(connection: Connection) -> None:
    """Make the close that follows a reset: the peer must not take what it has received for the whole."""
    connection.must_reset = True
    with contextlib.suppress(OSError):
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset_now(connection: Connection) -> None:
    """Reset it while its worker uses it or waits for it: the worker wakes up, and what it receives and sends fails.

    The descriptor stays open until the owner closes it. A UNIX socket has no reset, and its peer sees an end. Where the
    system cannot reset a socket in use, the reset comes with the close, and only a worker that waits to receive wakes.
    """
    reset(connection)
    if connection.sock.family == getattr(socket, "AF_UNIX", None):
        shutdown(connection)
    elif not _disconnect(connection.sock.fileno()):
        _shutdown(connection, socket.SHUT_RD)


def _disconnect(fd: int) -> bool:
    """Reset the TCP connection of a descriptor that stays open; False where the system cannot.

    To close a descriptor that another thread uses would hit the connection that gets the number next, and ``shutdown``
    is the orderly end. Linux has a third way, ``connect`` to an address of no family: the peer gets a reset, and every
    waiting thread wakes up.
    """
    return _libc is not None and _libc.connect(fd, _NO_ADDRESS, len(_NO_ADDRESS)) == 0
