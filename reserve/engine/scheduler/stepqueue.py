"""Connections that wait to be stepped by the leader: two lines, and whose turn is next.

Any thread appends to them (``deque.append`` needs no lock); the leader alone takes from them.
"""

from __future__ import annotations

from collections import deque

from reserve.engine.connections.connection import Connection

__all__ = ["CROWD", "StepQueue"]

CROWD = 32
"""Connections in the first line beyond which the leader takes from both of its ends in turn: see decision 15."""


class StepQueue:
    """The two lines of one server, owned by its ready queue."""

    __slots__ = ("_more_next", "_newest_next", "more", "ready")

    def __init__(self) -> None:
        self.ready: deque[Connection] = deque()
        """Those that an event, a deadline or the accept thread has brought."""
        self.more: deque[Connection] = deque()
        """Those that have had a turn and want another, or whose output can go on."""
        self._more_next = False
        self._newest_next = False

    def __len__(self) -> int:
        return len(self.ready) + len(self.more)

    def take(self, *, both_ends: bool) -> Connection:
        """By the leader: the next one. The two lines take turns.

        :param both_ends: in a crowd the oldest and the newest of the first line take turns.

        Raises IndexError when both lines are empty.
        """
        ready, more = self.ready, self.more
        self._more_next = not self._more_next
        if more and (self._more_next or not ready):
            return more.popleft()
        if both_ends and len(ready) > CROWD:
            self._newest_next = not self._newest_next
            if self._newest_next:
                return ready.pop()
        return ready.popleft()
