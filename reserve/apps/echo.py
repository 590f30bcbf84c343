"""``reserve app echo``: sends back every octet that it receives (RFC 862), and shows the generic application at its
shortest.

``resume`` runs on a worker, once for each piece that has arrived, and never waits: the peer's octets are there when it
is called, and ``server.send`` leaves what the peer does not take yet to the poller. Between two pieces the connection
is parked. While an answer waits for its peer nothing more is received, so a client that never reads costs one piece of
memory and no thread, until ``--write-timeout`` cuts it. A client that ends its side gets everything back first.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reserve.engine.drivers.handler import Park
from reserve.loader.arguments import Arguments

if TYPE_CHECKING:
    from reserve.engine.server import Server

__all__ = ["ARGUMENTS", "Echo", "launch"]

ARGUMENTS = ""
"""It takes none."""

_PIECE = 65536
"""Octets that are received and sent back at a time; fewer when ``--max-output`` allows fewer to wait."""


class Echo:
    """The handler: ``handle(socket, client_address, server)``."""

    client_speaks_first = True
    """A connection that says nothing never sees a worker, and is closed after ``--handler-timeout``."""

    def __call__(self, sock: socket.socket, client_address: tuple[str, int], server: Server) -> Park | None:
        size = min(_PIECE, server.settings.max_output)

        def resume() -> Park | None:
            data = sock.recv(size)
            if not data:
                return None
            server.send(sock, data)
            return parked

        parked = Park(resume)
        return resume()


def launch(args: Sequence[str]) -> Echo:
    """Make the handler. Raises UsageError when there are arguments."""
    Arguments.of(args).refuse_rest("app echo")
    return Echo()
