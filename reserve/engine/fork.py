"""What a fork inherits from a server, the child closes at once.

A child that holds a copy of a listening socket keeps the port, one that holds a copy of a connection keeps the client
waiting, and an epoll watches what a copy keeps open. The hook is registered once, when the first server starts; it
takes no lock, because the child has none of the threads that could release one.
"""

from __future__ import annotations

import os
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
        os.register_at_fork(after_in_child=_close_copies)


def forget(server: Server) -> None:
    """The server has closed everything itself."""
    _servers.discard(server)


def _close_copies() -> None:
    from reserve.engine.server import close_copies

    for server in list(_servers):
        close_copies(server)
    _servers.clear()
