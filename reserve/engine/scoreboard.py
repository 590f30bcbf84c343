"""What the processes that share listeners tell each other, so that each takes its part of the clients.

A :class:`Scoreboard` is memory that all of them have mapped, with one slot a process; the process that starts them
makes it, and they get its descriptor. Each process writes its own slot only: its open connections, its free worker
threads, how many connections it has accepted, and a heartbeat. The accept thread does that when it wakes, and once a
second. A process that was killed leaves its numbers, which count no more after :data:`STALE`, or after
:meth:`Scoreboard.clear`.

There is no lock: a number is one aligned word, and one that is a moment old makes one connection go to another process
than it would have.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

from reserve.errors import UsageError

__all__ = ["STALE", "Numbers", "Scoreboard", "Slot"]

STALE = 3_000_000_000
"""Nanoseconds after the last heartbeat from which a process does not count: it was killed, or does nothing."""

_WORDS = 8  # of 8 bytes, in a slot: a cache line, which no other process writes to
_SIZE = 8 * _WORDS
_GENERATION, _CONNECTIONS, _FREE, _ACCEPTED, _HEARTBEAT = range(5)
_ROOM, _PART = 2, 8
"""A process has clearly more connections than another with more than these beyond it: 2, and one for each 8 of it."""


class Numbers(NamedTuple):
    """What one process has written into its slot."""

    generation: int
    """Which generation of processes it is of; 0: the slot has no process that takes connections."""
    connections: int
    """Its open connections."""
    free: int
    """Its worker threads that have nothing to do."""
    accepted: int
    """Connections that it has accepted so far."""
    heartbeat: int
    """When it wrote them, in nanoseconds of the system's monotonic clock."""

    def is_better_than(self, other: Numbers) -> bool:
        """Whether the next connection should rather go here: here is a free worker and none there, or there are clearly
        more connections. Of any number of processes at least one has no better one.
        """
        if (self.free > 0) != (other.free > 0):
            return self.free > 0
        return other.connections > self.connections + _ROOM + self.connections // _PART


class Scoreboard:
    """The memory; owned by the process that makes it, and by each that opens it. Any thread may call its methods.

    :param fd: of the file, as :attr:`fd` of another scoreboard; it is duplicated, and stays the caller's. None: a new
        file, which no process can open by a name.
    :param slots: how many processes a new one is for, from 1.
    :param now: the system's monotonic clock in nanoseconds, which all processes have in common.

    Raises UsageError when the file is none of this kind, OSError when the system has no room for it.
    """

    def __init__(self, fd: int | None = None, *, slots: int = 64, now: Callable[[], int] = time.monotonic_ns) -> None:
        if fd is None:
            self.fd = _new_file(_SIZE * slots)
        else:
            self.fd = os.dup(fd)
        self.now = now
        size = os.fstat(self.fd).st_size
        try:
            if size < _SIZE or size % _SIZE:
                raise UsageError(f"descriptor {fd} is no scoreboard: it has {size} bytes")
            self._memory = mmap.mmap(self.fd, size)
        except BaseException:
            os.close(self.fd)
            raise
        self.words = memoryview(self._memory).cast("Q")
        """All slots, eight words each."""
        self.slots = size // _SIZE
        """How many processes it is for."""

    def slot(self, number: int, generation: int = 1) -> Slot:
        """The slot that this process writes to, from 0. ``generation``: from 1, for those who read it."""
        self._check(number)
        return Slot(self, number, generation)

    def read(self, number: int) -> Numbers:
        """What is in a slot."""
        self._check(number)
        return self.numbers(number)

    def numbers(self, number: int) -> Numbers:
        """The same, for a number that is known to be right."""
        start = number * _WORDS
        return Numbers(*self.words[start : start + len(Numbers._fields)])

    def is_live(self, numbers: Numbers) -> bool:
        """Whether the process that has written these numbers takes connections."""
        return numbers.generation > 0 and self.now() - numbers.heartbeat < STALE

    def clear(self, number: int) -> None:
        """Forget a process that has ended. Its slot can be given to another one."""
        self._check(number)
        self.words[number * _WORDS + _GENERATION] = 0

    def close(self) -> None:
        """Close this process's mapping; slots must not be used any more."""
        self.words.release()
        self._memory.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _check(self, number: int) -> None:
        if not 0 <= number < self.slots:
            raise UsageError(f"the scoreboard has {self.slots} slots, from 0, and none is {number}")


class Slot:
    """This process's slot; made by :meth:`Scoreboard.slot`. The accept thread of its one server calls the methods."""

    def __init__(self, board: Scoreboard, number: int, generation: int) -> None:
        self._board = board
        self._number = number
        self._generation = generation

    def update(self, connections: int, free: int, accepted: int) -> None:
        """Write the numbers of this moment: from now on the process counts."""
        words, start = self._board.words, self._number * _WORDS
        words[start + _CONNECTIONS] = connections
        words[start + _FREE] = max(free, 0)
        words[start + _ACCEPTED] = accepted
        words[start + _HEARTBEAT] = self._board.now()
        words[start + _GENERATION] = self._generation  # the last one: it makes the others count

    def leave(self) -> None:
        """This process takes no connections, until the next :meth:`update`."""
        self._board.words[self._number * _WORDS + _GENERATION] = 0

    def better(self) -> int | None:
        """Which live processes should rather take the next connection: the sum of what they have accepted, which shows
        whether they do; None: no process should.
        """
        board, number = self._board, self._number
        own = board.numbers(number)
        accepted, found = 0, False
        for other in range(board.slots):
            numbers = board.numbers(other)
            if other != number and board.is_live(numbers) and numbers.is_better_than(own):
                accepted, found = accepted + numbers.accepted, True
        return accepted if found else None


def _new_file(size: int) -> int:
    """A descriptor of a new file without a name, with this many zero bytes."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("reserve-scoreboard", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    try:
        os.truncate(fd, size)
    except BaseException:
        os.close(fd)
        raise
    return fd
