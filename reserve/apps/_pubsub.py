"""Which subscribers have subscribed to which topics. The connections of one application share it.

Any thread may call it. The lock guards the two tables only; callers use the subscribers outside of it.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Topics"]

S = TypeVar("S", bound=Hashable)


class Topics(Generic[S]):
    """Subscribers by topic, in the order in which they subscribed, and topics by subscriber."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: dict[str, dict[S, None]] = {}
        self._topics: dict[S, set[str]] = {}

    def subscribe(self, topic: str, subscriber: S, limit: int) -> bool:
        """False when the subscriber has ``limit`` topics already. To subscribe twice to one topic changes nothing."""
        with self._lock:
            topics = self._topics.setdefault(subscriber, set())
            if topic not in topics and len(topics) >= limit:
                return False
            topics.add(topic)
            self._subscribers.setdefault(topic, {})[subscriber] = None
            return True

    def unsubscribe_all(self, subscriber: S) -> None:
        """Forget the subscriber, which may be unknown, and every topic that has no subscriber then."""
        with self._lock:
            for topic in self._topics.pop(subscriber, ()):
                subscribers = self._subscribers[topic]
                del subscribers[subscriber]
                if not subscribers:
                    del self._subscribers[topic]

    def subscribers(self, topic: str) -> list[S]:
        """The subscribers of ``topic`` at this moment."""
        with self._lock:
            return list(self._subscribers.get(topic, ()))

    def __len__(self) -> int:
        """How many topics have subscribers."""
        return len(self._subscribers)
