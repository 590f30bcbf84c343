"""The leads: each is the right to poll, and to step the connections that it finds. A thread has a lead, or it is free.

With the GIL a server has one lead, because only one thread at a time runs Python anyway. Without it there are as many
as processors, and their threads poll the same poller side by side.

A lead is a token. Taking the token is the only way to get the lead, unless the thread that has it passes it on; so two
threads never have the same one. A thread that finds no token becomes a follower and sleeps on its own waiter. No
follower is overlooked, because the two sides act in opposite order: a thread that releases a lead looks for followers
afterwards, and a thread that becomes a follower looks for every lead afterwards; both pass the lock that the
interpreter has for the token's deque. For MemoryError see :mod:`reserve.engine.polling.outofmemory`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from reserve.engine.connections.connection import Connection
from reserve.engine.polling.token import new_token, pass_lock
from reserve.engine.polling.waiter import Waiter

__all__ = ["Follower", "Lead", "Leads"]


class Lead:
    """One lead, and what is written only by the thread that has it: nothing here is shared while requests are served.

    :param ready: where its thread puts the connections for which it has found events.
    """

    __slots__ = ("hand_overs", "ready", "releases", "runs", "since_poll", "stale_at", "stepped_at", "token")

    def __init__(self, ready: deque[Connection]) -> None:
        self.token = new_token(present=True)
        """The lead itself: see :meth:`take` and :meth:`release`, which the workers' loop does without a call."""
        self.ready = ready
        """The connections that are READY because of an event that this lead's thread has found. With one lead it is the
        queue of all. Other threads take from it when they have nothing to do.
        """
        self.releases = 0
        """How often the lead was released."""
        self.hand_overs = 0
        """How often it was passed on to a follower."""
        self.runs = 0
        """Runs begun by a thread that had the lead."""
        self.stepped_at = 0.0
        """When its thread began the last step, or looked for events."""
        self.stale_at = 0.0
        """When its thread looks for new events even if it has stepped few connections since it last did."""
        self.since_poll = 0
        """How many connections it has stepped since."""

    @property
    def free(self) -> bool:
        """No thread has the lead (may be out of date at once)."""
        return bool(self.token)

    def take(self) -> bool:
        """Take the lead; False when another thread has it. Any thread."""
        try:
            return self.token.pop()
        except IndexError:
            return False

    def release(self) -> None:
        """By the thread that has it: put the token back. The caller intends to take it again; until then the monitor
        may take it.
        """
        try:  # noqa: SIM105 - contextlib.suppress would allocate
            self.releases += 1
        except MemoryError:  # the monitor then mistakes this for the previous release, and may take the lead early
            pass
        self.token.append(True)


class Follower(Waiter):
    """What a thread needs to wait for a lead; owned by that thread, which calls :meth:`Leads.wait`.

    Any thread that takes it from :attr:`Leads.followers` wakes it, once.
    """

    __slots__ = ("given", "lead")

    def __init__(self) -> None:
        super().__init__()
        self.lead: Lead | None = None
        """The lead that its thread has. Written by that thread only."""
        self.given: Lead | None = None
        """The lead with which it is woken. Written by the thread that wakes it, before."""


