"""The keys of a miniredis, their values and when they expire. It has no sockets, and its caller has the lock.

A value is ``bytes`` (a string), a ``deque`` (list), a ``set``, a ``dict`` (hash) or a :class:`SortedSet`.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterator
from typing import TypeAlias, TypeVar

__all__ = ["ENTRY", "CommandError", "Database", "SortedSet", "Value", "wrong_kind"]

ENTRY = 100
"""Bytes that each key, and each element of a value, is counted with in addition to its own."""


class CommandError(Exception):
    """A command that cannot be carried out. The text is the error that the client gets; its first word is the kind."""


def wrong_kind() -> CommandError:
    """The error of a command for another kind of value than the key has."""
    return CommandError("WRONGTYPE Operation against a key holding the wrong kind of value")


class SortedSet(Collection[bytes]):
    """Members with scores: each can be set and removed, and the one with the lowest score is found at once.

    The heap also has scores that are out of date; they are skipped, and removed when they are more than half of it. So
    it keeps no more members in memory than are counted, but for a constant factor.
    """

    def __init__(self) -> None:
        self.scores: dict[bytes, float] = {}
        self._heap: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self.scores)

    def __contains__(self, member: object) -> bool:
        return member in self.scores

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.scores)

    def put(self, member: bytes, score: float) -> bool:
        """Set the score; True: the member is new."""
        before = self.scores.get(member)
        if before != score:
            self.scores[member] = score
            heapq.heappush(self._heap, (score, member))
            self._clean()
        return before is None

    def discard(self, member: bytes) -> bool:
        """Remove the member; False: it is not there."""
        if self.scores.pop(member, None) is None:
            return False
        self._clean()
        return True

    def _clean(self) -> None:
        """Remove the scores that are out of date, if they are more than half of the heap."""
        if len(self._heap) > 2 * len(self.scores):
            self._heap = [(score, member) for member, score in self.scores.items()]
            heapq.heapify(self._heap)

    def lowest(self) -> tuple[bytes, float] | None:
        """The member with the lowest score, and the score; None: there is none."""
        heap, scores = self._heap, self.scores
        while heap:
            score, member = heap[0]
            if scores.get(member) == score:
                return member, score
            heapq.heappop(heap)
        return None


Value: TypeAlias = "bytes | deque[bytes] | set[bytes] | dict[bytes, bytes] | SortedSet"
V = TypeVar("V", deque[bytes], set[bytes], dict[bytes, bytes], SortedSet)


class Database:
    """Keys and values. One for all connections.

    :param max_memory: bytes that keys and values may have, with :data:`ENTRY` for each; then commands that add are
        refused.
    :param max_value: bytes of one string.
    """

    def __init__(self, max_memory: int, max_value: int) -> None:
        self.max_memory = max_memory
        self.max_value = max_value
        self.used = 0
        self.values: dict[bytes, Value] = {}
        self.now = 0.0
        """Seconds since 1970: the time of the commands that are carried out now."""
        self._expiry = SortedSet()

    def begin(self, now: float) -> None:
        """Set the time, and remove the keys that have expired by then. Called before commands."""
        self.now = now
        while self._expiry.scores and (first := self._expiry.lowest()) is not None and first[1] <= now:
            self.delete(first[0])

    def set(self, key: bytes, value: bytes, *, expires: float | None = None, keep_expiry: bool = False) -> None:
        """Store a string.

        :param expires: seconds since 1970; None: never.
        :param keep_expiry: the key expires when it would have anyway.
        """
        before = self.values.get(key)
        if before is None:
            self.count(len(key) + len(value) + ENTRY)
        elif type(before) is bytes:
            self.count(len(value) - len(before))
        else:
            self.count(len(value) + ENTRY - _size(before))
        self.values[key] = value
        if expires is not None:
            self._expiry.put(key, expires)
        elif self._expiry.scores and not keep_expiry:
            self._expiry.discard(key)

    def delete(self, key: bytes) -> bool:
        """Remove a key; False: there is none."""
        value = self.values.pop(key, None)
        if value is None:
            return False
        self.used -= len(key) + _size(value)
        self._expiry.discard(key)
        return True

    def clear(self) -> None:
        """Remove all keys."""
        self.values.clear()
        self._expiry = SortedSet()
        self.used = 0

    def string(self, key: bytes) -> bytes | None:
        """The value of a key as a string; None: there is none. Raises CommandError for another kind of value."""
        value = self.values.get(key)
        if value is None or type(value) is bytes:
            return value
        raise wrong_kind()

    def collection(self, kind: type[V], key: bytes) -> V | None:
        """The value of a key as one of ``kind``; None: there is none. Raises CommandError for another kind of value."""
        value = self.values.get(key)
        if value is None or type(value) is kind:
            return value
        raise wrong_kind()

    def made(self, kind: type[V], key: bytes, elements: Collection[bytes]) -> V:
        """As :meth:`collection`, and an empty one if there is none.

        :param elements: what the caller is about to add; they are counted.
        """
        value = self.collection(kind, key)
        size = sum(map(len, elements), ENTRY * len(elements))
        if value is None:
            self.count(len(key) + ENTRY + size)
            value = self.values[key] = kind()
        else:
            self.count(size)
        return value

    def count(self, size: int) -> None:
        """Count bytes that a command is about to add; negative: that it removes.

        Raises CommandError when there is no memory for them.
        """
        if size > 0 and self.used + size > self.max_memory:
            raise CommandError(
                f"OOM command not allowed: keys and values have {self.used} bytes, --max-memory is {self.max_memory}"
            )
        self.used += size

    def removed(self, key: bytes, elements: Collection[bytes]) -> None:
        """Count what a command has removed from a collection, and remove the key when nothing is left."""
        self.used -= sum(map(len, elements)) + ENTRY * len(elements)
        if not self.values[key]:
            self.delete(key)

    def expires(self, key: bytes) -> float | None:
        """When a key expires, in seconds since 1970; None: never."""
        return self._expiry.scores.get(key)

    def expire(self, key: bytes, when: float | None) -> None:
        """Set when a key expires, in seconds since 1970; None: never."""
        if when is None:
            self._expiry.discard(key)
        elif when <= self.now:
            self.delete(key)
        else:
            self._expiry.put(key, when)


def _size(value: Value) -> int:
    """Bytes that a value is counted with."""
    if isinstance(value, bytes):
        return len(value) + ENTRY
    if isinstance(value, dict):
        return ENTRY + sum(len(field) + len(text) + ENTRY for field, text in value.items())
    return ENTRY + sum(len(element) + ENTRY for element in value)
