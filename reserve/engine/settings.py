"""What the engine can be told: one frozen value, with a unit and a default for every field.

Imported by anyone, changed by no one. The defaults are those of a server on the open internet.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EngineSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Sizes are octets, times are seconds on the monotonic clock."""

    threads: int = 16
    """Worker threads: how many handlers run at the same time."""
    backlog: int = 1024
    """Connections that the kernel holds for us before they are accepted (``listen(2)``)."""
    handler_timeout: float = 60.0
    """The socket timeout that a generic handler starts with."""
    write_timeout: float = 30.0
    """How long a peer may take no octet of an answer before it is cut off."""
    linger_timeout: float = 2.0
    """How long a closing connection still reads, so that the peer can read our last words."""
    linger_bytes: int = 65536
    """How much a closing connection still reads."""
    max_lingering: int = 1000
    """How many connections may linger at once; the oldest are cut."""
    max_output: int = 1048576
    """Octets that ``server.send`` may leave waiting on one parked connection."""
    stop_timeout: float = 30.0
    """How long a stop waits for the requests in flight."""
