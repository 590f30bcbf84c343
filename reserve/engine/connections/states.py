"""The states of a connection, and what :attr:`Connection.pending` may have in it beside the events of a poller."""

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
    "TRANSITIONS",
    "State",
]


class State(IntEnum):
    """Where a connection is. Written by the thread that owns it, or that has just taken it; read by any thread.

    :data:`TRANSITIONS` says which state may follow which.
    """

    READY = 0
    """In a queue: the leader will step it, or a worker will run its driver."""
    OWNED = 1
    """A thread is stepping it or runs its application."""
    PARKED = 2
    """It waits for the peer, for a notification, or for its deadline."""
    FLUSHING = 3
    """Its output waits for room."""
    LINGERING = 4
    """The response is sent and our side has ended; what the peer still sends is read and dropped."""
    CLOSED = 5
    """It is removed from the registry; its descriptor is closed, or was given away."""


# An attribute of an enum class costs ten times a name of the module; a request sets four of them.
READY, OWNED, PARKED, FLUSHING, LINGERING, CLOSED = State

TRANSITIONS: dict[State, frozenset[State]] = {
    # Stepped by the leader, or run by a worker; closed by a shutdown that has passed its deadline.
    READY: frozenset({OWNED, CLOSED}),
    # What the driver decides, output that did not fit, or the end.
    OWNED: frozenset({READY, PARKED, FLUSHING, LINGERING, CLOSED}),
    # An event, a notification or the deadline; CLOSED as above.
    PARKED: frozenset({READY, CLOSED}),
    # The same; OWNED: its worker has reclaimed the connection that it had lent.
    FLUSHING: frozenset({READY, OWNED, CLOSED}),
    LINGERING: frozenset({READY, CLOSED}),
    CLOSED: frozenset(),
}
"""Which state may follow which. A state that is set once more is no transition."""

DEADLINE = 0x10000
"""In ``pending``: the deadline has passed. Like the two below, never a bit of a poller's mask."""
NOTIFY = 0x20000
"""In ``pending``: another thread changed something that the driver should look at (a stop, a ``server.send``)."""
RECLAIM = 0x40000
"""In ``pending``: descriptors or connections run short; the connection should close if it is idle."""
