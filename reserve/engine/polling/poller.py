"""Pollers wait for events of many sockets: one interface, two implementations.

Only the leader calls :meth:`Poller.poll`; the owner of a connection calls the other methods on any thread, also while
the leader waits. A registration reports one event and then no more until it is armed again, so one thread handles each
event. One with :data:`EDGES` reports every arrival, and is never armed again: a request on a connection that is kept
alive then costs no system call for it. An event is a hint: it may be spurious, and may even belong to an earlier user
of the descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import select
import selectors
from collections import deque
from typing import Protocol

from reserve.engine.polling.wakeup import Wakeup

__all__ = ["EDGES", "HANGUP", "READ", "RETRY", "WRITE", "EpollPoller", "Poller", "PortablePoller", "new_poller"]

RETRY = 0.1
"""Seconds that a thread sleeps when the poller fails, so that it neither loops without a pause nor fills the log."""
READ = 1
"""There are bytes to receive, or the end of the stream."""
WRITE = 4
"""The socket's send buffer has room."""
_GONE = {errno.EBADF, errno.EINVAL}
"""Errors of a poller whose descriptor was closed, and whose number may belong to another file."""
_ABANDONED: list[object] = []
"""Objects whose number may belong to another file: when they are freed, they would close it."""
EDGES = 1 << 31
"""With READ, for a poller with :attr:`Poller.has_edges`: report every arrival of bytes, and the end of the stream,
until something else is asked for (EPOLLET). Who has received as much as there was is told of what comes later.
"""
HANGUP = 0x2018
"""The peer closed its side or the connection failed (with epoll: RDHUP, HUP, ERR); the next receive tells which."""


class Poller(Protocol):
    """The poller of one server; owned by its runtime. The module's text says which thread calls which method.

    Masks are :data:`READ`, :data:`WRITE` or both; or :data:`HANGUP` alone, which only epoll reports.
    """

    has_edges: bool
    """It knows :data:`EDGES`."""

    can_share: bool
    """Several threads may call :meth:`poll` at once, after :meth:`share`."""

    batch: int
    """The most events that :meth:`poll` returns at once."""

    wakeup: Wakeup
    """Makes :meth:`poll` return. Any thread may signal it.

    It is lost when another part of the program has closed the descriptor that the poller waits with. From then on
    there are no events: :meth:`add` and :meth:`arm` raise OSError, and :meth:`poll` returns for a wake-up or after its
    timeout, so that the server can end.
    """

    def add(self, fd: int, mask: int) -> None:
        """Watch a new descriptor until its next event."""

    def arm(self, fd: int, mask: int) -> None:
        """Watch a known descriptor until its next event."""

    def remove(self, fd: int) -> None:
        """Stop watching a descriptor. The owner calls it before it closes the descriptor."""

    def share(self) -> None:
        """Have several threads poll from now on: each takes few events at once. Only if :attr:`can_share`."""

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """Wait up to ``timeout`` seconds (None: until an event or a wake-up) and return (descriptor, mask) pairs."""

    def close(self) -> None:
        """Close the poller's own descriptors. No thread polls any more."""


class EpollPoller:
    """The poller for Linux. The kernel allows changes while another thread waits, so each is made at once."""

    has_edges = can_share = True

    BATCH = 64
    """Events that one call returns at most: enough to spread its cost, few enough that new events do not wait long."""
    SHARED_BATCH = 8
    """The same for several threads: what one of them has taken waits for it, although another one may be free."""

    def __init__(self) -> None:
        self.batch = self.BATCH
        self._epoll = select.epoll()
        self.wakeup = Wakeup(epoll=self._epoll)
        # RDHUP only for connections that wait to read: one that waits to write would get the event again and again.
        self._masks = {
            mask: mask | select.EPOLLONESHOT | (select.EPOLLRDHUP if mask & READ else 0)
            for mask in (0, READ, WRITE, READ | WRITE)
        }
        self._masks[HANGUP] = select.EPOLLRDHUP | select.EPOLLONESHOT
        self._masks[READ | EDGES] = READ | select.EPOLLRDHUP | select.EPOLLET

    def add(self, fd: int, mask: int) -> None:
        if fd == self.wakeup.fd:  # closed by the application, and the number is that of a connection now
            self.wakeup.replace_eventfd()
        try:
            self._epoll.register(fd, self._masks[mask])
        except OSError:
            self.wakeup.signal()  # finds out whether it is this poller that was closed, or only the connection
            raise

    def arm(self, fd: int, mask: int) -> None:
        try:
            self._epoll.modify(fd, self._masks[mask])
        except OSError:
            self.wakeup.signal()
            raise

    def remove(self, fd: int) -> None:
        # OSError: closed by its handler, and so unregistered. ValueError: this poller has been closed.
        with contextlib.suppress(OSError, ValueError):
            self._epoll.unregister(fd)

    def share(self) -> None:
        self.batch = self.SHARED_BATCH

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        wakeup = self.wakeup
        if not wakeup.lost:
            try:
                return self._epoll.poll(timeout, self.batch)
            except OSError as error:
                if error.errno not in _GONE:
                    raise
            wakeup.give_up()
        wakeup.substitute.wait(timeout)
        return []

    def close(self) -> None:
        self.wakeup.close()
        if not self.wakeup.lost:  # else its number may belong to another file
            self._epoll.close()


