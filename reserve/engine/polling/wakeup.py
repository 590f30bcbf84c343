"""A descriptor that another thread, or a signal handler, makes readable to wake the thread that polls it.

On Linux no byte is written for that. An eventfd that is always readable is registered with an epoll object, for one
event at a time, and :meth:`Wakeup.signal` asks for the next one: one system call (``epoll_ctl``), without a lock. The
kernel knows the eventfd by its file and not only by its number. So when an application has closed descriptors that are
not its own (``os.closerange(3, n)``, a library that closes a number twice), and a number belongs to the connection of
a client now, the call fails. A write would have put its bytes into what that client receives. Elsewhere it is a socket
pair, whose identity is checked before each use.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable

from reserve.engine.polling.highnumber import move_up
from reserve.engine.polling.waiter import Waiter

__all__ = ["Wakeup", "identity"]

_NEXT_EVENT = getattr(select, "EPOLLIN", 0) | getattr(select, "EPOLLONESHOT", 0)
_ABANDONED: list[object] = []
"""Objects whose number may belong to another file: when they are freed, they would close it."""


class Wakeup:
    """One such descriptor; owned by a poller or by the accept thread.

    The owner registers :attr:`fd` for reading, and calls :meth:`clear` when it is readable. Any thread and any signal
    handler calls :meth:`signal`.

    The descriptors of one that is never closed (a server that was never started nor stopped, a constructor that failed)
    are closed when it is freed, without a ``__del__``: it may be freed on a worker, where the interrupt of
    ``--request-timeout`` would be raised in ``__del__``, be ignored there, and so be lost.

    :param portable: use a socket pair on every platform.
    :param epoll: the poller's: each signal is an event of it, for the number :attr:`fd`, which the owner neither
        registers nor clears. None: an epoll object of its own is :attr:`fd`.
    """

    __slots__ = ("_alarm", "_closed", "_epoll", "_eventfd", "_identities", "_owner", "_pair", "_shared", "_signalling",
                 "fd", "lost", "on_lost", "substitute")  # fmt: skip

    def __init__(self, *, portable: bool = False, epoll: select.epoll | None = None) -> None:
        self._pair: tuple[socket.socket, socket.socket] | None = None
        self._identities: tuple[object, object] = (None, None)
        self._epoll: select.epoll | None = None
        self._eventfd = -1
        self._alarm: select.epoll | None = None
        """An eventfd in the poller's epoll object with a high number, which no other file gets. It is written to when
        the object was closed, because a thread that waits in it at that moment cannot be woken with its number.
        """
        self._owner: select.epoll | None = None
        """Closes the eventfd, also when it is freed: an epoll object does so with any descriptor, and never warns."""
        self._shared = epoll is not None
        self._closed = False
        self.fd = -1
        self.lost = False
        """The thread that polls cannot be woken, because :attr:`fd` was closed: see :meth:`reopen`."""
        self.on_lost: Callable[[], object] = _do_nothing
        """Called when another part of the program has closed a descriptor of this object. Any thread."""
        self.substitute = Waiter()
        """Where the thread that polls waits while this object is :attr:`lost`: each signal wakes it then."""
        self._signalling: deque[bool] = deque()
        """One item for each thread that is inside :meth:`signal`."""
        if hasattr(os, "eventfd") and hasattr(select, "epoll") and not portable:
            self._epoll = epoll if epoll is not None else select.epoll()
            self._add_eventfd(self._epoll)
            if epoll is None:
                self.fd = self._epoll.fileno()
            else:
                low = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                alarm = select.epoll.fromfd(move_up(low))
                if alarm.fileno() != low:  # else a client might receive what is written to it
                    epoll.register(alarm.fileno(), select.EPOLLIN)
                    self._alarm = alarm
        else:
            self._open_pair()

    def signal(self) -> None:
        """Make the descriptor readable; does nothing when it is readable already, or closed."""
        while True:
            try:
                return self._signal()
            except MemoryError:
                time.sleep(0)  # a thread that is not woken now may never be

    def _signal(self) -> None:
        # This thread adds its item before it reads _closed; close() sets _closed before it waits until no item is left.
        # So no thread uses the numbers after close() has closed them.
        self._signalling.append(True)
        try:
            if not self._closed:
                epoll = self._epoll
                if epoll is not None:
                    epoll.modify(self._eventfd, _NEXT_EVENT)
                elif self.lost:
                    self.substitute.wake()
                else:
                    self._send()
        except BlockingIOError:  # it is readable already
            pass
        except OSError:  # a number is not ours any more
            self.replace_eventfd()
            self.substitute.wake()
        finally:
            try:  # noqa: SIM105 - nothing may be allocated here: close() would wait for ever for an item that stays
                self._signalling.pop()
            except IndexError:  # this is a child that a signal handler has forked: see after_fork()
                pass

    def _send(self) -> None:
        if self._pair is None or not self._is_ours(1):
            raise OSError("closed by another part of the program")
        self._pair[1].send(b"\0")

    def clear(self) -> bool:
        """Make the descriptor unreadable again, by its owner. False: it has been closed."""
        try:
            if self._epoll is not None:
                if not self._shared:
                    self._epoll.poll(0)
            elif self._pair is None or not self._is_ours(0):
                return False
            else:
                while self._pair[0].recv(4096):
                    pass
        except (BlockingIOError, InterruptedError):
            return True
        except (OSError, ValueError):
            return False
        return True

    # ---- when another part of the program has closed a descriptor ----

    def replace_eventfd(self) -> None:
        """Another part of the program has closed the eventfd: go on with a new one. Any thread.

        If :attr:`fd` itself is closed, only its owner can go on with another one: see :meth:`reopen`.
        """
        if self.lost:
            return
        try:
            if self._epoll is None:
                raise OSError
            _ABANDONED.append(self._owner)
            self._add_eventfd(self._epoll)
            self._epoll.modify(self._eventfd, _NEXT_EVENT)
        except (OSError, ValueError):
            self.give_up()
            return
        self.on_lost()

    def give_up(self) -> None:
        """What the owner polls with was closed: from now on it waits at :attr:`substitute`. Any thread."""
        if not self.lost:
            self.lost = True
            if self._alarm is not None:
                with contextlib.suppress(OSError):  # it was closed, too
                    os.eventfd_write(self._alarm.fileno(), 1)
            self.on_lost()

    def reopen(self) -> bool:
        """By the owner, after :meth:`clear` returned False: go on with another :attr:`fd`. False: there is none."""
        if self._closed or self._shared:
            return False
        try:
            if self._epoll is not None:
                _ABANDONED.extend((self._epoll, self._owner))
                self._epoll = select.epoll()
                self._add_eventfd(self._epoll)
                self.fd = self._epoll.fileno()
            else:
                self._close_pair()
                self._open_pair()
        except OSError:
            return False
        if not self.lost:
            self.on_lost()
        self.lost = False
        return True

    def _add_eventfd(self, epoll: select.epoll) -> None:
        eventfd = os.eventfd(1, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            owner = select.epoll.fromfd(eventfd)
        except BaseException:  # out of memory
            os.close(eventfd)
            raise
        epoll.register(eventfd, select.EPOLLONESHOT)  # no event before the first signal
        self._owner = owner
        self._eventfd = eventfd
        if self._shared:
            self.fd = eventfd

    def _open_pair(self) -> None:
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        self._pair = reader, writer
        self._identities = identity(reader.fileno()), identity(writer.fileno())
        self.fd = reader.fileno()

    def _is_ours(self, end: int) -> bool:
        return self._pair is not None and identity(self._pair[end].fileno()) == self._identities[end]

    def _close_pair(self) -> None:
        for end, sock in enumerate(self._pair or ()):
            if self._is_ours(end):
                sock.close()
            else:
                sock.detach()

    def after_fork(self) -> None:
        """In a forked child, before :meth:`close`: forget the parent's threads that are inside :meth:`signal`."""
        self._signalling.clear()

    def close(self) -> None:
        """Close the descriptors, but not a number that belongs to another file now. The owner calls it when no thread
        polls them any more; an epoll object that was passed in is still open then.
        """
        if self._closed:
            return
        self._closed = True
        while self._signalling.count(True):  # not len(), which takes no lock where there is no GIL
            time.sleep(0)
        self.fd = -1
        if self._alarm is not None:
            self._alarm.close()  # does nothing if it was closed before
        if self._epoll is None:
            self._close_pair()
            return
        try:  # are both numbers still ours? A forked child shares the epoll object: it may not take a signal back
            self._epoll.modify(self._eventfd, _NEXT_EVENT)
        except (OSError, ValueError):
            _ABANDONED.append(self._owner)
            if self.lost or not self._shared:
                _ABANDONED.append(self._epoll)
            return
        if self._owner is not None:
            self._owner.close()
        if not self._shared:
            self._epoll.close()


def identity(fd: int) -> object:
    """What tells an open file from every other one; None: closed, or the platform cannot tell."""
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _do_nothing() -> None:
    """The reaction to a lost descriptor that nothing has set."""
