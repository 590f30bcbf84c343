"""One thread sleeps, another wakes it: the lock that every thread of the engine sleeps on.

Nothing in here allocates between the decision to wake a thread and the wake-up, because memory may run out anywhere and
a thread that is not woken then may never be.

The lock is one in C (``_lock.c``) where that was compiled, unless ``RESERVE_PURE=1`` is set. It gives the GIL up before
it wakes the other thread: that needs the GIL, and would have to sleep once more. So another thread may run while one is
woken. Without a GIL, and without a compiler, it is :class:`threading.Lock`.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from reserve.engine.polling.processors import has_gil
from reserve.engine.polling.token import pass_lock

__all__ = ["Alarm", "Lock", "Waiter", "lock_type", "new_lock"]


class Lock(Protocol):
    """What a waiter uses of its lock. Any thread calls it."""

    def acquire(self, blocking: bool = ..., timeout: float = ...) -> bool: ...

    def release(self) -> None: ...


def lock_type() -> Callable[[], Lock]:
    """The class of the locks: the one in C or :class:`threading.Lock`."""
    if os.environ.get("RESERVE_PURE") != "1" and has_gil():
        try:
            from reserve.engine.polling import _lock
        except ImportError:  # there was no compiler, or it was compiled for another system
            pass
        else:
            return _lock.Lock
    return threading.Lock


new_lock = lock_type()
"""Makes the lock of each waiter. Tests replace it."""


class Waiter:
    """Where one thread sleeps; owned by that thread.

    The owner calls :meth:`wait`. Any thread wakes it: once for each wait with :attr:`wake_once`, or with :meth:`wake`
    any number of times. A wake-up before the wait ends the wait at once.
    """

    __slots__ = ("_acquire", "wait_forever", "wake_once")

    def __init__(self) -> None:
        lock = new_lock()
        lock.acquire()
        self._acquire = self.wait_forever = lock.acquire
        self.wake_once = lock.release
        """Like :attr:`wait_forever` (called without arguments) a call of the interpreter, not one of ours: it needs no
        memory. RuntimeError: the owner was woken already.
        """

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until woken; False when ``timeout`` seconds passed first (None: no limit)."""
        return self._acquire(timeout=-1 if timeout is None else timeout)

    def wake(self) -> None:
        """Wake the owner; nothing when it was woken already."""
        try:  # noqa: SIM105 - contextlib.suppress would allocate
            self.wake_once()
        except (RuntimeError, MemoryError):  # it was woken already and has not gone to sleep since
            pass


class Alarm(Waiter):
    """A waiter whose owner says when it sleeps, so that the other threads wake it only then."""

    __slots__ = ("_gate", "asleep")

    def __init__(self) -> None:
        super().__init__()
        self.asleep = False
        """Set by the owner before its last look for work; a thread with work for it calls :meth:`wake` while it is
        set. Between the two steps each side passes the same lock: that of :meth:`synchronize`, or of another deque.
        """
        self._gate: deque[None] = deque()

    def synchronize(self) -> None:
        """By the owner and by the other threads, between what they write and what they read: see
        :func:`~reserve.engine.polling.token.pass_lock`.
        """
        pass_lock(self._gate)

    def wake(self) -> None:
        self.asleep = False
        try:  # noqa: SIM105
            self.wake_once()
        except (RuntimeError, MemoryError):
            pass