class PortablePoller:
    """The poller for other platforms.

    Changes are queued; the leader applies them before it waits, and a change wakes a leader that is waiting.

    :param selector: waits for the events; None: the best one of this platform.
    """

    has_edges = can_share = False
    batch = 64
    """It returns all events at once; from as many on the leader looks for more before it looks at deadlines."""

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        self._selector = selector if selector is not None else selectors.DefaultSelector()
        self.wakeup = Wakeup(portable=True)
        self._selector.register(self.wakeup.fd, selectors.EVENT_READ)
        self._changes: deque[tuple[int, int]] = deque()
        self._waiting = False

    def add(self, fd: int, mask: int) -> None:
        if self.wakeup.lost:
            raise OSError(errno.EBADF, "the poller was closed by another part of the program")
        self._change(fd, mask)

    arm = add

    def remove(self, fd: int) -> None:
        self._change(fd, 0)

    def _change(self, fd: int, mask: int) -> None:
        self._changes.append((fd, mask))
        if self._waiting:
            self.wakeup.signal()

    def share(self) -> None:
        raise NotImplementedError("a selector has one thread")

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        if self.wakeup.lost:
            self.wakeup.substitute.wait(timeout)
            return []
        self._waiting = True
        # After the flag is set: a change that is queued after this call finds it set and ends the select() below.
        self._apply()
        try:
            keys = self._selector.select(timeout)
        except (OSError, ValueError) as error:
            # select(2) fails as a whole when one of its descriptors is closed: the removal has been queued, or a
            # handler has closed its socket and is still running.
            if not self._changes and not self._drop_closed():
                if getattr(error, "errno", errno.EBADF) not in _GONE:
                    raise
                self.wakeup.give_up()
            keys = []
        finally:
            self._waiting = False
        events = []
        for key, mask in keys:
            if key.fd == self.wakeup.fd:
                if not self.wakeup.clear():
                    self._reopen_wakeup()
            else:
                self._selector.unregister(key.fd)
                seen = READ if mask & selectors.EVENT_READ else 0
                events.append((key.fd, seen | (WRITE if mask & selectors.EVENT_WRITE else 0)))
        self._apply()
        return events

    def _apply(self) -> None:
        """Apply the queued changes in their order: a number may have been closed and used again for another socket."""
        while True:
            try:  # not len(), which takes no lock where there is no GIL: _change() looks at the flag after its append()
                fd, mask = self._changes.popleft()
            except IndexError:
                return
            if fd == self.wakeup.fd:  # the application has closed one of the two
                if self.wakeup.clear():
                    self.wakeup.signal()  # the signal that was cleared may be one for this thread
                    continue  # the connection was closed: the wakeup has its number now
                self._reopen_wakeup()
            # KeyError: its event was reported already, or it was never watched.
            with contextlib.suppress(KeyError):
                self._selector.unregister(fd)
            wanted = (selectors.EVENT_READ if mask & READ else 0) | (selectors.EVENT_WRITE if mask & WRITE else 0)
            if wanted:
                # OSError, ValueError: closed since; its removal is queued after this change.
                with contextlib.suppress(OSError, ValueError):
                    self._selector.register(fd, wanted)

    def _reopen_wakeup(self) -> None:
        """The application has closed the descriptor of the wakeup."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(self.wakeup.fd)
        if self.wakeup.reopen():
            with contextlib.suppress(KeyError):  # its new number may be that of a connection, which was closed as well
                self._selector.unregister(self.wakeup.fd)
            self._selector.register(self.wakeup.fd, selectors.EVENT_READ)

    def _drop_closed(self) -> bool:
        """Stop watching the descriptors that are closed; say whether there were any."""
        found = False
        for key in list(self._selector.get_map().values()):
            try:
                select.select([key.fd], [], [], 0)
            except (OSError, ValueError):
                self._selector.unregister(key.fd)
                found = True
                if key.fd == self.wakeup.fd:
                    self._reopen_wakeup()
        return found

    def close(self) -> None:
        if self.wakeup.lost:  # its number may belong to another file
            _ABANDONED.append(self._selector)
        else:
            self._selector.close()
        self.wakeup.close()


def new_poller() -> Poller:
    """The best poller of this platform."""
    return EpollPoller() if hasattr(select, "epoll") else PortablePoller()
