"""What a forked child inherits from a server, it closes at once.

A child that holds a copy of a listening socket keeps the port, one that holds a copy of a connection keeps the client
waiting, and an epoll watches what a copy keeps open. The hook is registered once, when the first server starts; it
takes no lock, because the child has none of the threads that could release one.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["forget", "watch"]


class HasCopies(Protocol):
    """What holds descriptors that a forked child must close: the lifecycle of a server."""

    def close_copies(self) -> None:
        """In the child: close its copies. Takes no lock, shuts nothing down."""

    def __hash__(self) -> int: ...


_watched: weakref.WeakSet[HasCopies] = weakref.WeakSet()
_hooked = False


def watch(holder: HasCopies) -> None:
    """From now on a forked child calls ``holder.close_copies()``."""
    global _hooked
    _watched.add(holder)
    if not _hooked and hasattr(os, "register_at_fork"):
        _hooked = True
        os.register_at_fork(after_in_child=_close_all)


def forget(holder: HasCopies) -> None:
    """The holder has closed everything itself."""
    _watched.discard(holder)


def _close_all() -> None:
    for holder in list(_watched):
        holder.close_copies()
    _watched.clear()
