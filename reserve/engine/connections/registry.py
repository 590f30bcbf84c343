"""Every connection of a server that is open: from the accept thread that admits it to the owner that forgets it.

A descriptor's number belongs to a newcomer as soon as it is closed. So the owner forgets a connection before it closes
the socket, under the lock in which others look at it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from reserve.engine.connections.states import CLOSED

if TYPE_CHECKING:
    from reserve.engine.connections.connection import Connection
    from reserve.engine.polling.poller import Poller
    from reserve.engine.polling.timers import Timers

__all__ = ["ConnectionRegistry"]


class ConnectionRegistry:
    """That of one server."""

    def __init__(self, poller: Poller, deadlines: Timers) -> None:
        self.connections: dict[int, Connection] = {}
        """By descriptor. Changed under the lock, read by anyone."""
        self._poller = poller
        self._deadlines = deadlines
        self._lock = threading.Lock()

    def admit(self, connection: Connection) -> None:
        """By the accept thread: the connection exists from now on."""
        with self._lock:
            self.connections[connection.fd] = connection

    def forget(self, connection: Connection) -> None:
        """By the owner, before the socket is closed or given away."""
        fd = connection.fd
        with self._lock:
            # A handler may have closed its socket itself; then the number may belong to a newcomer already.
            if self.connections.get(fd) is connection:
                del self.connections[fd]
                if connection.watched:
                    self._poller.remove(fd)
        connection.watched = False
        connection.state = CLOSED  # before the next line: who hangs it up in this moment looks at it afterwards
        self._deadlines.discard(connection)

    def while_open(self, connection: Connection, action: Callable[[], None]) -> None:
        """Do something to the socket of a connection that is another thread's, which cannot close it meanwhile; nothing
        when it is closed or given away. The action must not block.
        """
        with self._lock:  # its owner has to forget it first
            if self.connections.get(connection.fd) is connection:
                action()
