"""The lead: the right to poll and to step connections. There is one; a thread has it, or it lies in its place.

The thread that takes its token has it, and an empty place means that another thread has it: that take is the only
decision, so the lead cannot be given twice. Followers sleep here, each on a waiter of its own. The two sides look in
opposite order, so that no thread is overlooked: a thread that releases the lead looks for followers afterwards; a
thread that becomes a follower looks for the lead afterwards. For memory see :mod:`reserve.engine.polling.outofmemory`.
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

    __slots__ = ("_closed", "_token", "followers", "releases", "take")

    def __init__(self) -> None:
        self._token = new_token(present=True)
        self._closed = False
        self.take: Callable[[], bool] = functools.partial(take, self._token)
        """Take the lead; False when another thread has it. Any thread."""
        self.followers: deque[Follower] = deque()
        """The threads that wait for the lead; the last one waits shortest."""
        self.releases = 0
        """How often the lead was released. Written by the thread that has it: no two at once."""

    @property
    def free(self) -> bool:
        """No thread has it (a look, not a promise)."""
        return bool(self._token)

    # ---- by the thread that has it ----

    def release(self) -> None:
        """Put it into its place: its holder intends to take it back, and the monitor watches."""
        try:  # noqa: SIM105 - contextlib.suppress would allocate
            self.releases += 1
        except MemoryError:  # the monitor takes it for the release before, and takes the lead a moment early
            pass
        self._token.append(True)

    def hand_over(self) -> None:
        """Wake a follower with it; without one, release it."""
        while True:
            # Only an empty deque makes either of them fail; without memory for that error it is a MemoryError.
            try:
                follower = self.followers.pop()
            except (IndexError, MemoryError):
                follower = None
            if follower is not None:
                follower.wake_once()
                return
            try:  # noqa: SIM105
                self.releases += 1
            except MemoryError:
                pass
            self._token.append(True)
            # A thread may have looked for the lead just before, and become a follower just after we looked for one.
            if not self.followers:
                return
            try:
                self._token.pop()
            except (IndexError, MemoryError):
                return

    def wake_follower(self) -> bool:
        """Wake a follower with it; False when there is none."""
        try:
            follower = self.followers.pop()  # the last that went to sleep: its memory is still in the caches
        except IndexError:
            return False
        follower.wake_once()  # without a call of ours in between: it would be lost without memory for that
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
                # A thread that takes a follower from the deque has the lead, and we have it: so we are still in there.
                # Only a close takes followers without the lead.
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
        """Leave the deque; False when another thread has taken the follower out, and wakes it."""
        try:
            self.followers.remove(follower)
        except ValueError:
            follower.wait()
            return False
        return True

    def close(self) -> None:
        """Wake every follower without the lead, now and from now on. Any thread, once."""
        self._closed = True
        while self.wake_follower():
            pass
