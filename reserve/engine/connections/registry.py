"""The registry of a server's open connections. The accept thread adds each connection, and its owner removes it.

The kernel may reuse a descriptor number as soon as it is closed. So the owner removes a connection before it closes the
socket, and holds the lock under which other threads use the registered connections.

:func:`admit` counts a connection as one of its client (``--max-connections-per-client``) when it is known whose it is:
the accept thread calls it, or, after a header of the PROXY protocol, the thread that has read that. It counts until
:meth:`ConnectionRegistry.remove`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from reserve.engine.clients.places import HELD
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.peers import address_of, is_proxy, name_of
from reserve.engine.connections.states import CLOSED
from reserve.engine.polling.poller import Poller
from reserve.engine.polling.timers import Timers

__all__ = ["ConnectionRegistry", "admit", "admit_client"]


class ConnectionRegistry:
    """The registry of one server, made with its ready queue. Any thread reads it.

    :param poller: the server's; it forgets a descriptor that is removed here.
    :param timers: the server's; they forget a connection that is removed here.
    """

    def __init__(self, poller: Poller, timers: Timers[Connection]) -> None:
        self.connections: dict[int, Connection] = {}
        """By descriptor. Changed under the lock, read without it."""
        self._poller = poller
        self._timers = timers
        self._lock = threading.Lock()

    def add(self, connection: Connection) -> None:
        """By the accept thread: register a connection."""
        with self._lock:
            self.connections[connection.fd] = connection

    def count(self) -> int:
        """How many are open. It takes the lock: who has removed one before that, and then looks whether another thread
        waits for that, sees what the caller has written before this call, or is seen by it.
        """
        with self._lock:
            return len(self.connections)

    def remove(self, connection: Connection) -> None:
        """By the owner, before the socket is closed or given away. A second call does nothing."""
        fd = connection.fd
        with self._lock:
            # A handler may have closed its socket itself; then another connection may have the number already.
            if self.connections.get(fd) is connection:
                del self.connections[fd]
                if connection.watched:
                    self._poller.remove(fd)
        connection.watched = False
        if connection.place is not None:  # before the socket is closed: a client that sees that may connect again
            connection.place.leave()
        # The state is set before the entry is discarded: a thread that schedules the connection meanwhile reads the
        # state afterwards, and discards its entry itself.
        connection.state = CLOSED
        self._timers.discard(connection)

    def while_open(self, connection: Connection, action: Callable[[Connection], None]) -> None:
        """Call ``action(connection)`` while its owner, another thread, cannot close it; the action must not block.

        Nothing happens when the connection is closed or given away.
        """
        with self._lock:  # the owner has to remove it first
            if self.connections.get(connection.fd) is connection:
                action(connection)


def admit(connection: Connection) -> bool:
    """By the owner, when the peer is known: count the connection. False: its client has too many; the caller closes it.

    One of a trusted proxy is not counted: its requests are those of many clients.
    """
    if connection.server.clients.connections is None or is_proxy(connection):
        return True
    return admit_client(connection, address_of(connection.peer)[0])


def admit_client(connection: Connection, host: str) -> bool:
    """Count a connection, which is not counted yet, as one of the client with this address. False: it has too many."""
    limit = connection.server.clients.connections
    place = None if limit is None else limit.place(host)
    if limit is None or place is None:
        return True
    connection.place = place
    if place.enter() is HELD:
        return True
    connection.place = None
    limit.count_refused()
    connection.server.log.warning(
        f"{name_of(address_of(connection.peer))}: the connection is closed: its client {place.client or 'unix'} has "
        f"{limit.most} open, as many as --max-connections-per-client allows",
        "connections closed: --max-connections-per-client",
    )
    return False
