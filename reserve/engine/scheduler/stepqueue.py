"""The connections that wait to be stepped by the leader: two queues, and the order in which the leader takes from them.

Any thread appends to them (``deque.append`` needs no lock); the leader alone takes from them.
"""

from __future__ import annotations

from collections import deque

from reserve.engine.connections.connection import Connection

__all__ = ["CROWD", "StepQueue"]

CROWD = 32
"""With more READY connections than this, the leader takes the newest and the oldest in turn. See
reserve/docs/decisions/0015-long-lines.md.
"""


class StepQueue:
    """The two queues of one server, owned by its ready queue."""

    __slots__ = ("_more_next", "_newest_next", "more", "ready")

    def __init__(self) -> None:
        self.ready: deque[Connection] = deque()
        """Connections that are READY because of an event or a deadline, or because they are new."""
        self.more: deque[Connection] = deque()
        """Connections that were stepped and want another step, or whose output has room."""
        self._more_next = False
        self._newest_next = False

    def __len__(self) -> int:
        return len(self.ready) + len(self.more)

    def take(self, *, both_ends: bool) -> Connection:
        """By the leader: take the next connection, from the two queues in turn.

        :param both_ends: if ``ready`` has more than :data:`CROWD` connections, take its newest and its oldest in turn.

        Raises IndexError when both queues are empty.
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