class Leads:
    """The leads of one server and the threads that wait for one.

    :param ready: for each of the leads, see :attr:`Lead.ready`.
    """

    __slots__ = ("_closed", "all", "followers")

    def __init__(self, *ready: deque[Connection]) -> None:
        self.all = tuple(map(Lead, ready))
        self._closed = False
        self.followers: deque[Follower] = deque()
        """The threads that wait for a lead. The one that began to wait last is at the right end."""

    @property
    def wanted(self) -> bool:
        """A lead is free that should not be: a thread waits for it, or no thread leads (may be out of date at once)."""
        free = [lead.free for lead in self.all]
        return all(free) or (any(free) and bool(self.followers))

    @property
    def runs(self) -> int:
        """Runs begun by a thread that had a lead."""
        return sum(lead.runs for lead in self.all)

    @property
    def hand_overs(self) -> int:
        """How often a lead was passed on to a follower."""
        return sum(lead.hand_overs for lead in self.all)

    def take(self) -> Lead | None:
        """Take a lead that is free; None when there is none. Any thread."""
        for lead in self.all:
            try:
                lead.token.pop()
            except IndexError:
                continue
            return lead
        return None

    def synchronize(self) -> None:
        """By the monitor, after it has said that it sleeps: from now on it sees what the threads have counted that have
        released or passed on a lead before, and those that do so later see that it sleeps. For each of them has passed
        one of these locks in between.
        """
        for lead in self.all:
            pass_lock(lead.token)
        pass_lock(self.followers)

    # ---- by the thread that has it ----

    def hand_over(self, lead: Lead) -> None:
        """Pass the lead to a follower and wake it; release the lead when there is no follower."""
        while True:
            # Each pop() below fails only if its deque is empty: with IndexError, or, without memory, with MemoryError.
            try:
                follower = self.followers.pop()
            except (IndexError, MemoryError):
                follower = None
            if follower is not None:
                try:  # noqa: SIM105
                    lead.hand_overs += 1
                except MemoryError:
                    pass
                follower.given = lead
                follower.wake_once()
                return
            try:  # noqa: SIM105
                lead.releases += 1
            except MemoryError:
                pass
            lead.token.append(True)
            # Another thread may have looked for the lead before it was released, and have become a follower after
            # this thread looked for one.
            if not self.followers:
                return
            try:
                lead.token.pop()
            except (IndexError, MemoryError):
                return

    def wake_follower(self, lead: Lead | None) -> bool:
        """Pass the lead to a follower and wake it; False when there is no follower.

        :param lead: None: wake it without one, because the server ends.
        """
        try:
            follower = self.followers.pop()  # the last that went to sleep: its data may still be in the caches
        except IndexError:
            return False
        if lead is not None:
            try:  # noqa: SIM105
                lead.hand_overs += 1
            except MemoryError:
                pass
        # No Python function is called between pop and wake: a MemoryError there would lose the lead.
        follower.given = lead
        follower.wake_once()
        return True

    # ---- by a follower ----

    def wait(self, follower: Follower, before_sleep: Callable[[], None], timeout: float | None = None) -> bool:
        """Block until this follower has a lead (True); False after :meth:`close`, or ``timeout`` seconds.

        :param before_sleep: called when no lead is free, by the thread that is about to sleep.
        :param timeout: None: no limit.
        """
        follower.lead = self.take()
        if follower.lead is not None:
            return True
        self.followers.append(follower)
        if self._closed:
            return False
        try:
            follower.lead = self.take()
            if follower.lead is not None:
                self._leave(follower)
                return True
            before_sleep()
            if follower.wait(timeout):
                follower.lead, follower.given = follower.given, None
            elif self._leave(follower):
                return False
        except BaseException:  # no memory to go to sleep
            self._leave(follower)
            raise
        return not self._closed

    def _leave(self, follower: Follower) -> bool:
        """Remove the follower from the deque. False: another thread has removed it and wakes it, as a rule with a lead.
        The follower keeps one lead, and passes another one on.
        """
        try:
            self.followers.remove(follower)
        except (ValueError, MemoryError):  # there was no memory for the ValueError
            follower.wait_forever()
            given, follower.given = follower.given, None
            if follower.lead is None:
                follower.lead = given
            while given is not None and given is not follower.lead:
                try:
                    self.hand_over(given)
                    break
                except MemoryError:  # for the call itself
                    continue
            return False
        return True

    def close(self) -> None:
        """Wake every follower without giving it a lead; from now on wait() returns False. Any thread, once."""
        self._closed = True
        while self.wake_follower(None):
            pass
