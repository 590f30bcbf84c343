"""A descriptor that another thread, or a signal handler, makes readable to wake the thread that polls it.

It is an eventfd on Linux, otherwise a socket pair. :meth:`Wakeup.signal` makes one system call and takes no lock.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections import deque

__all__ = ["Wakeup"]


class Wakeup:
    """One such descriptor; owned by a poller or by the accept thread.

    The owner registers :attr:`fd` for reading, and calls :meth:`clear` when it is readable (with an edge-triggered
    poller it need not). Any thread and any signal handler calls :meth:`signal`.

    The descriptors of one that is never closed (a server that was never started nor stopped, a constructor that failed)
    are closed when it is freed, without a ``__del__``: it may be freed on a worker, where the interrupt of
    ``--request-timeout`` would be raised in ``__del__``, be ignored there, and so be lost.

    :param portable: use a socket pair on every platform.
    """

    __slots__ = ("_closed", "_owner", "_pair", "_signalling", "fd")

    def __init__(self, *, portable: bool = False) -> None:
        self._pair: tuple[socket.socket, socket.socket] | None = None
        self._owner: select.epoll | None = None
        """Closes the eventfd, also when it is freed: an epoll object does so with any descriptor, and never warns."""
        self._closed = False
        self.fd = -1
        self._signalling: deque[bool] = deque()
        """One item for each thread that is inside :meth:`signal`."""
        if hasattr(os, "eventfd") and hasattr(select, "epoll") and not portable:
            self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            try:
                self._owner = select.epoll.fromfd(self.fd)
            except BaseException:  # out of memory
                os.close(self.fd)
                raise
        else:
            reader, writer = socket.socketpair()
            reader.setblocking(False)
            writer.setblocking(False)
            self._pair = reader, writer
            self.fd = reader.fileno()

    def signal(self) -> None:
        """Make the descriptor readable; does nothing when it is readable already, or closed."""
        while True:
            try:
                return self._signal()
            except MemoryError:
                time.sleep(0)  # a thread that is not woken now may never be

    def _signal(self) -> None:
        # This thread adds its item before it reads _closed; close() sets _closed before it waits until no item is left.
        # So no thread writes to the number after it may belong to another file.
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
            try:  # noqa: SIM105 - nothing may be allocated here: close() would wait for ever for an item that stays
                self._signalling.pop()
            except IndexError:  # this is a child that a signal handler has forked: see after_fork()
                pass

    def clear(self) -> bool:
        """Make the descriptor unreadable again, by its owner. False: it has been closed."""
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
        """In a forked child, before :meth:`close`: forget the parent's threads that are inside :meth:`signal`."""
        self._signalling.clear()

    def close(self) -> None:
        """Close the descriptors. The owner calls it when no thread polls them any more."""
        self._closed = True
        while self._signalling:
            time.sleep(0)
        self.fd = -1
        if self._owner is not None:
            self._owner.close()
        elif self._pair is not None:
            for sock in self._pair:
                sock.close()
