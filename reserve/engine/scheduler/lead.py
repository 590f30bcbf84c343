"""The lead: the right to poll and to step connections. There is one; a thread has it, or it lies in the slot.

Whoever pops it from the slot has it, and an empty slot means that somebody else does: that pop is the only decision,
so it cannot be given twice. Followers sleep here, each on a lock of its own. The two sides look in opposite order, so
none is overlooked: who lays the lead down looks for sleepers afterwards; who lies down to sleep looks into the slot
afterwards. Memory may run out anywhere: what gives the lead away has either not begun or is done when it raises.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Follower", "Lead"]


class Follower:
    """What a thread needs to wait for the lead. Its own thread calls :meth:`Lead.wait`; anyone who pops it wakes it,
    once.
    """

    __slots__ = ("_waiter", "leads")

    def __init__(self) -> None:
        self._waiter = threading.Lock()
        self._waiter.acquire()
        self.leads = False
        """Has the lead. Written by its own thread only."""

    def sleep(self, patience: float | None = None) -> bool:
        """Wait to be woken; False when ``patience`` seconds passed first (None: wait for ever)."""
        return self._waiter.acquire(timeout=-1 if patience is None else patience)


class Lead:
    """The slot and the sleepers."""

    __slots__ = ("_closed", "_slot", "followers", "releases")

    def __init__(self) -> None:
        self._slot: deque[bool] = deque((True,), maxlen=1)
        self._closed = False
        self.followers: deque[Follower] = deque()
        self.releases = 0
        """How often the lead was left in the slot. Written by the thread that has it: no two at once."""

    @property
    def free(self) -> bool:
        """It lies in the slot (a look, not a promise)."""
        return bool(self._slot)

    def take(self) -> bool:
        """Have the lead, if it lies in the slot. Any thread."""
        try:
            return self._slot.pop()
        except IndexError:
            return False

    # ---- by the thread that has it ----

    def release(self) -> None:
        """Leave it in the slot: its last holder hopes to take it back, and the monitor watches."""
        try:  # noqa: SIM105 - that, too, would ask for memory
            self.releases += 1
        except MemoryError:  # the monitor takes it for the same one, and steals it a moment early
            pass
        self._slot.append(True)

    def hand_over(self) -> None:
        """Wake a follower with it; without one, lay it down."""
        while True:
            # An empty deque is the only reason for either of them; without memory it is told as a MemoryError.
            try:
                follower = self.followers.pop()
            except (IndexError, MemoryError):
                follower = None
            if follower is not None:
                follower._waiter.release()
                return
            try:  # noqa: SIM105
                self.releases += 1
            except MemoryError:
                pass
            self._slot.append(True)
            # A follower may have looked into the slot just before and lain down just after we looked for it.
            if not self.followers:
                return
            try:
                self._slot.pop()
            except (IndexError, MemoryError):
                return

    def wake_follower(self) -> bool:
        """Wake a follower with it, if one sleeps."""
        try:
            follower = self.followers.pop()  # the last to lie down is the one whose memory is still warm
        except IndexError:
            return False
        follower._waiter.release()  # no call of ours in between: it would be lost without memory for that
        return True

    # ---- by a follower ----

    def wait(self, me: Follower, before_sleep: Callable[[], None], patience: float | None = None) -> bool:
        """Block until this follower has the lead (True); False after :meth:`close`, or ``patience`` seconds (None:
        never).
        """
        if self.take():
            me.leads = True
            return True
        self.followers.append(me)
        if self._closed:
            return False
        try:
            if self.take():
                me.leads = True
                # Who pops a sleeper has the lead in hand, and we have it: so we still lie there. Only a close pops
                # without.
                try:  # noqa: SIM105
                    self.followers.remove(me)
                except ValueError:
                    pass
                return True
            before_sleep()
            woken = me.sleep(patience)
        except BaseException:  # no memory to lie down
            if not me.leads and not self._withdraw(me):
                me.leads = True
            raise
        if not woken and self._withdraw(me):
            return False
        if self._closed:
            return False
        me.leads = True
        return True

    def _withdraw(self, me: Follower) -> bool:
        """Lie among the sleepers no more; False when somebody was about to wake us and has done so."""
        try:
            self.followers.remove(me)
        except ValueError:
            me.sleep()
            return False
        return True

    def close(self) -> None:
        """Send every follower home, now and from now on. Any thread, once."""
        self._closed = True
        while self.wake_follower():
            pass
