"""Admits accepted connections: each gets its driver and goes onto the ready queue.

Runs on the accept thread, writes nothing to clients and waits for no thread.
"""

from __future__ import annotations

import contextlib
import heapq
import socket
from collections.abc import Mapping
from typing import Any

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.context import ServerContext
from reserve.engine.connections.driver import IDLE_KINDS
from reserve.engine.connections.registry import admit
from reserve.engine.connections.states import CLOSE_IDLE, State
from reserve.engine.drivers.handshake import HandshakeDriver
from reserve.engine.drivers.proxyheader import ProxyDriver
from reserve.engine.endpoints import Endpoint
from reserve.engine.polling.poller import READ
from reserve.engine.scheduler.readyqueue import ReadyQueue

__all__ = ["Admission"]


class Admission:
    """Admits the connections of one server; owned by its runtime. The accept thread calls every method.

    :param endpoints: the endpoint of each listener.
    """

    def __init__(
        self, server: ServerContext[Connection], queue: ReadyQueue, endpoints: Mapping[socket.socket, Endpoint]
    ) -> None:
        self._server = server
        self._queue = queue
        self._has_edges = queue.has_edges
        self._endpoints = endpoints
        self._most = server.settings.max_connections
        self._with_proxy_header = server.settings.proxy_protocol != "off"
        # A header of the PROXY protocol says later who the client is: ProxyDriver counts it then.
        self._counts_clients = server.clients.connections is not None and not self._with_proxy_header
        self.reclaimed = 0
        """Idle connections that were told to close so far, because new clients needed their places."""

    def may_accept(self) -> bool:
        """Say whether one more connection is within ``--max-connections``."""
        return self._queue.registry.count() < self._most

    def count(self) -> int:
        """How many connections are open."""
        return self._queue.registry.count()

    def close_idle(self, count: int) -> None:
        """Have the connections that have been idle longest closed, at most ``count`` of them.

        When no connection is idle, the thread that parks the next idle one calls
        :meth:`ServerContext.capacity_freed`, so that the accept thread tries again.
        """
        queue = self._queue
        # Set before the look: a thread that parks an idle connection meanwhile looks at it afterwards. Both pass the
        # lock of its token in between, here by count().
        queue.idle_wanted = self._server.capacity_freed
        idle = [
            connection
            for connection in list(queue.connections.values())
            if connection.token.count(True) and connection.state is State.PARKED and connection.wait_kind in IDLE_KINDS
        ]
        if idle:
            queue.idle_wanted = None
        for connection in heapq.nsmallest(count, idle, key=lambda connection: connection.driver.idle_since()):
            self.reclaimed += 1
            queue.notify(connection, CLOSE_IDLE)

    def admit(self, sock: socket.socket, peer: Any, listener: socket.socket) -> None:
        """Give a connection that has just been accepted its driver, and put it onto the queue."""
        server = self._server
        application, with_tls = self._endpoints[listener]
        adapter = server.tls.adapter
        connection = None
        try:
            sock.setblocking(False)
            connection = Connection(server, sock, peer)
            if self._counts_clients and not application.peers_are_frontends and not admit(connection):
                sock.close()
                return
            if with_tls and adapter is not None:
                server.tls.check_files()
            else:
                adapter = None
            if self._with_proxy_header:
                connection.driver = ProxyDriver(connection, adapter, application)
            elif adapter is not None:
                connection.driver = HandshakeDriver(connection, adapter, application)
            else:
                driver = connection.driver = application.make_driver(connection)
                # Its first request may be there, and may take the straight line.
                if self._has_edges and driver.straight is not None:
                    connection.between_requests = True
                    connection.pending = READ
            self._queue.registry.add(connection)
        except Exception as error:  # one connection must not end the accept thread
            if connection is not None and connection.place is not None:
                connection.place.leave()
            with contextlib.suppress(OSError):
                sock.close()
            server.log.failure("no driver could be made for a connection; it is closed", error)
            return
        self._queue.put(connection)
