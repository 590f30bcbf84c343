"""A descriptor that becomes readable when another thread (or a signal handler) says so.

:meth:`Wakeup.signal` may be called from any thread and from a signal handler: one system call, no lock. An eventfd
where there is one, otherwise a socket pair (Windows, macOS, CPython 3.9's heirs without eventfd).
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque

__all__ = ["Wakeup"]


class Wakeup:
    """Register :attr:`fd` for reading; call :meth:`clear` when it fires (an edge-triggered poller need not)."""

    __slots__ = ("_closed", "_pair", "_signalling", "fd")

    def __init__(self, *, portable: bool = False) -> None:
        self._pair: tuple[socket.socket, socket.socket] | None = None
        self._closed = False
        self.fd = -1
        self._signalling: deque[bool] = deque()
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
        while True:
            try:
                return self._signal()
            except MemoryError:
                time.sleep(0)  # a thread that is not woken now may never be

    def _signal(self) -> None:
        # Announced before the look at _closed, which close() sets before it waits for the announced: the number is
        # never written to when it may belong to another file already.
        self._signalling.append(True)
        try:
            if not self._closed:
                if self._pair is None:
                    os.eventfd_write(self.fd, 1)
                else:
                    self._pair[1].send(b"\0")
        except BlockingIOError:  # it is readable already
            pass
        finally:
            try:  # noqa: SIM105 - nothing may be allocated here: what is announced and never taken back hangs close()
                self._signalling.pop()
            except IndexError:  # disowned: this is a child that was forked by a signal handler
                pass

    def clear(self) -> bool:
        """Make the descriptor unreadable again; signals so far are taken as seen. False: it is not ours any more."""
        try:
            if self._pair is None:
                os.eventfd_read(self.fd)
            else:
                while self._pair[0].recv(4096):
                    pass
        except (BlockingIOError, InterruptedError):
            return True
        except (OSError, ValueError):
            return False
        return True

    def after_fork(self) -> None:
        """In a forked child, before the close: the threads that were signalling are not here and never finish."""
        self._signalling.clear()

    def close(self) -> None:
        """Give the descriptors back. The owner makes sure that nobody polls them any more."""
        self._closed = True
        while self._signalling:
            time.sleep(0)
        fd, self.fd = self.fd, -1
        if self._pair is None:
            if fd >= 0:
                os.close(fd)
        else:
            for end in self._pair:
                end.close()

    def __del__(self) -> None:
        """Of a server that was never started nor stopped, or could not even be made, nothing is left."""
        if not self._closed:
            self.close()
