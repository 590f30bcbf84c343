"""Where a connection is, and what may be left for it in :attr:`Connection.pending` beside the events of a poller."""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "CLOSED",
    "DEADLINE",
    "FLUSHING",
    "LINGERING",
    "NOTIFY",
    "OWNED",
    "PARKED",
    "READY",
    "RECLAIM",
    "State",
]


class State(IntEnum):
    """Where a connection is."""

    READY = 0
    """In the queue: the leader will step it."""
    OWNED = 1
    """A thread is stepping it or runs its application."""
    PARKED = 2
    """It waits for the peer, or for its deadline."""
    FLUSHING = 3
    """Its output waits for room."""
    LINGERING = 4
    """The answer is out and our side is shut; it reads and forgets what the peer still sends."""
    CLOSED = 5


# An attribute of an enum class costs ten times a name of the module; a request sets four of them.
READY, OWNED, PARKED, FLUSHING, LINGERING, CLOSED = State

DEADLINE = 0x10000
"""In ``pending``: the deadline has passed. Like the two below never a bit of a poller's mask."""
NOTIFY = 0x20000
"""In ``pending``: somebody changed something that the driver should look at (a stop, a ``server.send``)."""
RECLAIM = 0x40000
"""In ``pending``: descriptors or connections run short; a connection that is idle should close."""
