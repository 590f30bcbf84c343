"""``server.start_tls``: the plain connection of a handler continues with TLS (as with STARTTLS).

The handler's thread opens the session. It also does the handshake, unless the handler passed ``then``: in that case the
thread that leads does the handshake, as it does all others, and no thread waits for the client.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from reserve.engine.connections.backpressure import TooSlow, drain
from reserve.engine.connections.connection import Connection
from reserve.errors import ClientDisconnected
from reserve.ssl.adapter import SSLAdapter
from reserve.ssl.tlssocket import TLSSocket

__all__ = ["StartTLS", "start_tls"]


class StartTLS:
    """What ``server.start_tls(socket, then)`` returns, for the handler to return to the engine.

    :param tls: the session, whose handshake has not begun.
    :param then: called with it on a worker when the handshake is complete.
    """

    __slots__ = ("then", "tls")

    def __init__(self, tls: TLSSocket, then: Callable[[Any], Any]) -> None:
        self.tls = tls
        self.then = then


def start_tls(connection: Connection, adapter: SSLAdapter, then: Callable[[Any], Any] | None) -> Any:
    """Begin TLS on the connection of the calling handler. See :meth:`reserve.Server.start_tls`."""
    server = connection.server
    limit = server.settings.handshake_timeout
    timeout = connection.sock.gettimeout()
    if then is None or adapter.blocking:
        try:
            drain(connection, 0, server.settings.write_timeout)  # earlier output is sent first, without TLS
        except TooSlow as error:
            raise ClientDisconnected(str(error)) from None
    if adapter.blocking:
        connection.sock.settimeout(limit)
    try:
        tls = adapter.secure(connection.sock)
        connection.enter_tls(tls)
        if then is None:
            tls.settimeout(limit)
            tls.do_handshake()
            connection.trust_tls()
    except Exception:
        server.tls.handshake_failed()
        with contextlib.suppress(OSError):  # it may be closed
            connection.sock.settimeout(timeout)
        raise
    tls.settimeout(timeout)
    if then is not None:
        return StartTLS(tls, then)
    server.tls.handshake_done(tls)
    return tls
