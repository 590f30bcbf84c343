"""The states of a connection, and the events that do not come from the poller."""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "CLOSED",
    "CLOSE_IDLE",
    "DEADLINE",
    "FLUSHING",
    "LINGERING",
    "NOTIFY",
    "OWNED",
    "PARKED",
    "READY",
    "TRANSITIONS",
    "State",
]


class State(IntEnum):
    """The state of a connection. Written by the thread that owns it, or has just taken its token; any thread reads it.

    :data:`TRANSITIONS` says which state may follow which.
    """

    READY = 0
    """In a queue: the leader will step it, or a worker will run its driver."""
    OWNED = 1
    """A thread is stepping it or runs its application."""
    PARKED = 2
    """It waits for the peer, for a notification, or for its deadline."""
    FLUSHING = 3
    """Its output waits until the socket has room."""
    LINGERING = 4
    """The response is sent and the server's side is shut down; what the peer still sends is received and discarded."""
    CLOSED = 5
    """It is removed from the registry; its descriptor is closed or given to the application."""


# Reading an enum attribute takes ten times as long as reading a module global; a request sets four states.
READY, OWNED, PARKED, FLUSHING, LINGERING, CLOSED = State

TRANSITIONS: dict[State, frozenset[State]] = {
    # Stepped by the leader, or run by a worker; closed by a shutdown that has passed its deadline.
    READY: frozenset({OWNED, CLOSED}),
    # The driver's decision, output that did not fit into the socket, or the close.
    OWNED: frozenset({READY, PARKED, FLUSHING, LINGERING, CLOSED}),
    # An event, a notification or the deadline; CLOSED as above.
    PARKED: frozenset({READY, CLOSED}),
    # As for PARKED; OWNED: its worker has reclaimed the connection that it had lent.
    FLUSHING: frozenset({READY, OWNED, CLOSED}),
    LINGERING: frozenset({READY, CLOSED}),
    # A handler has taken its socket with server.detach(); after its run the rest of the connection is disposed of.
    CLOSED: frozenset({OWNED}),
}
"""Which states may follow each state. Setting the same state again is no transition."""

DEADLINE = 0x10000
"""In ``Connection.pending`` or ``notice``: the deadline has passed. Like the next two, it is never a bit of a poller's
mask.
"""
NOTIFY = 0x20000
"""In ``notice``: another thread changed something that concerns the driver (a stop, a ``server.send``)."""
CLOSE_IDLE = 0x40000
"""In ``notice``: the server needs room for new connections; this one should close if it is idle."""
