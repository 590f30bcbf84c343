"""The driver of a connection until its header of the PROXY protocol is complete; then the next driver takes its place:
that of the TLS handshake, or the application's own.

The server believes what the header says, so only frontends in ``--trusted-proxies`` may send one; a connection from
elsewhere is closed. The header comes first and once: with ``--proxy-protocol`` no connection is served without one.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from reserve.engine.connections.application import Application
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import CLOSE, Action, Driver, Wait
from reserve.engine.connections.peers import address_of, name_of
from reserve.engine.connections.registry import admit
from reserve.engine.drivers.handshake import HandshakeDriver
from reserve.engine.polling.poller import READ
from reserve.protocol.proxy.header import ProxyHeaderError
from reserve.protocol.proxy.reader import ProxyReader
from reserve.sockets.proxies import trusted_proxies

if TYPE_CHECKING:
    from reserve.ssl.adapter import SSLAdapter

__all__ = ["ProxyDriver"]


class ProxyDriver(Driver):
    """Drives one connection from its acceptance until its header is complete.

    :param adapter: the server's, for a listener with TLS; None: without TLS.
    :param application: the listener's.
    """

    __slots__ = ("_adapter", "_application", "_connection", "_reader", "_wait")

    def __init__(self, connection: Connection, adapter: SSLAdapter | None, application: Application) -> None:
        self._connection = connection
        self._adapter = adapter
        self._application = application
        server = connection.server
        self._reader = ProxyReader(server.settings.proxy_protocol)
        self._wait = Wait("proxy-header", READ, server.clock.now() + server.settings.handshake_timeout)

    def step(self, events: int, now: float) -> Action:
        connection = self._connection
        server = connection.server
        reader = self._reader
        if not reader.started and not trusted_proxies(server.settings.trusted_proxies).trusts_peer(connection.peer):
            self._log("the connection is closed: its address is not in --trusted-proxies", "peers that are no proxies")
            return CLOSE
        receive = connection.sock.recv
        while reader.header is None:
            try:
                # What follows the header belongs to the next driver, or to the TLS session: it stays in the socket.
                data = receive(reader.wanted, socket.MSG_PEEK)
                if not data:
                    return CLOSE  # a frontend that checks whether the port is open
                receive(reader.feed(data))
            except (BlockingIOError, InterruptedError):
                return CLOSE if server.stopping else self._wait
            except ProxyHeaderError as error:
                self._log(f"the connection is closed: {error}", "headers of the PROXY protocol that are malformed")
                return CLOSE
        header = connection.proxy = reader.header
        if header.source is not None:
            connection.peer = header.source
        if not self._application.peers_are_frontends and not admit(connection):
            return CLOSE
        if self._adapter is not None:
            connection.driver = HandshakeDriver(connection, self._adapter, self._application)
        else:
            connection.driver = self._application.make_driver(connection)
        return connection.driver.step(0, now)

    def _log(self, text: str, kind: str) -> None:
        self._connection.server.log.info(f"{name_of(address_of(self._connection.peer))}: {text}", kind)

    def expired(self, kind: str, now: float) -> Action:
        if self._reader.started:
            limit = self._connection.server.settings.handshake_timeout
            self._log(
                f"the header of the PROXY protocol was not complete within {limit:g} s (--handshake-timeout)",
                "headers of the PROXY protocol that took too long",
            )
        return CLOSE
