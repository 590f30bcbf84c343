"""Who has subscribed to what. Shared by the connections of one application; any thread may call it.

The lock guards the two tables only: what happens to the subscribers happens outside of it.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Topics"]

S = TypeVar("S", bound=Hashable)


class Topics(Generic[S]):
    """Subscribers by topic, in the order in which they came, and topics by subscriber."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: dict[str, dict[S, None]] = {}
        self._topics: dict[S, set[str]] = {}

    def join(self, topic: str, subscriber: S, limit: int) -> bool:
        """Subscribe (again: nothing changes); False when the subscriber has ``limit`` topics already."""
        with self._lock:
            topics = self._topics.setdefault(subscriber, set())
            if topic not in topics and len(topics) >= limit:
                return False
            topics.add(topic)
            self._subscribers.setdefault(topic, {})[subscriber] = None
            return True

    def leave(self, subscriber: S) -> None:
        """Forget the subscriber and every topic that nobody else has; it may be unknown."""
        with self._lock:
            for topic in self._topics.pop(subscriber, ()):
                subscribers = self._subscribers[topic]
                del subscribers[subscriber]
                if not subscribers:
                    del self._subscribers[topic]

    def subscribers(self, topic: str) -> list[S]:
        """Those of this moment."""
        with self._lock:
            return list(self._subscribers.get(topic, ()))

    def __len__(self) -> int:
        """How many topics somebody has subscribed to."""
        return len(self._subscribers)
