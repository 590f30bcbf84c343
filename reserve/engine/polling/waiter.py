"""One thread sleeps, another wakes it: the lock that every thread of the engine sleeps on.

Nothing in here allocates between the decision to wake a thread and the wake-up, because memory may run out anywhere and
a thread that is not woken then may never be.
"""

from __future__ import annotations

import threading

__all__ = ["Alarm", "Waiter"]


class Waiter:
    """Where one thread sleeps; owned by that thread.

    The owner calls :meth:`wait`. Any thread wakes it: once for each wait with :attr:`wake_once`, or with :meth:`wake`
    any number of times. A wake-up before the wait ends the wait at once.
    """

    __slots__ = ("_acquire", "wait_forever", "wake_once")

    def __init__(self) -> None:
        lock = threading.Lock()
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

    __slots__ = ("asleep",)

    def __init__(self) -> None:
        super().__init__()
        self.asleep = False
        """Set by the owner before its last look for work; a thread with work for it calls :meth:`wake` while it is
        set.
        """

    def wake(self) -> None:
        self.asleep = False
        try:  # noqa: SIM105
            self.wake_once()
        except (RuntimeError, MemoryError):
            pass
