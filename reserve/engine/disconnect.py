"""Reset a TCP connection at once, while another thread waits for it and the descriptor stays open.

The owner of a connection closes it with a reset (:func:`~reserve.engine.connections.closing.reset`). Nobody else can:
closing the descriptor under a thread that uses it would hit whoever gets the number next, and ``shutdown`` is the
orderly end. Linux has a third way, ``connect`` to an address of no family: the peer gets a reset, and every waiting
thread wakes up.

Any thread may call it that keeps the descriptor open meanwhile: its owner, or
:meth:`~reserve.engine.connections.registry.ConnectionRegistry.while_open`.
"""

from __future__ import annotations

import ctypes
import sys

__all__ = ["disconnect"]

_NOBODY = bytes(16)  # a sockaddr of the family AF_UNSPEC, which is 0
# PyDLL keeps the GIL: the call does not block, and it is made with a lock held.
_libc = ctypes.PyDLL(None) if sys.platform == "linux" else None


def disconnect(fd: int) -> bool:
    """Reset the TCP connection of this descriptor; False where that cannot be done."""
    return _libc is not None and _libc.connect(fd, _NOBODY, len(_NOBODY)) == 0
