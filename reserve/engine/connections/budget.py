"""The bytes that all connections of a server hold together, in memory and in files, each with a limit.

Any thread calls it. When the bytes that a connection holds change, its owner reports the difference with
:meth:`Budget.change`, under one lock. An ordinary request holds nothing and reports nothing. A check reserves nothing,
so threads that check at the same moment may exceed a limit slightly.
"""

from __future__ import annotations

import threading

__all__ = ["Budget"]


class Budget:
    """The sums of one server and their limits.

    :param memory: bytes that may wait in memory (``--buffer-memory``).
    :param disk: bytes that may wait in files (``--spool-disk``).
    """

    __slots__ = ("_lock", "disk", "disk_limit", "memory", "memory_limit")

    def __init__(self, memory: int, disk: int) -> None:
        self._lock = threading.Lock()
        self.memory_limit = memory
        self.disk_limit = disk
        self.memory = 0
        """Bytes in memory now."""
        self.disk = 0
        """Bytes in files now."""

    def change(self, memory: int, disk: int) -> None:
        """Add to the sums; negative numbers subtract."""
        with self._lock:
            self.memory += memory
            self.disk += disk

    def memory_for(self, count: int) -> bool:
        """Say whether ``count`` more bytes are within the limit of memory."""
        return self.memory + count <= self.memory_limit

    def disk_for(self, count: int) -> bool:
        """Say whether ``count`` more bytes are within the limit of disk."""
        return self.disk + count <= self.disk_limit
