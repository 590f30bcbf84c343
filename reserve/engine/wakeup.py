"""A descriptor that becomes readable when another thread (or a signal handler) says so.

:meth:`Wakeup.signal` may be called from any thread and from a signal handler: one system call, no lock. An eventfd
where there is one, otherwise a socket pair (Windows, macOS, CPython 3.9's heirs without eventfd).
"""

from __future__ import annotations

import contextlib
import os
import socket

__all__ = ["Wakeup"]


class Wakeup:
    """Register :attr:`fd` for reading; call :meth:`clear` when it fires (an edge-triggered poller need not)."""

    __slots__ = ("_pair", "fd")

    def __init__(self, *, portable: bool = False) -> None:
        self._pair: tuple[socket.socket, socket.socket] | None = None
        if hasattr(os, "eventfd") and not portable:
            self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            reader, writer = socket.socketpair()
            reader.setblocking(False)
            writer.setblocking(False)
            self._pair = reader, writer
            self.fd = reader.fileno()

    def signal(self) -> None:
        """Make the descriptor readable. Signalling one that is already readable, or closed, changes nothing."""
        # BlockingIOError: it is readable already. OSError, ValueError: it was closed while the caller was on its way.
        with contextlib.suppress(OSError, ValueError):
            if self._pair is None:
                os.eventfd_write(self.fd, 1)
            else:
                self._pair[1].send(b"\0")

    def clear(self) -> None:
        """Make the descriptor unreadable again; signals so far are taken as seen."""
        with contextlib.suppress(OSError, ValueError):
            if self._pair is None:
                os.eventfd_read(self.fd)
            else:
                while self._pair[0].recv(4096):
                    pass

    def close(self) -> None:
        """Give the descriptors back. The owner makes sure that nobody polls them any more."""
        fd, self.fd = self.fd, -1
        if self._pair is None:
            if fd >= 0:
                os.close(fd)
        else:
            for end in self._pair:
                end.close()
