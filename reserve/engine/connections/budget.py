"""What all connections of a server hold together: octets in memory, and octets in files, each with a limit.

Any thread. A connection that begins or ends to hold something says so through :meth:`Budget.change`, under one lock;
the ordinary request holds nothing and says nothing. The limits are looked at, not reserved: together they may be
passed by what the threads of this moment add.
"""

from __future__ import annotations

import threading

__all__ = ["Budget"]


class Budget:
    """The sums and their limits.

    :param memory: octets that may wait in memory.
    :param disk: octets that may wait in files.
    """

    __slots__ = ("_lock", "disk", "disk_limit", "memory", "memory_limit")

    def __init__(self, memory: int, disk: int) -> None:
        self._lock = threading.Lock()
        self.memory_limit = memory
        self.disk_limit = disk
        self.memory = 0
        """Octets in memory now."""
        self.disk = 0
        """Octets in files now."""

    def change(self, memory: int, disk: int) -> None:
        """Add to the sums, or take away."""
        with self._lock:
            self.memory += memory
            self.disk += disk

    def memory_for(self, count: int) -> bool:
        """Say whether ``count`` more octets are within the limit of memory."""
        return self.memory + count <= self.memory_limit

    def disk_for(self, count: int) -> bool:
        """Say whether ``count`` more octets are within the limit of disk."""
        return self.disk + count <= self.disk_limit
