"""What a fork inherits from a server, the child closes at once.

A child that holds a copy of a listening socket keeps the port, one that holds a copy of a connection keeps the client
waiting, and an epoll watches what a copy keeps open. The hook is registered once, when the first server starts; it
takes no lock, because the child has none of the threads that could release one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reserve.engine.server import Server

__all__ = ["forget", "watch"]

_servers: weakref.WeakSet[Server] = weakref.WeakSet()
_hooked = False


def watch(server: Server) -> None:
    """From now on a forked child closes its copies of what this server has open."""
    global _hooked
    _servers.add(server)
    if not _hooked and hasattr(os, "register_at_fork"):
        _hooked = True
        os.register_at_fork(after_in_child=_close_all)


def forget(server: Server) -> None:
    """The server has closed everything itself."""
    _servers.discard(server)


def _close_all() -> None:
    for server in list(_servers):
        _close_copies(server)
    _servers.clear()


def _close_copies(server: Server) -> None:
    """Close this child's copies of every descriptor of the server. Takes no lock, shuts nothing down.

    Each is closed through the object that holds it, which forgets the number: one that remembered it would close, when
    it is collected, whatever the child has opened meanwhile. The server has ended for the child: a handler that
    returns there finds no queue, and a stop has nothing to wait for.
    """
    runtime, lifecycle = server._runtime, server._lifecycle
    queue, acceptor = runtime.queue, runtime.acceptor
    sockets = [*server._endpoints.listeners, *(connection.sock for connection in queue.connections.values())]
    for sock in sockets:
        fd = sock.detach()
        if fd >= 0:
            with contextlib.suppress(OSError):
                socket.close(fd)
    server.stopping = queue.closed = queue.abandoned = True
    for wakeup in (runtime.poller.wakeup, acceptor.wakeup):
        wakeup.after_fork()
    server.log.after_fork()
    runtime.poller.close()
    acceptor.wakeup.close()
    lifecycle.finished = threading.Event()  # the lock in the old one may belong to a thread that is not here
    lifecycle.finished.set()
    if lifecycle.signal_wakeup is not None:
        lifecycle.signal_wakeup.after_fork(lifecycle.finished)
