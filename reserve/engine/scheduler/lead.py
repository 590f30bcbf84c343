"""The lead: the right to poll and to step connections. A server has one lead; a thread has it, or it is free.

The lead is a token. Taking the token is the only way to get the lead, unless the thread that has it passes it on; so
two threads never have it at once. A thread that finds no token becomes a follower and sleeps on its own waiter. No
follower is overlooked, because the two sides act in opposite order: a thread that releases the lead looks for followers
afterwards, and a thread that becomes a follower looks for the lead afterwards. For MemoryError see
:mod:`reserve.engine.polling.outofmemory`.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable

from reserve.engine.polling.token import new_token, take
from reserve.engine.polling.waiter import Waiter

__all__ = ["Follower", "Lead"]


class Follower(Waiter):
    """What a thread needs to wait for the lead; owned by that thread, which calls :meth:`Lead.wait`.

    Any thread that takes it from :attr:`Lead.followers` wakes it, once.
    """

    __slots__ = ("leads",)

    def __init__(self) -> None:
        super().__init__()
        self.leads = False
        """Its thread has the lead. Written by that thread only."""


class Lead:
    """The lead of one server and the threads that wait for it."""

    __slots__ = ("_closed", "followers", "hand_overs", "releases", "take", "token")

    def __init__(self) -> None:
        self.token = new_token(present=True)
        """The lead itself: see :attr:`take` and :meth:`release`, which the workers' loop does without a call."""
        self._closed = False
        self.take: Callable[[], bool] = functools.partial(take, self.token)
        """Take the lead; False when another thread has it. Any thread."""
        self.followers: deque[Follower] = deque()
        """The threads that wait for the lead. The one that began to wait last is at the right end."""
        self.releases = 0
        """How often the lead was released. Written by the thread that has it: no two at once."""
        self.hand_overs = 0
        """How often it was passed on to a follower. Written likewise."""

    @property
    def free(self) -> bool:
        """No thread has the lead (may be out of date at once)."""
        return bool(self.token)

    # ---- by the thread that has it ----

    def release(self) -> None:
        """Put the token back. The caller intends to take it again; until then the monitor may take it."""
        try:  # noqa: SIM105 - contextlib.suppress would allocate
            self.releases += 1
        except MemoryError:  # the monitor then mistakes this for the previous release, and may take the lead early
            pass
        self.token.append(True)

    def hand_over(self) -> None:
        """Pass the lead to a follower and wake it; release the lead when there is no follower."""
        while True:
            # Each pop() below fails only if its deque is empty: with IndexError, or, without memory, with MemoryError.
            try:
                follower = self.followers.pop()
            except (IndexError, MemoryError):
                follower = None
            if follower is not None:
                try:  # noqa: SIM105
                    self.hand_overs += 1
                except MemoryError:
                    pass
                follower.wake_once()
                return
            try:  # noqa: SIM105
                self.releases += 1
            except MemoryError:
                pass
            self.token.append(True)
            # Another thread may have looked for the lead before it was released, and have become a follower after
            # this thread looked for one.
            if not self.followers:
                return
            try:
                self.token.pop()
            except (IndexError, MemoryError):
                return

    def wake_follower(self) -> bool:
        """Pass the lead to a follower and wake it; False when there is no follower."""
        try:
            follower = self.followers.pop()  # the last that went to sleep: its data may still be in the caches
        except IndexError:
            return False
        try:  # noqa: SIM105
            self.hand_overs += 1
        except MemoryError:
            pass
        # No Python function is called between pop and wake: a MemoryError there would lose the lead.
        follower.wake_once()
        return True

    # ---- by a follower ----

    def wait(self, follower: Follower, before_sleep: Callable[[], None], timeout: float | None = None) -> bool:
        """Block until this follower has the lead (True); False after :meth:`close`, or ``timeout`` seconds.

        :param before_sleep: called when the lead is not free, by the thread that is about to sleep.
        :param timeout: None: no limit.
        """
        if self.take():
            follower.leads = True
            return True
        self.followers.append(follower)
        if self._closed:
            return False
        try:
            if self.take():
                follower.leads = True
                # Only the thread that has the lead removes followers. This thread has it, so its follower is still in
                # the deque. The exception is close(), which removes followers without the lead.
                try:  # noqa: SIM105
                    self.followers.remove(follower)
                except ValueError:
                    pass
                return True
            before_sleep()
            woken = follower.wait(timeout)
        except BaseException:  # no memory to go to sleep
            if not follower.leads and not self._withdraw(follower):
                follower.leads = True
            raise
        if not woken and self._withdraw(follower):
            return False
        if self._closed:
            return False
        follower.leads = True
        return True

    def _withdraw(self, follower: Follower) -> bool:
        """Remove the follower from the deque; False when another thread has removed it, and wakes it."""
        try:
            self.followers.remove(follower)
        except ValueError:
            follower.wait()
            return False
        return True

    def close(self) -> None:
        """Wake every follower without giving it the lead; from now on wait() returns False. Any thread, once."""
        self._closed = True
        while self.wake_follower():
            pass
