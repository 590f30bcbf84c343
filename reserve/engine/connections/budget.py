"""The bytes that all connections of a server hold together, in memory and in files, each with a limit.

Any thread calls it. When the bytes that a connection holds change, its owner reports the difference with
:meth:`Budget.change`, under one lock. An ordinary request holds nothing and reports nothing. A check reserves nothing,
so threads that check at the same moment may exceed a limit slightly.

The files have two kinds of content, bodies of requests and responses. A quarter of the disk belongs to each kind alone,
so that clients that do not read their responses leave room for uploads, and the other way round; the half that remains
is for both. No response gets more than a quarter of the room that the others leave, so that a few slow readers leave
room for the responses of all others.
"""

from __future__ import annotations

import threading

__all__ = ["Budget"]

_RESERVED = 4
"""One part in so many of the disk belongs to each kind alone."""
_SHARE = 4
"""One response may have one part in so many of the room that the other responses leave."""


class Budget:
    """The sums of one server and their limits.

    :param memory: bytes that may wait in memory (``--buffer-memory``).
    :param disk: bytes that may wait in files (``--spool-disk``).
    """

    __slots__ = ("_lock", "disk", "disk_limit", "memory", "memory_limit", "responses")

    def __init__(self, memory: int, disk: int) -> None:
        self._lock = threading.Lock()
        self.memory_limit = memory
        self.disk_limit = disk
        self.memory = 0
        """Bytes in memory now."""
        self.disk = 0
        """Bytes in files now."""
        self.responses = 0
        """Those of them that belong to responses; the others belong to bodies of requests."""

    def change(self, memory: int, bodies: int, responses: int) -> None:
        """Add to the sums; negative numbers subtract.

        :param memory: bytes in memory.
        :param bodies: bytes of bodies in files.
        :param responses: bytes of responses in files.
        """
        with self._lock:
            self.memory += memory
            self.disk += bodies + responses
            self.responses += responses

    def memory_for(self, count: int) -> bool:
        """Say whether ``count`` more bytes are within the limit of memory."""
        return self.memory + count <= self.memory_limit

    def disk_for_body(self, count: int) -> bool:
        """Say whether ``count`` more bytes of a body are within the limit of disk and the part of it for bodies."""
        return count <= self._room(self.disk - self.responses)

    def disk_for_response(self, count: int) -> bool:
        """Say whether ``count`` more bytes of a response are within the limit of disk and the part for responses."""
        return count <= self._room(self.responses)

    def within_share(self, held: int, count: int) -> bool:
        """Say whether one response may have ``count`` more bytes in its file: a quarter of what the others leave.

        :param held: its bytes in the file, which :meth:`change` was told of.
        """
        return held + count <= (self._room(self.responses) + held) // _SHARE

    def _room(self, used: int) -> int:
        """Bytes that are left for one kind, of which ``used`` are in files."""
        limit = self.disk_limit
        return min(limit - limit // _RESERVED - used, limit - self.disk)
