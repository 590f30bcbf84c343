"""``reserve app echo``: sends back every byte that it receives (RFC 862). It is the shortest example of a handler.

A worker calls ``resume`` once for each piece that has arrived, and never waits in it: the client's bytes are there when
it is called, and ``server.send`` leaves what the client does not take yet to the poller. Between two pieces the
connection is parked. While output waits for the client nothing more is received. So a client that never reads costs one
piece of memory and no thread, until ``--write-timeout`` closes its connection. A client that shuts its side down gets
everything back first.
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

_PIECE_SIZE = 65536
"""Bytes that are received and sent back at a time; fewer when ``--max-output`` allows fewer to wait."""


class Echo:
    """The handler: ``handle(socket, client_address, server)``. One serves all connections; workers call it."""

    client_speaks_first = True
    """A connection that sends nothing never gets a worker, and is closed after ``--handler-timeout``."""

    def __call__(self, sock: socket.socket, client_address: tuple[str, int], server: Server) -> Park | None:
        size = min(_PIECE_SIZE, server.settings.max_output)

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
