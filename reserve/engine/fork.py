"""Closes, in a forked child, the descriptors that the child has inherited from a server or from its command.

A copy of a listening socket would keep the port in use, a copy of a connection would keep its client waiting, and an
epoll object reports events of a connection until every copy of its descriptor is closed, also those of the child. The
hook is registered once, by the thread that starts the first server. The child runs it before :func:`os.fork` returns;
it takes no lock, because the child has none of the threads that could release one.
"""

from __future__ import annotations

import os
import traceback
import weakref
from typing import Protocol

__all__ = ["forget", "watch"]


class HasCopies(Protocol):
    """An object with descriptors that a forked child must close: the lifecycle of a server, or a command's signals."""

    def close_copies(self) -> None:
        """In the child: close its copies. Takes no lock, and sends nothing to a peer."""

    def __hash__(self) -> int: ...


_watched: weakref.WeakSet[HasCopies] = weakref.WeakSet()
_hooked = False


def watch(holder: HasCopies) -> None:
    """From now on a forked child calls ``holder.close_copies()``. The holder is not kept alive."""
    global _hooked
    _watched.add(holder)
    if not _hooked and hasattr(os, "register_at_fork"):
        _hooked = True
        os.register_at_fork(after_in_child=_close_all)


def forget(holder: HasCopies) -> None:
    """Stop watching the holder."""
    _watched.discard(holder)


def _close_all() -> None:
    for holder in list(_watched):
        try:
            holder.close_copies()
        except Exception:  # the other holders must close theirs all the same
            traceback.print_exc()
    _watched.clear()
