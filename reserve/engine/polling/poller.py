"""Waiting for many sockets at once: one interface, two implementations.

The leader alone calls :meth:`Poller.poll`; the owner of a connection calls the others from any thread, also while the
leader waits. A registration fires once and is then silent until it is armed again, so one event has one taker. What a
poll returns is a hint: every event may be spurious, and may even belong to an earlier user of the descriptor.
"""

from __future__ import annotations

import contextlib
import select
import selectors
from collections import deque
from typing import Protocol

from reserve.engine.polling.wakeup import Wakeup

__all__ = ["HANGUP", "READ", "RETRY", "WRITE", "EpollPoller", "Poller", "PortablePoller", "new_poller"]

RETRY = 0.1
"""Seconds that a thread waits which could not wait in the poller: it must neither spin nor fill the log."""
READ = 1
"""There is something to receive, or the end of the stream."""
WRITE = 4
"""There is room to send."""
HANGUP = 0x2018
"""The peer shut down or the connection failed (with epoll: RDHUP, HUP, ERR); the next receive tells."""


class Poller(Protocol):
    """See the module; masks are :data:`READ` and :data:`WRITE`, or :data:`HANGUP` alone, of which epoll tells."""

    wakeup: Wakeup

    def add(self, fd: int, mask: int) -> None:
        """Watch a new descriptor, for one event."""

    def arm(self, fd: int, mask: int) -> None:
        """Watch it for one more event."""

    def remove(self, fd: int) -> None:
        """Forget a descriptor; always before it is closed."""

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """Wait at most ``timeout`` seconds (None: until an event or a wake-up) and return (descriptor, mask) pairs."""

    def close(self) -> None:
        """Give the descriptors back; nobody polls any more."""


class EpollPoller:
    """Linux. The kernel allows changes while another thread waits, so nothing is queued here."""

    BATCH = 64
    """Events taken at once: enough to spread the cost of the call, few enough to stay fair to new ones."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.wakeup = Wakeup()
        # Edge-triggered: each signal is one event and the counter never has to be read.
        self._epoll.register(self.wakeup.fd, select.EPOLLIN | select.EPOLLET)
        # The peer's half-close matters to who reads. Who waits for room would be told of it again and again.
        self._masks = {
            mask: mask | select.EPOLLONESHOT | (select.EPOLLRDHUP if mask & READ else 0)
            for mask in (0, READ, WRITE, READ | WRITE)
        }
        self._masks[HANGUP] = select.EPOLLRDHUP | select.EPOLLONESHOT

    def add(self, fd: int, mask: int) -> None:
        self._epoll.register(fd, self._masks[mask])

    def arm(self, fd: int, mask: int) -> None:
        self._epoll.modify(fd, self._masks[mask])

    def remove(self, fd: int) -> None:
        # OSError: closed by its handler, and so unregistered. ValueError: this poller has been closed.
        with contextlib.suppress(OSError, ValueError):
            self._epoll.unregister(fd)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        return self._epoll.poll(timeout, self.BATCH)

    def close(self) -> None:
        self._epoll.close()
        self.wakeup.close()


class PortablePoller:
    """Everywhere. Changes are posted, and the leader applies them before it waits; a waiting leader is woken for it."""

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        self._selector = selector if selector is not None else selectors.DefaultSelector()
        self.wakeup = Wakeup(portable=True)
        self._selector.register(self.wakeup.fd, selectors.EVENT_READ)
        self._posted: deque[tuple[int, int]] = deque()
        self._waiting = False

    def add(self, fd: int, mask: int) -> None:
        self._posted.append((fd, mask))
        if self._waiting:
            self.wakeup.signal()

    arm = add

    def remove(self, fd: int) -> None:
        self.add(fd, 0)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        self._waiting = True
        # Only now: a change that is posted after this loop finds the flag set and wakes the wait below.
        self._apply()
        try:
            keys = self._selector.select(timeout)
        except (OSError, ValueError):
            # select(2) fails as a whole when one of its descriptors is closed: its removal has been posted, or a
            # handler has closed its socket and is still running.
            if not self._posted and not self._drop_closed():
                raise
            keys = []
        finally:
            self._waiting = False
        events = []
        for key, mask in keys:
            if key.fd == self.wakeup.fd:
                self.wakeup.clear()
            else:
                self._selector.unregister(key.fd)
                seen = READ if mask & selectors.EVENT_READ else 0
                events.append((key.fd, seen | (WRITE if mask & selectors.EVENT_WRITE else 0)))
        self._apply()
        return events

    def _apply(self) -> None:
        """Carry out what was posted, in its order: a descriptor may have been closed and given out again meanwhile."""
        while self._posted:
            fd, mask = self._posted.popleft()
            # KeyError: it has fired already, or was never watched.
            with contextlib.suppress(KeyError):
                self._selector.unregister(fd)
            wanted = (selectors.EVENT_READ if mask & READ else 0) | (selectors.EVENT_WRITE if mask & WRITE else 0)
            if wanted:
                # OSError, ValueError: closed since; its removal is posted behind this.
                with contextlib.suppress(OSError, ValueError):
                    self._selector.register(fd, wanted)

    def _drop_closed(self) -> bool:
        """Forget the descriptors that are closed; say whether there were any."""
        found = False
        for key in list(self._selector.get_map().values()):
            try:
                select.select([key.fd], [], [], 0)
            except (OSError, ValueError):
                self._selector.unregister(key.fd)
                found = True
        return found

    def close(self) -> None:
        self._selector.close()
        self.wakeup.close()


def new_poller() -> Poller:
    """The best poller of this platform."""
    return EpollPoller() if hasattr(select, "epoll") else PortablePoller()
