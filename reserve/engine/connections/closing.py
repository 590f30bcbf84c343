"""Closes, resets and shuts down the sockets of connections.

There are four verbs, and no others:

==============  ==========================================================================================
close           an orderly close: the output is sent, then close_notify under TLS, then the socket is closed
reset           a TCP reset, so that the peer does not think that the part it received is complete
shutdown_write  the server sends no more but still receives: the peer reads the response and then end-of-file
dispose         the connection leaves the registry, the budget and the timers, and its descriptor is closed
==============  ==========================================================================================

The owner of the connection calls these functions. Another thread may call :func:`shutdown` and :func:`reset_now`, to
make the owner's calls on the socket end, if it keeps the descriptor open meanwhile
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
    """End the TLS session before the socket is shut down. What the peer sends afterwards is not decrypted."""
    tls = connection.tls
    if tls is not None and not connection.must_reset:
        tls.close_notify()
        connection.tls_recv = tls.raw_recv


def shutdown_write(connection: Connection) -> None:
    """Shut down the server's side; the peer may still send."""
    _shutdown(connection, socket.SHUT_WR)


def shutdown(connection: Connection) -> None:
    """Shut down both sides; the descriptor stays open."""
    _shutdown(connection, socket.SHUT_RDWR)


def _shutdown(connection: Connection, how: int) -> None:
    tls = connection.tls
    try:  # not contextlib.suppress, which takes part of a microsecond of each connection
        if tls is None:
            connection.sock.shutdown(how)
        else:
            tls.raw_shutdown(how)
    except OSError:  # the peer has reset the connection: it is shut down already
        pass


def close_socket(connection: Connection) -> None:
    """Shut down both sides and close the descriptor.

    The shutdown also ends the connection for a ``makefile`` that is still open, and for copies in forked processes.
    """
    if not connection.must_reset:  # before a reset, a shutdown would tell the peer that the connection ended in order
        send_close_notify(connection)
        shutdown(connection)
    fd = connection.sock.detach()
    if fd >= 0:
        try:  # noqa: SIM105 - as above
            socket.close(fd)
        except OSError:
            pass


def reset(connection: Connection) -> None:
    """Turn the close that follows into a reset, or the peer would think that the part it received is complete."""
    connection.must_reset = True
    with contextlib.suppress(OSError):
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset_now(connection: Connection) -> None:
    """Reset the connection while its worker uses it or waits for it. The worker wakes up; its sends and receives fail.

    The descriptor stays open until the owner closes it. A UNIX socket has no reset: its peer sees an orderly end. If
    the system cannot reset a socket in use, the close does the reset, and only a worker that waits to receive wakes up.
    """
    reset(connection)
    if connection.sock.family == getattr(socket, "AF_UNIX", None):
        shutdown(connection)
    elif not _disconnect(connection.sock.fileno()):
        _shutdown(connection, socket.SHUT_RD)


def _disconnect(fd: int) -> bool:
    """Reset the TCP connection, but leave its descriptor open; False if the system cannot.

    Closing the descriptor is not possible: another thread still uses it, and its number may be reused for another
    connection. ``shutdown`` would be an orderly end. Linux offers a third way, ``connect`` to an address of the family
    AF_UNSPEC: the peer gets a reset, and every thread that waits for the socket wakes up.
    """
    return _libc is not None and _libc.connect(fd, _NO_ADDRESS, len(_NO_ADDRESS)) == 0
