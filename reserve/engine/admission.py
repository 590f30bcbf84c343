"""Who comes in: the accept thread's work at the doors. It writes nothing to clients and waits for nobody."""

from __future__ import annotations

import contextlib
import heapq
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.states import RECLAIM, State
from reserve.engine.drivers.handshake import HandshakeDriver

if TYPE_CHECKING:
    from reserve.engine.endpoints import Endpoint
    from reserve.engine.scheduler.readyqueue import ReadyQueue
    from reserve.engine.server import Server

__all__ = ["Admission"]


class Admission:
    """One for each server.

    :param doors: that of each listener.
    """

    def __init__(self, server: Server, queue: ReadyQueue, endpoints: Mapping[socket.socket, Endpoint]) -> None:
        self._server = server
        self._queue = queue
        self._endpoints = endpoints
        self._most = server.settings.max_connections

    def may_accept(self) -> bool:
        """Say whether one more connection is within the limit."""
        return len(self._queue.connections) < self._most

    def count(self) -> int:
        """How many are open."""
        return len(self._queue.connections)

    def reclaim_idle(self, count: int) -> None:
        """Have the connections that have been idle longest closed, ``count`` of them at most.

        When none is idle, :meth:`Server.capacity_freed` is called as soon as one is.
        """
        queue = self._queue
        queue.idle_wanted = (
            self._server.capacity_freed
        )  # before the look: who parks one meanwhile looks here afterwards
        idle = [
            connection
            for connection in list(queue.connections.values())
            if connection.state is State.PARKED and connection.wait_kind == "keep-alive"
        ]
        if idle:
            queue.idle_wanted = None
        for connection in heapq.nsmallest(count, idle, key=lambda connection: connection.deadline):
            queue.notify(connection, RECLAIM)

    def admit(self, sock: socket.socket, peer: Any, listener: socket.socket) -> None:
        """Put a connection that has just been accepted onto the queue."""
        server = self._server
        factory, secure = self._endpoints[listener]
        adapter = server.tls.adapter
        try:
            sock.setblocking(False)
            connection = Connection(server, sock, peer)
            if secure and adapter is not None:
                server.tls.look()
                connection.driver = HandshakeDriver(connection, adapter, factory)
            else:
                connection.driver = factory.make_driver(connection)
            self._queue.registry.admit(connection)
        except Exception as error:  # one connection must not end the accept thread
            with contextlib.suppress(OSError):
                sock.close()
            server.log.failure("no driver could be made for a connection; it is closed", error)
            return
        self._queue.put(connection)
